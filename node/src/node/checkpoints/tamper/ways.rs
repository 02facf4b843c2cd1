//! The ways to tamper with the folder of a node that is down, each with what has to be said of it.

use std::{path::Path, sync::Arc};

use flagraft_core::{
    merkle::{leaf_hash, tile::Tile},
    proposal::Body,
    record::{Record, row_leaf_hash, tombstone},
};

use super::{
    forger::Forgery,
    layers::{Layer, Proof},
    sound::{SIGNED, SIZE, Sound, VOTERS, checkpoint, record, signed, signer},
};
use crate::{
    raft::testing,
    storage::{MetaKey, Storage},
};

/// The records of complete tiles end here.
const TILED: u64 = SIZE / 256 * 256;

/// What was done, and what has to come of it.
#[derive(Clone, Debug)]
pub(super) struct Tampering {
    /// Which of the kinds of tampering it is, and with how much care it was done.
    pub(super) kind: (&'static str, &'static str),
    /// The record, tile or entry.
    pub(super) what: String,
    /// What an export is shown with.
    pub(super) proof: Proof,
    /// Whether the cluster's log goes on before anybody looks.
    pub(super) goes_on: bool,
    /// The proposals with which it does, where they are not those of the others.
    pub(super) entries: Option<Vec<flagraft_core::proposal::Proposal>>,
    /// Which checks catch it, and one of what each says.
    pub(super) caught: Vec<(Layer, Vec<String>)>,
}

impl Tampering {
    pub(super) fn of(kind: &'static str, care: &'static str, what: impl ToString) -> Self {
        Self {
            kind: (kind, care),
            what: what.to_string(),
            proof: Proof::Genuine,
            goes_on: false,
            entries: None,
            caught: Vec::new(),
        }
    }

    pub(super) fn by(mut self, layer: Layer, said: impl Into<String>) -> Self {
        self.caught.push((layer, vec![said.into()]));
        self
    }

    pub(super) fn by_one_of(mut self, layer: Layer, said: Vec<String>) -> Self {
        self.caught.push((layer, said));
        self
    }
}

/// How many ways there are.
pub(super) const WAYS: usize = 29;

/// Does one of them.
pub(super) async fn tamper(way: usize, sound: &Sound, dir: &Path, random: &mut fastrand::Rng) -> Tampering {
    let storage = testing::open(dir);
    match way {
        0..14 => rows(way, sound, &storage, random),
        14 | 15 => removed(way == 15, sound, &storage, random),
        16..19 => memory(way, sound, &storage, random),
        19 => entry(sound, random),
        _ => forged(sound, &storage, random).await,
    }
}

