//! What ties one record of the log to the next.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, de::IgnoredAny};

use super::{
    RecordKind, RecordOutcome,
    removal::{REMOVES, SIGNING_KEYS},
};
use crate::{digest::Digest, identity::History, operation::Op};

/// What a record says of its place in the log. It is read from the record's bytes without the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its kind.
    pub kind: RecordKind,
    /// The history.
    pub history: History,
    /// Whether it is the one that begins its history: it founds the cluster, restores or recovers it.
    pub begins_history: bool,
    /// Whether its author signed it.
    pub signed: bool,
    /// Whether it registers or revokes keys that authors sign with.
    pub of_signing_keys: bool,
    /// Whether it removes records from the log.
    pub removes: bool,
    /// The Raft group.
    pub group: u32,
    /// Its place.
    pub sequence: u64,
    /// Its record time, in milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// The revision before it.
    pub revision_before: u64,
    /// The revision after it.
    pub revision_after: u64,
    /// The digest of the state after it.
    pub digest: Digest,
}

/// The fields that a link is read from.
#[derive(Deserialize)]
struct Fields<'a> {
    kind: RecordKind,
    #[serde(borrow)]
    history: Cow<'a, str>,
    group: u32,
    sequence: u64,
    time_ms: i64,
    revision_before: u64,
    revision_after: u64,
    project: Option<IgnoredAny>,
    signature: Option<IgnoredAny>,
    outcome: RecordOutcome,
    #[serde(borrow)]
    digest: Cow<'a, str>,
}

/// What tells whether a record begins a history, or is of keys or of the log itself.
#[derive(Deserialize)]
struct Operations<'a> {
    #[serde(borrow)]
    operations: Vec<Performed<'a>>,
}

/// One operation of a record, by its name.
#[derive(Deserialize)]
pub(crate) struct Performed<'a> {
    #[serde(borrow)]
    pub operation: Op<'a>,
}

/// The operations that begin a history.
const BEGINNINGS: [&str; 3] = ["system.bootstrap", "system.restore", "system.recover"];

impl Link {
    /// Reads it from a record's bytes. `None` when they are not a record's.
    pub fn read(record: &[u8]) -> Option<Self> {
        let fields: Fields<'_> = serde_json::from_slice(record).ok()?;
        let accepted = fields.outcome == RecordOutcome::Accepted;
        let of_system = accepted && fields.kind == RecordKind::System;
        // Nearly all records are of a project, and what is looked for is the cluster's.
        let all: Operations<'_> = match of_system || accepted && fields.project.is_none() {
            true => serde_json::from_slice(record).ok()?,
            false => Operations { operations: Vec::new() },
        };
        let any = |is: fn(&str) -> bool| all.operations.iter().any(|performed| is(&performed.operation.op));
        Some(Self {
            kind: fields.kind,
            history: fields.history.parse().ok()?,
            begins_history: of_system && any(|op| BEGINNINGS.contains(&op)),
            signed: fields.signature.is_some(),
            of_signing_keys: any(|op| SIGNING_KEYS.contains(&op)),
            removes: of_system && any(|op| op == REMOVES),
            group: fields.group,
            sequence: fields.sequence,
            time_ms: fields.time_ms,
            revision_before: fields.revision_before,
            revision_after: fields.revision_after,
            digest: Digest::parse(&fields.digest)?,
        })
    }
}

/// Follows a log record by record, and says where one does not go on from the one before it.
#[derive(Clone, Debug)]
pub struct Chain {
    group: u32,
    next: u64,
    /// Of the last record seen, if there was one.
    last: Option<Link>,
    /// Whether records were passed over since.
    passed_over: bool,
}

/// How a record does not go on from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It states another place in the log than the one where it stands.
    Sequence {
        /// What it states.
        stated: u64,
    },
    /// It is of another Raft group.
    Group {
        /// Which.
        stated: u32,
    },
    /// It is of another history, and does not begin it.
    History {
        /// Which.
        stated: History,
        /// That of the record before.
        before: History,
    },
    /// The revision before it is not the one after the record before it, or its own one falls.
    Revision {
        /// What it begins from.
        stated: u64,
        /// The last one.
        before: u64,
    },
    /// It is earlier than the record before it.
    Time {
        /// Its time, in milliseconds since 1970 UTC.
        stated_ms: i64,
        /// The time of the record before it.
        before_ms: i64,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence { stated } => write!(f, "it says that it is record {stated}"),
            Self::Group { stated } => write!(f, "it is of another Raft group, {stated}"),
            Self::History { stated, before } => {
                write!(
                    f,
                    "it is of the history {stated}, which no record begins; the one before it is of {before}"
                )
            }
            Self::Revision { stated, before } => {
                write!(f, "it goes on from revision {stated}, and the log had come to revision {before}")
            }
            Self::Time { stated_ms, before_ms } => write!(
                f,
                "its time falls behind that of the record before it, from {before_ms} to {stated_ms} ms since 1970"
            ),
        }
    }
}

impl Chain {
    /// The log of a group, from its first record on.
    pub fn new(group: u32) -> Self {
        Self { group, next: 0, last: None, passed_over: false }
    }

    /// Passes over the records before this one: of the next record less can be said then.
    pub fn pass_over_to(&mut self, sequence: u64) {
        self.passed_over |= sequence != self.next;
        self.next = sequence;
    }

    /// The place of the record that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The last record that was followed.
    pub fn last(&self) -> Option<&Link> {
        self.last.as_ref()
    }

    /// Goes on to the next record.
    ///
    /// # Errors
    /// When it does not go on from the one before it. Then the chain stays where it is.
    pub fn follow(&mut self, link: &Link) -> Result<(), Broken> {
        if link.sequence != self.next {
            return Err(Broken::Sequence { stated: link.sequence });
        }
        if link.group != self.group {
            return Err(Broken::Group { stated: link.group });
        }
        if let Some(last) = &self.last {
            if link.time_ms < last.time_ms {
                return Err(Broken::Time { stated_ms: link.time_ms, before_ms: last.time_ms });
            }
            if link.history != last.history && !link.begins_history && !self.passed_over {
                return Err(Broken::History { stated: link.history, before: last.history });
            }
        }
        let before = self.last.as_ref().map_or(0, |last| last.revision_after);
        let goes_on =
            if self.passed_over { link.revision_before >= before } else { link.revision_before == before };
        if !goes_on || link.revision_after < link.revision_before {
            return Err(Broken::Revision { stated: link.revision_before, before });
        }
        self.last = Some(*link);
        self.next = self.next.saturating_add(1);
        self.passed_over = false;
        Ok(())
    }
}
