//! The hashes of the audit log's tree, read from where they are kept.

use std::{
    collections::VecDeque,
    ops::{ControlFlow, Range},
};

use flagraft_core::{
    merkle::{
        Hash,
        tile::{self, Tile},
    },
    record::row_leaf_hash,
};

use crate::storage::{Storage, StorageError};

/// Tiles in memory: those of all levels that lie side by side, and a few more.
const TILES_MAX: usize = 16;

/// Looks hashes up in the tree of the first `size` records, which a published state counts. In bounded memory, however many
/// are looked up.
pub(crate) struct Tree<'a> {
    storage: &'a Storage,
    size: u64,
    /// Those that were used last, the newest at the end.
    tiles: VecDeque<(Tile, Vec<u8>)>,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(storage: &'a Storage, size: u64) -> Self {
        Self { storage, size, tiles: VecDeque::new() }
    }

    /// The root of a perfect subtree. This blocks.
    ///
    /// # Errors
    /// When the database fails, or the tree has no such subtree.
    pub(crate) fn subtree(&mut self, level: u8, index: u64) -> Result<Hash, StorageError> {
        let Self { storage, size, tiles } = self;
        let root =
            tile::subtree_root(level, index, *size, &mut |tile| kept(storage, tiles, tile), &mut |range| {
                leaves(storage, range)
            })?;
        root.ok_or_else(|| {
            StorageError::corrupt(format!("the audit log's tree has no hash {index} of level {level}"))
        })
    }

    /// The root of a block, if it is complete.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) fn root_of_block(&mut self, block: u64) -> Result<Option<Hash>, StorageError> {
        match (Tile { level: 0, index: block }).is_complete_in(self.size) {
            true => self.subtree(tile::LEVELS, block).map(Some),
            false => Ok(None),
        }
    }

    /// The leaf hashes of a block, if it is complete.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) fn leaves_of_block(&mut self, block: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let tile = Tile { level: 0, index: block };
        match tile.is_complete_in(self.size) {
            true => kept(self.storage, &mut self.tiles, tile).map(Some),
            false => Ok(None),
        }
    }
}

fn kept(
    storage: &Storage,
    tiles: &mut VecDeque<(Tile, Vec<u8>)>,
    tile: Tile,
) -> Result<Vec<u8>, StorageError> {
    if let Some((_, bytes)) = tiles.iter().rev().find(|(kept, _)| *kept == tile) {
        return Ok(bytes.clone());
    }
    let missing = || {
        let Tile { level, index } = tile;
        StorageError::corrupt(format!("tile {index} of level {level} of the audit log's tree is missing"))
    };
    let bytes = storage.tile(tile)?.ok_or_else(missing)?;
    if tiles.len() >= TILES_MAX {
        tiles.pop_front();
    }
    tiles.push_back((tile, bytes.clone()));
    Ok(bytes)
}

/// The leaf hashes of a range of records, of which there are few.
fn leaves(storage: &Storage, range: Range<u64>) -> Result<Vec<Hash>, StorageError> {
    let mut hashes = Vec::new();
    storage.scan_audit::<StorageError>(range.start, |sequence, row| {
        if sequence >= range.end {
            return Ok(ControlFlow::Break(()));
        }
        let hash = row_leaf_hash(row);
        hashes.push(hash.ok_or_else(|| StorageError::corrupt(format!("audit record {sequence} is none")))?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(hashes)
}
