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

/// An attribute of a megabyte that ten thousand targets look at was ten gigabytes of notes once.
#[test]
fn an_explanation_has_a_bound_however_long_the_attributes_and_however_many_the_targets() {
    let mut catalog = Catalog::new(&["production"]);
    let targets: Vec<Value> =
        (0..10_000).map(|n| json!({"values": [format!("u{n}")], "variant": "on"})).collect();
    let with = |targets: &Value, before: &[String]| {
        let before: Vec<Value> =
            before.iter().map(|flag| json!({"flag": flag, "variants": ["on"]})).collect();
        let default = json!({"variant": "on"});
        json!({"enabled": true, "targets": targets, "prerequisites": before, "default": default})
    };
    let names: Vec<String> = (0..20).map(|n| format!("before-{n}")).collect();
    for name in &names {
        catalog.must(json!([boolean(name, with(&json!(targets), &[]))]));
    }
    catalog.must(json!([boolean("checkout", with(&json!(targets), &names))]));

    let explained = explain(&catalog.state, "checkout", json!({"targetingKey": "x".repeat(1 << 20)}));
    assert_eq!(explained["shortened"], true);
    assert!(explained.to_string().len() < 12 << 20, "{} bytes", explained.to_string().len());
    // What is left out does not change what is said of the rest.
    assert_eq!(explained["decided_by"], json!({"step": "default"}));
    let told = explained["targets"].as_array().expect("targets");
    assert!(told.len() == 10_000 && told.iter().all(|target| target["listed"] == false));
    assert_eq!(told[0]["saw"], format!("{}…", "x".repeat(1_024)));
    assert_eq!(told[9_999].get("saw"), None);
    let before = explained["prerequisites"].as_array().expect("prerequisites");
    assert!(before.len() == 20 && before.iter().all(|flag| flag["met"] == true && flag["served"] == "on"));
    assert_eq!(before[19].get("explanation"), None);
}

#[test]
fn an_explanation_has_a_bound_however_many_the_conditions_and_however_long_their_values() {
    let mut catalog = Catalog::new(&["production"]);
    let names: Vec<String> = (0..60).map(|n| format!("segment-{n}")).collect();
    let conditions: Vec<Value> =
        (0..999).map(|n| json!({"attribute": "country", "op": "eq", "values": [format!("{n}")]})).collect();
    for name in &names {
        catalog.must(json!([{"op": "segment.put", "segment": {"key": name, "when": {"any": conditions}}}]));
    }
    let values: Vec<String> = (0..9_000).map(|n| format!("{n}{}", "\u{1}".repeat(10))).collect();
    let values = json!({"attribute": "country", "op": "in", "values": values});
    let segments: Vec<Value> = names.iter().map(|name| json!({"segment": name})).collect();
    catalog.must(json!([boolean(
        "checkout",
        json!({"enabled": true, "rules": [
            {"id": "values", "when": values, "serve": {"variant": "off"}},
            {"id": "segments", "when": {"not": {"any": segments}}, "serve": {"variant": "on"}},
        ]})
    )]));
    let explained = explain(&catalog.state, "checkout", json!({"targetingKey": "u1", "country": "DE"}));
    assert_eq!(explained["shortened"], true);
    assert!(explained.to_string().len() < 8 << 20, "{} bytes", explained.to_string().len());
    assert_eq!(explained["decided_by"], json!({"step": "rule", "id": "segments"}));
    assert_eq!(
        (&explained["rules"][0]["outcome"], &explained["rules"][1]["outcome"]),
        (&json!("no_match"), &json!("serves"))
    );
    assert_eq!(explained["rules"][1]["when"]["holds"], true);
    let told = &explained["rules"][1]["when"]["inner"][0]["inner"];
    assert_eq!(
        (&told[0]["holds"], told[0]["inner"][0]["inner"].as_array().map(Vec::len)),
        (&json!(false), Some(999))
    );
    assert_eq!((&told[59]["holds"], told[59].get("inner")), (&json!(null), None));
}

#[test]
fn one_long_attribute_is_cut_and_that_is_said() {
    let mut catalog = Catalog::new(&["production"]);
    let when = json!({"attribute": "roles", "op": "eq", "values": ["admin"]});
    let rules = json!([{"id": "r", "when": when, "serve": {"variant": "on"}}]);
    catalog.must(json!([boolean("checkout", json!({"enabled": true, "rules": rules}))]));
    let explain = |roles: Value| explain(&catalog.state, "checkout", json!({"roles": roles}));
    let mut roles = vec!["someone"; 1_000];
    roles.push("admin");
    let explained = explain(json!(roles));
    assert_eq!(explained["decided_by"], json!({"step": "rule", "id": "r"}), "the whole of it is compared");
    let saw = explained["rules"][0]["when"]["saw"].as_str().expect("its JSON");
    assert!(saw.starts_with("[\"someone\",") && saw.ends_with('…') && saw.len() < 1_100, "{saw}");
    assert_eq!(explained["shortened"], true);
    assert_eq!(explain(json!(["admin"])).get("shortened"), None);
}

/// A flag that was begun among the first hundred is explained, however many there are within it.
#[test]
fn the_first_hundred_flags_are_explained_and_no_more() {
    let mut catalog = Catalog::new(&["production"]);
    let with = |before: &[String]| {
        let before: Vec<Value> =
            before.iter().map(|flag| json!({"flag": flag, "variants": ["on"]})).collect();
        json!({"enabled": true, "prerequisites": before, "default": {"variant": "on"}})
    };
    let names: Vec<String> = (0..100).map(|n| format!("last-{n:02}")).collect();
    let plain: Vec<Value> = names.iter().map(|name| boolean(name, with(&[]))).collect();
    catalog.must(json!(plain));
    catalog.must(json!([boolean("inner", with(&names))]));
    catalog.must(json!([boolean("outer", with(&["inner".to_owned()]))]));
    let explained = explain(&catalog.state, "outer", json!({}));
    let last =
        explained["prerequisites"][0]["explanation"]["prerequisites"].as_array().expect("prerequisites");
    let told: Vec<bool> = last.iter().map(|flag| flag.get("explanation").is_some()).collect();
    assert_eq!(told, [[true; 98].as_slice(), &[false; 2]].concat());
    assert!(last.iter().all(|flag| flag["met"] == true && flag["served"] == "on"));
    assert_eq!(explained["shortened"], true);
    assert_eq!(explain(&catalog.state, "last-00", json!({})).get("shortened"), None);
}
