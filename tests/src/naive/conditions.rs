//! Whether a condition holds.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::{
    Context, Naive,
    attributes::{find, hash_input},
    by, given, hashes, list, networks, numbers, text, times, versions, whole,
};

impl Naive<'_> {
    /// `depth` counts the segments that were gone through to get here.
    pub(super) fn holds(&self, condition: &Value, context: &Context, depth: usize) -> bool {
        let (row, holds) = if given(condition, "all").is_some() {
            let inner = list(condition, "all");
            let row = if inner.is_empty() { "all of nothing" } else { "all" };
            (row, inner.iter().all(|condition| self.holds(condition, context, depth)))
        } else if given(condition, "any").is_some() {
            let inner = list(condition, "any");
            let row = if inner.is_empty() { "any of nothing" } else { "any" };
            (row, inner.iter().any(|condition| self.holds(condition, context, depth)))
        } else if let Some(inner) = given(condition, "not") {
            ("not", !self.holds(inner, context, depth))
        } else if let Some(key) = given(condition, "segment") {
            ("segment", self.is_member(key.as_str().expect("a segment's key"), context, depth))
        } else if let Some(range) = given(condition, "bucket") {
            ("bucket", self.is_in_bucket(range, context))
        } else {
            return self.compares(condition, context);
        };
        self.mark(row, if holds { "holds" } else { "does not" });
        holds
    }

    fn is_in_bucket(&self, range: &Value, context: &Context) -> bool {
        let Some(value) = find(context, by(range)).and_then(hash_input) else {
            self.mark("bucket", "no value");
            return false;
        };
        let hash = hashes::murmur3(format!("{}:{value}", text(range, "seed")).as_bytes(), 0);
        let bucket = (u64::from(hash) * whole(range, "of")) >> 32;
        whole(range, "from") <= bucket && bucket < whole(range, "to")
    }

    fn compares(&self, condition: &Value, context: &Context) -> bool {
        let comparison = Comparison {
            op: text(condition, "op"),
            values: list(condition, "values"),
            ignores_case: condition["ignore_case"] == true,
        };
        let row = comparison.row();
        let Some(attribute) = find(context, text(condition, "attribute")) else {
            self.mark(row, "missing");
            return false;
        };
        if comparison.op == "exists" {
            self.mark(row, "matches");
            return true;
        }
        if let Value::Array(elements) = attribute {
            let matches = elements.iter().any(|element| self.matches(&comparison, element));
            self.mark(row, if matches { "an element does" } else { "no element does" });
            return matches;
        }
        let matches = self.matches(&comparison, attribute);
        let cell = match matches {
            true => "matches",
            false if !comparison.understands(attribute) => "of another type",
            false => "does not",
        };
        self.mark(row, cell);
        matches
    }

    fn matches(&self, comparison: &Comparison<'_>, attribute: &Value) -> bool {
        comparison.values.iter().any(|value| match (attribute, value) {
            (Value::String(attribute), Value::String(value)) => {
                self.texts_match(comparison, attribute, value)
            }
            (Value::Number(attribute), Value::Number(value)) => {
                let ordering = numbers::compare(attribute, value);
                match comparison.op {
                    "in" | "eq" => ordering.is_eq(),
                    "lt" => ordering.is_lt(),
                    "lte" => ordering.is_le(),
                    "gt" => ordering.is_gt(),
                    "gte" => ordering.is_ge(),
                    _ => false,
                }
            }
            (Value::Bool(attribute), Value::Bool(value)) => {
                matches!(comparison.op, "in" | "eq") && attribute == value
            }
            _ => false,
        })
    }

    fn texts_match(&self, comparison: &Comparison<'_>, attribute: &str, value: &str) -> bool {
        let instants =
            || Some((times::read(attribute)?, times::read(value).expect("an accepted time can be read")));
        let versions = |is_match: fn(Ordering) -> bool| {
            let value = versions::read(value).expect("an accepted version can be read");
            versions::read(attribute).is_some_and(|attribute| is_match(versions::compare(&attribute, &value)))
        };
        let (plain, plain_value) = match comparison.ignores_case {
            true => (lower_case(attribute), lower_case(value)),
            false => (attribute.to_owned(), value.to_owned()),
        };
        match comparison.op {
            "in" | "eq" => plain == plain_value,
            "starts_with" => plain.starts_with(&plain_value),
            "ends_with" => plain.ends_with(&plain_value),
            "contains" => plain.contains(&plain_value),
            "matches" => self.pattern(value, comparison.ignores_case).is_match(attribute),
            "before" => instants().is_some_and(|(attribute, value)| attribute < value),
            "after" => instants().is_some_and(|(attribute, value)| attribute > value),
            "semver_eq" => versions(Ordering::is_eq),
            "semver_lt" => versions(Ordering::is_lt),
            "semver_lte" => versions(Ordering::is_le),
            "semver_gt" => versions(Ordering::is_gt),
            "semver_gte" => versions(Ordering::is_ge),
            "cidr" => networks::read_address(attribute)
                .is_some_and(|attribute| networks::contains(value, &attribute)),
            _ => false,
        }
    }

    fn pattern(&self, pattern: &str, ignores_case: bool) -> Regex {
        let mut patterns = self.patterns.borrow_mut();
        let built = patterns.entry((pattern.to_owned(), ignores_case)).or_insert_with(|| {
            let built = RegexBuilder::new(pattern).case_insensitive(ignores_case).build();
            built.unwrap_or_else(|_| panic!("{pattern:?} was accepted as a pattern"))
        });
        built.clone()
    }
}

