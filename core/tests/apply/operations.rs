//! What operations do beyond the table of them: where rules stand, which targets move, what comes back.

use flagraft_core::{
    apply::apply, identity::LogPosition, limits::FLAGS_MAX, project::Flag, proposal::Proposal,
    reply::Outcome, segment::MemberList, state::State,
};
use serde_json::{Value, json};

use crate::world::{World, after, ask, boolean_flag, code, put};

fn dev(flag: &Flag) -> Value {
    serde_json::to_value(&flag.environments["dev"]).expect("a configuration")
}

fn rule_ids(world: &World) -> Vec<String> {
    world.flag("flag").environments["dev"].rules.iter().map(|rule| rule.id.to_string()).collect()
}

#[test]
fn a_rule_stays_where_it_stands_unless_it_is_moved() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let mut rule = |id: &str, before: Option<&str>, expected: &[&str]| {
        let mut operation = json!({"op": "rule.put", "flag": "flag", "environment": "dev", "rule": {"id": id, "serve": {"variant": "on"}}});
        if let Some(before) = before {
            operation["before"] = json!(before);
        }
        world.ask(ask(json!([operation])));
        assert_eq!(rule_ids(&world), expected);
    };
    rule("a", None, &["a"]);
    rule("b", None, &["a", "b"]);
    rule("c", Some("b"), &["a", "c", "b"]);
    rule("a", None, &["a", "c", "b"]);
    rule("a", Some("b"), &["c", "a", "b"]);
    rule("b", Some("c"), &["b", "c", "a"]);
    // A rule cannot stand before itself or before one that is not there: nothing changes.
    rule("b", Some("b"), &["b", "c", "a"]);
    rule("b", Some("z"), &["b", "c", "a"]);
}

#[test]
fn a_value_has_one_variant_and_moves() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let mut targets = |op: &str, by: &str, variant: &str, values: &[&str], expected: Value| {
        let mut operation =
            json!({"op": op, "flag": "flag", "environment": "dev", "by": by, "values": values});
        if op == "targets.add" {
            operation["variant"] = json!(variant);
        }
        world.ask(ask(json!([operation])));
        assert_eq!(dev(world.flag("flag"))["targets"], expected);
    };
    let target =
        |by: &str, variant: &str, values: &[&str]| json!({"by": by, "values": values, "variant": variant});
    targets(
        "targets.add",
        "targetingKey",
        "on",
        &["a", "b"],
        json!([target("targetingKey", "on", &["a", "b"])]),
    );
    targets(
        "targets.add",
        "targetingKey",
        "off",
        &["b", "c"],
        json!([target("targetingKey", "on", &["a"]), target("targetingKey", "off", &["b", "c"])]),
    );
    let by_org = target("org", "on", &["b"]);
    targets(
        "targets.add",
        "org",
        "on",
        &["b"],
        json!([target("targetingKey", "on", &["a"]), target("targetingKey", "off", &["b", "c"]), by_org]),
    );
    // The one that has no values left goes.
    targets(
        "targets.remove",
        "targetingKey",
        "",
        &["a", "b"],
        json!([target("targetingKey", "off", &["c"]), by_org]),
    );
}

