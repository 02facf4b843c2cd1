//! A disk that does not fit together is refused, and the refusal says what is wrong. Each test breaks one thing.

use std::fs;

use flagraft_core::merkle::tile::Tile;
use openraft::{
    EntryPayload,
    storage::{RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine},
};
use tempfile::tempdir;

use super::{
    testing::{
        append, apply, entry, filled, log_id, log_store, membership_entry, open, open_failing, recover,
        state_machine, state_rows,
    },
    types::{Command, Entry, StoredMembership, Vote},
    wire::{encode_entry, encode_log_id, encode_membership, encode_vote},
};
use crate::storage::{MetaKey, Storage, StorageError, StorageMetrics, StorageOptions};

/// Breaks a sound folder of 20 proposals, and returns what start-up says to it.
async fn refusal(damage: impl FnOnce(&Storage)) -> String {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 20).await;
    recover(&storage).expect("sound before it is damaged");
    damage(&storage);
    drop(storage);
    match recover(&open(dir.path())) {
        Ok(_) => panic!("the damage goes unnoticed"),
        Err(error) => error.to_string(),
    }
}

fn encoded(entry: Entry) -> (u64, Vec<u8>) {
    (entry.log_id.index, encode_entry(entry).expect("small enough"))
}

#[tokio::test]
async fn a_sound_folder_comes_back_as_it_was() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 20).await;
    let before = state_machine(&storage).publisher().current();
    drop(storage);
    let storage = open(dir.path());
    let after = recover(&storage).expect("sound");
    assert_eq!(after.last_applied, Some(log_id(1, 20)));
    assert_eq!(after.state.digest(), before.state.digest());
    assert_eq!(after.state.sequence(), 20);
    assert_eq!(after.membership.membership().voter_ids().collect::<Vec<_>>(), [1]);
}

/// Takes away what start-up would notice first.
fn no_floor(storage: &Storage) {
    storage.floor().write(Vec::new()).expect("written");
}

#[tokio::test]
async fn a_log_that_ends_before_what_was_synced() {
    let said = refusal(|storage| storage.truncate_log(15).expect("writes")).await;
    assert!(
        said.contains("entry T1-N1.20 of the Raft log was synced, and the database ends at T1-N1.14"),
        "{said}"
    );
    let said = refusal(|storage| storage.truncate_log(0).expect("writes")).await;
    assert!(said.contains("and the database ends at none"), "{said}");
}

#[tokio::test]
async fn another_entry_than_the_synced_one() {
    let said = refusal(|storage| {
        storage.append_log([encoded(entry(2, 20))]).map(drop).expect("writes");
    })
    .await;
    assert!(said.contains("was synced, and the database has T2-N1.20"), "{said}");
}

#[tokio::test]
async fn an_older_vote_than_the_synced_one() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 3).await;
    let mut log = log_store(&storage, usize::MAX);
    log.save_vote(&Vote::new(7, 1)).await.expect("saved");
    storage.put_meta(MetaKey::Vote, &encode_vote(&Vote::new(6, 1)).expect("encodes")).expect("writes");
    let said = recover(&storage).err().expect("refused").to_string();
    assert!(said.contains("was synced, and the database has"), "{said}");
    storage.put_meta(MetaKey::Vote, &encode_vote(&Vote::new(8, 1)).expect("encodes")).expect("writes");
    recover(&storage).expect("a newer one is no loss");
}

#[tokio::test]
async fn a_log_that_starts_after_the_state() {
    let said = refusal(|storage| {
        let mut batch = storage.batch();
        batch.meta(MetaKey::LastApplied, Some(&encode_log_id(&log_id(1, 4)).expect("encodes")));
        batch.commit().expect("writes");
        storage.purge_log(0..8, &encode_log_id(&log_id(1, 7)).expect("encodes")).expect("writes");
    })
    .await;
    assert!(said.contains("what is between is gone"), "{said}");
}

