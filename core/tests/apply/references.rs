//! What objects say of each other: cycles, chains, and what is missing, refused when proposed.

use flagraft_core::reply::Outcome;
use serde_json::{Value, json};

use crate::world::{World, after, ask, code, put};

fn named(key: &str, segments: &[&str]) -> Value {
    let any: Vec<Value> = segments.iter().map(|segment| json!({"segment": segment})).collect();
    json!({"op": "segment.put", "segment": {"key": key, "when": {"any": any}}})
}

#[test]
fn flags_do_not_depend_on_each_other_in_a_cycle() {
    let mut world =
        World::new().with(&[put("a", &after(&[])), put("b", &after(&["a"])), put("c", &after(&["b"]))]);
    let rejection = world.refuse(ask(json!([put("a", &after(&["c"]))])));
    assert_eq!(
        (code(&rejection).as_str(), rejection.path()),
        ("invalid", "/operations/0/flag/environments/dev/prerequisites")
    );
    assert!(rejection.to_string().contains("a -> c -> b -> a"), "{rejection}");
    let itself = world.refuse(ask(json!([put("a", &after(&["a"]))])));
    assert_eq!(itself.path(), "/operations/0/flag/environments/dev/prerequisites/0/flag");
    // Turned round one after the other, within one change.
    world.must(ask(json!([put("c", &after(&[])), put("b", &after(&[])), put("a", &after(&["c"]))])));
    // Across two operations of one change, both by themselves harmless.
    let rejection =
        world.refuse(ask(json!([put("x", &after(&[])), put("y", &after(&["x"])), put("x", &after(&["y"]))])));
    assert_eq!(rejection.path(), "/operations/2/flag/environments/dev/prerequisites");
    // In different environments they are no cycle.
    let staging = json!({"op": "flag.configure", "flag": "c", "environment": "staging", "configuration": after(&["a"])});
    world.must(ask(json!([staging])));
    // But a copy would make them one.
    let copy =
        json!({"op": "flag.copy", "flag": "a", "from": "dev", "to": "staging", "parts": ["prerequisites"]});
    assert_eq!(world.refuse(ask(json!([copy]))).path(), "/operations/0/to");
}

#[test]
fn segments_do_not_name_each_other_in_a_cycle() {
    let mut world = World::new().with(&[named("a", &[]), named("b", &["a"]), named("c", &["b"])]);
    let rejection = world.refuse(ask(json!([named("a", &["c"])])));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", "/operations/0/segment/when"));
    assert!(rejection.to_string().contains("a -> c -> b -> a"), "{rejection}");
    assert_eq!(world.refuse(ask(json!([named("a", &["a"])]))).path(), "/operations/0/segment/when");
    assert_eq!(world.refuse(ask(json!([named("d", &["nobody"])]))).path(), "/operations/0/segment/when");
    let rejection = world.refuse(ask(json!([named("x", &[]), named("y", &["x"]), named("x", &["y"])])));
    assert_eq!(rejection.path(), "/operations/2/segment/when");
    // One that an environment alone would close is one.
    let mut override_in_dev = named("a", &[]);
    override_in_dev["segment"]["environments"] = json!({"dev": {"when": {"segment": "c"}}});
    assert_eq!(code(&world.refuse(ask(json!([override_in_dev])))), "invalid");
}

#[test]
fn a_chain_has_its_length() {
    let mut world = World::new().with(&[put("flag-1", &after(&[])), named("segment-1", &[])]);
    for n in 2..=16 {
        let (flag, segment) = (format!("flag-{}", n - 1), format!("segment-{}", n - 1));
        world.must(ask(json!([
            put(&format!("flag-{n}"), &after(&[&flag])),
            named(&format!("segment-{n}"), &[&segment])
        ])));
    }
    let rejection = world.refuse(ask(json!([put("flag-17", &after(&["flag-16"]))])));
    assert!(rejection.to_string().contains("longer than 16"), "{rejection}");
    assert_eq!(code(&world.refuse(ask(json!([named("segment-17", &["segment-16"])])))), "invalid");
    // Lengthened from below it is refused as well.
    world.must(ask(json!([put("flag-0", &after(&[])), named("segment-0", &[])])));
    assert_eq!(code(&world.refuse(ask(json!([put("flag-1", &after(&["flag-0"]))])))), "invalid");
    assert_eq!(code(&world.refuse(ask(json!([named("segment-1", &["segment-0"])])))), "invalid");
}

