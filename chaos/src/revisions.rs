//! The checker by revision. Every answer names the revision of the state that it was made from, so one pass over the
//! history sorts all of it, and what was read is compared with what was written up to there.
//!
//! What it keeps grows with the writes, and with the different pairs of flag and revision that were seen; not with how
//! often they were.
//!
//! - Linearizable: whoever begins after an operation has ended sees its revision or a later one, if it is a write or a
//!   confirmed read (`order`). With it, that each flag has at each revision the value of the newest write before
//!   (`timeline`), is linearizability of the whole environment.
//! - A write of which nobody knows what became of it may have taken effect at any later revision, or never. A stream that
//!   sends it tells its revision; otherwise there must be one between what was read before and after, of all its flags.
//! - Sessions, minimum revisions, ages, what streams promise (`streams`), and that nodes which live answer.

mod order;
mod streams;
mod timeline;
mod writes;

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use crate::{
    history::Header,
    incidents::Lives,
    operation::{Asked, Consistency, Did, Operation, Outcome},
    verdict::{Rule, Verdict},
};
use order::{Moment, Order};
use streams::Streams;
use timeline::{Point, Timelines};
use writes::{Flag, Writes};

/// Judges a whole history at once.
pub fn check<'a>(
    header: &Header,
    lives: &Lives,
    operations: impl IntoIterator<Item = &'a Operation>,
) -> Verdict {
    let mut checker = Checker::new(header, lives);
    for operation in operations {
        checker.observe(operation);
    }
    checker.finish()
}

/// Judges a history one operation after the other, in the order of the file.
#[derive(Debug)]
pub struct Checker<'a> {
    lives: &'a Lives,
    writes: Writes,
    /// The value of each flag at each revision, and who saw it first.
    points: HashMap<(Flag, u64), (Option<u64>, u64)>,
    /// When each value was first known to somebody.
    seen: HashMap<(Flag, u64), Moment>,
    revisions: BTreeMap<u64, AtRevision>,
    /// The greatest revision of each session, and when it was known.
    sessions: HashMap<u64, (u64, Moment)>,
    streams: Streams,
    verdict: Verdict,
}

/// What is kept of all operations that named one revision.
#[derive(Clone, Copy, Debug, Default)]
struct AtRevision {
    /// When the first of them ended: from then on the revision is known to be there.
    first_end: Option<Moment>,
    /// When the last of the confirmed reads began.
    last_start: Option<Moment>,
    /// The latest time at which the revision is said to have been the newest.
    claim: Option<Moment>,
}

impl AtRevision {
    fn ended(&mut self, moment: Moment) {
        self.first_end = Some(self.first_end.map_or(moment, |first| first.min(moment)));
    }
}

impl<'a> Checker<'a> {
    /// A checker of a history that begins like this, while these nodes lived.
    pub fn new(header: &Header, lives: &'a Lives) -> Self {
        let mut checker = Self {
            lives,
            writes: Writes::new(header),
            points: HashMap::new(),
            seen: HashMap::new(),
            revisions: BTreeMap::new(),
            sessions: HashMap::new(),
            streams: Streams::default(),
            verdict: Verdict::default(),
        };
        checker.revisions.entry(header.revision).or_default().ended(Moment { at: 0, op: 0 });
        checker
    }

    /// Takes the next operation.
    pub fn observe(&mut self, operation: &Operation) {
        self.verdict.operations += 1;
        let end = Moment { at: operation.end_ns, op: operation.op };
        if let Some(revision) = operation.revision {
            self.revisions.entry(revision).or_default().ended(end);
            self.session(operation, revision);
        }
        match &operation.did {
            Did::Write { set } => self.write(operation, set),
            Did::Read { asked, saw, consistency, age_ms } if operation.outcome == Outcome::Ok => {
                match (operation.revision, consistency) {
                    (Some(revision), Some(consistency)) => {
                        self.terms(operation, *asked, revision, *consistency, *age_ms, !saw.is_empty());
                        for (flag, value) in saw {
                            self.see(flag, revision, *value, end);
                        }
                    }
                    _ => self.misrecorded(operation, "an answer without a revision or a consistency"),
                }
            }
            Did::Read { asked, .. } => {
                self.verdict.judged("reads that failed", 1);
                let (node, start_ns, end_ns) = (operation.node, operation.start_ns, operation.end_ns);
                // A critical flag has an answer where nobody can confirm it: its safe variant.
                let is_owed = matches!(asked, Asked::Ordinary | Asked::Critical);
                if is_owed && self.lives.served(node, start_ns, end_ns) {
                    let what = || format!("node {node} served, and a read through it failed: {asked:?}");
                    self.verdict.accuse(Rule::Unavailable, [operation.op], what);
                }
            }
            Did::Stream { stream, event } => {
                self.streams.observe(operation, *stream, event, &mut self.verdict);
                let Some(revision) = operation.revision else { return };
                match event {
                    streams::Event::Snapshot { flags, .. } => {
                        for (flag, value) in flags {
                            self.see(flag, revision, *value, end);
                        }
                    }
                    streams::Event::Change { set, .. } => {
                        for (flag, value) in set {
                            self.see(flag, revision, Some(*value), end);
                        }
                    }
                    streams::Event::Asked { .. } | streams::Event::Progress { .. } => {}
                }
            }
        }
    }

