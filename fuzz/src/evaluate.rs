//! Evaluation: whatever changes a catalog goes through and whoever is asked about, there is an answer, and a catalog that was
//! compiled change by change answers as one that is compiled whole.

use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use flagraft_core::{compiled::CompiledCatalog, context::EvaluationContext, state::State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[path = "../../core/tests/common/answers.rs"]
mod answers;
#[path = "../../core/tests/common/changes.rs"]
mod changes;
#[path = "../../core/tests/common/mod.rs"]
mod common;

use answers::Answers;
use common::{Catalog, PROJECT};

/// So many changes are made of one input at most, to bound the time that it takes.
const CHANGES_MAX: usize = 12;

/// Changes to make one after the other, and contexts to evaluate for after each.
struct Input {
    changes: Vec<Value>,
    contexts: Vec<EvaluationContext>,
}

/// Makes a catalog of the bytes. Those that begin with a brace are one in JSON, in the words of the evaluation vectors; all
/// others are made into changes, so that nearly every input is a catalog that is accepted.
pub fn run(bytes: &[u8]) {
    let input = match bytes.first() {
        Some(b'{') => Input::written(bytes),
        _ => Input::made(&mut Unstructured::new(bytes)).ok(),
    };
    if let Some(input) = input {
        input.play();
    }
}

/// A catalog and contexts, in JSON.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    segments: Vec<Value>,
    #[serde(default)]
    flags: Vec<Value>,
    #[serde(default)]
    contexts: Vec<Map<String, Value>>,
}

impl Input {
    fn written(bytes: &[u8]) -> Option<Self> {
        let Written { segments, flags, contexts } = serde_json::from_slice(bytes).ok()?;
        let segments = segments.into_iter().map(|segment| json!([{"op": "segment.put", "segment": segment}]));
        let flags = flags.into_iter().map(|flag| json!([{"op": "flag.put", "flag": flag}]));
        Some(Self {
            changes: segments.chain(flags).take(CHANGES_MAX).collect(),
            contexts: contexts.into_iter().map(EvaluationContext::new).collect(),
        })
    }

    fn made(u: &mut Unstructured<'_>) -> Result<Self> {
        let contexts: Result<Vec<_>> =
            (0..3).map(|_| changes::context(u).map(EvaluationContext::new)).collect();
        let mut changes = Vec::new();
        while !u.is_empty() && changes.len() < CHANGES_MAX {
            changes.push(changes::change(u)?);
        }
        Ok(Self { changes, contexts: contexts? })
    }

    fn play(self) {
        static FOUNDED: OnceLock<Catalog> = OnceLock::new();
        let founded = FOUNDED.get_or_init(|| {
            let mut catalog = Catalog::new(&[]);
            catalog.must(changes::founding());
            catalog
        });
        let mut catalog = founded.clone();
        let mut compiled = CompiledCatalog::compile(&catalog.state);
        for change in self.changes {
            let before = catalog.state.clone();
            let change = json!({"project": PROJECT, "operations": change, "reason": "fuzz"});
            let Ok(change) = serde_json::from_value(change) else { continue };
            // One that is rejected is as good: it must leave everything as it was.
            let _ = catalog.propose(change);
            compiled = compiled.updated(&before, &catalog.state);
            check(&compiled, &catalog.state, &self.contexts);
        }
    }
}

fn check(compiled: &CompiledCatalog, state: &State, contexts: &[EvaluationContext]) {
    let whole = CompiledCatalog::compile(state);
    let project = state.project(PROJECT).expect("no change deletes it");
    for key in changes::ENVIRONMENTS {
        let (updated, whole) = (compiled.environment(PROJECT, key), whole.environment(PROJECT, key));
        let (Some(updated), Some(whole)) = (updated, whole) else {
            assert!(updated.is_none() && whole.is_none(), "{key} exists in both or in neither");
            continue;
        };
        let answers = Answers::of(updated, project, contexts);
        assert_eq!(answers, Answers::of(whole, project, contexts), "{key}: updated as compiled whole");
    }
}
