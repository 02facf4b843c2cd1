use flagraft_core::{compiled::CompiledEnvironment, context::EvaluationContext, key::EnvironmentKey};
use serde_json::Map;

use super::*;
use crate::import::catalog::{ENVIRONMENT, PROJECT, catalog};

mod bounds;
mod generated;
mod reference;
mod testbed;

const KEY: &str = "f";

fn variants() -> Map<String, Value> {
    ["on", "off", "other", "true", "false", "default"]
        .map(|name| (name.to_owned(), json!(name)))
        .into_iter()
        .collect()
}

fn evaluators() -> Map<String, Value> {
    let evaluators = json!({
        "german": {"in": [{"var": "a"}, ["DE", "AT"]]},
        "staff": {"or": [{"$ref": "german"}, {"==": [{"var": "b"}, "DE"]}]},
        "loop": {"!": {"$ref": "back"}},
        "back": {"and": [{"$ref": "german"}, {"$ref": "loop"}]},
        "shares": {"fractional": [["on", 30], ["off", 70]]},
    });
    evaluators.as_object().expect("an object").clone()
}

fn translated(targeting: &Value) -> Translated<Translation> {
    let (variants, evaluators) = (variants(), evaluators());
    let source = Source { key: KEY, variants: &variants, default: Some("default"), evaluators: &evaluators };
    translate(targeting, &source)
}

/// The flag that a translation makes, as a cluster would keep it.
fn compiled(rules: &[Value]) -> CompiledEnvironment {
    let flag = json!({
        "key": KEY, "type": "string", "variants": variants(),
        "environments": {ENVIRONMENT: {"enabled": true, "rules": rules, "default": {"variant": "default"}}},
    });
    let state = catalog(vec![json!({"op": "flag.put", "flag": flag})]);
    let environment = EnvironmentKey::new(ENVIRONMENT).expect("a key");
    CompiledEnvironment::compile(state.project(PROJECT).expect("the project"), &environment)
}

/// The expression with the shared evaluators in the place of their names.
fn written_out(expression: &Value) -> Value {
    match expression {
        Value::Array(list) => list.iter().map(written_out).collect(),
        Value::Object(object) => match object.get("$ref").and_then(Value::as_str) {
            Some(name) => written_out(&evaluators()[name]),
            None => object.iter().map(|(name, value)| (name.clone(), written_out(value))).collect(),
        },
        constant => constant.clone(),
    }
}

/// What flagd would serve.
fn expected(targeting: &Value, context: &Map<String, Value>) -> String {
    match reference::evaluate(&written_out(targeting), &reference::enriched(context, KEY)) {
        Value::Null => "default".to_owned(),
        Value::String(variant) => variant,
        Value::Bool(variant) => variant.to_string(),
        other => panic!("{targeting} gives {other}"),
    }
}

/// Every context of these values of `a` and `b`, with and without a targeting key.
fn contexts(values: &[Value]) -> Vec<Map<String, Value>> {
    let values: Vec<Option<&Value>> = [None].into_iter().chain(values.iter().map(Some)).collect();
    let mut contexts = Vec::new();
    for key in [None, Some(json!("jon@company.com")), Some(json!("user1"))] {
        for a in &values {
            for b in &values {
                let pairs = [("a", a.cloned()), ("b", b.cloned()), ("targetingKey", key.clone())];
                contexts.push(pairs.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v?))).collect());
            }
        }
    }
    contexts
}

/// The translation is taken by `apply` and evaluated: for every context the variant is the one that the reference gives.
/// Says how many contexts were compared.
fn compare(targeting: &Value, contexts: &[Map<String, Value>]) -> usize {
    let translation = translated(targeting).unwrap_or_else(|why| panic!("{targeting}: {why:?}"));
    let compiled = compiled(&translation.rules);
    for context in contexts {
        let expected = expected(targeting, context);
        let resolution = compiled.evaluate(KEY, &EvaluationContext::new(context.clone())).expect("the flag");
        let rules = json!(translation.rules);
        assert_eq!(resolution.variant, expected, "{targeting} for {context:?}, as {rules:#}");
    }
    contexts.len()
}

