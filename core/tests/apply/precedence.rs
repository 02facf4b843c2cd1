//! The order of precedence: each row is wrong in two or more ways, and gets the rejection that comes first.

use serde_json::{Value, json};

use crate::{
    rejections::{CODES, place, stocked},
    world::{Ask, ask, bootstrap, code, token_create, token_id},
};

/// Everything about the change as a whole that can be wrong after its operations: no ticket where policy asks for one.
fn without_ticket(operation: Value) -> Ask {
    ask(json!([operation])).ticket(None)
}

/// For neighbours in the list: a change that is wrong in both ways. The first two are in [`crate::idempotency`], for
/// they need a full table.
fn neighbours() -> Vec<(Ask, &'static str, &'static str)> {
    let enable = |flag: &str| json!({"op": "flag.enable", "flag": flag, "environment": "dev"});
    let invalid = json!({"default": {"variant": "blue"}});
    vec![
        (ask(json!([bootstrap()])).by("revoked").project(None), "bootstrap", "unauthenticated"),
        (ask(json!([enable("gate")])).by("revoked").key("k").signed(9), "unauthenticated", "bad_signature"),
        (
            ask(json!([enable("gate")])).key("k").signed(9).project(Some("nowhere")),
            "bad_signature",
            "not_found",
        ),
        (ask(json!([enable("nothing")])).by("reader"), "not_found", "forbidden"),
        (ask(json!([enable("old")])).by("reader"), "forbidden", "conflict"),
        (
            ask(json!([{"op": "flag.enable", "flag": "old", "environment": "dev", "if_revision": 1}])),
            "conflict",
            "revision_mismatch",
        ),
        (
            ask(
                json!([{"op": "flag.configure", "flag": "gate", "environment": "dev", "configuration": invalid, "if_revision": 1}]),
            ),
            "revision_mismatch",
            "invalid",
        ),
        (
            ask(
                json!([{"op": "flag.put", "flag": {"key": "gate", "type": "boolean", "variants": {"off": false},
                "environments": {"staging": {"prerequisites": [{"flag": "nothing", "variants": ["on"]}]}}}}]),
            ),
            "invalid",
            "in_use",
        ),
        (without_ticket(json!({"op": "flag.delete", "flag": "gate"})), "in_use", "policy"),
    ]
}

#[test]
fn of_two_neighbours_the_first_is_told() {
    let mut world = stocked();
    for (ask, first, second) in neighbours() {
        let shown = ask.operations.to_string();
        let places = [first, second].map(|name| CODES.iter().position(|code| *code == name).expect(name));
        assert!(places[0] < places[1], "{first} comes before {second} in the list");
        let rejection = world.refuse(ask);
        assert_eq!(code(&rejection), first, "{shown}: {rejection}");
        assert_eq!(place(&rejection), places[0]);
    }
}

