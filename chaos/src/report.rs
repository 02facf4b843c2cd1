//! What a run came to: figures of the history and of the faults, as a table and as a page to look at.

mod chart;
mod page;
mod text;
mod total;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

pub use self::total::Total;
use crate::{
    history::Header,
    incidents::{Incident, Lives, What},
    operation::{Asked, Did, Operation, Outcome},
    shrink::Offence,
    verdict::Verdict,
};

const SECOND: u64 = 1_000_000_000;

/// Counts a history, one operation after the other. What it keeps grows with the length of the run and the number of
/// acknowledged writes.
#[derive(Debug)]
pub struct Collector {
    seed: u64,
    lives: Lives,
    kinds: BTreeMap<&'static str, Tally>,
    seconds: Vec<Second>,
    acknowledged: Vec<u64>,
    nodes: BTreeMap<u64, Node>,
    end_ns: u64,
}

/// Latencies in microseconds.
type Latencies = Histogram<u32>;

/// What operations of one kind came to.
#[derive(Clone, Debug)]
pub struct Tally {
    /// How many were done, refused, and are unknown.
    pub outcomes: Outcomes,
    latencies: Latencies,
}

/// How many operations were done, refused, and are unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Done and answered.
    pub ok: u64,
    /// Refused, or not answered.
    pub failed: u64,
    /// Nobody knows.
    pub unknown: u64,
}

#[derive(Clone, Debug)]
struct Second {
    outcomes: Outcomes,
    latencies: Latencies,
}

/// What one node did for those that asked for its local state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Ordinary reads through it, while it served.
    pub local_reads: u64,
    /// Those of them that failed.
    pub failed: u64,
}

/// One fault that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Its number in the schedule.
    pub fault: u64,
    /// Its kind.
    pub kind: String,
    /// The nodes that it was done to.
    pub nodes: Vec<u64>,
    /// When it began, in nanoseconds.
    pub from_ns: u64,
    /// When it was taken away; if it never was, when the history ends.
    pub to_ns: u64,
    /// What showed that it was there; `None`: nothing did, so it proves nothing.
    pub proof: Option<String>,
    /// The longest time without an acknowledged write, from its beginning to the first one after its end.
    pub gap_ns: u64,
}

/// All faults of a kind that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfKind {
    /// How many.
    pub took_effect: u64,
    /// How many there were besides, of which nothing showed that they were there.
    pub without_effect: u64,
    /// The longest time without an acknowledged write.
    pub worst_gap_ns: u64,
    /// The median of these times.
    pub median_gap_ns: u64,
}

/// A time during which a node led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reign {
    /// Who; `None`: nobody was known to.
    pub node: Option<u64>,
    /// In which term.
    pub term: u64,
    /// From when.
    pub from_ns: u64,
    /// Until when.
    pub to_ns: u64,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Figures {
    /// What the schedule was made from.
    pub seed: u64,
    /// How long it lasted.
    pub end_ns: u64,
    /// By what the operations are called.
    pub kinds: BTreeMap<&'static str, Tally>,
    /// The faults, in their order.
    pub faults: Vec<Done>,
    /// Who led when.
    pub reigns: Vec<Reign>,
    /// By node.
    pub nodes: BTreeMap<u64, Node>,
    seconds: Vec<Second>,
}

/// All that a report tells.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The figures.
    pub figures: &'a Figures,
    /// The verdicts, each with the name of its checker.
    pub verdicts: &'a [(&'a str, &'a Verdict)],
    /// The violations, each with the operations that show it.
    pub offences: &'a [Offence],
    /// What else must not have happened: nodes that did not heal or do not agree, an audit log that lacks something.
    pub misdeeds: &'a [String],
    /// How long it took after the last fault until every node served in full, in milliseconds. `None`: they did not.
    pub healed_ms: Option<u64>,
    /// Why the run could not have shown that a promise is broken. Empty: it could.
    pub without_proof: &'a [String],
    /// What could not be done on this machine, and why.
    pub not_run: &'a [String],
}

impl Tally {
    fn new() -> Self {
        // Three digits, from a microsecond to an hour: the bounds are right by construction.
        let latencies = Latencies::new_with_bounds(1, 3_600_000_000, 3).expect("good bounds");
        Self { outcomes: Outcomes::default(), latencies }
    }

