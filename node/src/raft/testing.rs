//! What the tests of this module share.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use flagraft_core::{
    proposal::{Actor, Body, Denials, Proposal, RequestId},
    record::row_leaf_hash,
    state::State,
};
use futures_util::stream;
use openraft::{
    EntryPayload,
    storage::{IOFlushed, RaftLogStorage, RaftStateMachine},
    type_config::TypeConfigExt,
    vote::RaftLeaderId,
};
use serde_json::json;

use super::{
    applied,
    log_size::LogSize,
    log_store::LogStore,
    recover::{Recovered, recover as recover_with},
    state_machine::StateMachine,
    tiles::OpenTiles,
    types::{Command, Entry, LeaderId, LogId, Membership, NodeMeta, TypeConfig},
};
use crate::storage::{FatalHook, Storage, StorageError, StorageMetrics, StorageOptions};

/// A folder's storage that fails its syncs after `fail_sync_after`, and what its fatal hook was told.
pub(crate) fn open_failing(
    dir: &Path,
    fail_sync_after: Option<u64>,
) -> (Arc<Storage>, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook: FatalHook = {
        let told = Arc::clone(&told);
        Arc::new(move |why| told.lock().expect("unpoisoned").push(why.to_owned()))
    };
    let options = StorageOptions { fatal: hook, fail_sync_after, ..options(dir) };
    (Storage::open(options).expect("the folder opens"), told)
}

/// A folder's storage, if it opens.
pub(super) fn try_open(dir: &Path) -> Result<Arc<Storage>, StorageError> {
    Storage::open(options(dir))
}

fn options(dir: &Path) -> StorageOptions {
    let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry");
    let fatal: FatalHook = Arc::new(|why| panic!("{why}"));
    StorageOptions { dir: dir.to_owned(), node_id: 1, fatal, metrics, fail_sync_after: None }
}

/// The storage of a folder of this node.
pub(crate) fn open_as(dir: &Path, node_id: u64) -> Arc<Storage> {
    Storage::open(StorageOptions { node_id, ..options(dir) }).expect("the folder opens")
}

/// A folder's storage.
pub(crate) fn open(dir: &Path) -> Arc<Storage> {
    open_failing(dir, None).0
}

pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId::new(term, 1), index }
}

/// A proposal that takes an audit record and no authority.
pub(crate) fn proposal(number: u64) -> Proposal {
    Proposal {
        group: 1,
        request: RequestId { id: format!("request-{number}"), client_given: false },
        body: Body::Denials(Denials { node: 1, from_ms: 0, to_ms: 60_000, count: number + 1 }),
        asks_sha256: None,
        signature: None,
        actor: Actor::system(1),
        caused_by: None,
        proposed_at_ms: 1_700_000_000_000 + i64::try_from(number).expect("small"),
        salt: [7; 16],
        node: 1,
    }
}

/// The changes of a small shop, each of which is accepted after those before it: 0 founds the cluster, 1 makes the shop,
/// and each other one puts one of fifty flags, on or off.
pub(crate) fn change(number: u64) -> Proposal {
    let at = number.to_string();
    let operations = match number {
        0 => json!([{"op": "system.bootstrap", "cluster": "0".repeat(32), "history": "0".repeat(16),
                     "cluster_version": 1, "members": {}}]),
        1 => json!([{"op": "project.put", "project": {"key": "shop"}},
                    {"op": "environment.put", "environment": {"key": "dev"}}]),
        _ => json!([{"op": "flag.put", "flag": {
            "key": format!("flag-{}", number % 50), "type": "string", "description": at,
            "variants": {"on": at, "off": "off"}, "off_variant": "off",
            "environments": {"dev": {"enabled": !number.is_multiple_of(3), "default": {"variant": "on"}}},
        }}]),
    };
    let change =
        json!({"project": (number > 0).then_some("shop"), "operations": operations, "reason": "test"});
    let body = Body::Change(serde_json::from_value(change).expect("a change"));
    Proposal { body, ..proposal(number) }
}

pub(super) fn entry(term: u64, index: u64) -> Entry {
    let command = Command(proposal(index).encode().expect("small enough"));
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(command) }
}

/// The days between the records of before and the removals of [`with_removals`], in milliseconds.
const REMOVED_AFTER_MS: i64 = 3 * 24 * 60 * 60 * 1_000;

/// The entry of a proposal of the cluster itself: these operations, so long after the first proposals.
fn change_entry(index: u64, operations: serde_json::Value, later_ms: i64) -> Entry {
    let change = json!({"operations": operations, "reason": "test"});
    let body = Body::Change(serde_json::from_value(change).expect("a change"));
    let plain = proposal(index);
    let proposal = Proposal { body, proposed_at_ms: plain.proposed_at_ms + later_ms, ..plain };
    let command = Command(proposal.encode().expect("small enough"));
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(command) }
}

