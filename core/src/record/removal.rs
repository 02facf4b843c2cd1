//! Which records a record of a removal took out of the log.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{RecordKind, RecordOutcome, is_removed, link::Performed};
use crate::{operation::Op, retention::SequenceRange};

/// The one operation that removes records.
pub(super) const REMOVES: &str = "audit.remove";

/// The operation whose records have the bytes of a catalog. It is of the cluster, and yet those records go with the changes that the
/// catalog stands for, once there is another one: see [`crate::state::State::held`].
const HOLDS_A_CATALOG: &str = "audit.catalog.put";

/// The operations on keys that authors sign with. Their records are kept for ever, as those of the cluster are: later changes
/// are verified by them.
pub(super) const SIGNING_KEYS: [&str; 2] = ["signing_key.put", "signing_key.revoke"];

/// What tells whether a record can be one of a removal: read alone, for nearly every record is none.
#[derive(Deserialize)]
struct Head {
    kind: RecordKind,
    outcome: RecordOutcome,
}

#[derive(Deserialize)]
struct Operations<'a> {
    #[serde(borrow)]
    operations: Vec<Recorded<'a>>,
}

#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    operation: &'a RawValue,
}

#[derive(Deserialize)]
struct Removal {
    ranges: Vec<SequenceRange>,
}

/// The records that the change of this row of the audit log removed: none, unless it is the record of a removal. `None`:
/// it is no row of the log.
pub fn removed_by(row: &[u8]) -> Option<Vec<SequenceRange>> {
    if is_removed(row) {
        return Some(Vec::new());
    }
    let Head { kind, outcome } = serde_json::from_slice(row).ok()?;
    if kind != RecordKind::System || outcome != RecordOutcome::Accepted {
        return Some(Vec::new());
    }
    let Operations { operations } = serde_json::from_slice(row).ok()?;
    let mut removed = Vec::new();
    for Recorded { operation } in operations {
        let Op { op } = serde_json::from_str(operation.get()).ok()?;
        if op == REMOVES {
            let Removal { ranges } = serde_json::from_str(operation.get()).ok()?;
            removed.extend(ranges);
        }
    }
    Some(removed)
}

/// What retention judges a record by. It is read from the record's bytes without the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Its kind.
    pub kind: RecordKind,
    /// The kind whose rule it goes by; `None`: it is kept for ever. A part of a catalog goes by the rule of changes.
    pub goes_as: Option<RecordKind>,
    /// Its record time, in milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// Its revision, where it took one.
    pub revision: Option<u64>,
}

#[derive(Deserialize)]
struct AgeFields<'a> {
    kind: RecordKind,
    time_ms: i64,
    revision_before: u64,
    revision_after: u64,
    #[serde(borrow)]
    operations: Vec<Performed<'a>>,
}

impl Age {
    /// Reads it from a record's bytes. `None` when they are not a record's.
    pub fn read(record: &[u8]) -> Option<Self> {
        let fields: AgeFields<'_> = serde_json::from_slice(record).ok()?;
        let any =
            |ops: &[&str]| fields.operations.iter().any(|performed| ops.contains(&&*performed.operation.op));
        let goes_as = match fields.kind {
            RecordKind::System if any(&[HOLDS_A_CATALOG]) => Some(RecordKind::Change),
            RecordKind::System => None,
            RecordKind::Change if any(&SIGNING_KEYS) => None,
            kind => Some(kind),
        };
        let took_one = fields.revision_after > fields.revision_before;
        let revision = took_one.then_some(fields.revision_after);
        Some(Self { kind: fields.kind, goes_as, time_ms: fields.time_ms, revision })
    }
}