#[tokio::test]
async fn a_membership_that_is_gone_or_ahead() {
    let gone = refusal(|storage| {
        let mut batch = storage.batch();
        batch.meta(MetaKey::Membership, None);
        batch.commit().expect("writes");
    })
    .await;
    assert!(gone.contains("has no membership"), "{gone}");
    let ahead = refusal(|storage| {
        let stored = StoredMembership::new(Some(log_id(1, 21)), Default::default());
        storage.put_meta(MetaKey::Membership, &encode_membership(&stored).expect("encodes")).expect("writes");
    })
    .await;
    assert!(ahead.contains("the membership is of entry"), "{ahead}");
}

#[tokio::test]
async fn an_audit_record_that_was_edited() {
    let said = refusal(|storage| {
        let mut row = storage.audit_range(7, 1).expect("reads").remove(0);
        row.bytes[10] ^= 1;
        let mut batch = storage.batch();
        batch.record(7, &row.bytes);
        batch.commit().expect("writes");
    })
    .await;
    assert!(said.contains("do not have the root"), "{said}");
}

#[tokio::test]
async fn a_gap_in_the_log() {
    let said = refusal(|storage| {
        storage.truncate_log(10).expect("writes");
        storage.append_log((11..=20).map(|index| encoded(entry(1, index)))).expect("writes");
    })
    .await;
    assert!(said.contains("has entry 11 under index 11 where entry 10 belongs"), "{said}");
}

#[tokio::test]
async fn an_entry_under_another_index() {
    let said = refusal(|storage| {
        let (_, bytes) = encoded(entry(1, 12));
        storage.append_log([(10, bytes)]).map(drop).expect("writes");
    })
    .await;
    assert!(said.contains("has entry 12 under index 10 where entry 10 belongs"), "{said}");
}

#[tokio::test]
async fn a_flipped_bit_in_an_entry() {
    let said = refusal(|storage| {
        let (index, mut bytes) = encoded(entry(1, 10));
        bytes[40] ^= 1;
        storage.append_log([(index, bytes)]).map(drop).expect("writes");
    })
    .await;
    assert!(said.contains("checksum"), "{said}");
}

#[tokio::test]
async fn a_term_that_goes_back() {
    let said = refusal(|storage| {
        storage.append_log([encoded(entry(2, 19)), encoded(entry(1, 20))]).map(drop).expect("writes");
    })
    .await;
    assert!(said.contains("older term"), "{said}");
}

#[tokio::test]
async fn another_entry_than_the_applied_one() {
    let said = refusal(|storage| {
        no_floor(storage);
        storage.append_log([encoded(entry(2, 20))]).map(drop).expect("writes");
    })
    .await;
    assert!(said.contains("is not the one that was applied"), "{said}");
}

#[tokio::test]
async fn a_log_that_ends_before_the_state() {
    let said = refusal(|storage| {
        no_floor(storage);
        storage.truncate_log(15).expect("writes");
    })
    .await;
    assert!(said.contains("the Raft log ends at"), "{said}");
}

#[tokio::test]
async fn a_log_that_starts_after_the_purged_part() {
    let said = refusal(|storage| {
        let purged = encode_log_id(&log_id(1, 5)).expect("encodes");
        storage.purge_log(0..8, &purged).expect("writes");
    })
    .await;
    assert!(said.contains("has entry 8 under index 8 where entry 6 belongs"), "{said}");
}

#[tokio::test]
async fn values_that_do_not_decode() {
    for key in
        [MetaKey::Vote, MetaKey::Committed, MetaKey::LastApplied, MetaKey::Membership, MetaKey::LastPurged]
    {
        let said = refusal(|storage| storage.put_meta(key, b"garbage").expect("writes")).await;
        assert!(said.contains("envelope"), "{key:?}: {said}");
    }
}

