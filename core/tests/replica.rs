//! What a client holds, against what the node has that it came from.

#[path = "common/changes.rs"]
mod changes;
mod common;
#[path = "common/random.rs"]
mod random;

use common::PROJECT;
use flagraft_core::{
    compiled::CompiledEnvironment,
    context::EvaluationContext,
    feed::{FeedError, Replica, ReplicaError, encode, wire::Progress},
    key::EnvironmentKey,
    resolution::Resolution,
    state::State,
};
use proptest::{collection::vec, prelude::*};
use random::{context, founded, made};
use serde_json::{Value, json};

fn snapshot(state: &State, environment: &str) -> Option<String> {
    encode::snapshot(state, PROJECT, environment)
        .map(|snapshot| serde_json::to_string(&snapshot).expect("JSON"))
}

fn change(before: &State, after: &State, environment: &str) -> Option<String> {
    let change = encode::change(before, after, PROJECT, environment)?;
    Some(serde_json::to_string(&change).expect("JSON"))
}

fn fresh(state: &State, environment: &str) -> Option<Replica> {
    snapshot(state, environment).map(|text| Replica::from_snapshot(&text).expect(&text))
}

/// A resolution, as whoever asked sees it.
fn shown(resolution: &Resolution<'_>, environment: &EnvironmentKey) -> String {
    let Resolution { flag, variant, value, reason, detail, is_audited } = resolution;
    let version = flag.evaluated_revision(environment);
    let definition = &flag.definition;
    format!(
        "{} {variant} {:?} {reason} {detail:?} {is_audited} {version} {:?} {:?} {:?}",
        definition.key,
        value.map(ToString::to_string),
        definition.metadata,
        definition.max_age_ms,
        definition.on_stale,
    )
}

/// All that an environment answers.
fn answers(compiled: &CompiledEnvironment, flags: &[String], contexts: &[EvaluationContext]) -> Vec<String> {
    let mut all: Vec<String> = compiled.critical().iter().map(|key| format!("critical {key}")).collect();
    all.push(format!("{} flags", compiled.len()));
    for key in flags {
        let safe = compiled.safe_resolution(key);
        all.push(safe.map_or_else(|error| error.to_string(), |safe| shown(&safe, compiled.key())));
        all.extend(contexts.iter().map(|context| {
            let found = compiled.evaluate(key, context);
            found.map_or_else(|error| error.to_string(), |found| shown(&found, compiled.key()))
        }));
    }
    all
}

/// A node's own environment.
fn on_the_node(state: &State, environment: &str) -> CompiledEnvironment {
    let project = state.project(PROJECT).expect("every change leaves it there");
    CompiledEnvironment::compile(project, &EnvironmentKey::new(environment).expect("a key"))
}

