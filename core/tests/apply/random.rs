//! Random sequences of changes. [`World::apply`] checks after each entry what must hold: the same twice, the digest,
//! the rows there and back, revisions and sequences, and that what is rejected changes nothing.

use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use crate::{
    audit_keys::audit_key,
    members::invite,
    world::{Ask, SHOP, World, ask, token_create, token_id},
};

fn flag() -> impl Strategy<Value = &'static str> {
    select(&["alpha", "beta", "gamma", "delta", "größe"][..])
}

fn environment() -> impl Strategy<Value = &'static str> {
    // The last one is created and deleted by operations below.
    select(&["dev", "dev", "staging", "production", "qa"][..])
}

fn segment() -> impl Strategy<Value = &'static str> {
    select(&["staff", "people", "beta testers"][..])
}

fn variant() -> impl Strategy<Value = &'static str> {
    select(&["on", "on", "off", "off", "blue"][..])
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-c\u{0}é]{0,2}", 0..4)
}

fn serve() -> impl Strategy<Value = Value> {
    let rollout = |(by, weights): (&str, Vec<(&str, u32)>)| {
        let weights: Vec<Value> =
            weights.iter().map(|(variant, weight)| json!({"variant": variant, "weight": weight})).collect();
        json!({"rollout": {"by": by, "seed": "seed", "weights": weights}})
    };
    let weight = prop_oneof![0..100_u32, Just(u32::MAX)];
    prop_oneof![
        Just(Value::Null),
        variant().prop_map(|variant| json!({"variant": variant})),
        (select(&["targetingKey", "org.id"][..]), prop::collection::vec((variant(), weight), 0..3))
            .prop_map(rollout),
    ]
}

fn condition() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        segment().prop_map(|segment| json!({"segment": segment})),
        names().prop_map(|values| json!({"attribute": "email", "op": "in", "values": values})),
        (0..12_u32, 0..12_u32)
            .prop_map(|(from, to)| json!({"bucket": {"seed": "s", "from": from, "to": to, "of": 10}})),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| json!({"not": inner})),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|inner| json!({"any": inner})),
            prop::collection::vec(inner, 0..3).prop_map(|inner| json!({"all": inner})),
        ]
    })
}

fn rule() -> impl Strategy<Value = Value> {
    (
        select(&["r1", "r2", "r3"][..]),
        condition(),
        serve().prop_filter("a rule serves", |serve| !serve.is_null()),
    )
        .prop_map(|(id, when, serve)| json!({"id": id, "when": when, "serve": serve}))
}

fn configuration() -> impl Strategy<Value = Value> {
    let prerequisites = prop::collection::vec((flag(), variant()), 0..2);
    (any::<bool>(), prerequisites, prop::collection::vec(rule(), 0..2), serve(), names(), variant()).prop_map(
        |(enabled, prerequisites, rules, default, values, variant)| {
            let prerequisites: Vec<Value> = prerequisites
                .iter()
                .map(|(flag, variant)| json!({"flag": flag, "variants": [variant]}))
                .collect();
            json!({
                "enabled": enabled, "prerequisites": prerequisites, "rules": rules, "default": default,
                "targets": [{"values": values, "variant": variant}],
            })
        },
    )
}

fn flag_put() -> impl Strategy<Value = Value> {
    let environments = prop::collection::btree_map(environment(), configuration(), 0..2);
    (flag(), any::<bool>(), select(&["boolean", "boolean", "boolean", "string"][..]), environments, any::<bool>()).prop_map(
        |(key, critical, flag_type, environments, both)| {
            let (on, off) = if flag_type == "boolean" { (json!(true), json!(false)) } else { (json!("on"), json!("off")) };
            let variants = if both { json!({"on": on, "off": off}) } else { json!({"on": on}) };
            json!({"op": "flag.put", "flag": {
                "key": key, "type": flag_type, "critical": critical, "safe_variant": if critical { json!("on") } else { json!(null) },
                "variants": variants, "environments": environments,
            }})
        },
    )
}

