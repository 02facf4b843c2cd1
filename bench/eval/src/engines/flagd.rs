//! flagd's engine for Rust, used as flagd's own in-process provider uses it: the provider looks the flag up and asks
//! the engine only where there is a targeting rule. What the provider copies besides is left out.

use std::{collections::HashMap, hint::black_box};

use flagd_evaluation_engine::{FeatureFlag, FlagParser, Operator};
use flagraft_bench_common::{
    failure::Failure,
    flags::{Flag, Rule, User},
};
use open_feature::EvaluationContext;
use serde_json::{Map, Value, json};

use super::Engine;

/// What the crate's `get_targeting` gives of a flag that has none.
const NO_TARGETING: &str = "{}";

pub struct Flagd {
    flags: HashMap<String, FeatureFlag>,
    operator: Operator,
}

impl Engine for Flagd {
    const NAME: &'static str = "flagd";
    type Context = EvaluationContext;

    fn load(flags: &[Flag]) -> Result<Self, Failure> {
        let flags: Map<String, Value> =
            flags.iter().map(|flag| (flag.key.clone(), definition(flag))).collect();
        let parsed = FlagParser::parse_string(&json!({"flags": flags}).to_string())?;
        Ok(Self { flags: parsed.flags, operator: Operator::new() })
    }

    fn context(user: &User) -> Result<EvaluationContext, Failure> {
        Ok(EvaluationContext::default()
            .with_targeting_key(&user.key)
            .with_custom_field("country", user.country.clone())
            .with_custom_field("plan", user.plan.clone())
            .with_custom_field("version", user.version.clone()))
    }

    fn is_on(&self, key: &str, context: &EvaluationContext) -> bool {
        let Some(flag) = self.flags.get(key).filter(|flag| flag.state != "DISABLED") else { return false };
        let targeting = flag.get_targeting();
        let decided = if targeting == NO_TARGETING {
            None
        } else {
            let Ok(decided) = self.operator.apply(key, &targeting, context) else { return false };
            decided
        };
        let variant = decided.as_ref().unwrap_or(&flag.default_variant);
        black_box(flag.variants.get(variant)).and_then(Value::as_bool) == Some(true)
    }
}

fn definition(flag: &Flag) -> Value {
    let mut definition = json!({
        "state": "ENABLED", "variants": {"on": true, "off": false},
        "defaultVariant": if flag.rules.is_empty() { "on" } else { "off" },
    });
    if !flag.rules.is_empty() {
        let mut branches: Vec<Value> = flag.rules.iter().flat_map(|rule| branch(&flag.key, rule)).collect();
        branches.push(json!("off"));
        definition["targeting"] = json!({"if": branches});
    }
    definition
}

/// A rule's conditions, and what it serves.
fn branch(key: &str, rule: &Rule) -> [Value; 2] {
    let conditions = json!({"and": [
        {"in": [{"var": "country"}, rule.countries]},
        {"in": [{"var": "plan"}, rule.plans]},
        {"sem_ver": [{"var": "version"}, ">=", rule.version]},
    ]});
    let rollout = json!({"fractional": [{"cat": [key, {"var": "targetingKey"}]}, ["on", 50], ["off", 50]]});
    [conditions, rollout]
}
