//! The rows of a state that were damaged: an error that names the row, never a panic and never a default.

use flagraft_core::{
    digest::Digest,
    proposal::{Actor, Body},
    rows::{CorruptRow, Loader},
    state::State,
};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    accounts::read,
    members::invite,
    world::{World, after, ask, put, signing_key_put},
};

/// Does something bad to a value.
type Damage = fn(&mut Vec<u8>);
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// A state with a row of every kind.
fn rows() -> Rows {
    let mut world = World::new().with(&[
        json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ann"], "excluded": ["b\u{0}b"]}}),
        put("flag", &after(&[])),
    ]);
    world.must(ask(json!([{"op": "flag.disable", "flag": "flag", "environment": "dev"}])).key("k"));
    world.must(ask(json!([invite(4, "learner"), signing_key_put("writer", 7)])).project(None));
    world.must(
        ask(json!([
            {"op": "audit.retention.put", "keep_days": {"change": 1}},
            {"op": "audit.hold.put", "hold": {"id": "case", "reason": "A case", "from": 4}},
        ]))
        .project(None),
    );
    for (revision, parts) in [(1, 1), (2, 2)] {
        let catalog = json!({
            "revision": revision, "history": "0123456789abcdef", "sequence": 0, "time_ms": 0, "sha256": "0".repeat(64),
            "parts": parts,
        });
        let part = json!({"op": "audit.catalog.put", "catalog": catalog, "part": 0, "content": "cGFydA=="});
        world.must(ask(json!([part])).by_the_cluster().project(None));
    }
    let reads = world.propose(Body::Access(read(1)), Actor::system(1), None);
    world.apply(&reads);
    let rows: Rows = world.state.rows().collect();
    for kind in
        [0x01, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x20, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29]
    {
        assert!(rows.iter().any(|(key, _)| key[0] == kind), "a row of kind {kind:#x}");
    }
    rows
}

fn at(rows: &Rows, kind: u8) -> usize {
    rows.iter().position(|(key, _)| key[0] == kind).expect("a row of this kind")
}

#[test]
fn the_order_of_rows_does_not_matter() {
    let rows = rows();
    let state = State::from_rows(rows.clone()).expect("rows of a state");
    let reversed = State::from_rows(rows.iter().rev().cloned()).expect("rows of a state");
    assert!(state == reversed);
    assert!(State::from_rows(Rows::new()).expect("no rows") == State::empty());
}

#[test]
fn rows_as_a_state_gives_them_can_be_loaded_one_by_one() {
    let rows = rows();
    let load = |rows: &[(Vec<u8>, Vec<u8>)]| {
        let mut loader = Loader::default();
        rows.iter().try_for_each(|(key, value)| loader.row(key, value))?;
        Ok::<_, CorruptRow>(loader.finish())
    };
    let state = load(&rows).expect("rows of a state");
    assert!(state == State::from_rows(rows.clone()).expect("rows of a state"));
    assert_eq!(state.row_count(), rows.len());
    assert!(load(&[]).expect("no rows") == State::empty());
    assert_eq!(State::empty().row_count(), 1, "the numbers are a row of their own");

    let mut reversed = rows;
    reversed.reverse();
    assert_eq!(load(&reversed).err().map(|error| error.key), Some(vec![0x01]), "that row comes first");
}

