//! What a verified file holds.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{checkpoint::Origin, merkle::Hash, record::RecordKind};

/// What a file that is good holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The log.
    #[serde(serialize_with = "as_text")]
    pub origin: Origin,
    /// The first record that was asked for.
    pub from: u64,
    /// The one behind the last that was asked for.
    pub to: u64,
    /// By what records were chosen. The exporter's own words.
    pub filter: Option<Map<String, Value>>,
    /// When the file was made, in milliseconds since 1970 UTC. The exporter's own words.
    pub exported_at_ms: i64,
    /// The size of the log that is proved.
    pub size: u64,
    /// Its root.
    #[serde(with = "crate::hexadecimal")]
    pub root: Hash,
    /// The record time of its last record, in milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// How many records are in the file.
    pub records: u64,
    /// How many of each kind.
    pub kinds: BTreeMap<RecordKind, u64>,
    /// The record times of the first and the last of them.
    pub times_ms: Option<(i64, i64)>,
    /// Records that are accounted for but not in the file, by the reason for it.
    pub skipped: Skipped,
    /// How many changes are signed by their authors.
    pub signed: u64,
    /// Those of them by keys whose registration is in the file. Whose the other keys are stands on the records' word.
    pub signed_by_registered: u64,
    /// The names of the trusted nodes that signed.
    pub signers: Vec<String>,
    /// How many of them had to.
    pub quorum: usize,
    /// The names under other signatures, of keys that are not trusted: they count for nothing.
    pub unknown_signers: Vec<String>,
    /// The sizes of the checkpoints that were seen before and that the log agrees with.
    pub witnessed: Vec<u64>,
}

/// How many records are not in the file, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// They are not of the range that was asked for.
    pub range: u64,
    /// They are not what was asked for.
    pub filter: u64,
    /// Retention removed them.
    pub removed: u64,
    /// Those of them of which no record in the file says so. Only where the file has not all records behind them.
    pub removed_unexplained: u64,
}

fn as_text<T: fmt::Display, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
