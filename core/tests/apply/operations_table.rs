//! Every operation: what it does, what it is when it is done again, and one thing that it refuses.

use std::collections::BTreeSet;

use flagraft_core::{operation::Operation, reply::Outcome};
use serde_json::{Value, json};

use crate::world::{Ask, World, after, ask, bootstrap, code, put, token_create, token_id};

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
            wrong: (json!({"environment": {"key": "qa", "policy": {"signed": true}}}), "invalid"),
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
            after: vec![("/enabled", json!(true))],
            again: "unchanged",
            wrong: (json!({"flag": "nothing"}), "not_found"),
        },
        Row {
            before: vec![flag()],
            operation: with(&at_flag("flag.disable"), &json!({"environment": "dev"})),
            after: vec![("/enabled", json!(false)), ("/default/variant", json!("on"))],
            again: "unchanged",
            wrong: (json!({"environment": "moon"}), "not_found"),
        },
        Row {
            before: vec![flag()],
            operation: with(&at_flag("flag.copy"), &json!({"from": "dev", "to": "staging"})),
            after: vec![("/enabled", json!(false)), ("/default/variant", json!("on"))],
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
            vec![("/rules/0/id", json!("r")), ("/rules/1/id", json!("ramp"))],
            "unchanged",
            (json!({"rule": {"id": "r", "serve": {"variant": "blue"}}}), "invalid"),
        ),
        (
            in_dev("rule.delete", &json!({"rule": "ramp"})),
            vec![("/rules", json!([]))],
            "not_found",
            (json!({"rule": "nothing"}), "not_found"),
        ),
        (
            in_dev("rollout.set", &json!({"rule": "ramp", "weights": [{"variant": "off", "weight": 3}]})),
            vec![("/rules/0/serve/rollout/weights", json!([{"variant": "off", "weight": 3}]))],
            "unchanged",
            (json!({"weights": []}), "invalid"),
        ),
        (
            in_dev("default.set", &json!({"serve": {"variant": "off"}})),
            vec![("/default", json!({"variant": "off"}))],
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

fn outcome(world: &mut World, ask: Ask) -> String {
    match world.ask(ask).reply.outcome {
        Outcome::Accepted { .. } => "accepted".to_owned(),
        Outcome::Unchanged { .. } => "unchanged".to_owned(),
        Outcome::Rejected { rejection, .. } | Outcome::Refused { rejection } => code(&rejection),
    }
}

#[test]
fn each_does_what_it_says_and_refuses_what_it_must() {
    // The founding and the cluster version have rows of their own below, and the way back has a file of its own.
    let mut seen: BTreeSet<String> =
        ["system.bootstrap", "system.cluster_version", "system.restore", "system.recover"]
            .map(str::to_owned)
            .into();
    let rows = [on_projects(), on_flags(), on_configurations(), on_segments(), on_the_cluster()];
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
fn the_cluster_version_stays_until_there_is_a_newer_one() {
    let mut world = World::new();
    let raise =
        |version: u32| ask(json!([{"op": "system.cluster_version", "version": version}])).project(None);
    assert_eq!(outcome(&mut world, raise(1)), "unchanged");
    for version in [0, 2] {
        let rejection = world.refuse(raise(version));
        assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", "/operations/0/version"));
    }
    assert_eq!(outcome(&mut world, raise(1).by("operator")), "forbidden");
}

/// A token's role on one project is none on the cluster.
#[test]
fn the_cluster_is_run_by_whoever_owns_all_of_it() {
    let mut world = World::new();
    for operation in
        [json!({"op": "system.membership", "members": {}}), json!({"op": "system.leadership", "to": 2})]
    {
        for role in ["stranger", "operator", "reader"] {
            assert_eq!(outcome(&mut world, ask(json!([operation])).project(None).by(role)), "forbidden");
        }
        assert_eq!(outcome(&mut world, ask(json!([operation])).project(None)), "accepted");
    }
}
