//! Tiles: the form in which the tree's hashes are kept (C2SP tlog-tiles, height 8).
//!
//! The tile `(0, k)` holds the hashes of the 256 leaves from `256 k` on; the tile `(n, k)` the roots of the 256 tiles of
//! level `n - 1` from `256 k` on. A tile is kept once it is complete, and then never changes. From the tiles the root of
//! every perfect subtree is had with little hashing, but for those of the last leaves, of which there are at most 255.

use std::ops::Range;

use super::{Frontier, Hash};

/// Levels of the tree in one tile.
pub const LEVELS: u8 = 8;
/// Hashes in one tile.
pub const HASHES: usize = 1 << LEVELS;
/// Bytes of one tile: its hashes, from left to right.
pub const BYTES: usize = HASHES * size_of::<Hash>();

/// Names a complete tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tile {
    /// Its level: 0 holds the hashes of leaves.
    pub level: u8,
    /// Its place among the tiles of its level, from 0.
    pub index: u64,
}

impl Tile {
    /// The tiles that the leaf completes that makes the log this long, the lowest first. None unless `size` is a multiple
    /// of 256.
    pub fn completed_at(size: u64) -> impl Iterator<Item = Self> {
        let mut tiles = size;
        let mut level = 0;
        std::iter::from_fn(move || {
            if tiles == 0 || tiles.trailing_zeros() < u32::from(LEVELS) {
                return None;
            }
            tiles >>= LEVELS;
            let tile = Self { level, index: tiles.checked_sub(1)? };
            level = level.checked_add(1)?;
            Some(tile)
        })
    }

    /// The tile that holds the hash of this leaf.
    pub fn of_leaf(leaf: u64) -> Self {
        Self { level: 0, index: leaf >> LEVELS }
    }

    /// The leaves under it.
    pub fn leaves(self) -> Range<u64> {
        let below = u32::from(self.level).saturating_add(1).saturating_mul(u32::from(LEVELS));
        let start = shifted(self.index, below);
        start..start.saturating_add(shifted(1, below))
    }

    /// Whether a log of this size has it complete.
    pub fn is_complete_in(self, size: u64) -> bool {
        let Range { start, end } = self.leaves();
        start < end && end <= size
    }

    /// The tiles whose roots this tile holds; `None` for a tile of leaves.
    pub fn below(self) -> Option<impl Iterator<Item = Self>> {
        let level = self.level.checked_sub(1)?;
        let first = shifted(self.index, u32::from(LEVELS));
        Some((0..1_u64 << LEVELS).map(move |place| Self { level, index: first.saturating_add(place) }))
    }

    /// The root of the perfect subtree `(level, index)`, from the bytes of this tile. `None` when they are not a tile's, or
    /// when the tile does not hold it. A tile holds the eight levels from its own hashes up, and its own root above them.
    pub fn subtree_root(self, bytes: &[u8], level: u8, index: u64) -> Option<Hash> {
        let (hashes, []) = bytes.as_chunks::<32>() else { return None };
        if hashes.len() != HASHES {
            return None;
        }
        let height = u32::from(level).checked_sub(u32::from(self.level).checked_mul(u32::from(LEVELS))?)?;
        let above = u32::from(LEVELS).checked_sub(height)?;
        if index.checked_shr(above)? != self.index {
            return None;
        }
        let count = 1_usize.checked_shl(height)?;
        let place = usize::try_from(index.checked_sub(shifted(self.index, above))?).ok()?;
        let first = place.checked_mul(count)?;
        Some(root_of(hashes.get(first..first.checked_add(count)?)?.iter().copied()))
    }

    /// Its root, from its bytes. `None` when they are not a tile's.
    pub fn root(self, bytes: &[u8]) -> Option<Hash> {
        self.subtree_root(bytes, self.level.checked_add(1)?.checked_mul(LEVELS)?, self.index)
    }
}

/// The root over these hashes, of which there is a power of two.
fn root_of(hashes: impl Iterator<Item = Hash>) -> Hash {
    let mut tree = Frontier::default();
    hashes.for_each(|hash| tree.push_hash(hash));
    tree.root()
}

