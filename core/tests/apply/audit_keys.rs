//! The keys that nodes sign checkpoints of the audit log with: whose they are, how many, and that none comes back.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flagraft_core::{audit_key::AuditPublicKey, proposal::Actor};
use serde_json::{Value, json};

use crate::{
    members::invite,
    world::{Ask, World, ask, code},
};

/// The text of the public key whose bytes are this one.
pub fn audit_key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn change(op: &str, node: u64, key: u8) -> Ask {
    ask(json!([{"op": format!("system.audit_key.{op}"), "node": node, "public_key": audit_key(key)}]))
        .project(None)
}

/// What the state has of a node: each key, and whether it is active.
fn keys(world: &World, node: u64) -> Vec<(u8, bool)> {
    let keys = world.state.audit_keys_of(node).expect("it has keys");
    keys.keys.iter().map(|key| (key.public_key.0[0], key.is_active())).collect()
}

#[test]
fn a_node_adds_its_own_keys_and_an_owner_any() {
    let mut world = World::new();
    world.must(change("add", 1, 7).by_the_cluster());
    let mut of_another = change("add", 1, 8);
    of_another.actor = Actor::system(2);
    assert_eq!(code(&world.refuse(of_another)), "forbidden");
    for role in ["operator", "writer"] {
        assert_eq!(code(&world.refuse(change("add", 1, 8).by(role))), "forbidden");
    }
    world.must(change("add", 1, 8));
    assert_eq!(code(&world.refuse(change("retire", 1, 7).by("operator"))), "forbidden");
    let sequence = world.state.sequence();
    world.must(change("retire", 1, 7));
    assert_eq!(keys(&world, 1), [(7, false), (8, true)]);
    let retired = world.state.audit_keys_of(1).and_then(|keys| keys.get(&AuditPublicKey([7; 32])).copied());
    assert_eq!(retired.expect("it stays listed").retired, Some(sequence));
}

#[test]
fn a_node_keeps_a_key_has_four_at_most_and_none_twice() {
    let mut world = World::new();
    for key in 1..=4 {
        world.must(change("add", 1, key));
    }
    let fifth = world.refuse(change("add", 1, 5));
    assert!(fifth.to_string().contains("at most 4 active"), "{fifth}");
    for key in 1..=3 {
        world.must(change("retire", 1, key));
    }
    let last = world.refuse(change("retire", 1, 4));
    assert_eq!((code(&last).as_str(), last.path()), ("in_use", "/operations/0/public_key"));
    assert_eq!(code(&world.refuse(change("add", 1, 1))), "conflict", "it was retired");
    world.must(ask(json!([invite(4, "voter")])).project(None));
    let copied = world.refuse(change("add", 4, 4));
    assert!(copied.to_string().contains("this is a key of node 1"), "{copied}");
    // As many as are ever listed: 4 so far.
    for key in 5..=100 {
        world.must(change("add", 1, key));
        world.must(change("retire", 1, key - 1));
    }
    let full = world.refuse(change("add", 1, 101));
    assert!(full.to_string().contains("at most 100 audit keys"), "{full}");
}

#[test]
fn a_removed_node_signs_nothing_any_more() {
    let mut world = World::new();
    world.must(ask(json!([invite(4, "voter")])).project(None));
    world.must(change("add", 4, 9));
    world.must(ask(json!([{"op": "system.member.remove", "node_id": 4}])).project(None));
    assert_eq!(keys(&world, 4), [(9, false)]);
    assert_eq!(code(&world.refuse(change("add", 4, 10))), "conflict");
}

#[test]
fn cluster_version_1_has_no_such_keys() {
    let mut world = World::of_version(1);
    for op in ["add", "retire"] {
        let rejection = world.refuse(change(op, 1, 7));
        assert_eq!(code(&rejection), "unsupported_operation");
    }
    world.must(ask(json!([{"op": "system.cluster_version", "version": 2}])).project(None));
    world.must(change("add", 1, 7));
}

#[test]
fn what_is_no_key_is_refused() {
    for wrong in [json!("BwcH"), json!(7), Value::Null] {
        let operation = json!({"op": "system.audit_key.add", "node": 1, "public_key": wrong});
        let fault = flagraft_core::operation::Operation::from_value(operation).expect_err("no key");
        assert_eq!(fault.path, "/public_key");
    }
}
