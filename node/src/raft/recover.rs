//! Start-up: reads what the disk holds, and refuses to go on with a disk that can't be trusted.
//!
//! RocksDB checks its own blocks, but it stops recovery quietly at a damaged place in its write-ahead log, and a
//! person can edit or restore files. So everything that must fit together is checked to fit together.

use std::{io, ops::ControlFlow};

use flagraft_core::{
    merkle::{Frontier, Hash, cover, tile::Tile},
    record::row_leaf_hash,
    rows::Loader,
    state::State,
};

use super::{
    applied,
    floor::Synced,
    log_size::LogSize,
    log_store::{hole, last_entry, read_log_id, read_vote},
    removed_ahead::RemovedRows,
    snapshot,
    tiles::OpenTiles,
    types::{LogId, StoredMembership, Vote},
    wire::{decode_entry, decode_membership},
};
use crate::{
    canary::{self, Canary},
    storage::{MetaKey, Storage, StorageError},
};

/// Bytes of one hash of a tile.
const HASH_BYTES: usize = size_of::<Hash>();

/// What the disk holds.
pub(super) struct Recovered {
    pub state: State,
    pub last_applied: Option<LogId>,
    pub membership: StoredMembership,
    pub log_size: LogSize,
    /// The growing tiles of the audit log that the state counts.
    pub tiles: OpenTiles,
}

/// Reads and checks everything, of a log that may have `log_bytes_max` bytes. This blocks for as long as reading it
/// all takes.
///
/// # Errors
/// When the disk fails, or holds what no node can have written.
pub(super) fn recover(storage: &Storage, log_bytes_max: u64) -> Result<Recovered, io::Error> {
    let vote = read_vote(storage)?;
    read_log_id(storage, MetaKey::Committed)?;
    let last_applied = read_log_id(storage, MetaKey::LastApplied)?;
    let membership = storage.meta(MetaKey::Membership)?.map(|bytes| decode_membership(&bytes)).transpose()?;

    if !canary::is_planted(Canary::CutDamage) {
        check_floor(storage, vote)?;
    }
    let mut log_size = LogSize::new(log_bytes_max);
    check_log(storage, last_applied, &mut log_size)?;
    check_membership(membership.as_ref(), last_applied)?;
    let (state, tiles) = check_state(storage)?;
    applied::check(storage, last_applied, &state)?;
    check_snapshots(storage, last_applied)?;
    if let Some(last) = last_entry(storage)?.max(last_applied) {
        // What a person compares with the others, and the tests with what was synced.
        tracing::info!(
            entry = last.index,
            term = vote.map(|vote| vote.leader_id.term),
            revision = state.revision(),
            records = state.sequence(),
            "the data folder holds together"
        );
    }
    Ok(Recovered { state, last_applied, membership: membership.unwrap_or_default(), log_size, tiles })
}

/// The database gave back at least what was surely in it: its recovery stops without a word at a damaged place.
fn check_floor(storage: &Storage, vote: Option<Vote>) -> Result<(), io::Error> {
    let floor = Synced::of(storage)?;
    if vote < floor.vote {
        return corrupt(format!(
            "the vote {} was synced, and the database has {}: the end of its write-ahead log is damaged or gone",
            display(floor.vote),
            display(vote)
        ));
    }
    let Some(synced) = floor.last else { return Ok(()) };
    let [purged, installed] =
        [read_log_id(storage, MetaKey::LastPurged)?, read_log_id(storage, MetaKey::LastInstalled)?];
    let last = last_entry(storage)?;
    let reached = [last, purged, installed].into_iter().flatten().map(|id| id.index).max();
    if reached < Some(synced.index) {
        return corrupt(format!(
            "entry {synced} of the Raft log was synced, and the database ends at {}: the end of its write-ahead log \
             is damaged or gone",
            display(last.or(purged))
        ));
    }
    // The floor goes down before the log is cut back, so where the entry is, it is this one.
    storage.scan_log(synced.index..synced.index.saturating_add(1), |index, bytes| {
        let found = decode_entry(bytes)?.log_id;
        if index == synced.index && found != synced && purged.map(|id| id.index) < Some(index) {
            return corrupt(format!(
                "entry {synced} of the Raft log was synced, and the database has {found}"
            ));
        }
        Ok(ControlFlow::Break(()))
    })
}