fn on(condition: Value) -> Value {
    json!({"if": [condition, "on", "off"]})
}

/// Everything that is no list and no object: what an attribute usually is.
fn scalars() -> Vec<Value> {
    let scalars = json!([
        null,
        "",
        "DE",
        "FR",
        "true",
        "xDE",
        "DEx",
        true,
        false,
        0,
        1,
        5,
        -1,
        17,
        18,
        18.5,
        1.0,
        5.0,
        0.0,
        -0.5,
        9_007_199_254_740_993_i64,
        "0",
        "1",
        "5",
        "18"
    ]);
    scalars.as_array().expect("a list").clone()
}

/// The same without texts that spell numbers.
fn without_numeric_texts() -> Vec<Value> {
    scalars().into_iter().filter(|v| v.as_str().is_none_or(|text| text.parse::<f64>().is_err())).collect()
}

fn only_texts() -> Vec<Value> {
    ["DE", "FR", "ATX", "xDE", "on", "other", "x-y", "ABCDEF"].map(Value::from).to_vec()
}

#[test]
fn comparisons_are_exact() {
    let a = json!({"var": "a"});
    let b = json!({"var": ["b"]});
    let equalities = [
        on(json!({"==": [a, "DE"]})),
        on(json!({"==": ["5", a]})),
        on(json!({"==": [a, "1"]})),
        on(json!({"==": [a, ""]})),
        on(json!({"==": [a, 5]})),
        on(json!({"==": [a, 0]})),
        on(json!({"==": [a, 1.0]})),
        on(json!({"==": [a, true]})),
        on(json!({"!=": [a, false]})),
        on(json!({"==": [a, null]})),
        on(json!({"!=": [a, "DE"]})),
        on(json!({"===": [a, 5]})),
        on(json!({"===": [a, null]})),
        on(json!({"!==": [a, "DE"]})),
        on(json!({"in": [a, ["DE", "FR", 5, true, null]]})),
        on(json!({"in": [a, []]})),
        on(json!({"!": {"in": [a, ["DE", "FR"]]}})),
        on(a.clone()),
        on(json!({"!": a})),
        json!({"if": [{"!!": [a]}, "on"]}),
        on(json!({"or": [a, b]})),
        json!({"if": [{"and": [{"!!": [a]}, {"==": [b, "DE"]}]}, "on", null]}),
        json!({"if": [{"==": [a, "DE"]}, "on", {"==": [b, "FR"]}, null, "off"]}),
        json!({"if": [{"==": [a, "DE"]}, null, {"==": [b, "FR"]}, "on"]}),
        json!({"if": [{"==": [a, "DE"]}, {"if": [b, "on", {"==": [b, 0]}, null, "other"]}, {"!": b}, {"if": [{"==": [a, 5]}, null]}, "other"]}),
        json!({"==": [a, "DE"]}),
        json!({"or": [{"==": [a, "DE"]}, {"!": [{"in": [b, ["DE", 17]]}]}]}),
        json!({"if": [{"==": [a, "DE"]}, {"!=": [b, "FR"]}, true]}),
        on(json!(true)),
        on(json!(false)),
        json!({"if": ["on"]}),
        json!({"if": []}),
        json!("off"),
        json!({"?:": [{"==": [a, "DE"]}, "on", "off"]}),
        on(json!({"if": [{"==": [a, "DE"]}, {"==": [b, "DE"]}, {"==": [b, "FR"]}]})),
        on(json!({"==": [{"if": [{"==": [a, "DE"]}, "x", b]}, "DE"]})),
        on(json!({"==": [{"var": ["a", "DE"]}, "DE"]})),
        on(json!({"in": [{"if": [{"==": [a, 5]}, b, "FR"]}, ["DE", "FR"]]})),
        on(json!({"log": {"==": [a, "DE"]}})),
        on(json!({"$ref": "staff"})),
        json!({"$ref": "german"}),
        json!({"or": [{"if": [{"==": [a, "DE"]}, "on", null]}, "other"]}),
        json!({"and": [{"==": [a, "DE"]}, "on"]}),
        json!({"or": [{"starts_with": [a, "D"]}, {"if": [{"==": [b, "DE"]}, "other"]}]}),
    ];
    let orderings = [
        on(json!({"<": [a, 18]})),
        on(json!({">=": [a, 18]})),
        on(json!({"<=": [a, -1]})),
        on(json!({">": [a, -1]})),
        on(json!({">": [1, a]})),
        on(json!({"<=": [18.5, a]})),
        on(json!({"<=": [0, a, 17]})),
        on(json!({"<": [1, a, 19]})),
        on(json!({">": [19, a, 1]})),
        on(json!({">=": [18, a, 17]})),
        on(json!({"!": {">": [a, 0]}})),
        on(json!({"<": [a, true]})),
        on(json!({">=": [a, null]})),
        on(json!({"and": [{">=": [a, 17]}, {"<": [b, 1]}]})),
        on(json!({"<": [a, {"+": [10, 8]}]})),
        on(json!({">": [a, {"if": [{"==": [b, "DE"]}, 17, 4]}]})),
    ];
    let mut compared = 0;
    for targeting in equalities {
        compared += compare(&targeting, &contexts(&scalars()));
    }
    for targeting in orderings {
        compared += compare(&targeting, &contexts(&without_numeric_texts()));
    }
    assert!(compared > 90_000, "{compared}");
}

