//! The formats that are frozen, as literal bytes in `core/tests/fixtures`. What is written there was written by a
//! released version and must be read, and written alike, for ever: a failing test here means that nodes of two
//! versions would no longer agree. Add to the fixtures; never change them.

use std::collections::BTreeSet;

use flagraft_core::{
    apply::apply,
    identity::LogPosition,
    operation::Operation,
    proposal::{Body, EncodeError, Proposal},
    rejection::Rejection,
    reply::{Outcome, Reply},
    state::State,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    rejections::{CODES, place},
    world::code,
};

/// One operation of each name, with every field given, one a line.
pub fn operations() -> impl Iterator<Item = &'static str> {
    include_str!("../fixtures/operations.jsonl").lines()
}

/// Reads the literal and writes it again.
fn round_trip<T: DeserializeOwned + Serialize>(literal: &str) -> T {
    let value: T = serde_json::from_str(literal).unwrap_or_else(|error| panic!("{error} in {literal}"));
    assert_eq!(serde_json::to_string(&value).expect("writes"), literal);
    value
}

#[test]
fn every_operation_is_frozen() {
    let names: Vec<&str> = operations().map(|literal| round_trip::<Operation>(literal).name()).collect();
    assert_eq!(names, Operation::NAMES, "a line for each operation, in order");
}

/// What may be left out, and what it then is.
#[test]
fn the_defaults_of_operations_are_frozen() {
    let cases = include_str!("../fixtures/operation_defaults.jsonl");
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).expect(line);
        let operation: Operation = serde_json::from_value(case["short"].clone()).expect(line);
        assert_eq!(serde_json::to_value(&operation).expect("writes"), case["full"], "{line}");
    }
    assert_eq!(cases.lines().count(), 13);
}

/// What names no default is said: a field that is left out by mistake must not mean something else.
#[test]
fn every_required_field_is_required() {
    // Without it an operation means what its golden default says.
    let optional = ["before", "by", "if_revision", "parts"];
    for literal in operations() {
        let operation: Value = serde_json::from_str(literal).expect(literal);
        let name = operation["op"].as_str().expect("a name");
        for field in operation.as_object().expect("an object").keys() {
            let of_its_own = [
                ("rollout.set", "rule"),
                ("system.member.invite", "role"),
                ("system.member.remove", "successor"),
            ];
            let is_optional =
                optional.contains(&field.as_str()) || of_its_own.contains(&(name, field.as_str()));
            let mut short = operation.clone();
            short.as_object_mut().expect("an object").remove(field);
            assert_eq!(Operation::from_value(short).is_ok(), is_optional, "{name} without {field}");
            let mut more = operation.clone();
            more["unknown"] = json!(1);
            let fault = Operation::from_value(more).expect_err("an unknown field");
            assert_eq!(fault.path, "/unknown", "{name}");
        }
    }
    for (wrong, path) in [
        (json!([]), ""),
        (json!({}), ""),
        (json!({"op": 1}), "/op"),
        (json!({"op": "flag.teleport"}), "/op"),
        (json!({"op": "flag.enable", "flag": "a/b", "environment": "dev"}), "/flag"),
        (
            json!({"op": "targets.add", "flag": "f", "environment": "dev", "variant": "on", "values": ["a", 1]}),
            "/values/1",
        ),
    ] {
        assert_eq!(Operation::from_value(wrong.clone()).expect_err("wrong").path, path, "{wrong}");
    }
}

#[test]
fn proposals_are_frozen() {
    let literals = include_str!("../fixtures/proposals.jsonl");
    for literal in literals.lines() {
        let proposal = Proposal::decode(literal.as_bytes()).expect(literal);
        assert_eq!(proposal.encode().expect("fits an entry"), literal.as_bytes());
    }
    assert_eq!(literals.lines().count(), 5);
}

/// The hash that tells whether two requests ask for the same is kept in the state.
#[test]
fn the_hash_of_a_body_is_frozen() {
    let literals = include_str!("../fixtures/proposals.jsonl").lines();
    let hashes: Vec<String> = literals
        .map(|literal| hex::encode(Proposal::decode(literal.as_bytes()).expect(literal).body.sha256()))
        .collect();
    assert_eq!(hashes, include_str!("../fixtures/body_sha256.txt").lines().collect::<Vec<_>>());
}

/// What enters the log is read back before: an entry that no member can read would stop them all.
#[test]
fn what_would_not_read_back_is_not_encoded() {
    let literal = include_str!("../fixtures/proposals.jsonl").lines().next().expect("a line");
    let mut proposal = Proposal::decode(literal.as_bytes()).expect("a proposal");
    let Body::Change(change) = &mut proposal.body else { panic!("a change: {literal}") };
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({"a": inner}));
    let put = |levels: usize| {
        let flag = json!({"key": "deep", "type": "object", "variants": {"deep": nested(levels)}});
        Operation::from_value(json!({"op": "flag.put", "flag": flag})).expect("well-formed")
    };
    change.operations = vec![put(124)];
    let mut encoded = vec![proposal.encode().map(|bytes| Proposal::decode(&bytes))];
    if let Body::Change(change) = &mut proposal.body {
        change.operations = vec![put(125)];
    }
    encoded.push(proposal.encode().map(|bytes| Proposal::decode(&bytes)));
    assert_eq!(encoded.len(), 2);
    assert!(matches!(encoded[0], Ok(Ok(_))), "{encoded:?}");
    assert!(matches!(encoded[1], Err(EncodeError::Unreadable(_))), "{encoded:?}");
}

