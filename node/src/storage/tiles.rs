//! The complete tiles of the audit log's tree. What is in one is the business of [`crate::raft`].

use super::{
    Storage,
    error::StorageError,
    schema::{AUDIT_TILES, tile_key},
};
#[cfg(test)]
use super::{
    batch::Batch,
    schema::{end_of, prefixed},
};

impl Storage {
    /// A complete tile; `None` where there is none. One beyond the counted records says nothing, and is written anew
    /// when the records that it is of are counted.
    ///
    /// # Errors
    /// When the database fails.
    pub fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.family(AUDIT_TILES), tile_key(self.group, level, index))?)
    }

    /// Writes a tile that the record before `end` completes, ahead of the state that counts that record. One that is
    /// of counted records alone is passed over, for it is there already. Durable after the next sync.
    ///
    /// # Errors
    /// When the database fails.
    pub fn stage_tile(&self, level: u8, index: u64, end: u64, bytes: &[u8]) -> Result<(), StorageError> {
        // Held while it is written: a staged tile never replaces a counted one.
        let tail = self.tail();
        if end <= tail.counted {
            return Ok(());
        }
        let mut batch = self.batch();
        batch.tile(level, index, bytes);
        self.write(batch.into_writes())
    }

    /// Test only: removes all tiles.
    #[cfg(test)]
    pub(crate) fn drop_tiles(&self) {
        let mut writes = Batch::into_writes(self.batch());
        let (from, to) = (prefixed(self.group, &[]), end_of(self.group).to_vec());
        writes.delete_range_cf(self.family(AUDIT_TILES), from, to);
        self.write(writes).expect("the database takes it");
    }
}