#[tokio::test]
async fn a_missing_audit_record() {
    let said = refusal(|storage| storage.trim_audit(19).expect("writes")).await;
    assert!(said.contains("the state counts 20 audit records, and 19 are stored"), "{said}");
}

#[tokio::test]
async fn a_surplus_audit_record() {
    let said = refusal(|storage| {
        let mut batch = storage.batch();
        batch.record(20, b"{}");
        batch.commit().expect("writes");
    })
    .await;
    assert!(said.contains("the state counts 20 audit records, and 21 are stored"), "{said}");
}

/// Breaks a sound folder of 600 proposals, whose log has two complete tiles, and returns what start-up says to it.
async fn refusal_of_tiles(damage: impl FnOnce(&Storage)) -> String {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 600).await;
    recover(&storage).expect("sound before it is damaged");
    damage(&storage);
    drop(storage);
    recover(&open(dir.path())).map(drop).expect_err("the damage goes unnoticed").to_string()
}

fn leaf_tile(index: u64) -> Tile {
    Tile { level: 0, index }
}

fn flip_a_byte_of_record(storage: &Storage, sequence: u64) {
    let mut row = storage.audit_range(sequence, 1).expect("reads").remove(0);
    *row.bytes.last_mut().expect("bytes") ^= 1;
    let mut batch = storage.batch();
    batch.record(sequence, &row.bytes);
    batch.commit().expect("writes");
}

#[tokio::test]
async fn an_audit_record_that_was_changed_is_named() {
    let said = refusal_of_tiles(|storage| flip_a_byte_of_record(storage, 300)).await;
    assert!(said.contains("record 300 is not the one that its tile has the hash of"), "{said}");
    // No tile is over it yet.
    let said = refusal_of_tiles(|storage| flip_a_byte_of_record(storage, 599)).await;
    let name = "one of the records 592 to 599 was changed, or the hash that the state has of them";
    assert!(said.contains(name), "{said}");
}

#[tokio::test]
async fn a_tile_that_was_changed_or_lost_is_named() {
    let said = refusal_of_tiles(|storage| {
        let mut tile = storage.tile(leaf_tile(1)).expect("reads").expect("a tile");
        tile[17] ^= 1;
        let mut batch = storage.batch();
        batch.tile(leaf_tile(1), &tile);
        batch.commit().expect("writes");
    })
    .await;
    assert!(said.contains("tile 1 of level 0 of the audit log's tree was changed"), "{said}");
    assert!(said.contains("of the records 256 to 511, which are as they were"), "{said}");

    let lost = refusal_of_tiles(|storage| storage.drop_tiles()).await;
    assert!(lost.contains("tile 0 of level 0 of the audit log's tree is missing"), "{lost}");
}

/// A folder of a version that kept no tiles is given them at its first start.
#[tokio::test]
async fn a_folder_without_tiles_is_given_them() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 600).await;
    let tiles = [0, 1].map(|index| storage.tile(leaf_tile(index)).expect("reads").expect("a tile"));
    storage.drop_tiles();
    let mut batch = storage.batch();
    batch.meta(MetaKey::AuditTiles, None);
    batch.commit().expect("writes");
    drop(storage);
    let storage = open(dir.path());
    recover(&storage).expect("sound");
    assert_eq!([0, 1].map(|index| storage.tile(leaf_tile(index)).expect("reads").expect("a tile")), tiles);
    assert_eq!(storage.tile(leaf_tile(2)).expect("reads"), None, "it is growing");
    storage.drop_tiles();
    assert!(recover(&storage).is_err(), "from now on it has them");
}

#[tokio::test]
async fn a_state_row_that_was_edited_or_lost() {
    let edited = refusal(|storage| {
        let (key, mut value) = state_rows(storage).pop().expect("a row");
        // Inside a string of the row's JSON, so that the row still decodes.
        let at = value.windows(5).position(|bytes| bytes == b"17000").expect("a time");
        value[at] = b'2';
        let mut batch = storage.batch();
        batch.row(&key, Some(&value));
        batch.commit().expect("writes");
    })
    .await;
    assert!(edited.contains("digest"), "{edited}");

    let lost = refusal(|storage| {
        let (key, _) = state_rows(storage).pop().expect("a row");
        let mut batch = storage.batch();
        batch.row(&key, None);
        batch.commit().expect("writes");
    })
    .await;
    assert!(lost.contains("digest"), "{lost}");
}