/// Some rows are others, and nothing else is made to fit.
fn rows(way: usize, sound: &Sound, storage: &Storage, random: &mut fastrand::Rng) -> Tampering {
    let at = random.u64(1..SIZE);
    let row = &sound.rows[place(at)];
    let of = |kind, care| Tampering::of(kind, care, format!("record {at}"));
    match way {
        0 => {
            // The first byte says whether it is a record.
            storage.alter_record(at, &flipped(row, 1, random));
            of("flip", "a bit of a record").by(Layer::Start, changed(at))
        }
        1 => {
            storage.alter_record(at, &[&[row[0] ^ 1 << random.u32(0..7)], &row[1..]].concat());
            of("flip", "the first byte of a record").by(Layer::Start, format!("audit record {at} is none"))
        }
        2 => {
            let tile = Tile { level: 0, index: random.u64(0..TILED / 256) };
            let bytes = storage.tile(tile).expect("reads").expect("there");
            put_tile(storage, tile, &flipped(&bytes, 0, random));
            let said = format!("tile {} of level 0 of the audit log's tree was changed", tile.index);
            Tampering::of("flip", "a bit of a tile", tile.index).by(Layer::Start, said)
        }
        3 => {
            let subtree = random.usize(0..subtrees().len());
            alter_numbers(storage, |numbers| {
                let hash = numbers["audit_subtrees"][subtree].as_str().expect("a hash").to_owned();
                let digit = if hash.starts_with('0') { "1" } else { "0" };
                numbers["audit_subtrees"][subtree] = format!("{digit}{}", &hash[1..]).into();
            });
            Tampering::of("flip", "the state's hash of some records", subtree)
                .by(Layer::Start, in_subtree(subtrees()[subtree].0))
        }
        4 => {
            storage.drop_record(at);
            let said = match at + 1 == SIZE {
                true => counts(SIZE - 1),
                false => format!("the audit log has record {} where record {at} belongs", at + 1),
            };
            of("delete", "a record").by(Layer::Start, said)
        }
        5 => {
            let tile = Tile { level: 0, index: random.u64(0..TILED / 256) };
            storage.drop_tile(tile);
            let said = format!("tile {} of level 0 of the audit log's tree is missing", tile.index);
            Tampering::of("delete", "a tile", tile.index).by(Layer::Start, said)
        }
        6 => {
            let made_up = Record { sequence: SIZE, ..record(row) };
            storage.alter_record(SIZE, &made_up.to_bytes().bytes);
            of("insert", "a record at the end").by(Layer::Start, counts(SIZE + 1))
        }
        7 => {
            let made_up = Record { salt: random.u128(..).to_be_bytes(), ..record(row) };
            let mut log = log(sound);
            log.insert(place(at), made_up.to_bytes().bytes);
            let whole = random.bool();
            log.truncate(place(SIZE) + usize::from(whole));
            put(storage, sound, &log);
            let said = if whole { counts(SIZE + 1) } else { changed(at) };
            of("insert", "a record, and move the others up").by(Layer::Start, said)
        }
        8 => {
            let other = random.u64(1..SIZE - 1);
            let other = other + u64::from(other >= at);
            storage.alter_record(at, &sound.rows[place(other)]);
            storage.alter_record(other, row);
            of("reorder", "two records change places").by(Layer::Start, changed(at.min(other)))
        }
        9 => {
            let to = random.u64(1..SIZE - 1);
            let to = to + u64::from(to >= at);
            let mut log = log(sound);
            let moved = log.remove(place(at));
            log.insert(place(to), moved);
            put(storage, sound, &log);
            of("reorder", "a record is moved").by(Layer::Start, changed(at.min(to)))
        }
        10 => {
            (at..SIZE).for_each(|sequence| storage.drop_record(sequence));
            if random.bool() {
                (at / 256..TILED / 256).for_each(|index| storage.drop_tile(Tile { level: 0, index }));
            }
            of("truncate", "the records").by(Layer::Start, counts(at))
        }
        11 => {
            let earlier = Record { time_ms: record(row).time_ms - random.i64(1..100_000), ..record(row) };
            storage.alter_record(at, &earlier.to_bytes().bytes);
            of("back-date", "a record").by(Layer::Start, changed(at))
        }
        12 => {
            let at = at % TILED;
            let row = flipped(&sound.rows[place(at)], 1, random);
            storage.alter_record(at, &row);
            let tile = Tile { level: 0, index: at / 256 };
            let mut bytes = storage.tile(tile).expect("reads").expect("there");
            let from = place(at % 256) * 32;
            bytes[from..from + 32].copy_from_slice(&leaf_hash(&row));
            put_tile(storage, tile, &bytes);
            Tampering::of("rewrite", "a record and its tile", at).by(Layer::Start, in_subtree(at))
        }
        _ => {
            let position = storage.meta(MetaKey::AppliedState).expect("reads");
            testing::forge_log(storage, &Forgery::Rewrite.made(sound, at, random));
            put_meta(storage, MetaKey::AppliedState, position.as_deref());
            of("rewrite", "a record, its tile and the state")
                .by(Layer::Start, "is not the one that was kept at entry")
        }
    }
}

