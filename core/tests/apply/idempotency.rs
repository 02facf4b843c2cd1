//! Request ids: a retry is not a second change.

use flagraft_core::{
    apply::apply,
    identity::LogPosition,
    limits::{REQUESTS_MINTED_REMEMBERED_MAX, REQUESTS_REMEMBERED_MAX, REQUESTS_REMEMBERED_MS},
    proposal::Proposal,
    rejection::Rejection,
    reply::Outcome,
    state::State,
};
use serde_json::{Value, json};

use crate::{
    rejections::stocked,
    world::{START_MS, World, after, ask, bootstrap, code, put, token_create},
};

fn switch(op: &str) -> Value {
    json!([{"op": op, "flag": "gate", "environment": "dev"}])
}

fn refused(rejection: Rejection) -> Outcome {
    Outcome::Refused { rejection }
}

#[test]
fn the_same_request_again_gets_the_first_outcome_and_no_second_record() {
    let mut world = stocked();
    let accepted = switch("flag.disable");
    let unchanged = json!([put("gate", &after(&[]))]);
    let rejected = json!([{"op": "flag.enable", "flag": "nothing", "environment": "dev"}]);
    for (id, operations) in [("unchanged", unchanged), ("accepted", accepted), ("rejected", rejected)] {
        for request in [ask(operations.clone()).key(id), ask(operations).minted(id)] {
            let first = world.ask(request.clone());
            assert!(!first.reply.replayed && first.record.is_some());
            // Later changes make no difference to what the first entry had decided.
            world.ask(ask(switch("flag.enable")).by("writer"));
            let (revision, sequence) = (world.state.revision(), world.state.sequence());
            let again = world.ask(request);
            assert!(again.reply.replayed && again.record.is_none() && again.writes.is_empty());
            assert_eq!(again.reply.outcome, first.reply.outcome, "{id}");
            assert_eq!((world.state.revision(), world.state.sequence()), (revision, sequence));
            world.must(ask(switch("flag.disable")));
            world.must(ask(switch("flag.enable")));
        }
    }
}

#[test]
fn another_body_under_the_same_id_is_refused() {
    let mut world = stocked();
    world.must(ask(switch("flag.disable")).key("k"));
    for other in [
        ask(switch("flag.enable")),
        ask(switch("flag.disable")).reason("another"),
        ask(switch("flag.disable")).ticket(None),
        ask(switch("flag.disable")).expecting(100),
    ] {
        let applied = world.ask(other.key("k"));
        assert_eq!(applied.reply.outcome, refused(Rejection::IdempotencyMismatch));
        assert!(!applied.reply.replayed);
    }
}

/// A merge patch becomes another body when it is laid over another state.
#[test]
fn a_request_that_states_what_it_asks_for_is_the_same_whatever_its_body() {
    let mut world = stocked();
    let stating = |world: &mut World, op: &str, asks: u8| {
        let proposal = world.proposal(ask(switch(op)).key("k"));
        let proposal = Proposal { asks_sha256: Some([asks; 32]), ..proposal };
        world.apply(&proposal).reply
    };
    let first = stating(&mut world, "flag.disable", 1);
    let again = stating(&mut world, "flag.enable", 1);
    assert!(!first.replayed && again.replayed);
    assert_eq!(again.outcome, first.outcome);
    assert_eq!(
        stating(&mut world, "flag.disable", 2).outcome,
        refused(Rejection::IdempotencyMismatch),
        "the same body, asked for otherwise"
    );
    let unstated = world.ask(ask(switch("flag.disable")).key("k"));
    assert_eq!(unstated.reply.outcome, refused(Rejection::IdempotencyMismatch));
}

/// A key belongs to the token that it came with.
#[test]
fn another_token_s_key_is_another_key() {
    let mut world = stocked();
    world.must(ask(switch("flag.disable")).key("k"));
    world.must(ask(switch("flag.enable")).key("k").by("writer"));
    assert!(world.ask(ask(switch("flag.disable")).key("k")).reply.replayed);
    assert!(world.state.request("tok_owner000/k").is_some());
    assert!(world.state.request("k").is_none(), "a key is never the id of a request that a node minted");
}

