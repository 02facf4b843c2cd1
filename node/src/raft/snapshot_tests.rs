//! A snapshot file is frozen as a whole: other versions read it from a disk and receive it from another member.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use openraft::storage::{RaftSnapshotBuilder as _, RaftStateMachine as _};
use tempfile::tempdir;

use super::{
    catalog_file,
    snapshot::{Finished, SnapshotData, newest},
    testing::{filled, log_id, open, recover, state_machine},
    wire::encode_log_id,
};
use crate::storage::{MetaKey, Storage};

/// The files in the folder of snapshots.
fn files(storage: &Storage) -> Vec<PathBuf> {
    let files = fs::read_dir(storage.snapshot_dir()).expect("a folder");
    files.map(|file| file.expect("a file").path()).collect()
}

#[tokio::test]
async fn golden_bytes_of_a_snapshot_file() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 3).await;
    let mut builder = state_machine(&storage).get_snapshot_builder().await;
    builder.build_snapshot().await.expect("built");
    drop(builder);
    let files = files(&storage);
    let [file] = files.as_slice() else { panic!("one snapshot, not {files:?}") };
    let golden = include_str!("golden/snapshot.txt").trim_end();
    assert_eq!(hex::encode(fs::read(file).expect("readable")), golden, "what is released is frozen");

    // Start-up reads it back whole.
    fs::write(file, hex::decode(golden).expect("hexadecimal")).expect("written");
    drop(storage);
    recover(&open(dir.path())).expect("sound");
}

/// A node that had just started built a snapshot while it took one over from its leader, which removes what is older. It was
/// gone when the node opened it, and the node ended: the disk seemed to have failed (`snapshot-catch-up`, seed 7101).
#[tokio::test(flavor = "multi_thread")]
async fn whoever_removes_snapshots_meanwhile_spoils_no_build() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 3).await;
    let built = Arc::new(AtomicBool::new(false));
    let remover = tokio::task::spawn_blocking({
        let (storage, built) = (Arc::clone(&storage), Arc::clone(&built));
        move || {
            while !built.load(Ordering::SeqCst) {
                newest(&storage).expect("one that is there can be opened");
                Finished::of(&storage).remove_all().expect("what is there can be removed");
            }
        }
    });
    let mut machine = state_machine(&storage);
    for _ in 0..50 {
        let mut builders = [machine.get_snapshot_builder().await, machine.get_snapshot_builder().await];
        let [one, other] = &mut builders;
        let (one, other) = tokio::join!(one.build_snapshot(), other.build_snapshot());
        one.and(other).expect("built");
    }
    built.store(true, Ordering::SeqCst);
    remover.await.expect("no panic");
}

/// Where an installed snapshot reaches to, the log starts. Were there an older one when the node crashes, before its own copy
/// of the installed one is in place, it would come back with a snapshot that ends before its log starts.
#[tokio::test]
async fn a_snapshot_that_was_overtaken_by_an_installed_one_takes_no_place() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 3).await;
    let mut builder = state_machine(&storage).get_snapshot_builder().await;
    let later = encode_log_id(&log_id(9, 1_000)).expect("small");
    storage.put_meta(MetaKey::LastInstalled, &later).expect("written");
    let built = builder.build_snapshot().await.expect("built, for whoever waits for it");
    let SnapshotData::Stored(catalog) = built.snapshot else { panic!("a built snapshot is stored") };
    catalog_file::verify(&catalog.file).expect("whole");
    assert_eq!(files(&storage), Vec::<PathBuf>::new());
}
