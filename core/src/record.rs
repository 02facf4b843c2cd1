//! The audit record: what the log keeps of a proposal for ever.
//!
//! There is one writer, [`Record::to_bytes`], called once, in `apply`. Every hash is over exactly those bytes, so
//! the order of the fields below is part of the format: it never changes, and new fields need a new version.

mod link;
mod removal;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    account::{Access, Evaluations},
    canonical::Canonical,
    identity::History,
    key::{EnvironmentKey, ProjectKey},
    limits::{RECORD_SMALL_VALUE_BYTES_MAX, RECORD_VALUES_BYTES_MAX},
    merkle::{Hash, leaf_hash},
    proposal::{Actor, Cause, Denials},
    rejection::Rejection,
    signing::RecordSignature,
};

pub(crate) use self::link::Performed;
pub use self::{
    link::{Broken, Chain, Link},
    removal::{Age, removed_by},
};

/// The version of [`Record`]'s format, for records of what version 1 had already: these stay as they were, byte for byte.
pub const RECORD_VERSION: u32 = 1;
/// The version of records that hold what version 1 had not: a signature, evaluations or accesses.
pub const RECORD_VERSION_2: u32 = 2;

/// What kind of entry a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// A change that was accepted, or that changed nothing.
    Change,
    /// A change that the state refused.
    Rejected,
    /// A change that its token does not grant, or a count of requests without a good token.
    Denied,
    /// Somebody read what is worth recording.
    Access,
    /// A summary of evaluations.
    Evaluations,
    /// The cluster itself changed: it was founded, or its members, leader or version were.
    System,
}

impl RecordKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Change, Self::Rejected, Self::Denied, Self::Access, Self::Evaluations, Self::System];

    /// Its name, as JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Change => "change",
            Self::Rejected => "rejected",
            Self::Denied => "denied",
            Self::Access => "access",
            Self::Evaluations => "evaluations",
            Self::System => "system",
        }
    }
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOutcome {
    /// It took effect.
    Accepted,
    /// It is valid and the state was so already; it took no revision.
    Unchanged,
    /// It was rejected.
    Rejected,
    /// It is a note; there was nothing to decide.
    Noted,
}

/// What a change touches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordTouches {
    /// The environments whose evaluation it may change.
    pub environments: BTreeSet<EnvironmentKey>,
    /// Whether it touches a critical flag, or a prerequisite or segment that one depends on.
    pub critical: bool,
}

/// One record. `V` is how the values in its operations are held: as [`Value`]s where a record is looked at, as texts
/// where it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record<V = Value> {
    /// [`RECORD_VERSION`] or [`RECORD_VERSION_2`].
    pub version: u32,
    /// The history it belongs to.
    pub history: History,
    /// The Raft group.
    pub group: u32,
    /// Its place in the log, from 0: the leaf's index in the tree.
    pub sequence: u64,
    /// Record time, in milliseconds since 1970 UTC: never earlier than the record before.
    pub time_ms: i64,
    /// When the leader proposed it, by the leader's clock.
    pub proposed_at_ms: i64,
    /// The node that stamped it.
    pub node: u64,
    /// Raft's term of the entry.
    pub term: u64,
    /// Raft's index of the entry.
    pub index: u64,
    /// The request's id.
    pub request_id: String,
    /// What kind of entry it is of.
    pub kind: RecordKind,
    /// Who asked.
    pub actor: Actor,
    /// The project.
    pub project: Option<ProjectKey>,
    /// What it touches.
    pub touches: RecordTouches,
    /// Why.
    pub reason: String,
    /// The ticket.
    pub ticket: Option<String>,
    /// What caused it, where that is not a person's request.
    pub caused_by: Option<Cause>,
    /// The sequence of the record that it takes back.
    pub reverts: Option<u64>,
    /// Who approved it.
    pub approvals: Vec<Value>,
    /// The author's signature, found good.
    pub signature: Option<RecordSignature>,
    /// The revision before.
    pub revision_before: u64,
    /// The revision after: the same, unless the change was accepted.
    pub revision_after: u64,
    /// The operations, each with what it wrote before and after.
    pub operations: Vec<RecordedOperation<V>>,
    /// The count of refused requests, in a record of that.
    pub denials: Option<Denials>,
    /// The count of evaluations, in a record of that. From version 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<Evaluations>,
    /// The count of reads, in a record of that. From version 2 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// What became of it.
    pub outcome: RecordOutcome,
    /// Why it was rejected.
    pub rejection: Option<Rejection>,
    /// The digest of the state after.
    pub digest: String,
    /// 16 random bytes, so that the hash of a removed record cannot be guessed.
    #[serde(with = "crate::hexadecimal")]
    pub salt: [u8; 16],
}