fn on_a_flag() -> impl Strategy<Value = Value> {
    let whole = (select(&["flag.archive", "flag.restore", "flag.restore", "flag.delete"][..]), flag())
        .prop_map(|(op, flag)| json!({"op": op, "flag": flag}));
    let switch = (select(&["flag.enable", "flag.disable"][..]), flag(), environment())
        .prop_map(|(op, flag, environment)| json!({"op": op, "flag": flag, "environment": environment}));
    let configure = (flag(), environment(), configuration()).prop_map(|(flag, environment, configuration)| {
        json!({"op": "flag.configure", "flag": flag, "environment": environment, "configuration": configuration})
    });
    let copy = (flag(), environment(), environment())
        .prop_map(|(flag, from, to)| json!({"op": "flag.copy", "flag": flag, "from": from, "to": to}));
    prop_oneof![flag_put(), flag_put(), whole, switch, configure, copy]
}

fn in_a_configuration() -> impl Strategy<Value = Value> {
    let rule_put = rule().prop_map(|rule| json!({"op": "rule.put", "rule": rule}));
    let rule_delete = select(&["r1", "r2"][..]).prop_map(|rule| json!({"op": "rule.delete", "rule": rule}));
    let rollout = (variant(), 0..10_u32).prop_map(
        |(variant, weight)| json!({"op": "rollout.set", "weights": [{"variant": variant, "weight": weight}]}),
    );
    let default = serve().prop_map(|serve| json!({"op": "default.set", "serve": serve}));
    let add = (variant(), names())
        .prop_map(|(variant, values)| json!({"op": "targets.add", "variant": variant, "values": values}));
    let remove = names().prop_map(|values| json!({"op": "targets.remove", "values": values}));
    (prop_oneof![rule_put, rule_delete, rollout, default, add, remove], flag(), environment()).prop_map(
        |(mut operation, flag, environment)| {
            operation["flag"] = json!(flag);
            operation["environment"] = json!(environment);
            operation
        },
    )
}

fn on_segments() -> impl Strategy<Value = Value> {
    let put = (segment(), names(), names(), prop::option::of(condition())).prop_map(|(key, included, excluded, when)| {
        json!({"op": "segment.put", "segment": {"key": key, "included": included, "excluded": excluded, "when": when}})
    });
    let delete = segment().prop_map(|segment| json!({"op": "segment.delete", "segment": segment}));
    let members = (
        select(&["segment.members.add", "segment.members.remove"][..]),
        segment(),
        select(&["included", "excluded"][..]),
        names(),
    )
        .prop_map(|(op, segment, list, members)| json!({"op": op, "segment": segment, "list": list, "members": members}));
    prop_oneof![put, delete, members]
}

fn on_the_rest() -> impl Strategy<Value = Value> {
    let role = || select(&["fresh", "second", "writer", "owner"][..]);
    prop_oneof![
        Just(json!({"op": "project.put", "project": {"key": SHOP, "name": "Shop"}})),
        Just(json!({"op": "project.delete"})),
        (environment(), 0..3).prop_map(
            |(key, order)| json!({"op": "environment.put", "environment": {"key": key, "order": order}})
        ),
        Just(json!({"op": "environment.delete", "environment": "qa"})),
        role().prop_map(|role| token_create(role, &json!([{"role": "owner"}]))),
        role().prop_map(|role| json!({"op": "token.revoke", "token": token_id(role)})),
        Just(json!({"op": "system.membership", "members": {}})),
        on_retention(),
        on_members(),
        Just(json!({"op": "system.cluster_version", "version": 1})),
    ]
}

fn on_audit_keys() -> impl Strategy<Value = Value> {
    let ops = select(&["system.audit_key.add", "system.audit_key.retire"][..]);
    (ops, 0..3_u64, 1..7_u8)
        .prop_map(|(op, node, key)| json!({"op": op, "node": node, "public_key": audit_key(key)}))
}

