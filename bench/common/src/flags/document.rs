//! The flags as Flagraft's documents.

use serde_json::{Value, json};

use super::{Flag, Rule};

/// The operation that puts a flag, configured in one environment.
pub fn put(flag: &Flag, environment: &str) -> Value {
    let rules: Vec<Value> =
        flag.rules.iter().enumerate().map(|(n, rule)| self::rule(flag, n, rule)).collect();
    let default = if flag.rules.is_empty() { "on" } else { "off" };
    json!({"op": "flag.put", "flag": {
        "key": flag.key, "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "environments": {environment: {"enabled": true, "rules": rules, "default": {"variant": default}}},
    }})
}

fn rule(flag: &Flag, n: usize, rule: &Rule) -> Value {
    json!({
        "id": format!("rule-{n}"),
        "when": {"all": [
            {"attribute": "country", "op": "in", "values": rule.countries},
            {"attribute": "plan", "op": "in", "values": rule.plans},
            {"attribute": "version", "op": "semver_gte", "values": [rule.version]},
        ]},
        "serve": {"rollout": {
            "by": "targetingKey", "seed": flag.key,
            "weights": [{"variant": "on", "weight": 50}, {"variant": "off", "weight": 50}],
        }},
    })
}
