//! Evaluation allocates nothing. In a program of its own, for the allocator that counts is the program's.

mod common;

use allocation_counter::measure;
use common::{Catalog, PROJECT};
use flagraft_core::{compiled::CompiledCatalog, context::EvaluationContext};
use serde_json::{Map, Value, json};

fn context(value: Value) -> EvaluationContext {
    let attributes: Map<String, Value> = serde_json::from_value(value).expect("an object");
    EvaluationContext::new(attributes)
}

/// A flag of strings whose rules are these.
fn flag(key: &str, configuration: Value) -> Value {
    let mut configuration = configuration;
    configuration["enabled"] = json!(true);
    json!({"op": "flag.put", "flag": {
        "key": key, "type": "string", "variants": {"a": "A", "b": "B"}, "off_variant": "a",
        "environments": {"production": configuration},
    }})
}

/// One rule for each kind of condition, and a rollout by each method.
fn catalog() -> Catalog {
    let mut catalog = Catalog::new(&["production"]);
    let members: Vec<String> = (0..1_000).map(|n| format!("member-{n}")).collect();
    catalog.must(json!([
        {"op": "segment.put", "segment": {"key": "inner", "when": {"attribute": "country", "op": "eq", "values": ["DE"]}}},
        {"op": "segment.put", "segment": {"key": "outer", "included": members, "excluded": members,
            "when": {"all": [{"segment": "inner"}, {"not": {"segment": "inner"}}]}}},
    ]));
    let compare = |attribute: &str, op: &str, values: Value| json!({"attribute": attribute, "op": op, "values": values});
    let many: Vec<String> = (0..100).map(|n| format!("c{n}")).collect();
    let conditions = [
        compare("country", "in", json!(many)),
        compare("n", "in", json!([1, 2.5, true])),
        compare("tags", "eq", json!(["z"])),
        compare("user.plan", "starts_with", json!(["z"])),
        compare("user.plan", "ends_with", json!(["z"])),
        json!({"attribute": "country", "op": "contains", "values": ["Z"], "ignore_case": true}),
        compare("country", "matches", json!(["^[a-z]+$"])),
        compare("n", "lt", json!([0])),
        compare("n", "gte", json!([1e9])),
        compare("at", "before", json!(["2000-01-01T00:00:00Z"])),
        compare("at", "after", json!(["2100-01-01T00:00:00+01:00"])),
        compare("version", "semver_eq", json!(["1.0.0"])),
        compare("version", "semver_lt", json!(["1.0.0-rc.1"])),
        compare("ip", "cidr", json!(["10.0.0.0/8", "2001:db8::/32"])),
        json!({"attribute": "nobody", "op": "exists"}),
        json!({"segment": "outer"}),
        json!({"bucket": {"seed": "s", "from": 0, "to": 0, "of": 100}}),
        json!({"bucket": {"by": "n", "seed": "s", "from": 0, "to": 0, "of": 100}}),
    ];
    let rules: Vec<Value> = conditions
        .iter()
        .enumerate()
        .map(|(n, when)| json!({"id": format!("r{n}"), "when": when, "serve": {"variant": "b"}}))
        .collect();
    catalog.must(json!([flag("conditions", json!({"rules": rules, "default": {"variant": "a"}}))]));
    for (method, total) in [
        ("murmur3", 100),
        ("unleash", 100),
        ("unleash_variant", 100),
        ("launchdarkly", 100_000),
        ("flagd", 100),
        ("flagd_percent", 100),
        ("flipt", 1_000),
        ("flipt_threshold", 100),
        ("go_feature_flag", 100),
        ("growthbook_v1", 100),
        ("growthbook_v2", 100),
    ] {
        let weights = json!([{"variant": "a", "weight": 1}, {"variant": "b", "weight": total - 1}]);
        let rollout = json!({"seed": "a seed that is longer than a block of any hash, and then some more of it", "weights": weights, "method": method});
        catalog.must(json!([flag(method, json!({"default": {"rollout": rollout}}))]));
    }
    for n in 0..16 {
        let before: Vec<Value> =
            (0..n).map(|m| json!({"flag": format!("chain-{m}"), "variants": ["a"]})).collect();
        let configuration = json!({"prerequisites": before, "targets": [{"by": "n", "values": ["8"], "variant": "b"}], "default": {"variant": "a"}});
        catalog.must(json!([flag(&format!("chain-{n}"), configuration)]));
    }
    catalog
}

