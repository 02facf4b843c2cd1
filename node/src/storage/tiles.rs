//! The complete tiles of the audit log's tree. What is in one is the business of [`crate::raft`].

use flagraft_core::merkle::tile::Tile;

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
    pub fn tile(&self, tile: Tile) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.family(AUDIT_TILES), tile_key(self.group, tile))?)
    }

    /// Writes a complete tile ahead of the state that counts its last record. One that is of counted records alone is
    /// passed over, for it is there already. Durable after the next sync.
    ///
    /// # Errors
    /// When the database fails.
    pub fn stage_tile(&self, tile: Tile, bytes: &[u8]) -> Result<(), StorageError> {
        // Held while it is written: a staged tile never replaces a counted one.
        let tail = self.tail();
        if tile.is_complete_in(tail.counted) {
            return Ok(());
        }
        let mut batch = self.batch();
        batch.tile(tile, bytes);
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

#[cfg(test)]
mod tests {
    use rocksdb::DB;

    use super::{
        super::{StorageMetrics, StorageOptions, schema},
        *,
    };

    /// An earlier version made no family for tiles. What it never had is made, and what it had is missed.
    #[test]
    fn a_folder_without_the_family_of_tiles_is_given_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let open = || {
            let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry");
            Storage::open(StorageOptions::new(dir.path(), 1, metrics))
        };
        let without = |family: &str| {
            let families = schema::families();
            let mut db =
                DB::open_cf_descriptors(&schema::options(), dir.path().join("db"), families).expect("opens");
            db.drop_cf(family).expect("dropped");
        };
        let tile = Tile { level: 0, index: 0 };
        let storage = open().expect("a new folder");
        let mut batch = storage.batch();
        batch.tile(tile, &[7; 8_192]);
        batch.commit().expect("writes");
        // From now on the folder has something to lose.
        storage.floor().write(vec![1]).expect("written");
        drop(storage);

        without(AUDIT_TILES);
        let storage = open().expect("a folder of an earlier version");
        assert_eq!(storage.tile(tile).expect("reads"), None);
        drop(storage);
        without(schema::AUDIT);
        let refused = open().map(drop).expect_err("records can't be made anew").to_string();
        assert!(refused.contains("no column family audit"), "{refused}");
    }
}