#[tokio::test]
async fn a_snapshot_that_is_ahead_of_the_state() {
    let dir = tempdir().expect("a temporary folder");
    let ahead = tempdir().expect("a temporary folder");
    drop(filled(dir.path(), 20).await);
    let storage = filled(ahead.path(), 30).await;
    let mut machine = state_machine(&storage);
    machine.get_snapshot_builder().await.build_snapshot().await.expect("built");
    for file in fs::read_dir(storage.snapshot_dir()).expect("lists") {
        let file = file.expect("lists");
        fs::copy(file.path(), dir.path().join("snapshots").join(file.file_name())).expect("copies");
    }
    let said = recover(&open(dir.path())).err().expect("refused").to_string();
    assert!(said.contains("synced data is missing"), "{said}");
}

#[tokio::test]
async fn a_damaged_snapshot_is_never_no_snapshot() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 20).await;
    state_machine(&storage).get_snapshot_builder().await.build_snapshot().await.expect("built");
    let file =
        fs::read_dir(storage.snapshot_dir()).expect("lists").next().expect("one").expect("lists").path();
    let sound = fs::read(&file).expect("reads");
    for (what, bytes) in [
        ("cut", sound[..sound.len() - 1].to_vec()),
        ("empty", Vec::new()),
        (
            "flipped",
            sound.iter().enumerate().map(|(at, byte)| if at == 60 { byte ^ 1 } else { *byte }).collect(),
        ),
    ] {
        fs::write(&file, bytes).expect("writes");
        assert!(recover(&storage).is_err(), "{what}");
    }
    fs::write(&file, sound).expect("writes");
    assert!(recover(&storage).is_ok());
}

#[tokio::test]
async fn what_a_cut_transfer_has_staged_is_kept_as_far_as_it_has_no_gap() {
    for (staged, kept) in [([20..20, 20..500], 500), ([20..40, 41..500], 40), ([20..20, 21..500], 20)] {
        let dir = tempdir().expect("a temporary folder");
        let storage = filled(dir.path(), 20).await;
        let mut batch = storage.batch();
        batch.meta(MetaKey::AuditStaging, Some(&20_u64.to_be_bytes()));
        staged.into_iter().flatten().for_each(|sequence| batch.record(sequence, b"{}"));
        batch.commit().expect("writes");
        drop(storage);

        let storage = open(dir.path());
        let recovered = recover(&storage).expect("sound");
        assert_eq!(recovered.state.sequence(), 20);
        assert_eq!((storage.audit_end().expect("reads"), storage.staged_end()), (kept, kept));
        let marked = storage.meta(MetaKey::AuditStaging).expect("reads").is_some();
        assert_eq!(marked, kept > 20, "the mark stands as long as there is something");
        // Applying goes on where the state ended, over whatever was staged there.
        append(&storage, vec![entry(1, 21)]).await.expect("appended");
        apply(&mut state_machine(&storage), vec![entry(1, 21)]).await.expect("applied");
        drop(storage);
        let storage = open(dir.path());
        assert_eq!(recover(&storage).expect("sound").state.sequence(), 21);
        assert_ne!(storage.audit_range(20, 1).expect("reads")[0].bytes, b"{}");
    }
}

#[tokio::test]
async fn a_snapshot_makes_the_state_newer_than_the_log() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 20).await;
    storage.truncate_log(5).expect("writes");
    storage
        .put_meta(MetaKey::LastInstalled, &encode_log_id(&log_id(1, 20)).expect("encodes"))
        .expect("writes");
    assert!(recover(&storage).is_ok(), "between the installation and the purge that follows it");
}