#[test]
fn a_proposal_that_is_not_understood_is_told() {
    let good: Value =
        serde_json::from_str(include_str!("../fixtures/proposals.jsonl").lines().next().expect("a line"))
            .expect("a proposal");
    let mut unknown = Vec::new();
    for (pointer, value) in [
        ("/body/operations/0/op", json!("flag.teleport")),
        ("/body/kind", json!("wish")),
        ("/body/operations/0/more", json!(1)),
        ("/body/more", json!(1)),
        ("/more", json!(1)),
        ("/actor/type", json!("ghost")),
        ("/salt", json!("00")),
    ] {
        let mut proposal = good.clone();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        proposal.pointer_mut(parent).expect(pointer)[field] = value;
        unknown.push((pointer, proposal.to_string().into_bytes()));
    }
    unknown.push(("not JSON", b"{".to_vec()));
    unknown.push(("empty", Vec::new()));
    for (what, bytes) in unknown {
        let error = Proposal::decode(&bytes).expect_err(what);
        assert!(error.to_string().contains("run the version that its peers run"), "{what}: {error}");
    }
}

#[test]
fn replies_and_rejections_are_frozen() {
    let mut codes = BTreeSet::new();
    for literal in include_str!("../fixtures/rejections.jsonl").lines() {
        let rejection: Rejection = round_trip(literal);
        assert_eq!(CODES[place(&rejection)], code(&rejection));
        codes.insert(place(&rejection));
    }
    assert_eq!(codes.len(), CODES.len(), "a line for each rejection");
    let outcomes: BTreeSet<&str> = include_str!("../fixtures/replies.jsonl")
        .lines()
        .map(|literal| match round_trip::<Reply>(literal).outcome {
            Outcome::Accepted { .. } => "accepted",
            Outcome::Unchanged { .. } => "unchanged",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Refused { .. } => "refused",
        })
        .collect();
    assert_eq!(outcomes.len(), 4, "a line for each outcome");
}

/// The same entries of the log make the same rows, records and roots as they made when they were frozen.
#[test]
fn a_log_makes_what_it_always_made() {
    let made = replay(State::empty(), LOG, 1);
    compare("records", &made.records, include_str!("../fixtures/records.jsonl"));
    compare("rows", &made.rows(), include_str!("../fixtures/rows.txt"));
    assert_eq!(made.root(), include_str!("../fixtures/audit_root.txt").trim_end());
    // Each operation that changes the state has been through it, or through one of those below.
    let logs = [LOG, WAY_BACK_LOG, VERSION_2_LOG, SIGNED_LOG, RETENTION_LOG].concat();
    let seen: BTreeSet<&str> = Operation::NAMES
        .iter()
        .copied()
        .filter(|name| logs.contains(&format!("\"op\":\"{name}\"")))
        .collect();
    assert_eq!(seen.len(), Operation::NAMES.len(), "the logs hold every operation");
}

/// A log whose catalog is backed up and restored; and later the restored cluster loses its quorum.
#[test]
fn the_way_back_makes_what_it_always_made() {
    let (before, after) = WAY_BACK_LOG.split_at(restored_at());
    let backed_up = replay(State::empty(), before, 1);
    let made = replay(backed_up.state.without_founding(), after, 4);
    let records = [backed_up.records, made.records.clone()].concat();
    compare("records", &records, include_str!("../fixtures/way_back_records.jsonl"));
    compare("rows", &made.rows(), include_str!("../fixtures/way_back_rows.txt"));
    assert_eq!(made.root(), include_str!("../fixtures/way_back_audit_root.txt").trim_end());
    assert_eq!(made.state.revision(), 7, "each entry was accepted");
}

/// A log of cluster version 2, with what that allows.
#[test]
fn a_log_of_version_2_makes_what_it_always_made() {
    let made = replay(State::empty(), VERSION_2_LOG, 1);
    compare("records", &made.records, include_str!("../fixtures/version_2_records.jsonl"));
    compare("rows", &made.rows(), include_str!("../fixtures/version_2_rows.txt"));
    assert_eq!(made.root(), include_str!("../fixtures/version_2_audit_root.txt").trim_end());
}

/// A log of signed changes, and of some that are refused for want of a good signature.
#[test]
fn signed_changes_make_what_they_always_made() {
    let made = replay(State::empty(), SIGNED_LOG, 1);
    compare("records", &made.records, include_str!("../fixtures/signed_records.jsonl"));
    compare("rows", &made.rows(), include_str!("../fixtures/signed_rows.txt"));
    assert_eq!(made.root(), include_str!("../fixtures/signed_audit_root.txt").trim_end());
    let signed = made.records.lines().filter(|record| record.contains("\"signature\":{")).count();
    assert_eq!((signed, made.records.lines().count()), (3, 9));
}

