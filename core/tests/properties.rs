//! What holds of every catalog, every change and every context, shown on random ones.

#[path = "common/answers.rs"]
mod answers;
#[path = "common/changes.rs"]
mod changes;
mod common;
#[path = "common/random.rs"]
mod random;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use answers::Answers;
use common::{Catalog, PROJECT};
use flagraft_core::{
    compiled::{CompiledCatalog, CompiledEnvironment},
    context::EvaluationContext,
    key::EnvironmentKey,
    project::Project,
    resolution::EvaluationError,
    state::State,
};
use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};
use random::{context, founded, made};
use serde_json::{Map, Value, json};

fn attributes() -> impl Strategy<Value = Map<String, Value>> {
    made(changes::context)
}

/// Changes of a catalog, one after the other.
fn history(length: usize) -> impl Strategy<Value = Vec<Value>> {
    vec(made(changes::change), 1..=length)
}

/// A catalog after these changes, as far as they are accepted.
fn catalog(history: Vec<Value>) -> Catalog {
    let mut catalog = founded();
    for change in history {
        let _ = catalog.change(Some(PROJECT), change);
    }
    catalog
}

fn project(state: &State) -> &Arc<Project> {
    state.project(PROJECT).expect("every change leaves it there")
}

/// What each environment of a compiled state answers; `None` for one that is not there.
fn answers(
    compiled: &CompiledCatalog,
    state: &State,
    contexts: &[EvaluationContext],
) -> Vec<Option<Answers>> {
    let environments = changes::ENVIRONMENTS.iter().map(|key| compiled.environment(PROJECT, key));
    environments.map(|found| found.map(|found| Answers::of(found, project(state), contexts))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// The one that matters most: a node compiles the whole of a catalog when it starts or takes in another one's, and
    /// after that only what changes. What is published after a change, and after several at once, must be what would be
    /// compiled of the whole.
    #[test]
    fn a_catalog_that_is_updated_answers_as_one_that_is_compiled_whole(
        history in history(32),
        contexts in vec(context(), 4),
        batch in 2..6_usize,
    ) {
        let mut catalog = founded();
        let mut each = CompiledCatalog::compile(&catalog.state);
        let (mut batched, mut batched_at) = (each.clone(), catalog.state.clone());
        for (number, change) in history.into_iter().enumerate() {
            let before = catalog.state.clone();
            let _ = catalog.change(Some(PROJECT), change);
            let after = &catalog.state;
            each = each.updated(&before, after);
            let expected = answers(&CompiledCatalog::compile(after), after, &contexts);
            prop_assert_eq!(&answers(&each, after, &contexts), &expected);
            if number % batch == 0 {
                batched = batched.updated(&batched_at, after);
                batched_at = after.clone();
                prop_assert_eq!(&answers(&batched, after, &contexts), &expected, "several at once");
            }
        }
        let before = catalog.state.clone();
        catalog.must(json!([{"op": "project.delete"}]));
        let empty = each.updated(&before, &catalog.state);
        prop_assert!(empty.environment(PROJECT, "dev").is_none(), "a project that is gone answers nothing");
    }

    /// An environment that is kept while its catalog changes goes on answering as it did: whoever reads it is not
    /// disturbed.
    #[test]
    fn an_update_leaves_what_it_was_made_of_alone(
        first in history(12), then in history(12), contexts in vec(context(), 4),
    ) {
        let mut catalog = catalog(first);
        let before = catalog.state.clone();
        let compiled = CompiledCatalog::compile(&before);
        let expected = answers(&compiled, &before, &contexts);
        for change in then {
            let _ = catalog.change(Some(PROJECT), change);
        }
        let _updated = compiled.updated(&before, &catalog.state);
        prop_assert_eq!(answers(&compiled, &before, &contexts), expected);
    }

    /// Every flag has an answer for everybody, one of its own variants or the caller's default (which [`Answers::of`]
    /// checks), and the same one again.
    #[test]
    fn evaluation_is_total_and_repeats_itself(history in history(24), contexts in vec(context(), 16)) {
        let catalog = catalog(history);
        let project = project(&catalog.state);
        for key in project.environments.keys() {
            let environment = CompiledEnvironment::compile(project, key);
            let once = Answers::of(&environment, project, &contexts);
            prop_assert_eq!(&Answers::of(&environment, project, &contexts), &once);
            prop_assert_eq!(&Answers::of(&CompiledEnvironment::compile(project, key), project, &contexts), &once);
            for unknown in ["", "alph", "alpha ", "no-such-flag"] {
                let found = environment.evaluate(unknown, &contexts[0]).map(|resolution| resolution.variant);
                prop_assert_eq!(found, Err(EvaluationError::FlagNotFound));
            }
        }
    }

    /// The order in which a caller names the attributes, and the way in which they came together, are not part of a
    /// context.
    #[test]
    fn the_same_attributes_are_the_same_context(
        history in history(16), attributes in attributes(), turn in 0..8_usize, by_token in any::<u8>(),
    ) {
        let context = EvaluationContext::new(attributes.clone());
        let text = written(&Value::Object(attributes.clone()), turn);
        let turned = EvaluationContext::new(serde_json::from_str(&text).expect("a JSON object"));
        let mut laid_over = EvaluationContext::default();
        // No name that would shadow another: those of the request go.
        let names = attributes.iter().filter(|(name, _)| !name.contains('.'));
        let (some, others): (Vec<_>, Vec<_>) =
            names.enumerate().partition(|(place, _)| by_token >> (place % 8) & 1 == 1);
        for part in [some, others] {
            let part = part.into_iter().map(|(_, (name, value))| (name.clone(), value.clone()));
            laid_over.override_with(&part.collect::<BTreeMap<_, _>>());
        }
        let plain: Map<String, Value> =
            attributes.into_iter().filter(|(name, _)| !name.contains('.')).collect();

        let catalog = catalog(history);
        let project = project(&catalog.state);
        let dev = EnvironmentKey::new("dev").expect("a key");
        let environment = CompiledEnvironment::compile(project, &dev);
        for (one, other) in [(context, turned), (EvaluationContext::new(plain), laid_over)] {
            prop_assert_eq!(&one, &other);
            let json = |context: &EvaluationContext| serde_json::to_string(context).expect("JSON");
            prop_assert_eq!(json(&one), json(&other), "equal contexts are written alike");
            prop_assert_eq!(
                Answers::of(&environment, project, &[one]),
                Answers::of(&environment, project, &[other])
            );
        }
    }
}

/// JSON with the fields of every object turned round by so many places.
fn written(value: &Value, turn: usize) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .map(|(name, field)| format!("{}:{}", json!(name), written(field, turn)))
                .collect();
            let places = turn % fields.len().max(1);
            fields.rotate_left(places);
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| written(item, turn)).collect();
            format!("[{}]", items.join(","))
        }
        scalar => scalar.to_string(),
    }
}