#[test]
fn operators_on_text_are_exact() {
    let a = json!({"var": "a"});
    let b = json!({"var": "b"});
    let all = [
        on(json!({"starts_with": [a, "DE"]})),
        on(json!({"ends_with": [a, "DE"]})),
        json!({"starts_with": [a, "DE"]}),
        json!({"ends_with": [a, ""]}),
        on(json!({"!": {"starts_with": [a, "DE"]}})),
        on(json!({"starts_with": ["DEx", "DE"]})),
        json!({"starts_with": [a, 5]}),
        json!({"starts_with": ["abc"]}),
        json!({"ends_with": [a, "x", "y"]}),
        on(json!({"starts_with": [a, {"cat": ["D", "E"]}]})),
        on(json!({"and": [{"starts_with": [a, "D"]}, {"ends_with": [b, "E"]}]})),
        on(json!({"==": [{"cat": [a, "-x"]}, "DE-x"]})),
        on(json!({"==": [{"cat": ["x-", a]}, "x-5"]})),
        on(json!({"==": [{"cat": ["x-", a, "-y"]}, "x--y"]})),
        on(json!({"!=": [{"cat": ["x-", a]}, "x-true"]})),
        on(json!({"===": [{"cat": ["x-", a]}, "y"]})),
        on(json!({"in": [{"cat": ["x", a]}, ["xDE", "xFR", "x1"]]})),
        on(json!({"cat": [a, "x"]})),
    ];
    for targeting in all {
        compare(&targeting, &contexts(&scalars()));
    }
    let of_texts = [
        on(json!({"in": ["DE", a]})),
        on(json!({"!": {"in": ["-", a]}})),
        on(json!({"==": [{"substr": [a, 0, 2]}, "AT"]})),
        on(json!({"==": [{"substr": [a, 0, 5]}, "ATX"]})),
        on(json!({"==": [{"substr": [a, 0, 2]}, "ATX"]})),
        on(json!({"==": [{"substr": [a, -2]}, "DE"]})),
        on(json!({"in": [{"substr": [a, 0, 1]}, ["D", "F"]]})),
        a.clone(),
    ];
    for targeting in of_texts {
        let texts = only_texts();
        let contexts = contexts(&texts);
        // The name of no variant is an error in flagd, which is named.
        let named = |context: &Map<String, Value>| {
            let serves = reference::evaluate(&targeting, &reference::enriched(context, KEY));
            serves.as_str().is_none_or(|name| variants().contains_key(name))
        };
        compare(&targeting, &contexts.into_iter().filter(named).collect::<Vec<_>>());
    }
}

