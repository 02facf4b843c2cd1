//! Takes records out of the audit log: in the place of each comes what says that it was removed, its leaf hash.
//!
//! Which ones go is said by an entry, so every member that applies it does the same. Done once more it changes nothing.

use std::{collections::BTreeMap, io, ops::ControlFlow};

use flagraft_core::{
    merkle::tile::Tile,
    record::{is_removed, removed_by},
    retention::SequenceRange,
};

use super::tiles::OpenTiles;
use crate::storage::{Batch, Storage, StorageError};

/// Records removed in one batch, where they are not those of one entry.
const BATCH_RECORDS: usize = 10_000;

/// The leaf hashes of a log, where they are kept: in its complete tiles, and in the growing one.
pub(super) struct Leaves<'a> {
    pub(super) storage: &'a Storage,
    /// The tiles that grow.
    pub(super) open: &'a OpenTiles,
    /// Complete tiles that are not on the disk yet.
    pub(super) unwritten: &'a BTreeMap<Tile, Vec<u8>>,
}

impl Leaves<'_> {
    /// Puts what says that they were removed in the place of these records, of which the log has all.
    ///
    /// # Errors
    /// When the database fails, or a tile is missing.
    pub(super) fn remove(&self, ranges: &[SequenceRange], batch: &mut Batch<'_>) -> Result<(), StorageError> {
        let mut read: Option<(Tile, Vec<u8>)> = None;
        for sequence in ranges.iter().flat_map(|range| range.from..range.to) {
            let leaf = match self.open.leaf(sequence) {
                Some(leaf) => leaf,
                None => {
                    let tile = Tile::of_leaf(sequence);
                    let missing = || {
                        StorageError::corrupt(format!(
                            "tile {} of the audit log's tree is missing, with the hash of record {sequence}",
                            tile.index
                        ))
                    };
                    let bytes = match read.take().filter(|(of, _)| *of == tile) {
                        Some((_, bytes)) => bytes,
                        None => match self.unwritten.get(&tile) {
                            Some(bytes) => bytes.clone(),
                            None => self.storage.tile(tile)?.ok_or_else(missing)?,
                        },
                    };
                    let leaf = tile.subtree_root(&bytes, 0, sequence).ok_or_else(missing)?;
                    read = Some((tile, bytes));
                    leaf
                }
            };
            batch.remove_record(sequence, &leaf);
        }
        Ok(())
    }
}

