//! What a file can make of itself is bounded: each of these would take a stack, or a lifetime, without.

use serde_json::{Map, Value, json};

use super::{
    super::{Source, Untranslatable, translate},
    KEY, compare, contexts, on, only_texts, variants,
};

fn refused(targeting: &Value, evaluators: &Map<String, Value>) -> String {
    let variants = variants();
    let source = Source { key: KEY, variants: &variants, default: Some("default"), evaluators };
    match translate(targeting, &source) {
        Err(Untranslatable(why)) => why,
        Ok(translation) => panic!("{} rules", translation.rules.len()),
    }
}

/// Evaluators each of which is made of the next.
fn chain(length: usize, of_next: impl Fn(Value) -> Value) -> Map<String, Value> {
    let name = |at: usize| format!("e{at}");
    let next = |at| of_next(json!({"$ref": name(at + 1)}));
    let last = (name(length), json!({"==": [{"var": "a"}, "DE"]}));
    (0..length).map(|at| (name(at), next(at))).chain([last]).collect()
}

fn nested(depth: usize, around: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(json!({"==": [{"var": "a"}, "DE"]}), |inner, _| around(inner))
}

#[test]
fn evaluators_that_name_one_another_for_ever() {
    let evaluators = chain(10_000, |next| json!({"!": [next]}));
    assert!(refused(&on(json!({"$ref": "e0"})), &evaluators).contains("nested more than 256 deep"));
    let evaluators = chain(10_000, |next| json!({"if": [next, "on"]}));
    assert!(refused(&json!({"$ref": "e0"}), &evaluators).contains("nested more than 256 deep"));
    let evaluators = chain(10_000, |next| json!([[[[next]]]]));
    assert!(refused(&json!({"$ref": "e0"}), &evaluators).contains("nested more than 256 deep"));
}

#[test]
fn evaluators_that_double_at_each_step() {
    for operator in ["or", "and", "=="] {
        let evaluators = chain(30, |next| json!({operator: [next, next]}));
        for targeting in [on(json!({"$ref": "e0"})), json!({"$ref": "e0"})] {
            let why = refused(&targeting, &evaluators);
            assert!(why.contains("more than 10000 expressions") || why.contains("1000 conditions"), "{why}");
        }
    }
}

/// Each part is worked out once, however deep it is.
#[test]
fn what_is_nested_without_growing_is_exact() {
    let b = json!({"==": [{"var": "b"}, "DE"]});
    for targeting in [
        nested(40, |inner| json!({"and": [b, inner]})),
        nested(40, |inner| json!({"or": [b, inner]})),
        nested(40, |inner| json!({"and": [{"or": [inner, b]}, true]})),
        nested(100, |inner| json!({"!": inner})),
        nested(40, |inner| json!({"if": [b, inner, false]})),
    ] {
        for targeting in [on(targeting.clone()), targeting] {
            compare(&targeting, &contexts(&only_texts()));
        }
    }
}

#[test]
fn conditions_that_double_at_each_step() {
    let b = json!({"==": [{"var": "b"}, "DE"]});
    let c = json!({"==": [{"var": "c"}, "DE"]});
    // The condition of an `if` is needed twice: where it holds and where it does not.
    let targeting = on(nested(40, |inner| json!({"if": [inner, b, c]})));
    assert!(refused(&targeting, &Map::new()).contains("more than 1000 conditions"));
    let targeting =
        on(nested(40, |inner| json!({"==": [{"if": [inner, {"var": "b"}, {"var": "c"}]}, "DE"]})));
    assert!(refused(&targeting, &Map::new()).contains("more than 1000 conditions"));
}

#[test]
fn branches_without_end() {
    let branches = |then: Value| -> Vec<Value> {
        (0..50_000).flat_map(|at| [json!({"==": [{"var": "a"}, at]}), then.clone()]).collect()
    };
    for then in [json!("on"), json!(true)] {
        for targeting in [json!({"if": branches(then.clone())}), on(json!({"if": branches(then)}))] {
            assert!(refused(&targeting, &Map::new()).contains("more than 10000 expressions"));
        }
    }
    let branches: Vec<Value> =
        (0..300).flat_map(|at| [json!({"==": [{"var": "a"}, at]}), json!("on")]).collect();
    assert!(refused(&json!({ "if": branches }), &Map::new()).contains("more than 256 cases"));
    let divided: Vec<Value> =
        (0..40).flat_map(|_| [json!({"fractional": [[true, 1]]}), json!("on")]).collect();
    compare(&json!({ "if": divided }), &contexts(&only_texts()));
}

#[test]
fn lists_within_lists() {
    let list: Vec<Value> = (0..1_000).map(Value::from).collect();
    let some = |inner: Value| json!({"some": [list, inner]});
    let targeting = on(some(some(some(json!({"<": [{"var": ""}, 0]})))));
    assert!(refused(&targeting, &Map::new()).contains("more than 10000 expressions"));
}

/// A list of constants is one, whatever its length.
#[test]
fn long_lists_are_taken() {
    let list: Vec<Value> = (0..10_000).map(|at| json!(format!("user-{at}"))).collect();
    let targeting = on(json!({"in": [{"var": "a"}, list]}));
    compare(&targeting, &contexts(&[json!("user-9999"), json!("user-x")]));
}
