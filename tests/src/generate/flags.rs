//! Flags.

use std::collections::BTreeSet;

use fastrand::Rng;
use serde_json::{Value, json};

use super::{
    ENVIRONMENTS, chance,
    conditions::{Attribute, condition},
    pick, pools, some,
};

/// How long a chain of prerequisites may be, the first flag included.
const CHAIN: usize = 4;

/// Methods, with the total that the weights must have, where they must.
const METHODS: &[(&str, Option<u32>)] = &[
    ("murmur3", None),
    ("unleash", None),
    ("unleash_variant", None),
    ("launchdarkly", Some(100_000)),
    ("flagd", None),
    ("flagd_percent", None),
    ("flipt", Some(1_000)),
    ("flipt_threshold", Some(100)),
    ("go_feature_flag", None),
    ("growthbook_v1", None),
    ("growthbook_v2", None),
];

/// Methods that need a seed.
const SEEDED: &[&str] = &["murmur3", "unleash", "unleash_variant", "launchdarkly"];

pub(super) fn flags(rng: &mut Rng, number: usize, attributes: &[Attribute], segments: &[&str]) -> Vec<Value> {
    let mut flags: Vec<Value> = Vec::new();
    for at in 0..number {
        let earlier: Vec<&Value> = flags.iter().skip(at - at % CHAIN).collect();
        let flag = flag(rng, at, &earlier, attributes, segments);
        flags.push(flag);
    }
    flags
}

/// A flag that depends on every flag that is likely to be met, and looks at every segment.
pub(super) fn dependent_on_all(flags: &[Value], segments: &[&str]) -> Value {
    let environment = ENVIRONMENTS[0];
    let is_served = |flag: &&Value| {
        let configuration = &flag["environments"][environment];
        configuration["enabled"] == true && !configuration["default"].is_null()
    };
    let prerequisites: Vec<Value> = flags
        .iter()
        .filter(is_served)
        .map(|flag| {
            let variants: Vec<&String> = flag["variants"].as_object().expect("variants").keys().collect();
            json!({"flag": flag["key"], "variants": variants})
        })
        .collect();
    // Each of them holds, whether the context is in the segment or not.
    let all: Vec<Value> =
        segments.iter().map(|key| json!({"any": [{"segment": key}, {"not": {"segment": key}}]})).collect();
    let any: Vec<Value> = segments.iter().rev().map(|key| json!({"segment": key})).collect();
    json!({
        "key": "wide", "type": "boolean", "variants": {"on": true, "off": false},
        "environments": {environment: {
            "enabled": true, "prerequisites": prerequisites, "default": {"variant": "off"},
            "rules": [{"id": "all", "when": {"all": [{"all": all}, {"any": any}]}, "serve": {"variant": "on"}}],
        }},
    })
}

/// Flags that no other one depends on, so that they may be archived: seldom any.
pub(super) fn archivable(rng: &mut Rng, flags: &[Value]) -> BTreeSet<String> {
    let is_needed = |key: &Value| {
        let configurations = flags.iter().flat_map(|flag| ENVIRONMENTS.map(|e| &flag["environments"][e]));
        let mut prerequisites =
            configurations.filter_map(|configuration| configuration["prerequisites"].as_array()).flatten();
        prerequisites.any(|prerequisite| prerequisite["flag"] == *key)
    };
    let free = flags.iter().map(|flag| &flag["key"]).filter(|key| !is_needed(key));
    free.filter(|_| chance(rng, 5)).filter_map(|key| key.as_str().map(str::to_owned)).collect()
}

fn flag(rng: &mut Rng, at: usize, earlier: &[&Value], attributes: &[Attribute], segments: &[&str]) -> Value {
    let (flag_type, variants) = typed_variants(rng);
    let names: Vec<String> = variants.as_object().expect("variants").keys().cloned().collect();
    let mut flag = json!({"key": format!("flag-{at}"), "type": flag_type, "variants": variants});
    if chance(rng, 75) {
        flag["off_variant"] = json!(pick(rng, &names));
    }
    for (environment, percent) in ENVIRONMENTS.into_iter().zip([95, 50]) {
        if chance(rng, percent) {
            flag["environments"][environment] = configuration(rng, &names, earlier, attributes, segments);
        }
    }
    flag
}

