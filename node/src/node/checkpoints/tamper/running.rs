//! The disk is altered behind a node that runs: it has read it, and does not read it again. Who asks for an export is told.

use std::{ops::Range, sync::Arc};

use flagraft_core::record::{Record, row_leaf_hash, tombstone};

use super::{
    Tally,
    layers::{Caught, Found, Layer, named, verified},
    sound::{Member, Refused, SIGNED, Sound, VOTERS, record, trusted},
    ways::{Tampering, flipped},
};
use crate::{
    raft::{AuditTree, testing},
    storage::Storage,
};

/// The records of complete tiles within what was signed end here.
const TILED: u64 = SIGNED / 256 * 256;
/// Records of an export, at most.
const EXPORTED: u64 = 300;
const WAYS: usize = 7;

pub(super) async fn campaign(sound: &Arc<Sound>, seed: u64, mutations: usize, tally: &mut Tally) {
    let mut random = fastrand::Rng::with_seed(seed.rotate_left(16));
    let copy = sound.copy();
    let storage = testing::open(copy.path());
    let member = match Member::start(&storage).await {
        Ok(member) => member,
        Err(Refused::Disk(_) | Refused::Cosigner(_)) => panic!("a sound folder"),
    };
    let tree = AuditTree::of(Arc::clone(&storage), &member.replica.published());
    let note = sound.signed(SIGNED, &VOTERS);
    let export = |range| verified(&storage, &tree, &note, range, &trusted(&VOTERS), None);
    for number in 0..mutations {
        // The end of the log, which no tile is over, has its share.
        let start = if random.bool() { random.u64(0..SIGNED - 1) } else { random.u64(TILED..SIGNED - 1) };
        let range = start..SIGNED.min(start + random.u64(2..EXPORTED));
        let Altered { tampering, rows, asked } = tamper(number % WAYS, sound, &storage, range, &mut random);
        let found = export(asked);
        for sequence in rows {
            storage.alter_record(sequence, &sound.rows[usize::try_from(sequence).expect("small")]);
        }
        let caught = match found {
            Ok(()) => Vec::new(),
            Err(Found::Export(error)) => vec![Caught::new(Layer::Export, error.to_string())],
            Err(Found::Fault(fault)) => vec![Caught::new(Layer::Verify, named(&fault))],
        };
        tally.note(&tampering, &caught);
    }
    assert!(export(0..SIGNED).is_ok(), "as it was");
    member.replica.shutdown().await;
}

/// What was done, which rows are to be put back, and what is asked for.
struct Altered {
    tampering: Tampering,
    rows: Vec<u64>,
    asked: Range<u64>,
}

/// Alters a record of a range.
fn tamper(
    way: usize,
    sound: &Sound,
    storage: &Storage,
    range: Range<u64>,
    random: &mut fastrand::Rng,
) -> Altered {
    let at = random.u64(range.clone());
    let row = &sound.rows[usize::try_from(at).expect("small")];
    let of = |kind, care| Tampering::of(kind, care, format!("record {at} of {range:?}"));
    let strange = |at| format!("audit record {at} is not the one that the tree was made of");
    let alter = |bytes: &[u8]| storage.alter_record(at, bytes);
    let (tampering, rows) = match way {
        0 => {
            alter(&flipped(row, 0, random));
            (of("flip", "a bit of a record, of a node that runs").by(Layer::Export, strange(at)), vec![at])
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
            let tampering = of("reorder", "two records change places, of a node that runs");
            (tampering.by(Layer::Export, strange(at.min(other))), vec![at, other])
        }
        3 => {
            let time_ms = record(row).time_ms - random.i64(1..100_000);
            alter(&Record { time_ms, ..record(row) }.to_bytes().bytes);
            (of("back-date", "a record, of a node that runs").by(Layer::Export, strange(at)), vec![at])
        }
        4 => {
            alter(&Record { reason: "nothing happened".to_owned(), ..record(row) }.to_bytes().bytes);
            (of("rewrite", "a record, of a node that runs").by(Layer::Export, strange(at)), vec![at])
        }
        5 => {
            alter(&tombstone(&random.u128(..).to_be_bytes().repeat(2).try_into().expect("32 bytes")));
            let tampering = of("remove", "a record, with another hash, of a node that runs");
            (tampering.by(Layer::Export, strange(at)), vec![at])
        }
        _ => {
            // The hash is right. That no record says so shows in a file that has all records to the end.
            alter(&tombstone(&row_leaf_hash(row).expect("a record")));
            let tampering = of("remove", "a record, as if by retention, of a node that runs");
            let tampering = tampering.by(Layer::Verify, format!("withheld {at}"));
            return Altered { tampering, rows: vec![at], asked: 0..SIGNED };
        }
    };
    Altered { tampering, rows, asked: range }
}
