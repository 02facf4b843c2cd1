//! Explanations: what was tried, in order, with what was seen.

mod common;

use common::{Catalog, PROJECT};
use flagraft_core::{compiled::CompiledCatalog, context::EvaluationContext, state::State};
use serde_json::{Map, Value, json};

fn explain(state: &State, flag: &str, context: Value) -> Value {
    let attributes: Map<String, Value> = serde_json::from_value(context).expect("an object");
    let catalog = CompiledCatalog::compile(state);
    let environment = catalog.environment(PROJECT, "production").expect("it is there");
    let context = EvaluationContext::new(attributes);
    let explanation = environment.explain(flag, &context).expect(flag);
    // It is the same evaluation.
    let resolution = environment.evaluate(flag, &context).expect(flag);
    assert_eq!(explanation.variant, resolution.variant);
    assert_eq!(explanation.value.as_ref(), resolution.value);
    assert_eq!((explanation.reason, explanation.detail), (resolution.reason, resolution.detail));
    serde_json::to_value(explanation).expect("JSON")
}

fn boolean(key: &str, configuration: Value) -> Value {
    json!({"op": "flag.put", "flag": {
        "key": key, "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "environments": {"production": configuration},
    }})
}

fn shop() -> State {
    let mut catalog = Catalog::new(&["production"]);
    catalog.must(json!([
        {"op": "segment.put", "segment": {"key": "staff", "included": ["ann"], "excluded": ["bob"],
            "when": {"attribute": "email", "op": "ends_with", "values": ["@example.com"]}}},
        boolean("payments", json!({"enabled": true, "targets": [{"by": "country", "values": ["US"], "variant": "off"}], "default": {"variant": "on"}})),
        boolean("off", json!({"enabled": false})),
        boolean("held", json!({"enabled": false, "hold": {"variant": "on", "id": "stop-1"}})),
        {"op": "flag.put", "flag": {"key": "elsewhere", "type": "boolean", "variants": {"on": true}}},
        boolean("after-off", json!({"enabled": true, "prerequisites": [{"flag": "off", "variants": ["off"]}]})),
        boolean("checkout", json!({
            "enabled": true,
            "prerequisites": [{"flag": "payments", "variants": ["on"]}],
            "targets": [{"values": ["u1", "u2"], "variant": "on"}],
            "rules": [
                {"id": "staff", "name": "Staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}},
                {"id": "ramp", "when": {"all": [
                    {"attribute": "country", "op": "in", "values": ["DE", "FR"]},
                    {"not": {"bucket": {"seed": "holdout", "from": 0, "to": 50, "of": 100}}},
                ]}, "serve": {"rollout": {"seed": "checkout", "weights": [{"variant": "on", "weight": 10}, {"variant": "off", "weight": 90}]}}},
                {"id": "last", "serve": {"variant": "off"}},
            ],
            "default": {"rollout": {"by": "device", "seed": "d", "weights": [{"variant": "on", "weight": 1}]}},
        })),
    ]));
    catalog.state
}

#[test]
fn every_step_is_told() {
    let explained = explain(
        &shop(),
        "checkout",
        json!({"targetingKey": "u3", "country": "DE", "email": "u3@example.org"}),
    );
    let expected = json!({
        "flag": "checkout", "variant": "off", "value": false, "reason": "SPLIT",
        "decided_by": {"step": "rule", "id": "ramp"},
        "prerequisites": [{
            "flag": "payments", "variants": ["on"], "met": true, "served": "on",
            "explanation": {
                "flag": "payments", "variant": "on", "value": true, "reason": "DEFAULT", "decided_by": {"step": "default"},
                "prerequisites": [], "rules": [], "default": {"variant": "on"},
                "targets": [{"by": "country", "values": 1, "variant": "off", "listed": false, "saw": "DE"}],
            },
        }],
        "targets": [{"by": "targetingKey", "values": 2, "variant": "on", "listed": false, "saw": "u3"}],
        "rules": [
            {"id": "staff", "name": "Staff", "outcome": "no_match", "text": "segment(\"staff\")", "serve": {"variant": "on"},
             "when": {"kind": "segment", "text": "segment(\"staff\")", "holds": false, "saw": "u3", "inner": [
                 {"kind": "attribute", "text": "email ends_with \"@example.com\"", "holds": false, "saw": "u3@example.org"},
             ]}},
            {"id": "ramp", "outcome": "serves",
             "text": "country in [\"DE\", \"FR\"] and not bucket(targetingKey, \"holdout\") in [0, 50) of 100",
             "when": {"kind": "all", "holds": true, "inner": [
                 {"kind": "attribute", "text": "country in [\"DE\", \"FR\"]", "holds": true, "saw": "DE"},
                 {"kind": "not", "holds": true, "inner": [
                     {"kind": "bucket", "text": "bucket(targetingKey, \"holdout\") in [0, 50) of 100", "holds": false, "saw": "u3", "bucket": 53},
                 ]},
             ]},
             "serve": {"rollout": {"by": "targetingKey", "method": "murmur3", "seed": "checkout", "of": 100, "saw": "u3", "bucket": 72, "variant": "off",
                 "shares": [{"variant": "on", "weight": 10, "below": 10}, {"variant": "off", "weight": 90, "below": 100}]}}},
            {"id": "last", "outcome": "not_reached", "text": null, "when": null, "serve": {"variant": "off"}},
        ],
        "default": {"rollout": {"by": "device", "method": "murmur3", "seed": "d", "of": 1, "shares": [{"variant": "on", "weight": 1, "below": 1}]}},
    });
    assert_eq!(explained, expected, "{explained:#}");
}

#[test]
fn what_was_not_reached_has_no_outcome_and_what_is_missing_is_null() {
    let state = shop();
    let explained = explain(&state, "checkout", json!({"country": "FR"}));
    // Nobody: no key for the target, the segment's lists, the bucket (so `not` holds) and the rollout.
    assert_eq!(explained["targets"][0]["saw"], json!(null));
    assert_eq!(explained["rules"][0]["when"]["inner"][0]["saw"], json!(null));
    assert_eq!(explained["rules"][1]["outcome"], "no_share");
    assert_eq!(explained["rules"][1]["serve"]["rollout"].get("bucket"), None);
    assert_eq!(explained["decided_by"], json!({"step": "rule", "id": "last"}));

    let explained = explain(&state, "checkout", json!({"targetingKey": "u2"}));
    assert_eq!(explained["decided_by"], json!({"step": "target", "index": 0}));
    assert_eq!(explained["rules"][0]["outcome"], "not_reached");
    assert_eq!(explained["rules"][0]["when"]["holds"], json!(null));
    assert_eq!(explained["rules"][1]["when"]["inner"][0].get("saw"), None);

    let explained = explain(&state, "checkout", json!({"country": "US"}));
    assert_eq!(explained["decided_by"], json!({"step": "prerequisite", "flag": "payments"}));
    assert_eq!(explained["prerequisites"][0]["met"], false);
    assert_eq!(explained["targets"][0]["listed"], json!(null));
}

#[test]
fn lists_of_segments_are_named() {
    let state = shop();
    for (key, list, outcome) in [("ann", "included", "serves"), ("bob", "excluded", "no_match")] {
        let explained = explain(&state, "checkout", json!({"targetingKey": key, "email": "x@example.com"}));
        let rule = &explained["rules"][0];
        assert_eq!((&rule["when"]["listed"], &rule["outcome"]), (&json!(list), &json!(outcome)), "{key}");
        assert_eq!(rule["when"].get("inner"), None, "its condition was not asked");
    }
}

#[test]
fn what_is_the_same_for_everyone_says_why() {
    let state = shop();
    for (flag, step) in [
        ("off", json!({"step": "disabled"})),
        ("held", json!({"step": "hold", "id": "stop-1"})),
        ("elsewhere", json!({"step": "not_configured"})),
        ("after-off", json!({"step": "prerequisite", "flag": "off"})),
    ] {
        assert_eq!(explain(&state, flag, json!({}))["decided_by"], step, "{flag}");
    }
    let explained = explain(&state, "after-off", json!({}));
    assert_eq!(explained["prerequisites"][0]["served"], json!(null), "a disabled one serves nothing");
    assert_eq!(explained["detail"], "prerequisite");
}
