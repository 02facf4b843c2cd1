//! The audit log's tree, kept so that any proof is quick to make: 256 hashes at a time.
//!
//! A tile of level 0 holds the hashes of 256 leaves, one of level 1 the roots of 256 tiles of level 0, and so on, as
//! C2SP's `tlog-tiles` has it. Complete tiles are on the disk, written in the batch that writes the record which
//! completes them. Those that are still growing, one a level, are in memory: start-up reads all records anyway.

use std::{collections::VecDeque, sync::Arc};

use flagraft_core::{
    merkle::{
        Frontier, Hash,
        tile::{HASHES, LEVELS, Tile},
    },
    record::is_removed,
};

use super::types::Published;
use crate::storage::{Storage, StorageError};

/// A complete tile, and its bytes.
pub(super) type FullTile = (Tile, Vec<u8>);

/// The tiles that are growing: what it takes to go on from a log of this size, and with the complete tiles all that
/// proofs are made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OpenTiles {
    size: u64,
    /// By level, the lowest first: fewer than [`HASHES`] hashes each.
    levels: Vec<Vec<Hash>>,
}

impl OpenTiles {
    /// How many records the log has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a record by its leaf hash. Returns the tiles that it completes, the lowest first: nearly always none.
    pub(super) fn push(&mut self, leaf: Hash) -> Vec<FullTile> {
        self.size = self.size.saturating_add(1);
        let mut completed = Tile::completed_at(self.size);
        let mut full = Vec::new();
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() <= level {
                self.levels.push(Vec::with_capacity(HASHES));
            }
            let Some(open) = self.levels.get_mut(level) else { break };
            open.push(hash);
            let Some(tile) = completed.next() else { break };
            hash = root_of(open);
            full.push((tile, open.concat()));
            open.clear();
        }
        full
    }

    /// The tree's right edge, as the state has it.
    pub(super) fn frontier(&self) -> Option<Frontier> {
        let mut subtrees = Vec::new();
        for open in self.levels.iter().rev() {
            let mut rest = open.as_slice();
            for height in (0..LEVELS).rev() {
                let width = 1_usize << height;
                if open.len() & width != 0 {
                    let (subtree, after) = rest.split_at_checked(width)?;
                    subtrees.push(root_of(subtree));
                    rest = after;
                }
            }
        }
        Frontier::from_parts(self.size, subtrees)
    }

    /// The leaf hash of a record of the growing tile, if it is in that.
    pub(super) fn leaf(&self, sequence: u64) -> Option<Hash> {
        let tile = Tile::of_leaf(sequence);
        let place = sequence.checked_sub(tile.leaves().start)?;
        self.open(tile)?.get(usize::try_from(place).ok()?).copied()
    }

    /// The hashes of the open tile, if it is this one.
    fn open(&self, tile: Tile) -> Option<&[Hash]> {
        let open = self.levels.get(usize::from(tile.level))?;
        tile.leaves().contains(&self.size).then_some(open)
    }
}

/// The root over these hashes, of which there is a power of two.
fn root_of(hashes: &[Hash]) -> Hash {
    let mut tree = Frontier::default();
    hashes.iter().for_each(|hash| tree.push_hash(*hash));
    tree.root()
}

/// Tiles in memory: those of all levels that lie side by side, and a few more.
const TILES_READ_MAX: usize = 16;

/// Looks the perfect subtrees of a published audit log up, in bounded memory however many are looked up.
///
/// A subtree never changes once it is complete: what was published last answers for all smaller sizes too.
#[derive(Clone)]
pub(crate) struct AuditTree {
    storage: Arc<Storage>,
    open: Arc<OpenTiles>,
    /// Complete tiles that were read last, the newest at the end.
    read: VecDeque<(Tile, Vec<u8>)>,
}

impl AuditTree {
    /// The log of a published state.
    pub(crate) fn of(storage: Arc<Storage>, published: &Published) -> Self {
        Self::over(storage, Arc::clone(&published.tiles))
    }

    fn over(storage: Arc<Storage>, open: Arc<OpenTiles>) -> Self {
        Self { storage, open, read: VecDeque::new() }
    }

    /// The tree of the records on a disk that has no tiles.
    #[cfg(test)]
    pub(crate) fn of_records(storage: Arc<Storage>, size: u64) -> Self {
        let mut open = OpenTiles::default();
        let mut batch = storage.batch();
        let records = usize::try_from(size).expect("few records");
        for row in storage.audit_range(0, records).expect("the records are read") {
            let leaf = flagraft_core::record::row_leaf_hash(&row.bytes).expect("a record");
            open.push(leaf).iter().for_each(|(tile, bytes)| batch.tile(*tile, bytes));
        }
        batch.commit().expect("the tiles are written");
        Self::over(storage, Arc::new(open))
    }

    /// How many records the log has.
    pub(crate) fn size(&self) -> u64 {
        self.open.size
    }

