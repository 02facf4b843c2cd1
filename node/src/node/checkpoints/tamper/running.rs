//! The disk is altered behind a node that runs: it has read it, and does not read it again. Who asks for an export is told.

use std::sync::Arc;

use flagraft_core::record::{Record, tombstone};

use super::{
    Tally,
    layers::{Caught, Found, Layer, named, verified},
    sound::{Member, Refused, SIGNED, Sound, VOTERS, record, trusted},
    ways::{Tampering, flipped},
};
use crate::{raft::testing, storage::Storage};

/// The records of complete tiles within what was signed end here.
const TILED: u64 = SIGNED / 256 * 256;
/// Records of an export, at most.
const EXPORTED: u64 = 300;
const WAYS: usize = 6;

pub(super) async fn campaign(sound: &Arc<Sound>, seed: u64, mutations: usize, tally: &mut Tally) {
    let mut random = fastrand::Rng::with_seed(seed.rotate_left(16));
    let copy = sound.copy();
    let storage = testing::open(copy.path());
    let member = match Member::start(&storage).await {
        Ok(member) => member,
        Err(Refused::Disk(_) | Refused::Cosigner(_)) => panic!("a sound folder"),
    };
    let note = sound.signed(SIGNED, &VOTERS);
    for number in 0..mutations {
        // The end of the log, which no tile is over, has its share.
        let start = if random.bool() { random.u64(0..SIGNED - 1) } else { random.u64(TILED..SIGNED - 1) };
        let end = SIGNED.min(start + random.u64(2..EXPORTED));
        let (tampering, altered) = tamper(number % WAYS, sound, &storage, start..end, &mut random);
        let found = verified(&storage, &note, start, end, &trusted(&VOTERS), None);
        for sequence in altered {
            storage.alter_record(sequence, &sound.rows[usize::try_from(sequence).expect("small")]);
        }
        let caught = match found {
            Ok(()) => Vec::new(),
            Err(Found::Export(error)) => vec![Caught::new(Layer::Export, error.to_string())],
            Err(Found::Fault(fault)) => vec![Caught::new(Layer::Verify, named(&fault))],
        };
        tally.note(&tampering, &caught);
    }
    assert!(verified(&storage, &note, 0, SIGNED, &trusted(&VOTERS), None).is_ok(), "as it was");
    member.replica.shutdown().await;
}

/// Alters a record of a range, and returns which rows are to be put back.
fn tamper(
    way: usize,
    sound: &Sound,
    storage: &Storage,
    range: std::ops::Range<u64>,
    random: &mut fastrand::Rng,
) -> (Tampering, Vec<u64>) {
    let at = random.u64(range.clone());
    let row = &sound.rows[usize::try_from(at).expect("small")];
    let of = |kind, care| Tampering::of(kind, care, format!("record {at} of {range:?}"));
    let is_tiled = at < TILED;
    let strange = format!("audit record {at} is not the one that the tree was made of");
    // What no tile is over is only known by the root, unless it does not go on from the record before it.
    let or_verified = |tampering: Tampering, names: &[&str]| match is_tiled {
        true => tampering.by(Layer::Export, strange.clone()),
        false => {
            let names = names
                .iter()
                .map(|name| name.replace("{at}", &at.to_string()).replace("{next}", &(at + 1).to_string()));
            tampering.by_one_of(Layer::Verify, names.collect())
        }
    };
    let alter = |bytes: &[u8]| storage.alter_record(at, bytes);
    match way {
        0 => {
            let row = loop {
                let row = flipped(row, 1, random);
                // An end of a line makes two of one.
                if !row.contains(&b'\n') {
                    break row;
                }
            };
            alter(&row);
            let names = [
                "root",
                "malformed",
                "sequence {at}",
                "foreign_group {at}",
                "foreign_history {at}",
                "foreign_history {next}",
                "revision {at}",
                "revision {next}",
                "back_dated {at}",
                "back_dated {next}",
            ];
            (or_verified(of("flip", "a bit of a record, of a node that runs"), &names), vec![at])
        }
        1 => {
            storage.drop_record(at);
            let said = format!("the audit log has record {} where record {at} belongs", at + 1);
            (of("delete", "a record, of a node that runs").by(Layer::Export, said), vec![at])
        }
        2 => {
            let other = range.start + (at - range.start + 1) % (range.end - range.start);
            alter(&sound.rows[usize::try_from(other).expect("small")]);
            storage.alter_record(other, row);
            let first = at.min(other);
            let of = of("reorder", "two records change places, of a node that runs");
            let tampering = match first < TILED {
                true => of.by(
                    Layer::Export,
                    format!("audit record {first} is not the one that the tree was made of"),
                ),
                false => of.by(Layer::Verify, format!("sequence {first}")),
            };
            (tampering, vec![at, other])
        }
        3 => {
            let earlier = Record { time_ms: record(row).time_ms - random.i64(1..100_000), ..record(row) };
            alter(&earlier.to_bytes().bytes);
            let tampering = of("back-date", "a record, of a node that runs");
            (or_verified(tampering, &["root", "back_dated {at}"]), vec![at])
        }
        4 => {
            let earlier = Record { reason: "nothing happened".to_owned(), ..record(row) };
            alter(&earlier.to_bytes().bytes);
            (or_verified(of("rewrite", "a record, of a node that runs"), &["root"]), vec![at])
        }
        _ => {
            let (row, said) = match random.bool() {
                true => (flipped(&row[..1], 0, random), format!("audit record {at} is none")),
                false => (
                    tombstone(&random.u128(..).to_be_bytes().repeat(2).try_into().expect("32 bytes"))
                        .to_vec(),
                    strange.clone(),
                ),
            };
            alter(&row);
            let tampering = of("rewrite", "a record into something else, of a node that runs");
            let tampering = match is_tiled || row.len() == 1 {
                true => tampering.by(Layer::Export, said),
                false => tampering.by(Layer::Verify, "root"),
            };
            (tampering, vec![at])
        }
    }
}
