//! One thing that one client did, and what came of it.

use serde::{Deserialize, Serialize};

/// One line of a history. Times are nanoseconds on the monotonic clock of the process that recorded them, from the
/// beginning of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Its number in the history, from 1.
    pub op: u64,
    /// Who did it. A client does one thing after the other.
    pub client: u32,
    /// The node that was asked; the last one, if it was tried on several.
    pub node: u64,
    /// Operations of one session see revisions that never fall, each compared with those that ended before it began.
    /// Whoever records says what is a session: reads that each carry the last revision as their minimum, or reads through
    /// one node while it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// When it began, before anything was sent.
    pub start_ns: u64,
    /// When it was answered or given up.
    pub end_ns: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// The revision that the answer or the event named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// What it was.
    pub did: Did,
}

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing yet: the line that announces a write before it is sent. [`crate::history::Reader`] gives none of these: it
    /// gives the line that followed, or [`Outcome::Unknown`] if the recording process ended before there was one.
    Begun,
    /// It was done, and answered.
    Ok,
    /// It was refused, so it was surely not done. Of a read: there was no answer, or one that was no use.
    Failed,
    /// Nobody knows whether it was done, or will be.
    Unknown,
}

/// What an operation was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Did {
    /// One change, of one flag or of several: all or nothing. However often it was tried, under one `Idempotency-Key`, it
    /// is one operation. No flag is given the same value twice in a history.
    Write {
        /// Which flags were set to what.
        set: Vec<(String, u64)>,
    },
    /// A read of one flag, or of many at once.
    Read {
        /// What was asked for.
        asked: Asked,
        /// What the answer said of each flag; `None`: there is no such flag. What a safe variant stood for is left out.
        saw: Vec<(String, Option<u64>)>,
        /// What the answer said of itself; `None`: there was no answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        consistency: Option<Consistency>,
        /// The age that the answer stated; `None`: it stated none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        age_ms: Option<u64>,
    },
    /// Something that happened to a follower of the environment's stream.
    Stream {
        /// The follower, through whatever nodes it follows. Its operations are recorded in its order.
        stream: u64,
        /// What happened.
        event: Event,
    },
}

/// What a read asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// Nothing: ordinary flags, from the local state of the node.
    Ordinary,
    /// Nothing, but among the flags is a critical one.
    Critical,
    /// `Flagraft-Consistency: linearizable`.
    Linearizable,
    /// `Flagraft-Min-Revision`: a state of this revision or a later one.
    MinRevision(u64),
    /// `Flagraft-Max-Age-Ms`: a state that is no older than this.
    MaxAgeMs(u64),
}

/// What an answer said of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Consistency {
    /// From the node's own state.
    Local,
    /// Confirmed by a quorum after it was asked.
    Linearizable,
    /// Not confirmed in time: critical flags have their safe variants.
    SafeVariant,
}

/// What happened to a follower. The revision is the operation's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A node took its request for what comes after this revision; `None`: for a beginning.
    Asked {
        /// The last revision it was sent.
        after: Option<u64>,
    },
    /// It was sent the whole environment.
    Snapshot {
        /// The last revision that touched the environment.
        touched: u64,
        /// Every flag of the environment that the history knows.
        flags: Vec<(String, Option<u64>)>,
    },
    /// It was sent one change.
    Change {
        /// The last revision before this one that touched the environment.
        previous: u64,
        /// The flags that it changed, and what to.
        set: Vec<(String, u64)>,
    },
    /// It was told that it misses nothing up to the revision.
    Progress {
        /// The last revision that touched the environment.
        touched: u64,
    },
}

impl Operation {
    /// Whether its answer is bound to be the newest state there was: it says so itself, or it changed it.
    pub fn is_linearizable(&self) -> bool {
        match &self.did {
            Did::Write { .. } => true,
            Did::Read { consistency, .. } => *consistency == Some(Consistency::Linearizable),
            Did::Stream { .. } => false,
        }
    }
}
