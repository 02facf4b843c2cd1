//! The evaluation vectors of `tests/fixtures/evaluation`, run against the core. The same files are for whoever
//! evaluates in another place: over HTTP, or in a client.

mod common;

use std::sync::Arc;

use common::{Catalog, PROJECT};
use flagraft_core::{
    compiled::{CompiledCatalog, CompiledEnvironment},
    context::EvaluationContext,
    criticality::{critical_flags, is_effectively_critical},
    key::{EnvironmentKey, FlagKey},
    project::Project,
    resolution::{EvaluationError, Resolution},
    state::State,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A file of vectors.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    /// The version of this form: 1.
    format: u32,
    /// What the file shows.
    #[serde(rename = "about")]
    _about: String,
    /// The environments to create.
    environments: Vec<String>,
    /// Where a case is evaluated unless it names another.
    environment: EnvironmentKey,
    /// Put in this order, before the flags.
    segments: Vec<Value>,
    /// Put in this order.
    flags: Vec<Value>,
    /// Keys of flags to archive once all are put.
    archived: Vec<String>,
    cases: Vec<Case>,
}

/// One evaluation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    environment: Option<EnvironmentKey>,
    flag: String,
    context: Map<String, Value>,
    expect: Expected,
}

/// Its outcome. Without `value` it is the caller's code default.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Expected {
    Error {
        error: String,
    },
    Resolved {
        variant: String,
        #[serde(default)]
        value: Option<Value>,
        reason: String,
        #[serde(default)]
        detail: Option<String>,
    },
}

impl Expected {
    fn of(outcome: Result<Resolution<'_>, EvaluationError>) -> Self {
        match outcome {
            Err(EvaluationError::FlagNotFound) => Self::Error { error: "FLAG_NOT_FOUND".to_owned() },
            Ok(resolution) => Self::Resolved {
                variant: resolution.variant.to_owned(),
                value: resolution.value.cloned(),
                reason: resolution.reason.to_string(),
                detail: resolution.detail.map(str::to_owned),
            },
        }
    }
}

impl Vectors {
    fn load(&self) -> State {
        let environments: Vec<&str> = self.environments.iter().map(String::as_str).collect();
        let mut catalog = Catalog::new(&environments);
        for segment in &self.segments {
            catalog.must(json!([{"op": "segment.put", "segment": segment}]));
        }
        for flag in &self.flags {
            catalog.must(json!([{"op": "flag.put", "flag": flag}]));
        }
        for key in &self.archived {
            catalog.must(json!([{"op": "flag.archive", "flag": key}]));
        }
        catalog.state
    }

    fn failures(&self, state: &State) -> Vec<String> {
        let catalog = CompiledCatalog::compile(state);
        let outcomes = self.cases.iter().map(|case| {
            let environment = case.environment.as_ref().unwrap_or(&self.environment);
            let environment = catalog.environment(PROJECT, environment).expect("an environment of the file");
            let got = environment.evaluate(&case.flag, &EvaluationContext::new(case.context.clone()));
            let got = Expected::of(got);
            (got != case.expect)
                .then(|| format!("{}:\n  expected {:?}\n  got      {got:?}", case.name, case.expect))
        });
        outcomes.flatten().collect()
    }
}

fn project(state: &State) -> &Arc<Project> {
    state.project(PROJECT).expect("the project of the tests")
}

macro_rules! vectors {
    ($($test:ident: $file:literal, at_least $cases:literal;)*) => {
        $(
            #[test]
            fn $test() {
                let text = include_str!(concat!("../../tests/fixtures/evaluation/", $file, ".json"));
                let vectors: Vectors = serde_json::from_str(text).expect($file);
                assert_eq!(vectors.format, 1);
                assert!(vectors.cases.len() >= $cases, "vectors went missing");
                let state = vectors.load();
                let failures = vectors.failures(&state);
                assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));

                // What is stored and read again evaluates alike.
                let restored = State::from_rows(state.rows()).expect("rows of a state");
                assert_eq!(restored, state);
                assert_eq!(vectors.failures(&restored), Vec::<String>::new());
            }
        )*

        #[test]
        #[expect(clippy::disallowed_methods, reason = "a test that looks for files that nobody runs")]
        fn every_file_of_vectors_is_run() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/evaluation");
            let mut found: Vec<String> = std::fs::read_dir(folder)
                .expect(folder)
                .map(|entry| entry.expect(folder).file_name().into_string().expect("a name in UTF-8"))
                .collect();
            found.sort();
            assert_eq!(found, [$(concat!($file, ".json")),*]);
        }
    };
}