#[test]
fn a_copy_takes_the_parts_that_are_named() {
    let full = json!({
        "enabled": true, "targets": [{"values": ["ann"], "variant": "on"}], "default": {"variant": "on"},
        "rules": [{"id": "r", "serve": {"variant": "on"}}], "off_variant": "on", "safe_variant": "on",
    });
    let world = World::new().with(&[put("base", &after(&[])), put("flag", &full)]);
    let mut world = world.with(&[json!({"op": "flag.configure", "flag": "flag", "environment": "dev",
        "configuration": {"enabled": true, "prerequisites": [{"flag": "base", "variants": ["on"]}],
            "targets": full["targets"], "rules": full["rules"], "default": full["default"], "off_variant": "on", "safe_variant": "on"}})]);
    let source = dev(world.flag("flag"));
    let parts: [(&str, &[&str]); 5] = [
        ("enabled", &["/enabled"]),
        ("prerequisites", &["/prerequisites"]),
        ("targets", &["/targets"]),
        ("rules", &["/rules"]),
        ("default", &["/default", "/off_variant", "/safe_variant"]),
    ];
    for (part, copied) in parts {
        let reset =
            json!({"op": "flag.configure", "flag": "flag", "environment": "staging", "configuration": {}});
        world.ask(ask(json!([reset, {"op": "flag.copy", "flag": "flag", "from": "dev", "to": "staging", "parts": [part]}])));
        let staging =
            serde_json::to_value(&world.flag("flag").environments["staging"]).expect("a configuration");
        let all = parts.iter().flat_map(|(_, pointers)| pointers.iter());
        for pointer in all {
            let is_copied = copied.contains(pointer);
            assert_eq!(staging.pointer(pointer) == source.pointer(pointer), is_copied, "{part}: {pointer}");
        }
    }
    // From where it was never configured: the defaults.
    world.must(ask(
        json!([{"op": "flag.copy", "flag": "flag", "from": "production", "to": "dev", "parts": ["enabled"]}]),
    ));
    assert_eq!(dev(world.flag("flag"))["enabled"], json!(false));
    let rejection =
        world.refuse(ask(json!([{"op": "flag.copy", "flag": "flag", "from": "dev", "to": "moon"}])));
    assert_eq!(rejection.path(), "/operations/0/to");
}

#[test]
fn a_flag_comes_back_disabled_everywhere() {
    for gone in ["flag.archive", "flag.delete"] {
        let mut world = World::new().with(&[put("flag", &after(&[]))]);
        world.must(ask(json!([
            {"op": "flag.enable", "flag": "flag", "environment": "production"},
            // A hold wins over the switch, so it must not come back either.
            {"op": "flag.configure", "flag": "flag", "environment": "dev",
             "configuration": {"enabled": true, "hold": {"variant": "on", "id": "emergency"}}},
        ])));
        let enabled = world.flag("flag").clone();
        world.must(ask(json!([{"op": gone, "flag": "flag"}])));
        assert!(world.shop().live_flag("flag").is_none());
        // Its key does not come back by a put.
        assert_eq!(code(&world.refuse(ask(json!([put("flag", &after(&[]))])))), "conflict");
        world.must(ask(json!([{"op": "flag.restore", "flag": "flag"}])));
        let restored = world.flag("flag");
        assert!(restored.is_live());
        assert_eq!(restored.definition, enabled.definition);
        for (environment, configuration) in &restored.environments {
            let mut expected = enabled.environments[environment].to_spec();
            expected.enabled = false;
            expected.hold = None;
            assert_eq!(configuration.to_spec(), expected, "{environment} after {gone}");
            assert_eq!(restored.system.environments[environment], world.state.revision());
        }
    }
}

/// What an archived flag relied on may have gone meanwhile.
#[test]
fn a_flag_whose_ground_has_gone_does_not_come_back() {
    let mut world = World::new().with(&[
        put("base", &after(&[])),
        put("flag", &after(&["base"])),
        json!({"op": "flag.archive", "flag": "flag"}),
        json!({"op": "flag.delete", "flag": "base"}),
    ]);
    let rejection = world.refuse(ask(json!([{"op": "flag.restore", "flag": "flag"}])));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("conflict", "/operations/0/flag"));
    assert!(rejection.to_string().contains("base"), "{rejection}");
    world.must(ask(json!([{"op": "flag.restore", "flag": "base"}, {"op": "flag.restore", "flag": "flag"}])));
}

/// A put names the environments that it replaces; the others stay.
#[test]
fn a_put_leaves_the_environments_that_it_does_not_name() {
    let mut world = World::new().with(&[
        put("flag", &after(&[])),
        json!({"op": "flag.enable", "flag": "flag", "environment": "staging"}),
    ]);
    let staging = world.flag("flag").environments["staging"].clone();
    world.must(ask(json!([put("flag", &json!({"enabled": false}))])));
    assert_eq!(world.flag("flag").environments["staging"], staging);
    assert!(!world.flag("flag").environments["dev"].enabled);
}

