//! What a change means for critical flags: whether it touches what one depends on, and whether it makes one.

use serde_json::{Value, json};

use crate::world::{World, after, ask, put};

fn critical(key: &str, dev: &Value) -> Value {
    let mut operation = put(key, dev);
    operation["flag"]["critical"] = json!(true);
    operation["flag"]["safe_variant"] = json!("off");
    operation
}

/// `gate` is critical: it depends on `base` and uses `staff`, which uses `people`. `plain` stands apart.
fn shop() -> World {
    let mut gate = after(&["base"]);
    gate["rules"] = json!([{"id": "r", "when": {"segment": "staff"}, "serve": {"variant": "on"}}]);
    World::new().with(&[
        json!({"op": "segment.put", "segment": {"key": "people"}}),
        json!({"op": "segment.put", "segment": {"key": "staff", "when": {"segment": "people"}}}),
        json!({"op": "segment.put", "segment": {"key": "apart"}}),
        put("base", &after(&[])),
        put("plain", &after(&[])),
        critical("gate", &gate),
    ])
}

#[test]
fn a_change_touches_a_critical_flag_through_all_that_it_depends_on() {
    let switch = |flag: &str| json!({"op": "flag.disable", "flag": flag, "environment": "dev"});
    let add = |segment: &str| json!({"op": "segment.members.add", "segment": segment, "list": "included", "members": ["ann"]});
    for (operation, expected) in [
        (switch("gate"), true),
        (switch("base"), true),
        (switch("plain"), false),
        (add("staff"), true),
        (add("people"), true),
        (add("apart"), false),
        (critical("new", &after(&[])), true),
        (json!({"op": "flag.archive", "flag": "gate"}), true),
        (
            json!({"op": "flag.put", "flag": {"key": "gate", "type": "boolean", "variants": {"on": true, "off": false}}}),
            true,
        ),
        (json!({"op": "project.delete"}), true),
        (json!({"op": "environment.put", "environment": {"key": "dev", "order": 1}}), false),
    ] {
        let mut world = shop();
        world.must(ask(json!([operation])));
        assert_eq!(world.last_record().touches.critical, expected, "{operation}");
    }
}

#[test]
fn a_change_promotes_what_it_makes_critical() {
    let gone = json!({"op": "flag.archive", "flag": "gate"});
    for (before, operation, expected) in [
        (vec![], critical("new", &after(&[])), true),
        (vec![], critical("plain", &after(&[])), true),
        // Critical by what it depends on, directly or further down.
        (vec![], put("plain", &after(&["gate"])), true),
        (vec![put("middle", &after(&["gate"]))], put("plain", &after(&["middle"])), true),
        (vec![], put("plain", &after(&["base"])), false),
        // It was critical already.
        (vec![], json!({"op": "flag.disable", "flag": "gate", "environment": "dev"}), false),
        (vec![put("plain", &after(&["gate"]))], put("plain", &after(&["gate", "base"])), false),
        (vec![], put("gate", &after(&[])), false),
        // Restored, it is read again.
        (vec![gone], json!({"op": "flag.restore", "flag": "gate"}), true),
    ] {
        let mut world = shop().with(&before);
        let applied = world.must(ask(json!([operation])));
        assert_eq!(applied.reply.promotes_critical, expected, "{operation}");
    }
}

/// In another environment it was not critical before.
#[test]
fn a_flag_that_is_critical_in_one_environment_may_become_so_in_another() {
    let mut world = shop().with(&[put("plain", &after(&["gate"]))]);
    let copy = json!({"op": "flag.copy", "flag": "plain", "from": "dev", "to": "staging"});
    assert!(world.must(ask(json!([copy]))).reply.promotes_critical);
}

#[test]
fn a_rejected_change_promotes_nothing() {
    let mut world = shop();
    let bad = json!({"op": "flag.enable", "flag": "nothing", "environment": "dev"});
    let applied = world.ask(ask(json!([critical("new", &after(&[])), bad])));
    assert!(applied.reply.outcome.rejection().is_some());
    assert!(!applied.reply.promotes_critical);
    assert!(!world.last_record().touches.critical);
}
