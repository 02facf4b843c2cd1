//! What travelling reads of an audit record, and nothing beyond it.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::NotReplayed;
use crate::{
    identity::History,
    key::ProjectKey,
    record::{RecordOutcome, is_removed},
};

/// The newest form of records in which operations are where they are looked for.
const RECORD_VERSION_MAX: u32 = 2;

/// Where a record stands, and when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The record's sequence.
    pub sequence: u64,
    /// The history it belongs to.
    pub history: History,
    /// Record time, in milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// The revision before it.
    pub revision_before: u64,
    /// The revision after it.
    pub revision: u64,
}

/// Where the record in a row of the audit log stands; `None` when it was removed.
///
/// # Errors
/// When the row is neither a record nor what stands for one that was removed.
pub fn moment(sequence: u64, row: &[u8]) -> Result<Option<Moment>, NotReplayed> {
    #[derive(Deserialize)]
    struct Head {
        history: History,
        sequence: u64,
        time_ms: i64,
        revision_before: u64,
        revision_after: u64,
    }
    if is_removed(row) {
        return Ok(None);
    }
    let head: Head = serde_json::from_slice(row).map_err(unreadable(sequence))?;
    if head.sequence != sequence {
        return Err(NotReplayed::Misplaced { expected: sequence, actual: head.sequence });
    }
    let Head { history, time_ms, revision_before, revision_after, .. } = head;
    Ok(Some(Moment { sequence, history, time_ms, revision_before, revision: revision_after }))
}

/// A record, with the operations still text.
#[derive(Debug, Deserialize)]
pub(super) struct Past<'a> {
    version: u32,
    pub history: History,
    sequence: u64,
    pub time_ms: i64,
    #[serde(borrow)]
    pub actor: PastActor<'a>,
    pub project: Option<ProjectKey>,
    pub revision_before: u64,
    pub revision_after: u64,
    #[serde(borrow)]
    pub operations: Vec<PastOperation<'a>>,
    pub outcome: RecordOutcome,
}

#[derive(Debug, Deserialize)]
pub(super) struct PastActor<'a> {
    #[serde(borrow)]
    pub id: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PastOperation<'a> {
    #[serde(borrow)]
    pub operation: &'a RawValue,
}

impl<'a> Past<'a> {
    /// Reads a row of the audit log; `None` when the record was removed.
    pub fn read(sequence: u64, row: &'a [u8]) -> Result<Option<Self>, NotReplayed> {
        if is_removed(row) {
            return Ok(None);
        }
        let past: Self = serde_json::from_slice(row).map_err(unreadable(sequence))?;
        if past.version > RECORD_VERSION_MAX {
            let why = format!("it is of version {}", past.version);
            return Err(NotReplayed::Unreadable { sequence, why });
        }
        if past.sequence != sequence {
            return Err(NotReplayed::Misplaced { expected: sequence, actual: past.sequence });
        }
        Ok(Some(past))
    }
}

/// What is wrong with the record at a sequence.
pub(super) fn unreadable(sequence: u64) -> impl Fn(serde_json::Error) -> NotReplayed {
    move |error| NotReplayed::Unreadable { sequence, why: error.to_string() }
}
