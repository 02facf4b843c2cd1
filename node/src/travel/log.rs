//! Finding one's way in the audit log by revision and by time, both of which only rise.

use std::ops::ControlFlow;

use flagraft_core::travel::{Moment, moment};

use super::LogError;
use crate::storage::Storage;

/// The audit log as far as a published state counts it.
#[derive(Clone, Copy)]
pub(super) struct Log<'a> {
    pub storage: &'a Storage,
    /// The sequence after the last record.
    pub end: u64,
}

impl Log<'_> {
    /// Visits the rows of `[from, to)` in order, for as long as `visit` says.
    pub fn scan(
        &self,
        from: u64,
        to: u64,
        mut visit: impl FnMut(&[u8]) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        if from >= to {
            return Ok(());
        }
        self.storage.scan_audit(from, |sequence, row| {
            let goes_on = visit(row)? && sequence + 1 < to;
            Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }

    /// The record that made a revision; `None` when it is not kept any more, or has still to come.
    pub fn made(&self, revision: u64) -> Result<Option<Moment>, LogError> {
        let found = self.first(|moment| moment.revision >= revision)?;
        Ok(found.filter(|moment| moment.revision == revision && moment.revision_before < revision))
    }

    /// The revision that was in force at a time; `None`: the newest.
    pub fn revision_at(&self, time_ms: i64) -> Result<Option<u64>, LogError> {
        // A record that is gone changes nothing in what the next one says of the time before it.
        Ok(self.first(|moment| moment.time_ms > time_ms)?.map(|moment| moment.revision_before))
    }

    /// The first record of which `is_beyond` holds: of none before it, and of all after it.
    fn first(&self, is_beyond: impl Fn(&Moment) -> bool) -> Result<Option<Moment>, LogError> {
        let read = |sequence, row: &[u8]| Ok::<_, LogError>(moment(sequence, row)?);
        Ok(self.storage.first_audit_record(0..self.end, read, is_beyond)?.1)
    }
}
