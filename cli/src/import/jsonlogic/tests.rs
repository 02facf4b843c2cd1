use flagraft_core::{compiled::CompiledEnvironment, context::EvaluationContext, key::EnvironmentKey};
use serde_json::Map;

use super::*;
use crate::import::catalog::{ENVIRONMENT, PROJECT, catalog};

/// JsonLogic as jsonlogic.com defines it, in the words of its reference, for what is translated: the judge.
mod reference {
    use serde_json::Value;

    pub fn evaluate(expression: &Value, context: &Value) -> Value {
        let Some(object) = expression.as_object() else { return expression.clone() };
        let (name, arguments) = object.iter().next().expect("an operator");
        let list = match arguments {
            Value::Array(list) => list.clone(),
            single => vec![single.clone()],
        };
        let value = |i: usize| list.get(i).map_or(Value::Null, |argument| evaluate(argument, context));
        let all = |step: &dyn Fn(&Value, &Value) -> bool| {
            Value::Bool((1..list.len()).all(|i| step(&value(i - 1), &value(i))))
        };
        match name.as_str() {
            "var" => context.get(value(0).as_str().expect("a name")).cloned().unwrap_or(Value::Null),
            "==" => Value::Bool(equal(&value(0), &value(1))),
            "!=" => Value::Bool(!equal(&value(0), &value(1))),
            "===" => Value::Bool(identical(&value(0), &value(1))),
            "!==" => Value::Bool(!identical(&value(0), &value(1))),
            "<" => all(&|a, b| number(a) < number(b)),
            "<=" => all(&|a, b| number(a) <= number(b)),
            ">" => all(&|a, b| number(a) > number(b)),
            ">=" => all(&|a, b| number(a) >= number(b)),
            "in" => Value::Bool(
                value(1).as_array().expect("a list").iter().any(|element| identical(&value(0), element)),
            ),
            "!" => Value::Bool(!truthy(&value(0))),
            "!!" => Value::Bool(truthy(&value(0))),
            "and" => (0..list.len()).map(value).find(|v| !truthy(v)).unwrap_or_else(|| value(list.len() - 1)),
            "or" => (0..list.len()).map(value).find(truthy).unwrap_or_else(|| value(list.len() - 1)),
            "if" => {
                let mut i = 0;
                while i + 1 < list.len() {
                    if truthy(&value(i)) {
                        return value(i + 1);
                    }
                    i += 2;
                }
                value(i)
            }
            other => panic!("no operator {other}"),
        }
    }

    fn truthy(value: &Value) -> bool {
        match value {
            Value::Null => false,
            Value::Bool(truth) => *truth,
            Value::Number(_) => number(value) != 0.0,
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(_) => true,
        }
    }

    fn number(value: &Value) -> f64 {
        match value {
            Value::Null => 0.0,
            Value::Bool(truth) => f64::from(u8::from(*truth)),
            Value::String(text) if text.trim().is_empty() => 0.0,
            Value::String(text) => text.trim().parse().unwrap_or(f64::NAN),
            other => other.as_f64().unwrap_or(f64::NAN),
        }
    }

    fn equal(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Null, Value::Null) => true,
            (Value::Null, _) | (_, Value::Null) => false,
            (Value::String(a), Value::String(b)) => a == b,
            _ => number(a) == number(b),
        }
    }

    fn identical(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Number(_), Value::Number(_)) => number(a) == number(b),
            _ => a == b,
        }
    }
}

fn is_variant(name: &str) -> bool {
    ["on", "off", "other", "true", "false"].contains(&name)
}

/// What one attribute may be. Texts that spell numbers are left out for orderings, where the report says so.
fn values(numeric_texts: bool) -> Vec<Option<Value>> {
    let mut values: Vec<Option<Value>> = vec![None];
    let mut scalars = json!([
        null, true, false, 0, 1, 2, 5, 17, 18, 19, 18.5, -1, 0.0, 1.0, "", "DE", "FR", "true", "false",
        "null"
    ]);
    if numeric_texts {
        scalars.as_array_mut().expect("a list").extend([json!("0"), json!("1"), json!("5"), json!("18")]);
    }
    values.extend(scalars.as_array().expect("a list").iter().cloned().map(Some));
    values
}