    fn misrecorded(&mut self, operation: &Operation, what: &str) {
        self.verdict.accuse(Rule::Recorded, [operation.op], || what.to_owned());
    }

    fn write(&mut self, operation: &Operation, set: &[(String, u64)]) {
        if (operation.outcome == Outcome::Ok) != operation.revision.is_some() {
            self.misrecorded(operation, "a write has a revision exactly if it was acknowledged");
        }
        let kind = match operation.outcome {
            Outcome::Ok => "writes acknowledged",
            Outcome::Failed => "writes refused",
            Outcome::Unknown | Outcome::Begun => "writes of which nobody knows",
        };
        self.verdict.judged(kind, 1);
        if let Some((flag, value)) = self.writes.add(operation, set) {
            self.misrecorded(
                operation,
                &format!("{flag} was given the value {value} before, or in the same change"),
            );
        }
    }

    /// What an answer owes to what it was asked for, and what it says of itself.
    fn terms(
        &mut self,
        operation: &Operation,
        asked: Asked,
        revision: u64,
        consistency: Consistency,
        age_ms: Option<u64>,
        says_values: bool,
    ) {
        let op = operation.op;
        if operation.is_linearizable() {
            self.verdict.judged("reads confirmed", 1);
            let start = Moment { at: operation.start_ns, op };
            let last = &mut self.revisions.entry(revision).or_default().last_start;
            *last = Some(last.map_or(start, |last| last.max(start)));
        }
        let confirmed = match asked {
            Asked::Critical => consistency != Consistency::Local,
            Asked::Linearizable => consistency == Consistency::Linearizable,
            Asked::Ordinary | Asked::MinRevision(_) | Asked::MaxAgeMs(_) => true,
        };
        if !confirmed {
            let what = || format!("asked for {asked:?}, the answer is {consistency:?}");
            self.verdict.accuse(Rule::Unconfirmed, [op], what);
        }
        if let Asked::MinRevision(minimum) = asked {
            self.verdict.judged("minimum revisions", 1);
            if revision < minimum {
                let what = || format!("revision {revision}, asked for {minimum} or later");
                self.verdict.accuse(Rule::MinRevision, [op], what);
            }
        }
        // A safe variant alone is of no age.
        if let Asked::MaxAgeMs(bound) = asked
            && says_values
            && consistency != Consistency::Linearizable
            && age_ms.is_none_or(|age| age > bound)
        {
            let what = || format!("at most {bound} ms were asked for, and the answer says {age_ms:?}");
            self.verdict.accuse(Rule::Age, [op], what);
        }
        if let Some(age_ms) = age_ms {
            self.verdict.judged("ages", 1);
            // It was answered after it began, so what was current `age_ms` before the answer was so after this moment.
            let at = operation.start_ns.saturating_sub(age_ms.saturating_mul(1_000_000));
            let claim = &mut self.revisions.entry(revision).or_default().claim;
            let this = Moment { at, op };
            *claim = Some(claim.map_or(this, |claim| claim.max(this)));
        }
    }

    fn session(&mut self, operation: &Operation, revision: u64) {
        let Some(session) = operation.session else { return };
        self.verdict.judged("operations of sessions", 1);
        let end = Moment { at: operation.end_ns, op: operation.op };
        match self.sessions.entry(session) {
            Entry::Vacant(place) => {
                place.insert((revision, end));
            }
            Entry::Occupied(mut place) => {
                let (greatest, known) = *place.get();
                if revision < greatest && known.at < operation.start_ns {
                    let what = || format!("session {session} saw revision {greatest}, then {revision}");
                    self.verdict.accuse(Rule::Session, [known.op, operation.op], what);
                }
                if revision > greatest {
                    place.insert((revision, end));
                }
            }
        }
    }