/// A log whose entries 1 and 2 found a cluster and set a rule, and of which entry `at` and the one after it remove the records of
/// `ranges`, one each; all others count denials. The record of entry `n` has the sequence `n - 1`.
pub(super) fn with_removals(entries: u64, at: u64, ranges: [Vec<(u64, u64)>; 2]) -> Vec<Entry> {
    let removal = |index: u64, ranges: &[(u64, u64)]| {
        let records: u64 = ranges.iter().map(|(from, to)| to - from).sum();
        let ranges: Vec<_> = ranges.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
        let remove = json!({"op": "audit.remove", "ranges": ranges, "records": records, "before_ms": 0});
        change_entry(index, json!([remove]), REMOVED_AFTER_MS)
    };
    let of = |index: u64| match index {
        0 => membership_entry(1, 0),
        1 => change_entry(
            1,
            json!([{"op": "system.bootstrap", "cluster": "0".repeat(32), "history": "0".repeat(16),
                    "cluster_version": 2, "members": {}}]),
            0,
        ),
        2 => change_entry(2, json!([{"op": "audit.retention.put", "keep_days": {"denied": 1}}]), 0),
        index if index == at => removal(index, &ranges[0]),
        index if index == at + 1 => removal(index, &ranges[1]),
        index => entry(1, index),
    };
    (0..=entries).map(of).collect()
}

/// A folder on which these entries were appended and applied, in batches of so many.
pub(super) async fn applied_in_batches(dir: &Path, entries: &[Entry], batch: usize) -> Arc<Storage> {
    let storage = open(dir);
    append(&storage, entries.to_vec()).await.expect("appended");
    let mut machine = state_machine(&storage);
    for some in entries.chunks(batch) {
        apply(&mut machine, some.to_vec()).await.expect("applied");
    }
    storage.sync().await.expect("synced");
    storage
}

pub(super) fn membership_entry(term: u64, index: u64) -> Entry {
    membership_of(term, index, &[1])
}

/// A membership of these voters.
pub(super) fn membership_of(term: u64, index: u64, voters: &[u64]) -> Entry {
    let meta = NodeMeta { peer_addr: "127.0.0.1:1".to_owned(), uid: "0".repeat(32), ..NodeMeta::default() };
    let nodes: std::collections::BTreeMap<u64, NodeMeta> =
        voters.iter().map(|id| (*id, meta.clone())).collect();
    let membership = Membership::new(vec![voters.iter().copied().collect()], nodes);
    Entry { log_id: log_id(term, index), payload: EntryPayload::Membership(membership.expect("voters")) }
}

/// What start-up says to a disk.
pub(super) fn recover(storage: &Storage) -> Result<Recovered, io::Error> {
    recover_with(storage, 256 * 1024 * 1024)
}

pub(super) fn log_store(storage: &Arc<Storage>, append_bytes_max: usize) -> LogStore {
    LogStore::new(Arc::clone(storage), append_bytes_max, LogSize::new(u64::MAX)).expect("opens")
}

/// Writes `entries` to the log of `storage` and waits until they are durable.
pub(super) async fn append(storage: &Arc<Storage>, entries: Vec<Entry>) -> Result<(), io::Error> {
    let mut log = log_store(storage, 4 * 1024 * 1024);
    let (tell, told) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(tell)).await?;
    told.await.expect("the syncer answers")
}

/// A state machine that goes on where the disk left off.
pub(super) fn state_machine(storage: &Arc<Storage>) -> StateMachine {
    StateMachine::new(Arc::clone(storage), recover(storage).expect("a sound disk")).0
}

pub(super) async fn apply(machine: &mut StateMachine, entries: Vec<Entry>) -> Result<(), io::Error> {
    machine.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await
}

/// A folder with a membership at index 0 and `proposals` applied proposals after it.
pub(super) async fn filled(dir: &Path, proposals: u64) -> Arc<Storage> {
    let storage = open(dir);
    let entries =
        || std::iter::once(membership_entry(1, 0)).chain((1..=proposals).map(|index| entry(1, index)));
    append(&storage, entries().collect()).await.expect("appended");
    apply(&mut state_machine(&storage), entries().collect()).await.expect("applied");
    storage.sync().await.expect("synced");
    storage
}

/// The rows of the state as they are stored.
pub(super) fn state_rows(storage: &Storage) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    storage
        .scan_state::<StorageError>(|key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(())
        })
        .expect("reads");
    rows
}

/// Rewrites one audit record of a folder that no node runs on, and all that would tell: its tiles, the state's tree, and
/// the hash of the state. What remains is what other members know.
pub(crate) fn forge(storage: &Storage, sequence: u64, rewrite: impl Fn(&[u8]) -> Vec<u8>) {
    let before = recover(storage).expect("sound before it is forged");
    let mut batch = storage.batch();
    let mut tiles = OpenTiles::default();
    for row in storage.audit_range(0, usize::MAX).expect("reads") {
        let bytes = if row.sequence == sequence { rewrite(&row.bytes) } else { row.bytes };
        batch.record(row.sequence, &bytes);
        for (tile, bytes) in tiles.push(row_leaf_hash(&bytes).expect("a record")) {
            batch.tile(tile, &bytes);
        }
    }
    let subtrees: Vec<String> =
        tiles.frontier().expect("a tree").subtrees().iter().map(hex::encode).collect();
    // The row of the numbers is the first one.
    let rows = before.state.rows().enumerate().map(|(at, (key, value))| match at {
        0 => {
            let mut meta: serde_json::Value = serde_json::from_slice(&value[1..]).expect("JSON");
            meta["audit_subtrees"] = subtrees.clone().into();
            (key, [&value[..1], meta.to_string().as_bytes()].concat())
        }
        _ => (key, value),
    });
    let forged = State::from_rows(rows).expect("a state");
    assert_ne!(forged.audit_root(), before.state.audit_root());
    for (key, value) in forged.rows() {
        batch.row(&key, Some(&value));
    }
    applied::put(&mut batch, before.last_applied.as_ref(), &forged).expect("encodes");
    batch.commit().expect("writes");
    storage.sync_blocking().expect("synced");
    recover(storage).expect("the node alone can't tell");
}
