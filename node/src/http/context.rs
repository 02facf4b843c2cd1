//! The context that a request asks about: what its body gives, and what the node and the token add.

use flagraft_core::{
    context::{EvaluationContext, TARGETING_KEY},
    invalid::Invalid,
    limits::CONTEXT_ATTRIBUTES_MAX,
    token::{Token, TokenKind},
};
use serde_json::{Map, Value};

use super::App;

/// The attribute that a node adds.
const REGION: &str = "region";

/// The context of a body's `context`.
///
/// The attributes of a token that evaluates go over it. Those of an admin token do not: whoever manages asks about others.
///
/// # Errors
/// [`Invalid`], seen from the body, where `given` is no context.
pub(super) fn context(app: &App, token: &Token, given: Value) -> Result<EvaluationContext, Invalid> {
    let mut attributes = attributes(given)?;
    if !app.options.region.is_empty() {
        attributes.entry(REGION).or_insert_with(|| app.options.region.clone().into());
    }
    let mut context = EvaluationContext::new(attributes);
    match token.spec.kind {
        TokenKind::Service | TokenKind::Client => context.override_with(&token.spec.context),
        TokenKind::Admin => {}
    }
    Ok(context)
}

/// The context of a body that gives none: nothing is known of anybody.
pub(super) fn nobody() -> Value {
    Value::Object(Map::new())
}

fn attributes(given: Value) -> Result<Map<String, Value>, Invalid> {
    let Value::Object(attributes) = given else {
        return Err(Invalid::new("/context", "`context` is a JSON object"));
    };
    if attributes.len() > CONTEXT_ATTRIBUTES_MAX {
        let message = format!(
            "the context has {} attributes; at most {CONTEXT_ATTRIBUTES_MAX} are taken: send those that rules use",
            attributes.len()
        );
        return Err(Invalid::new("/context", message));
    }
    match attributes.get(TARGETING_KEY) {
        None | Some(Value::String(_)) => Ok(attributes),
        Some(_) => Err(Invalid::new(
            format!("/context/{TARGETING_KEY}"),
            "`targetingKey` is a string; leave it out where there is none",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_context_is_an_object_and_its_targeting_key_a_string() {
        let many = |count: usize| Value::Object((0..count).map(|n| (format!("a{n}"), json!(n))).collect());
        assert_eq!(attributes(nobody()).expect("empty"), Map::new());
        assert_eq!(attributes(many(CONTEXT_ATTRIBUTES_MAX)).expect("the most").len(), CONTEXT_ATTRIBUTES_MAX);
        assert_eq!(attributes(json!({"targetingKey": "u1", "age": null})).expect("two").len(), 2);
        for (given, path) in [
            (json!(null), "/context"),
            (json!([]), "/context"),
            (json!({"targetingKey": 7}), "/context/targetingKey"),
            (json!({"targetingKey": null}), "/context/targetingKey"),
            (many(CONTEXT_ATTRIBUTES_MAX + 1), "/context"),
        ] {
            assert_eq!(attributes(given.clone()).expect_err("refused").path, path, "{given}");
        }
    }
}
