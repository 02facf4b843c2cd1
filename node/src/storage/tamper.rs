//! Test only: what somebody with the disk in hand can do to it, past all that the node itself would do.

use flagraft_core::merkle::tile::Tile;
use rocksdb::{IteratorMode, WriteBatch};

use super::{
    Storage,
    error::StorageError,
    schema::{AUDIT, AUDIT_TILES, FAMILIES, numbered, tile_key},
};

impl Storage {
    /// Puts a row of the audit log, whatever it says.
    pub(crate) fn alter_record(&self, sequence: u64, bytes: &[u8]) {
        self.alter(|writes| writes.put_cf(self.family(AUDIT), numbered(self.group, sequence), bytes));
    }

    /// Removes a row of the audit log.
    pub(crate) fn drop_record(&self, sequence: u64) {
        self.alter(|writes| writes.delete_cf(self.family(AUDIT), numbered(self.group, sequence)));
    }

    /// Removes a tile.
    pub(crate) fn drop_tile(&self, tile: Tile) {
        self.alter(|writes| writes.delete_cf(self.family(AUDIT_TILES), tile_key(self.group, tile)));
    }

    /// Removes all tiles.
    pub(crate) fn drop_tiles(&self) {
        let all = tile_key(self.group, Tile { level: 0, index: 0 })
            ..tile_key(self.group, Tile { level: u8::MAX, index: u64::MAX });
        self.alter(|writes| writes.delete_range_cf(self.family(AUDIT_TILES), all.start, all.end));
    }

    /// A checksum of every row there is.
    ///
    /// # Errors
    /// When one can't be read.
    pub(crate) fn fingerprint(&self) -> Result<u32, StorageError> {
        let mut sum = 0;
        for family in FAMILIES {
            for row in self.db.iterator_cf(self.family(family), IteratorMode::Start) {
                let (key, value) = row?;
                sum = crc32c::crc32c_append(crc32c::crc32c_append(sum, &key), &value);
            }
        }
        Ok(sum)
    }

    fn alter(&self, write: impl FnOnce(&mut WriteBatch)) {
        let mut writes = WriteBatch::default();
        write(&mut writes);
        self.db.write(writes).expect("the database takes it");
    }
}