    /// The latency, in microseconds, that this share of the answered operations kept to; from 0 to 1.
    pub fn latency_us(&self, share: f64) -> u64 {
        if self.latencies.is_empty() { 0 } else { self.latencies.value_at_quantile(share) }
    }
}

impl Second {
    fn new() -> Self {
        let latencies = Latencies::new_with_bounds(1, 3_600_000_000, 1).expect("good bounds");
        Self { outcomes: Outcomes::default(), latencies }
    }
}

impl Outcomes {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Unknown | Outcome::Begun => self.unknown += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.unknown += other.unknown;
    }

    /// All of them.
    pub fn all(self) -> u64 {
        self.ok + self.failed + self.unknown
    }
}

impl Collector {
    /// Begins to count a history, during which these nodes lived.
    pub fn new(header: &Header, lives: Lives) -> Self {
        Self {
            seed: header.seed,
            lives,
            kinds: BTreeMap::new(),
            seconds: Vec::new(),
            acknowledged: Vec::new(),
            nodes: BTreeMap::new(),
            end_ns: 0,
        }
    }

    /// Takes the next operation.
    pub fn observe(&mut self, operation: &Operation) {
        let Operation { start_ns, end_ns, outcome, node, .. } = *operation;
        self.end_ns = self.end_ns.max(end_ns);
        let kind = match &operation.did {
            Did::Write { .. } => "write",
            Did::Read { asked: Asked::Critical, .. } => "critical read",
            Did::Read { asked: Asked::Linearizable, .. } => "linearizable read",
            Did::Read { asked: Asked::Ordinary, .. } => "ordinary read",
            Did::Read { asked: Asked::MinRevision(_), .. } => "read of a minimum revision",
            Did::Read { asked: Asked::MaxAgeMs(_), .. } => "read of a maximum age",
            Did::Stream { .. } => "stream event",
        };
        let tally = self.kinds.entry(kind).or_insert_with(Tally::new);
        tally.outcomes.count(outcome);
        if kind == "stream event" {
            // Nobody waits for these.
            return;
        }
        let second = usize::try_from(end_ns / SECOND).unwrap_or(usize::MAX);
        if self.seconds.len() <= second {
            self.seconds.resize_with(second + 1, Second::new);
        }
        self.seconds[second].outcomes.count(outcome);
        if outcome == Outcome::Ok {
            let latency_us = (end_ns - start_ns) / 1000;
            tally.latencies.saturating_record(latency_us);
            self.seconds[second].latencies.saturating_record(latency_us);
            if kind == "write" {
                self.acknowledged.push(end_ns);
            }
        }
        if kind == "ordinary read" && self.lives.served(node, start_ns, end_ns) {
            let node = self.nodes.entry(node).or_default();
            node.local_reads += 1;
            node.failed += u64::from(outcome != Outcome::Ok);
        }
    }

    /// Puts it beside what happened meanwhile.
    pub fn finish(mut self, incidents: &[Incident]) -> Figures {
        self.acknowledged.sort_unstable();
        let end_ns = incidents.iter().map(|incident| incident.at_ns).fold(self.end_ns, u64::max);
        let mut incidents: Vec<&Incident> = incidents.iter().collect();
        incidents.sort_by_key(|incident| incident.at_ns);
        let mut faults: Vec<Done> = Vec::new();
        let mut reigns: Vec<Reign> = Vec::new();
        for Incident { at_ns, what } in incidents {
            let known = |faults: &[Done], fault| faults.iter().position(|done: &Done| done.fault == fault);
            match what {
                What::FaultBegins { fault, kind, nodes } => faults.push(Done {
                    fault: *fault,
                    kind: kind.clone(),
                    nodes: nodes.clone(),
                    from_ns: *at_ns,
                    to_ns: end_ns,
                    proof: None,
                    gap_ns: 0,
                }),
                What::TookEffect { fault, proof } => {
                    if let Some(index) = known(&faults, *fault) {
                        faults[index].proof = Some(proof.clone());
                    }
                }
                What::FaultEnds { fault } => {
                    if let Some(index) = known(&faults, *fault) {
                        faults[index].to_ns = *at_ns;
                    }
                }
                What::Leader { node, term } => {
                    if let Some(last) = reigns.last_mut() {
                        if last.node == *node && last.term == *term {
                            continue;
                        }
                        last.to_ns = *at_ns;
                    }
                    reigns.push(Reign { node: *node, term: *term, from_ns: *at_ns, to_ns: end_ns });
                }
                What::Serves { .. } | What::Falls { .. } => {}
            }
        }
        for fault in &mut faults {
            fault.gap_ns = longest_gap(&self.acknowledged, fault.from_ns, fault.to_ns, end_ns);
        }
        for node in self.lives.nodes() {
            self.nodes.entry(node).or_default();
        }
        let Self { seed, kinds, seconds, nodes, .. } = self;
        Figures { seed, end_ns, kinds, faults, reigns, nodes, seconds }
    }
}

