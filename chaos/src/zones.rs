//! The checker that ignores revisions: whether each flag is a linearizable register, from times and values alone. So it
//! believes nothing that a node says of itself but that an answer is confirmed.
//!
//! It is Gibbons and Korach's: a value stands for its write and all reads of it, for no flag is given one twice. Of each
//! value take `f`, the earliest end, and `s`, the latest start, of its operations. If `f < s`, the flag must have had the
//! value all through `[f, s]`: a forward zone. Else there is some moment in `[s, f]` when it had it: a backward zone. The
//! history is linearizable unless a value was read that nobody wrote, or before its write began; two forward zones
//! overlap; or a backward zone lies inside of a forward one.
//!
//! A write of which nobody knows what became of it ends at infinity, and is left out if nobody read it.

use std::collections::{BTreeMap, HashMap};

use crate::{
    history::Header,
    operation::{Did, Operation, Outcome},
    verdict::{Rule, Verdict},
};

/// Judges a whole history at once.
pub fn check<'a>(header: &Header, operations: impl IntoIterator<Item = &'a Operation>) -> Verdict {
    let mut checker = Checker::new(header);
    for operation in operations {
        checker.observe(operation);
    }
    checker.finish()
}

/// Judges a history one operation after the other, in any order. It keeps a few times for each value, however often that
/// was read.
#[derive(Debug)]
pub struct Checker {
    names: HashMap<String, usize>,
    registers: Vec<Register>,
    verdict: Verdict,
}

/// What is kept of one flag: by value, where `None` is that it is not there.
#[derive(Debug)]
struct Register {
    name: String,
    clusters: HashMap<Option<u64>, Cluster>,
}

/// A write and all reads of its value. A time comes with the operation that it is of.
#[derive(Clone, Copy, Debug, Default)]
struct Cluster {
    write: Option<Written>,
    first_read_end: Option<(u64, u64)>,
    last_read_start: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    start: (u64, u64),
    /// `None`: infinity.
    end: Option<(u64, u64)>,
    refused: bool,
}

/// The times between which, or at one of which, the flag had the value.
#[derive(Clone, Copy, Debug)]
struct Zone {
    value: Option<u64>,
    from: u64,
    to: u64,
    /// The operations that end or begin there.
    ops: [u64; 2],
}

impl Checker {
    /// A checker of a history that begins like this.
    pub fn new(header: &Header) -> Self {
        let mut checker = Self { names: HashMap::new(), registers: Vec::new(), verdict: Verdict::default() };
        for (name, value) in &header.flags {
            let index = checker.index(name);
            // Not "not there": that is no value of a flag that was there at the beginning.
            checker.registers[index].clusters = HashMap::from([(Some(*value), Cluster::beginning())]);
        }
        checker
    }

    fn index(&mut self, name: &str) -> usize {
        if let Some(index) = self.names.get(name) {
            return *index;
        }
        self.names.insert(name.to_owned(), self.registers.len());
        let clusters = HashMap::from([(None, Cluster::beginning())]);
        self.registers.push(Register { name: name.to_owned(), clusters });
        self.registers.len() - 1
    }

    /// Takes the next operation.
    pub fn observe(&mut self, operation: &Operation) {
        let Operation { op, start_ns, end_ns, outcome, .. } = *operation;
        match &operation.did {
            Did::Write { set } => {
                for (name, value) in set {
                    self.verdict.operations += 1;
                    let end = (outcome == Outcome::Ok).then_some((end_ns, op));
                    let refused = outcome == Outcome::Failed;
                    let index = self.index(name);
                    let cluster = self.registers[index].clusters.entry(Some(*value)).or_default();
                    if let Some(other) =
                        cluster.write.replace(Written { start: (start_ns, op), end, refused })
                    {
                        let what = || format!("{name} is given the value {value} twice");
                        self.verdict.accuse(Rule::Recorded, [other.start.1, op], what);
                    }
                }
            }
            Did::Read { saw, .. } if outcome == Outcome::Ok && operation.is_linearizable() => {
                for (name, value) in saw {
                    self.verdict.operations += 1;
                    let index = self.index(name);
                    let cluster = self.registers[index].clusters.entry(*value).or_default();
                    let (end, start) = ((end_ns, op), (start_ns, op));
                    cluster.first_read_end = Some(cluster.first_read_end.map_or(end, |first| first.min(end)));
                    cluster.last_read_start =
                        Some(cluster.last_read_start.map_or(start, |last| last.max(start)));
                }
            }
            Did::Read { .. } | Did::Stream { .. } => {}
        }
    }