/// What a handler mints differs each time the same request is repeated; the first secret stands.
#[test]
fn a_repeated_token_create_returns_the_first_token() {
    let mut world = World::new();
    let grants = json!([{"role": "reader"}]);
    let (mut first, mut again) = (token_create("first", &grants), token_create("again", &grants));
    for operation in [&mut first, &mut again] {
        operation["token"]["name"] = json!("ci");
        operation["token"]["actor"]["id"] = json!("ci");
    }
    world.must(ask(json!([first])).key("k").project(None));
    let replayed = world.ask(ask(json!([again])).key("k").project(None));
    assert!(replayed.reply.replayed);
    assert!(world.state.token("tok_first000").is_some() && world.state.token("tok_again000").is_none());
}

#[test]
fn a_request_is_remembered_for_fifteen_minutes_of_record_time() {
    let mut world = stocked();
    world.must(ask(switch("flag.disable")).key("k"));
    let at_ms = world.state.last_at_ms();
    world.many_records(|| ask(switch("flag.enable")));
    // To the millisecond: `proposal` moves the clock by one.
    world.clock_ms = at_ms + REQUESTS_REMEMBERED_MS - 1;
    assert!(world.ask(ask(switch("flag.disable")).key("k")).reply.replayed);
    world.clock_ms = at_ms + REQUESTS_REMEMBERED_MS;
    let late = world.ask(ask(switch("flag.disable")).key("k"));
    assert!(!late.reply.replayed, "it is judged anew");
    assert_eq!(world.state.request("tok_owner000/k").map(|request| request.at_ms), Some(world.clock_ms));
}

/// The wall clock of a leader jumped by an hour. All requests were old in time at once, and a write that was sent again
/// a moment later was made again, over what others had written in between.
#[test]
fn a_clock_that_jumps_ahead_forgets_no_request_that_came_a_moment_ago() {
    let mut world = stocked();
    let first = world.must(ask(switch("flag.disable")).key("k"));
    world.must(ask(switch("flag.enable")));
    world.clock_ms += 4 * REQUESTS_REMEMBERED_MS;
    let again = world.ask(ask(switch("flag.disable")).key("k"));
    assert!(again.reply.replayed && again.reply.outcome == first.reply.outcome, "{:?}", again.reply);
    assert!(again.record.is_none());
    // It is over once as many records came as it is remembered for.
    world.many_records(|| ask(switch("flag.enable")));
    assert!(!world.ask(ask(switch("flag.disable")).key("k")).reply.replayed);
}

/// One entry forgets no more than 64, so that none pays for many: a key may come again while its row lingers.
#[test]
fn a_key_that_comes_again_before_its_row_is_gone_is_a_new_one() {
    let mut world = stocked();
    for n in 0..100 {
        world.ask(ask(switch("flag.enable")).key(&format!("k{n}")));
    }
    world.many_records(|| ask(switch("flag.enable")));
    let kept = |world: &World| world.stored.keys().filter(|key| key[0] == 0x21).count();
    let before = kept(&world);
    world.clock_ms += REQUESTS_REMEMBERED_MS + 1;
    let again = world.ask(ask(switch("flag.disable")).key("k99"));
    assert!(!again.reply.replayed, "another body, and no longer refused");
    // Its own row is replaced.
    assert_eq!(kept(&world), before - 64);
    for _ in 0..3 {
        world.ask(ask(switch("flag.enable")));
    }
    // All others went; this one, which the old row's time must not take with it, stays.
    assert!(world.state.request("tok_owner000/k98").is_none());
    assert!(world.state.request("tok_owner000/k99").is_some());
}

/// Record time, not the clock of whoever leads: a clock that falls behind forgets nothing early and nothing late.
#[test]
fn a_clock_that_goes_back_does_not_matter() {
    let mut world = stocked();
    let last = world.state.last_at_ms();
    world.clock_ms = START_MS - 1_000_000;
    world.must(ask(switch("flag.disable")).key("k"));
    assert_eq!(world.state.last_at_ms(), last);
    assert_eq!(world.last_record().time_ms, last);
    assert_eq!(world.last_record().proposed_at_ms, START_MS - 999_999);
    assert!(world.ask(ask(switch("flag.disable")).key("k")).reply.replayed);
}

