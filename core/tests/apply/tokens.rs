//! Tokens in the log: its order settles who was allowed what.

use flagraft_core::{
    apply::apply,
    identity::LogPosition,
    limits::TOKENS_MAX,
    operation::Operation,
    proposal::Body,
    rejection::Rejection,
    state::State,
    token::{ActorType, SecretHash, TokenFault},
};
use serde_json::{Value, json};

use crate::world::{Ask, START_MS, World, after, ask, code, put, token_create, token_id};

fn revoke(role: &str) -> Ask {
    ask(json!([{"op": "token.revoke", "token": token_id(role)}])).project(None)
}

/// Two entries race: what was proposed with a good token and comes after its revocation is refused.
#[test]
fn the_log_s_order_settles_a_race_with_revocation() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let switch = |op: &str| ask(json!([{"op": op, "flag": "flag", "environment": "dev"}])).by("writer");
    let (first, second) =
        (world.proposal(switch("flag.disable")), world.proposal(switch("flag.enable").key("k")));
    let revocation = world.proposal(revoke("writer"));
    assert!(world.apply(&first).reply.outcome.rejection().is_none());
    assert!(world.apply(&revocation).reply.outcome.rejection().is_none());
    let refusal = Rejection::Unauthenticated { fault: TokenFault::Revoked };
    assert_eq!(world.apply(&second).reply.outcome.rejection(), Some(&refusal));
    assert!(!world.flag("flag").environments["dev"].enabled);
    // A retry of what was accepted before the revocation still gets its outcome: it is no second change.
    let retry = world.apply(&first);
    assert!(retry.reply.replayed && retry.reply.outcome.rejection().is_none());
}

#[test]
fn a_token_ends_at_its_time_by_the_record_s_clock() {
    let mut world = World::new();
    let mut short = token_create("short", &json!([{"role": "owner"}]));
    let ends_ms = START_MS + 1_000_000;
    short["token"]["expires_at_ms"] = json!(ends_ms);
    world.must(ask(json!([short])).project(None));
    let put = |key: &str| ask(json!([put(key, &after(&[]))])).by("short");
    world.clock_ms = ends_ms - 2;
    world.must(put("one"));
    let fault = Rejection::Unauthenticated { fault: TokenFault::Expired };
    assert_eq!(world.refuse(put("two")), fault);
    // The leader's clock going back does not bring it back.
    world.clock_ms = START_MS;
    assert_eq!(world.refuse(put("two")), fault);
}

#[test]
fn the_last_owner_stays() {
    let mut world = World::new();
    assert_eq!(code(&world.refuse(revoke("owner"))), "in_use");
    // One whose time is over owns nothing, and one of a project does not own the cluster.
    world.must(ask(json!([token_create("second", &json!([{"role": "owner"}]))])).project(None));
    world.must(revoke("owner").by("second"));
    assert_eq!(code(&world.refuse(revoke("second").by("second"))), "in_use");
    // Not even both in one change.
    world.must(ask(json!([token_create("third", &json!([{"role": "owner"}]))])).project(None).by("second"));
    let both = json!([{"op": "token.revoke", "token": token_id("second")}, {"op": "token.revoke", "token": token_id("third")}]);
    let rejection = world.refuse(ask(both).project(None).by("second"));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("in_use", "/operations/1/token"));
}

#[test]
fn whoever_finds_a_token_may_revoke_it_with_itself() {
    let mut world = World::new();
    world.must(revoke("reader").by("reader"));
    assert!(world.state.token(&token_id("reader")).is_some_and(|token| token.revoked_at_ms.is_some()));
    assert_eq!(code(&world.refuse(revoke("writer").by("operator"))), "forbidden");
    // Of tokens of a project that the caller must not know of it is not even told that they are.
    assert_eq!(code(&world.refuse(revoke("writer").by("stranger"))), "not_found");
}

#[test]
fn one_hands_out_only_what_one_owns() {
    let mut world = World::new();
    let create =
        |role: &str, by: &str, grants: Value| ask(json!([token_create(role, &grants)])).project(None).by(by);
    for (by, grants, expected) in [
        ("stranger", json!([{"role": "owner"}]), "forbidden"),
        ("stranger", json!([{"role": "owner", "project": "shop"}]), "not_found"),
        ("stranger", json!([{"role": "reader", "project": "other"}, {"role": "reader"}]), "forbidden"),
        ("operator", json!([{"role": "reader", "project": "shop"}]), "forbidden"),
        ("owner", json!([{"role": "reader", "project": "nowhere"}]), "not_found"),
        ("owner", json!([{"role": "reader", "project": "shop", "environments": ["moon"]}]), "not_found"),
        ("owner", json!([]), "invalid"),
        // A list of no environments grants nothing, and was owned by everybody.
        ("owner", json!([{"role": "reader", "project": "shop", "environments": []}]), "invalid"),
        ("operator", json!([{"role": "reader", "project": "shop", "environments": []}]), "forbidden"),
        ("devwriter", json!([]), "forbidden"),
    ] {
        let rejection = world.refuse(create("fresh", by, grants.clone()));
        assert_eq!(code(&rejection), expected, "{by} {grants}: {rejection}");
    }
    world.must(create("fresh", "stranger", json!([{"role": "owner", "project": "other"}])));
}

