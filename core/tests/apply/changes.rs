//! A change as a whole: all or nothing, its revision, what it expects, whose policy it must satisfy.

use flagraft_core::{
    apply::apply, identity::LogPosition, key::EnvironmentKey, record::Record, reply::Outcome, state::State,
};
use serde_json::{Value, json};

use crate::world::{Ask, World, after, ask, code, put};

fn switch(op: &str, environment: &str) -> Value {
    json!({"op": op, "flag": "flag", "environment": environment})
}

fn catalog(state: &State) -> Vec<(Vec<u8>, Vec<u8>)> {
    state.rows().filter(|(key, _)| (0x10..=0x20).contains(&key[0])).collect()
}

#[test]
fn of_a_hundred_operations_the_last_one_spoils_all() {
    let mut world = World::new();
    let mut operations: Vec<Value> = (0..99).map(|n| put(&format!("flag-{n}"), &after(&[]))).collect();
    operations.push(json!({"op": "flag.enable", "flag": "nothing", "environment": "dev"}));
    let before = (catalog(&world.state), world.state.revision());
    let rejection = world.refuse(ask(json!(operations)));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("not_found", "/operations/99/flag"));
    assert_eq!((catalog(&world.state), world.state.revision()), before);
    // The record keeps what was asked for.
    assert_eq!(world.last_record().operations.len(), 100);

    operations[99] = json!({"op": "flag.enable", "flag": "flag-0", "environment": "staging"});
    world.must(ask(json!(operations)));
    assert_eq!(world.state.revision(), before.1 + 1, "one change takes one revision");
    assert_eq!(world.shop().flags.len(), 99);

    operations.push(switch("flag.enable", "dev"));
    let rejection = world.refuse(ask(json!(operations)));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", "/operations"));
}

/// A later operation sees what an earlier one made.
#[test]
fn operations_build_on_each_other() {
    let mut world = World::new();
    let operations = json!([
        {"op": "segment.put", "segment": {"key": "staff"}},
        put("flag", &json!({"rules": [{"id": "r", "when": {"segment": "staff"}, "serve": {"variant": "on"}}]})),
        switch("flag.enable", "dev"),
        {"op": "rule.delete", "flag": "flag", "environment": "dev", "rule": "r"},
        {"op": "segment.delete", "segment": "staff"},
    ]);
    world.must(ask(operations));
    assert!(world.flag("flag").environments["dev"].enabled);
    assert!(world.shop().segments.is_empty());
}

/// What adds up to nothing still takes a revision when it wrote, and none when it did not.
#[test]
fn only_what_is_accepted_takes_a_revision() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let (revision, sequence) = (world.state.revision(), world.state.sequence());
    let unchanged = world.ask(ask(json!([switch("flag.enable", "dev"), put("flag", &after(&[]))])));
    assert_eq!(unchanged.reply.outcome, Outcome::Unchanged { revision, sequence });
    world.refuse(ask(json!([switch("flag.enable", "moon")])));
    let accepted = world.must(ask(json!([switch("flag.disable", "dev")])));
    assert_eq!(accepted.reply.outcome, Outcome::Accepted { revision: revision + 1, sequence: sequence + 2 });
}

#[test]
fn an_expected_revision_is_that_of_the_object() {
    let mut world = World::new()
        .with(&[put("flag", &after(&[])), json!({"op": "segment.put", "segment": {"key": "staff"}})]);
    let put_at = world.flag("flag").revision();
    world.must(ask(json!([switch("flag.enable", "staging")])));
    let enabled_at = world.state.revision();
    let expecting = |mut operation: Value, revision: u64| {
        operation["if_revision"] = json!(revision);
        ask(json!([operation]))
    };
    // An operation on one environment compares with that environment alone.
    for (operation, right, wrong) in [
        (switch("flag.disable", "dev"), put_at, enabled_at),
        (switch("flag.disable", "staging"), enabled_at, put_at),
        (switch("flag.enable", "production"), 0, enabled_at),
        (put("new", &after(&[])), 0, 1),
        (
            json!({"op": "segment.members.add", "segment": "staff", "list": "included", "members": ["ann"]}),
            world.shop().segments["staff"].revision,
            enabled_at,
        ),
        (
            json!({"op": "environment.put", "environment": {"key": "dev", "order": 11}}),
            world.shop().environments["dev"].revision,
            enabled_at,
        ),
    ] {
        let shown = operation.to_string();
        assert_eq!(code(&world.refuse(expecting(operation.clone(), wrong))), "revision_mismatch", "{shown}");
        world.must(expecting(operation, right));
    }
    // A put writes the flag as a whole: it compares with the newest of its parts.
    let newest = world.flag("flag").revision();
    let replace = put("flag", &json!({"enabled": true}));
    assert_eq!(code(&world.refuse(expecting(replace.clone(), put_at))), "revision_mismatch");
    world.must(expecting(replace, newest));
}