#[test]
fn no_evaluation_allocates() {
    let catalog = catalog();
    let compiled = CompiledCatalog::compile(&catalog.state);
    let environment = compiled.environment(PROJECT, "production").expect("it is there");
    let contexts = [
        context(json!({})),
        context(json!({
            "targetingKey": "user-1", "country": "DE", "n": 7, "tags": ["x", "y"], "user": {"plan": "pro"},
            "at": "2026-11-26T12:00:00.123Z", "version": "2.1.0-rc.1+build.5", "ip": "192.168.1.1",
        })),
        context(
            json!({"targetingKey": 12_345_678, "country": "ÄÖÜ", "n": 1.5, "version": "v2", "ip": "2001:db9::1", "at": "?"}),
        ),
    ];
    let keys: Vec<String> =
        catalog.state.project(PROJECT).expect("it is there").flags.keys().map(ToString::to_string).collect();
    assert_eq!(keys.len(), 1 + 11 + 16);
    let evaluate_all = || {
        for key in &keys {
            for context in &contexts {
                assert!(environment.evaluate(key, context).is_ok());
            }
        }
    };
    // The first use of a regular expression makes its working memory.
    evaluate_all();
    assert_eq!(measure(evaluate_all).count_total, 0);
    // It does count.
    assert_eq!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total, 1);
}

/// A long text is not lowered to be held against short ones, however many conditions do.
#[test]
fn no_more_of_a_long_text_is_lowered_than_is_compared() {
    let mut catalog = Catalog::new(&["production"]);
    let rules: Vec<Value> = ["in", "eq", "starts_with", "ends_with"]
        .iter()
        .map(|op| {
            let when =
                json!({"attribute": "text", "op": op, "values": ["Short", "Größe"], "ignore_case": true});
            json!({"id": op, "when": when, "serve": {"variant": "b"}})
        })
        .collect();
    catalog.must(json!([flag("text", json!({"rules": rules, "default": {"variant": "a"}}))]));
    let compiled = CompiledCatalog::compile(&catalog.state);
    let environment = compiled.environment(PROJECT, "production").expect("it is there");
    for (text, variant) in [("X".repeat(1 << 20), "a"), (format!("{}GRÖßE", "X".repeat(1 << 20)), "b")] {
        let context = context(json!({"text": text}));
        let evaluate =
            || assert_eq!(environment.evaluate("text", &context).expect("it is there").variant, variant);
        assert_eq!(measure(evaluate).count_total, 0);
    }
}

/// What an explanation keeps of an attribute, it keeps once.
#[test]
fn an_explanation_takes_memory_for_what_is_configured_not_for_what_is_asked() {
    let mut catalog = Catalog::new(&["production"]);
    let targets: Vec<Value> =
        (0..10_000).map(|n| json!({"values": [format!("u{n}")], "variant": "b"})).collect();
    catalog.must(json!([flag("targets", json!({"targets": targets}))]));
    let compiled = CompiledCatalog::compile(&catalog.state);
    let environment = compiled.environment(PROJECT, "production").expect("it is there");
    let context = context(json!({"targetingKey": "x".repeat(1 << 20)}));
    let taken = measure(|| drop(environment.explain("targets", &context).expect("it is there")));
    assert!(taken.bytes_max < 8 << 20, "{} bytes at once", taken.bytes_max);
}