/// Neither the state's rows nor the records hold the hash of a secret beyond the token's own row.
#[test]
fn a_record_keeps_no_secret() {
    let mut world = World::new();
    let create = token_create("fresh", &json!([{"role": "reader"}]));
    let applied = world.must(ask(json!([create])).project(None));
    let hash = create["secret_sha256"].as_str().expect("a hash");
    let record = String::from_utf8(applied.record.expect("a record").bytes).expect("JSON");
    assert!(record.contains("tok_fresh000") && !record.contains(hash) && !record.contains("secret"));
    // Nor when it is refused.
    let applied = world.ask(ask(json!([create])).project(None));
    let record = String::from_utf8(applied.record.expect("a record").bytes).expect("JSON");
    assert!(record.contains("conflict") && !record.contains(hash));
}

#[test]
fn a_token_is_found_by_the_hash_of_its_secret() {
    let mut world = World::new();
    let create = token_create("fresh", &json!([{"role": "reader"}]));
    world.must(ask(json!([create])).project(None));
    let hash = serde_json::from_value(create["secret_sha256"].clone()).expect("a hash");
    let found = world.state.token_by_secret(&hash).expect("found");
    assert_eq!(&*found.spec.id, "tok_fresh000");
    assert!(world.state.tokens().any(|token| token.spec.id == found.spec.id));
}

/// Only the cluster itself acts without a token.
#[test]
fn nobody_acts_without_a_token() {
    let mut world = World::new();
    for actor_type in [ActorType::User, ActorType::Service] {
        let mut asked = ask(json!([put("flag", &after(&[]))]));
        asked.actor.actor_type = actor_type;
        asked.actor.token = None;
        assert_eq!(world.refuse(asked), Rejection::Unauthenticated { fault: TokenFault::Unknown });
    }
    // And whoever says to be the cluster, but shows a token, gets no more than the token grants.
    let mut asked = ask(json!([put("flag", &after(&[]))])).by("reader");
    asked.actor.actor_type = ActorType::System;
    assert_eq!(code(&world.refuse(asked)), "forbidden");
}

/// A program's token evaluates; it changes nothing, be it in its own environment.
#[test]
fn a_service_token_changes_nothing() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let grants = json!([{"role": "reader", "project": "shop", "environments": ["dev"]}]);
    let mut service = token_create("service", &grants);
    service["token"]["kind"] = json!("service");
    world.must(ask(json!([service])).project(None));
    let switch = json!([{"op": "flag.disable", "flag": "flag", "environment": "dev"}]);
    assert_eq!(code(&world.refuse(ask(switch).by("service"))), "forbidden");
    // Nor can it be made to.
    let mut writer =
        token_create("fresh", &json!([{"role": "writer", "project": "shop", "environments": ["dev"]}]));
    writer["token"]["kind"] = json!("service");
    let rejection = world.refuse(ask(json!([writer])).project(None));
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", "/operations/0/token/grants"));
}

