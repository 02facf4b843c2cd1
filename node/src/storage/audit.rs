//! The audit log as rows of bytes: sequence to record, exactly as `apply` wrote it.

use std::ops::{ControlFlow, Range};

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

    /// The rows with the first of these sequences: as many as it takes to have `bytes`, or all. This blocks.
    ///
    /// # Errors
    /// When the database fails, or one is missing.
    pub fn audit_rows(&self, sequences: &[u64], bytes: usize) -> Result<Vec<Vec<u8>>, StorageError> {
        let (mut rows, mut size) = (Vec::new(), 0_usize);
        for sequence in sequences {
            let row = self.db.get_cf(self.family(AUDIT), numbered(self.group, *sequence))?;
            let missing = || StorageError::corrupt(format!("audit record {sequence} is missing"));
            let row = row.ok_or_else(missing)?;
            size = size.saturating_add(row.len());
            rows.push(row);
            if size >= bytes {
                break;
            }
        }
        Ok(rows)
    }

    /// The rows from sequence `from` to before `to`, in order: as many as it takes to have `bytes`, or all. This blocks.
    ///
    /// # Errors
    /// When the database fails, or the records have a gap.
    pub fn audit_page(&self, from: u64, to: u64, bytes: usize) -> Result<Vec<AuditRow>, StorageError> {
        let (mut rows, mut size) = (Vec::new(), 0_usize);
        self.scan_audit::<StorageError>(from, |sequence, row| {
            if sequence < to && size < bytes {
                size = size.saturating_add(row.len());
                rows.push(AuditRow { sequence, bytes: row.to_vec() });
                return Ok(ControlFlow::Continue(()));
            }
            Ok(ControlFlow::Break(()))
        })?;
        Ok(rows)
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

    /// Where the records of `range` begin of which `is_beyond` holds: of none before them, and of all after; and the first of
    /// them, where there is one. `read` gives what it judges by, and `None` for what was removed: then the next one that is
    /// there speaks for it. It halves the range. This blocks.
    ///
    /// # Errors
    /// When the database fails, or `read` does.
    pub fn first_audit_record<T, E: From<StorageError>>(
        &self,
        range: Range<u64>,
        mut read: impl FnMut(u64, &[u8]) -> Result<Option<T>, E>,
        is_beyond: impl Fn(&T) -> bool,
    ) -> Result<(u64, Option<T>), E> {
        let Range { mut start, mut end } = range;
        let mut found = None;
        while start < end {
            let middle = start + (end - start) / 2;
            let mut told = None;
            self.scan_audit::<E>(middle, |sequence, row| {
                told = read(sequence, row)?.map(|told| (sequence, told));
                let goes_on = told.is_none() && sequence.saturating_add(1) < end;
                Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            match told {
                Some((sequence, told)) if !is_beyond(&told) => start = sequence.saturating_add(1),
                beyond => {
                    found = beyond.map(|(_, told)| told).or(found);
                    end = middle;
                }
            }
        }
        Ok((start, found))
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

    /// Test only: what somebody with the disk in hand could do.
    #[cfg(test)]
    pub(crate) fn alter_record(&self, sequence: u64, bytes: &[u8]) {
        self.db
            .put_cf(self.family(AUDIT), numbered(self.group, sequence), bytes)
            .expect("the database takes it");
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
