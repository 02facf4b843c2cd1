//! Contexts as requests send them: read as a node reads them, asked for attributes, written, and read again.

use std::collections::BTreeMap;

use flagraft_core::{compiled::AttributeName, context::EvaluationContext};
use serde_json::{Map, Value, json};

// How a node reads a request's body.
#[path = "../../node/src/http/json.rs"]
mod node_json;

/// Reads the bytes as the body of an evaluation over HTTP: `{"context": {...}}`.
pub fn run(bytes: &[u8]) {
    let Ok(Value::Object(mut body)) = node_json::parse(bytes) else { return };
    let Some(Value::Object(attributes)) = body.remove("context") else { return };
    let context = EvaluationContext::new(attributes.clone());
    finds_what_is_there(&context, &attributes);
    survives_json(&context);
    is_overridden(context, &attributes);
}

/// Literally named attributes are found as they are; paths to what is inside lead there unless a literal name hides it.
fn finds_what_is_there(context: &EvaluationContext, attributes: &Map<String, Value>) {
    assert_eq!(context.attributes().len(), attributes.len());
    let get = |name: &str| context.get(&AttributeName::new(name));
    for (name, value) in attributes {
        assert_eq!(get(name), Some(value).filter(|value| !value.is_null()), "{name:?}");
        let Value::Object(fields) = value else { continue };
        // A path begins at the first dot.
        for (field, inner) in fields.iter().filter(|(field, _)| !field.contains('.') && !name.contains('.')) {
            let path = format!("{name}.{field}");
            let expected = attributes.get(&path).unwrap_or(inner);
            assert_eq!(get(&path), Some(expected).filter(|value| !value.is_null()), "{path:?}");
        }
    }
    for name in ["", ".", "a.b.c", "targetingKey", "targetingKey.", "..", "user.plan.name"] {
        let literal = attributes.get(name);
        assert!(literal.is_none() || get(name) == literal.filter(|value| !value.is_null()), "{name:?}");
    }
}

fn survives_json(context: &EvaluationContext) {
    let written = serde_json::to_vec(context).expect("JSON");
    let Ok(Value::Object(again)) = node_json::parse(&written) else { panic!("a node reads what it wrote") };
    let again = EvaluationContext::new(again);
    assert_eq!(&again, context);
    assert_eq!(serde_json::to_vec(&again).expect("JSON"), written, "equal contexts are written alike");
}

/// What a token lays down is what is found, whatever the request said.
fn is_overridden(mut context: EvaluationContext, attributes: &Map<String, Value>) {
    let user = json!({"plan": "free"});
    // A name of the request's own, so that one is replaced.
    let taken = attributes.keys().next().map(|name| (name.clone(), json!("token")));
    let laid_down: BTreeMap<String, Value> = taken.into_iter().chain([("user".to_owned(), user)]).collect();
    context.override_with(&laid_down);
    for (name, value) in &laid_down {
        assert_eq!(context.get(&AttributeName::new(name)), Some(value), "{name:?}");
    }
    let plan = laid_down.get("user.plan").unwrap_or(&laid_down["user"]["plan"]);
    assert_eq!(
        context.get(&AttributeName::new("user.plan")),
        Some(plan),
        "nothing of the request's shadows it"
    );
    survives_json(&context);
}
