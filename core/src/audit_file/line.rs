//! The lines of a file that are not records.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{checkpoint::Origin, merkle::Hash};

/// What a file says of itself, in its first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`](super::FORMAT).
    #[serde(rename = "flagraft_audit")]
    pub format: u32,
    /// The log.
    #[serde(with = "text")]
    pub origin: Origin,
    /// The first record that was asked for.
    pub from: u64,
    /// The record behind the last one that was asked for.
    pub to: u64,
    /// The size of the log that the file accounts for: that of its checkpoint.
    pub size: u64,
    /// By what records were chosen within the range. The exporter's own words: nothing proves that it kept to it.
    pub filter: Option<Map<String, Value>>,
    /// When the file was made, in milliseconds since 1970 UTC, by the exporter's clock.
    pub exported_at_ms: i64,
}

/// Why records are not in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// They are not of the range that was asked for.
    Range,
    /// They are not what was asked for.
    Filter,
    /// Their time was over: retention removed them from the log.
    Removed,
}

impl Why {
    /// The word for it in a file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::Filter => "filter",
            Self::Removed => "removed",
        }
    }
}

/// The leaf hashes of the records before it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hashes<'a> {
    pub from: u64,
    #[serde(borrow)]
    pub leaves: Cow<'a, str>,
}

/// Records that are not in the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SkippedRange<'a> {
    pub from: u64,
    pub to: u64,
    pub why: Why,
    #[serde(borrow)]
    pub hashes: Vec<Cow<'a, str>>,
}

/// The end of a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trailer<'a> {
    #[serde(borrow)]
    pub checkpoint: Cow<'a, str>,
    #[serde(borrow)]
    pub keys: Vec<Cow<'a, str>>,
    pub records: u64,
    /// SHA-256 of all lines before this one that are not records, each with its end, of the note, and of the keys, each with
    /// `0x0A` behind it: 64 lower-case hexadecimal digits.
    #[serde(borrow)]
    pub sha256: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HashesLine<'a> {
    #[serde(borrow)]
    pub hashes: Hashes<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SkippedLine<'a> {
    #[serde(borrow)]
    pub skipped: SkippedRange<'a>,
}

impl Trailer<'_> {
    /// The hash that such a trailer states behind such lines.
    pub fn sha256_behind(&self, lines: &Sha256) -> String {
        let mut sha256 = lines.clone();
        sha256.update(self.checkpoint.as_bytes());
        for key in &self.keys {
            sha256.update(key.as_bytes());
            sha256.update(b"\n");
        }
        hex::encode(sha256.finalize())
    }
}

/// What kind of line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Hashes,
    Skipped,
    Trailer,
    /// A record, or what may have been one.
    Other,
}

impl Kind {
    /// By how a line of JSON begins.
    pub fn of(json: &[u8]) -> Self {
        let begins = |with: &str| json.starts_with(with.as_bytes());
        if begins("{\"version\":") {
            Self::Other
        } else if begins("{\"hashes\":") {
            Self::Hashes
        } else if begins("{\"skipped\":") {
            Self::Skipped
        } else if begins("{\"checkpoint\":") {
            Self::Trailer
        } else if begins("{\"flagraft_audit\":") {
            Self::Header
        } else {
            Self::Other
        }
    }
}

/// Hashes in base64, one after the other.
pub(super) fn encode_hashes(hashes: &[Hash]) -> String {
    STANDARD.encode(hashes.as_flattened())
}

/// Reads what [`encode_hashes`] writes.
pub(super) fn decode_hashes(base64: &str) -> Option<Vec<Hash>> {
    let bytes = STANDARD.decode(base64).ok()?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.to_vec())
}

/// Values as their texts.
mod text {
    use std::{borrow::Cow, fmt, str::FromStr};

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub fn serialize<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: fmt::Display>,
        D: Deserializer<'de>,
    {
        Cow::<str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