/// Revoked tokens once filled the table for ever.
#[test]
fn a_token_that_ended_makes_room_for_another() {
    let mut world = World::new();
    let filler = |n: usize, revoked_at_ms: Option<i64>| {
        let id = format!("tok_filler{n:08}");
        let value = json!({
            "spec": {"id": id, "name": "filler", "kind": "admin", "actor": {"type": "service", "id": "filler"},
                     "grants": [{"role": "reader"}], "context": {}, "expires_at_ms": null},
            "secret_sha256": format!("{n:064x}"), "revision": 1, "created_at_ms": START_MS, "revoked_at_ms": revoked_at_ms,
        });
        let key = [b"\x20".as_slice(), id.as_bytes()].concat();
        (key, [b"\x01".as_slice(), value.to_string().as_bytes()].concat())
    };
    let full = |revoked: &[(usize, i64)]| {
        let stood = world.state.tokens().count();
        let fillers = (0..TOKENS_MAX - stood)
            .map(|n| filler(n, revoked.iter().find(|(revoked, _)| *revoked == n).map(|(_, at_ms)| *at_ms)));
        State::from_rows(world.state.rows().chain(fillers)).expect("rows of a state")
    };
    let states = [full(&[(7, START_MS + 90), (8, START_MS + 50)]), full(&[])];
    let create = |role: &str| ask(json!([token_create(role, &json!([{"role": "reader"}]))])).project(None);
    let (first, second) = (world.proposal(create("first")), world.proposal(create("second")));
    let at = LogPosition { term: 1, index: 1_000 };
    // The world's own two that ended go too, in the order in which they did: `expired` before `revoked`.
    let mut state = states[0].clone();
    let mut gone = Vec::new();
    for n in 0..4 {
        let mut next = if n % 2 == 0 { first.clone() } else { second.clone() };
        next.request.id = format!("fresh-{n}");
        let Body::Change(change) = &mut next.body else { panic!("a change") };
        let Operation::TokenCreate(create) = &mut change.operations[0] else { panic!("a token") };
        create.token.id = format!("tok_fresh00{n}").into();
        create.secret_sha256 = SecretHash([u8::try_from(n).expect("a digit") + 100; 32]);
        let applied = apply(&state, &next, at);
        assert!(applied.reply.outcome.rejection().is_none(), "{:?}", applied.reply.outcome);
        let missing =
            state.tokens().find(|token| applied.state.token(&token.spec.id).is_none()).expect("one went");
        gone.push(missing.spec.id.to_string());
        assert!(applied.state.token_by_secret(&missing.secret_sha256).is_none());
        assert_eq!(applied.state.tokens().count(), TOKENS_MAX);
        state = applied.state;
    }
    assert_eq!(
        gone,
        [token_id("expired"), token_id("revoked"), "tok_filler00000008".into(), "tok_filler00000007".into()]
    );
    // A table of live ones is full.
    let mut full = states[1].clone();
    for _ in 0..2 {
        let mut next = first.clone();
        next.request.id = format!("again-{}", full.sequence());
        let Body::Change(change) = &mut next.body else { panic!("a change") };
        let Operation::TokenCreate(create) = &mut change.operations[0] else { panic!("a token") };
        create.token.id = format!("tok_again{:03}", full.sequence()).into();
        create.secret_sha256 = SecretHash([u8::try_from(full.sequence()).expect("small"); 32]);
        full = apply(&full, &next, at).state;
    }
    let applied = apply(&full, &second, at);
    let rejection = applied.reply.outcome.rejection().expect("full");
    assert!(code(rejection) == "invalid" && rejection.to_string().contains("revoke one"), "{rejection}");
}

/// A project, or an environment, that is made again under a key is another one: no token of the old one opens it.
#[test]
fn tokens_lose_what_is_deleted() {
    let granted = |world: &World, role: &str| {
        let token = world.state.token(&token_id(role)).expect("kept");
        (token.revoked_at_ms.is_some(), serde_json::to_value(&token.spec.grants).expect("JSON"))
    };
    let made = || {
        let mut world = World::new().with(&[put("flag", &after(&[]))]);
        let mixed = json!([{"role": "owner", "project": "shop"}, {"role": "reader", "project": "other"}]);
        let both = json!([{"role": "writer", "project": "shop", "environments": ["dev", "staging"]}]);
        let mut service =
            token_create("service", &json!([{"role": "reader", "project": "shop", "environments": ["dev"]}]));
        service["token"]["kind"] = json!("service");
        world.must(
            ask(json!([token_create("mixed", &mixed), token_create("both", &both), service])).project(None),
        );
        world
    };
    let mut world = made();
    world.must(ask(json!([{"op": "project.delete"}])));
    for role in ["operator", "writer", "reader", "devwriter", "both", "service"] {
        assert!(granted(&world, role).0, "{role} is revoked");
    }
    assert_eq!(granted(&world, "mixed"), (false, json!([{"role": "reader", "project": "other"}])));
    assert_eq!(granted(&world, "owner"), (false, json!([{"role": "owner"}])));
    assert!(!granted(&world, "stranger").0);
    let before = &world.last_record().operations[0].before;
    assert_eq!(
        (&before["cut_tokens"], before["revoked_tokens"].as_array().map(Vec::len)),
        (&json!(["tok_mixed000"]), Some(6))
    );
    world.must(ask(json!([{"op": "project.put", "project": {"key": "shop"}},
        {"op": "environment.put", "environment": {"key": "dev"}}, put("flag", &after(&[]))])));
    let switch = json!([{"op": "flag.disable", "flag": "flag", "environment": "dev"}]);
    assert_eq!(code(&world.refuse(ask(switch.clone()).by("writer"))), "unauthenticated");
    assert_eq!(code(&world.refuse(ask(switch).by("mixed"))), "not_found");

    let mut world = made();
    world.must(ask(json!([{"op": "environment.delete", "environment": "dev"}])));
    assert!(granted(&world, "devwriter").0 && granted(&world, "service").0);
    let staging = json!([{"role": "writer", "project": "shop", "environments": ["staging"]}]);
    assert_eq!(granted(&world, "both"), (false, staging));
    assert!(!granted(&world, "writer").0, "a grant on the whole project stays one");
}
