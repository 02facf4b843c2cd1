//! Records: what the audit log keeps, beyond the bytes that are frozen in [`crate::golden`].

use flagraft_core::{
    proposal::{Actor, Body, Cause, CauseKind, Denials},
    record::{RecordKind, RecordOutcome},
    reply::Outcome,
};
use serde_json::json;

use crate::world::{World, after, ask, put};

#[test]
fn a_record_says_who_when_why_and_what_became_of_it() {
    let mut world = World::new();
    let mut proposal = world.proposal(ask(json!([put("flag", &after(&[]))])).reason("launch").key("k"));
    proposal.caused_by = Some(Cause { kind: CauseKind::Import, id: "flagd".to_owned() });
    proposal.node = 3;
    let revision = world.state.revision();
    world.apply(&proposal);
    let record = world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Change, RecordOutcome::Accepted));
    assert_eq!((record.reason.as_str(), record.ticket.as_deref()), ("launch", Some("OPS-1")));
    assert_eq!(
        (record.actor.id.as_str(), record.actor.token.as_deref()),
        ("owner@example.com", Some("tok_owner000"))
    );
    assert_eq!((record.revision_before, record.revision_after), (revision, revision + 1));
    assert_eq!((record.request_id.as_str(), record.node), ("k", 3));
    assert_eq!(record.project.as_deref(), Some("shop"));
    assert_eq!(record.caused_by, proposal.caused_by);
    assert_eq!(record.salt, proposal.salt);
    assert_eq!(record.operations[0].before, json!(null));
    assert_eq!(record.operations[0].after["environments"]["dev"]["enabled"], json!(true));
    assert!(record.touches.environments.iter().map(|e| e.as_str()).eq(["dev", "production", "staging"]));
}

#[test]
fn the_kind_tells_what_sort_of_entry_it_was() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let switch = json!([{"op": "flag.enable", "flag": "flag", "environment": "dev"}]);
    world.ask(ask(switch.clone()));
    assert_eq!(
        (world.last_record().kind, world.last_record().outcome),
        (RecordKind::Change, RecordOutcome::Unchanged)
    );
    for (by, operations, kind) in [
        ("reader", switch.clone(), RecordKind::Denied),
        ("revoked", switch.clone(), RecordKind::Denied),
        (
            "owner",
            json!([{"op": "flag.enable", "flag": "nothing", "environment": "dev"}]),
            RecordKind::Rejected,
        ),
    ] {
        let rejection = world.refuse(ask(operations).by(by));
        let record = world.last_record();
        assert_eq!((record.kind, record.outcome), (kind, RecordOutcome::Rejected));
        assert_eq!(record.rejection.as_ref(), Some(&rejection));
        assert_eq!(record.operations[0].after, json!(null));
    }
    world.must(ask(json!([{"op": "system.leadership", "to": 2}])).project(None));
    assert_eq!(world.last_record().kind, RecordKind::System);
}

/// A node's count of refused requests leaves a trace of bounded size and changes nothing else.
#[test]
fn denials_are_noted() {
    let mut world = World::new();
    let denials = Denials { node: 2, from_ms: 1, to_ms: 60_000, count: 17 };
    let (revision, sequence) = (world.state.revision(), world.state.sequence());
    let proposal = world.propose(Body::Denials(denials.clone()), Actor::system(2), None);
    let applied = world.apply(&proposal);
    assert_eq!(applied.reply.outcome, Outcome::Unchanged { revision, sequence });
    let record = world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::Denied, RecordOutcome::Noted));
    assert_eq!(record.denials.as_ref(), Some(&denials));
    assert!(record.operations.is_empty() && record.project.is_none());

    let mut unfounded = World::unfounded();
    let proposal = unfounded.propose(Body::Denials(denials), Actor::system(2), None);
    assert!(unfounded.apply(&proposal).reply.outcome.rejection().is_some());
}

/// Record time is the leader's, but never earlier than the record before: leaders' clocks differ.
#[test]
fn record_time_never_falls() {
    let mut world = World::new();
    let mut times = Vec::new();
    for (n, clock_ms) in [5_000, 1_000, 0, 5_001, -7].into_iter().enumerate() {
        world.clock_ms = world.state.last_at_ms().min(crate::world::START_MS + 1_000_000) + clock_ms;
        world.must(ask(json!([put(&format!("flag-{n}"), &after(&[]))])));
        let record = world.last_record();
        assert_eq!(record.proposed_at_ms, world.clock_ms);
        times.push(record.time_ms);
    }
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times[3], times[4], "the clock went back");
}

#[test]
fn a_segment_s_members_are_recorded_by_the_operation_alone() {
    let mut world =
        World::new().with(&[json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ann"]}})]);
    world.must(ask(
        json!([{"op": "segment.members.add", "segment": "staff", "list": "excluded", "members": ["bob"]}]),
    ));
    let recorded = &world.last_record().operations[0];
    assert_eq!(recorded.operation["members"], json!(["bob"]));
    assert_eq!((&recorded.before, &recorded.after), (&json!(null), &json!(null)));
    let put = json!({"op": "segment.put", "segment": {"key": "staff", "name": "Staff", "included": ["ann"]}});
    world.must(ask(json!([put])));
    let after = &world.last_record().operations[0].after;
    assert!(after.get("included").is_none(), "lists may have a million members: {after}");
}
