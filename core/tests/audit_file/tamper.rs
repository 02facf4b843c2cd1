//! The campaign: a thousand ways to tamper with exports, made from a seed. Each must be caught, under its right name and, where
//! that can be known, at the exact place.

use std::collections::BTreeMap;

use flagraft_core::{
    audit_file::{Fault, Witnessed},
    note::{Note, Signer},
};
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    log::{Export, Log, fit, node, signed, verify_against},
    sequence::Sequence,
};

const SEED: u64 = 0x0a0d_1716;
const MUTATIONS: usize = 1_000;

/// What was done to a file, and under which names it may be caught.
struct Tampering {
    kind: &'static str,
    /// The codes of the faults that are right.
    codes: &'static [&'static str],
    /// The record that must be named, where it can be known.
    sequence: Option<u64>,
}

/// What any line may turn out to be when a bit of it is another.
const ALTERED_LINE: &[&str] = &[
    "altered",
    "malformed",
    "out_of_place",
    "gap",
    "no_hashes",
    "hashes",
    "withheld",
    "too_new",
    "not_an_export",
    "count",
    "forged_signature",
    "bad_note",
    "quorum",
    "truncated",
    "size",
    "foreign_group",
    "root",
];

struct File<'a> {
    lines: Vec<Vec<u8>>,
    log: &'a Log,
}

impl File<'_> {
    /// The places of the lines that are, or are not, records.
    fn places(&self, record: bool) -> Vec<usize> {
        (0..self.lines.len()).filter(|at| self.lines[*at].starts_with(b"{\"version\":") == record).collect()
    }

    fn beginning_with(&self, start: &str) -> Vec<usize> {
        (0..self.lines.len()).filter(|at| self.lines[*at].starts_with(start.as_bytes())).collect()
    }

    fn sequence(&self, at: usize) -> u64 {
        let record: Value = serde_json::from_slice(&self.lines[at]).expect("a record");
        record["sequence"].as_u64().expect("a number")
    }

    fn flip(&mut self, at: usize, random: &mut Sequence) {
        // Not the end of the line: that is a way of its own.
        let byte = random.below(self.lines[at].len() - 1);
        self.lines[at][byte] ^= 1 << random.below(8);
        self.split();
    }

    /// A byte may have become the end of a line.
    fn split(&mut self) {
        let bytes = self.lines.concat();
        self.lines = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    }

    /// Puts a record in another's place, with the hashes that make it fit.
    fn forge(&mut self, at: usize, record: &[u8]) {
        let old = flagraft_core::merkle::leaf_hash(self.lines[at].strip_suffix(b"\n").expect("ended"));
        let new = flagraft_core::merkle::leaf_hash(record);
        self.lines[at] = [record, b"\n"].concat();
        let line =
            (at..self.lines.len()).find(|at| self.lines[*at].starts_with(b"{\"hashes\"")).expect("hashes");
        let mut hashes: Value = serde_json::from_slice(&self.lines[line]).expect("JSON");
        let leaves = decode(hashes["hashes"]["leaves"].as_str().expect("base64"));
        let leaves: Vec<[u8; 32]> =
            leaves.into_iter().map(|leaf| if leaf == old { new } else { leaf }).collect();
        hashes["hashes"]["leaves"] = encode(&leaves).into();
        let (from, leaves) = (&hashes["hashes"]["from"], &hashes["hashes"]["leaves"]);
        self.lines[line] = format!("{{\"hashes\":{{\"from\":{from},\"leaves\":{leaves}}}}}\n").into_bytes();
        fit(&mut self.lines);
    }

    /// Puts another signed note at the end.
    fn sign_anew(&mut self, resign: impl FnOnce(&Note) -> Note) {
        let trailer = self.lines.last_mut().expect("a trailer");
        let value: Value = serde_json::from_slice(trailer).expect("JSON");
        let old = value["checkpoint"].as_str().expect("a note");
        let new = resign(&old.parse().expect("a note")).to_string();
        let (old, new) = (Value::from(old).to_string(), Value::from(new).to_string());
        *trailer = String::from_utf8(trailer.clone()).expect("UTF-8").replacen(&old, &new, 1).into_bytes();
    }
}