/// The longest time without one of these, from one moment to the first of them after another moment.
fn longest_gap(acknowledged: &[u64], from: u64, to: u64, end: u64) -> u64 {
    let first = acknowledged.partition_point(|at| *at <= from);
    let (mut last, mut longest) = (from, 0);
    for at in &acknowledged[first..] {
        longest = longest.max(at - last);
        last = *at;
        if last >= to {
            return longest;
        }
    }
    // There was none after it.
    longest.max(end.saturating_sub(last))
}

impl Figures {
    /// All operations but the events of streams.
    pub fn operations(&self) -> Outcomes {
        let mut all = Outcomes::default();
        for second in &self.seconds {
            all.add(second.outcomes);
        }
        all
    }

    /// Operations a second, without the events of streams.
    pub fn operations_per_second(&self) -> f64 {
        self.operations().all() as f64 / (self.end_ns.max(1) as f64 / SECOND as f64)
    }

    /// How often the lead passed to another node.
    pub fn leader_changes(&self) -> usize {
        let leaders: Vec<u64> = self.reigns.iter().filter_map(|reign| reign.node).collect();
        leaders.windows(2).filter(|two| two[0] != two[1]).count()
    }

    /// How many faults took effect.
    pub fn took_effect(&self) -> usize {
        took_effect(&self.faults)
    }

    /// The faults by kind.
    pub fn faults_by_kind(&self) -> BTreeMap<&str, OfKind> {
        by_kind(&self.faults)
    }
}

fn took_effect(faults: &[Done]) -> usize {
    faults.iter().filter(|fault| fault.proof.is_some()).count()
}

/// What faults did, by their kinds.
fn by_kind(faults: &[Done]) -> BTreeMap<&str, OfKind> {
    let mut gaps: BTreeMap<&str, (Vec<u64>, u64)> = BTreeMap::new();
    for fault in faults {
        let (gaps, without) = gaps.entry(&fault.kind).or_default();
        match fault.proof {
            Some(_) => gaps.push(fault.gap_ns),
            None => *without += 1,
        }
    }
    let of_kind = |(kind, (mut gaps, without_effect)): (_, (Vec<u64>, u64))| {
        gaps.sort_unstable();
        let at = |index: usize| gaps.get(index).copied().unwrap_or(0);
        let worst_gap_ns = at(gaps.len().saturating_sub(1));
        let median_gap_ns = at(gaps.len().saturating_sub(1) / 2).midpoint(at(gaps.len() / 2));
        (kind, OfKind { took_effect: gaps.len() as u64, without_effect, worst_gap_ns, median_gap_ns })
    };
    gaps.into_iter().map(of_kind).collect()
}

impl Report<'_> {
    /// Whether every checker found the history good, and nothing else was wrong.
    pub fn is_good(&self) -> bool {
        self.misdeeds.is_empty() && self.verdicts.iter().all(|(_, verdict)| verdict.is_good())
    }

    /// The summary for a terminal.
    pub fn text(&self) -> String {
        text::summary(self)
    }

    /// A page of HTML that needs nothing else.
    pub fn page(&self) -> String {
        page::page(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_from_the_fault_to_the_first_write_after_it() {
        let acknowledged = [5, 10, 30, 35, 90];
        // From 12 to 30, then 5.
        assert_eq!(longest_gap(&acknowledged, 12, 33, 100), 18);
        // The one that ends after it counts whole.
        assert_eq!(longest_gap(&acknowledged, 12, 36, 100), 55);
        assert_eq!(longest_gap(&acknowledged, 91, 95, 120), 29);
        assert_eq!(longest_gap(&[], 10, 20, 50), 40);
    }
}
