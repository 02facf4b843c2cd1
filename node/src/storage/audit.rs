//! The audit log as rows of bytes: sequence to record, exactly as `apply` wrote it.

use std::ops::ControlFlow;

use rocksdb::{IteratorMode, ReadOptions};

use super::{
    Storage,
    error::StorageError,
    schema::{AUDIT, end_of, number_of, numbered},
};

/// One stored audit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its place in the log, from 0.
    pub sequence: u64,
    /// Its bytes, which are what its leaf hash is over.
    pub bytes: Vec<u8>,
}

impl Storage {
    /// At most `limit` records from sequence `from` on, in order. This blocks.
    ///
    /// Records of a change can be here an instant before the state that counts them is published, and those of a
    /// snapshot long before: a reader stops at the published state's sequence.
    ///
    /// # Errors
    /// When the database fails, or the records have a gap.
    pub fn audit_range(&self, from: u64, limit: usize) -> Result<Vec<AuditRow>, StorageError> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        self.scan_audit::<StorageError>(from, |sequence, bytes| {
            found.push(AuditRow { sequence, bytes: bytes.to_vec() });
            Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(found)
    }

    /// The rows with these sequences. This blocks.
    ///
    /// # Errors
    /// When the database fails, or one is missing.
    pub fn audit_rows(&self, sequences: &[u64]) -> Result<Vec<Vec<u8>>, StorageError> {
        let (Some(first), Some(last)) = (sequences.first(), sequences.last()) else { return Ok(Vec::new()) };
        let is_run = sequences.windows(2).all(|pair| matches!(pair, [a, b] if a.checked_add(1) == Some(*b)));
        let missing = |sequence: &u64| StorageError::corrupt(format!("audit record {sequence} is missing"));
        if is_run {
            let rows = self.audit_range(*first, sequences.len())?;
            return match rows.len() == sequences.len() {
                true => Ok(rows.into_iter().map(|row| row.bytes).collect()),
                false => Err(missing(last)),
            };
        }
        let read = |sequence: &u64| {
            let row = self.db.get_cf(self.family(AUDIT), numbered(self.group, *sequence))?;
            row.ok_or_else(|| missing(sequence))
        };
        sequences.iter().map(read).collect()
    }

    /// Visits the records from sequence `from` on, in order, until `visit` breaks: for those who need not have them
    /// in memory. This blocks.
    ///
    /// # Errors
    /// When the database fails, the records have a gap, or `visit` fails.
    pub fn scan_audit<E: From<StorageError>>(
        &self,
        from: u64,
        mut visit: impl FnMut(u64, &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut expected = from;
        self.scan_audit_rows(from, |sequence, bytes| {
            // Beyond the last record there is nothing, and before it everything.
            if sequence != expected {
                return Err(StorageError::corrupt(format!(
                    "the audit log has record {sequence} where record {expected} belongs"
                ))
                .into());
            }
            expected = expected.saturating_add(1);
            visit(sequence, bytes)
        })
    }

    /// Visits the records before sequence `before`, the newest first, until `visit` breaks. This blocks.
    ///
    /// # Errors
    /// As [`Storage::scan_audit`].
    pub fn scan_audit_back<E: From<StorageError>>(
        &self,
        before: u64,
        mut visit: impl FnMut(u64, &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(numbered(self.group, 0).to_vec());
        options.set_iterate_upper_bound(numbered(self.group, before).to_vec());
        let rows = self.db.iterator_cf_opt(self.family(AUDIT), options, IteratorMode::End);
        let mut expected = before;
        for row in rows {
            let (key, bytes) = row.map_err(|error| E::from(error.into()))?;
            expected = expected.saturating_sub(1);
            match number_of(&key) {
                Some(sequence) if sequence == expected => {}
                found => {
                    return Err(StorageError::corrupt(format!(
                        "the audit log has record {found:?} where record {expected} belongs"
                    ))
                    .into());
                }
            }
            if visit(expected, &bytes)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The same as [`Storage::scan_audit`], whether or not there is a gap.
    pub(super) fn scan_audit_rows<E: From<StorageError>>(
        &self,
        from: u64,
        mut visit: impl FnMut(u64, &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        for row in self.scan(AUDIT, numbered(self.group, from).to_vec(), end_of(self.group).to_vec()) {
            let (key, bytes) = row.map_err(StorageError::from)?;
            let sequence = number_of(&key)
                .ok_or_else(|| StorageError::corrupt("a key of the audit log is no sequence"))?;
            if visit(sequence, &bytes)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The sequence after the last stored record; 0 when there is none.
    ///
    /// # Errors
    /// When the database fails or the last key is no sequence.
    pub fn audit_end(&self) -> Result<u64, StorageError> {
        match self.last_row(AUDIT, &numbered(self.group, 0), &end_of(self.group))? {
            None => Ok(0),
            Some((key, _)) => number_of(&key)
                .and_then(|last| last.checked_add(1))
                .ok_or_else(|| StorageError::corrupt("the last key of the audit log is no sequence")),
        }
    }

    /// Removes the records from `end` on. Durable after the next sync.
    ///
    /// # Errors
    /// When the database fails.
    pub fn trim_audit(&self, end: u64) -> Result<(), StorageError> {
        let mut batch = self.batch();
        batch.trim_audit(end);
        self.write(batch.into_writes())
    }
}
