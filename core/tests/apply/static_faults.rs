//! What is wrong in itself, operation by operation: found without the state, so that it never enters the log, and pointed
//! at where it stands.

use std::collections::BTreeSet;

use flagraft_core::operation::Operation;
use serde_json::{Value, json};

use crate::{
    golden,
    world::{World, ask, code, put, signing_key_put, token_create},
};

/// Operations that are made of keys, numbers and switches: whatever can be read is right in itself.
const NOTHING_TO_CHECK: [&str; 16] = [
    "project.delete",
    "environment.delete",
    "flag.enable",
    "flag.disable",
    "flag.archive",
    "flag.restore",
    "flag.delete",
    "rule.delete",
    "segment.delete",
    "system.leadership",
    "system.cluster_version",
    "system.member.promote",
    "system.member.remove",
    "system.audit_key.add",
    "system.audit_key.retire",
    "audit.hold.delete",
];

fn long(bytes: usize) -> Value {
    Value::String("x".repeat(bytes))
}

/// The operation, the pointer to its fault, and a word of the message.
fn rows() -> Vec<(Value, &'static str, &'static str)> {
    let on = |op: &str, more: Value| {
        let mut operation = json!({"op": op, "flag": "flag", "environment": "dev"});
        operation.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        operation
    };
    let configure = |configuration: Value| on("flag.configure", json!({"configuration": configuration}));
    let rule = |more: Value| {
        let mut rule = json!({"id": "r", "serve": {"variant": "on"}});
        rule.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        on("rule.put", json!({"rule": rule}))
    };
    let weights = |weights: Value| json!({"rollout": {"seed": "s", "weights": weights}});
    let twice = json!([{"variant": "on", "weight": 1}, {"variant": "on", "weight": 2}]);
    let members = |op: &str, members: Value| json!({"op": op, "segment": "staff", "list": "included", "members": members});
    let member = json!({"uid": "0a".repeat(16), "peer_address": "127.0.0.1:7501", "voter": true});
    let mut odd_member = member.clone();
    odd_member["peer_address"] = long(257);
    let mut founding = crate::world::bootstrap();
    founding["members"]["1"] = odd_member.clone();
    let with = |mut operation: Value, more: Value| {
        operation.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        operation
    };
    let sha256 = "0b".repeat(32);
    let invite = |more: Value| {
        let sound = json!({"op": "system.member.invite", "node_id": 4, "secret_sha256": sha256, "expires_in_ms": 60_000});
        with(sound, more)
    };
    let admit = |more: Value| {
        let sound = json!({
            "op": "system.member.admit", "node_id": 4, "secret_sha256": sha256, "uid": "0a".repeat(16),
            "peer_address": "127.0.0.1:7504"
        });
        with(sound, more)
    };
    let many: Vec<String> = (0..10_001).map(|n| n.to_string()).collect();
    let prerequisite = |variants: usize| {
        let variants: Vec<String> = (0..variants).map(|n| format!("v{n}")).collect();
        json!({"prerequisites": [{"flag": "other", "variants": variants}]})
    };
    vec![
        (
            json!({"op": "project.put", "project": {"key": "shop", "name": long(4097)}}),
            "/project/name",
            "4097",
        ),
        (
            json!({"op": "environment.put", "environment": {"key": "dev", "policy": {"freezes": [{}]}}}),
            "/environment/policy/freezes",
            "leave it out",
        ),
        (
            put("flag", &json!({"rules": [{"id": "r", "serve": {"variant": "blue"}}]})),
            "/flag/environments/dev/rules/0/serve/variant",
            "off, on",
        ),
        (
            configure(json!({"rules": [{"id": "r", "serve": weights(twice.clone())}]})),
            "/configuration/rules/0/serve/rollout/weights/1/variant",
            "add them up",
        ),
        (
            configure(
                json!({"rules": [{"id": "r", "serve": {"variant": "a"}}, {"id": "r", "serve": {"variant": "a"}}]}),
            ),
            "/configuration/rules/1/id",
            "unique",
        ),
        (
            configure(json!({"default": weights(json!([]))})),
            "/configuration/default/rollout/weights",
            "add up to 0",
        ),
        (
            configure(json!({"prerequisites": [{"flag": "flag", "variants": ["on"]}]})),
            "/configuration/prerequisites/0/flag",
            "itself",
        ),
        (configure(prerequisite(0)), "/configuration/prerequisites/0/variants", "at least one"),
        (configure(prerequisite(101)), "/configuration/prerequisites/0/variants", "at most 100"),
        (configure(json!({"hold": {"variant": "on", "id": long(257)}})), "/configuration/hold/id", "257"),
        (
            configure(json!({"targets": [{"values": ["a", long(1025)], "variant": "on"}]})),
            "/configuration/targets/0/values/1",
            "1024",
        ),
        (
            configure(json!({"targets": [{"by": "", "values": [], "variant": "on"}]})),
            "/configuration/targets/0/by",
            "name one",
        ),
        (
            json!({"op": "flag.copy", "flag": "flag", "from": "dev", "to": "staging", "parts": []}),
            "/parts",
            "at least one",
        ),
        (
            json!({"op": "flag.copy", "flag": "flag", "from": "dev", "to": "staging", "parts": ["rules", "rules"]}),
            "/parts/1",
            "already",
        ),
        (rule(json!({"name": long(257)})), "/rule/name", "257"),
        (
            rule(json!({"when": {"any": [{"attribute": "a", "op": "in", "values": []}]}})),
            "/rule/when/any/0/values",
            "1 to",
        ),
        (
            rule(json!({"when": {"attribute": "a", "op": "matches", "values": ["("]}})),
            "/rule/when/values/0",
            "regular expression",
        ),
        (
            rule(json!({"serve": weights(json!([{"variant": "on", "weight": 0}]))})),
            "/rule/serve/rollout/weights",
            "add up to 0",
        ),
        (
            on("rule.put", json!({"rule": {"id": "r", "serve": {"variant": "on"}}, "before": "r"})),
            "/before",
            "itself",
        ),
        (on("rollout.set", json!({"weights": []})), "/weights", "add up to 0"),
        (on("rollout.set", json!({"rule": "r", "weights": twice})), "/weights/1/variant", "add them up"),
        (
            on(
                "default.set",
                json!({"serve": {"rollout": {"seed": "", "weights": [{"variant": "on", "weight": 1}]}}}),
            ),
            "/serve/rollout/seed",
            "name one",
        ),
        (on("targets.add", json!({"by": long(257), "variant": "on", "values": []})), "/by", "257"),
        (on("targets.add", json!({"variant": "on", "values": ["a", long(1025)]})), "/values/1", "1024"),
        (on("targets.add", json!({"variant": "on", "values": many})), "/values", "10001"),
        (on("targets.remove", json!({"values": [long(1025)]})), "/values/0", "1024"),
        (
            json!({"op": "segment.put", "segment": {"key": "staff", "excluded": ["a", ""]}}),
            "/segment/excluded/1",
            "1 to",
        ),
        (members("segment.members.add", json!(["a", ""])), "/members/1", "1 to"),
        (members("segment.members.remove", json!([long(1025)])), "/members/0", "1 to"),
        (
            token_create("fresh", &json!([{"role": "reader", "project": "shop", "environments": []}])),
            "/token/grants/0/environments",
            "all of them",
        ),
        (json!({"op": "token.revoke", "token": "owner"}), "/token", "tok_"),
        (founding, "/members/1/peer_address", "257"),
        (invite(json!({"node_id": 0})), "/node_id", "begin with 1"),
        (invite(json!({"expires_in_ms": 0})), "/expires_in_ms", "good for"),
        (admit(json!({"uid": "0A".repeat(16)})), "/uid", "32"),
        (admit(json!({"peer_address": long(257)})), "/peer_address", "HOST:PORT"),
        (
            json!({"op": "system.membership", "members": {"1": member, "2": odd_member}}),
            "/members/2/peer_address",
            "257",
        ),
        (way_back("system.restore", json!({"operator": " "})), "/operator", "say who"),
        (way_back("system.restore", json!({"members": {"2": odd_member}})), "/members/2/peer_address", "257"),
        (way_back("system.recover", json!({"operator": long(257)})), "/operator", "257"),
        (way_back("system.recover", json!({"members": {"2": odd_member}})), "/members/2/peer_address", "257"),
        (of_key(json!({"id": "key_00000000000000000000000000000000"})), "/signing_key/id", "leave it out"),
        (
            of_key(json!({"public_key": "A".repeat(43) + "="})),
            "/signing_key/public_key",
            "no Ed25519 public key",
        ),
        (of_key(json!({"name": ""})), "/signing_key/name", "1 to 256 bytes"),
        (
            of_key(json!({"actor": {"type": "system", "id": "node-1"}})),
            "/signing_key/actor/type",
            "signs no changes",
        ),
        (json!({"op": "signing_key.revoke", "signing_key": "tok_owner000"}), "/signing_key", "key_ and 32"),
        (
            json!({"op": "audit.retention.put", "keep_days": {"access": 36_501}}),
            "/keep_days/access",
            "1 to 36500 days",
        ),
        (held(json!({"reason": " "})), "/hold/reason", "1 to 1024 bytes"),
        (held(json!({"to": 3})), "/hold/to", "at least one"),
        (removed(json!([])), "/ranges", "at least one"),
        (removed(json!([{"from": 1, "to": 3}, {"from": 3, "to": 4}])), "/ranges/1", "join"),
        (removed(json!([{"from": 1, "to": 4}])), "/records", "3 records, not 2"),
        (removed(json!([{"from": 1, "to": 10_002}])), "/ranges", "at most 10000"),
        (catalog_part(2, "c2hvcA=="), "/part", "counted from 0 to 1"),
        (catalog_part(0, "s"), "/content", "Base64"),
        (catalog_part(0, ""), "/content", "1 to 524288 bytes"),
    ]
}