/// Performs the removals of the records from `from` on and before the end of the log that `tiles` are of: those that came
/// with a snapshot, whose entries this node never applies. They remove records from all over the log, and of older ones this node
/// may have the bytes. This blocks.
///
/// # Errors
/// When the database fails, or what stands there is no record.
pub(super) fn catch_up(storage: &Storage, from: u64, tiles: &OpenTiles) -> Result<(), io::Error> {
    let end = tiles.size();
    if from >= end {
        return Ok(());
    }
    let mut ranges = Vec::new();
    storage.scan_audit::<StorageError>(from, |sequence, row| {
        if sequence >= end {
            return Ok(ControlFlow::Break(()));
        }
        let removed = removed_by(row)
            .ok_or_else(|| StorageError::corrupt(format!("audit record {sequence} can't be read")))?;
        ranges.extend(removed);
        Ok(ControlFlow::Continue(()))
    })?;
    let mut still_here = Vec::new();
    for range in &ranges {
        storage.scan_audit::<StorageError>(range.from, |sequence, row| {
            if sequence >= range.to {
                return Ok(ControlFlow::Break(()));
            }
            if !is_removed(row) {
                still_here.push(SequenceRange { from: sequence, to: sequence.saturating_add(1) });
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let leaves = Leaves { storage, open: tiles, unwritten: &BTreeMap::new() };
    for portion in still_here.chunks(BATCH_RECORDS) {
        let mut batch = storage.batch();
        leaves.remove(portion, &mut batch)?;
        batch.commit()?;
    }
    if !still_here.is_empty() {
        let records = still_here.len();
        tracing::info!(records, "audit records that were removed meanwhile are removed here too");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flagraft_core::{
        merkle::{Hash, leaf_hash},
        record::tombstone,
    };

    use super::*;
    use crate::raft::testing::{
        append, applied_in_batches, apply, open, recover, state_machine, state_rows, with_removals,
    };

    fn record(sequence: u64) -> Vec<u8> {
        format!("{{\"sequence\":{sequence}}}").into_bytes()
    }

    fn leaf(sequence: u64) -> Hash {
        leaf_hash(&record(sequence))
    }

    /// A folder with so many records and their tiles.
    fn log(dir: &std::path::Path, size: u64) -> (std::sync::Arc<Storage>, OpenTiles) {
        let storage = open(dir);
        let mut tiles = OpenTiles::default();
        let mut batch = storage.batch();
        for sequence in 0..size {
            batch.record(sequence, &record(sequence));
            tiles.push(leaf(sequence)).iter().for_each(|(tile, bytes)| batch.tile(*tile, bytes));
        }
        batch.commit().expect("writes");
        (storage, tiles)
    }

    #[test]
    fn each_place_keeps_its_hash_wherever_that_is_kept() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (storage, mut tiles) = log(dir.path(), 700);
        // The tile that a batch completes is not on the disk when the batch is made.
        let mut batch = storage.batch();
        let mut unwritten = BTreeMap::new();
        for sequence in 700..770 {
            batch.record(sequence, &record(sequence));
            unwritten.extend(tiles.push(leaf(sequence)));
        }
        assert_eq!(unwritten.len(), 1);
        let ranges = [(0, 1), (250, 260), (511, 513), (699, 702), (768, 770)];
        let ranges = ranges.map(|(from, to)| SequenceRange { from, to });
        let leaves = Leaves { storage: &storage, open: &tiles, unwritten: &unwritten };
        leaves.remove(&ranges, &mut batch).expect("every hash is somewhere");
        unwritten.iter().for_each(|(tile, bytes)| batch.tile(*tile, bytes));
        batch.commit().expect("writes");
        let rows = storage.audit_range(0, 1_000).expect("reads");
        assert_eq!(rows.len(), 770);
        for row in &rows {
            let is_removed = ranges.iter().any(|range| (range.from..range.to).contains(&row.sequence));
            let expected = match is_removed {
                true => tombstone(&leaf(row.sequence)).to_vec(),
                false => record(row.sequence),
            };
            assert_eq!(row.bytes, expected, "{}", row.sequence);
        }
        // Once more it is the same.
        let mut batch = storage.batch();
        let leaves = Leaves { storage: &storage, open: &tiles, unwritten: &BTreeMap::new() };
        leaves.remove(&ranges, &mut batch).expect("every hash is somewhere");
        batch.commit().expect("writes");
        assert_eq!(storage.audit_range(0, 1_000).expect("reads"), rows);
    }

    /// The records that are removed: `(from, to)`, and what the log has of them.
    fn removed(storage: &Storage) -> Vec<u64> {
        let rows = storage.audit_range(0, usize::MAX).expect("reads");
        rows.iter()
            .filter(|row| flagraft_core::record::is_removed(&row.bytes))
            .map(|row| row.sequence)
            .collect()
    }

    /// However entries are batched, and whatever was written when the node stopped: the rows are the same, and a node starts
    /// on them.
    #[tokio::test]
    async fn a_removal_is_in_the_batch_of_its_entry_and_the_same_on_every_node() {
        let entries = with_removals(620, 600, [vec![(2, 5), (300, 302)], vec![(4, 6), (597, 599)]]);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let one = applied_in_batches(&dir.path().join("one"), &entries, 1).await;
        let gone = [2, 3, 4, 5, 300, 301, 597, 598];
        assert_eq!(removed(&one), gone);
        let recovered = recover(&one).expect("sound");
        assert_eq!(recovered.state.sequence(), 620);
        for batch in [7, 128, 1_000] {
            let other = applied_in_batches(&dir.path().join(batch.to_string()), &entries, batch).await;
            assert_eq!(
                other.audit_range(0, usize::MAX).expect("reads"),
                one.audit_range(0, usize::MAX).expect("reads"),
                "in batches of {batch}"
            );
            assert_eq!(state_rows(&other), state_rows(&one));
            recover(&other).expect("sound");
        }
        // A node that stops between the removals, is opened anew, and goes on.
        let path = dir.path().join("stopped");
        let stopped = open(&path);
        append(&stopped, entries.clone()).await.expect("appended");
        apply(&mut state_machine(&stopped), entries[..=600].to_vec()).await.expect("applied");
        assert_eq!(removed(&stopped), [2, 3, 4, 300, 301]);
        drop(stopped);
        let stopped = open(&path);
        apply(&mut state_machine(&stopped), entries[601..].to_vec()).await.expect("applied");
        assert_eq!(
            stopped.audit_range(0, usize::MAX).expect("reads"),
            one.audit_range(0, usize::MAX).expect("reads")
        );
        assert_eq!(stopped.compact_removed().expect("compacts"), [2..302, 4..599]);
        recover(&stopped).expect("sound");
    }

    #[test]
    fn a_hash_that_is_nowhere_is_damage() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (storage, tiles) = log(dir.path(), 300);
        storage.drop_tiles();
        let leaves = Leaves { storage: &storage, open: &tiles, unwritten: &BTreeMap::new() };
        let remove = |from| leaves.remove(&[SequenceRange { from, to: from + 1 }], &mut storage.batch());
        remove(299).expect("of the growing tile");
        let error = remove(7).expect_err("of a tile that is gone").to_string();
        assert!(error.contains("record 7"), "{error}");
    }
}
