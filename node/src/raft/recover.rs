//! Start-up: reads what the disk holds, and refuses to go on with a disk that can't be trusted.
//!
//! RocksDB checks its own blocks, but it stops recovery quietly at a damaged place in its write-ahead log, and a
//! person can edit or restore files. So everything that must fit together is checked to fit together.

use std::{io, ops::ControlFlow};

use flagraft_core::{merkle::Frontier, rows::Loader, state::State};

use super::{
    applied,
    floor::Synced,
    log_size::LogSize,
    log_store::{hole, last_entry, read_log_id, read_vote},
    snapshot,
    types::{LogId, StoredMembership, Vote},
    wire::{decode_entry, decode_membership},
};
use crate::storage::{MetaKey, Storage, StorageError};

/// Audit records read at a time.
const PAGE_RECORDS: usize = 1_000;

/// What the disk holds.
pub(super) struct Recovered {
    pub state: State,
    pub last_applied: Option<LogId>,
    pub membership: StoredMembership,
    pub log_size: LogSize,
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

    check_floor(storage, vote)?;
    let mut log_size = LogSize::new(log_bytes_max);
    check_log(storage, last_applied, &mut log_size)?;
    check_membership(membership.as_ref(), last_applied)?;
    let state = check_state(storage)?;
    applied::check(storage, last_applied, &state)?;
    check_snapshots(storage, last_applied)?;
    Ok(Recovered { state, last_applied, membership: membership.unwrap_or_default(), log_size })
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
/// but those that a snapshot brought ahead of the state that counts them.
fn check_state(storage: &Storage) -> Result<State, io::Error> {
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
    let mut tree = Frontier::default();
    while tree.size() < counted {
        // Beyond those that are counted some may be staged. A gap is an error of its own.
        let left = usize::try_from(counted - tree.size()).unwrap_or(PAGE_RECORDS);
        let page = storage.audit_range(tree.size(), PAGE_RECORDS.min(left))?;
        page.iter().for_each(|row| tree.push(&row.bytes));
        if page.is_empty() {
            return corrupt(format!("audit record {} is missing", tree.size()));
        }
    }
    if tree.root() != state.audit_root() {
        return corrupt("the audit records do not have the root that the state has of them".to_owned());
    }
    Ok(state)
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