#[test]
fn no_written_object_is_newer_than_the_change_expects() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let seen = world.state.revision();
    world.must(ask(json!([put("other", &after(&[]))])));
    // Something else is newer; what the change writes is not.
    world.must(ask(json!([switch("flag.disable", "dev")])).expecting(seen));
    let rejection = world.refuse(ask(json!([switch("flag.enable", "dev")])).expecting(seen));
    assert_eq!(code(&rejection), "revision_mismatch");
    // What the change has written itself is no surprise to it.
    let now = world.state.revision();
    world.must(
        ask(json!([switch("flag.enable", "dev"), switch("flag.disable", "dev"), put("flag", &after(&[]))]))
            .expecting(now),
    );
}

#[test]
fn the_policy_of_each_touched_environment_is_satisfied() {
    let mut world = World::new().with(&[
        json!({"op": "segment.put", "segment": {"key": "staff"}}),
        json!({"op": "segment.put", "segment": {"key": "people", "when": {"segment": "staff"}}}),
        put("flag", &after(&[])),
    ]);
    let uses = json!({"rules": [{"id": "r", "when": {"segment": "people"}, "serve": {"variant": "on"}}]});
    let add = |member: &str| {
        ask(
            json!([{"op": "segment.members.add", "segment": "staff", "list": "included", "members": [member]}]),
        )
    };
    world.must(ask(json!([switch("flag.disable", "dev")])).ticket(None));
    world.must(add("ann").ticket(None));
    let configure =
        json!({"op": "flag.configure", "flag": "flag", "environment": "production", "configuration": uses});
    for (ticket, message) in [(None, "requires a ticket"), (Some("x OPS-1"), "does not match")] {
        let rejection = world.refuse(ask(json!([configure])).ticket(ticket));
        assert_eq!((code(&rejection).as_str(), rejection.path()), ("policy", "/ticket"));
        assert!(rejection.to_string().contains(message), "{rejection}");
    }
    world.must(ask(json!([configure])));
    // Now production uses the segment, if only through another one.
    assert_eq!(code(&world.refuse(add("bob").ticket(None))), "policy");
    world.must(add("bob"));
    // A policy does not let itself be removed without a ticket.
    let lax = ask(json!([{"op": "environment.put", "environment": {"key": "production"}}]));
    let deleted = ask(json!([{"op": "environment.delete", "environment": "production"}]));
    let project = ask(json!([{"op": "project.delete"}]));
    for change in [lax, deleted, project] {
        assert_eq!(code(&world.refuse(change.ticket(None))), "policy");
    }
    // A token that reaches the environment touches it too, however wide it reaches.
    for grants in [
        json!([{"role": "reader", "project": "shop", "environments": ["production"]}]),
        json!([{"role": "reader", "project": "shop"}]),
        json!([{"role": "reader", "environments": ["production"]}]),
        json!([{"role": "reader"}]),
        json!([{"role": "reader", "project": "shop", "environments": ["dev"]}, {"role": "owner"}]),
    ] {
        let token = crate::world::token_create("fresh", &grants);
        let rejection = world.refuse(ask(json!([token])).project(None).ticket(None));
        assert_eq!(code(&rejection), "policy", "{grants}");
    }
    let dev = json!([{"role": "reader", "project": "shop", "environments": ["dev"]}]);
    world.must(ask(json!([crate::world::token_create("fresh", &dev)])).project(None).ticket(None));
    let revoke = json!([{"op": "token.revoke", "token": crate::world::token_id("writer")}]);
    assert_eq!(code(&world.refuse(ask(revoke.clone()).project(None).ticket(None))), "policy");
    // It changes no answer, so caches stay.
    let touched = world.shop().environments["production"].touched_revision;
    world.must(ask(revoke).project(None));
    assert_eq!(world.shop().environments["production"].touched_revision, touched);
}