fn decode(base64: &str) -> Vec<[u8; 32]> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.decode(base64).expect("base64").as_chunks::<32>().0.to_vec()
}

fn encode(hashes: &[[u8; 32]]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(hashes.as_flattened())
}

/// Tampers with a file in one way. `None` when the file has nothing to do it with.
fn tamper(way: usize, file: &mut File<'_>, random: &mut Sequence) -> Option<Tampering> {
    let records = file.places(true);
    let record = *records.get(random.below(records.len().max(1)))?;
    let sequence = file.sequence(record);
    let others = file.places(false);
    let other = others[random.below(others.len())];
    let named = |kind, codes, sequence: u64| Some(Tampering { kind, codes, sequence: Some(sequence) });
    let somewhere = |kind, codes| Some(Tampering { kind, codes, sequence: None });
    match way {
        0 => {
            file.flip(record, random);
            named("flip a bit of a record", &["rewritten"], sequence)
        }
        1 => {
            file.flip(other, random);
            somewhere("flip a bit of another line", ALTERED_LINE)
        }
        2 => {
            *file.lines[record].last_mut()? = b' ';
            file.split();
            let last_of_run = !records.contains(&(record + 1));
            let codes: &[&str] =
                if last_of_run { &["no_hashes", "malformed", "truncated"] } else { &["rewritten"] };
            named("join two lines", codes, sequence)
                .map(|done| Tampering { sequence: done.sequence.filter(|_| !last_of_run), ..done })
        }
        3 => {
            file.lines.remove(record);
            named("delete a record", &["missing"], sequence)
        }
        4 => {
            let line = file.lines.remove(other);
            let codes: &[&str] = match &line[..5] {
                b"{\"has" => &["no_hashes"],
                b"{\"ski" => &["gap"],
                b"{\"che" => &["truncated"],
                _ => &["not_an_export"],
            };
            somewhere("delete another line", codes)
        }
        5 => {
            let to = 1 + random.below(file.lines.len() - 1);
            file.lines.insert(to, file.lines[record].clone());
            named("repeat a record", &["duplicate"], sequence)
        }
        6 => {
            let line = file.lines[other].clone();
            file.lines.insert(other + 1, line);
            somewhere("repeat another line", &["out_of_place", "after_end", "malformed"])
        }
        7 => {
            let mut forged = file.log.record(usize::try_from(sequence).ok()?);
            forged.salt = random.bytes();
            file.lines.insert(record, [forged.to_bytes().bytes, b"\n".to_vec()].concat());
            named("insert a record", &["inserted"], sequence)
        }
        8 => {
            let with = records[random.below(records.len())];
            if with == record {
                return None;
            }
            let first = sequence.min(file.sequence(with));
            file.lines.swap(record, with);
            named("swap two records", &["reordered"], first)
        }
        9 => {
            let to = records[random.below(records.len())];
            if to == record {
                return None;
            }
            let first = sequence.min(file.sequence(to));
            let line = file.lines.remove(record);
            file.lines.insert(to, line);
            named("move a record", &["reordered"], first)
        }
        10 => {
            let bytes = file.lines.concat();
            let cut = 1 + random.below(bytes.len() - 1);
            let codes: &[&str] = if cut < file.lines[0].len() { &["not_an_export"] } else { &["truncated"] };
            file.lines = bytes[..cut].split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            somewhere("cut the end off", codes)
        }
        11 => {
            let end = file.lines.len() - 1;
            file.lines.drain(record..end);
            // Records in hand whose hashes are gone as well, or none.
            somewhere("cut a piece off before the end", &["gap", "no_hashes"])
        }
        12 => {
            let mut forged = file.log.record(usize::try_from(sequence).ok()?);
            forged.time_ms -= 1 + i64::try_from(random.below(100_000)).ok()?;
            file.lines[record] = [forged.to_bytes().bytes, b"\n".to_vec()].concat();
            named("back-date a record", &["rewritten"], sequence)
        }
        13 => {
            // In the file the record before this one must be the one before it in the log.
            if records.first() == Some(&record) {
                return None;
            }
            let before = records[records.iter().position(|at| *at == record)? - 1];
            let mut forged = file.log.record(usize::try_from(sequence).ok()?);
            forged.time_ms = file.log.record(usize::try_from(file.sequence(before)).ok()?).time_ms - 1;
            file.forge(record, &forged.to_bytes().bytes);
            named("back-date a record and make the hashes fit", &["back_dated"], sequence)
        }
        14 => {
            let mut forged = file.log.record(usize::try_from(sequence).ok()?);
            forged.reason = "nothing happened".to_owned();
            file.forge(record, &forged.to_bytes().bytes);
            somewhere("rewrite a record and make the hashes fit", &["root"])
        }
        15 => {
            let mut forged = file.log.record(usize::try_from(sequence).ok()?);
            forged.reason = "nothing happened".to_owned();
            file.forge(record, &forged.to_bytes().bytes);
            let secret = random.bytes();
            let name = node(1).verifier().name().to_owned();
            file.sign_anew(|note| {
                let mut note = Note::new(note.text()).expect("a text");
                note.sign(&Signer::new(name, &secret).expect("a name")).expect("room");
                note
            });
            somewhere("sign with another key", &["quorum"])
        }
        16 => {
            let one = u8::try_from(1 + random.below(3)).ok()?;
            file.sign_anew(|note| {
                let mut note = Note::new(note.text()).expect("a text");
                note.sign(&node(one)).expect("room");
                note
            });
            somewhere("take signatures away", &["quorum"])
        }
        17 => {
            let stranger = random.bytes();
            file.sign_anew(|note| {
                // Under the key's name and id, but not with the key.
                let text = note.to_string();
                let good = note.signatures()[0].clone();
                let forged = flagraft_core::note::Signature {
                    bytes: Signer::new("x", &stranger).expect("a name").sign(note.text().as_bytes()).to_vec(),
                    ..good.clone()
                };
                text.replace(&good.to_string(), &forged.to_string()).parse().expect("a note")
            });
            somewhere("forge a signature", &["forged_signature"])
        }
        18 => {
            let lines = file.beginning_with("{\"hashes\"");
            let line = lines[random.below(lines.len())];
            let mut hashes: Value = serde_json::from_slice(&file.lines[line]).ok()?;
            let from = hashes["hashes"]["from"].as_u64()?;
            let mut leaves = decode(hashes["hashes"]["leaves"].as_str()?);
            let leaf = random.below(leaves.len());
            leaves[leaf][random.below(32)] ^= 1 << random.below(8);
            hashes["hashes"]["leaves"] = encode(&leaves).into();
            file.lines[line] = [hashes.to_string().as_bytes(), b"\n"].concat();
            named("alter a hash", &["hashes"], from)
        }
        19 => {
            let lines = file.beginning_with("{\"skipped\"");
            let line = *lines.get(random.below(lines.len().max(1)))?;
            let mut skipped: Value = serde_json::from_slice(&file.lines[line]).ok()?;
            let hashes = skipped["skipped"]["hashes"].as_array_mut()?;
            let at = random.below(hashes.len());
            hashes[at] = encode(&[random.bytes()]).into();
            file.lines[line] = [skipped.to_string().as_bytes(), b"\n"].concat();
            fit(&mut file.lines);
            somewhere("alter what is left out and make the hash of the lines fit", &["root"])
        }
        _ => unreachable!("no such way"),
    }
}

