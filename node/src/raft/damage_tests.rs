//! A folder that was damaged while its node was down: it comes back exactly as it was, or it is refused in words.
//!
//! Exactly as it was means: the vote, every entry of the log that had been synced, and a state that is right for the
//! entry it says it is at. The state rides unsynced behind the log, so it may be at an earlier one.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flagraft_core::digest::Digest;
use openraft::storage::{RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use tempfile::{TempDir, tempdir};

use super::{
    testing::{append, apply, entry, filled, log_store, open, recover, state_machine, try_open},
    types::Vote,
};
use crate::storage::{MetaKey, Storage};

/// Repeats a run's choices when set; printed by every run.
const SEED: &str = "FLAGRAFT_TEST_SEED";
/// How many entries there are before those of a test.
const EARLY: u64 = 20;
/// How many bits are flipped.
const FLIPS: u64 = 1_000;

/// A folder, and what must come back of it.
struct Sound {
    dir: TempDir,
    vote: Option<Vec<u8>>,
    log: BTreeMap<u64, Vec<u8>>,
    /// The state's digest after each entry.
    digests: BTreeMap<u64, Digest>,
}

impl Sound {
    /// A folder with sorted tables, a snapshot, and a write-ahead log of a vote and `tail` entries, all of them applied.
    async fn new(tail: u64) -> Self {
        Self::with(tail, true).await
    }

    /// The same, with entries that wait to be applied if they are not to be `applied`.
    async fn with(tail: u64, applied: bool) -> Self {
        let dir = tempdir().expect("a temporary folder");
        // What one process has written is in tables for the next one.
        drop(filled(dir.path(), EARLY).await);
        let storage = open(dir.path());
        Self::of(dir, storage, tail, applied).await
    }

    /// A folder of a node that has not been started again: all it holds is in one write-ahead log, and a snapshot.
    async fn fresh(tail: u64) -> Self {
        let dir = tempdir().expect("a temporary folder");
        let storage = filled(dir.path(), EARLY).await;
        Self::of(dir, storage, tail, true).await
    }

    async fn of(dir: TempDir, storage: Arc<Storage>, tail: u64, applied: bool) -> Self {
        log_store(&storage, usize::MAX).save_vote(&Vote::new_committed(3, 1)).await.expect("saved");
        let mut machine = state_machine(&storage);
        machine.get_snapshot_builder().await.build_snapshot().await.expect("built");
        let mut digests = BTreeMap::from([(EARLY, machine.publisher().current().state.digest())]);
        for index in EARLY + 1..=EARLY + tail {
            append(&storage, vec![entry(3, index)]).await.expect("appended");
            if applied {
                apply(&mut machine, vec![entry(3, index)]).await.expect("applied");
                digests.insert(index, machine.publisher().current().state.digest());
            }
        }
        storage.sync().await.expect("synced");
        let vote = storage.meta(MetaKey::Vote).expect("reads");
        let log = log_of(&storage);
        Self { dir, vote, log, digests }
    }

    /// The files that hold anything, without RocksDB's own diary and settings.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = vec![PathBuf::from("floor")];
        for folder in ["db", "snapshots"] {
            for file in fs::read_dir(self.dir.path().join(folder)).expect("lists") {
                let name = file.expect("lists").file_name().into_string().expect("ASCII");
                let is_data = ["log", "sst", "snapshot"].iter().any(|end| name.ends_with(&format!(".{end}")));
                if is_data || name.starts_with("MANIFEST") || name == "CURRENT" {
                    files.push(Path::new(folder).join(name));
                }
            }
        }
        files.sort();
        files
    }

    /// The newest write-ahead log.
    fn wal(&self) -> PathBuf {
        self.files().into_iter().rfind(|file| file.extension().is_some_and(|end| end == "log")).expect("one")
    }

    fn read(&self, file: &Path) -> Vec<u8> {
        fs::read(self.dir.path().join(file)).expect("reads")
    }

    /// Starts on a copy of the folder in which `file` holds `bytes`. The words of the refusal, if it is one.
    ///
    /// # Panics
    /// It started on something else than what had been there.
    fn start_with(&self, file: &Path, bytes: &[u8], what: &str) -> Option<String> {
        let copy = copied(self.dir.path());
        fs::write(copy.path().join(file), bytes).expect("writes");
        let refused = |said: String| {
            assert!(said.len() > 40 && !said.contains("panicked"), "{what}: says too little: {said}");
            Some(said)
        };
        let storage = match try_open(copy.path()) {
            Ok(storage) => storage,
            Err(error) => return refused(error.to_string()),
        };
        let recovered = match recover(&storage) {
            Ok(recovered) => recovered,
            Err(error) => return refused(error.to_string()),
        };
        assert_eq!(storage.meta(MetaKey::Vote).expect("reads"), self.vote, "{what}: another vote");
        assert!(log_of(&storage) == self.log, "{what}: another log");
        let applied = recovered.last_applied.expect("a state").index;
        assert_eq!(Some(&recovered.state.digest()), self.digests.get(&applied), "{what}: another state");
        None
    }
}