/// What is for people alone changes no answer: neither the environments' part of the ETags nor the version of an answer.
#[test]
fn what_evaluation_does_not_see_moves_no_answer() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let dev = EnvironmentKey::new("dev").expect("valid");
    let moved = |world: &World| {
        let flag = world.flag("flag");
        (world.shop().environments["dev"].touched_revision, flag.evaluated_revision(&dev), flag.revision())
    };
    let before = moved(&world);
    let mut flag = put("flag", &after(&[]));
    flag["flag"]["description"] = json!("new");
    flag["flag"]["links"] = json!([{"title": "t", "url": "https://example.com"}]);
    world.must(ask(json!([flag])));
    assert_eq!(moved(&world), (before.0, before.1, world.state.revision()));
    flag["flag"]["metadata"] = json!({"team": "web"});
    world.must(ask(json!([flag])));
    assert_eq!(moved(&world), (world.state.revision(), world.state.revision(), world.state.revision()));
}

#[test]
fn what_goes_with_a_deletion_is_not_newer_than_the_change_expects() {
    let mut world = World::new().with(&[
        put("flag", &after(&[])),
        json!({"op": "segment.put", "segment": {"key": "staff", "environments": {"dev": {"included": ["ann"]}}}}),
    ]);
    let project = json!({"op": "project.delete"});
    let environment = json!({"op": "environment.delete", "environment": "dev"});
    for newer in [
        switch("flag.disable", "dev"),
        json!({"op": "segment.members.add", "segment": "staff", "list": "included", "members": ["bob"]}),
    ] {
        let seen = world.state.revision();
        world.must(ask(json!([newer])));
        for deletion in [&project, &environment] {
            let rejection = world.refuse(ask(json!([deletion])).expecting(seen));
            assert_eq!(code(&rejection), "revision_mismatch", "{deletion} after {newer}");
        }
        // What the same change writes is no surprise to it, and hides nothing either.
        let touched = json!([{"op": "flag.enable", "flag": "flag", "environment": "staging"}, project]);
        assert_eq!(code(&world.refuse(ask(touched).expecting(seen))), "revision_mismatch");
    }
    let seen = world.state.revision();
    // Of no concern to `dev`.
    world.must(ask(json!([{"op": "flag.enable", "flag": "flag", "environment": "production"}])));
    world.must(ask(json!([environment])).expecting(seen));
    let seen = world.state.revision();
    world.must(ask(json!([switch("flag.enable", "staging"), project])).expecting(seen));
}

#[test]
fn touches_names_the_environments_whose_evaluation_may_change() {
    let mut world = World::new().with(&[
        json!({"op": "segment.put", "segment": {"key": "staff"}}),
        json!({"op": "segment.put", "segment": {"key": "people", "when": {"segment": "staff"}}}),
        put(
            "flag",
            &json!({"rules": [{"id": "r", "when": {"segment": "people"}, "serve": {"variant": "on"}}]}),
        ),
        json!({"op": "flag.copy", "flag": "flag", "from": "dev", "to": "staging"}),
        put(
            "archived",
            &json!({"rules": [{"id": "r", "when": {"segment": "staff"}, "serve": {"variant": "on"}}]}),
        ),
        json!({"op": "flag.copy", "flag": "archived", "from": "dev", "to": "production"}),
        json!({"op": "flag.archive", "flag": "archived"}),
    ]);
    let all: &[&str] = &["dev", "production", "staging"];
    let add = |segment: &str| json!({"op": "segment.members.add", "segment": segment, "list": "included", "members": ["ann"]});
    let redefined = |field: &str, value: Value| {
        let mut redefined = put("flag", &json!({}));
        redefined["flag"][field] = value;
        redefined["flag"].as_object_mut().expect("an object").remove("environments");
        redefined
    };
    let described = redefined("description", json!("new"));
    let token = |grants: Value| crate::world::token_create("fresh", &grants);
    let cases: Vec<(Value, &[&str])> = vec![
        (switch("flag.enable", "production"), &["production"]),
        (switch("flag.enable", "dev"), &["dev"]),
        (switch("flag.disable", "dev"), &[]),
        (switch("flag.enable", "moon"), &[]),
        (put("flag", &json!({"enabled": true})), &["dev"]),
        (described, &[]),
        (redefined("metadata", json!({"team": "web"})), all),
        (redefined("exposure", json!("client")), all),
        (redefined("max_age_ms", json!(1_000)), all),
        (redefined("tags", json!(["web"])), &[]),
        (redefined("tests", json!([{"name": "t", "environment": "dev", "variant": "on"}])), &[]),
        (put("new", &after(&[])), all),
        (json!({"op": "flag.archive", "flag": "flag"}), all),
        (add("staff"), &["dev", "staging"]),
        (add("people"), &["dev", "staging"]),
        (json!({"op": "segment.put", "segment": {"key": "new"}}), &[]),
        (json!({"op": "environment.put", "environment": {"key": "dev", "order": 1}}), &["dev"]),
        (json!({"op": "environment.delete", "environment": "dev"}), &["dev"]),
        (json!({"op": "project.delete"}), all),
        (json!({"op": "project.put", "project": {"key": "shop", "name": "S"}}), &[]),
        (token(json!([{"role": "reader", "project": "shop", "environments": ["dev"]}])), &["dev"]),
        (token(json!([{"role": "reader", "project": "shop"}])), all),
        // One for every project touches what asks for a ticket anywhere.
        (token(json!([{"role": "reader"}])), &["production"]),
    ];
    for (operation, expected) in cases {
        let proposal = world.proposal(ask(json!([operation])));
        let applied = apply(&world.state, &proposal, LogPosition { term: 1, index: 1_000 });
        let record: Record =
            serde_json::from_slice(&applied.record.expect("a record").bytes).expect("a record");
        let touched = record.touches.environments;
        assert!(touched.iter().map(|e| e.as_str()).eq(expected.iter().copied()), "{operation}: {touched:?}");
    }
}