struct Comparison<'v> {
    op: &'v str,
    values: &'v [Value],
    ignores_case: bool,
}

impl Comparison<'_> {
    /// Whether an attribute like this one could match at all.
    fn understands(&self, attribute: &Value) -> bool {
        match (self.op, attribute) {
            ("in" | "eq", _) => self.values.iter().any(|value| {
                (value.is_string() && attribute.is_string())
                    || (value.is_number() && attribute.is_number())
                    || (value.is_boolean() && attribute.is_boolean())
            }),
            ("lt" | "lte" | "gt" | "gte", _) => attribute.is_number(),
            ("before" | "after", Value::String(text)) => times::read(text).is_some(),
            ("cidr", Value::String(text)) => networks::read_address(text).is_some(),
            (op, Value::String(text)) if op.starts_with("semver_") => versions::read(text).is_some(),
            _ => attribute.is_string(),
        }
    }

    fn row(&self) -> &'static str {
        match (self.op, self.ignores_case) {
            ("in", false) => "in",
            ("in", true) => "in, ignoring case",
            ("eq", false) => "eq",
            ("eq", true) => "eq, ignoring case",
            ("starts_with", false) => "starts_with",
            ("starts_with", true) => "starts_with, ignoring case",
            ("ends_with", false) => "ends_with",
            ("ends_with", true) => "ends_with, ignoring case",
            ("contains", false) => "contains",
            ("contains", true) => "contains, ignoring case",
            ("matches", false) => "matches",
            ("matches", true) => "matches, ignoring case",
            ("lt", _) => "lt",
            ("lte", _) => "lte",
            ("gt", _) => "gt",
            ("gte", _) => "gte",
            ("before", _) => "before",
            ("after", _) => "after",
            ("semver_eq", _) => "semver_eq",
            ("semver_lt", _) => "semver_lt",
            ("semver_lte", _) => "semver_lte",
            ("semver_gt", _) => "semver_gt",
            ("semver_gte", _) => "semver_gte",
            ("cidr", _) => "cidr",
            ("exists", _) => "exists",
            (op, _) => panic!("{op} was accepted as an operator"),
        }
    }
}

/// Each letter by itself, whatever stands beside it.
fn lower_case(text: &str) -> String {
    let mut lower = String::new();
    for letter in text.chars() {
        for lowered in letter.to_lowercase() {
            lower.push(lowered);
        }
    }
    lower
}
