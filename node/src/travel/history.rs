//! The records that tell of one flag, the newest first.
//!
//! There is no index of them: the log is read backwards, and nearly every record is passed over by a search for the
//! flag's name in its bytes. A page reads so many records at most, and says where the next one goes on.

use std::ops::ControlFlow;

use flagraft_core::{
    key::{FlagKey, ProjectKey},
    travel::may_concern_flag,
};
use memchr::memmem::Finder;

use super::LogError;
use crate::storage::{AuditRow, Storage};

/// Records that one page looks at, at most.
const LOOKED_AT_MAX: u64 = 100_000;
/// Bytes of records on one page, at most; one record may be more.
const BYTES_MAX: usize = 4 << 20;

/// Some records that tell of a flag.
#[derive(Debug)]
pub struct HistoryPage {
    /// The records, the newest first.
    pub records: Vec<AuditRow>,
    /// Where the next page goes on: before this sequence. `None` at the start of the log.
    pub next: Option<u64>,
}

/// At most `limit` records before sequence `before` that tell of a flag. This blocks.
pub(super) fn page(
    storage: &Storage,
    project: &ProjectKey,
    flag: &FlagKey,
    before: u64,
    limit: usize,
) -> Result<HistoryPage, LogError> {
    let name = serde_json::to_string(flag).unwrap_or_default();
    let needles = [name.as_str(), "\"environment.delete\"", "\"project.delete\""].map(Finder::new);
    let (mut records, mut bytes, mut next) = (Vec::new(), 0_usize, None);
    let end = before.saturating_sub(LOOKED_AT_MAX);
    storage.scan_audit_back::<LogError>(before, |sequence, row| {
        let may = needles.iter().any(|needle| needle.find(row).is_some());
        if may && may_concern_flag(row, project, flag) {
            bytes = bytes.saturating_add(row.len());
            records.push(AuditRow { sequence, bytes: row.to_vec() });
        }
        if sequence > 0 && (records.len() >= limit || bytes >= BYTES_MAX || sequence <= end) {
            next = Some(sequence);
            return Ok(ControlFlow::Break(()));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(HistoryPage { records, next })
}