#[test]
fn a_damaged_value_is_told_with_its_row() {
    let rows = rows();
    let damages: [(&str, Damage); 6] = [
        ("cut short", |value| value.truncate(value.len() - 1)),
        ("empty", Vec::clear),
        ("another version", |value| value[0] = 2),
        ("one byte more", |value| value.push(b'}')),
        ("not JSON", |value| value.extend_from_slice(b"\xff")),
        ("of another kind", |value| value.splice(1.., br#"{"unknown":1}"#.iter().copied()).for_each(drop)),
    ];
    for at in 0..rows.len() {
        for (what, damage) in &damages {
            let mut damaged = rows.clone();
            damage(&mut damaged[at].1);
            let key = &rows[at].0;
            let error = State::from_rows(damaged).err().unwrap_or_else(|| panic!("{what}: {key:?}"));
            assert_eq!(&error.key, key, "{what}");
            assert!(error.to_string().contains("restore this node"), "{error}");
        }
    }
}

#[test]
fn a_field_that_this_version_does_not_know_is_told() {
    for (at, (key, value)) in rows().iter().enumerate().filter(|(_, (_, value))| value.len() > 1) {
        let mut damaged = rows();
        let with_more = [b"\x01{\"from_the_future\":1,".as_slice(), &value[2..]].concat();
        damaged[at].1 = with_more;
        assert_eq!(State::from_rows(damaged).err().map(|error| error.key).as_ref(), Some(key));
    }
}

#[test]
fn a_key_that_is_not_the_row_s_own_is_told() {
    let rows = rows();
    for kind in [0x01, 0x10, 0x11, 0x12, 0x13, 0x20, 0x22] {
        let mut damaged = rows.clone();
        let at = at(&rows, kind);
        damaged[at].0.push(b'x');
        assert!(State::from_rows(damaged).is_err(), "kind {kind:#x}");
    }
    for key in [vec![], vec![0x00], vec![0x16, b'a'], vec![0x7f], vec![0x12, 0xff, 0xfe], vec![0x12, b'a']] {
        let mut damaged = rows.clone();
        damaged.push((key.clone(), rows[at(&rows, 0x12)].1.clone()));
        assert!(State::from_rows(damaged).is_err(), "{key:?}");
    }
}

/// What is in a project that is not there; the project's row was lost.
#[test]
fn a_row_whose_owner_is_missing_is_told() {
    let rows = rows();
    for (owner, kinds) in [(0x10, vec![0x11]), (0x13, vec![0x14, 0x15])] {
        let mut damaged = rows.clone();
        damaged.retain(|(key, _)| key[0] != owner);
        let error = State::from_rows(damaged).expect_err("an orphan");
        assert!(kinds.contains(&error.key[0]), "{error}");
    }
}

/// Without the one row that holds revision, digest and audit tree nothing else can be trusted.
#[test]
fn a_missing_meta_row_is_told() {
    let mut rows = rows();
    rows.retain(|(key, _)| key[0] != 0x01);
    assert_eq!(State::from_rows(rows).err().map(|error| error.key), Some(vec![0x01]));
}

#[test]
fn a_row_that_was_lost_shows_in_the_digest() {
    let rows = rows();
    let whole = State::from_rows(rows.clone()).expect("rows of a state");
    assert_eq!(whole.digest(), whole.recompute_digest());
    for (at, (key, _)) in
        rows.iter().enumerate().filter(|(_, (key, _))| ![0x01, 0x10, 0x13].contains(&key[0]))
    {
        let mut damaged = rows.clone();
        damaged.remove(at);
        let state = State::from_rows(damaged).expect("well-formed, but not whole");
        assert_ne!(state.digest(), state.recompute_digest(), "{key:?}");
        assert_eq!(state.digest(), whole.digest());
    }
    assert_ne!(whole.digest(), Digest::default());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any byte of any row changed: an error, or a digest that tells, or (hexadecimal digits may be in either case) the
    /// same state. Never a panic.
    #[test]
    fn no_damaged_byte_goes_unseen(row in any::<prop::sample::Index>(), byte in any::<prop::sample::Index>(), to in any::<u8>(), in_key in any::<bool>()) {
        let mut rows = rows();
        let whole = State::from_rows(rows.clone()).expect("rows of a state");
        let at = row.index(rows.len());
        let bytes = if in_key { &mut rows[at].0 } else { &mut rows[at].1 };
        let place = byte.index(bytes.len());
        prop_assume!(bytes[place] != to);
        bytes[place] = to;
        let is_meta = whole.rows().nth(at).is_some_and(|(key, _)| key[0] == 0x01);
        if let Ok(state) = State::from_rows(rows) {
            prop_assert!(is_meta || state.digest() != state.recompute_digest() || state == whole);
        }
    }

    #[test]
    fn garbage_is_an_error(rows in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..40)), 1..10)) {
        prop_assert!(State::from_rows(rows).is_err());
    }
}
