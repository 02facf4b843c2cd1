//! Members in the log: its order settles who is let in, and no id is ever given away twice.

use flagraft_core::{rejection::Rejection, seat::JoinToken, token::SecretHash};
use serde_json::{Value, json};

use crate::world::{Ask, World, ask, code};

/// The operation that gives a node id away for a minute, with a token of its own.
pub fn invite(node_id: u64, role: &str) -> Value {
    let secret = secret(node_id);
    json!({
        "op": "system.member.invite", "node_id": node_id, "role": role, "secret_sha256": secret, "expires_in_ms": 60_000,
    })
}

fn secret(seed: u64) -> SecretHash {
    JoinToken::new([u8::try_from(seed).expect("a small number"); 32]).sha256()
}

fn uid(seed: u64) -> String {
    format!("{seed:032x}")
}

fn by_owner(operation: Value) -> Ask {
    ask(json!([operation])).project(None)
}

/// A node comes with a token and a data folder of these numbers.
fn admit(node_id: u64, token: u64, folder: u64) -> Ask {
    let operation = json!({
        "op": "system.member.admit", "node_id": node_id, "secret_sha256": secret(token), "uid": uid(folder),
        "peer_address": format!("127.0.0.1:750{node_id}"),
    });
    by_owner(operation).by_the_cluster()
}

fn remove(node_id: u64, successor: Option<u64>) -> Ask {
    by_owner(json!({"op": "system.member.remove", "node_id": node_id, "successor": successor}))
}

fn promote(node_id: u64) -> Ask {
    by_owner(json!({"op": "system.member.promote", "node_id": node_id}))
}

fn says(rejection: &Rejection, what: &str) {
    assert!(rejection.to_string().contains(what), "{rejection}");
}

#[test]
fn of_two_folders_with_one_token_the_log_lets_the_first_in() {
    let mut world = World::new();
    world.must(by_owner(invite(4, "voter")));
    let (first, second) = (world.proposal(admit(4, 4, 0xa)), world.proposal(admit(4, 4, 0xb)));
    assert!(world.apply(&first).reply.outcome.rejection().is_none());
    let applied = world.apply(&second);
    says(applied.reply.outcome.rejection().expect("refused"), "another data folder has taken this id");
    let seat = world.state.seat(4).expect("taken");
    assert_eq!(seat.occupant.as_ref().expect("by the first").uid, uid(0xa));
    assert!(seat.invitation.is_none(), "the token is used up");
    // Whoever lost the answer asks again, and it changes nothing.
    let revision = world.state.revision();
    assert!(world.ask(admit(4, 4, 0xa)).reply.outcome.rejection().is_none());
    assert_eq!(world.state.revision(), revision);
    // A member that moved is known by its new address.
    let mut moved = admit(4, 4, 0xa);
    moved.operations[0]["peer_address"] = json!("elsewhere:7504");
    world.must(moved);
    assert_eq!(
        world.state.seat(4).expect("there").occupant.as_ref().expect("it").peer_address,
        "elsewhere:7504"
    );
}

#[test]
fn a_token_is_good_for_its_id_and_its_time_and_once() {
    let mut world = World::new();
    says(&world.refuse(admit(4, 4, 0xa)), "no node with this id was invited");
    world.must(by_owner(invite(4, "voter")));
    says(&world.refuse(admit(4, 5, 0xa)), "not the one that was made last");
    world.clock_ms += 60_000;
    says(&world.refuse(admit(4, 4, 0xa)), "time is over");
    // Another one takes its place; the first is void.
    let mut renewed = invite(4, "learner");
    renewed["secret_sha256"] = json!(secret(44));
    world.must(by_owner(renewed));
    says(&world.refuse(admit(4, 4, 0xa)), "not the one that was made last");
    world.must(admit(4, 44, 0xa));
    for (pointer, wrong) in
        [("uid", json!("0A")), ("peer_address", json!("")), ("peer_address", json!("a\n:1"))]
    {
        let mut faulty = admit(4, 44, 0xa);
        faulty.operations[0][pointer] = wrong;
        let rejection = world.refuse(faulty);
        assert_eq!(
            (code(&rejection).as_str(), rejection.path()),
            ("invalid", &*format!("/operations/0/{pointer}"))
        );
    }
    // Nobody lets a node in but the cluster itself.
    let by_a_person = ask(json!([admit(4, 44, 0xa).operations[0]])).project(None);
    assert_eq!(code(&world.refuse(by_a_person)), "forbidden");
}

