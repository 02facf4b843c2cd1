//! The audit log's tree, kept so that any proof is quick to make: 256 hashes at a time.
//!
//! A tile of level 0 holds the hashes of 256 leaves, one of level 1 the roots of 256 tiles of level 0, and so on, as
//! C2SP's `tlog-tiles` has it. Complete tiles are on the disk, written in the batch that writes the record which
//! completes them. Those that are still growing, one a level, are in memory: start-up reads all records anyway.

use std::{collections::BTreeMap, sync::Arc};

use flagraft_core::merkle::{Frontier, Hash, leaf_hash, node_hash};

use crate::storage::{Storage, StorageError};

/// The hashes of a complete tile.
const WIDTH: usize = 256;
/// Levels of the tree in one level of tiles: 2 to this is [`WIDTH`].
const HEIGHT: u32 = 8;
/// Bytes of a hash.
pub(super) const HASH_BYTES: usize = 32;

/// A complete tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) level: u8,
    pub(super) index: u64,
    /// The size of the log whose last record completes it.
    pub(super) end: u64,
    /// Its hashes, one after the other.
    pub(super) bytes: Vec<u8>,
}

impl Tile {
    /// The first record that it is over.
    pub(super) fn first(&self) -> u64 {
        let records = 1_u64.checked_shl(HEIGHT * (u32::from(self.level) + 1)).unwrap_or(u64::MAX);
        self.end.saturating_sub(records)
    }
}

/// The tiles that are growing: what it takes to go on from a log of this size, and with the complete tiles all that
/// proofs are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenTiles {
    size: u64,
    /// By level, the lowest first: fewer than [`WIDTH`] hashes each.
    levels: Vec<Vec<Hash>>,
}

impl OpenTiles {
    /// How many records the log has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a record. Returns the tiles that it completes, the lowest first: nearly always none.
    pub(super) fn push(&mut self, record: &[u8]) -> Vec<Tile> {
        self.size = self.size.saturating_add(1);
        let mut complete = Vec::new();
        let mut hash = leaf_hash(record);
        let mut level = 0;
        loop {
            if self.levels.len() <= level {
                self.levels.push(Vec::with_capacity(WIDTH));
            }
            let Some(open) = self.levels.get_mut(level) else { return complete };
            open.push(hash);
            if open.len() < WIDTH {
                return complete;
            }
            hash = perfect_root(open);
            let bytes = open.concat();
            open.clear();
            let name = u8::try_from(level).unwrap_or(u8::MAX);
            complete.push(Tile { level: name, index: self.entries(name) / 256 - 1, end: self.size, bytes });
            level += 1;
        }
    }

    /// How many complete entries a level of tiles has: leaves, roots of 256 leaves, and so on.
    fn entries(&self, level: u8) -> u64 {
        self.size.checked_shr(HEIGHT * u32::from(level)).unwrap_or(0)
    }

    /// The tree's right edge, as the state has it.
    pub(super) fn frontier(&self) -> Option<Frontier> {
        let mut subtrees = Vec::new();
        for open in self.levels.iter().rev() {
            let mut rest = open.as_slice();
            for height in (0..HEIGHT).rev() {
                if open.len() & (1 << height) != 0 {
                    let (subtree, after) = rest.split_at_checked(1 << height)?;
                    subtrees.push(perfect_root(subtree));
                    rest = after;
                }
            }
        }
        Frontier::from_parts(self.size, subtrees)
    }

    /// The hashes of the open tile, if it is this one.
    fn open(&self, level: u8, index: u64) -> Option<&[Hash]> {
        let open = self.levels.get(usize::from(level))?;
        (self.entries(level) / 256 == index).then_some(open)
    }
}

/// The root of a perfect tree over these hashes, a power of two of them.
fn perfect_root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => Hash::default(),
        [only] => *only,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}

/// Looks the perfect subtrees of a published audit log up. One is made for one proof: it keeps the tiles it has read.
pub(crate) struct AuditTree {
    storage: Arc<Storage>,
    open: Arc<OpenTiles>,
    read: BTreeMap<(u8, u64), Vec<u8>>,
}

impl AuditTree {
    pub(crate) fn new(storage: Arc<Storage>, open: Arc<OpenTiles>) -> Self {
        Self { storage, open, read: BTreeMap::new() }
    }

    /// How many records the log has.
    pub(crate) fn size(&self) -> u64 {
        self.open.size()
    }

    /// The root of the perfect subtree of 2^`level` leaves that `index` others of its size stand before. This blocks.
    ///
    /// # Errors
    /// When the log does not have it, or the disk fails.
    pub(crate) fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, StorageError> {
        let missing =
            || StorageError::corrupt(format!("subtree {index} of level {level} of the audit log is missing"));
        let tile_level = u8::try_from(level / HEIGHT).map_err(|_| missing())?;
        let width = 1_u64 << (level % HEIGHT);
        let first = index.checked_mul(width).ok_or_else(missing)?;
        let tile = first / 256;
        let from = usize::try_from(first % 256).map_err(|_| missing())?;
        let to = from + usize::try_from(width).map_err(|_| missing())?;
        if let Some(open) = self.open.open(tile_level, tile) {
            return open.get(from..to).map(perfect_root).ok_or_else(missing);
        }
        let bytes = match self.read.entry((tile_level, tile)) {
            std::collections::btree_map::Entry::Occupied(read) => read.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(self.storage.tile(tile_level, tile)?.ok_or_else(missing)?)
            }
        };
        let hashes: Vec<Hash> = bytes
            .get(from * HASH_BYTES..to * HASH_BYTES)
            .ok_or_else(missing)?
            .chunks_exact(HASH_BYTES)
            .map(|hash| hash.try_into().unwrap_or_default())
            .collect();
        Ok(perfect_root(&hashes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64) -> Vec<u8> {
        sequence.to_string().into_bytes()
    }

    #[test]
    fn the_right_edge_is_the_one_of_the_tree_at_every_size() {
        let (mut tiles, mut frontier) = (OpenTiles::default(), Frontier::default());
        let mut complete = Vec::new();
        for sequence in 0..66_000 {
            complete.extend(tiles.push(&record(sequence)));
            frontier.push(&record(sequence));
            if sequence % 7 == 0 || sequence % 256 > 253 {
                assert_eq!(tiles.frontier().as_ref(), Some(&frontier), "after record {sequence}");
            }
        }
        assert_eq!(complete.len(), 257 + 1);
        let last = complete.iter().rfind(|tile| tile.level == 1).expect("a tile of level 1");
        assert_eq!((last.index, last.first(), last.end, last.bytes.len()), (0, 0, 65_536, 8_192));
        let names: Vec<u64> = complete.iter().filter(|tile| tile.level == 0).map(|tile| tile.index).collect();
        assert_eq!(names, (0..257).collect::<Vec<_>>());
        assert!(complete.iter().all(|tile| tile.first() % 256 == 0 && tile.bytes.len() == 8_192));
    }
}