/// Records are gone, each with its hash in its place, as if retention had removed them. Whoever notes that a snapshot brought
/// them so has the node start; the log does not say what went, and who is shown all of it sees that.
fn removed(noted: bool, sound: &Sound, storage: &Storage, random: &mut fastrand::Rng) -> Tampering {
    let at = random.u64(1..if noted { SIGNED } else { SIZE } - 4);
    let end = at + random.u64(1..4);
    for sequence in at..end {
        let leaf = row_leaf_hash(&sound.rows[place(sequence)]).expect("a record");
        storage.alter_record(sequence, &tombstone(&leaf));
    }
    let what = format!("records {at} to {}", end - 1);
    match noted {
        false => Tampering::of("remove", "records, as if by retention", what)
            .by(Layer::Start, format!("record {at} of the audit log is gone, with its hash in its place")),
        true => {
            put_meta(storage, MetaKey::AuditRemovedAhead, Some(&[at, end].map(u64::to_be_bytes).concat()));
            Tampering::of("remove", "records, and note that they came so", what)
                .by(Layer::Verify, format!("withheld {at}"))
        }
    }
}

/// What the node remembers of checkpoints is altered; its log is as it was.
fn memory(way: usize, sound: &Sound, storage: &Storage, random: &mut fastrand::Rng) -> Tampering {
    match way {
        16 => {
            let note = sound.signed(SIGNED, &VOTERS);
            // Not of the cluster's id: one of another cluster is passed over, as if there were none.
            let head = "flagraft/".len() + 32;
            let bit = random.usize(head * 8..note.text().len() * 8);
            let mut bytes = note.to_string().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            put_meta(storage, MetaKey::AuditCheckpoint, Some(&bytes));
            Tampering::of("flip", "a bit of the checkpoint that is kept", bit)
                .by(Layer::Kept, "the newest checkpoint of the audit log that this node kept is damaged")
        }
        17 => {
            let mut note = signed(&checkpoint(&log(sound)), &[]);
            let strange = random.bool();
            match strange {
                true => {
                    let secret = random.u128(..).to_be_bytes().repeat(2).try_into().expect("32 bytes");
                    VOTERS.iter().for_each(|node| note.sign(&signer(*node, &secret)).expect("room"));
                }
                false => note.sign(&signer(1, &super::sound::secret(1))).expect("room"),
            }
            put_meta(storage, MetaKey::AuditCheckpoint, Some(note.to_string().as_bytes()));
            let signers = if strange { "other keys" } else { "this node's key" };
            Tampering::of("re-sign", "the checkpoint that is kept", signers).by(Layer::Kept, NO_MAJORITY)
        }
        _ => {
            let bytes = storage.meta(MetaKey::AuditSigned).expect("reads").expect("there");
            put_meta(storage, MetaKey::AuditSigned, Some(&flipped(&bytes, 0, random)));
            Tampering::of("flip", "a bit of what the node signed last", "").by_one_of(
                Layer::SignedLast,
                vec!["are not those that this node signed".to_owned(), forgotten()],
            )
        }
    }
}

/// An entry of the Raft log that is still to be applied is another one.
fn entry(sound: &Sound, random: &mut fastrand::Rng) -> Tampering {
    let at = random.usize(0..sound.missed.len());
    let mut entries = sound.missed.clone();
    match &mut entries[at].body {
        Body::Change(change) => change.reason = "nothing happened".to_owned(),
        Body::Denials(denials) => denials.count += 1,
        other => unreachable!("no such proposal: {other:?}"),
    }
    let tampering = Tampering::of("rewrite", "an entry of the Raft log", at).by(Layer::Others, DIFFERS);
    Tampering { goes_on: true, entries: Some(entries), ..tampering }
}

/// What a forger does with what the node remembers of checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// He leaves it.
    Left,
    /// He removes the checkpoint that the node keeps.
    Signed,
    /// He removes all of it.
    Removed,
    /// He puts a checkpoint of the forged log in its place, and removes the rest.
    Replaced,
}

