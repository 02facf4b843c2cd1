//! Records: what the audit log keeps, beyond the bytes that are frozen in [`crate::golden`].

use flagraft_core::{
    limits::RECORD_VALUES_BYTES_MAX,
    operation::Operation,
    proposal::{Actor, Body, Cause, CauseKind, Denials},
    record::{RecordKind, RecordOutcome},
    reply::Outcome,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{World, after, ask, code, put};

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

/// A configuration of the shop's `dev` that is as large as one may be: ten thousand targets.
fn large(first: char) -> Value {
    let values: Vec<String> = (0..10_000).map(|n| format!("{first}{n:0>100}")).collect();
    json!({"enabled": true, "targets": [{"values": values, "variant": "on"}]})
}

/// A hundred switches of a flag with a megabyte of targets once made a record of two hundred.
#[test]
fn the_kill_switch_is_cheap_whatever_the_flag_holds() {
    let mut world = World::new().with(&[put("flag", &large('u'))]);
    let switches: Vec<Value> = (0..100)
        .map(|n| {
            let op = if n % 2 == 0 { "flag.disable" } else { "flag.enable" };
            json!({"op": op, "flag": "flag", "environment": "dev"})
        })
        .collect();
    let applied = world.must(ask(json!(switches)));
    let bytes = applied.record.expect("a record").bytes.len();
    assert!(bytes < 20_000, "{bytes} bytes");
    let recorded = &world.last_record().operations[0];
    assert_eq!((&recorded.before, &recorded.after), (&json!({"enabled": true}), &json!({"enabled": false})));
    // Where it was never configured, there is nothing before.
    world.must(ask(json!([{"op": "flag.enable", "flag": "flag", "environment": "staging"}])));
    let recorded = &world.last_record().operations[0];
    assert_eq!((&recorded.before, &recorded.after), (&json!(null), &json!({"enabled": true})));
}

#[test]
fn narrow_operations_record_what_they_change() {
    let dev = json!({
        "targets": [{"values": ["ann", "bob", "eve"], "variant": "on"}, {"by": "org", "values": ["ann"], "variant": "on"}],
        "rules": [{"id": "a", "serve": {"variant": "on"}}, {"id": "b", "serve": {"variant": "off"}}],
        "default": {"rollout": {"by": "targetingKey", "seed": "s", "weights": [{"variant": "on", "weight": 1}]}},
    });
    let on = |op: &str, more: Value| {
        let mut operation = json!({"op": op, "flag": "flag", "environment": "dev"});
        operation.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        operation
    };
    let rule = |id: &str, variant: &str| json!({"id": id, "serve": {"variant": variant}});
    let target =
        |values: Value, variant: &str| json!({"by": "targetingKey", "values": values, "variant": variant});
    for (operation, before, after) in [
        // Bob moves, dan is new, ann was there: only what changed is told.
        (
            on("targets.add", json!({"variant": "off", "values": ["bob", "dan"]})),
            json!({"targets": [target(json!(["bob"]), "on")]}),
            json!({"targets": [target(json!(["bob", "dan"]), "off")]}),
        ),
        (
            on("targets.add", json!({"variant": "on", "values": ["ann", "dan"]})),
            json!({"targets": []}),
            json!({"targets": [target(json!(["dan"]), "on")]}),
        ),
        (
            on("targets.remove", json!({"values": ["eve", "nobody"]})),
            json!({"targets": [target(json!(["eve"]), "on")]}),
            json!({"targets": []}),
        ),
        (
            on("rule.put", json!({"rule": rule("b", "on"), "before": "a"})),
            json!({"position": 1, "rule": rule("b", "off")}),
            json!({"position": 0, "rule": rule("b", "on")}),
        ),
        (
            on("rule.put", json!({"rule": rule("c", "on")})),
            json!(null),
            json!({"position": 2, "rule": rule("c", "on")}),
        ),
        (
            on("rule.delete", json!({"rule": "b"})),
            json!({"position": 1, "rule": rule("b", "off")}),
            json!(null),
        ),
        (
            on("rollout.set", json!({"weights": [{"variant": "off", "weight": 2}]})),
            json!({"weights": [{"variant": "on", "weight": 1}]}),
            json!({"weights": [{"variant": "off", "weight": 2}]}),
        ),
        (
            on("default.set", json!({"serve": null})),
            json!({"default": dev["default"]}),
            json!({"default": null}),
        ),
    ] {
        let mut world = World::new().with(&[put("flag", &dev)]);
        world.must(ask(json!([operation])));
        let recorded = &world.last_record().operations[0];
        assert_eq!((&recorded.before, &recorded.after), (&before, &after), "{operation}");
    }
    // A put records the environments that it names, not the others.
    let mut world = World::new().with(&[put("flag", &dev)]);
    let mut named = put("flag", &json!({}));
    named["flag"]["environments"] = json!({"staging": {"enabled": true}});
    world.must(ask(json!([named])));
    let recorded = &world.last_record().operations[0];
    assert_eq!(recorded.before["environments"], json!({}));
    assert_eq!(recorded.after["environments"]["staging"]["enabled"], json!(true));
    assert!(recorded.after["environments"].get("dev").is_none());
}

/// What finds no room in a record is replaced by its size and hash, so that it can still be proved.
#[test]
fn a_record_is_bounded() {
    let mut world = World::new();
    let names: Vec<String> = (0..8).map(|n| format!("flag-{n}")).collect();
    for name in &names {
        world.must(ask(json!([put(name, &large('u'))])));
    }
    let empty: Vec<Value> = names
        .iter()
        .map(|name| json!({"op": "flag.configure", "flag": name, "environment": "dev", "configuration": {}}))
        .collect();
    let size = world.flag("flag-0").environments["dev"].bytes();
    let applied = world.must(ask(json!(empty)));
    assert!(
        size > 1_000_000 && applied.record.expect("a record").bytes.len() < RECORD_VALUES_BYTES_MAX + 100_000
    );
    let recorded = &world.last_record().operations;
    let kept = RECORD_VALUES_BYTES_MAX / size;
    let whole = &recorded[0].before;
    for (index, operation) in recorded.iter().enumerate() {
        if index < kept {
            assert_eq!(&operation.before, whole, "{index}");
        } else {
            let sha256 = hex::encode(Sha256::digest(whole.to_string()));
            let omitted = json!({"omitted": {"bytes": whole.to_string().len(), "sha256": sha256}});
            assert_eq!(operation.before, omitted, "{index}");
        }
        // What is small is kept always.
        assert_eq!(operation.after["enabled"], json!(false));
    }
    assert!(kept < recorded.len());
}

#[test]
fn a_flag_is_bounded_in_each_environment_and_as_a_whole() {
    let mut world = World::new().with(&[put("flag", &large('u'))]);
    let add = |environment: &str, first: char| {
        let values: Vec<String> = (0..1_000).map(|n| format!("{first}{n:0>1000}")).collect();
        json!({"op": "targets.add", "flag": "flag", "environment": environment, "variant": "off", "values": values})
    };
    let rejection = world.refuse(ask(json!([add("dev", 'v')])));
    assert_eq!(code(&rejection), "invalid");
    // Ten thousand is the limit of the values, a megabyte that of the bytes.
    let few = json!({"op": "targets.remove", "flag": "flag", "environment": "dev", "values":
        (0..5_000).map(|n| format!("u{n:0>100}")).collect::<Vec<_>>()});
    world.must(ask(json!([few])));
    let rejection = world.refuse(ask(json!([add("dev", 'v')])));
    assert!(rejection.to_string().contains("1048576"), "{rejection}");
    // Four environments of a megabyte each are too much together.
    let more: Vec<Value> = (0..3)
        .map(|n| json!({"op": "environment.put", "environment": {"key": format!("more-{n}")}}))
        .collect();
    world.must(ask(json!(more)));
    let mut refused = 0;
    for environment in ["staging", "production", "more-0", "more-1", "more-2"] {
        let applied = world.ask(ask(json!([add(environment, 'w')])));
        if let Some(rejection) = applied.reply.outcome.rejection() {
            assert_eq!((code(rejection).as_str(), rejection.path()), ("invalid", "/operations/0/flag"));
            assert!(rejection.to_string().contains("in all environments together"), "{rejection}");
            refused += 1;
        }
    }
    assert_eq!(refused, 2);
    // A full flag can still be switched, for that does not count.
    world.must(ask(json!([{"op": "flag.disable", "flag": "flag", "environment": "dev"}])));
    world.must(ask(json!([{"op": "flag.enable", "flag": "flag", "environment": "dev"}])));

    let variants: serde_json::Map<String, Value> =
        (0..20).map(|n| (format!("v{n}"), json!("x".repeat(60_000)))).collect();
    let flag = json!({"op": "flag.put", "flag": {"key": "wide", "type": "string", "variants": variants}});
    let operation = Operation::from_value(flag).expect("well-formed");
    let fault = operation.validate().expect_err("too large");
    assert!(fault.path == "/flag" && fault.message.contains("definition"), "{fault}");
}

/// Who was in a list that a put replaces is said nowhere else.
#[test]
fn a_put_that_replaces_a_segment_s_list_records_who_is_in_it_no_more() {
    let staff =
        |included: Value| json!({"op": "segment.put", "segment": {"key": "staff", "included": included}});
    let mut world = World::new().with(&[staff(json!(["ann", "bob", "eve"]))]);
    world.must(ask(json!([staff(json!(["bob", "dan"]))])));
    let before = &world.last_record().operations[0].before;
    assert_eq!(before["removed"], json!({"included": {"count": 2, "members": ["ann", "eve"]}}));
    // Lists that are left out stay.
    world.must(ask(json!([{"op": "segment.put", "segment": {"key": "staff", "name": "Staff"}}])));
    assert!(world.last_record().operations[0].before.get("removed").is_none());

    let many: Vec<String> = (0..1_001).map(|n| format!("user-{n:05}")).collect();
    world.must(ask(json!([staff(json!(many))])));
    world.must(ask(json!([staff(json!([]))])));
    let removed = &world.last_record().operations[0].before["removed"]["included"];
    let sha256 = hex::encode(Sha256::digest(json!(many).to_string()));
    let omitted = json!({"omitted": {"bytes": json!(many).to_string().len(), "sha256": sha256}});
    assert_eq!(removed, &json!({"count": 1_001, "members": omitted}));
}
