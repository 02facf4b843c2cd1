//! What the audit log keeps: who says so, what a hold keeps, and what a removal takes and leaves.

use std::collections::BTreeSet;

use flagraft_core::{
    merkle::{Frontier, inclusion_proof, leaf_hash, verify_inclusion},
    proposal::{Actor, Body},
    record::{Age, RecordKind, is_removed, removed_by, row_leaf_hash, tombstone},
    reply::Outcome,
    retention::SequenceRange,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    accounts::read,
    world::{Ask, START_MS, World, ask, code, put, signing_key_put},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn rule(keep_days: Value) -> Ask {
    ask(json!([{"op": "audit.retention.put", "keep_days": keep_days}])).project(None)
}

fn hold(id: &str, from: u64, to: Option<u64>) -> Ask {
    ask(json!([{"op": "audit.hold.put", "hold": {"id": id, "reason": "a case", "from": from, "to": to}}]))
        .project(None)
}

fn lift(id: &str) -> Ask {
    ask(json!([{"op": "audit.hold.delete", "hold": id}])).project(None)
}

/// The removal of these records, as the leader asks for it.
fn removal(ranges: &[(u64, u64)], before_ms: i64) -> Ask {
    let records: u64 = ranges.iter().map(|(from, to)| to - from).sum();
    let ranges: Vec<Value> = ranges.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
    ask(json!([{"op": "audit.remove", "ranges": ranges, "records": records, "before_ms": before_ms}]))
        .by_the_cluster()
        .project(None)
}

/// A world in which records are kept for a day, and its records of before are older than that; and how old.
fn aged() -> (World, i64) {
    let mut world = World::new();
    world.must(rule(json!({"access": 1})));
    world.clock_ms = START_MS + 3 * DAY_MS;
    (world, START_MS + DAY_MS)
}

#[test]
fn owners_of_everything_say_what_is_kept_and_only_the_cluster_removes() {
    let (mut world, before_ms) = aged();
    for asked in [rule(json!({})), hold("case", 0, None), lift("case")] {
        for role in ["operator", "writer", "stranger"] {
            assert_eq!(code(&world.refuse(asked.clone().by(role))), "forbidden");
        }
    }
    let removal = removal(&[(0, 2)], before_ms);
    assert_eq!(
        code(&world.refuse(Ask { actor: crate::world::actor("owner"), ..removal.clone() })),
        "forbidden"
    );
    let applied = world.must(removal);
    assert_eq!(applied.removed, [SequenceRange { from: 0, to: 2 }]);
    assert_eq!(world.last_record().kind, RecordKind::System);
    assert_eq!(world.last_record().actor, Actor::system(1));
}

#[test]
fn what_a_hold_keeps_is_not_removed_whoever_picked_it() {
    let (mut world, before_ms) = aged();
    world.must(hold("case-1", 3, Some(5)));
    world.must(hold("case-2", 8, None));
    for (ranges, index) in [
        (vec![(4, 5)], 0),
        (vec![(0, 1), (2, 4)], 1),
        (vec![(0, 8)], 0),
        (vec![(0, 2), (5, 7), (8, 9)], 2),
        (vec![(9, 10)], 0),
    ] {
        let rejection = world.refuse(removal(&ranges, before_ms));
        assert_eq!(code(&rejection), "conflict", "{ranges:?}");
        assert_eq!(rejection.path(), format!("/operations/0/ranges/{index}"), "{ranges:?}");
    }
    world.must(removal(&[(0, 3), (5, 8)], before_ms));
    world.must(lift("case-1"));
    world.must(removal(&[(3, 5)], before_ms));
    // It is shown with what it was.
    assert_eq!(world.state.holds().map(|hold| hold.spec.id.to_string()).collect::<Vec<_>>(), ["case-2"]);
    assert_eq!(world.state.hold("case-2").expect("there").spec.to, None);
}

#[test]
fn a_removal_is_by_the_rule_that_is_in_force() {
    let (mut world, before_ms) = aged();
    let revision = world.state.retention().revision;
    let by_the_rule = |mut asked: Ask, revision: u64| {
        asked.operations[0]["if_revision"] = json!(revision);
        asked
    };
    world.must(by_the_rule(removal(&[(0, 1)], before_ms), revision));
    // Nothing is named that any rule keeps.
    let young = world.refuse(removal(&[(1, 2)], START_MS + 3 * DAY_MS));
    assert_eq!((code(&young).as_str(), young.path()), ("conflict", "/operations/0/before_ms"));
    world.must(rule(json!({"access": 2, "denied": 400})));
    assert_eq!(world.last_record().operations[0].before, json!({"access": 1}));
    let old_rule = world.refuse(by_the_rule(removal(&[(1, 2)], START_MS - DAY_MS), revision));
    assert_eq!(code(&old_rule), "revision_mismatch");
    assert_eq!(code(&world.refuse(removal(&[(1, 2)], before_ms))), "conflict", "two days now");
    world.must(removal(&[(1, 2)], START_MS - DAY_MS));
    world.must(rule(json!({})));
    let for_ever = world.refuse(removal(&[(2, 3)], START_MS - DAY_MS));
    assert!(for_ever.to_string().contains("for ever"), "{for_ever}");
}

#[test]
fn only_records_that_there_are_go_and_by_a_change_of_their_own() {
    let (mut world, before_ms) = aged();
    let size = world.state.sequence();
    assert_eq!(code(&world.refuse(removal(&[(0, size + 2)], before_ms))), "invalid");
    let mut with_another = removal(&[(0, 1)], before_ms);
    let also = with_another.operations[0].clone();
    with_another.operations.as_array_mut().expect("a list").push(also);
    assert_eq!(world.refuse(with_another).path(), "/operations");
    // A removal that is repeated takes nothing anew, and the same records may be named by another one.
    let asked = removal(&[(0, 1)], before_ms).minted("once");
    assert_eq!(world.must(asked.clone()).removed.len(), 1);
    let again = world.ask(asked);
    assert!(again.reply.replayed && again.removed.is_empty());
    assert_eq!(world.must(removal(&[(0, 2)], before_ms)).removed, [SequenceRange { from: 0, to: 2 }]);
}

#[test]
fn there_are_a_thousand_holds_at_most() {
    let mut world = World::new();
    for batch in 0..10 {
        let puts: Vec<Value> = (0..100)
            .map(|at| {
                let id = format!("case-{}", batch * 100 + at);
                json!({"op": "audit.hold.put", "hold": {"id": id, "reason": "a case", "from": at}})
            })
            .collect();
        world.must(ask(json!(puts)).project(None));
    }
    assert_eq!(code(&world.refuse(hold("one-more", 0, None))), "invalid");
    world.must(hold("case-7", 0, Some(1)));
}

#[test]
fn cluster_version_1_keeps_everything() {
    let mut world = World::of_version(1);
    for asked in [rule(json!({"access": 1})), hold("case", 0, None), lift("case"), removal(&[(0, 1)], 0)] {
        assert_eq!(code(&world.refuse(asked)), "unsupported_operation");
    }
}

/// A part of the catalog of a revision, as the leader puts it.
fn part(revision: u64, part: u32, parts: u32) -> Ask {
    let catalog = json!({
        "revision": revision, "history": "0123456789abcdef", "sequence": 2, "time_ms": START_MS,
        "sha256": "ab".repeat(32), "parts": parts,
    });
    ask(json!([{"op": "audit.catalog.put", "catalog": catalog, "part": part, "content": "cGFydA=="}]))
        .by_the_cluster()
        .project(None)
}

/// The same with one field of the catalog, or of the operation, being something else.
fn with(mut asked: Ask, path: &str, value: Value) -> Ask {
    *asked.operations[0].pointer_mut(path).expect("a field") = value;
    asked
}

/// A world in which changes go after a day, and its own are older than that.
fn aged_changes() -> World {
    let mut world = World::new();
    world.must(rule(json!({"change": 1, "access": 2})));
    world.clock_ms = START_MS + 3 * DAY_MS;
    world
}

fn edge_of(world: &World) -> Option<(u64, Vec<u64>)> {
    world.state.edge().map(|edge| (edge.catalog.revision, edge.records.clone()))
}

#[test]
fn the_edge_goes_on_when_its_catalog_is_whole_and_never_back() {
    let mut world = aged_changes();
    assert_eq!(edge_of(&world), None);
    let first = world.state.sequence();
    world.must(part(2, 0, 1));
    assert_eq!(edge_of(&world), Some((2, vec![first])), "of one part");
    assert_eq!(world.last_record().kind, RecordKind::System);
    let newest = world.state.revision();
    for wrong in [0, 1, 2, newest + 1] {
        let rejection = world.refuse(part(wrong, 0, 1));
        assert_eq!(rejection.path(), "/operations/0/catalog/revision", "{wrong}");
    }
    let sequence = world.state.sequence() + 1;
    assert_eq!(code(&world.refuse(with(part(3, 0, 1), "/catalog/sequence", json!(sequence)))), "invalid");

    // One of three parts, between which others do something: the old edge stands until the last one is there.
    let begun = world.state.sequence();
    world.must(part(3, 0, 3));
    world.must(ask(json!([put("gate", &json!({}))])));
    world.must(part(3, 1, 3));
    assert_eq!(edge_of(&world), Some((2, vec![first])));
    for wrong in [
        part(3, 1, 3),
        part(4, 2, 3),
        part(3, 2, 4),
        with(part(3, 2, 3), "/catalog/sha256", json!("cd".repeat(32))),
    ] {
        let rejection = world.refuse(wrong);
        assert_eq!((code(&rejection).as_str(), rejection.path()), ("conflict", "/operations/0/part"));
    }
    let last = world.state.sequence();
    world.must(part(3, 2, 3));
    assert_eq!(edge_of(&world), Some((3, vec![begun, begun + 2, last])));

    // A leader that ended in the middle is followed by one that begins anew.
    world.must(part(4, 0, 2));
    let again = world.state.sequence();
    world.must(part(5, 0, 2));
    world.must(part(5, 1, 2));
    assert_eq!(edge_of(&world), Some((5, vec![again, again + 1])));
}

#[test]
fn a_catalog_is_put_by_the_cluster_for_a_time_whose_changes_are_to_go() {
    let mut world = aged_changes();
    assert_eq!(
        code(&world.refuse(Ask { actor: crate::world::actor("owner"), ..part(2, 0, 1) })),
        "forbidden"
    );
    let young = world.refuse(with(part(2, 0, 1), "/catalog/time_ms", json!(START_MS + 2 * DAY_MS + DAY_MS)));
    assert_eq!((code(&young).as_str(), young.path()), ("conflict", "/operations/0/catalog/time_ms"));
    for (path, value, at) in [
        ("/catalog/parts", json!(0), "/catalog/parts"),
        ("/catalog/parts", json!(1_001), "/catalog/parts"),
        ("/part", json!(1), "/part"),
        ("/content", json!(""), "/content"),
        ("/content", json!("!"), "/content"),
    ] {
        let rejection = world.refuse(with(part(2, 0, 1), path, value));
        assert_eq!(
            (code(&rejection).as_str(), rejection.path()),
            ("invalid", &*format!("/operations/0{at}"))
        );
    }
    world.must(rule(json!({"access": 2})));
    let for_ever = world.refuse(part(2, 0, 1));
    assert!(for_ever.to_string().contains("for ever"), "{for_ever}");
    world = World::of_version(1);
    assert_eq!(code(&world.refuse(part(1, 0, 1))), "unsupported_operation");
}

/// Without it, nobody could make the catalogs of after it.
#[test]
fn the_catalog_of_the_edge_is_not_removed_before_another_one_is_whole() {
    let mut world = aged_changes();
    let edge = world.state.sequence();
    world.must(part(2, 0, 1));
    let next = world.state.sequence();
    world.must(part(3, 0, 2));
    world.clock_ms += 5 * DAY_MS;
    let before_ms = START_MS + 4 * DAY_MS;
    for at in [edge, next] {
        let rejection = world.refuse(removal(&[(0, 1), (at, at + 1)], before_ms));
        assert_eq!(rejection.path(), "/operations/0/ranges/1");
    }
    world.must(part(3, 1, 2));
    world.must(removal(&[(edge, edge + 1)], before_ms));
    assert_eq!(code(&world.refuse(removal(&[(next, next + 1)], before_ms))), "conflict");
}

/// They say whose log it is, and what was removed from it.
#[test]
fn records_of_the_cluster_are_kept_for_ever() {
    let mut world = World::new();
    let rejection = world.refuse(rule(json!({"access": 30, "system": 400})));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", "/operations/0/keep_days/system"));
    world.must(rule(json!({"access": 30, "change": 1, "denied": 1, "evaluations": 36_500, "rejected": 7})));
    assert_eq!(world.state.retention().keep_days.shortest(), Some(1));
}

/// What members that take in a log learn from it, and what the leader judges records by.
#[test]
fn a_record_says_what_was_removed_and_whether_it_may_go_itself() {
    let (mut world, before_ms) = aged();
    let rows_of = |applied: flagraft_core::apply::Applied| applied.record.expect("a record").bytes;
    let change = rows_of(world.must(ask(json!([put("gate", &json!({}))]))));
    let held = rows_of(world.must(hold("case", 4, None)));
    let removed = rows_of(world.must(removal(&[(0, 1), (2, 4)], before_ms)));
    let refused = rows_of(world.ask(removal(&[(4, 5)], before_ms)));
    let reads = world.propose(Body::Access(read(1)), Actor::system(1), None);
    let reads = rows_of(world.apply(&reads));
    let both = [SequenceRange { from: 0, to: 1 }, SequenceRange { from: 2, to: 4 }];
    assert_eq!(removed_by(&removed).as_deref(), Some(&both[..]));
    for row in [&change, &held, &refused, &reads, &tombstone(&leaf_hash(&removed)).to_vec()] {
        assert_eq!(removed_by(row), Some(Vec::new()), "{}", String::from_utf8_lossy(row));
    }
    assert_eq!(removed_by(b"[]"), None);
    let age = |row: &[u8]| Age::read(row).expect("a record");
    world.must(rule(json!({"change": 1})));
    let catalog = rows_of(world.must(part(2, 0, 1)));
    let key = rows_of(world.must(ask(json!([signing_key_put("writer", 7)])).project(None)));
    for (row, kind, goes_as) in [
        (&held, RecordKind::System, None),
        (&removed, RecordKind::System, None),
        (&key, RecordKind::Change, None),
        (&catalog, RecordKind::System, Some(RecordKind::Change)),
        (&change, RecordKind::Change, Some(RecordKind::Change)),
        (&refused, RecordKind::Rejected, Some(RecordKind::Rejected)),
        (&reads, RecordKind::Access, Some(RecordKind::Access)),
    ] {
        assert_eq!((age(row).kind, age(row).goes_as), (kind, goes_as), "{}", String::from_utf8_lossy(row));
    }
    assert_eq!(age(&reads).revision, None);
    assert_eq!(age(&key).revision, Some(world.state.revision()));
    assert_eq!(age(&change).time_ms, START_MS + 3 * DAY_MS + 1);
    assert_eq!(Age::read(&tombstone(&[7; 32])), None);
}

/// What may happen to a log.
#[derive(Clone, Debug)]
enum Step {
    Change,
    Rule(Option<u32>),
    Hold(usize, u64, Option<u64>),
    Lift(usize),
    Remove { from: u64, lengths: Vec<(u64, u64)>, days: i64 },
    Days(i64),
}

const HOLDS: [&str; 3] = ["case-1", "case-2", "case-3"];

fn step() -> impl Strategy<Value = Step> {
    let removal = (0..20_u64, prop::collection::vec((1..4_u64, 1..4_u64), 1..4), 0..4_i64)
        .prop_map(|(from, lengths, days)| Step::Remove { from, lengths, days });
    prop_oneof![
        3 => Just(Step::Change),
        1 => prop::option::weighted(0.8, 1..3_u32).prop_map(Step::Rule),
        1 => (0..3_usize, 0..24_u64, prop::option::weighted(0.8, 1..6_u64))
            .prop_map(|(at, from, length)| Step::Hold(at, from, length.map(|length| from + length))),
        1 => (0..3_usize).prop_map(Step::Lift),
        5 => removal,
        2 => (1..3_i64).prop_map(Step::Days),
    ]
}

/// A log with its rules, kept in the simplest way.
#[derive(Default)]
struct Model {
    days: Option<u32>,
    holds: [Option<(u64, Option<u64>)>; 3],
    removed: BTreeSet<u64>,
}

impl Model {
    fn is_held(&self, at: u64) -> bool {
        self.holds.iter().flatten().any(|(from, to)| *from <= at && to.is_none_or(|to| at < to))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is held and removed in whatever order: what the entries say is gone is what the model says, and the log has
    /// the root and every proof that it had.
    #[test]
    fn what_is_removed_is_what_may_go_and_the_tree_stays(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        let mut model = Model::default();
        // Every record that ever was, and the rows that are left of them.
        let (mut records, mut rows): (Vec<Vec<u8>>, Vec<Vec<u8>>) = (Vec::new(), Vec::new());
        let offset = world.state.sequence();
        let before = world.state.audit_frontier().clone();
        for (at, step) in steps.into_iter().enumerate() {
            let (asked, accepted) = match step {
                Step::Days(days) => {
                    world.clock_ms += days * DAY_MS;
                    continue;
                }
                Step::Change => (ask(json!([put(&format!("flag-{at}"), &json!({}))])), true),
                Step::Rule(days) => {
                    let is_news = model.days != days;
                    model.days = days;
                    (rule(json!({"access": days})), is_news)
                }
                Step::Hold(which, from, to) => {
                    let is_news = model.holds[which] != Some((from, to));
                    model.holds[which] = Some((from, to));
                    (hold(HOLDS[which], from, to), is_news)
                }
                Step::Lift(which) => (lift(HOLDS[which]), model.holds[which].take().is_some()),
                Step::Remove { from, lengths, days } => {
                    let mut end = from;
                    let ranges: Vec<(u64, u64)> = lengths
                        .into_iter()
                        .map(|(gap, length)| {
                            let range = (end + gap, end + gap + length);
                            end = range.1;
                            range
                        })
                        .collect();
                    let today = (world.clock_ms + 1).div_euclid(DAY_MS);
                    let before_ms = (today - days) * DAY_MS;
                    let named: Vec<u64> = ranges.iter().flat_map(|(from, to)| *from..*to).collect();
                    let may = model.days.is_some_and(|keep| days >= i64::from(keep))
                        && named.iter().all(|at| *at < world.state.sequence() && !model.is_held(*at));
                    if may {
                        model.removed.extend(named);
                    }
                    (removal(&ranges, before_ms), may)
                }
            };
            let applied = world.ask(asked);
            prop_assert_eq!(matches!(applied.reply.outcome, Outcome::Accepted { .. }), accepted);
            let record = applied.record.expect("each leaves a record").bytes;
            let said = removed_by(&record);
            prop_assert_eq!(said.as_ref(), Some(&applied.removed), "the record says the same");
            records.push(record.clone());
            rows.push(record);
            for sequence in applied.removed.iter().flat_map(|range| range.from..range.to) {
                // Records of before are the world's own.
                if let Some(at) = sequence.checked_sub(offset).and_then(|at| usize::try_from(at).ok()) {
                    let leaf = row_leaf_hash(&rows[at]).expect("a row");
                    rows[at] = tombstone(&leaf).to_vec();
                }
            }
        }
        let mut tree: Frontier = before;
        rows.iter().for_each(|row| tree.push_hash(row_leaf_hash(row).expect("a row")));
        prop_assert_eq!(tree.root(), world.state.audit_root());
        let gone: BTreeSet<u64> = (offset..).zip(&rows).filter(|(_, row)| is_removed(row)).map(|(at, _)| at).collect();
        prop_assert_eq!(gone, model.removed.iter().copied().filter(|at| *at >= offset).collect::<BTreeSet<_>>());

        let leaves: Vec<_> = rows.iter().map(|row| row_leaf_hash(row).expect("a row")).collect();
        let size = u64::try_from(leaves.len()).expect("small");
        let mut all = Frontier::default();
        leaves.iter().for_each(|leaf| all.push_hash(*leaf));
        for (sequence, record) in (0..).zip(&records) {
            let subtree = |level: u8, index: u64| {
                let mut tree = Frontier::default();
                (index << level..(index + 1) << level)
                    .for_each(|at| tree.push_hash(leaves[usize::try_from(at).expect("small")]));
                Ok::<_, ()>(tree.root())
            };
            let proof = inclusion_proof(sequence, size, subtree).expect("a subtree").expect("a record");
            prop_assert!(verify_inclusion(&leaf_hash(record), sequence, size, &proof, &all.root()));
        }
    }
}