/// Another log, which fits together.
async fn forged(sound: &Sound, storage: &Arc<Storage>, random: &mut fastrand::Rng) -> Tampering {
    let forgery = Forgery::ALL[random.usize(..Forgery::ALL.len())];
    let memory = [Memory::Left, Memory::Signed, Memory::Removed, Memory::Replaced][random.usize(..4)];
    let proof = [Proof::Genuine, Proof::OwnKey, Proof::StrangeKeys, Proof::NoKeys][random.usize(..4)];
    // What was signed, and what the others are about to sign, each as often.
    let mut at = if random.bool() { random.u64(FOUNDED..SIGNED) } else { random.u64(SIGNED..SIZE - 1) };
    if forgery == Forgery::Truncate && memory == Memory::Removed {
        // Whoever does not miss his last records is missed by nobody before he has as many as the others.
        at = at.max(SIZE - 300);
    }
    let rows = forgery.made(sound, at, random);
    let size = u64::try_from(rows.len()).expect("small");
    testing::forge_log(storage, &rows);
    let removed = match memory {
        Memory::Left => &[][..],
        Memory::Signed => &[MetaKey::AuditCheckpoint],
        Memory::Removed | Memory::Replaced => &[MetaKey::AuditCheckpoint, MetaKey::AuditSigned],
    };
    removed.iter().for_each(|key| put_meta(storage, *key, None));
    let proof = if memory == Memory::Replaced && proof == Proof::Genuine { Proof::OwnKey } else { proof };
    if memory == Memory::Replaced {
        let note = proof.note(sound, &checkpoint(&rows)).to_string();
        put_meta(storage, MetaKey::AuditCheckpoint, Some(note.as_bytes()));
    }

    let kind = match (memory, proof) {
        _ if forgery == Forgery::Fork => "fork",
        (Memory::Replaced, _) | (_, Proof::StrangeKeys | Proof::NoKeys) => "re-sign",
        _ => forgery.kind(),
    };
    let care = match memory {
        Memory::Left => "all of the log",
        Memory::Signed => "all of the log, and remove the checkpoint",
        Memory::Removed => "all of the log, and remove what was signed",
        Memory::Replaced => "all of the log, and the checkpoint",
    };
    let was_signed = at < SIGNED;
    // Whoever has fewer records than the others sign is compared once it has as many.
    let goes_on = size < SIZE
        && match memory {
            Memory::Left | Memory::Signed => !was_signed,
            Memory::Removed => true,
            Memory::Replaced => false,
        };
    let what = format!("{forgery:?} at record {at}, shown with {proof:?}");
    let tampering = Tampering { proof, goes_on, ..Tampering::of(kind, care, what) };
    let is_short = size < SIGNED && !goes_on;
    match memory {
        Memory::Replaced => {
            let said = if proof == Proof::NoKeys { "is not good" } else { NO_MAJORITY };
            return tampering.by(Layer::Kept, said);
        }
        Memory::Left if was_signed && !is_short => return tampering.by(Layer::Kept, DIFFERS),
        _ => {}
    }
    let mut tampering = tampering;
    if was_signed && memory != Memory::Removed {
        let said = if is_short { forgotten() } else { "are not those that this node signed".to_owned() };
        tampering = tampering.by(Layer::SignedLast, said);
    }
    if size >= SIZE || goes_on {
        tampering = tampering.by(Layer::Others, DIFFERS);
    }
    // Where the log falls back behind its own revision, that is what is said first.
    let mut verified = Vec::new();
    if goes_on {
        verified.push(format!("revision {size}"));
    }
    if forgery == Forgery::BackDateBeforeLast {
        verified = vec![format!("back_dated {at}")];
    }
    let mut witnessed = verified.clone();
    let is_back_dated = forgery == Forgery::BackDateBeforeLast;
    match proof {
        Proof::Genuine if is_short => {
            tampering = tampering.by(Layer::Export, format!("the audit log ends at {size} where"));
        }
        Proof::Genuine if !was_signed => {}
        proof => {
            let name = match proof {
                Proof::Genuine => "root",
                Proof::OwnKey | Proof::StrangeKeys => "quorum",
                Proof::NoKeys => "forged_signature",
            };
            if !is_back_dated {
                verified.push(name.to_owned());
            }
            tampering = tampering.by_one_of(Layer::Verify, verified);
        }
    }
    if was_signed {
        if is_short {
            return tampering.by(Layer::Witness, "shrunk");
        }
        if !is_back_dated {
            witnessed.push("fork".to_owned());
        }
        tampering = tampering.by_one_of(Layer::Witness, witnessed);
    }
    tampering
}