/// A state that is past the first entry, which is a membership, has one that is not ahead of it.
fn check_membership(
    membership: Option<&StoredMembership>,
    last_applied: Option<LogId>,
) -> Result<(), io::Error> {
    let since = membership.and_then(|membership| *membership.log_id());
    match last_applied {
        Some(applied) if since.is_none() => {
            corrupt(format!("the state is at entry {applied} and has no membership"))
        }
        _ if since > last_applied => corrupt(format!(
            "the membership is of entry {} and the state only at {}",
            display(since),
            display(last_applied)
        )),
        _ => Ok(()),
    }
}

/// The log counts up from the entry after the last purged one, each entry decodes and stands under its own index,
/// and it reaches as far as the state does.
fn check_log(storage: &Storage, last_applied: Option<LogId>, size: &mut LogSize) -> Result<(), io::Error> {
    let last_purged = read_log_id(storage, MetaKey::LastPurged)?;
    if last_purged > last_applied {
        return corrupt(format!(
            "the Raft log starts after entry {} and the state is only at {}: what is between is gone",
            display(last_purged),
            display(last_applied)
        ));
    }
    let first = last_purged.map_or(0, |id| id.index.saturating_add(1));
    let mut expected = first;
    let mut last = last_purged;
    storage.scan_log(first..u64::MAX, |index, bytes| {
        let entry = decode_entry(bytes)?;
        if index != expected || entry.log_id.index != index {
            return Err(hole(expected, index, entry.log_id.index));
        }
        if Some(entry.log_id.leader_id) < last.map(|id| id.leader_id) {
            return corrupt(format!(
                "entry {index} of the Raft log is of an older term than the one before it"
            ));
        }
        if last_applied.is_some_and(|applied| applied.index == index && applied != entry.log_id) {
            return corrupt(format!("entry {index} of the Raft log is not the one that was applied"));
        }
        size.append(index, bytes.len());
        expected = index.saturating_add(1);
        last = Some(entry.log_id);
        Ok(ControlFlow::Continue(()))
    })?;

    // An installed snapshot makes the state newer than the log, until Raft has purged the log up to it.
    let installed = read_log_id(storage, MetaKey::LastInstalled)?;
    if last_applied > last && last_applied != installed {
        return corrupt(format!(
            "the state is at entry {} and the Raft log ends at {}",
            display(last_applied),
            display(last)
        ));
    }
    Ok(())
}