    /// Whether retention removed the record at a sequence of the log. This blocks.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) fn is_removed(&self, sequence: u64) -> Result<bool, StorageError> {
        Ok(self.storage.audit_range(sequence, 1)?.first().is_some_and(|row| is_removed(&row.bytes)))
    }

    /// The root of the perfect subtree `(level, index)`, as `flagraft_core::merkle` names it. This blocks.
    ///
    /// # Errors
    /// When the log does not have it, or the disk fails.
    pub(crate) fn subtree(&mut self, level: u8, index: u64) -> Result<Hash, StorageError> {
        let missing =
            || StorageError::corrupt(format!("subtree {index} of level {level} of the audit log is missing"));
        let height = level % LEVELS;
        let tile = Tile { level: level / LEVELS, index: index >> (LEVELS - height) };
        if let Some(open) = self.open.open(tile) {
            let width = 1_usize << height;
            let place = usize::try_from(index).map_err(|_| missing())?.wrapping_mul(width) % HASHES;
            return open.get(place..place + width).map(root_of).ok_or_else(missing);
        }
        let known = self.read.iter().rev().find(|(read, _)| *read == tile);
        if let Some((_, bytes)) = known {
            return tile.subtree_root(bytes, level, index).ok_or_else(missing);
        }
        let bytes = self.storage.tile(tile)?.ok_or_else(missing)?;
        let root = tile.subtree_root(&bytes, level, index).ok_or_else(missing)?;
        if self.read.len() >= TILES_READ_MAX {
            self.read.pop_front();
        }
        self.read.push_back((tile, bytes));
        Ok(root)
    }

    /// The leaf hash of a record. This blocks.
    ///
    /// # Errors
    /// When the log does not have it, or the disk fails.
    pub(crate) fn leaf(&mut self, sequence: u64) -> Result<Hash, StorageError> {
        self.subtree(0, sequence)
    }
}

#[cfg(test)]
mod tests {
    use flagraft_core::merkle::{
        consistency_proof, inclusion_proof, leaf_hash, root_at, verify_consistency, verify_inclusion,
    };

    use super::*;

    fn record(sequence: u64) -> Vec<u8> {
        sequence.to_string().into_bytes()
    }

    #[test]
    fn the_right_edge_is_the_one_of_the_tree_at_every_size() {
        let (mut tiles, mut frontier) = (OpenTiles::default(), Frontier::default());
        let mut complete = Vec::new();
        for sequence in 0..66_000 {
            complete.extend(tiles.push(leaf_hash(&record(sequence))));
            frontier.push(&record(sequence));
            if sequence % 7 == 0 || sequence % 256 > 253 {
                assert_eq!(tiles.frontier().as_ref(), Some(&frontier), "after record {sequence}");
            }
        }
        assert_eq!(complete.len(), 257 + 1);
        let names: Vec<Tile> = complete.iter().map(|(tile, _)| *tile).collect();
        let mut expected: Vec<Tile> = (0..257).map(|index| Tile { level: 0, index }).collect();
        expected.insert(256, Tile { level: 1, index: 0 });
        assert_eq!(names, expected);
        assert!(complete.iter().all(|(_, bytes)| bytes.len() == 8_192));
    }

    /// How long proofs take in a long log. `FLAGRAFT_TEST_ROUNDS=full` makes it a million records.
    #[test]
    fn a_proof_of_a_long_log_is_made_at_once() {
        let full = std::env::var("FLAGRAFT_TEST_ROUNDS").is_ok_and(|rounds| rounds == "full");
        let size: u64 = if full { 1_000_000 } else { 70_000 };
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = crate::raft::testing::open(dir.path());
        let (mut tiles, mut frontier) = (OpenTiles::default(), Frontier::default());
        for sequence in 0..size {
            let leaf = leaf_hash(&record(sequence));
            frontier.push_hash(leaf);
            let mut batch = storage.batch();
            let complete = tiles.push(leaf);
            complete.iter().for_each(|(tile, bytes)| batch.tile(*tile, bytes));
            if !complete.is_empty() {
                batch.commit().expect("writes");
            }
        }
        let (open, root) = (Arc::new(tiles), frontier.root());
        let mut took = Vec::new();
        for at in 0..400_u64 {
            let sequence = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size;
            let begun = std::time::Instant::now();
            let mut tree = AuditTree::over(Arc::clone(&storage), Arc::clone(&open));
            let mut subtree = |level, index| tree.subtree(level, index);
            let proof = inclusion_proof(sequence, size, &mut subtree).expect("reads").expect("a record");
            let from = consistency_proof(sequence, size, &mut subtree).expect("reads").expect("a size");
            let then = root_at(sequence, &mut subtree).expect("reads");
            took.push(begun.elapsed());
            assert!(verify_inclusion(&leaf_hash(&record(sequence)), sequence, size, &proof, &root));
            assert!(verify_consistency(sequence, &then, size, &root, &from));
        }
        took.sort_unstable();
        let (median, most) = (took[200], took[395]);
        println!("two proofs and a root of {size} records: median {median:?}, 99 of 100 {most:?}");
        assert!(median.as_millis() <= 5, "{median:?}");
    }
}