/// For each operation that has more than one way to fail: the ways, stripped one by one from the front, are told one
/// after the other.
#[test]
fn every_operation_keeps_the_order() {
    let writer_ladders = [
        // Missing, forbidden, in conflict, at another revision, invalid, in use, against policy.
        (
            "flag.put",
            json!({"flag": {"key": "gate", "type": "string", "variants": {"off": "no"},
            "environments": {"moon": {}, "dev": {"default": {"variant": "blue"}}}}, "if_revision": 1}),
        ),
        (
            "flag.configure",
            json!({"flag": "old", "environment": "dev", "configuration": {"default": {"variant": "blue"}}, "if_revision": 1}),
        ),
        (
            "rule.put",
            json!({"flag": "old", "environment": "dev", "if_revision": 1, "before": "nothing",
            "rule": {"id": "r", "serve": {"variant": "blue"}}}),
        ),
        (
            "rollout.set",
            json!({"flag": "old", "environment": "dev", "if_revision": 1, "rule": "nothing", "weights": []}),
        ),
        (
            "segment.put",
            json!({"segment": {"key": "staff", "when": {"segment": "nobody"}}, "if_revision": 1}),
        ),
        (
            "segment.members.add",
            json!({"segment": "staff", "list": "included", "members": [""], "if_revision": 1}),
        ),
        ("flag.archive", json!({"flag": "gone", "if_revision": 1})),
        ("flag.delete", json!({"flag": "gate", "if_revision": 1})),
        ("segment.delete", json!({"segment": "staff", "if_revision": 1})),
    ];
    // What to mend, in turn, and the code of what is wrong next. `null` takes a field away.
    let mends: [&[(&str, Value, &str)]; 9] = [
        &[
            ("", json!(null), "not_found"),
            ("/flag/environments/moon", json!(null), "forbidden"),
            ("by", json!("owner"), "conflict"),
            ("/flag/type", json!("boolean"), "revision_mismatch"),
            ("/if_revision", json!(null), "invalid"),
            ("/flag/variants/off", json!(false), "invalid"),
            ("/flag/environments/dev", json!(null), "in_use"),
            ("/flag/variants/on", json!(true), "policy"),
        ],
        &[
            ("", json!(null), "forbidden"),
            ("by", json!("owner"), "conflict"),
            ("/flag", json!("gate"), "revision_mismatch"),
            ("/if_revision", json!(null), "invalid"),
        ],
        &[
            ("", json!(null), "not_found"),
            ("/before", json!(null), "forbidden"),
            ("by", json!("owner"), "conflict"),
            ("/flag", json!("gate"), "revision_mismatch"),
            ("/if_revision", json!(null), "invalid"),
        ],
        &[
            ("", json!(null), "not_found"),
            ("/rule", json!(null), "forbidden"),
            ("by", json!("owner"), "conflict"),
            ("/flag", json!("gate"), "revision_mismatch"),
            ("/if_revision", json!(null), "invalid"),
        ],
        &[
            ("", json!(null), "forbidden"),
            ("by", json!("owner"), "revision_mismatch"),
            ("/if_revision", json!(null), "invalid"),
        ],
        &[
            ("", json!(null), "forbidden"),
            ("by", json!("owner"), "revision_mismatch"),
            ("/if_revision", json!(null), "invalid"),
        ],
        &[
            ("", json!(null), "forbidden"),
            ("by", json!("owner"), "conflict"),
            ("/flag", json!("gate"), "revision_mismatch"),
            ("/if_revision", json!(null), "in_use"),
            ("/flag", json!("checkout"), "policy"),
        ],
        &[
            ("", json!(null), "forbidden"),
            ("by", json!("owner"), "revision_mismatch"),
            ("/if_revision", json!(null), "in_use"),
            ("/flag", json!("checkout"), "policy"),
        ],
        &[
            ("", json!(null), "forbidden"),
            ("by", json!("owner"), "revision_mismatch"),
            ("/if_revision", json!(null), "in_use"),
        ],
    ];
    let mut world = stocked();
    for ((name, mut operation), mends) in writer_ladders.into_iter().zip(mends) {
        operation["op"] = json!(name);
        let mut role = "reader".to_owned();
        for (what, value, expected) in mends {
            match (*what, value) {
                ("", _) => {}
                ("by", value) => value.as_str().expect("a role").clone_into(&mut role),
                (pointer, value) => set(&mut operation, pointer, value),
            }
            let rejection = world.refuse(without_ticket(operation.clone()).by(&role));
            assert_eq!(code(&rejection), *expected, "{name} after {what}: {rejection}");
        }
    }
}

/// Sets the field at a JSON pointer; `null` takes it away.
fn set(value: &mut Value, pointer: &str, to: &Value) {
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
    let parent = value.pointer_mut(parent).and_then(Value::as_object_mut).expect(pointer);
    if to.is_null() {
        parent.remove(field);
    } else {
        parent.insert(field.to_owned(), to.clone());
    }
}

#[test]
fn tokens_and_environments_keep_the_order_too() {
    let mut world = stocked();
    let grant = |project: &str, environment: &str| json!([{"role": "writer", "project": project, "environments": [environment]}]);
    let create = |role: &str, grants: &Value| {
        let mut operation = token_create(role, grants);
        operation["if_revision"] = json!(1);
        operation["token"]["name"] = json!("");
        operation
    };
    let delete =
        |environment: &str| json!({"op": "environment.delete", "environment": environment, "if_revision": 1});
    for (role, operation, project, expected) in [
        ("operator", create("reader", &grant("shop", "moon")), None, "not_found"),
        ("operator", create("reader", &grant("other", "dev")), None, "not_found"),
        ("operator", create("reader", &grant("shop", "dev")), None, "forbidden"),
        ("owner", create("reader", &grant("shop", "dev")), None, "conflict"),
        ("owner", create("fresh", &grant("shop", "dev")), None, "revision_mismatch"),
        ("writer", delete("moon"), Some("shop"), "not_found"),
        ("writer", delete("dev"), Some("shop"), "forbidden"),
        ("operator", delete("dev"), Some("shop"), "revision_mismatch"),
        ("stranger", json!({"op": "token.revoke", "token": token_id("reader")}), None, "not_found"),
        ("writer", json!({"op": "token.revoke", "token": token_id("reader")}), None, "forbidden"),
    ] {
        let rejection = world.refuse(without_ticket(operation.clone()).by(role).project(project));
        assert_eq!(code(&rejection), expected, "{role} {operation}: {rejection}");
    }
}

#[test]
fn the_first_faulty_operation_decides() {
    let mut world = stocked();
    let invalid =
        json!({"op": "default.set", "flag": "gate", "environment": "dev", "serve": {"variant": "blue"}});
    let missing = json!({"op": "flag.enable", "flag": "nothing", "environment": "dev"});
    let good = json!({"op": "flag.disable", "flag": "gate", "environment": "dev"});
    let rejection = world.refuse(ask(json!([good, invalid, missing])));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", "/operations/1/serve/variant"));
    let rejection = world.refuse(ask(json!([good, missing, invalid])));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("not_found", "/operations/1/flag"));
}