#[tokio::test]
async fn a_folder_of_another_node_cluster_or_format() {
    let dir = tempdir().expect("a temporary folder");
    let (storage, _) = open_failing(dir.path(), None);
    let cluster = flagraft_core::identity::ClusterId(7);
    storage.set_cluster_id(cluster).await.expect("joins");
    storage.set_cluster_id(cluster).await.expect("joins the same again");
    let other = storage.set_cluster_id(flagraft_core::identity::ClusterId(8)).await;
    assert!(matches!(other, Err(StorageError::Identity(_))), "{other:?}");
    let uid = storage.identity().member_uid;
    assert_eq!(uid.len(), 32);
    drop(storage);

    let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry");
    let mut options = StorageOptions::new(dir.path(), 2, metrics);
    let said = Storage::open(options.clone()).expect_err("another node's").to_string();
    assert!(said.contains("belongs to node 1, not to node 2"), "{said}");
    options.node_id = 1;
    let identity = Storage::open(options).expect("its own").identity();
    assert_eq!((identity.member_uid, identity.cluster_id), (uid, Some(cluster)));
}

#[tokio::test]
async fn a_purged_log_is_read_from_its_first_entry() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 20).await;
    let mut log = log_store(&storage, 4 * 1024 * 1024);
    log.purge(log_id(1, 4)).await.expect("purged");
    log.purge(log_id(1, 9)).await.expect("purged");
    let entries = log.try_get_log_entries(..).await.expect("reads");
    assert_eq!(entries.first().expect("an entry").log_id, log_id(1, 10));
    assert_eq!(entries.len(), 11);
    let state = log.get_log_state().await.expect("reads");
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(1, 9)), Some(log_id(1, 20))));
    assert!(recover(&storage).is_ok());
}

#[tokio::test]
async fn reading_for_replication_stops_at_its_limit() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 20).await;
    let mut log = log_store(&storage, 1);
    assert_eq!(log.limited_get_log_entries(3, 20).await.expect("reads").len(), 1, "never empty");
    assert_eq!(log.try_get_log_entries(3..20).await.expect("reads").len(), 17, "never cut short");
}

#[tokio::test]
async fn a_failing_sync_acknowledges_nothing_and_is_reported() {
    let dir = tempdir().expect("a temporary folder");
    // The first sync serves the vote.
    let (storage, told) = open_failing(dir.path(), Some(1));
    let mut log = log_store(&storage, 4 * 1024 * 1024);
    let vote = Vote::new(1, 1);
    log.save_vote(&vote).await.expect("the first sync works");
    assert!(append(&storage, vec![membership_entry(1, 0)]).await.is_err());
    assert!(log.save_vote(&Vote::new(2, 1)).await.is_err());
    assert!(append(&storage, vec![entry(1, 1)]).await.is_err(), "nothing is written after a failure");
    assert!(!told.lock().expect("unpoisoned").is_empty());
}

#[tokio::test]
async fn a_proposal_of_an_unknown_kind_stops_the_node_and_leaves_no_trace() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 5).await;
    let mut machine = state_machine(&storage);
    let unknown = br#"{"group":1,"body":{"kind":"from_the_future"}}"#;
    let unknown = Entry { log_id: log_id(1, 7), payload: EntryPayload::Normal(Command(unknown.to_vec())) };
    // The entry before it is written in the same batch, or not at all.
    let said = apply(&mut machine, vec![entry(1, 6), unknown]).await.expect_err("stops").to_string();
    assert!(said.contains("does not understand"), "{said}");
    assert_eq!(machine.publisher().current().state.sequence(), 5);
    drop(machine);
    let recovered = recover(&storage).expect("sound");
    assert_eq!((recovered.last_applied, recovered.state.sequence()), (Some(log_id(1, 5)), 5));
}
