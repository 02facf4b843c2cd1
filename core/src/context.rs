//! The evaluation context: what is known of whoever a flag is evaluated for.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::compiled::{AttributeName, name_hash};

/// The attribute that names whoever a flag is evaluated for.
pub const TARGETING_KEY: &str = "targetingKey";

/// So many attributes are walked over to find one: of few that is faster than to look for it.
const WALKED_MAX: usize = 32;

/// Attributes by name. `targetingKey` is one of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluationContext {
    /// The hashes of the names, in their order: of a few attributes one is found by walking over these.
    hashes: Vec<u64>,
    /// In the order of the names.
    attributes: Vec<(String, Value)>,
}

impl EvaluationContext {
    /// The context of a JSON object.
    pub fn new(attributes: Map<String, Value>) -> Self {
        // A map of JSON is in the order of its names.
        Self::of(attributes.into_iter().collect())
    }

    /// Attributes in the order of their names, each name once.
    fn of(attributes: Vec<(String, Value)>) -> Self {
        Self { hashes: attributes.iter().map(|(name, _)| name_hash(name)).collect(), attributes }
    }

    /// All attributes, in the order of their names.
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whoever a flag is evaluated for, as far as that is a text.
    pub fn targeting_key(&self) -> Option<&str> {
        self.literal(TARGETING_KEY, name_hash(TARGETING_KEY))?.as_str()
    }

    /// Puts a token's attributes over the ones of the request. Those of the request that would shadow a part of one
    /// (`user.plan` a token's `user`) go: nobody may lift what a token lays down.
    pub fn override_with(&mut self, attributes: &BTreeMap<String, Value>) {
        if attributes.is_empty() {
            return;
        }
        let is_shadow = |name: &str| {
            let mut outer = name.match_indices('.').filter_map(|(at, _)| name.get(..at));
            outer.any(|outer| attributes.contains_key(outer))
        };
        let kept = std::mem::take(&mut self.attributes).into_iter().filter(|(name, _)| !is_shadow(name));
        let mut all: BTreeMap<String, Value> = kept.collect();
        all.extend(attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
        *self = Self::of(all.into_iter().collect());
    }

    /// An attribute: literally by that name, else by the path that the dots in the name make (`user.plan`). A `null` is
    /// as good as missing.
    #[inline]
    pub fn get(&self, name: &AttributeName) -> Option<&Value> {
        let found = match self.literal(name.as_str(), name.hash()) {
            Some(literal) => literal,
            None => {
                let path = name.path()?;
                let first = self.literal(&path.first, path.first_hash)?;
                path.rest.iter().try_fold(first, |value, field| value.get(&**field))?
            }
        };
        (!found.is_null()).then_some(found)
    }

    #[inline]
    fn literal(&self, name: &str, hash: u64) -> Option<&Value> {
        if self.attributes.len() > WALKED_MAX {
            return self.search(name);
        }
        let places = self.hashes.iter().zip(&self.attributes);
        let mut named = places.filter(|(found, (text, _))| **found == hash && text == name);
        named.next().map(|(_, (_, value))| value)
    }

    /// Many are in order all the same.
    #[cold]
    fn search(&self, name: &str) -> Option<&Value> {
        let place = self.attributes.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        self.attributes.get(place).map(|(_, value)| value)
    }
}

impl Serialize for EvaluationContext {
    /// The JSON object, its names in order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.attributes())
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

    fn get<'c>(context: &'c EvaluationContext, name: &str) -> Option<&'c Value> {
        context.get(&AttributeName::new(name))
    }

    #[test]
    fn a_name_is_literal_first_and_then_a_path() {
        let both = context(
            json!({"user.plan": "literal", "user": {"plan": "path", "a": {"b": 1}}, "none": null, "user.n": null, "list": [{"a": 1}]}),
        );
        assert_eq!(get(&both, "user.plan"), Some(&json!("literal")));
        assert_eq!(get(&both, "user.a.b"), Some(&json!(1)));
        for missing in ["user.a.b.c", "user.", ".user", "", "none", "user.b", "user.n", "list.0", "list.0.a"]
        {
            assert_eq!(get(&both, missing), None, "{missing}");
        }
    }

    #[test]
    fn a_literal_null_hides_the_path() {
        assert_eq!(get(&context(json!({"user.plan": null, "user": {"plan": "path"}})), "user.plan"), None);
    }

    #[test]
    fn many_attributes_are_found_as_few_are() {
        for count in [0, 1, WALKED_MAX - 2, WALKED_MAX - 1, WALKED_MAX, 1_000] {
            let mut attributes: BTreeMap<String, Value> =
                (0..count).map(|n| (format!("a{n}"), json!(n))).collect();
            attributes.insert("user".to_owned(), json!({"plan": "pro"}));
            let of_a_request = EvaluationContext::new(attributes.clone().into_iter().collect());
            let mut of_a_token = EvaluationContext::default();
            of_a_token.override_with(&attributes);
            for context in [of_a_request, of_a_token] {
                for n in 0..count {
                    assert_eq!(get(&context, &format!("a{n}")), Some(&json!(n)), "of {count}");
                }
                assert_eq!(get(&context, "user.plan"), Some(&json!("pro")), "of {count}");
                for missing in ["", "a", "a01", "b", "z", "user.a"] {
                    assert_eq!(get(&context, missing), None, "{missing} of {count}");
                }
            }
        }
    }

    #[test]
    fn it_is_written_as_it_was_read() {
        let value = json!({"b": [1, {"x": null}], "a": 1.5, "": "empty"});
        assert_eq!(serde_json::to_value(context(value.clone())).expect("JSON"), value);
    }

    #[test]
    fn a_token_wins_over_the_request() {
        let mut request = context(json!({"region": "mars", "targetingKey": "u1"}));
        request
            .override_with(&BTreeMap::from([("region".to_owned(), json!("eu")), ("a".to_owned(), json!(1))]));
        assert_eq!(get(&request, "region"), Some(&json!("eu")));
        assert_eq!(get(&request, TARGETING_KEY), Some(&json!("u1")));
        let names: Vec<&str> = request.attributes().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "region", "targetingKey"]);
    }

    #[test]
    fn a_request_cannot_shadow_a_part_of_what_its_token_lays_down() {
        let mut request = context(
            json!({"user.plan": "pro", "user.plan.name": "Pro", "users": 1, "user": {"plan": "pro"}}),
        );
        request.override_with(&BTreeMap::from([("user".to_owned(), json!({"plan": "free"}))]));
        assert_eq!(get(&request, "user.plan"), Some(&json!("free")));
        assert_eq!(get(&request, "user.plan.name"), None);
        assert_eq!(get(&request, "users"), Some(&json!(1)));
    }
}