/// Every targeting here is translated, taken by `apply`, and evaluated for every pair of values of two
/// attributes: the variant is the one that JsonLogic's own rules give.
#[test]
fn translations_are_exact() {
    let a = json!({"var": "a"});
    let b = json!({"var": ["b"]});
    let equalities = [
        json!({"if": [{"==": [a, "DE"]}, "on", "off"]}),
        json!({"if": [{"==": ["5", a]}, "on", "off"]}),
        json!({"if": [{"==": [a, "1"]}, "on", "off"]}),
        json!({"if": [{"==": [a, ""]}, "on", "off"]}),
        json!({"if": [{"==": [a, 5]}, "on", "off"]}),
        json!({"if": [{"==": [a, 0]}, "on", "off"]}),
        json!({"if": [{"==": [a, 1.0]}, "on", "off"]}),
        json!({"if": [{"==": [a, true]}, "on", "off"]}),
        json!({"if": [{"!=": [a, false]}, "on", "off"]}),
        json!({"if": [{"==": [a, null]}, "on", "off"]}),
        json!({"if": [{"!=": [a, "DE"]}, "on", "off"]}),
        json!({"if": [{"===": [a, 5]}, "on", "off"]}),
        json!({"if": [{"===": [a, null]}, "on", "off"]}),
        json!({"if": [{"!==": [a, "DE"]}, "on", "off"]}),
        json!({"if": [{"in": [a, ["DE", "FR", 5, true, null]]}, "on", "off"]}),
        json!({"if": [{"in": [a, []]}, "on", "off"]}),
        json!({"if": [{"!": {"in": [a, ["DE", "FR"]]}}, "on", "off"]}),
        json!({"if": [a, "on", "off"]}),
        json!({"if": [{"!": a}, "on", "off"]}),
        json!({"if": [{"!!": [a]}, "on"]}),
        json!({"if": [{"or": [a, b]}, "on", "off"]}),
        json!({"if": [{"and": [{"!!": [a]}, {"==": [b, "DE"]}]}, "on", null]}),
        json!({"if": [{"==": [a, "DE"]}, "on", {"==": [b, "FR"]}, null, "off"]}),
        json!({"if": [{"==": [a, "DE"]}, null, {"==": [b, "FR"]}, "on"]}),
        json!({"if": [{"==": [a, "DE"]}, {"if": [b, "on", {"==": [b, 0]}, null, "other"]}, {"!": b}, {"if": [{"==": [a, 5]}, null]}, "other"]}),
        json!({"==": [a, "DE"]}),
        json!({"or": [{"==": [a, "DE"]}, {"!": [{"in": [b, ["DE", 17]]}]}]}),
        json!({"if": [{"==": [a, "DE"]}, {"!=": [b, "FR"]}, true]}),
        json!({"if": [true, "on", "off"]}),
        json!({"if": [false, "on", "off"]}),
        json!({"if": ["on"]}),
        json!({"if": []}),
        json!("off"),
    ];
    let orderings = [
        json!({"if": [{"<": [a, 18]}, "on", "off"]}),
        json!({"if": [{">=": [a, 18]}, "on", "off"]}),
        json!({"if": [{"<=": [a, -1]}, "on", "off"]}),
        json!({"if": [{">": [a, -1]}, "on", "off"]}),
        json!({"if": [{">": [1, a]}, "on", "off"]}),
        json!({"if": [{"<=": [18.5, a]}, "on", "off"]}),
        json!({"if": [{"<=": [0, a, 17]}, "on", "off"]}),
        json!({"if": [{"<": [1, a, 19]}, "on", "off"]}),
        json!({"if": [{"!": {">": [a, 0]}}, "on", "off"]}),
        json!({"if": [{"and": [{">=": [a, 17]}, {"<": [b, 1]}]}, "on", "off"]}),
    ];
    for targeting in equalities {
        compare(&targeting, true);
    }
    for targeting in orderings {
        compare(&targeting, false);
    }
}

fn compare(targeting: &Value, numeric_texts: bool) {
    let translation = translate(targeting, &is_variant).unwrap_or_else(|why| panic!("{targeting}: {why:?}"));
    let flag = json!({
        "key": "f", "type": "string",
        "variants": {"on": "on", "off": "off", "other": "other", "true": "true", "false": "false", "default": "default"},
        "environments": {ENVIRONMENT: {"enabled": true, "rules": translation.rules, "default": {"variant": "default"}}},
    });
    let state = catalog(vec![json!({"op": "flag.put", "flag": flag})]);
    let environment = EnvironmentKey::new(ENVIRONMENT).expect("a key");
    let compiled = CompiledEnvironment::compile(state.project(PROJECT).expect("the project"), &environment);
    for a in values(numeric_texts) {
        for b in values(numeric_texts) {
            let pairs = [("a", &a), ("b", &b)];
            let context: Map<String, Value> =
                pairs.into_iter().filter_map(|(k, v)| Some((k.to_owned(), v.clone()?))).collect();
            let expected = match reference::evaluate(targeting, &Value::Object(context.clone())) {
                Value::Null => "default".to_owned(),
                Value::String(variant) => variant,
                Value::Bool(variant) => variant.to_string(),
                other => panic!("{targeting} gives {other}"),
            };
            let context = EvaluationContext::new(context);
            let resolution = compiled.evaluate("f", &context).expect("the flag");
            let rules = &flag["environments"][ENVIRONMENT]["rules"];
            assert_eq!(resolution.variant, expected, "{targeting} for {context:?}, as {rules:#}");
        }
    }
}