fn on_retention() -> impl Strategy<Value = Value> {
    let hold = select(&["case-1", "case-2"][..]);
    prop_oneof![
        prop::option::of(1..3_u32)
            .prop_map(|days| json!({"op": "audit.retention.put", "keep_days": {"access": days}})),
        (hold.clone(), 0..9_u64, prop::option::of(0..9_u64)).prop_map(|(id, from, to)| {
            json!({"op": "audit.hold.put", "hold": {"id": id, "reason": "a case", "from": from, "to": to}})
        }),
        hold.prop_map(|id| json!({"op": "audit.hold.delete", "hold": id})),
    ]
}

fn on_members() -> impl Strategy<Value = Value> {
    let id = || 0..5_u64;
    prop_oneof![
        (id(), select(&["voter", "learner"][..])).prop_map(|(node_id, role)| invite(node_id, role)),
        id().prop_map(|node_id| json!({"op": "system.member.promote", "node_id": node_id})),
        on_audit_keys(),
        (id(), prop::option::of(id())).prop_map(
            |(node_id, successor)| json!({"op": "system.member.remove", "node_id": node_id, "successor": successor})
        ),
    ]
}

fn operation() -> impl Strategy<Value = Value> {
    let any =
        prop_oneof![6 => on_a_flag(), 5 => in_a_configuration(), 4 => on_segments(), 1 => on_the_rest()];
    (any, prop::option::weighted(0.05, 0..30_u64)).prop_map(|(mut operation, if_revision)| {
        if let Some(revision) = if_revision {
            operation["if_revision"] = json!(revision);
        }
        operation
    })
}

/// A change, and how far the clock goes before it: mostly little, sometimes past what is remembered, sometimes back.
fn change() -> impl Strategy<Value = (Ask, i64)> {
    let by = select(&["owner", "owner", "owner", "writer", "reader", "devwriter", "revoked"][..]);
    let key = prop::option::weighted(0.3, select(&["k1", "k2", "k3"][..]));
    let ahead_ms = select(&[0_i64, 1, 1_000, 300_000, 1_000_000, -5_000][..]);
    (prop::collection::vec(operation(), 1..4), by, key, prop::option::weighted(0.05, 0..30_u64), ahead_ms)
        .prop_map(|(operations, by, key, expected, ahead_ms)| {
            let mut asked = ask(json!(operations)).by(by);
            asked.expect_revision = expected;
            (key.map_or(asked.clone(), |key| asked.key(key)), ahead_ms)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_proposed_the_state_stays_whole(changes in prop::collection::vec(change(), 1..40)) {
        let mut world = World::new();
        for (asked, ahead_ms) in changes {
            world.clock_ms += ahead_ms;
            world.ask(asked);
        }
    }
}

/// The sequences above must do something: were nearly all of them rejected, they would show little.
#[test]
fn random_changes_are_accepted_often_enough() {
    use flagraft_core::reply::Outcome;
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    let mut runner = TestRunner::deterministic();
    let mut world = World::new();
    let mut accepted = std::collections::BTreeSet::new();
    for _ in 0..3_000 {
        let operation = operation().new_tree(&mut runner).expect("a strategy").current();
        let name = operation["op"].as_str().expect("a name").to_owned();
        if name == "project.delete" {
            continue;
        }
        let proposal = world.proposal(ask(json!([operation])));
        let applied = flagraft_core::apply::apply(
            &world.state,
            &proposal,
            flagraft_core::identity::LogPosition { term: 1, index: 1 },
        );
        if matches!(applied.reply.outcome, Outcome::Accepted { .. }) {
            accepted.insert(name);
            world.state = applied.state;
        }
    }
    assert!(accepted.len() >= 20, "only {accepted:?} are ever accepted");
}