#[test]
fn versions_are_exact() {
    let a = json!({"var": "a"});
    let values = json!([
        null,
        1,
        true,
        "",
        "latest",
        "1",
        "v1",
        "1.2",
        "v1.2",
        "0.9.9",
        "1.0.0",
        "v1.0.0",
        "1.0.0+b1",
        "1.0.0-rc.1",
        "1.1.9",
        "1.2.0-0",
        "1.2.0-alpha",
        "1.2.0",
        "1.2.3",
        "1.2.3-rc.1",
        "1.3.0-0",
        "1.3.0",
        "1.9.9",
        "1.10.0",
        "2.0.0-0",
        "2.0.0-rc.1",
        "2.0.0",
        "9.9.9",
        "10.0.0",
        "10.9.0",
        "10.10.0",
        "2.0.0.0",
        "01.0.0"
    ]);
    let contexts = contexts(values.as_array().expect("a list"));
    for operator in ["=", "!=", "<", "<=", ">", ">=", "^", "~", "==="] {
        for version in [
            "1.2.3",
            "v1.2",
            "1",
            "1.2.0-alpha",
            "9.9.9",
            "1.0.0+other",
            "0.0.0",
            "1.2-beta",
            "V1.0.0",
            "latest",
        ] {
            let test = json!({"sem_ver": [a, operator, version]});
            compare(&on(test.clone()), &contexts);
            compare(&on(json!({"!": test})), &contexts);
            compare(&test, &contexts);
        }
    }
    compare(&json!({"sem_ver": [a, "="]}), &contexts);
}

#[test]
fn lists_are_exact() {
    let a = json!({"var": "a"});
    let item = json!({"var": ""});
    let values = json!([null, [], ["x"], ["x", "y"], ["xy", 5], [5, 18, true], ["DE"], [0, ""]]);
    let list_contexts = contexts(values.as_array().expect("a list"));
    for targeting in [
        on(json!({"some": [a, {"==": [item, "x"]}]})),
        on(json!({"none": [a, {"==": [item, "x"]}]})),
        on(json!({"some": [a, {"in": [item, ["DE", "y"]]}]})),
        on(json!({"some": [a, {"starts_with": [item, "x"]}]})),
        on(json!({"some": [a, {"or": [{"===": [item, "y"]}, {"===": [item, 18]}]}]})),
        on(json!({"in": [5, a]})),
    ] {
        compare(&targeting, &list_contexts);
    }
    let texts = contexts(&only_texts());
    for targeting in [
        on(json!({"missing": ["a"]})),
        on(json!({"missing": "a"})),
        on(json!({"!": {"missing": ["a", "b"]}})),
        on(json!({"missing": {"merge": [["a"], "b"]}})),
        on(json!({"missing_some": [1, ["a", "b"]]})),
        on(json!({"missing_some": [2, ["a", "b", "targetingKey"]]})),
        on(json!({"missing_some": [0, ["a"]]})),
        on(json!({"missing_some": [9, ["a", "b"]]})),
        json!({"if": [{"missing": ["a"]}, null, {"==": [a, "DE"]}, "on", "off"]}),
    ] {
        compare(&targeting, &texts);
    }
}

