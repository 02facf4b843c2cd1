//! Every operation: what it does, what it is when it is done again, and one thing that it refuses.

use std::collections::BTreeSet;

use flagraft_core::{
    operation::Operation, proposal::Proposal, reply::Outcome, state::State, version::ClusterVersion,
};
use serde_json::{Value, json};

use crate::{
    audit_keys::audit_key,
    members::invite,
    world::{
        Ask, World, after, ask, bootstrap, code, put, signing_key_put, signing_key_revoke, token_create,
        token_id,
    },
};

struct Row {
    /// What was there before, one accepted operation each.
    before: Vec<Value>,
    operation: Value,
    /// Fields of the object after, as JSON pointers into what the record keeps.
    after: Vec<(&'static str, Value)>,
    /// The same once more: `unchanged`, `accepted`, or the code of a rejection.
    again: &'static str,
    /// Fields that make it wrong, and the code.
    wrong: (Value, &'static str),
}

/// Writes the fields of `more` over those of `object`.
fn with(object: &Value, more: &Value) -> Value {
    let mut object = object.clone();
    let (into, from) = (object.as_object_mut().expect("an object"), more.as_object().expect("an object"));
    into.extend(from.clone());
    object
}

fn on_projects() -> Vec<Row> {
    vec![
        Row {
            before: vec![],
            operation: json!({"op": "project.put", "project": {"key": "shop", "name": "Shop"}}),
            after: vec![("/name", json!("Shop"))],
            again: "unchanged",
            wrong: (json!({"project": {"key": "other"}}), "invalid"),
        },
        Row {
            before: vec![put("flag", &after(&[]))],
            operation: json!({"op": "project.delete"}),
            after: vec![("", json!(null))],
            again: "not_found",
            wrong: (json!({"if_revision": 999}), "revision_mismatch"),
        },
        Row {
            before: vec![],
            operation: json!({"op": "environment.put", "environment": {"key": "qa", "order": 5}}),
            after: vec![("/order", json!(5)), ("/policy/ticket/required", json!(false))],
            again: "unchanged",
            wrong: (json!({"environment": {"key": "qa", "policy": {"approvals": {"min": 1}}}}), "invalid"),
        },
        Row {
            before: vec![put("flag", &after(&[]))],
            operation: json!({"op": "environment.delete", "environment": "dev"}),
            after: vec![("", json!(null))],
            again: "not_found",
            wrong: (json!({"environment": "moon"}), "not_found"),
        },
    ]
}

fn on_flags() -> Vec<Row> {
    let flag = || put("flag", &after(&[]));
    let at_flag = |op: &str| json!({"op": op, "flag": "flag"});
    let archived = || at_flag("flag.archive");
    vec![
        Row {
            before: vec![],
            operation: flag(),
            after: vec![("/environments/dev/enabled", json!(true)), ("/critical", json!(false))],
            again: "unchanged",
            wrong: (json!({"flag": {"key": "flag", "type": "boolean", "variants": {"on": 1}}}), "invalid"),
        },
        Row {
            before: vec![flag()],
            operation: with(
                &at_flag("flag.configure"),
                &json!({"environment": "staging", "configuration": {"enabled": true}}),
            ),
            after: vec![("/enabled", json!(true)), ("/default", json!(null))],
            again: "unchanged",
            wrong: (json!({"environment": "moon"}), "not_found"),
        },
        Row {
            before: vec![flag()],
            operation: with(&at_flag("flag.enable"), &json!({"environment": "staging"})),
            after: vec![("", json!({"enabled": true}))],
            again: "unchanged",
            wrong: (json!({"flag": "nothing"}), "not_found"),
        },
        Row {
            before: vec![flag()],
            operation: with(&at_flag("flag.disable"), &json!({"environment": "dev"})),
            after: vec![("", json!({"enabled": false}))],
            again: "unchanged",
            wrong: (json!({"environment": "moon"}), "not_found"),
        },
        Row {
            before: vec![flag()],
            operation: with(&at_flag("flag.copy"), &json!({"from": "dev", "to": "staging"})),
            after: vec![(
                "",
                json!({"default": {"variant": "on"}, "prerequisites": [], "rules": [], "targets": []}),
            )],
            again: "unchanged",
            wrong: (json!({"from": "moon"}), "not_found"),
        },
        Row {
            before: vec![flag()],
            operation: archived(),
            after: vec![("/system/archived/by", json!("owner@example.com"))],
            again: "unchanged",
            wrong: (json!({"flag": "nothing"}), "not_found"),
        },
        Row {
            before: vec![flag(), archived()],
            operation: at_flag("flag.restore"),
            after: vec![("/system/archived", json!(null)), ("/environments/dev/enabled", json!(false))],
            again: "unchanged",
            wrong: (json!({"flag": "nothing"}), "not_found"),
        },
        Row {
            before: vec![flag()],
            operation: at_flag("flag.delete"),
            after: vec![("/system/deleted/by", json!("owner@example.com"))],
            again: "not_found",
            wrong: (json!({"if_revision": 1}), "revision_mismatch"),
        },
    ]
}

fn on_configurations() -> Vec<Row> {
    let flag = put(
        "flag",
        &json!({
            "rules": [{"id": "ramp", "serve": {"rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 1}]}}}],
            "targets": [{"values": ["ann"], "variant": "on"}],
        }),
    );
    let in_dev =
        |op: &str, more: &Value| with(&json!({"op": op, "flag": "flag", "environment": "dev"}), more);
    let rule = json!({"id": "r", "serve": {"variant": "on"}});
    let rows = vec![
        (
            in_dev("rule.put", &json!({"rule": rule, "before": "ramp"})),
            vec![("", json!({"position": 0, "rule": rule}))],
            "unchanged",
            (json!({"rule": {"id": "r", "serve": {"variant": "blue"}}}), "invalid"),
        ),
        (
            in_dev("rule.delete", &json!({"rule": "ramp"})),
            vec![("", json!(null))],
            "not_found",
            (json!({"rule": "nothing"}), "not_found"),
        ),
        (
            in_dev("rollout.set", &json!({"rule": "ramp", "weights": [{"variant": "off", "weight": 3}]})),
            vec![("", json!({"weights": [{"variant": "off", "weight": 3}]}))],
            "unchanged",
            (json!({"weights": []}), "invalid"),
        ),
        (
            in_dev("default.set", &json!({"serve": {"variant": "off"}})),
            vec![("", json!({"default": {"variant": "off"}}))],
            "unchanged",
            (json!({"serve": {"variant": "blue"}}), "invalid"),
        ),
        (
            in_dev("targets.add", &json!({"variant": "off", "values": ["ann", "bob"]})),
            vec![("/targets", json!([{"by": "targetingKey", "values": ["ann", "bob"], "variant": "off"}]))],
            "unchanged",
            (json!({"variant": "blue"}), "invalid"),
        ),
        (
            in_dev("targets.remove", &json!({"values": ["ann", "eve"]})),
            vec![("/targets", json!([]))],
            "unchanged",
            (json!({"flag": "nothing"}), "not_found"),
        ),
    ];
    rows.into_iter()
        .map(|(operation, after, again, wrong)| Row {
            before: vec![flag.clone()],
            operation,
            after,
            again,
            wrong,
        })
        .collect()
}

fn on_segments() -> Vec<Row> {
    let staff = json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ann"]}});
    let members = |op: &str, members: &Value| json!({"op": op, "segment": "staff", "list": "included", "members": members});
    vec![
        Row {
            before: vec![],
            operation: staff.clone(),
            after: vec![("/key", json!("staff"))],
            again: "unchanged",
            wrong: (json!({"segment": {"key": "staff", "excluded": [""]}}), "invalid"),
        },
        Row {
            before: vec![staff.clone()],
            operation: json!({"op": "segment.delete", "segment": "staff"}),
            after: vec![("", json!(null))],
            again: "not_found",
            wrong: (json!({"segment": "nobody"}), "not_found"),
        },
        Row {
            before: vec![staff.clone()],
            operation: members("segment.members.add", &json!(["ann", "bob"])),
            after: vec![("", json!(null))],
            again: "unchanged",
            wrong: (json!({"members": ["x".repeat(1025)]}), "invalid"),
        },
        Row {
            before: vec![staff],
            operation: members("segment.members.remove", &json!(["ann", "bob"])),
            after: vec![("", json!(null))],
            again: "unchanged",
            wrong: (json!({"segment": "nobody"}), "not_found"),
        },
    ]
}

fn on_the_cluster() -> Vec<Row> {
    let create =
        token_create("fresh", &json!([{"role": "reader", "project": "shop", "environments": ["dev"]}]));
    vec![
        Row {
            before: vec![],
            operation: create.clone(),
            after: vec![("/id", json!("tok_fresh000")), ("/expires_at_ms", json!(null))],
            again: "conflict",
            wrong: (
                json!({"secret_sha256": token_create("reader", &json!([]))["secret_sha256"]}),
                "conflict",
            ),
        },
        Row {
            before: vec![create],
            operation: json!({"op": "token.revoke", "token": token_id("fresh")}),
            after: vec![("", json!(null))],
            again: "unchanged",
            wrong: (json!({"token": "tok_nothing0"}), "not_found"),
        },
        Row {
            before: vec![],
            operation: json!({"op": "system.membership", "members": {}}),
            after: vec![],
            again: "accepted",
            wrong: (json!({"if_revision": 0, "members": bootstrap()["members"]}), "accepted"),
        },
        Row {
            before: vec![],
            operation: json!({"op": "system.leadership", "to": 2}),
            after: vec![("", json!(2))],
            again: "accepted",
            wrong: (json!({"to": 9}), "accepted"),
        },
    ]
}

fn on_the_members() -> Vec<Row> {
    let invited = invite(4, "learner");
    vec![
        Row {
            before: vec![],
            operation: invited.clone(),
            after: vec![("/role", json!("learner")), ("/occupant", json!(null)), ("/removed", json!(false))],
            // Another token takes the place of one that was lost.
            again: "accepted",
            wrong: (json!({"node_id": 1}), "conflict"),
        },
        Row {
            before: vec![invited.clone()],
            operation: json!({"op": "system.member.promote", "node_id": 4}),
            after: vec![("/role", json!("voter"))],
            again: "unchanged",
            wrong: (json!({"node_id": 5}), "not_found"),
        },
        Row {
            before: vec![invited],
            operation: json!({"op": "system.member.remove", "node_id": 4}),
            after: vec![("/removed", json!(true)), ("/invited_until_ms", json!(null))],
            again: "unchanged",
            wrong: (json!({"node_id": 1}), "in_use"),
        },
    ]
}

fn on_audit_keys() -> Vec<Row> {
    let (first, second) = (audit_key(7), audit_key(8));
    let add = |key: &str| json!({"op": "system.audit_key.add", "node": 1, "public_key": key});
    vec![
        Row {
            before: vec![],
            operation: add(&first),
            after: vec![("/0/public_key", json!(first)), ("/0/retired", json!(null))],
            again: "unchanged",
            wrong: (json!({"node": 9}), "not_found"),
        },
        Row {
            before: vec![add(&first), add(&second)],
            operation: json!({"op": "system.audit_key.retire", "node": 1, "public_key": first}),
            after: vec![("/0/public_key", json!(first)), ("/1/retired", json!(null))],
            again: "unchanged",
            wrong: (json!({"public_key": audit_key(9)}), "not_found"),
        },
    ]
}

fn on_keys() -> Vec<Row> {
    let put = signing_key_put("writer", 7);
    let mut of_another = put["signing_key"].clone();
    of_another["id"] = signing_key_put("writer", 8)["signing_key"]["id"].clone();
    vec![
        Row {
            before: vec![],
            operation: put.clone(),
            after: vec![("/actor/id", json!("writer@example.com")), ("/name", json!("writer's"))],
            again: "unchanged",
            wrong: (json!({"signing_key": of_another}), "invalid"),
        },
        Row {
            before: vec![put],
            operation: signing_key_revoke(7),
            after: vec![("", json!(null))],
            again: "unchanged",
            wrong: (json!({"signing_key": signing_key_revoke(8)["signing_key"]}), "not_found"),
        },
    ]
}

fn on_retention() -> Vec<Row> {
    let hold =
        json!({"op": "audit.hold.put", "hold": {"id": "case-7", "reason": "Case 7", "from": 2, "to": 5}});
    vec![
        Row {
            before: vec![],
            operation: json!({"op": "audit.retention.put", "keep_days": {"access": 30, "denied": 365}}),
            after: vec![("/access", json!(30)), ("/denied", json!(365))],
            again: "unchanged",
            wrong: (json!({"keep_days": {"access": 0}}), "invalid"),
        },
        Row {
            before: vec![],
            operation: hold.clone(),
            after: vec![("/from", json!(2)), ("/to", json!(5))],
            again: "unchanged",
            wrong: (json!({"hold": {"id": "case-7", "reason": "Case 7", "from": 5, "to": 5}}), "invalid"),
        },
        Row {
            before: vec![hold],
            operation: json!({"op": "audit.hold.delete", "hold": "case-7"}),
            after: vec![("", json!(null))],
            again: "not_found",
            wrong: (json!({"hold": "case-8"}), "not_found"),
        },
    ]
}

fn outcome(world: &mut World, ask: Ask) -> String {
    match world.ask(ask).reply.outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Unchanged { .. } => "unchanged".to_owned(),
        Outcome::Rejected { rejection, .. } | Outcome::Refused { rejection } => code(&rejection),
    }
}

#[test]
fn each_does_what_it_says_and_refuses_what_it_must() {
    // The founding and the cluster version have rows of their own below, and the way back has a file of its own. To let
    // a node in, and to remove records, is asked by the cluster itself: see `members` and `retention`.
    let mut seen: BTreeSet<String> = [
        "system.bootstrap",
        "system.cluster_version",
        "system.restore",
        "system.recover",
        "system.member.admit",
        "audit.remove",
        "audit.catalog.put",
    ]
    .map(str::to_owned)
    .into();
    let rows = [
        on_projects(),
        on_flags(),
        on_configurations(),
        on_segments(),
        on_the_cluster(),
        on_the_members(),
        on_audit_keys(),
        on_keys(),
        on_retention(),
    ];
    for Row { before, operation, after, again, wrong } in rows.into_iter().flatten() {
        let shown = operation.to_string();
        let mut world = World::new().with(&before);
        let mistaken = ask(json!([with(&operation, &wrong.0)]));
        assert_eq!(outcome(&mut world, mistaken), wrong.1, "wrong: {shown}");
        world.must(ask(json!([operation])));
        let recorded = &world.last_record().operations[0];
        assert_eq!(recorded.operation["op"], operation["op"]);
        for (pointer, expected) in after {
            assert_eq!(recorded.after.pointer(pointer), Some(&expected), "{pointer} after {shown}");
        }
        assert_eq!(outcome(&mut world, ask(json!([operation]))), again, "again: {shown}");
        seen.insert(operation["op"].as_str().expect("a name").to_owned());
    }
    let all: BTreeSet<String> = Operation::NAMES.iter().map(ToString::to_string).collect();
    assert_eq!(seen, all, "each operation has its row");
}

#[test]
fn the_cluster_version_is_raised_and_never_lowered() {
    let mut world = World::new();
    let raise =
        |version: u32| ask(json!([{"op": "system.cluster_version", "version": version}])).project(None);
    assert_eq!(outcome(&mut world, raise(2)), "unchanged");
    assert_eq!(outcome(&mut world, raise(1)), "invalid");
    assert_eq!(outcome(&mut world, raise(2).by("operator")), "forbidden");
    let mut older = World::of_version(1);
    assert_eq!(outcome(&mut older, raise(2)), "accepted");
    assert_eq!(older.state.cluster_version(), 2);
}

/// A version that this binary does not know never reaches `apply`, where members of two releases would answer it in two
/// ways: the entry does not decode, which stops the node, and nobody can propose it.
#[test]
fn a_later_cluster_version_than_is_known_stops_the_node() {
    let newest = ClusterVersion::NEWEST.number();
    let mut founding = bootstrap();
    for unknown in [0, newest + 1, u32::MAX] {
        let raise = json!({"op": "system.cluster_version", "version": unknown});
        let fault = Operation::from_value(raise).expect_err("unknown");
        assert!(fault.path == "/version" && fault.message.contains("newer"), "{fault}");
        founding["cluster_version"] = json!(unknown);
        assert_eq!(Operation::from_value(founding.clone()).expect_err("unknown").path, "/cluster_version");
        let mut world = World::unfounded();
        let proposal = world.proposal(ask(json!([bootstrap()])).by_the_cluster().project(None));
        let entry = String::from_utf8(proposal.encode().expect("encodes")).expect("JSON");
        let later = entry.replace("\"cluster_version\":2", &format!("\"cluster_version\":{unknown}"));
        assert!(later != entry && Proposal::decode(later.as_bytes()).is_err());
    }
    let state = World::new().state;
    let rows = state.rows().map(|(key, value)| {
        let later = format!("\"cluster_version\":{}", newest + 1);
        let text = String::from_utf8(value).expect("JSON");
        (key, text.replace("\"cluster_version\":2", &later).into_bytes())
    });
    assert!(State::from_rows(rows).is_err(), "nor does it open such a state");
}

/// A token's role on one project is none on the cluster.
#[test]
fn the_cluster_is_run_by_whoever_owns_all_of_it() {
    let mut world = World::new();
    for operation in [
        json!({"op": "system.membership", "members": {}}),
        json!({"op": "system.leadership", "to": 2}),
        invite(4, "voter"),
    ] {
        for role in ["stranger", "operator", "reader"] {
            assert_eq!(outcome(&mut world, ask(json!([operation])).project(None).by(role)), "forbidden");
        }
        assert_eq!(outcome(&mut world, ask(json!([operation])).project(None)), "accepted");
    }
}