/// A project that is made anew has none of its predecessor's flags: the one thing that goes without a trace in the new one.
#[test]
fn what_went_with_a_project_is_not_critical_in_the_next_one() {
    let mut catalog = founded();
    catalog.must(json!([{"op": "flag.put", "flag": {
        "key": "kill", "type": "boolean", "variants": {"on": true}, "critical": true, "safe_variant": "on",
    }}]));
    let before = catalog.state.clone();
    let compiled = CompiledCatalog::compile(&before);
    let critical = |compiled: &CompiledCatalog| {
        compiled.environment(PROJECT, "dev").expect("an environment").critical().len()
    };
    assert_eq!(critical(&compiled), 1);
    catalog.must(changes::anew());
    let updated = compiled.updated(&before, &catalog.state);
    assert_eq!(critical(&updated), 0);
    let whole = CompiledCatalog::compile(&catalog.state);
    assert_eq!(answers(&updated, &catalog.state, &[]), answers(&whole, &catalog.state, &[]));
}

/// What the properties are shown on must be worth it: were most changes rejected, or no flag ever critical, they would
/// show little.
#[test]
fn random_histories_reach_what_there_is_to_reach() {
    let mut runner = TestRunner::deterministic();
    let (histories, contexts) = (vec(made(changes::change), 32), context());
    let mut operations = BTreeSet::new();
    let mut rejections = Vec::new();
    let mut outcomes = BTreeSet::new();
    let mut critical = BTreeSet::new();
    for _ in 0..40 {
        let mut catalog = founded();
        for change in histories.new_tree(&mut runner).expect("a history").current() {
            let names =
                change.as_array().expect("operations").iter().map(|operation| operation["op"].to_string());
            let names: Vec<String> = names.collect();
            match catalog.change(Some(PROJECT), change) {
                Ok(()) => operations.extend(names),
                Err(rejection) => rejections.push(rejection),
            }
            let compiled = CompiledCatalog::compile(&catalog.state);
            let dev = compiled.environment(PROJECT, "dev").expect("never deleted");
            critical.insert(dev.critical().clone());
            let context = contexts.new_tree(&mut runner).expect("a context").current();
            let keys = project(&catalog.state).flags.keys();
            outcomes.extend(keys.filter_map(|key| dev.evaluate(key, &context).ok()).map(|resolution| {
                format!("{} {} {:?}", resolution.reason, resolution.value.is_some(), resolution.detail)
            }));
        }
    }
    assert!(rejections.len() < 40 * 32 / 3, "most changes are accepted: {rejections:?}");
    assert_eq!(operations.len(), 22, "each operation is accepted: {operations:?}");
    assert!(critical.len() > 20, "what is critical changes: {critical:?}");
    let expected = [
        "DEFAULT false None",
        "DEFAULT false Some(\"prerequisite\")",
        "DEFAULT true None",
        "DEFAULT true Some(\"prerequisite\")",
        "DISABLED false None",
        "DISABLED true None",
        "SPLIT true None",
        "STATIC false None",
        "STATIC true None",
        "TARGETING_MATCH true None",
    ];
    assert_eq!(outcomes, expected.map(str::to_owned).into(), "every reason, with a value and without");
}
