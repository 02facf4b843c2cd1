//! The edge of retention: the catalog that the kept changes go on from.
//!
//! A catalog of the past is made by performing the accepted changes up to it once more ([`crate::travel`]). So before changes are
//! removed, the catalog that they made is put into the log itself, in parts, each in a record of its own. Whoever has the
//! log has the catalog: a member that lagged, a backup, a restored cluster, and whoever verifies an export.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    identity::History,
    invalid::Invalid,
    limits::{EDGE_PART_BYTES_MAX, EDGE_PARTS_MAX},
    operation::AuditCatalogPut,
};

/// Which catalog it is that the kept changes go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeCatalog {
    /// Its revision: the oldest one that can still be made.
    pub revision: u64,
    /// The history of that revision.
    pub history: History,
    /// The sequence of the record that made the revision. The record itself may be gone.
    pub sequence: u64,
    /// The time of that record, in milliseconds since 1970 UTC.
    pub time_ms: i64,
    /// The SHA-256 of the catalog: every node finds the same for the same records.
    #[serde(with = "crate::hexadecimal")]
    pub sha256: [u8; 32],
    /// How many records its bytes take.
    pub parts: u32,
}

/// A catalog, and the records that have its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Which catalog it is.
    pub catalog: EdgeCatalog,
    /// The sequences of the records of its parts, in order. They are not removed before another edge is whole.
    pub records: Vec<u64>,
}

impl Edge {
    /// Whether the log has all of it.
    pub(crate) fn is_whole(&self) -> bool {
        u64::try_from(self.records.len()) == Ok(u64::from(self.catalog.parts))
    }
}

/// Checks a part of a catalog in itself.
///
/// # Errors
/// [`Invalid`] with the path to the first fault, relative to the operation.
pub(crate) fn check_part(fields: &AuditCatalogPut) -> Result<(), Invalid> {
    let AuditCatalogPut { catalog, part, content, .. } = fields;
    if catalog.parts == 0 || catalog.parts > EDGE_PARTS_MAX {
        return Err(Invalid::new(
            "/catalog/parts",
            format!("a catalog has 1 to {EDGE_PARTS_MAX} parts, not {}", catalog.parts),
        ));
    }
    if *part >= catalog.parts {
        return Err(Invalid::new(
            "/part",
            format!("parts are counted from 0 to {}", catalog.parts.saturating_sub(1)),
        ));
    }
    match BASE64_STANDARD.decode(content) {
        Ok(bytes) if (1..=EDGE_PART_BYTES_MAX).contains(&bytes.len()) => Ok(()),
        Ok(_) => Err(Invalid::new("/content", format!("a part has 1 to {EDGE_PART_BYTES_MAX} bytes"))),
        Err(_) => Err(Invalid::new("/content", "a part is given in Base64")),
    }
}