/// A variant that goes together with the last configuration that named it is not in use.
#[test]
fn a_put_may_remove_a_variant_with_its_last_use() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let mut flag = boolean_flag("flag", &json!({"enabled": true, "default": {"variant": "off"}}));
    flag["variants"] = json!({"off": false});
    let mut without_environment = flag.clone();
    without_environment.as_object_mut().expect("an object").remove("environments");
    let rejection = world.refuse(ask(json!([{"op": "flag.put", "flag": without_environment}])));
    assert_eq!(code(&rejection), "in_use");
    assert!(rejection.to_string().contains("environment dev"), "{rejection}");
    world.must(ask(json!([{"op": "flag.put", "flag": flag}])));
}

/// Bug: the flag's revision, its ETag, is the greatest of its parts; when the environment that had it was deleted the
/// flag fell back to an ETag that had meant something else.
#[test]
fn a_flags_revision_never_falls_when_an_environment_goes() {
    let mut world = World::new().with(&[
        put("flag", &after(&[])),
        json!({"op": "flag.enable", "flag": "flag", "environment": "staging"}),
    ]);
    let before = world.flag("flag").revision();
    world.must(ask(json!([{"op": "environment.delete", "environment": "staging"}])));
    assert!(world.flag("flag").revision() > before);
}

#[test]
fn what_one_gets_one_may_put() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let document = world.flag("flag").to_document();
    assert!(document.get("system").is_some());
    let applied = world.ask(ask(json!([{"op": "flag.put", "flag": document}])));
    assert!(matches!(applied.reply.outcome, Outcome::Unchanged { .. }));
}

#[test]
fn a_segment_of_many_members_changes_row_by_row() {
    const MEMBERS: usize = 5_000;
    let mut world = World::new().with(&[json!({"op": "segment.put", "segment": {"key": "crowd"}})]);
    let members: Vec<String> = (0..MEMBERS).map(|n| format!("user-{n}")).collect();
    let change = |op: &str, members: &[String]| {
        ask(json!([{"op": op, "segment": "crowd", "list": "included", "members": members}]))
    };
    let added = world.must(change("segment.members.add", &members));
    assert!(added.writes.len() > MEMBERS);
    let crowd = |world: &World| world.shop().segments["crowd"].segment.members(MemberList::Included).len();
    assert_eq!(crowd(&world), MEMBERS);
    // One more costs one member's row, the segment's, the request's and the meta row; not the whole list.
    let one_more = world.must(change("segment.members.add", &["user-x".to_owned(), "user-1".to_owned()]));
    assert_eq!(one_more.writes.len(), 4);
    world.must(change("segment.members.remove", &members));
    assert_eq!(crowd(&world), 1);
    world.must(ask(json!([{"op": "segment.delete", "segment": "crowd"}])));
    assert!(!world.stored.keys().any(|key| (0x13..=0x15).contains(&key[0])), "its members went with it");
}

/// So a segment can be renamed without sending its members, of whom there may be a million.
#[test]
fn a_segment_that_is_put_without_a_list_keeps_it() {
    let mut world = World::new().with(&[
        json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ann"], "excluded": ["bob"]}}),
        json!({"op": "segment.put", "segment": {"key": "staff", "name": "Staff"}}),
    ]);
    let lists = |world: &World| {
        let spec = world.shop().segments["staff"].segment.to_spec();
        (spec.included.unwrap_or_default(), spec.excluded.unwrap_or_default())
    };
    assert_eq!(lists(&world), (vec!["ann".to_owned()], vec!["bob".to_owned()]));
    world.must(ask(
        json!([{"op": "segment.put", "segment": {"key": "staff", "name": "Staff", "included": []}}]),
    ));
    assert_eq!(lists(&world), (vec![], vec!["bob".to_owned()]), "an empty list is one");
    let same = json!({"op": "segment.put", "segment": {"key": "staff", "name": "Staff"}});
    assert!(matches!(world.ask(ask(json!([same]))).reply.outcome, Outcome::Unchanged { .. }));
}