/// The state with its table of requests filled up to a number of them.
fn crowded(world: &World, client_given: bool, to: usize) -> State {
    let at_ms = world.state.last_at_ms();
    let filled = world.state.rows().filter(|(key, _)| key[0] == 0x21).count();
    let rows = (0..to - filled).map(|n| {
        let value = json!({
            "body_sha256": "00".repeat(32), "at_ms": at_ms, "sequence": 1_000_000 + n, "client_given": client_given,
            "token": "tok_owner000", "outcome": {"outcome": "accepted", "revision": 1, "sequence": 1},
        });
        let key = [b"\x21".as_slice(), format!("tok_owner000/filler-{n}").as_bytes()].concat();
        (key, [b"\x01".as_slice(), value.to_string().as_bytes()].concat())
    });
    State::from_rows(world.state.rows().chain(rows)).expect("rows of a state")
}

#[test]
fn a_full_table_takes_no_more_keys_and_loses_none() {
    let mut world = stocked();
    world.many_records(|| ask(switch("flag.enable")));
    let at = LogPosition { term: 1, index: 1_000_000 };
    let with_key = world.proposal(ask(switch("flag.disable")).key("k"));
    let known = world.proposal(ask(switch("flag.disable")).key("filler-0"));
    let founding = world.proposal(ask(json!([bootstrap()])).by_the_cluster().project(None).key("k2"));
    let without_key = world.proposal(ask(switch("flag.disable")));

    let nearly = crowded(&world, true, REQUESTS_REMEMBERED_MAX - 1);
    assert!(matches!(apply(&nearly, &with_key, at).reply.outcome, Outcome::Accepted { .. }));
    let full = crowded(&world, true, REQUESTS_REMEMBERED_MAX);
    let refusal = apply(&full, &with_key, at);
    assert_eq!(refusal.reply.outcome, refused(Rejection::TooManyRequests));
    assert!(refusal.record.is_none() && refusal.writes.is_empty() && refusal.state == full);
    // Precedence: the other body of a known key comes first; a second founding comes later.
    assert_eq!(apply(&full, &known, at).reply.outcome, refused(Rejection::IdempotencyMismatch));
    assert_eq!(apply(&full, &founding, at).reply.outcome, refused(Rejection::TooManyRequests));
    // Without a key it goes on, only nobody remembers it.
    let applied = apply(&full, &without_key, at);
    assert!(matches!(applied.reply.outcome, Outcome::Accepted { .. }) && applied.record.is_some());
    assert!(applied.state.request(&without_key.scoped_request_id()).is_none());
    // When their time is over there is room again.
    let mut later = with_key;
    later.proposed_at_ms += REQUESTS_REMEMBERED_MS;
    assert!(matches!(apply(&full, &later, at).reply.outcome, Outcome::Accepted { .. }));
}

/// Ids that nodes mint leave room for the ones that clients give.
#[test]
fn minted_ids_take_a_quarter_of_the_table_at_most() {
    let mut world = stocked();
    let at = LogPosition { term: 1, index: 1_000_000 };
    let minted = world.proposal(ask(switch("flag.disable")).minted("m"));
    let with_key = world.proposal(ask(switch("flag.disable")).key("k"));
    let minted_before = world.state.rows().filter(|(key, _)| key[0] == 0x21).count();
    assert!(minted_before > 0);
    let full = crowded(&world, false, REQUESTS_MINTED_REMEMBERED_MAX);
    let applied = apply(&full, &minted, at);
    assert!(matches!(applied.reply.outcome, Outcome::Accepted { .. }));
    assert!(applied.state.request("m").is_none());
    let applied = apply(&full, &with_key, at);
    assert!(applied.state.request("tok_owner000/k").is_some());
}

#[test]
fn what_became_of_a_request_is_told() {
    let mut world = stocked();
    let accepted = world.must(ask(switch("flag.disable")).minted("m"));
    let remembered = world.state.request("m").expect("remembered");
    assert_eq!(remembered.outcome, accepted.reply.outcome);
    assert_eq!(remembered.token.as_deref(), Some("tok_owner000"));
    assert_eq!(remembered.sequence, world.state.sequence() - 1);
    let rejection = world.refuse(ask(switch("flag.enable")).by("reader").key("k"));
    assert_eq!(code(&rejection), "forbidden");
    let remembered = world.state.request("tok_reader00/k").expect("remembered");
    assert_eq!(remembered.outcome.rejection(), Some(&rejection));
}