/// Constants are worked out: the conditions depend on nothing, so the result is a rule for everyone.
#[test]
fn constants_are_worked_out() {
    let item = json!({"var": ""});
    let conditions = [
        json!({"==": [1, "1"]}),
        json!({"===": [1, "1"]}),
        json!({"==": [null, 0]}),
        json!({"==": [true, 1]}),
        json!({"!=": ["a", "b"]}),
        json!({"!==": [1, 1.0]}),
        json!({"<": [1, 2]}),
        json!({"<": ["10", "9"]}),
        json!({"<": ["10", 9]}),
        json!({"<=": [1, 1, 0]}),
        json!({">": ["a", 1]}),
        json!({">=": [null, 0]}),
        json!({"in": ["b", "abc"]}),
        json!({"in": ["b", ["a", "b"]]}),
        json!({"in": [1, ["1"]]}),
        json!({"==": [{"+": [1, 2, "3"]}, 6]}),
        json!({"==": [{"-": [5]}, -5]}),
        json!({"==": [{"-": [5, 7]}, -2]}),
        json!({"==": [{"*": [2, 3, 4]}, 24]}),
        json!({"==": [{"/": [1, 4]}, 0.25]}),
        json!({"==": [{"%": [7, 3]}, 1]}),
        json!({"==": [{"%": [-7, 3]}, -1]}),
        json!({"==": [{"max": [1, 9, 3]}, 9]}),
        json!({"==": [{"min": [4, 2]}, 2]}),
        json!({"==": [{"+": "3.5"}, 3.5]}),
        json!({"==": [{"cat": ["a", 1, 2.5, true, null]}, "a12.5true"]}),
        json!({"==": [{"cat": "x"}, "x"]}),
        json!({"==": [{"substr": ["jsonlogic", 4]}, "logic"]}),
        json!({"==": [{"substr": ["jsonlogic", -5]}, "logic"]}),
        json!({"==": [{"substr": ["jsonlogic", 1, 3]}, "son"]}),
        json!({"==": [{"substr": ["jsonlogic", 4, -2]}, "log"]}),
        json!({"!": [[]]}),
        json!({"!!": ["0"]}),
        json!({"!!": [0]}),
        json!({"!!": ""}),
        json!(1),
        json!(0),
        json!("x"),
        json!(""),
        json!(null),
        json!({"merge": [[1], 2, [3]]}),
        json!({"merge": []}),
        json!({"in": [3, {"merge": [[1], 2, [3]]}]}),
        json!({"in": [4, {"map": [[1, 2], {"*": [item, 2]}]}]}),
        json!({"filter": [[1, 2], {">": [item, 2]}]}),
        json!({"==": [{"reduce": [[1, 2, 3], {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]}, 6]}),
        json!({"all": [[1, 2], {">": [item, 0]}]}),
        json!({"all": [[], {">": [item, 0]}]}),
        json!({"some": [[1, 2], {">": [item, 1]}]}),
        json!({"none": [[1, 2], {">": [item, 1]}]}),
        json!({"==": [{"var": "$flagd.flagKey"}, KEY]}),
        json!({"starts_with": [{"var": "$flagd.flagKey"}, "g"]}),
        json!({"==": [{"cat": [{"var": "$flagd.flagKey"}, "-x"]}, "f-x"]}),
        json!({"and": [true, "x", {"<": [1, 2]}]}),
        json!({"or": [false, 0, ""]}),
        json!({"if": [false, true, {"==": [1, 1]}]}),
        json!({"missing": []}),
    ];
    for condition in conditions {
        let targeting = on(condition);
        let translation = translated(&targeting).unwrap_or_else(|why| panic!("{targeting}: {why:?}"));
        let serves = expected(&targeting, &Map::new());
        assert_eq!(
            json!(translation.rules),
            json!([{"id": "else", "serve": {"variant": serves}}]),
            "{targeting}"
        );
    }
}

#[test]
fn fractional_is_exact() {
    let a = json!({"var": "a"});
    let shares = |by: Value| json!({"fractional": [by, ["on", 25], ["off", 25], ["other", 50]]});
    let contexts = contexts(&only_texts());
    for targeting in [
        json!({"fractional": [["on", 25], ["off", 75]]}),
        json!({"fractional": [["on"], ["off"], ["other", 2]]}),
        json!({"fractional": [["on", 1]]}),
        json!({"fractional": [["on", 0], ["off", 0]]}),
        shares(a.clone()),
        shares(json!({"var": "targetingKey"})),
        shares(json!({"cat": [{"var": "$flagd.flagKey"}, a]})),
        shares(json!({"cat": ["salt", a]})),
        shares(json!({"cat": [a]})),
        shares(json!("everybody")),
        shares(json!({"var": "$flagd.flagKey"})),
        shares(json!({"if": [{"==": [{"var": "b"}, "DE"]}, a, {"cat": ["x", a]}]})),
        json!({"if": [{"==": [a, "DE"]}, shares(json!({"cat": ["x", {"var": "b"}]})), {"==": [a, "FR"]}, "on"]}),
        json!({"if": [{"==": [a, "DE"]}, shares(json!({"cat": ["x", {"var": "b"}]})), "off"]}),
        json!({"if": [{"==": [a, "DE"]}, shares(json!(null)), {"==": [a, "FR"]}, shares(json!({"var": "b"})), "off"]}),
        json!({"fractional": [{"var": "targetingKey"}, [{"if": [{"==": [a, "DE"]}, "on", "off"]}, 50], ["off", 50]]}),
        json!({"fractional": [{"var": "targetingKey"}, ["on", {"if": [{"==": [a, "DE"]}, 100, 0]}], ["off", 10]]}),
        json!({"fractional": [{"var": "targetingKey"}, ["on", 50], [null, 50]]}),
        json!({"fractional": [{"var": "targetingKey"}, [true, 50], [false, 50]]}),
        on(json!({"fractional": [[false, 0], [true, 100]]})),
        on(json!({"fractional": [[true, 10], [false, 90]]})),
        json!({"if": [{"and": [{"==": [a, "DE"]}]}, {"$ref": "shares"}, "other"]}),
    ] {
        compare(&targeting, &contexts);
    }
}

/// A list is there and has no bucket: as a condition the split counts for it, and in flagd it gives nothing.
#[test]
fn what_has_no_bucket_is_named() {
    for by in ["targetingKey", "a"] {
        let split = json!({"fractional": [{"var": by}, ["on", 1], ["off", 1]]});
        for targeting in [split.clone(), json!({"if": [{"!!": [split]}, "on", "off"]})] {
            let translation = translated(&targeting).expect("translated");
            let named = |except: &&String| except.starts_with(&format!("\"{by}\":"));
            let except = translation.except.iter().find(named).expect("the attribute");
            assert!(
                except.contains("a number or a boolean") && except.contains("a list or an object"),
                "{except}"
            );
        }
    }
}

#[test]
fn what_has_no_exact_equal_is_refused_with_its_reason() {
    let a = json!({"var": "a"});
    let b = json!({"var": "b"});
    let shares = |by: Value| json!({"fractional": [by, ["on", 1], ["off", 1]]});
    let cases = [
        (on(json!({"$ref": "nobody"})), "\"nobody\", which is not one of"),
        (on(json!({"$ref": "loop"})), "\"loop\" -> \"back\" -> \"loop\""),
        (on(json!({"$ref": 5})), "names no evaluator"),
        (on(json!({"in": [a, "DE,FR"]})), "write a list"),
        (on(json!({"in": [a, [["a", "b"]]]})), "more than texts"),
        (on(json!({"in": [a, b]})), "two attributes"),
        (on(json!({"in": [a, [b, "x"]]})), "a list` of the attribute"),
        (on(json!({"==": [a, b]})), "two attributes"),
        (on(json!({"<": [a, b]})), "two attributes"),
        (on(json!({"==": [a, ["x"]]})), "with a list"),
        (on(json!({"==": [{"cat": [a, b]}, "xx"]})), "`cat` of two attributes"),
        (on(json!({"==": [{"cat": [a, "x"]}, 5]})), "`cat` makes"),
        (on(json!({"==": [{"cat": ["x ", a]}, "x y"]})), "white space"),
        (on(json!({"==": [{"cat": ["x", " "]}, "x"]})), "white space"),
        (on(json!({"==": [{"substr": [a, 2, 3]}, "abc"]})), "neither the beginning nor the end"),
        (on(json!({"==": [{"substr": [a, 0, 2]}, "nu"]})), "read differently"),
        (on(json!({"==": [{"%": [a, 2]}, 0]})), "`%` of the attribute \"a\""),
        (on(json!({">": [{"+": [a, 1]}, 5]})), "`+` of the attribute"),
        (on(json!({"<": [{"max": [a, b]}, 5]})), "`max` of the attribute"),
        (on(json!({"==": [{"/": [1, 0]}, 0]})), "gives no number"),
        (on(json!({"==": [{"+": [1, "x"]}, 0]})), "no number"),
        (on(json!({"==": [{"-": [1, 2, 3]}, 0]})), "3 operands"),
        (on(json!({"==": [a, "0x10"]})), "read differently"),
        (on(json!({"==": [a, " 5"]})), "read differently"),
        (on(json!({"<": [a, "18"]})), "not a number"),
        (on(json!({"<": [a]})), "two or three"),
        (on(json!({"and": [a, true]})), "bare attribute"),
        (on(json!({"and": [null, true]})), "something else than a condition"),
        (on(json!({"and": []})), "without a list"),
        (on(json!({"!": [a, a]})), "exactly one"),
        (on(json!({"==": [{"var": ""}, "x"]})), "whole context"),
        (on(json!({">": [{"var": "$flagd.timestamp"}, 1]})), "depends on the time"),
        (on(json!({"==": [{"var": "$flagd.other"}, 1]})), "flagd's own"),
        (on(json!({"==": [{"var": "roles.0"}, "x"]})), "into a list"),
        (on(json!({"==": [a, 1], "!=": [a, 2]})), "not one operator"),
        (on(json!({"all": [a, {"==": [{"var": ""}, "x"]}]})), "`all` of the list \"a\""),
        (on(json!({"some": [a, {"!=": [{"var": ""}, "x"]}]})), "no single comparison"),
        (on(json!({"some": [a, {"==": [{"var": "name"}, "x"]}]})), "of an element"),
        (on(json!({"some": [["x"], {"==": [{"var": "a"}, "x"]}]})), "look differently"),
        (on(json!({"filter": [a, true]})), "no constant"),
        (on(json!({"missing": [a]})), "`missing` of the attribute"),
        (on(json!({"starts_with": ["x", a]})), "constant text"),
        (on(json!({"sem_ver": [a, "=", b]})), "constant version"),
        (on(json!({"sem_ver": ["1.0.0", "=", "1.0.0"]})), "two constants"),
        (shares(json!({"cat": [a, b]})), "`cat` of two attributes"),
        (shares(json!({"cat": [a, "salt"]})), "\"salt\" after it"),
        (shares(json!({"substr": [a, 0, 2]})), "part of the text"),
        (json!({"fractional": []}), "without shares"),
        (json!({"fractional": [["on", 1.5], ["off", 1]]}), "weight 1.5"),
        (json!({"fractional": [["on", -50], ["off", 1]]}), "weight -50"),
        (json!({"fractional": [["on", a], ["off", 1]]}), "an attribute's value makes"),
        (json!({"fractional": [["on", 1, 2], ["off", 1]]}), "[variant, weight]"),
        (json!({"fractional": [["on", 1], ["off", 1], ["on", 1]]}), "in several places"),
        (json!({"fractional": [["on", 2_147_483_647], ["off", 1]]}), "add up to more"),
        (json!({"fractional": [["on", 1], [shares(json!(null)), 1]]}), "`fractional` as an operand"),
        (
            json!({"if": [{"fractional": [[true, 1], [false, 1]]}, {"if": [a, "on"]}, "off"]}),
            "inside a condition",
        ),
        (json!({"fractionalEvaluation": ["a", ["on", 100]]}), "has no more"),
        (on(json!({"upper": [a]})), "the operator `upper`"),
        (json!({"if": [a, "purple"]}), "\"purple\""),
        (json!({"if": [a, 7]}), "not the name of a variant"),
        (json!({"cat": ["o", a]}), "made of the text of \"a\""),
        (json!({"missing": ["a"]}), "a list and not the name"),
        (json!({"if": "on"}), "list of branches"),
    ];
    for (targeting, part) in cases {
        match translated(&targeting) {
            Err(Untranslatable(why)) => assert!(why.contains(part), "{targeting}: {why}"),
            Ok(translation) => panic!("{targeting} became {translation:?}"),
        }
    }
}

/// A boolean targeting needs variants of these names; without them flagd itself answers with an error.
#[test]
fn boolean_results_need_their_variants() {
    let targeting = json!({"==": [{"var": "a"}, "x"]});
    let variants = json!({"on": true});
    let variants = variants.as_object().expect("an object");
    let source = Source { key: KEY, variants, default: None, evaluators: &Map::new() };
    let Err(Untranslatable(why)) = translate(&targeting, &source) else { panic!("translated") };
    assert!(why.contains("\"true\""), "{why}");
    // A share for the default needs one.
    let targeting = json!({"fractional": [["on", 1], [null, 1]]});
    let Err(Untranslatable(why)) = translate(&targeting, &source) else { panic!("translated") };
    assert!(why.contains("default in the caller's code"), "{why}");
}

#[test]
fn rules_are_as_plain_as_they_can_be() {
    let rules = |targeting: Value, expected: Value| {
        let translation = translated(&targeting).expect("translated");
        assert_eq!(json!(translation.rules), expected, "{targeting}");
        translation
    };
    let plain = rules(
        json!({"if": [{"==": [{"var": ["color"]}, "yellow"]}, "on", "off"]}),
        json!([
            {"id": "if-1", "when": {"attribute": "color", "op": "eq", "values": ["yellow"]}, "serve": {"variant": "on"}},
            {"id": "else", "serve": {"variant": "off"}},
        ]),
    );
    assert!(plain.except.is_empty() && plain.notes.is_empty(), "{plain:?}");
    let range = rules(
        json!({"if": [{">=": [{"var": ["user.age"]}, 18]}, "on"]}),
        json!([{"id": "if-1", "when": {"attribute": "user.age", "op": "gte", "values": [18]}, "serve": {"variant": "on"}}]),
    );
    assert_eq!(range.except.len(), 2, "{range:?}");
    // flagd's own example.
    let shares = rules(
        json!({"if": [{"in": ["@faas.com", {"var": ["email"]}]}, {"fractional": [
            {"cat": [{"var": "$flagd.flagKey"}, {"var": "email"}]}, ["on", 25], ["off", 75]]}, null]}),
        json!([
            {"id": "if-1", "when": {"attribute": "email", "op": "contains", "values": ["@faas.com"]},
             "serve": {"rollout": {"by": "email", "seed": "f", "method": "flagd",
                                   "weights": [{"variant": "on", "weight": 25}, {"variant": "off", "weight": 75}]}}},
            {"id": "if-2", "when": {"attribute": "email", "op": "contains", "values": ["@faas.com"]},
             "serve": {"variant": "on"}},
        ]),
    );
    assert!(shares.except.iter().all(|except| except.starts_with("\"email\"")), "{shares:?}");
    let version = rules(
        json!({"if": [{"sem_ver": [{"var": "version"}, "^", "1.2"]}, "on"]}),
        json!([{"id": "if-1", "when": {"all": [
            {"attribute": "version", "op": "semver_gte", "values": ["1.0.0-0"]},
            {"attribute": "version", "op": "semver_lt", "values": ["2.0.0-0"]},
        ]}, "serve": {"variant": "on"}}]),
    );
    assert!(version.except.iter().any(|except| except.contains("capital V")), "{version:?}");
}
