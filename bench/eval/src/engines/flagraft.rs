//! Flagraft: one compiled environment, behind the pointer that a change swaps, and without it.

use std::hint::black_box;

use arc_swap::ArcSwap;
use flagraft_bench_common::{
    failure::Failure,
    flags::{Flag, User, document::put},
};
use flagraft_bench_eval::catalog::{Catalog, PROJECT};
use flagraft_core::{compiled::CompiledEnvironment, context::EvaluationContext, key::EnvironmentKey};
use serde_json::{Value, json};

use super::Engine;

const ENVIRONMENT: &str = "production";
/// Operations of one change.
const BATCH: usize = 100;

/// As a node or a client holds it: each evaluation loads the pointer to what was published last.
pub struct Published(ArcSwap<CompiledEnvironment>);

/// The same without the pointer, as for many evaluations at one revision.
pub struct InHand(CompiledEnvironment);

impl Engine for Published {
    const NAME: &'static str = "Flagraft";
    type Context = EvaluationContext;

    fn load(flags: &[Flag]) -> Result<Self, Failure> {
        Ok(Self(ArcSwap::from_pointee(compile(flags)?)))
    }

    fn context(user: &User) -> Result<EvaluationContext, Failure> {
        Ok(context(user))
    }

    fn is_on(&self, key: &str, context: &EvaluationContext) -> bool {
        is_on(&self.0.load(), key, context)
    }
}

impl Engine for InHand {
    const NAME: &'static str = "Flagraft, revision in hand";
    type Context = EvaluationContext;

    fn load(flags: &[Flag]) -> Result<Self, Failure> {
        Ok(Self(compile(flags)?))
    }

    fn context(user: &User) -> Result<EvaluationContext, Failure> {
        Ok(context(user))
    }

    fn is_on(&self, key: &str, context: &EvaluationContext) -> bool {
        is_on(&self.0, key, context)
    }
}

fn is_on(compiled: &CompiledEnvironment, key: &str, context: &EvaluationContext) -> bool {
    let resolution = black_box(compiled.evaluate(key, context));
    resolution.ok().and_then(|resolution| resolution.value).and_then(Value::as_bool) == Some(true)
}

fn compile(flags: &[Flag]) -> Result<CompiledEnvironment, Failure> {
    let mut catalog = Catalog::new(&[ENVIRONMENT]);
    for flags in flags.chunks(BATCH) {
        catalog.must(flags.iter().map(|flag| put(flag, ENVIRONMENT)).collect());
    }
    let project = catalog.state.project(PROJECT).ok_or_else(|| Failure("there is no project".to_owned()))?;
    let environment = EnvironmentKey::new(ENVIRONMENT).map_err(|e| Failure(e.message))?;
    Ok(CompiledEnvironment::compile(project, &environment))
}

fn context(user: &User) -> EvaluationContext {
    let attributes = [
        ("targetingKey", &user.key),
        ("country", &user.country),
        ("plan", &user.plan),
        ("version", &user.version),
    ];
    EvaluationContext::new(
        attributes.map(|(name, value)| (name.to_owned(), json!(value))).into_iter().collect(),
    )
}
