//! The audit log as rows of bytes: sequence to record, exactly as `apply` wrote it.

use rocksdb::WriteBatch;

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
    /// Records of a change can be here an instant before the state that counts them is published: a reader stops
    /// at the published state's sequence.
    ///
    /// # Errors
    /// When the database fails, or the records have a gap.
    pub fn audit_range(&self, from: u64, limit: usize) -> Result<Vec<AuditRow>, StorageError> {
        let rows =
            self.scan(AUDIT, numbered(self.group, from).to_vec(), end_of(self.group).to_vec()).take(limit);
        let mut found = Vec::new();
        for (expected, row) in (from..).zip(rows) {
            let (key, bytes) = row?;
            match number_of(&key) {
                Some(sequence) if sequence == expected => {
                    found.push(AuditRow { sequence, bytes: bytes.into_vec() });
                }
                // Beyond the last record there is nothing, and before it everything.
                other => {
                    return Err(StorageError::corrupt(format!(
                        "the audit log has {other:?} where record {expected} belongs"
                    )));
                }
            }
        }
        Ok(found)
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

    /// Removes the records from `end` on: those of a snapshot whose installation was cut short.
    ///
    /// # Errors
    /// When the database fails.
    pub fn trim_audit(&self, end: u64) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(
            self.family(AUDIT),
            numbered(self.group, end).as_slice(),
            end_of(self.group).as_slice(),
        );
        self.write(batch)
    }
}