/// An environment that comes again under an old key begins as one that no flag was ever configured in.
#[test]
fn a_new_environment_of_an_old_key_is_new() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    world.must(ask(json!([{"op": "environment.delete", "environment": "dev"}])));
    world.must(ask(json!([{"op": "environment.put", "environment": {"key": "dev"}}])));
    assert!(world.flag("flag").environments.is_empty());
    let enable = |revision: u64| json!([{"op": "flag.enable", "flag": "flag", "environment": "dev", "if_revision": revision}]);
    let stale = world.flag("flag").revision();
    assert_eq!(code(&world.refuse(ask(enable(stale)))), "revision_mismatch");
    world.must(ask(enable(0)));
}

#[test]
fn a_project_goes_with_all_that_is_in_it() {
    let mut world = World::new().with(&[
        json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ann"], "excluded": ["bob"]}}),
        put("flag", &after(&[])),
    ]);
    world.must(ask(json!([{"op": "project.delete"}])));
    assert!(world.state.project("shop").is_none());
    let of_the_shop = |key: &Vec<u8>| (0x10..0x20).contains(&key[0]) && key[1..].starts_with(b"shop");
    assert!(!world.stored.keys().any(of_the_shop));
    assert!(world.state.project("other").is_some());
    // A new project of the same key begins empty.
    world.must(ask(json!([{"op": "project.put", "project": {"key": "shop"}}])));
    assert!(world.shop().flags.is_empty());
}

#[test]
fn a_rollout_is_set_where_there_is_one() {
    let rollout = json!({"rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 1}]}});
    let mut world =
        World::new().with(&[put("flag", &json!({"default": rollout})), put("plain", &after(&[]))]);
    let set = |flag: &str| {
        let weights = json!([{"variant": "on", "weight": 1}, {"variant": "off", "weight": 9}]);
        ask(json!([{"op": "rollout.set", "flag": flag, "environment": "dev", "weights": weights}]))
    };
    world.must(set("flag"));
    assert_eq!(dev(world.flag("flag"))["default"]["rollout"]["weights"][1]["weight"], json!(9));
    let rejection = world.refuse(set("plain"));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", "/operations/0/rule"));
    assert!(rejection.to_string().contains("default.set"), "{rejection}");
}

/// The state with this many more flags, made from one of its own.
fn with_flags(world: &World, like: &str, count: usize) -> State {
    let shop: Vec<(Vec<u8>, Vec<u8>)> = world.state.rows().collect();
    let key = [b"\x12shop\0".as_slice(), like.as_bytes()].concat();
    let (_, row) = shop.iter().find(|(found, _)| *found == key).expect("a row of the flag").clone();
    let row = String::from_utf8(row).expect("JSON");
    let copies = (0..count).map(|n| {
        let name = format!("copy-{n}");
        let key = [b"\x12shop\0".as_slice(), name.as_bytes()].concat();
        (key, row.replace(&format!("\"key\":\"{like}\""), &format!("\"key\":\"{name}\"")).into_bytes())
    });
    State::from_rows(shop.iter().cloned().chain(copies)).expect("rows of a state")
}

/// Flags that are archived or deleted do not fill a project; their keys have a limit of their own.
#[test]
fn only_live_flags_count() {
    let mut world = World::new().with(&[
        put("flag", &json!({})),
        put("gone", &json!({})),
        json!({"op": "flag.delete", "flag": "gone"}),
    ]);
    let another = world.proposal(ask(json!([put("another", &json!({}))])));
    let restore = world.proposal(ask(json!([{"op": "flag.restore", "flag": "gone"}])));
    let at = LogPosition { term: 1, index: 1_000 };
    let outcome = |state: &State, proposal: &Proposal| {
        let outcome = apply(state, proposal, at).reply.outcome;
        outcome.rejection().map(ToString::to_string)
    };
    let nearly = with_flags(&world, "flag", FLAGS_MAX - 2);
    assert_eq!((outcome(&nearly, &another), outcome(&nearly, &restore)), (None, None));
    let full = with_flags(&world, "flag", FLAGS_MAX - 1);
    for proposal in [&another, &restore] {
        assert!(outcome(&full, proposal).expect("full").contains("archive some"));
    }
    let buried = with_flags(&world, "gone", FLAGS_MAX + 1);
    assert_eq!(outcome(&buried, &another), None);
}
