//! LaunchDarkly's evaluation crate, which evaluates a flag that it is given. It has no "version at least": that is
//! "not less".

use std::{collections::HashMap, hint::black_box};

use flagraft_bench_common::{
    failure::Failure,
    flags::{Flag as Definition, Rule, User},
};
use launchdarkly_server_sdk_evaluation::{
    Context, ContextBuilder, Flag, FlagValue, Segment, Store, evaluate,
};
use serde_json::{Value, json};

use super::Engine;

/// As its server-side SDK does: the flag comes from the store, which by its interface gives a copy.
pub struct ByStore(Flags);

/// The flag is looked up by its key and not copied: faster than the crate's interface allows.
pub struct InHand(Flags);

struct Flags(HashMap<String, Flag>);

impl Store for Flags {
    fn flag(&self, key: &str) -> Option<Flag> {
        self.0.get(key).cloned()
    }

    fn segment(&self, _key: &str) -> Option<Segment> {
        None
    }
}

impl Flags {
    fn load(flags: &[Definition]) -> Result<Self, Failure> {
        let flags =
            flags.iter().map(|flag| Ok((flag.key.clone(), serde_json::from_value(definition(flag))?)));
        flags.collect::<Result<_, Failure>>().map(Self)
    }
}

impl Engine for ByStore {
    const NAME: &'static str = "LaunchDarkly, by its store";
    type Context = Context;

    fn load(flags: &[Definition]) -> Result<Self, Failure> {
        Flags::load(flags).map(Self)
    }

    fn context(user: &User) -> Result<Context, Failure> {
        context(user)
    }

    fn is_on(&self, key: &str, context: &Context) -> bool {
        self.0.flag(key).is_some_and(|flag| is_on(&self.0, &flag, context))
    }
}

impl Engine for InHand {
    const NAME: &'static str = "LaunchDarkly, not copied";
    type Context = Context;

    fn load(flags: &[Definition]) -> Result<Self, Failure> {
        Flags::load(flags).map(Self)
    }

    fn context(user: &User) -> Result<Context, Failure> {
        context(user)
    }

    fn is_on(&self, key: &str, context: &Context) -> bool {
        self.0.0.get(key).is_some_and(|flag| is_on(&self.0, flag, context))
    }
}

fn is_on(flags: &Flags, flag: &Flag, context: &Context) -> bool {
    let detail = black_box(evaluate(flags, flag, context, None));
    matches!(detail.value, Some(FlagValue::Bool(true)))
}

fn context(user: &User) -> Result<Context, Failure> {
    let mut builder = ContextBuilder::new(&user.key);
    builder
        .set_string("country", &user.country)
        .set_string("plan", &user.plan)
        .set_string("version", &user.version);
    builder.build().map_err(Failure)
}

fn definition(flag: &Definition) -> Value {
    let rules: Vec<Value> = flag.rules.iter().enumerate().map(|(n, rule)| self::rule(n, rule)).collect();
    json!({
        "key": flag.key, "version": 1, "on": true, "salt": "0123456789abcdef0123456789abcdef",
        "variations": [true, false], "offVariation": 1,
        "fallthrough": {"variation": if rules.is_empty() { 0 } else { 1 }},
        "targets": [], "contextTargets": [], "prerequisites": [], "rules": rules,
        "clientSideAvailability": {"usingMobileKey": false, "usingEnvironmentId": false},
    })
}

fn rule(n: usize, rule: &Rule) -> Value {
    let clause = |attribute: &str, op: &str, values: Value, negate: bool| json!({"contextKind": "user", "attribute": attribute, "op": op, "values": values, "negate": negate});
    json!({
        "id": format!("rule-{n}"), "trackEvents": false,
        "clauses": [
            clause("country", "in", json!(rule.countries), false),
            clause("plan", "in", json!(rule.plans), false),
            clause("version", "semVerLessThan", json!([rule.version]), true),
        ],
        "rollout": {
            "contextKind": "user",
            "variations": [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}],
        },
    })
}