    /// Judges what needs all of the history.
    pub fn finish(self) -> Verdict {
        let Self { mut registers, mut verdict, .. } = self;
        registers.sort_by(|one, other| one.name.cmp(&other.name));
        verdict.judged("registers", registers.len() as u64);
        for register in registers {
            register.judge(&mut verdict);
        }
        verdict
    }
}

impl Cluster {
    fn beginning() -> Self {
        let write = Some(Written { start: (0, 0), end: Some((0, 0)), refused: false });
        Self { write, ..Self::default() }
    }
}

impl Register {
    fn judge(self, verdict: &mut Verdict) {
        let Self { name, clusters } = self;
        let clusters: BTreeMap<Option<u64>, Cluster> = clusters.into_iter().collect();
        verdict.judged("values", clusters.len() as u64);
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        for (value, cluster) in clusters {
            let shown = value.map_or("not there".to_owned(), |value| value.to_string());
            let Cluster { write, first_read_end, last_read_start } = cluster;
            let Some(write) = write else {
                let what = || format!("{name} was read as {shown}, which nobody wrote");
                verdict.accuse(Rule::Invented, first_read_end.map(|(_, op)| op), what);
                continue;
            };
            if let Some((end, op)) = first_read_end {
                if write.refused {
                    let what = || format!("{name} was read as {shown}, and that write was refused");
                    verdict.accuse(Rule::Refused, [write.start.1, op], what);
                    continue;
                }
                if end < write.start.0 {
                    let what = || format!("{name} was read as {shown} before that write began");
                    verdict.accuse(Rule::Foreseen, [op, write.start.1], what);
                    continue;
                }
            }
            // What was refused never was; what nobody knows of and nobody read may never have been.
            let first_end =
                if write.refused { None } else { write.end.into_iter().chain(first_read_end).min() };
            let Some(first_end) = first_end else { continue };
            let last_start = last_read_start.map_or(write.start, |start| start.max(write.start));
            let (from, to) = (first_end.min(last_start), first_end.max(last_start));
            let zone = Zone { value, from: from.0, to: to.0, ops: [from.1, to.1] };
            if first_end.0 < last_start.0 { forward.push(zone) } else { backward.push(zone) }
        }
        forward.sort_unstable_by_key(|zone| zone.from);
        let named = |one: Zone, other: Zone, why: &str| {
            let text = |zone: Zone| zone.value.map_or("not there".to_owned(), |value| value.to_string());
            format!("{name} must have been {} {why} {}", text(one), text(other))
        };
        let mut longest: Option<Zone> = None;
        for zone in &forward {
            if let Some(before) = longest.filter(|before| zone.from < before.to) {
                let what = || named(*zone, before, "at a time when it must have been");
                verdict.accuse(Rule::Zones, before.ops.into_iter().chain(zone.ops), what);
            }
            longest = Some(longest.filter(|before| before.to >= zone.to).unwrap_or(*zone));
        }
        for zone in backward {
            // Of the forward zones that begin before it, the last reaches furthest: they don't overlap, or that was said.
            let after = forward.partition_point(|other| other.from < zone.from);
            if let Some(around) = forward[..after].last().filter(|around| zone.to < around.to) {
                let what = || named(zone, *around, "within a time through which it must have been");
                verdict.accuse(Rule::Zones, around.ops.into_iter().chain(zone.ops), what);
            }
        }
    }
}