/// One operation in a record.
///
/// Operations that write an object as a whole (`flag.put`, `flag.configure`, `environment.put`) keep that object; narrow
/// ones keep the part that they change: `flag.disable` `{"enabled": true}` and `{"enabled": false}`, `rule.put` the rule
/// and its position, `rollout.set` the weights, `targets.add` the values that moved. What finds no room in the record is
/// replaced: see `Room`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedOperation<V = Value> {
    /// The operation, without secrets.
    pub operation: V,
    /// What it wrote, before; `null`: it did not exist, or the operation says all (a segment's members).
    pub before: V,
    /// What it wrote, after.
    pub after: V,
}

/// The room that a record has for values before and after: a change of many operations on large objects must not make
/// a record that no member can hold.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    left_bytes: usize,
}

impl Room {
    /// The room of a fresh record.
    pub fn new() -> Self {
        Self { left_bytes: RECORD_VALUES_BYTES_MAX }
    }

    /// What the record keeps of a value: the value itself if it is small or there is room, else [`omitted`].
    pub fn keep(&mut self, value: Canonical) -> Canonical {
        let bytes = value.as_str().len();
        if bytes <= RECORD_SMALL_VALUE_BYTES_MAX {
            return value;
        }
        match self.left_bytes.checked_sub(bytes) {
            Some(left_bytes) => {
                self.left_bytes = left_bytes;
                value
            }
            None => omitted(value.as_str()).into(),
        }
    }
}

/// What stands for a value that a record does not keep: `{"omitted": {"bytes": .., "sha256": ".."}}`, the size and the
/// SHA-256 of its canonical JSON.
pub(crate) fn omitted(json: &str) -> Value {
    json!({"omitted": {"bytes": json.len(), "sha256": hex::encode(Sha256::digest(json))}})
}

/// A record as it is stored: the bytes that are hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordBytes {
    /// Its place in the log.
    pub sequence: u64,
    /// Its JSON.
    pub bytes: Vec<u8>,
    /// Its leaf hash.
    pub leaf: Hash,
}

/// The first byte of a tombstone. A record's JSON begins with `{`.
const TOMBSTONE: u8 = 0;

/// Bytes of a tombstone: its first byte, and the hash.
pub const TOMBSTONE_BYTES: usize = 33;

/// What stands in the log's place for a record that retention removed: a byte 0x00, and the record's leaf hash.
pub fn tombstone(leaf: &Hash) -> [u8; TOMBSTONE_BYTES] {
    let mut row = [TOMBSTONE; TOMBSTONE_BYTES];
    row.iter_mut().skip(1).zip(leaf).for_each(|(to, from)| *to = *from);
    row
}

/// Whether a stored row of the audit log stands for a record that was removed.
pub fn is_removed(row: &[u8]) -> bool {
    row.len() == TOMBSTONE_BYTES && row.first() == Some(&TOMBSTONE)
}

/// The leaf hash of a stored row of the audit log, be it a record's JSON or a tombstone. `None` when it is neither.
pub fn row_leaf_hash(row: &[u8]) -> Option<Hash> {
    match row.split_first()? {
        (b'{', _) => Some(leaf_hash(row)),
        (&TOMBSTONE, hash) => hash.try_into().ok(),
        _ => None,
    }
}

/// What most records have room in.
const USUAL_BYTES: usize = 4_096;

impl<V: Serialize> Record<V> {
    /// The record's one and only encoding: compact JSON, the fields in their order above, the keys of maps sorted.
    pub fn to_bytes(&self) -> RecordBytes {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        // A record is made of strings, integers and JSON values, and the sink is memory: writing it cannot fail.
        let _ = serde_json::to_writer(&mut bytes, self);
        RecordBytes { sequence: self.sequence, leaf: leaf_hash(&bytes), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_record_or_a_tombstone() {
        let record = br#"{"version":1}"#;
        assert_eq!(row_leaf_hash(record), Some(leaf_hash(record)));
        let removed = tombstone(&leaf_hash(record));
        assert_eq!(row_leaf_hash(&removed), Some(leaf_hash(record)), "a removed record keeps its leaf");
        assert!(is_removed(&removed) && !is_removed(record));
        for neither in [&removed[1..], &removed[..32], b"", b"[]", b" {}", &[0], &[0; 34], &[1; 33]] {
            assert_eq!(row_leaf_hash(neither), None, "{neither:?}");
            assert!(!is_removed(neither), "{neither:?}");
        }
    }
}