/// The records that found the cluster and its shop end here: before them nobody has a key.
const FOUNDED: u64 = 5;
const NO_MAJORITY: &str = "no majority of the nodes stands by it, and only then one is kept";
const DIFFERS: &str = "this node's audit log differs from its cluster's";

fn forgotten() -> String {
    "its disk has forgotten some".to_owned()
}

fn counts(stored: u64) -> String {
    format!("the state counts {SIZE} audit records, and {stored} are stored")
}

/// What is said of a record that is another one.
fn changed(sequence: u64) -> String {
    match sequence < TILED {
        true => format!("record {sequence} is not the one that its tile has the hash of"),
        false => in_subtree(sequence),
    }
}

/// What is said where the state has another hash of some records.
fn in_subtree(sequence: u64) -> String {
    let subtree = subtrees().into_iter().find(|(first, end)| (*first..*end).contains(&sequence));
    let (first, end) = subtree.expect("in the log");
    format!("one of the records {first} to {} was changed, or the hash that the state has of them", end - 1)
}

/// The subtrees of which the state has the hashes: from which record on, and up to before which.
fn subtrees() -> Vec<(u64, u64)> {
    let mut first = 0;
    let widths = (0..64).rev().map(|level| SIZE & 1 << level).filter(|width| *width > 0);
    let subtrees = widths.map(|width| {
        let subtree = (first, first + width);
        first += width;
        subtree
    });
    subtrees.collect()
}

fn place(sequence: u64) -> usize {
    usize::try_from(sequence).expect("small")
}

fn log(sound: &Sound) -> Vec<Vec<u8>> {
    sound.rows[..place(SIZE)].to_vec()
}

/// Flips a bit, not before a byte.
pub(super) fn flipped(bytes: &[u8], from: usize, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[random.usize(from..bytes.len())] ^= 1 << random.u32(0..8);
    flipped
}

/// Puts these rows in the place of the log's.
fn put(storage: &Storage, sound: &Sound, log: &[Vec<u8>]) {
    for (sequence, row) in (0..).zip(log) {
        if sequence >= SIZE || sound.rows[place(sequence)] != *row {
            storage.alter_record(sequence, row);
        }
    }
}

fn put_tile(storage: &Storage, tile: Tile, bytes: &[u8]) {
    let mut batch = storage.batch();
    batch.tile(tile, bytes);
    batch.commit().expect("writes");
}

fn put_meta(storage: &Storage, key: MetaKey, value: Option<&[u8]>) {
    let mut batch = storage.batch();
    batch.meta(key, value);
    batch.commit().expect("writes");
}

/// Alters the row of the state's numbers.
fn alter_numbers(storage: &Storage, alter: impl FnOnce(&mut serde_json::Value)) {
    let (key, value) = testing::state_rows(storage).remove(0);
    let mut numbers = serde_json::from_slice(&value[1..]).expect("JSON");
    alter(&mut numbers);
    let mut batch = storage.batch();
    batch.row(&key, Some(&[&value[..1], numbers.to_string().as_bytes()].concat()));
    batch.commit().expect("writes");
}