/// A hold from record 3 on with other fields.
fn held(fields: Value) -> Value {
    let mut operation =
        json!({"op": "audit.hold.put", "hold": {"id": "case", "reason": "A case", "from": 3}});
    for (field, value) in fields.as_object().expect("fields") {
        operation["hold"][field] = value.clone();
    }
    operation
}

/// A removal of two records that names these.
fn removed(ranges: Value) -> Value {
    json!({"op": "audit.remove", "ranges": ranges, "records": 2, "before_ms": 0})
}

/// A part of a catalog of two.
fn catalog_part(part: u32, content: &str) -> Value {
    let catalog = json!({
        "revision": 2, "history": "0123456789abcdef", "sequence": 2, "time_ms": 0, "sha256": "ab".repeat(32), "parts": 2,
    });
    json!({"op": "audit.catalog.put", "catalog": catalog, "part": part, "content": content})
}

/// The registration of a key with other fields.
fn of_key(fields: Value) -> Value {
    let mut operation = signing_key_put("writer", 7);
    for (field, value) in fields.as_object().expect("fields") {
        operation["signing_key"][field] = value.clone();
    }
    operation
}

/// The frozen operation of this name with other fields.
fn way_back(name: &str, fields: Value) -> Value {
    let mut all = golden::operations().map(|literal| serde_json::from_str::<Value>(literal).expect(literal));
    let mut operation = all.find(|operation| operation["op"] == name).expect(name);
    for (field, value) in fields.as_object().expect("fields") {
        operation[field] = value.clone();
    }
    operation
}