/// A log whose records are kept for a time, and some of them held.
#[test]
fn a_log_with_retention_makes_what_it_always_made() {
    let made = replay(State::empty(), RETENTION_LOG, 1);
    compare("records", &made.records, include_str!("../fixtures/retention_records.jsonl"));
    compare("rows", &made.rows(), include_str!("../fixtures/retention_rows.txt"));
    assert_eq!(made.root(), include_str!("../fixtures/retention_audit_root.txt").trim_end());
    let removals = made.records.lines().filter(|record| {
        record.contains("\"op\":\"audit.remove\"") && record.contains("\"outcome\":\"accepted\"")
    });
    assert_eq!((removals.count(), made.records.lines().count()), (2, 14));
    assert!(made.rows().lines().any(|row| row.starts_with(") ")), "a catalog of two parts is begun");
}

/// Where the entry begins that restores.
fn restored_at() -> usize {
    let before = WAY_BACK_LOG.lines().take_while(|entry| !entry.contains("system.restore"));
    before.map(|entry| entry.len() + 1).sum()
}

const LOG: &str = include_str!("../fixtures/log.jsonl");
const VERSION_2_LOG: &str = include_str!("../fixtures/version_2_log.jsonl");
const WAY_BACK_LOG: &str = include_str!("../fixtures/way_back_log.jsonl");
const SIGNED_LOG: &str = include_str!("../fixtures/signed_log.jsonl");
const RETENTION_LOG: &str = include_str!("../fixtures/retention_log.jsonl");

/// What a log made.
pub struct Made {
    state: State,
    pub records: String,
}

impl Made {
    pub fn rows(&self) -> String {
        let rows = self.state.rows();
        rows.map(|(key, value)| format!("{} {}\n", readable(&key), readable(&value))).collect()
    }

    pub fn root(&self) -> String {
        hex::encode(self.state.audit_root())
    }
}

pub fn replay(mut state: State, log: &str, first_index: u64) -> Made {
    let mut records = String::new();
    for (entry, index) in log.lines().zip(first_index..) {
        let proposal = Proposal::decode(entry.as_bytes()).expect(entry);
        let applied = apply(&state, &proposal, LogPosition { term: 7, index });
        if let Some(record) = applied.record {
            records += &String::from_utf8(record.bytes).expect("JSON");
            records.push('\n');
        }
        state = applied.state;
    }
    Made { state, records }
}

pub fn compare(what: &str, got: &str, frozen: &str) {
    for (line, (got, frozen)) in got.lines().zip(frozen.lines()).enumerate() {
        assert_eq!(got, frozen, "line {} of {what}", line + 1);
    }
    assert_eq!(got.lines().count(), frozen.lines().count(), "{what}");
}

/// Bytes beyond printable ASCII as `\xNN`.
fn readable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\\"", "\"")
}

/// How `serde_json` writes numbers is part of every row and record: a version of it that writes one of these in another
/// way would give the same state another digest.
#[test]
fn the_written_form_of_numbers_is_frozen() {
    for (text, written) in [
        ("1.10", "1.1"),
        ("1e2", "100.0"),
        ("1e15", "1000000000000000.0"),
        ("1e16", "1e+16"),
        ("1e-5", "0.00001"),
        ("1e-6", "1e-6"),
        ("100000000000000000000000", "1e+23"),
        ("123456789.125e20", "1.23456789125e+28"),
        ("0.10000000000000000001", "0.1"),
        ("18446744073709551615", "18446744073709551615"),
        ("18446744073709551616", "1.8446744073709552e+19"),
        ("-0.0", "-0.0"),
        ("5e-324", "5e-324"),
    ] {
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(value.to_string(), written);
    }
}

/// Patterns, networks, normal forms, signatures and the buckets of imported rollouts are decided by these crates: members that decide by
/// two versions of one may disagree about an entry, or serve a user two variants. To take a newer one needs a cluster version; see
/// `docs/decisions/0012-what-apply-depends-on-is-pinned.md`.
#[test]
fn what_apply_depends_on_is_pinned() {
    let lock = include_str!("../../../Cargo.lock");
    for (name, version) in [
        ("crc32fast", "1.5.5"),
        ("curve25519-dalek", "5.0.0"),
        ("ed25519-dalek", "3.0.0"),
        ("ipnet", "2.12.2"),
        ("regex", "1.13.2"),
        ("regex-automata", "0.4.19"),
        ("regex-syntax", "0.8.12"),
        ("sha1", "0.11.0"),
        ("unicode-normalization", "0.1.26"),
    ] {
        let pinned = format!("name = \"{name}\"\nversion = \"{version}\"\n");
        // Of these, tools that only tests are made of may bring another one.
        if !name.ends_with("25519-dalek") {
            assert_eq!(lock.matches(&format!("name = \"{name}\"\n")).count(), 1, "one version of {name}");
        }
        assert!(lock.contains(&pinned), "{name} is not {version}");
    }
}