const WAYS: usize = 20;

#[test]
fn a_thousand_mutations_are_caught_and_named() {
    let log = Log::new(700, SEED);
    let exports = [
        log.whole(),
        Export { from: 130, to: 600, ..log.whole() },
        Export { from: 20, keep: Some(5), ..log.whole() },
        Export { to: 690, size: 695, removed: 100..450, ..log.whole() },
    ];
    let files: Vec<Vec<Vec<u8>>> = exports.iter().map(Export::lines).collect();
    for lines in &files {
        verify_against(lines, &[]).expect("good before it is tampered with");
    }
    let mut random = Sequence::new(SEED);
    let mut caught = BTreeMap::<&str, BTreeMap<&str, usize>>::new();
    let mut mutations = 0;
    let mut wrong = Vec::new();
    while mutations < MUTATIONS {
        let (tampering, answer) = if mutations % (WAYS + 1) == WAYS {
            fork(&log, &mut random)
        } else {
            let original = &files[random.below(files.len())];
            let mut file = File { lines: original.clone(), log: &log };
            let Some(tampering) = tamper(mutations % (WAYS + 1), &mut file, &mut random) else { continue };
            if file.lines == *original {
                continue;
            }
            (tampering, verify_against(&file.lines, &[]).map(|_| ()))
        };
        let Tampering { kind, codes, sequence } = tampering;
        let code = answer.as_ref().map_or_else(Fault::code, |()| "NOT CAUGHT");
        *caught.entry(kind).or_default().entry(code).or_default() += 1;
        let place = answer.as_ref().err().and_then(Fault::sequence);
        if !codes.contains(&code) || sequence.is_some() && sequence != place {
            wrong.push(format!("{mutations}: {kind}, of record {sequence:?}: {answer:?}"));
        }
        mutations += 1;
    }
    assert_eq!(caught.len(), WAYS + 1, "each way was tried: {caught:#?}");
    assert!(
        wrong.is_empty(),
        "seed {SEED:#x}: {} of {MUTATIONS}:\n{}\n{caught:#?}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Another log, signed by the same keys, for who saw the first one.
fn fork(log: &Log, random: &mut Sequence) -> (Tampering, Result<(), Fault>) {
    let at = 1 + random.below(log.records.len() - 1);
    let mut forked = log.clone();
    forked.records.truncate(at);
    forked.grow(log.records.len(), random);
    let seen = u64::try_from(at + 1 + random.below(log.records.len() - at)).expect("small");
    let seen = Witnessed::new(signed(&log.checkpoint(seen), &[1]), None).expect("a checkpoint");
    let answer = verify_against(&forked.whole().lines(), &[seen]).map(|_| ());
    (Tampering { kind: "fork the log", codes: &["fork"], sequence: None }, answer)
}

/// Lines that a file has, and lines that are nearly such.
fn line() -> impl Strategy<Value = String> {
    let number = || prop_oneof![0..5_u64, 250..260_u64, any::<u64>()];
    let hash = "[A-Za-z0-9+/]{42}A=";
    prop_oneof![
        (number(), hash)
            .prop_map(|(from, hash)| format!(r#"{{"hashes":{{"from":{from},"leaves":"{hash}"}}}}"#)),
        (number(), number(), prop::collection::vec(hash, 0..5)).prop_map(|(from, to, hashes)| format!(
            r#"{{"skipped":{{"from":{from},"to":{to},"why":"range","hashes":{}}}}}"#,
            Value::from(hashes)
        )),
        "[a-z\n ]{0,40}".prop_map(|note| format!(
            r#"{{"checkpoint":{},"keys":[],"records":0,"sha256":""}}"#,
            Value::from(note)
        )),
        Just(include_str!("../fixtures/records.jsonl").lines().next().expect("records").to_owned()),
        ".{0,40}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever comes is answered, and nothing that nobody signed is good.
    #[test]
    fn any_lines_are_refused(
        size in prop_oneof![0..4_u64, Just(300), Just(u64::MAX)],
        from in prop_oneof![0..4_u64, Just(u64::MAX)],
        lines in prop::collection::vec(line(), 0..12),
    ) {
        let log = Log::new(1, 1);
        let mut header = log.whole().header();
        (header.from, header.to, header.size) = (from.min(size), size, size);
        let mut file = vec![serde_json::to_vec(&header).expect("JSON")];
        file.extend(lines.into_iter().map(String::into_bytes));
        file.iter_mut().for_each(|line| line.push(b'\n'));
        prop_assert!(verify_against(&file, &[]).is_err());
        prop_assert!(verify_against(&file[1..], &[]).is_err());
    }
}
