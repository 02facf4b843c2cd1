//! A bit of a file is flipped while the node is down, whatever the file holds there.

use std::{fs, path::Path, sync::Arc};

use futures_util::{StreamExt, stream};

use super::{
    Tally,
    layers::{Caught, Layer, Proof, examine},
    sound::Sound,
    ways::{Tampering, flipped},
};
use crate::raft::testing;

/// The checks that catch something, and what each says.
type CaughtBy = &'static [(Layer, &'static str)];

/// What is said of each kind of file.
const KINDS: [(&str, &str, CaughtBy); 8] = [
    (".sst", "a bit of a sorted table", &[(Layer::Start, "the data is corrupt")]),
    (".log", "a bit of the write-ahead log", &[(Layer::Start, "was synced")]),
    ("MANIFEST", "a bit of the manifest", &[(Layer::Start, "the data is corrupt")]),
    ("CURRENT", "a bit of the manifest's name", &[(Layer::Start, "the data is corrupt")]),
    ("OPTIONS", "a bit of RocksDB's settings", &[]),
    ("IDENTITY", "a bit of RocksDB's name of itself", &[]),
    ("floor", "a bit of the floor", &[]),
    (
        "audit_key",
        "a bit of the key file",
        &[(Layer::Kept, "the audit key"), (Layer::SignedLast, "none of its keys")],
    ),
];

/// Flips so many bits that this many of them change anything.
pub(super) async fn campaign(sound: &Arc<Sound>, seed: u64, mutations: usize, tally: &mut Tally) {
    let files = sound.files();
    let flips = (0..).map(|number| {
        let (sound, files) = (Arc::clone(sound), files.clone());
        tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(seed ^ number << 16);
            let file = files[random.usize(..files.len())].clone();
            let caught = flip(&sound, &file, &mut random).await;
            (file, caught)
        })
    });
    let mut flips = stream::iter(flips).buffered(2);
    let mut counted = 0;
    while counted < mutations {
        let (file, caught) = flips.next().await.expect("endless").expect("no panic");
        let name = file.display().to_string();
        let (_, what, expected) =
            KINDS.iter().find(|(kind, ..)| name.contains(kind)).expect("a file that is known");
        let Some(caught) = caught else {
            tally.nothing += 1;
            continue;
        };
        counted += 1;
        let first = caught.first().map(|caught| caught.layer);
        let expected = expected.iter().filter(|(layer, _)| Some(*layer) == first);
        let caught_by = expected.map(|(layer, said)| (*layer, vec![(*said).to_owned()])).collect();
        tally.note(&Tampering { caught: caught_by, ..Tampering::of("flip", what, &name) }, &caught);
    }
}

/// `None`: it changed nothing that the node reads, or only how far its state is behind its log.
async fn flip(sound: &Arc<Sound>, file: &Path, random: &mut fastrand::Rng) -> Option<Vec<Caught>> {
    let bytes = flipped(&sound.read(file), 0, random);
    let altered = || {
        let copy = sound.copy();
        let path = copy.path().join(file);
        // A link to the file that is good is replaced.
        fs::remove_file(&path).expect("removed");
        fs::write(&path, &bytes).expect("writes");
        copy
    };
    let copy = altered();
    let is_same = match testing::try_open(copy.path()) {
        Ok(storage) => storage.fingerprint().is_ok_and(|found| found == sound.fingerprint),
        Err(error) => return Some(vec![Caught::new(Layer::Start, error.to_string())]),
    };
    // Of the database's files nothing is read but the rows.
    if is_same && file.starts_with("db") {
        return None;
    }
    let caught = examine(copy.path(), sound, Proof::Genuine).await;
    if is_same || !caught.is_empty() {
        return Some(caught).filter(|caught| !caught.is_empty());
    }
    // What the state had is in the log still, and comes again.
    let copy = altered();
    let storage = testing::open(copy.path());
    testing::apply_rest(&storage).await;
    let is_same = storage.fingerprint().expect("reads") == sound.fingerprint;
    (!is_same).then_some(caught)
}