vectors! {
    bucket_conditions: "bucket-conditions", at_least 50;
    conditions: "conditions", at_least 70;
    ignore_case: "ignore-case", at_least 42;
    matches: "matches", at_least 50;
    methods: "methods", at_least 80;
    nested: "nested", at_least 70;
    networks: "networks", at_least 65;
    prerequisites: "prerequisites", at_least 18;
    result_table: "result-table", at_least 30;
    rollouts: "rollouts", at_least 30;
    segments_nested: "segments-nested", at_least 55;
    segments: "segments", at_least 20;
    targets: "targets", at_least 12;
    times: "times", at_least 70;
    values: "values", at_least 12;
    versions: "versions", at_least 80;
}

fn boolean(key: &str, configuration: Value) -> Value {
    json!({"op": "flag.put", "flag": {
        "key": key, "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "environments": {"production": configuration},
    }})
}

fn production() -> EnvironmentKey {
    EnvironmentKey::new("production").expect("valid")
}

fn key(text: &str) -> FlagKey {
    FlagKey::new(text).expect("valid")
}

fn variant(state: &State, flag: &str) -> String {
    let environment = CompiledEnvironment::compile(project(state), &production());
    environment.evaluate(flag, &EvaluationContext::default()).expect(flag).variant.to_owned()
}

/// Each flag of a layer depends on every flag of the layer before. Worked out path by path, the last one takes
/// 20^14 evaluations; a writer could have stopped every node that way.
#[test]
fn flags_that_depend_on_each_other_crosswise_are_worked_out_once_each() {
    const LAYERS: usize = 15;
    const WIDTH: usize = 20;
    let name = |layer: usize, at: usize| format!("flag-{layer}-{at}");
    let mut catalog = Catalog::new(&["production"]);
    for layer in 0..LAYERS {
        let on_all_before: Vec<Value> = if layer == 0 {
            Vec::new()
        } else {
            (0..WIDTH).map(|at| json!({"flag": name(layer - 1, at), "variants": ["on"]})).collect()
        };
        let flags = (0..WIDTH).map(|at| {
            boolean(
                &name(layer, at),
                json!({"enabled": true, "prerequisites": on_all_before, "default": {"variant": "on"}}),
            )
        });
        catalog.must(Value::Array(flags.collect()));
    }
    assert_eq!(variant(&catalog.state, &name(LAYERS - 1, 0)), "on");
}

/// The same with segments, where the cost was paths too.
#[test]
fn segments_that_name_each_other_crosswise_are_worked_out_once_each() {
    const LAYERS: usize = 15;
    const WIDTH: usize = 20;
    let name = |layer: usize, at: usize| format!("segment-{layer}-{at}");
    let mut catalog = Catalog::new(&["production"]);
    for layer in 0..LAYERS {
        let segments = (0..WIDTH).map(|at| {
            let when = if layer == 0 {
                json!({"attribute": "nobody", "op": "exists"})
            } else {
                json!({"any": (0..WIDTH).map(|at| json!({"segment": name(layer - 1, at)})).collect::<Vec<_>>()})
            };
            json!({"op": "segment.put", "segment": {"key": name(layer, at), "when": when}})
        });
        catalog.must(segments.collect());
    }
    let rule = json!({"id": "r", "when": {"segment": name(LAYERS - 1, 0)}, "serve": {"variant": "on"}});
    catalog.must(json!([boolean(
        "flag",
        json!({"enabled": true, "rules": [rule], "default": {"variant": "off"}})
    )]));
    assert_eq!(variant(&catalog.state, "flag"), "off");
}