/// An environment's part of every ETag moves with what is evaluated in it, and only then.
#[test]
fn the_touched_revision_follows_what_is_evaluated() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let touched = |world: &World| -> Vec<u64> {
        world.shop().environments.values().map(|stored| stored.touched_revision).collect()
    };
    let before = touched(&world);
    world.must(ask(json!([switch("flag.disable", "dev")])));
    assert_eq!(touched(&world), [world.state.revision(), before[1], before[2]]);
    world.must(ask(json!([{"op": "segment.put", "segment": {"key": "unused"}}])));
    world.refuse(ask(json!([switch("flag.enable", "moon")])));
    assert_eq!(touched(&world), [world.state.revision() - 1, before[1], before[2]]);
    world.must(ask(json!([{"op": "flag.archive", "flag": "flag"}])));
    assert_eq!(touched(&world), [world.state.revision(); 3]);
}

/// What a role on one environment may change, and what it may not.
#[test]
fn a_grant_on_one_environment_reaches_no_further() {
    let mut world = World::new()
        .with(&[put("flag", &after(&[])), json!({"op": "segment.put", "segment": {"key": "staff"}})]);
    let by_dev = |operation: Value| -> Ask { ask(json!([operation])).by("devwriter") };
    world.must(by_dev(switch("flag.disable", "dev")));
    world.must(by_dev(put("flag", &json!({"enabled": true}))));
    let mut redefined = put("flag", &json!({"enabled": true}));
    redefined["flag"]["description"] = json!("new");
    for operation in [
        switch("flag.enable", "production"),
        redefined,
        put("new", &after(&[])),
        json!({"op": "flag.archive", "flag": "flag"}),
        json!({"op": "segment.put", "segment": {"key": "new"}}),
        json!({"op": "segment.members.add", "segment": "staff", "list": "included", "members": ["ann"]}),
        json!({"op": "environment.put", "environment": {"key": "dev", "order": 1}}),
        json!({"op": "project.put", "project": {"key": "shop", "name": "S"}}),
        json!({"op": "system.membership", "members": {}}),
    ] {
        let shown = operation.to_string();
        assert_eq!(code(&world.refuse(by_dev(operation))), "forbidden", "{shown}");
    }
    // A segment that is used in its environment alone is its own.
    world.must(ask(json!([put(
        "flag",
        &json!({"rules": [{"id": "r", "when": {"segment": "staff"}, "serve": {"variant": "on"}}]})
    )])));
    world.must(by_dev(
        json!({"op": "segment.members.add", "segment": "staff", "list": "included", "members": ["ann"]}),
    ));
}