#[test]
fn each_is_found_without_the_state_and_pointed_at() {
    let mut seen: BTreeSet<String> = NOTHING_TO_CHECK.iter().map(ToString::to_string).collect();
    let mut failures = Vec::new();
    for (operation, path, word) in rows() {
        let shown: String = operation.to_string().chars().take(120).collect();
        seen.insert(operation["op"].as_str().expect("a name").to_owned());
        match Operation::from_value(operation).expect(&shown).validate() {
            Ok(()) => failures.push(format!("{shown} passes")),
            Err(fault) if fault.path != path || !fault.message.contains(word) => {
                failures.push(format!("{shown}: expected {path} and {word:?}, got {fault:?}"));
            }
            Err(_) => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let all: BTreeSet<String> = Operation::NAMES.iter().map(ToString::to_string).collect();
    assert_eq!(seen, all, "each operation has a row, or nothing that could be wrong in itself");
}

#[test]
fn what_is_right_passes() {
    for literal in golden::operations() {
        Operation::from_value(serde_json::from_str(literal).expect(literal))
            .expect(literal)
            .validate()
            .expect(literal);
    }
}

/// A fault that takes the flag to see is pointed at in the operation too.
#[test]
fn faults_that_the_flag_shows_are_pointed_at() {
    let dev = json!({
        "rules": [{"id": "other", "serve": {"variant": "on"}},
                  {"id": "ramp", "serve": {"rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 1}]}}},
                  {"id": "imported", "serve": {"rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 100}], "method": "flipt_threshold"}}}],
        "targets": [{"values": ["ann"], "variant": "on"}],
        "default": {"rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 1}]}},
    });
    let mut world = World::new().with(&[put("flag", &dev)]);
    let blue = json!([{"variant": "on", "weight": 1}, {"variant": "blue", "weight": 1}]);
    for (more, path) in [
        (
            json!({"op": "rule.put", "rule": {"id": "r", "serve": {"rollout": {"seed": "s", "weights": blue}}}, "before": "ramp"}),
            "/rule/serve/rollout/weights/1/variant",
        ),
        (
            json!({"op": "rule.put", "rule": {"id": "r", "when": {"segment": "nobody"}, "serve": {"variant": "on"}}}),
            "/rule/when",
        ),
        (json!({"op": "rollout.set", "rule": "ramp", "weights": blue}), "/weights/1/variant"),
        (json!({"op": "rollout.set", "weights": blue}), "/weights/1/variant"),
        (
            json!({"op": "rollout.set", "rule": "imported", "weights": [{"variant": "on", "weight": 99}]}),
            "/weights",
        ),
        (json!({"op": "default.set", "serve": {"variant": "blue"}}), "/serve/variant"),
        (json!({"op": "targets.add", "variant": "blue", "values": ["bob"]}), "/variant"),
        (
            json!({"op": "flag.configure", "configuration": {"hold": {"variant": "blue", "id": "h"}}}),
            "/configuration/hold/variant",
        ),
    ] {
        let mut operation = more.clone();
        operation["flag"] = json!("flag");
        operation["environment"] = json!("dev");
        let rejection = world.refuse(ask(json!([operation])));
        assert_eq!(
            (code(&rejection).as_str(), rejection.path()),
            ("invalid", format!("/operations/0{path}").as_str()),
            "{more}"
        );
        assert!(!rejection.to_string().starts_with('/'), "{rejection}");
    }
}
