//! The evaluation context: what is known of whoever a flag is evaluated for.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The attribute that names whoever a flag is evaluated for.
pub const TARGETING_KEY: &str = "targetingKey";

/// Attributes by name. `targetingKey` is one of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluationContext {
    attributes: Map<String, Value>,
}

impl EvaluationContext {
    /// The context of a JSON object.
    pub fn new(attributes: Map<String, Value>) -> Self {
        Self { attributes }
    }

    /// All attributes.
    pub fn attributes(&self) -> &Map<String, Value> {
        &self.attributes
    }

    /// Puts a token's attributes over the ones of the request. Those of the request that would shadow a part of one
    /// (`user.plan` a token's `user`) go: nobody may lift what a token lays down.
    pub fn override_with(&mut self, attributes: &BTreeMap<String, Value>) {
        self.attributes.retain(|name, _| {
            let mut outer = name.match_indices('.').filter_map(|(at, _)| name.get(..at));
            !outer.any(|outer| attributes.contains_key(outer))
        });
        self.attributes.extend(attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
    }

    /// An attribute: literally by that name, else by the path that the dots in the name make (`user.plan`). A `null` is
    /// as good as missing.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let literal = self.attributes.get(name);
        let found = literal.or_else(|| {
            let (first, rest) = name.split_once('.')?;
            let first = self.attributes.get(first)?;
            rest.split('.').try_fold(first, |value, field| value.get(field))
        });
        found.filter(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context(value: Value) -> EvaluationContext {
        let Value::Object(attributes) = value else { panic!("an object: {value}") };
        EvaluationContext::new(attributes)
    }

    #[test]
    fn a_name_is_literal_first_and_then_a_path() {
        let both =
            context(json!({"user.plan": "literal", "user": {"plan": "path", "a": {"b": 1}}, "none": null}));
        assert_eq!(both.get("user.plan"), Some(&json!("literal")));
        assert_eq!(both.get("user.a.b"), Some(&json!(1)));
        for missing in ["user.a.b.c", "user.", ".user", "", "none", "user.b"] {
            assert_eq!(both.get(missing), None, "{missing}");
        }
    }

    #[test]
    fn a_token_wins_over_the_request() {
        let mut request = context(json!({"region": "mars", "targetingKey": "u1"}));
        request.override_with(&BTreeMap::from([("region".to_owned(), json!("eu"))]));
        assert_eq!(request.get("region"), Some(&json!("eu")));
        assert_eq!(request.get(TARGETING_KEY), Some(&json!("u1")));
    }

    #[test]
    fn a_request_cannot_shadow_a_part_of_what_its_token_lays_down() {
        let mut request = context(
            json!({"user.plan": "pro", "user.plan.name": "Pro", "users": 1, "user": {"plan": "pro"}}),
        );
        request.override_with(&BTreeMap::from([("user".to_owned(), json!({"plan": "free"}))]));
        assert_eq!(request.get("user.plan"), Some(&json!("free")));
        assert_eq!(request.get("user.plan.name"), None);
        assert_eq!(request.get("users"), Some(&json!(1)));
    }
}