    /// Somebody saw this value in a state of this revision.
    fn see(&mut self, flag: &str, revision: u64, value: Option<u64>, end: Moment) {
        let flag = self.writes.flag(flag);
        if let Some(value) = value {
            let first = self.seen.entry((flag, value)).or_insert(end);
            *first = (*first).min(end);
        }
        match self.points.entry((flag, revision)) {
            Entry::Vacant(place) => {
                place.insert((value, end.op));
            }
            Entry::Occupied(place) => {
                let (before, op) = *place.get();
                if before != value {
                    let name = self.writes.name(flag);
                    let what =
                        || format!("at revision {revision}, {name} is {} and {}", text(before), text(value));
                    self.verdict.accuse(Rule::TwoStates, [op, end.op], what);
                }
            }
        }
    }

    /// Judges what needs all of the history.
    pub fn finish(mut self) -> Verdict {
        self.streams.tell_revisions(&mut self.writes, &mut self.verdict);
        for (write, op) in self.writes.shared_revisions() {
            let what = || format!("two writes have revision {}", write.revision.unwrap_or_default());
            self.verdict.accuse(Rule::SharedRevision, [op, write.op], what);
        }
        let order =
            Order::of(self.revisions.iter().filter_map(|(revision, at)| Some((at.first_end?, *revision))));
        self.real_time(&order);
        self.first_sights();
        self.ages();
        self.streams.nothing_missing(&self.writes, &mut self.verdict);
        self.verdict.judged("values at revisions", self.points.len() as u64);
        let points = self
            .points
            .into_iter()
            .map(|((flag, revision), (value, op))| (flag, Point { revision, value, op }));
        Timelines::of(&self.writes, points, &mut self.verdict).place_unknown(&order, &mut self.verdict);
        self.verdict
    }

    fn real_time(&mut self, order: &Order) {
        for (revision, at) in &self.revisions {
            if let Some(start) = at.last_start
                && let Some((newest, by)) = order.newest_before(start.at)
                && newest > *revision
            {
                let what = || {
                    format!("revision {newest} was known before a confirmed read began that has {revision}")
                };
                self.verdict.accuse(Rule::Stale, [by, start.op], what);
            }
        }
        for write in self.writes.known() {
            if let Some(revision) = write.revision
                && let Some((newest, by)) = order.newest_before(write.start)
                && newest >= revision
            {
                let rule = if newest == revision { Rule::Foreseen } else { Rule::Stale };
                let what =
                    || format!("revision {newest} was known before the write began that is {revision}");
                self.verdict.accuse(rule, [by, write.op], what);
            }
        }
    }

    /// Who sees a value first sees one that was written, and not before.
    fn first_sights(&mut self) {
        let mut seen: Vec<_> = self.seen.iter().map(|(key, moment)| (*key, *moment)).collect();
        seen.sort_unstable_by_key(|(_, moment)| *moment);
        for ((flag, value), first) in seen {
            let name = self.writes.name(flag);
            match self.writes.of(flag, Some(value)) {
                None => {
                    let what = || format!("{name} was seen as {value}, which nobody wrote");
                    self.verdict.accuse(Rule::Invented, [first.op], what);
                }
                Some(write) if write.outcome == Outcome::Failed => {
                    let what = || format!("{name} was seen as {value}, and that write was refused");
                    self.verdict.accuse(Rule::Refused, [write.op, first.op], what);
                }
                Some(write) if first.at < write.start => {
                    let what = || format!("{name} was seen as {value} before that write began");
                    self.verdict.accuse(Rule::Foreseen, [first.op, write.op], what);
                }
                Some(_) => {}
            }
        }
    }

    fn ages(&mut self) {
        // Of all later revisions, when the first was known.
        let mut outdated: Option<Moment> = None;
        for (revision, at) in self.revisions.iter().rev() {
            if let (Some(claim), Some(outdated)) = (at.claim, outdated)
                && claim.at > outdated.at
            {
                let by = (claim.at - outdated.at).div_ceil(1_000_000);
                let what = || {
                    format!(
                        "revision {revision} was outdated {by} ms before the time that it is stated to be of"
                    )
                };
                self.verdict.accuse(Rule::Age, [outdated.op, claim.op], what);
            }
            outdated = outdated.into_iter().chain(at.first_end).min();
        }
    }
}

/// A value as a person reads it.
fn text(value: Option<u64>) -> String {
    value.map_or_else(|| "not there".to_owned(), |value| value.to_string())
}