/// The state's rows decode and add up to its digest, and the audit log holds the records that it counts, and no others
/// but those that a snapshot brought ahead of the state that counts them. What stands as removed was removed.
fn check_state(storage: &Storage) -> Result<(State, OpenTiles), io::Error> {
    let state = read_state(storage)?;
    if state.recompute_digest() != state.digest() {
        return corrupt(format!(
            "the rows of the state have digest {}, and the state says {}",
            state.recompute_digest(),
            state.digest()
        ));
    }
    let counted = state.sequence();
    let staged = storage.settle_audit(counted)?;
    if staged > 0 {
        tracing::info!(counted, staged, "a snapshot transfer was cut short; what has arrived is kept");
    }
    let stored = storage.audit_end()?.saturating_sub(staged);
    if counted != stored {
        return corrupt(format!("the state counts {counted} audit records, and {stored} are stored"));
    }
    let mut tiles = StoredTiles::of(storage)?;
    let mut tree = OpenTiles::default();
    let mut removed = RemovedRows::new();
    if counted > 0 {
        // Beyond those that are counted some may be staged. A gap is an error of its own.
        storage.scan_audit::<io::Error>(0, |sequence, row| {
            let Some(leaf) = row_leaf_hash(row) else {
                return corrupt(format!("audit record {sequence} is none"));
            };
            removed.read(sequence, row);
            for (tile, bytes) in tree.push(leaf) {
                tiles.settle(tile, bytes)?;
            }
            Ok(if tree.size() < counted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    if tree.size() < counted {
        return corrupt(format!("audit record {} is missing", tree.size()));
    }
    let made = tree.frontier();
    if made.as_ref() != Some(state.audit_frontier()) {
        return corrupt(format!(
            "the audit records do not have the root that the state has of them: {}",
            tiles.suspect(made.as_ref(), state.audit_frontier())
        ));
    }
    tiles.finish()?;
    removed.check(storage)?;
    Ok((state, tree))
}

/// The complete tiles of the audit log's tree, as start-up finds them.
struct StoredTiles<'a> {
    storage: &'a Storage,
    /// Whether all of them were here once. A folder that an earlier version wrote has none, and one whose start was cut
    /// short has some of them.
    were_here: bool,
    /// How many were not, and are now.
    made: u64,
    /// The first tile that is another than the records make.
    fault: Option<(Tile, Vec<u8>)>,
}

impl<'a> StoredTiles<'a> {
    fn of(storage: &'a Storage) -> Result<Self, io::Error> {
        let were_here = storage.meta(MetaKey::AuditTiles)?.is_some();
        Ok(Self { storage, were_here, made: 0, fault: None })
    }

    /// Holds what is stored against the tile that the records make.
    fn settle(&mut self, tile: Tile, bytes: Vec<u8>) -> Result<(), io::Error> {
        let stored = self.storage.tile(tile)?;
        if stored.as_ref() != Some(&bytes) {
            if self.were_here {
                self.fault.get_or_insert((tile, bytes));
                return Ok(());
            }
            let mut batch = self.storage.batch();
            batch.tile(tile, &bytes);
            batch.commit()?;
            self.made = self.made.saturating_add(1);
        }
        Ok(())
    }

    /// Which records are not what they were, in a log that has not the root that it had.
    fn suspect(&self, made: Option<&Frontier>, kept: &Frontier) -> String {
        let of_fault = self.fault.as_ref().and_then(|(tile, made)| {
            let stored = self.storage.tile(*tile).ok()??;
            let mut hashes = made.chunks(HASH_BYTES).zip(stored.chunks(HASH_BYTES));
            let at = hashes.position(|(made, stored)| made != stored)?;
            (tile.level == 0).then_some(tile.leaves().start.saturating_add(u64::try_from(at).ok()?))
        });
        if let Some(sequence) = of_fault {
            return format!("record {sequence} is not the one that its tile has the hash of");
        }
        // Where the tiles say what the records do, or there are none yet, the state's hashes of subtrees tell more.
        let other = made.and_then(|made| {
            let mut subtrees = cover(0..kept.size()).zip(made.subtrees().iter().zip(kept.subtrees()));
            subtrees.find_map(|(subtree, (made, kept))| (made != kept).then_some(subtree))
        });
        match other {
            Some((level, index)) => format!(
                "one of the records {} to {} was changed, or the hash that the state has of them",
                index << level,
                (index << level) + (1_u64 << level) - 1
            ),
            None => "the state has no hashes of as many records".to_owned(),
        }
    }

    /// The records are what the state has the root of. So are the tiles, or they are refused.
    fn finish(self) -> Result<(), io::Error> {
        if let Some((tile, _)) = &self.fault {
            let (is_there, leaves) = (self.storage.tile(*tile)?.is_some(), tile.leaves());
            return corrupt(format!(
                "tile {} of level {} of the audit log's tree {}; it is of the records {} to {}, which are as they were",
                tile.index,
                tile.level,
                if is_there { "was changed" } else { "is missing" },
                leaves.start,
                leaves.end.saturating_sub(1)
            ));
        }
        if self.were_here {
            return Ok(());
        }
        if self.made > 0 {
            tracing::info!(
                tiles = self.made,
                "the folder had no tiles of the audit log's tree, and has them now"
            );
        }
        self.storage.put_meta(MetaKey::AuditTiles, &[])?;
        Ok(self.storage.sync_blocking()?)
    }
}

/// A snapshot is only put in place when the state it was made of is durable.
fn check_snapshots(storage: &Storage, last_applied: Option<LogId>) -> Result<(), io::Error> {
    snapshot::remove_leftovers(storage)?;
    if let Some(newest) = snapshot::newest_verified(storage)?
        && newest.summary.meta.last_log_id > last_applied
    {
        return corrupt(format!(
            "the newest snapshot is at entry {} and the state only at {}: synced data is missing",
            display(newest.summary.meta.last_log_id),
            display(last_applied)
        ));
    }
    Ok(())
}

fn read_state(storage: &Storage) -> Result<State, io::Error> {
    let mut loader = Loader::default();
    storage.scan_state(|key, value| {
        loader.row(key, value).map_err(|error| StorageError::corrupt(format!("a row of the state: {error}")))
    })?;
    Ok(loader.finish())
}

fn corrupt<T>(what: String) -> Result<T, io::Error> {
    Err(StorageError::Corrupt(what).into())
}

fn display(id: Option<impl std::fmt::Display>) -> String {
    id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}
