//! Calls on what the audit log keeps: for how long, and what is under a legal hold.

use flagraft_core::retention::KeepDays;
use serde::{Deserialize, Serialize};

use super::{call::Call, change::Receipt, json::AsJson, why::Why};

/// What the audit log keeps.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Retention {
    /// For how many days records of each kind are kept.
    pub keep_days: KeepDays,
    /// The revision that changed that last; 0: none did.
    pub revision: u64,
    /// The legal holds, in the order of their ids.
    pub holds: Vec<Hold>,
    /// The catalog that the kept changes go on from; `None`: all are kept.
    pub edge: Option<Edge>,
}

/// The catalog that stands for the changes that were removed, or are to be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Edge {
    /// Its revision: the oldest one that can be asked for.
    pub revision: u64,
    /// The history of that revision.
    pub history: String,
    /// When that revision was made, an RFC 3339 time.
    pub time: String,
    /// The sequence of the record that made it.
    pub sequence: u64,
    /// The SHA-256 of the catalog, in hexadecimal.
    pub sha256: String,
    /// The sequences of the audit records that have its bytes.
    pub records: Vec<u64>,
}

/// A legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Hold {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub reason: String,
    /// The sequence of the first record that is held.
    pub from: u64,
    /// The sequence after the last one; `None`: all that comes is held.
    pub to: Option<u64>,
    /// When it was put first, an RFC 3339 time.
    pub created_at: String,
    /// The revision that last wrote it.
    pub revision: u64,
}

/// The stretch of the log that a hold is of: from a sequence or a time on, and up to before one, if one is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// The sequence of the first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The sequence after the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// The RFC 3339 time of the first record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The RFC 3339 time, one that is past, before which the last record is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// What the audit log keeps.
pub fn get() -> Call<Retention> {
    Call::get(path()).answering()
}

/// Says for how many days records of each kind are kept. Kinds without a number are kept for ever.
pub fn put(keep_days: &impl AsJson<KeepDays>, why: impl Into<Why>) -> Call<Receipt> {
    #[derive(Serialize)]
    struct Fields<'a, T> {
        keep_days: &'a T,
    }
    Call::put(path(), why.into().body(Fields { keep_days })).answering()
}

/// Puts a legal hold, or another one in its place. The reason is the hold's own too.
pub fn put_hold(id: &str, stretch: &Stretch, why: impl Into<Why>) -> Call<Receipt> {
    Call::put(hold(id), why.into().body(stretch)).answering()
}

/// Lifts a legal hold.
pub fn delete_hold(id: &str, why: impl Into<Why>) -> Call<Receipt> {
    Call::delete(hold(id), why).answering()
}

fn path() -> [&'static str; 4] {
    ["api", "v1", "audit", "retention"]
}

fn hold(id: &str) -> [&str; 5] {
    ["api", "v1", "audit", "holds", id]
}