/// A type, and variants of it. What has more than one spelling is spelled in more than one way.
fn typed_variants(rng: &mut Rng) -> (&'static str, Value) {
    match rng.u8(0..6) {
        0 | 1 => ("boolean", json!({"on": true, "off": false})),
        2 => ("string", json!({"a": "A", "b": "", "c": "ünïcödé \"x\"\n", "d": "D"})),
        3 => (
            "integer",
            json!({"one": 1, "one too": 1.0, "least": -9_007_199_254_740_991_i64, "nought": -0.0}),
        ),
        4 => ("number", json!({"zero": 0, "tenth": 0.1, "huge": 1e300, "whole": 9_007_199_254_740_993_i64})),
        _ => (
            "object",
            json!({"empty": {}, "full": {"b": [1, 2.5, null, {"c": 1.0}], "a": true}, "é": {"": 0}}),
        ),
    }
}

fn configuration(
    rng: &mut Rng,
    variants: &[String],
    earlier: &[&Value],
    attributes: &[Attribute],
    segments: &[&str],
) -> Value {
    let mut configuration = json!({"enabled": chance(rng, 92), "default": null});
    if chance(rng, 85) {
        configuration["default"] = serve(rng, variants, attributes);
    }
    if chance(rng, 15) {
        configuration["off_variant"] = json!(pick(rng, variants));
    }
    if chance(rng, 4) {
        configuration["hold"] = json!({"variant": pick(rng, variants), "id": "hibernation"});
    }
    if !earlier.is_empty() && chance(rng, 40) {
        let needed = some(rng, earlier, 1);
        configuration["prerequisites"] = needed.iter().take(2).map(|flag| prerequisite(rng, flag)).collect();
    }
    if chance(rng, 30) {
        configuration["targets"] = targets(rng, variants, attributes);
    }
    let rules = *pick(rng, &[0, 1, 1, 2, 2, 3, 4]);
    if rules > 0 {
        configuration["rules"] = (0..rules)
            .map(|at| {
                let mut rule = json!({"id": format!("rule {at}"), "serve": serve(rng, variants, attributes)});
                if chance(rng, 92) {
                    rule["when"] = condition(rng, attributes, segments, 3);
                }
                rule
            })
            .collect();
    }
    configuration
}

/// Content with most of the other flag's variants, so that it is often met.
fn prerequisite(rng: &mut Rng, flag: &Value) -> Value {
    let variants: Vec<&String> = flag["variants"].as_object().expect("variants").keys().collect();
    let least = if chance(rng, 70) { variants.len().div_ceil(2) } else { 1 };
    json!({"flag": flag["key"], "variants": some(rng, &variants, least)})
}

/// A value is listed for one variant only, as each attribute is gone by once.
fn targets(rng: &mut Rng, variants: &[String], attributes: &[Attribute]) -> Value {
    let mut by: Vec<&str> = attributes.iter().map(|attribute| attribute.name.as_str()).collect();
    rng.shuffle(&mut by);
    by.truncate(rng.usize(1..3));
    by.into_iter()
        .map(|by| json!({"by": by, "values": pools::users(rng, 4), "variant": pick(rng, variants)}))
        .collect()
}

fn serve(rng: &mut Rng, variants: &[String], attributes: &[Attribute]) -> Value {
    if chance(rng, 50) {
        return json!({"variant": pick(rng, variants)});
    }
    let (method, total) = *pick(rng, METHODS);
    let total = total.unwrap_or_else(|| *pick(rng, &[1, 3, 7, 100, 1_000, 100_000, 2_147_483_647]));
    let seed = if !SEEDED.contains(&method) && chance(rng, 15) { "" } else { pools::seed(rng, method) };
    let mut rollout = json!({"seed": seed, "weights": weights(rng, variants, total)});
    // Ours may be named or not.
    if method != "murmur3" || rng.bool() {
        rollout["method"] = json!(method);
    }
    if chance(rng, 40) {
        rollout["by"] = json!(pick(rng, attributes).name);
    }
    json!({ "rollout": rollout })
}

/// Shares that add up to the total; some are nothing.
fn weights(rng: &mut Rng, variants: &[String], total: u32) -> Vec<Value> {
    let mut given = some(rng, variants, 1);
    rng.shuffle(&mut given);
    let mut cuts: Vec<u32> = given.iter().skip(1).map(|_| rng.u32(0..=total)).collect();
    cuts.sort_unstable();
    cuts.push(total);
    let mut before = 0;
    given
        .into_iter()
        .zip(cuts)
        .map(|(variant, cut)| {
            let weight = cut - before;
            before = cut;
            json!({"variant": variant, "weight": weight})
        })
        .collect()
}