#[test]
fn an_id_is_never_given_away_twice() {
    let mut world = World::new();
    says(&world.refuse(by_owner(invite(1, "voter"))), "use another one, such as 2");
    world.must(by_owner(invite(4, "voter")));
    world.must(admit(4, 4, 0xa));
    says(&world.refuse(by_owner(invite(4, "voter"))), "such as 5");
    world.must(remove(4, None));
    for what in [by_owner(invite(4, "voter")), promote(4)] {
        assert_eq!(code(&world.refuse(what)), "conflict");
    }
    says(&world.refuse(admit(4, 4, 0xa)), "was removed from the cluster");
    // Nor is one that was taken back before anybody came.
    world.must(by_owner(invite(5, "voter")));
    world.must(remove(5, None));
    says(&world.refuse(admit(5, 5, 0xb)), "was removed from the cluster");
    assert_eq!(code(&world.refuse(by_owner(invite(5, "voter")))), "conflict");
    for (faulty, path) in [
        (json!({"node_id": 0}), "node_id"),
        (json!({"expires_in_ms": 0}), "expires_in_ms"),
        (json!({"expires_in_ms": 604_800_001_u64}), "expires_in_ms"),
    ] {
        let mut operation = invite(6, "voter");
        faulty.as_object().expect("fields").iter().for_each(|(name, value)| operation[name] = value.clone());
        let rejection = world.refuse(by_owner(operation));
        assert_eq!(
            (code(&rejection).as_str(), rejection.path()),
            ("invalid", &*format!("/operations/0/{path}"))
        );
    }
}

#[test]
fn a_voter_is_left_and_a_successor_is_one_that_votes() {
    let mut world = World::new();
    says(&world.refuse(remove(1, None)), "is the last voter");
    world.must(by_owner(invite(4, "learner")));
    says(&world.refuse(remove(1, None)), "is the last voter");
    world.must(admit(4, 4, 0xa));
    says(&world.refuse(remove(1, None)), "is the last voter");
    says(&world.refuse(remove(1, Some(4))), "takes nobody's place");
    says(&world.refuse(remove(1, Some(1))), "no node \"1\"");
    says(&world.refuse(remove(1, Some(9))), "no node \"9\"");
    // Both in one change, as a replacement is.
    let both = json!([promote(4).operations[0], remove(1, Some(4)).operations[0]]);
    world.must(ask(both).project(None));
    let seat = world.state.seat(1).expect("a founder's");
    assert_eq!(seat.removal.as_ref().expect("it goes").successor, Some(4));
    // What was meant for later can be meant for now.
    says(&world.refuse(remove(4, None)), "is the last voter");
    world.must(remove(1, None));
    assert_eq!(world.state.seat(1).expect("there").removal.as_ref().expect("it goes").successor, None);
}

/// What is kept of the token stays out of the records.
#[test]
fn no_record_holds_the_hash_of_a_join_token() {
    let mut world = World::new();
    let hash = serde_json::to_value(secret(4)).expect("a hash");
    let hash = hash.as_str().expect("hexadecimal");
    world.must(by_owner(invite(4, "voter")));
    world.must(admit(4, 4, 0xa));
    for record in &world.records {
        let text = serde_json::to_string(record).expect("a record");
        assert!(!text.contains(hash), "{text}");
    }
    assert_eq!(world.last_record().operations[0].after["occupant"]["uid"], json!(uid(0xa)));
}

/// A state from before there were seats has those of its founders.
#[test]
fn founders_have_seats_without_a_row() {
    let mut world = World::new();
    assert!(!world.stored.keys().any(|key| key[0] == 0x22));
    let seat = world.state.seat(1).expect("a founder's");
    assert!(seat.is_meant_to_vote() && seat.occupant.is_some());
    assert_eq!(world.state.seats().map(|(id, _)| id).collect::<Vec<_>>(), [1]);
    world.must(by_owner(invite(3, "voter")));
    world.must(by_owner(invite(2, "voter")));
    assert_eq!(world.state.seats().map(|(id, _)| id).collect::<Vec<_>>(), [1, 2, 3]);
}