#[test]
fn what_is_depended_on_stays() {
    let mut world = World::new().with(&[
        named("staff", &[]),
        named("people", &["staff"]),
        put("base", &after(&[])),
        put("flag", &after(&["base"])),
    ]);
    for operation in [
        json!({"op": "flag.archive", "flag": "base"}),
        json!({"op": "flag.delete", "flag": "base"}),
        json!({"op": "segment.delete", "segment": "staff"}),
        json!({"op": "flag.put", "flag": {"key": "base", "type": "boolean", "variants": {"off": false}, "environments": {"dev": {}}}}),
    ] {
        let shown = operation.to_string();
        assert_eq!(code(&world.refuse(ask(json!([operation])))), "in_use", "{shown}");
    }
    // Gone together, the dependant first.
    world.must(ask(json!([{"op": "flag.delete", "flag": "flag"}, {"op": "flag.delete", "flag": "base"},
        {"op": "segment.delete", "segment": "people"}, {"op": "segment.delete", "segment": "staff"}])));
}

#[test]
fn a_prerequisite_names_a_variant_that_there_is() {
    let mut world = World::new().with(&[put("base", &after(&[]))]);
    let on_blue = json!({"prerequisites": [{"flag": "base", "variants": ["on", "blue"]}]});
    let rejection = world.refuse(ask(json!([put("flag", &on_blue)])));
    assert_eq!(rejection.path(), "/operations/0/flag/environments/dev/prerequisites/0/variants");
    assert!(rejection.to_string().contains("\"blue\""), "{rejection}");
}

/// What names an environment names one that there is, and lets go of it when it is deleted: what one reads one may put.
#[test]
fn an_environment_is_named_while_it_is_there() {
    let mut world = World::new();
    let segment = |environment: &str| json!({"op": "segment.put", "segment": {"key": "staff", "environments": {environment: {"included": ["ann"]}}}});
    let tested = |environment: &str| {
        let mut flag = put("flag", &after(&[]));
        flag["flag"]["tests"] = json!([
            {"name": "a", "environment": "staging", "variant": "on"},
            {"name": "b", "environment": environment, "variant": "on"},
        ]);
        flag
    };
    for (operation, path) in [
        (segment("moon"), "/operations/0/segment/environments/moon"),
        (tested("moon"), "/operations/0/flag/tests/1/environment"),
    ] {
        let rejection = world.refuse(ask(json!([operation])));
        assert_eq!((code(&rejection).as_str(), rejection.path()), ("not_found", path));
    }
    world.must(ask(json!([segment("production"), tested("production")])));
    world.must(ask(json!([put("archived", &after(&[])), tested("production"),
        {"op": "flag.archive", "flag": "archived"}])));
    let flag = world.flag("flag").revision();
    world.must(ask(json!([{"op": "environment.delete", "environment": "production"}])));
    let now = world.state.revision();
    let staff = &world.shop().segments["staff"];
    assert_eq!((staff.segment.to_spec().environments.len(), staff.revision), (0, now));
    let names: Vec<&str> =
        world.flag("flag").definition.tests.iter().map(|test| test.name.as_str()).collect();
    assert_eq!(names, ["a"]);
    assert!(world.flag("flag").revision() == now && now > flag, "its ETag moves");
    // So both can be put as they are read.
    let document = world.flag("flag").to_document();
    let segment = serde_json::to_value(staff.segment.to_spec()).expect("JSON");
    let applied = world
        .ask(ask(json!([{"op": "flag.put", "flag": document}, {"op": "segment.put", "segment": segment}])));
    assert!(matches!(applied.reply.outcome, Outcome::Unchanged { .. }), "{:?}", applied.reply.outcome);
}
