//! A snapshot file is frozen as a whole: other versions read it from a disk and receive it from another member.

use std::fs;

use openraft::storage::{RaftSnapshotBuilder as _, RaftStateMachine as _};
use tempfile::tempdir;

use super::testing::{filled, open, recover, state_machine};

#[tokio::test]
async fn golden_bytes_of_a_snapshot_file() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 3).await;
    let mut builder = state_machine(&storage).get_snapshot_builder().await;
    builder.build_snapshot().await.expect("built");
    drop(builder);
    let files: Vec<_> = fs::read_dir(storage.snapshot_dir())
        .expect("a folder")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|end| end == "snapshot"))
        .collect();
    let [file] = files.as_slice() else { panic!("one snapshot, not {files:?}") };
    let golden = include_str!("golden/snapshot.txt").trim_end();
    assert_eq!(hex::encode(fs::read(file).expect("readable")), golden, "what is released is frozen");

    // Start-up reads it back whole.
    fs::write(file, hex::decode(golden).expect("hexadecimal")).expect("written");
    drop(storage);
    recover(&open(dir.path())).expect("sound");
}
