//! What a checker says of a history.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// A rule that a history can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// The history is what a checker can judge: values are written once, and what is done names a revision.
    Recorded,
    /// An operation that began after another had ended sees its revision or a later one, if it is linearizable.
    Stale,
    /// What is seen was written by somebody.
    Invented,
    /// Nothing is seen before its write began.
    Foreseen,
    /// A write that was refused takes no effect.
    Refused,
    /// A revision is one change.
    SharedRevision,
    /// A revision is one state: two answers that name it agree.
    TwoStates,
    /// At its revision, a flag has the value that the newest write before gave it.
    Replay,
    /// A change is seen whole or not at all.
    HalfChange,
    /// The revisions of a session never fall.
    Session,
    /// An answer has the revision that was asked for as a minimum.
    MinRevision,
    /// An answer is no older than it says, or than was asked for.
    Age,
    /// An answer about critical flags is confirmed, or says that it is not.
    Unconfirmed,
    /// A node that serves answers ordinary reads.
    Unavailable,
    /// A stream's revisions rise.
    StreamOrdered,
    /// A stream sends a change once.
    StreamUnique,
    /// A stream leaves no change out, unless a snapshot covers it.
    StreamReliable,
    /// A stream goes on where it was: its follower asks for what is after the last event that is noted.
    StreamResumable,
    /// A stream sends what was written, whole.
    StreamAtomic,
    /// Some order of the operations on a flag that keeps to real time explains all that was read (revisions aside).
    Zones,
}

impl Rule {
    /// What is the case where the rule is broken.
    pub fn broken(self) -> &'static str {
        match self {
            Self::Recorded => "the history cannot be judged",
            Self::Stale => "a stale answer",
            Self::Invented => "a value that nobody wrote",
            Self::Foreseen => "a value from before its write",
            Self::Refused => "a refused write took effect",
            Self::SharedRevision => "two changes of one revision",
            Self::TwoStates => "two states of one revision",
            Self::Replay => "a value that the flag did not have at this revision",
            Self::HalfChange => "half of a change",
            Self::Session => "a session that went back",
            Self::MinRevision => "less than the minimum revision",
            Self::Age => "older than stated",
            Self::Unconfirmed => "a critical answer that nobody confirmed",
            Self::Unavailable => "a living node that did not answer",
            Self::StreamOrdered => "a stream out of order",
            Self::StreamUnique => "a change sent twice",
            Self::StreamReliable => "a change missing from a stream",
            Self::StreamResumable => "a stream that went on elsewhere",
            Self::StreamAtomic => "a change that was sent otherwise than written",
            Self::Zones => "no order explains what was read",
        }
    }
}

/// A rule that was broken, and by which operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What is wrong, for a person.
    pub what: String,
    /// The operations that can't all be true, in order; not the writes of the values that they saw.
    pub ops: Vec<u64>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (operations", self.rule.broken(), self.what)?;
        for op in &self.ops {
            write!(f, " {op}")?;
        }
        f.write_str(")")
    }
}

/// What was judged, and what was wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How many operations were judged.
    pub operations: u64,
    /// What was judged, by what it is called: "linearizable reads", "ages", and so on. A rule that judged nothing proved
    /// nothing.
    pub judged: BTreeMap<String, u64>,
    /// The first [`Verdict::KEPT`] violations of each rule.
    pub violations: Vec<Violation>,
    /// How often each rule was broken in all.
    pub broken: BTreeMap<Rule, u64>,
}

impl Verdict {
    /// How many violations of one rule are kept: one bug breaks it again and again.
    pub const KEPT: u64 = 10;

    /// Whether no rule was broken.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty()
    }

    pub(crate) fn judged(&mut self, what: &str, count: u64) {
        *self.judged.entry(what.to_owned()).or_default() += count;
    }

    pub(crate) fn accuse(
        &mut self,
        rule: Rule,
        ops: impl IntoIterator<Item = u64>,
        what: impl FnOnce() -> String,
    ) {
        let broken = self.broken.entry(rule).or_default();
        *broken += 1;
        if *broken <= Self::KEPT {
            // The beginning of the history is no operation.
            let mut ops: Vec<u64> = ops.into_iter().filter(|op| *op != 0).collect();
            ops.sort_unstable();
            ops.dedup();
            self.violations.push(Violation { rule, what: what(), ops });
        }
    }
}