/// `number << by`, and the greatest number where that does not fit: no log is that long.
fn shifted(number: u64, by: u32) -> u64 {
    if number == 0 {
        return 0;
    }
    if by > number.leading_zeros() { u64::MAX } else { number.checked_shl(by).unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::merkle::leaf_hash;

    /// A log with its tiles, kept as the leaves come in.
    #[derive(Default)]
    struct Log {
        leaves: Vec<Hash>,
        tiles: BTreeMap<Tile, Vec<u8>>,
    }

    impl Log {
        fn push(&mut self, hash: Hash) {
            self.leaves.push(hash);
            for tile in Tile::completed_at(self.size()) {
                let bytes = match tile.below() {
                    None => self.leaves[self.leaves.len() - HASHES..].concat(),
                    Some(below) => below
                        .map(|tile| tile.root(&self.tiles[&tile]).expect("a tile"))
                        .collect::<Vec<_>>()
                        .concat(),
                };
                assert_eq!(bytes.len(), BYTES);
                assert!(self.tiles.insert(tile, bytes).is_none(), "{tile:?} was complete before");
            }
        }

        fn size(&self) -> u64 {
            u64::try_from(self.leaves.len()).expect("small")
        }
    }

    #[test]
    fn every_subtree_of_complete_tiles_is_had_from_one_of_them() {
        let mut log = Log::default();
        for n in 0..66_200_u32 {
            log.push(leaf_hash(&n.to_be_bytes()));
        }
        assert_eq!(log.tiles.keys().filter(|tile| tile.level == 0).count(), 258);
        assert_eq!(log.tiles.keys().filter(|tile| tile.level == 1).count(), 1);
        for (tile, bytes) in &log.tiles {
            let lowest = tile.level * LEVELS;
            for level in lowest..=lowest + LEVELS {
                for index in (tile.leaves().start >> level)..(tile.leaves().end >> level) {
                    let first = usize::try_from(index << level).expect("small");
                    let naive = root_of(log.leaves[first..first + (1 << level)].iter().copied());
                    assert_eq!(tile.subtree_root(bytes, level, index), Some(naive), "({level}, {index})");
                }
            }
        }
    }

    #[test]
    fn which_tiles_a_size_completes() {
        let completed =
            |size| Tile::completed_at(size).map(|tile| (tile.level, tile.index)).collect::<Vec<_>>();
        assert_eq!(completed(0), []);
        assert_eq!(completed(255), []);
        assert_eq!(completed(256), [(0, 0)]);
        assert_eq!(completed(257), []);
        assert_eq!(completed(512), [(0, 1)]);
        assert_eq!(completed(65_536), [(0, 255), (1, 0)]);
        assert_eq!(completed(3 << 24), [(0, (3 << 16) - 1), (1, (3 << 8) - 1), (2, 2)]);
        assert_eq!(completed(1 << 63).len(), 7);
        for size in [256, 512, 65_536, 1 << 24, 1 << 63] {
            for tile in Tile::completed_at(size) {
                assert!(tile.is_complete_in(size) && !tile.is_complete_in(size - 1), "{tile:?}");
                assert_eq!(tile.leaves().end, size);
                let own = Tile { level: 0, index: (size - 1) / 256 };
                assert_eq!(
                    (Tile::of_leaf(size - 1), Tile::of_leaf(size)),
                    (own, Tile { level: 0, index: own.index + 1 })
                );
            }
        }
    }

    #[test]
    fn what_is_no_tile_or_is_not_in_it_has_no_root() {
        let bytes = vec![7; BYTES];
        let tile = Tile { level: 1, index: 2 };
        assert!(tile.root(&bytes).is_some());
        assert_eq!(tile.root(&bytes[1..]), None);
        assert_eq!(tile.root(&bytes[32..]), None);
        assert_eq!(tile.root(&[]), None);
        assert!(tile.subtree_root(&bytes, 8, 512).is_some() && tile.subtree_root(&bytes, 16, 2).is_some());
        for (level, index) in
            [(7, 1_024), (8, 511), (8, 768), (16, 1), (16, 3), (17, 1), (255, 0), (8, u64::MAX)]
        {
            assert_eq!(tile.subtree_root(&bytes, level, index), None, "({level}, {index})");
        }
    }
}