/// `apply` refuses cycles; a state with one can only come from elsewhere. Evaluation ends all the same.
#[test]
fn a_cycle_is_unmet_and_ends() {
    let mut catalog = Catalog::new(&["production"]);
    let first = boolean("first", json!({"enabled": true, "default": {"variant": "on"}}));
    let second = boolean(
        "second",
        json!({"enabled": true, "prerequisites": [{"flag": "first", "variants": ["on"]}], "default": {"variant": "on"}}),
    );
    catalog.must(json!([first, second]));
    assert_eq!(variant(&catalog.state, "second"), "on");

    let rows = catalog.state.rows().map(|(row, value)| {
        let text = String::from_utf8(value).expect("rows are JSON");
        let turned = if text.contains(r#""key":"first""#) {
            text.replace(r#""prerequisites":[]"#, r#""prerequisites":[{"flag":"second","variants":["on"]}]"#)
        } else {
            text
        };
        (row, turned.into_bytes())
    });
    let state = State::from_rows(rows).expect("well-formed rows");
    assert!(state != catalog.state, "the row was turned into a cycle");
    for flag in ["first", "second"] {
        assert_eq!(variant(&state, flag), "off");
        assert!(!is_effectively_critical(project(&state), &production(), &key(flag)));
    }
}

/// A shop: `gate` is critical, `checkout` depends on it, `banner` on that; `search` stands alone, `exports` is
/// critical and archived.
fn shop() -> State {
    let mut catalog = Catalog::new(&["dev", "production"]);
    let on = json!({"enabled": true, "default": {"variant": "on"}});
    let after = |flag: &str| json!({"enabled": true, "prerequisites": [{"flag": flag, "variants": ["on"]}], "default": {"variant": "on"}});
    let mut gate = boolean("gate", on.clone());
    gate["flag"]["critical"] = json!(true);
    gate["flag"]["safe_variant"] = json!("off");
    gate["flag"]["environments"]["dev"] =
        json!({"enabled": true, "default": {"variant": "on"}, "safe_variant": "on"});
    let mut exports = gate.clone();
    exports["flag"]["key"] = json!("exports");
    let mut checkout = boolean("checkout", after("gate"));
    checkout["flag"]["environments"]["dev"] = on.clone();
    let mut banner = boolean("banner", after("checkout"));
    banner["flag"]["safe_variant"] = json!("on");
    catalog.must(json!([gate, exports, checkout, banner, boolean("search", on)]));
    catalog.must(json!([{"op": "flag.archive", "flag": "exports"}]));
    catalog.state
}

#[test]
fn critical_reaches_through_prerequisites_in_their_environment() {
    let state = shop();
    let (production, dev) = (production(), EnvironmentKey::new("dev").expect("valid"));
    for (environment, expected) in [(&production, vec!["banner", "checkout", "gate"]), (&dev, vec!["gate"])] {
        let project = project(&state);
        let critical = critical_flags(project, environment);
        let critical: Vec<&str> = critical.into_iter().map(FlagKey::as_str).collect();
        assert_eq!(critical, expected, "{environment}");
        // The three ways to ask agree.
        let compiled = CompiledEnvironment::compile(project, environment);
        for flag in project.flags.keys() {
            let is_critical = expected.contains(&flag.as_str());
            assert_eq!(
                is_effectively_critical(project, environment, flag),
                is_critical,
                "{environment} {flag}"
            );
            assert_eq!(compiled.is_critical(flag), is_critical, "{environment} {flag}");
        }
        assert!(!is_effectively_critical(project, environment, &key("no-such-flag")));
    }
}

#[test]
fn what_is_served_when_nobody_can_be_sure() {
    let state = shop();
    let (production, dev) = (production(), EnvironmentKey::new("dev").expect("valid"));
    for (environment, flag, expected) in [
        (&production, "gate", "off"),
        // The environment's own safe variant wins.
        (&dev, "gate", "on"),
        // Critical by what it depends on alone: its own safe variant, or what it is when it is off.
        (&production, "banner", "on"),
        (&production, "checkout", "off"),
    ] {
        let compiled = CompiledEnvironment::compile(project(&state), environment);
        let resolution = compiled.safe_resolution(flag).expect(flag);
        assert_eq!(
            (resolution.variant, resolution.reason.as_str()),
            (expected, "UNKNOWN"),
            "{environment} {flag}"
        );
        assert_eq!(resolution.value, Some(&json!(expected == "on")), "{environment} {flag}");
    }
    let compiled = CompiledEnvironment::compile(project(&state), &production);
    for flag in ["exports", "no-such-flag"] {
        assert!(matches!(compiled.safe_resolution(flag), Err(EvaluationError::FlagNotFound)), "{flag}");
    }
}
