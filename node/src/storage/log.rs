//! The Raft log as rows of bytes: index to encoded entry.

use std::ops::{ControlFlow, Range};

use rocksdb::WriteBatch;

use super::{
    Storage,
    error::StorageError,
    schema::{RAFT_LOG, end_of, number_of, numbered},
};

impl Storage {
    /// Appends entries. They can be read when this returns, and are durable after the next sync.
    ///
    /// # Errors
    /// When the database fails.
    pub fn append_log(
        &self,
        entries: impl IntoIterator<Item = (u64, Vec<u8>)>,
    ) -> Result<usize, StorageError> {
        let mut batch = WriteBatch::default();
        for (index, bytes) in entries {
            batch.put_cf(self.family(RAFT_LOG), numbered(self.group, index), bytes);
        }
        let count = batch.len();
        self.write(batch)?;
        Ok(count)
    }

    /// Visits the entries of `range` in order until `visit` breaks.
    ///
    /// # Errors
    /// When the database fails, a key is no index, or `visit` fails.
    pub fn scan_log<E: From<StorageError>>(
        &self,
        range: Range<u64>,
        mut visit: impl FnMut(u64, &[u8]) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        if range.is_empty() {
            return Ok(());
        }
        let from = numbered(self.group, range.start).to_vec();
        let to = if range.end == u64::MAX {
            end_of(self.group).to_vec()
        } else {
            numbered(self.group, range.end).to_vec()
        };
        for row in self.scan(RAFT_LOG, from, to) {
            let (key, bytes) = row.map_err(StorageError::from)?;
            let index =
                number_of(&key).ok_or_else(|| StorageError::corrupt("a key of the Raft log is no index"))?;
            if visit(index, &bytes)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The last entry, encoded, with its index.
    ///
    /// # Errors
    /// When the database fails or the key is no index.
    pub fn last_log(&self) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        let Some((key, bytes)) = self.last_row(RAFT_LOG, &numbered(self.group, 0), &end_of(self.group))?
        else {
            return Ok(None);
        };
        let index =
            number_of(&key).ok_or_else(|| StorageError::corrupt("a key of the Raft log is no index"))?;
        Ok(Some((index, bytes.into_vec())))
    }

    /// Removes the entries from `first` on. Durable after the next sync.
    ///
    /// # Errors
    /// When the database fails.
    pub fn truncate_log(&self, first: u64) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(
            self.family(RAFT_LOG),
            numbered(self.group, first).as_slice(),
            end_of(self.group).as_slice(),
        );
        self.write(batch)
    }

    /// Removes the entries of `range` from the front and notes the last purged log id, in one write.
    ///
    /// The caller passes the first index there is, so that the range covers no tombstones of earlier purges.
    ///
    /// # Errors
    /// When the database fails.
    pub fn purge_log(&self, range: Range<u64>, last_purged: &[u8]) -> Result<(), StorageError> {
        let mut batch = self.batch();
        batch.purge_log(range, last_purged);
        batch.commit()
    }
}