#[test]
fn what_has_no_exact_equal_is_refused_with_its_reason() {
    let a = json!({"var": "a"});
    let on = |condition: Value| json!({"if": [condition, "on", "off"]});
    let cases = [
        (on(json!({"$ref": "staff"})), "$ref"),
        (json!({"fractional": [["on", 1]]}), "`fractional`"),
        (on(json!({"starts_with": [a, "x"]})), "`starts_with`"),
        (on(json!({"sem_ver": [a, ">=", "1.0.0"]})), "`sem_ver`"),
        (on(json!({"in": ["@example.com", a]})), "second operand"),
        (on(json!({"in": [a, "DE,FR"]})), "without an attribute and a list"),
        (on(json!({"in": [a, [["a", "b"]]]})), "more than texts"),
        (on(json!({"==": [a, {"var": "b"}]})), "two attributes"),
        (on(json!({"==": [1, 1]})), "two constants"),
        (on(json!({"==": [a, ["x"]]})), "with a list"),
        (on(json!({"==": [{"cat": [a, "x"]}, "xx"]})), "`cat`"),
        (on(json!({"==": [a, "0x10"]})), "read differently"),
        (on(json!({"==": [a, " 5"]})), "read differently"),
        (on(json!({"<": [a, "18"]})), "not a number"),
        (on(json!({"<": [a]})), "two or three"),
        (on(json!({"<": [1, 2]})), "two constants"),
        (on(json!({"and": [a, true]})), "bare attribute"),
        (on(json!({"and": []})), "without a list"),
        (on(json!({"!": [a, a]})), "exactly one"),
        (on(json!({"==": [{"var": ["a", "x"]}, "x"]})), "default"),
        (on(json!({"==": [{"var": ""}, "x"]})), "whole context"),
        (on(json!({"==": [{"var": "$flagd.timestamp"}, 1]})), "flagd's own"),
        (on(json!({"==": [{"var": "roles.0"}, "x"]})), "into a list"),
        (on(json!({"if": [a, true, false]})), "`if` inside"),
        (on(json!("yes")), "constant"),
        (on(json!({"==": [a, 1], "!=": [a, 2]})), "not one operator"),
        (json!({"if": [a, "purple"]}), "\"purple\""),
        (json!({"if": [a, 7]}), "not the name of a variant"),
        (a.clone(), "attribute names"),
        (json!({"if": "on"}), "list of branches"),
    ];
    for (targeting, part) in cases {
        match translate(&targeting, &is_variant) {
            Err(Untranslatable(why)) => assert!(why.contains(part), "{targeting}: {why}"),
            Ok(translation) => panic!("{targeting} became {translation:?}"),
        }
    }
}

/// A boolean targeting needs variants of these names; without them flagd itself answers with an error.
#[test]
fn boolean_results_need_their_variants() {
    let targeting = json!({"==": [{"var": "a"}, "x"]});
    let Err(Untranslatable(why)) = translate(&targeting, &|name| name == "on") else { panic!("translated") };
    assert!(why.contains("\"true\""), "{why}");
}

#[test]
fn rules_are_as_plain_as_they_can_be() {
    let translate = |targeting: Value| translate(&targeting, &is_variant).expect("translated");
    let translation = translate(json!({"if": [{"==": [{"var": ["color"]}, "yellow"]}, "on", "off"]}));
    assert_eq!(
        json!(translation.rules),
        json!([
            {"id": "if-1", "when": {"attribute": "color", "op": "eq", "values": ["yellow"]}, "serve": {"variant": "on"}},
            {"id": "else", "serve": {"variant": "off"}},
        ])
    );
    assert!(translation.notes.is_empty());
    let translation = translate(json!({"if": [{">=": [{"var": "user.age"}, 18]}, "on"]}));
    assert_eq!(
        json!(translation.rules),
        json!([{"id": "if-1", "when": {"attribute": "user.age", "op": "gte", "values": [18]}, "serve": {"variant": "on"}}])
    );
    assert_eq!(translation.notes.len(), 2, "{:?}", translation.notes);
}
