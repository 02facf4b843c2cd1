//! Whom a flag is evaluated for, and what is laid over that.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use flagraft_core::context::{EvaluationContext, TARGETING_KEY};
use serde_json::{Map, Value};

/// The attribute that a client adds where a context has none, as a node does.
const REGION: &str = "region";

/// What is known of whoever a flag is evaluated for: attributes by name. Worth keeping for as many evaluations as are
/// about the same user: what the token lays over it is then worked out once.
#[derive(Clone, Debug, Default)]
pub struct Context {
    attributes: Map<String, Value>,
    laid: OnceLock<Laid>,
}

/// A context as it is evaluated: with what was laid over it.
#[derive(Clone, Debug)]
struct Laid {
    overlay: Arc<Overlay>,
    context: EvaluationContext,
}

impl Context {
    /// The context of nobody in particular.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The context of whoever has this targeting key: a user's id, mostly.
    pub fn of(targeting_key: impl Into<String>) -> Self {
        Self::new().with(TARGETING_KEY, targeting_key.into())
    }

    /// The same with an attribute, in place of one of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self.laid.take();
        self
    }

    /// The attributes that were given.
    pub fn attributes(&self) -> &Map<String, Value> {
        &self.attributes
    }

    /// Evaluates with the context as it is under an overlay.
    #[inline]
    pub(crate) fn under<R>(&self, overlay: &Arc<Overlay>, ask: impl FnOnce(&EvaluationContext) -> R) -> R {
        let laid =
            self.laid.get_or_init(|| Laid { overlay: Arc::clone(overlay), context: overlay.over(self) });
        // Another copy's overlay mostly says the same.
        if Arc::ptr_eq(&laid.overlay, overlay) || laid.overlay == *overlay {
            return ask(&laid.context);
        }
        ask(&overlay.over(self))
    }
}

impl From<Map<String, Value>> for Context {
    fn from(attributes: Map<String, Value>) -> Self {
        Self { attributes, laid: OnceLock::new() }
    }
}

/// What goes over every context, so that an evaluation here is the one that a node would make.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Overlay {
    /// Where a context names no region.
    pub region: Option<String>,
    /// The token's attributes: they win over the caller's.
    pub token: BTreeMap<String, Value>,
}

impl Overlay {
    /// The attributes as they are sent to a node, which lays the token's over them itself.
    pub fn with_region(&self, context: &Context) -> Map<String, Value> {
        let mut attributes = context.attributes.clone();
        if let Some(region) = &self.region {
            attributes.entry(REGION).or_insert_with(|| region.as_str().into());
        }
        attributes
    }

    fn over(&self, context: &Context) -> EvaluationContext {
        let mut laid = EvaluationContext::new(self.with_region(context));
        laid.override_with(&self.token);
        laid
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(context: &Context, overlay: &Arc<Overlay>) -> Value {
        context.under(overlay, |context| serde_json::to_value(context).expect("JSON"))
    }

    #[test]
    fn the_token_wins_and_the_region_gives_way() {
        let token = BTreeMap::from([("plan".to_owned(), json!("free"))]);
        let overlay = Arc::new(Overlay { region: Some("eu".to_owned()), token });
        let context = Context::of("u1").with("plan", "pro");
        let expected = json!({"plan": "free", "region": "eu", "targetingKey": "u1"});
        assert_eq!(seen(&context, &overlay), expected);
        assert_eq!(seen(&context, &overlay), expected, "kept");
        assert_eq!(seen(&context, &Arc::default()), json!({"plan": "pro", "targetingKey": "u1"}));
        let other = Arc::new(Overlay { region: Some("us".to_owned()), token: BTreeMap::new() });
        assert_eq!(seen(&context, &other)["region"], "us", "not the one that is kept");
        assert_eq!(seen(&context.with("region", "mars"), &other)["region"], "mars");
    }
}