fn flags(state: &State) -> Vec<String> {
    state.project(PROJECT).expect("a project").flags.keys().map(ToString::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// The promise to a client: whatever changes, what it has grown into by changes is what it would have been given whole,
    /// and it answers as the node does.
    #[test]
    fn a_replica_that_follows_is_one_that_is_fresh_and_answers_as_the_node(
        history in vec(made(changes::change), 1..=32),
        contexts in vec(context(), 4),
    ) {
        let mut catalog = founded();
        let mut held: Vec<(&str, Option<Replica>)> =
            changes::ENVIRONMENTS.into_iter().map(|key| (key, fresh(&catalog.state, key))).collect();
        for operations in history {
            let before = catalog.state.clone();
            let _ = catalog.change(Some(PROJECT), operations);
            let after = &catalog.state;
            for (environment, replica) in &mut held {
                let expected = fresh(after, environment);
                let (Some(replica), Some(expected)) = (replica.as_mut(), expected.as_ref()) else {
                    // It was made, or it is gone: the stream begins anew, or ends.
                    *replica = expected;
                    continue;
                };
                let earlier = replica.clone();
                match change(&before, after, environment) {
                    Some(text) => {
                        // One that is deleted and made again by one change has no past to follow from.
                        if let Err(error) = replica.apply(&text) {
                            prop_assert!(false, "{error}: {text}");
                        }
                    }
                    None if expected.environment_revision() != replica.environment_revision() => {
                        *replica = expected.clone();
                    }
                    None => {}
                }
                let progress = Progress {
                    format: 1,
                    revision: after.revision(),
                    environment_revision: expected.environment_revision(),
                    age_ms: None,
                };
                prop_assert_eq!(replica.progress(&progress), Ok(()));
                let text = serde_json::to_string(&replica.to_snapshot()).expect("JSON");
                prop_assert_eq!(Some(text), snapshot(after, environment), "it is what it would be given");
                let keys = flags(after);
                let node = on_the_node(after, environment);
                prop_assert_eq!(
                    answers(replica.environment(), &keys, &contexts), answers(&node, &keys, &contexts)
                );
                prop_assert_eq!(replica.unsupported().len(), 0);
                // Whoever answers otherwise than before is named.
                let named = replica.changed_since(&earlier);
                for key in &keys {
                    let ask = |replica: &Replica| answers(replica.environment(), std::slice::from_ref(key), &contexts);
                    let one = |all: Vec<String>| all.into_iter().rev().take(contexts.len() + 1).collect::<Vec<_>>();
                    if one(ask(&earlier)) != one(ask(replica)) {
                        prop_assert!(named.contains(key), "{} changed and is not among {:?}", key, named);
                    }
                }
            }
        }
    }

    /// Whatever comes: an error or a replica, never a panic, and on an error nothing is changed.
    #[test]
    fn a_broken_document_changes_nothing(
        history in vec(made(changes::change), 8), cut in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut catalog = founded();
        for operations in history {
            let before = catalog.state.clone();
            let _ = catalog.change(Some(PROJECT), operations);
            let Some(mut replica) = fresh(&before, "dev") else { continue };
            let Some(text) = change(&before, &catalog.state, "dev") else { continue };
            let kept = serde_json::to_string(&replica.to_snapshot()).expect("JSON");
            let mut bytes = text.clone().into_bytes();
            let at = cut.index(bytes.len());
            let short = String::from_utf8_lossy(&bytes[..at]).into_owned();
            prop_assert!(replica.apply(&short).is_err());
            bytes[at] = byte;
            if replica.apply(&String::from_utf8_lossy(&bytes)).is_err() {
                prop_assert_eq!(serde_json::to_string(&replica.to_snapshot()).expect("JSON"), kept);
            }
        }
    }
}

/// A flag of strings, on, whose rules are these.
fn flag(key: &str, rules: Value, prerequisites: Value) -> Value {
    json!({"key": key, "type": "string", "variants": {"a": "A", "b": "B"}, "off_variant": "a", "safe_variant": "b",
        "configuration": {"enabled": true, "rules": rules, "prerequisites": prerequisites, "default": {"variant": "a"}},
        "version": 1})
}

fn document(flags: Value, segments: Value) -> String {
    let document = json!({"format": 1, "revision": 5, "environment_revision": 4, "project": "demo", "environment": "dev",
        "flags": flags, "segments": segments});
    document.to_string()
}

fn rule(when: Value) -> Value {
    json!([{"id": "r", "when": when, "serve": {"variant": "b"}}])
}

#[test]
fn what_is_not_understood_marks_all_that_depends_on_it_and_nothing_else() {
    let plain = flag("plain", json!([]), json!([]));
    let on = |flag: &str| json!([{"flag": flag, "variants": ["a"]}]);
    let newer = [
        flag("newer", rule(json!({"attribute": "a", "op": "sounds_like", "values": ["x"]})), json!([])),
        {
            let mut flag = flag("newer", json!([]), json!([]));
            flag["schedule"] = json!("at night");
            flag
        },
        {
            let mut flag = flag("newer", json!([]), json!([]));
            flag["type"] = json!("colour");
            flag
        },
        {
            let mut flag = flag("newer", json!([]), json!([]));
            flag["configuration"]["ramp"] = json!({});
            flag
        },
        flag(
            "newer",
            json!([{"id": "r", "serve": {"rollout": {"seed": "s", "method": "blake9", "weights": [{"variant": "a", "weight": 1}]}}}]),
            json!([]),
        ),
    ];
    for newer in newer {
        let flags = json!([
            plain,
            newer,
            flag("second", json!([]), on("newer")),
            flag("third", json!([]), on("second")),
            flag("segmented", rule(json!({"segment": "outer"})), json!([])),
        ]);
        let segments = json!([
            {"key": "inner", "when": {"moon": "full"}},
            {"key": "outer", "when": {"not": {"segment": "inner"}}},
        ]);
        let mut replica = Replica::from_snapshot(&document(flags, segments)).expect("taken in");
        let unsupported: Vec<&str> = replica.unsupported().map(|(key, _)| key).collect();
        assert_eq!(unsupported, ["newer", "second", "segmented", "third"], "{newer}");
        let ask = |replica: &Replica, key: &str| {
            let found = replica.evaluate(key, &EvaluationContext::default());
            found.map(|found| found.variant.to_owned())
        };
        assert_eq!(ask(&replica, "plain"), Ok("a".to_owned()));
        for key in unsupported {
            assert_eq!(ask(&replica, key), Err(ReplicaError::Unsupported), "{key}");
            assert_eq!(replica.safe_variant(key), Some(("b".to_owned(), json!("B"))), "{key}");
        }
        // It is kept as it came.
        let kept = serde_json::to_string(&replica.to_snapshot()).expect("JSON");
        let again = Replica::from_snapshot(&kept).expect("its own");
        assert_eq!(again.unsupported().collect::<Vec<_>>(), replica.unsupported().collect::<Vec<_>>());

        // What is understood again is answered again, and members of what is not are no gap.
        let change = json!({"format": 1, "revision": 6, "previous": 4, "changes": [
            {"members": {"segment": "inner", "list": "included", "add": ["u1"], "remove": []}},
            {"flag": flag("newer", json!([]), json!([]))},
        ]});
        let changed = replica.apply(&change.to_string()).expect("follows");
        assert_eq!(changed, ["newer", "second", "segmented", "third"]);
        assert_eq!(ask(&replica, "third"), Ok("a".to_owned()));
        assert_eq!(replica.unsupported().map(|(key, _)| key).collect::<Vec<_>>(), ["segmented"]);
    }
}

#[test]
fn a_newer_format_an_unknown_kind_and_a_gap_are_told_apart() {
    let mut replica = Replica::from_snapshot(&document(json!([]), json!([]))).expect("empty");
    let change = |format: u32, previous: u64, edit: Value| {
        json!({"format": format, "revision": 9, "previous": previous, "changes": [edit]}).to_string()
    };
    let deleted = json!({"deleted": "a"});
    assert!(matches!(replica.apply(&change(2, 4, deleted.clone())), Err(FeedError::Newer(_))));
    assert!(matches!(replica.apply(&change(1, 4, json!({"moved": "a"}))), Err(FeedError::Newer(_))));
    assert_eq!(replica.apply(&change(1, 3, deleted.clone())), Err(FeedError::Gap { held: 4, previous: 3 }));
    assert!(matches!(replica.apply(&change(1, 4, json!({}))), Err(FeedError::Malformed(_))));
    assert!(matches!(replica.apply("[]"), Err(FeedError::Malformed(_))));
    assert_eq!((replica.revision(), replica.environment_revision()), (5, 4));
    assert_eq!(replica.apply(&change(1, 4, deleted.clone())), Ok(vec!["a".to_owned()]));
    assert_eq!((replica.revision(), replica.environment_revision()), (9, 9));
    assert!(matches!(replica.apply(&change(1, 9, deleted)), Err(FeedError::Gap { .. })), "the same again");
    let ahead = Progress { format: 1, revision: 20, environment_revision: 12, age_ms: Some(0) };
    assert!(matches!(replica.progress(&ahead), Err(FeedError::Gap { .. })));
    let snapshot = document(json!([]), json!([])).replace("\"format\":1", "\"format\":2");
    assert!(matches!(Replica::from_snapshot(&snapshot), Err(FeedError::Newer(_))));
}