/// A copy of the folder of a node that is down.
fn copied(dir: &Path) -> TempDir {
    let copy = tempdir().expect("a temporary folder");
    for folder in ["", "db", "snapshots"] {
        fs::create_dir_all(copy.path().join(folder)).expect("made");
        for file in fs::read_dir(dir.join(folder)).expect("lists") {
            let path = file.expect("lists").path();
            if path.is_file() {
                fs::copy(&path, copy.path().join(folder).join(path.file_name().expect("a name")))
                    .expect("copies");
            }
        }
    }
    copy
}

fn log_of(storage: &Storage) -> BTreeMap<u64, Vec<u8>> {
    let mut log = BTreeMap::new();
    storage
        .scan_log::<crate::storage::StorageError>(0..u64::MAX, |index, bytes| {
            log.insert(index, bytes.to_vec());
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .expect("reads");
    log
}

/// Does `each` for all of `items` on two threads.
fn on_two_threads<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) =
                    usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok().and_then(|at| items.get(at))
                {
                    each(item);
                }
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undamaged_folder_is_never_refused() {
    let sound = Sound::new(30).await;
    for file in sound.files() {
        assert_eq!(sound.start_with(&file, &sound.read(&file), "undamaged"), None);
    }
    let kinds = ["floor", ".log", ".sst", ".snapshot", "MANIFEST", "CURRENT"];
    for kind in kinds {
        assert!(
            sound.files().iter().any(|file| file.to_string_lossy().contains(kind)),
            "no {kind} to damage"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_is_repaired_or_refused() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_125);
    println!("{SEED}={seed}");
    let sound = Sound::new(30).await;
    let mut random = fastrand::Rng::with_seed(seed);
    // Each kind of file gets its share, however small it is.
    let files = sound.files();
    let flips: Vec<_> = (0..FLIPS)
        .map(|_| {
            let file = random.choice(&files).expect("files");
            let bits = sound.read(file).len() * 8;
            (file.clone(), random.usize(..bits))
        })
        .collect();
    let refused = AtomicU64::new(0);
    on_two_threads(&flips, |(file, bit)| {
        let mut bytes = sound.read(file);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let what = format!("bit {bit} of {}", file.display());
        refused.fetch_add(u64::from(sound.start_with(file, &bytes, &what).is_some()), Ordering::Relaxed);
    });
    let refused = refused.into_inner();
    println!("{FLIPS} flips: {refused} refused, {} recovered exactly", FLIPS - refused);
    // Most bits matter. Were hardly any refused, the test would not be damaging what it thinks it does.
    assert!(refused > FLIPS / 4);
}

/// One flipped bit made RocksDB read the same record for ever: a start that never ended, and said nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_says_it_is_of_a_used_file_is_refused_and_not_read_for_ever() {
    let sound = Sound::new(5).await;
    let manifest = sound.files().into_iter().rfind(|file| file.to_string_lossy().contains("MANIFEST"));
    for file in [manifest.expect("there is one"), sound.wal()] {
        let whole = sound.read(&file);
        // The type stands behind the checksum and the length of the second record.
        let second = 7 + usize::from(u16::from_le_bytes([whole[4], whole[5]]));
        for bit in [2, 3] {
            let mut bytes = whole.clone();
            bytes[second + 6] ^= 1 << bit;
            let what = format!("type {} of the second record of {}", bytes[second + 6], file.display());
            let said = sound.start_with(&file, &bytes, &what);
            if [5, 6, 7, 8, 11].contains(&bytes[second + 6]) {
                assert!(said.expect("refused").contains("the file is damaged"), "{what}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_anywhere_is_refused_once_something_synced_is_gone() {
    // Small, for each of its bytes is a start of its own.
    let sound = Sound::with(1, false).await;
    let wal = sound.wal();
    let whole = sound.read(&wal);
    let cuts: Vec<usize> = (0..whole.len()).collect();
    let refused = AtomicU64::new(0);
    on_two_threads(&cuts, |cut| {
        let said = sound.start_with(&wal, &whole[..*cut], &format!("cut at {cut} of {}", whole.len()));
        if let Some(said) = said {
            refused.fetch_add(1, Ordering::Relaxed);
            assert!(said.contains("was synced"), "cut at {cut}: {said}");
        }
    });
    let refused = refused.into_inner();
    println!("{} cuts: {refused} refused", whole.len());
    assert!(refused > 0, "a log that is all gone has lost what was synced");
}

/// The manifest says which column families there are, and which files hold what of each. One whose end is gone gives
/// some of them back older than others, or makes them anew, empty.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_was_cut_anywhere_is_repaired_or_refused() {
    for (kind, sound) in [("restarted", Sound::new(5).await), ("fresh", Sound::fresh(5).await)] {
        for name in ["MANIFEST", "CURRENT"] {
            let file =
                sound.files().into_iter().rfind(|file| file.to_string_lossy().contains(name)).expect(name);
            let whole = sound.read(&file);
            let cuts: Vec<usize> = (0..whole.len()).collect();
            let refused = AtomicU64::new(0);
            on_two_threads(&cuts, |cut| {
                let what = format!("{name} of a {kind} node, cut at {cut} of {}", whole.len());
                let said = sound.start_with(&file, &whole[..*cut], &what);
                refused.fetch_add(u64::from(said.is_some()), Ordering::Relaxed);
            });
            let refused = refused.into_inner();
            println!("{name} of a {kind} node: {} cuts, {refused} refused", whole.len());
            assert!(refused > 0);
        }
    }
}

/// Column families can be lost apart: a position that is kept without the state that it is of is none to go on from.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_is_older_than_its_position_is_refused() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 5).await;
    recover(&storage).expect("sound");
    let mut batch = storage.batch();
    batch.clear_state();
    batch.trim_audit(0);
    batch.commit().expect("written");
    let error = recover(&storage).map(drop).expect_err("the state is gone").to_string();
    assert!(error.contains("is not the one that was kept at entry"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_zeros_or_a_torn_record_in_the_log_is_repaired_or_refused() {
    const PAGE: usize = 4_096;
    let sound = Sound::new(60).await;
    let wal = sound.wal();
    let whole = sound.read(&wal);
    assert!(whole.len() > 8 * PAGE, "valid blocks follow the hole");
    let mut refused = 0;
    for page in 0..whole.len() / PAGE {
        let mut bytes = whole.clone();
        bytes[page * PAGE..(page + 1) * PAGE].fill(0);
        let said = sound.start_with(&wal, &bytes, &format!("page {page} of zeros"));
        refused += u32::from(said.is_some());
    }
    assert!(refused > 0);
    // A record whose end was never written, though the file is as long as it was to be.
    for torn in [1, 100, 1_000, 5_000] {
        let mut bytes = whole.clone();
        let end = bytes.len();
        bytes[end - torn..].fill(0);
        sound.start_with(&wal, &bytes, &format!("the last {torn} bytes were never written"));
    }
}

/// The other side of it: what a power cut takes was never synced, and its loss is no damage.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_that_was_never_synced_is_no_damage() {
    let dir = tempdir().expect("a temporary folder");
    drop(filled(dir.path(), 5).await);
    let storage = open(dir.path());
    append(&storage, vec![entry(1, 6)]).await.expect("appended and synced");
    // Written, and not yet synced when the power goes.
    let unsynced = (7..=9).map(|index| (index, super::wire::encode_entry(entry(1, index)).expect("encodes")));
    storage.append_log(unsynced).expect("writes");
    drop(storage);
    let wal = fs::read_dir(dir.path().join("db"))
        .expect("lists")
        .map(|file| file.expect("lists").path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .max()
        .expect("one");
    let whole = fs::read(&wal).expect("reads");
    for torn in [1, 7, 100] {
        let copy = copied(dir.path());
        let cut = copy.path().join("db").join(wal.file_name().expect("a name"));
        fs::write(cut, &whole[..whole.len() - torn]).expect("writes");
        let storage = open(copy.path());
        recover(&storage).expect("no damage");
        let last = log_of(&storage).into_keys().max();
        assert!(last >= Some(6) && last < Some(9), "{torn}: {last:?}");
    }
}

/// A log that was cut back on purpose, because another leader's entries count, is no damage either.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_back_is_found_as_it_was_left() {
    let dir = tempdir().expect("a temporary folder");
    let storage = filled(dir.path(), 5).await;
    append(&storage, (6..=20).map(|index| entry(1, index)).collect()).await.expect("appended");
    let mut log = log_store(&storage, usize::MAX);
    log.truncate_after(Some(super::testing::log_id(1, 5))).await.expect("cut back");
    drop((log, storage));
    let storage = open(dir.path());
    recover(&storage).expect("no damage");
    // And it goes on from there under a new leader.
    append(&storage, vec![entry(2, 6)]).await.expect("appended");
    drop(storage);
    let storage = open(dir.path());
    recover(&storage).expect("no damage");
    assert_eq!(log_of(&storage).into_keys().max(), Some(6));
}
