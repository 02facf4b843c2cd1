//! Backups written, read back, damaged in every way there is, and staged.

use std::{fs, io::Cursor, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use flagraft_core::{
    apply::apply,
    identity::{ClusterId, History, LogPosition},
    proposal::{Proposal, RequestId},
    record::{is_removed, row_leaf_hash},
    state::State,
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tempfile::{TempDir, tempdir};
use tokio::sync::{Semaphore, watch};

use super::{BackupError, Header, StageError, Staged, Words, check, load, stage, write};
use crate::{
    pieces::{PieceStream, Pieces},
    raft::Published,
    storage::{Storage, StorageMetrics},
};

/// A log that goes through every operation: what core's own golden test applies.
const LOG: &str = include_str!("../../../core/tests/fixtures/log.jsonl");
const GOLDEN: &str = include_str!("golden/header.txt");

/// A catalog with its audit log on a disk.
struct Made {
    published: Published,
    storage: Arc<Storage>,
    _dir: TempDir,
}

fn made() -> Made {
    made_with(0)
}

/// With this many records more.
fn made_with(more: u64) -> Made {
    let dir = tempdir().expect("a temporary folder");
    let metrics = StorageMetrics::detached().expect("fresh");
    let options = crate::storage::StorageOptions::new(dir.path(), 1, metrics);
    let storage = Storage::open(options).expect("the folder opens");
    let mut state = State::empty();
    let mut position = LogPosition::default();
    let mut batch = storage.batch();
    let mut log: Vec<Proposal> =
        LOG.lines().map(|entry| Proposal::decode(entry.as_bytes()).expect(entry)).collect();
    let denials = log.last().expect("the log ends with a count of denials").clone();
    log.extend((0..more).map(|number| Proposal {
        request: RequestId { id: format!("denials-more-{number}"), client_given: false },
        ..denials.clone()
    }));
    for (proposal, index) in log.iter().zip(1..) {
        position = LogPosition { term: 7, index };
        let applied = apply(&state, proposal, position);
        if let Some(record) = applied.record {
            batch.record(record.sequence, &record.bytes);
        }
        state = applied.state;
    }
    batch.commit().expect("written");
    Made { published: Published::first(state, Some(position), std::sync::Arc::default()), storage, _dir: dir }
}

impl Made {
    fn backup(&self) -> Vec<u8> {
        let header = Header::of(&self.published, 2, 1_800_000_040_000).expect("founded");
        let mut bytes = Vec::new();
        write(&header, &self.published, &self.storage, &mut bytes).expect("written");
        bytes
    }
}

fn words() -> Words {
    Words { operator: "ann".to_owned(), reason: "a drill".to_owned(), ticket: None }
}

fn read(bytes: &[u8]) -> Result<(Header, State), BackupError> {
    load(Cursor::new(bytes), |_, _| Ok(()), |_| ())
}

/// Enough records that a backup is many more pieces than wait for a receiver.
const MANY: u64 = 6_000;

/// A backup being streamed, what tells it to stop, and how many permits are free.
fn streamed(made: &Made, stall: Duration) -> (PieceStream, watch::Sender<bool>, Arc<Semaphore>) {
    let header = Header::of(&made.published, 2, 1_800_000_040_000).expect("founded");
    let (stop, stopped) = watch::channel(false);
    let permits = Arc::new(Semaphore::new(1));
    let permit = Arc::clone(&permits).try_acquire_owned().expect("it is free");
    let (published, storage) = (Arc::new(made.published.clone()), Arc::clone(&made.storage));
    let make = move |to: &mut Pieces| write(&header, &published, &storage, to);
    (PieceStream::start("a backup", stall, stopped, permit, make), stop, permits)
}

#[tokio::test]
async fn a_stream_is_the_backup_in_pieces() {
    let made = made_with(MANY);
    let (stream, _stop, permits) = streamed(&made, Duration::from_secs(30));
    let pieces: Vec<_> = stream.try_collect().await.expect("whole");
    assert!(pieces.len() > 8 && pieces.iter().all(|piece| piece.len() < 1024 * 1024), "{}", pieces.len());
    assert_eq!(pieces.concat(), made.backup());
    drop(permits.acquire().await.expect("it is given back"));
}

/// Never an end that looks like a whole backup: an error.
#[tokio::test]
async fn a_receiver_that_stalls_and_a_node_that_stops_end_it_with_an_error() {
    let made = made_with(MANY);
    let (stalled, _stop, permits) = streamed(&made, Duration::from_millis(50));
    drop(permits.acquire().await.expect("it is given up although the receiver is still there"));
    let error = stalled.try_collect::<Vec<_>>().await.expect_err("not whole");
    assert!(error.to_string().contains("broke off"), "{error}");

    let (mut cut, stop, permits) = streamed(&made, Duration::from_secs(3_600));
    cut.next().await.expect("a first piece").expect("good");
    stop.send_replace(true);
    drop(permits.acquire().await.expect("it ends when the node does"));
    cut.try_collect::<Vec<_>>().await.expect_err("not whole");
}

#[test]
fn the_header_is_frozen() {
    let header = Header {
        group: 1,
        cluster: ClusterId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        history: History(0x0123_4567_89ab_cdef),
        position: LogPosition { term: 7, index: 300 },
        revision: 42,
        cluster_version: 1,
        audit_size: 70_000,
        audit_root: [0xab; 32],
        digest: "cd".repeat(32),
        node: 3,
        made_at_ms: 1_800_000_000_000,
        program: "0.1.0".to_owned(),
    };
    assert_eq!(hex::encode(header.encode().expect("encodes")), GOLDEN.trim_end());
    assert_eq!(Header::decode(&hex::decode(GOLDEN.trim_end()).expect("hexadecimal")), Ok(header));
}

#[test]
fn a_backup_holds_the_state_and_every_record_byte_for_byte() {
    let made = made();
    let bytes = made.backup();
    let mut records = Vec::new();
    let (header, state) = load(
        Cursor::new(&bytes),
        |sequence, bytes| {
            assert_eq!(sequence, records.len() as u64);
            records.push(bytes.to_vec());
            Ok(())
        },
        |_| (),
    )
    .expect("good");
    assert!(state == made.published.state, "the state is the one that was backed up");
    assert_eq!(header.position, made.published.position.expect("applied"));
    assert_eq!(header.digest, state.digest().to_string());
    let stored = made.storage.audit_range(0, usize::MAX).expect("reads");
    assert!(stored.iter().map(|row| &row.bytes).eq(&records));
    assert_eq!(records.len() as u64, state.sequence());
}

/// Of a removed record its hash is in the backup, and comes back from it.
#[test]
fn a_backup_holds_what_is_left_of_removed_records() {
    let made = made();
    let size = made.published.state.sequence();
    // The last one too: a backup may be made while records are removed.
    for removed in [vec![0, 7], (2..size - 1).collect(), vec![size - 1]] {
        let mut batch = made.storage.batch();
        for sequence in &removed {
            let row = made.storage.audit_range(*sequence, 1).expect("reads").remove(0);
            batch.remove_record(*sequence, &row_leaf_hash(&row.bytes).expect("a row"));
        }
        batch.commit().expect("writes");
        let mut rows = Vec::new();
        let (_, state) = load(
            Cursor::new(made.backup()),
            |_, bytes| {
                rows.push(bytes.to_vec());
                Ok(())
            },
            |_| (),
        )
        .unwrap_or_else(|error| panic!("{error} without {removed:?}"));
        assert!(state == made.published.state);
        assert!(removed.iter().all(|sequence| is_removed(&rows[usize::try_from(*sequence).expect("small")])));
        let stored = made.storage.audit_range(0, usize::MAX).expect("reads");
        assert!(stored.iter().map(|row| &row.bytes).eq(&rows));
    }
}

/// Every byte of a backup is one that a change of is noticed, and so is every place to cut it off.
#[test]
fn no_damage_goes_unseen() {
    let bytes = made().backup();
    read(&bytes).expect("good before it is damaged");
    let step = (bytes.len() / 400).max(1);
    for at in
        (0..200.min(bytes.len())).chain((200..bytes.len()).step_by(step)).chain(bytes.len() - 40..bytes.len())
    {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged).is_err(), "byte {at} was changed");
        assert!(check(Cursor::new(&bytes[..at]), |_| Ok(())).is_err(), "cut off at {at}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    let error = read(&longer).expect_err("something follows").to_string();
    assert!(error.contains("something follows its end"), "{error}");
    assert!(matches!(read(b""), Err(BackupError::Bad(_))));
    assert!(matches!(read(b"PK\x03\x04, or any other file"), Err(BackupError::Bad(_))));
}

/// Whoever makes the hash right again is still found out by the digest, the tree and the chain.
#[test]
fn a_forged_hash_hides_no_damage_of_rows_and_records() {
    use sha2::{Digest as _, Sha256};
    let bytes = made().backup();
    let reseal = |content: &[u8]| [content, Sha256::digest(content).as_slice()].concat();
    let content = &bytes[..bytes.len() - 32];
    read(&reseal(content)).expect("the seal is right");
    for (what, said) in [("Shop", "digest"), ("step-32", "root"), ("\"revision_before\":26", "go on where")] {
        let mut forged = content.to_vec();
        // The last occurrence: of a row for the first, of a record for the others.
        let all: Vec<usize> = (0..forged.len() - what.len())
            .filter(|at| &forged[*at..*at + what.len()] == what.as_bytes())
            .collect();
        let at = if what == "Shop" { all[0] } else { all[all.len() - 1] };
        let last = at + what.len() - 1;
        forged[last] = if forged[last] == b'9' { b'8' } else { forged[last] + 1 };
        let error = read(&reseal(&forged)).expect_err(what).to_string();
        assert!(error.contains(said), "{what}: {error}");
    }
}

#[test]
fn a_backup_is_staged_into_an_empty_folder_only_and_found_there() {
    let made = made();
    let bytes = made.backup();
    let dir = tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    assert!(Staged::find(&data).expect("looks").is_none());
    let header = stage(Cursor::new(&bytes), &data, words(), |_| ()).expect("staged");
    let staged = Staged::find(&data).expect("looks").expect("it waits");
    assert_eq!((staged.header(), staged.words()), (&header, &words()));
    let mode = |name: &str| {
        let path = staged.dir().join(name);
        fs::metadata(&path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("backup"), mode("words.json")), (0o700, 0o600, 0o600), "for nobody else");
    let mut records = 0;
    let state = staged
        .load(|_, _| {
            records += 1;
            Ok(())
        })
        .expect("loads");
    assert!(state == made.published.state);
    assert_eq!(records, header.audit_size);
    let again = stage(Cursor::new(&bytes), &data, words(), |_| ()).expect_err("not empty");
    assert!(matches!(again, StageError::NotEmpty(_)), "{again}");

    staged.remove().expect("removed");
    assert!(Staged::find(&data).expect("looks").is_none());
}

#[test]
fn what_is_no_good_leaves_nothing_behind() {
    let bytes = made().backup();
    let dir = tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    let error = stage(Cursor::new(&bytes[..bytes.len() - 1]), &data, words(), |_| ()).expect_err("cut off");
    assert!(matches!(error, StageError::Backup(BackupError::Bad(_))), "{error}");
    assert!(!data.exists());
    for wrong in [
        Words { operator: " ".to_owned(), ..words() },
        Words { reason: String::new(), ..words() },
        Words { ticket: Some("\u{7}".to_owned()), ..words() },
    ] {
        let error = stage(Cursor::new(&bytes), &data, wrong, |_| ()).expect_err("unrecordable");
        assert!(matches!(error, StageError::Words(_)), "{error}");
    }
    assert!(!data.exists());
}

#[test]
fn a_restore_that_was_cut_short_is_never_taken_for_an_empty_folder() {
    let bytes = made().backup();
    let dir = tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    stage(Cursor::new(&bytes), &data, words(), |_| ()).expect("staged");
    fs::rename(data.join("restore"), data.join("restore.tmp")).expect("renamed");
    let error = Staged::find(&data).expect_err("unfinished");
    assert!(error.to_string().contains("restore again"), "{error}");
    fs::rename(data.join("restore.tmp"), data.join("restore")).expect("renamed");
    // Nor is one that can't be looked into. A file can't, whoever looks.
    let error = Staged::find(&data.join("restore").join("backup")).expect_err("no folder");
    assert!(matches!(error, StageError::Storage(_)), "{error}");

    let file = data.join("restore").join("backup");
    let mut damaged = fs::read(&file).expect("reads");
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, damaged).expect("writes");
    let staged = Staged::find(&data).expect("its head is good").expect("it waits");
    let error = staged.load(|_, _| Ok(())).expect_err("damaged");
    assert!(error.to_string().contains("restore again"), "{error}");
}
