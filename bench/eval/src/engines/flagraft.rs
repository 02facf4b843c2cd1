//! Flagraft: one compiled environment, behind the pointer that a change swaps, and without it.

use std::{cell::RefCell, hint::black_box, sync::Arc};

use arc_swap::{ArcSwap, Cache};
use flagraft_bench_common::{
    failure::Failure,
    flags::{Flag, User, document::put},
};
use flagraft_bench_eval::catalog::{Catalog, PROJECT};
use flagraft_core::{compiled::CompiledEnvironment, context::EvaluationContext, key::EnvironmentKey};
use serde_json::{Value, json};

use super::Engine;

pub const ENVIRONMENT: &str = "production";
/// Operations of one change.
const BATCH: usize = 100;

/// As a thread of a service holds it: each evaluation asks whether something newer was published.
pub struct Published(RefCell<Cache<Arc<ArcSwap<CompiledEnvironment>>, Arc<CompiledEnvironment>>>);

/// The same without the pointer, as for many evaluations at one revision.
pub struct InHand(CompiledEnvironment);

impl Engine for Published {
    const NAME: &'static str = "Flagraft";
    type Context = EvaluationContext;

    fn load(flags: &[Flag]) -> Result<Self, Failure> {
        Ok(Self(RefCell::new(Cache::new(Arc::new(ArcSwap::from_pointee(compile(flags)?))))))
    }

    fn context(user: &User) -> Result<EvaluationContext, Failure> {
        Ok(context(user))
    }

    fn is_on(&self, key: &str, context: &EvaluationContext) -> bool {
        is_on(self.0.borrow_mut().load(), key, context)
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
