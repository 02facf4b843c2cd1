//! What a flag is for a context.

use serde_json::{Value, json};

use super::{
    Context, Naive,
    attributes::{find, hash_input},
    by, given, list, text,
};

/// What a flag is.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The variant; empty for the caller's code default.
    pub variant: String,
    /// Its value; `None` for the caller's code default.
    pub value: Option<Value>,
    /// Why.
    pub reason: String,
    /// More of why.
    pub detail: Option<String>,
}

/// An answer as its parts are found.
struct Found<'v> {
    variant: Option<&'v str>,
    reason: &'static str,
    detail: Option<&'static str>,
}

fn found<'v>(variant: Option<&'v str>, reason: &'static str) -> Found<'v> {
    Found { variant, reason, detail: None }
}

impl<'a> Naive<'a> {
    /// What the flag is for the context; `None` if there is no such flag.
    ///
    /// # Panics
    /// The catalog holds what the engine does not accept.
    pub fn evaluate(&self, key: &str, context: &Context) -> Option<Answer> {
        let flag = self.flag(key)?;
        let Found { variant, reason, detail } = self.resolve(flag, context, 0);
        self.mark(
            match reason {
                "STATIC" => "STATIC",
                "DEFAULT" => "DEFAULT",
                "DISABLED" => "DISABLED",
                "TARGETING_MATCH" => "TARGETING_MATCH",
                _ => "SPLIT",
            },
            match (variant, detail) {
                (Some(_), None) => "a variant",
                (None, None) => "the code default",
                (Some(_), Some(_)) => "a variant, for a prerequisite",
                (None, Some(_)) => "the code default, for a prerequisite",
            },
        );
        Some(Answer {
            variant: variant.unwrap_or_default().to_owned(),
            value: variant.map(|variant| value(flag, variant)),
            reason: reason.to_owned(),
            detail: detail.map(str::to_owned),
        })
    }

    /// `depth` counts the flags that this one is a prerequisite of, directly and on.
    fn resolve(&self, flag: &'a Value, context: &Context, depth: usize) -> Found<'a> {
        let configuration = given(flag, "environments").and_then(|all| given(all, self.environment));
        let Some(configuration) = configuration else {
            self.mark("flag", "never configured");
            return found(variant_named(flag, "off_variant"), "DISABLED");
        };
        let off = variant_named(configuration, "off_variant").or(variant_named(flag, "off_variant"));
        if given(configuration, "off_variant").is_some() {
            self.mark("flag", "the environment's off variant");
        }
        if let Some(hold) = given(configuration, "hold") {
            self.mark("flag", "held");
            return found(Some(text(hold, "variant")), "TARGETING_MATCH");
        }
        if configuration["enabled"] != true {
            self.mark("flag", "disabled");
            return found(off, "DISABLED");
        }
        for (at, prerequisite) in list(configuration, "prerequisites").iter().enumerate() {
            self.mark("prerequisites of one flag", if at < 16 { "up to sixteen" } else { "more" });
            if !self.is_met(prerequisite, context, depth) {
                return Found { detail: Some("prerequisite"), ..found(off, "DEFAULT") };
            }
        }
        if let Some(variant) = self.target(configuration, context) {
            return found(Some(variant), "TARGETING_MATCH");
        }
        for rule in list(configuration, "rules") {
            let applies = match given(rule, "when") {
                Some(condition) => self.holds(condition, context, 0),
                None => true,
            };
            self.mark("rule", if applies { "applies" } else { "does not" });
            if !applies {
                continue;
            }
            if let Some(rollout) = given(&rule["serve"], "rollout") {
                match self.rolled_out(rollout, context) {
                    Some(variant) => {
                        self.mark("rule", "rolls out");
                        return found(Some(variant), "SPLIT");
                    }
                    None => self.mark("rule", "says nothing"),
                }
            } else {
                self.mark("rule", "gives a variant");
                return found(Some(text(&rule["serve"], "variant")), "TARGETING_MATCH");
            }
        }
        self.default(configuration, off, context)
    }

    fn default(&self, configuration: &'a Value, off: Option<&'a str>, context: &Context) -> Found<'a> {
        let decides_by_nothing = ["prerequisites", "targets", "rules"]
            .iter()
            .all(|decides| list(configuration, decides).is_empty());
        let reason = if decides_by_nothing { "STATIC" } else { "DEFAULT" };
        let Some(serve) = given(configuration, "default") else {
            self.mark("default", "the code default");
            return found(None, reason);
        };
        let Some(rollout) = given(serve, "rollout") else {
            self.mark("default", "gives a variant");
            return found(Some(text(serve, "variant")), reason);
        };
        match self.rolled_out(rollout, context) {
            Some(variant) => {
                self.mark("default", "rolls out");
                found(Some(variant), "SPLIT")
            }
            None => {
                self.mark("default", "says nothing");
                found(off, "DEFAULT")
            }
        }
    }

    fn is_met(&self, prerequisite: &'a Value, context: &Context, depth: usize) -> bool {
        self.mark("depth of prerequisites", ["one", "two", "three"][depth.min(2)]);
        let key = text(prerequisite, "flag");
        let flag = self.flag(key).unwrap_or_else(|| panic!("prerequisite {key} was accepted"));
        let Found { variant, reason, .. } = self.resolve(flag, context, depth + 1);
        let (is_met, cell) = match variant {
            _ if reason == "DISABLED" => (false, "disabled"),
            None => (false, "the code default"),
            Some(variant) => {
                let is_met = list(prerequisite, "variants").iter().any(|listed| listed == variant);
                (is_met, if is_met { "met" } else { "another variant" })
            }
        };
        self.mark("prerequisite", cell);
        is_met
    }

    fn target(&self, configuration: &'a Value, context: &Context) -> Option<&'a str> {
        for target in list(configuration, "targets") {
            let Some(value) = find(context, by(target)).and_then(hash_input) else {
                self.mark("target", "no value");
                continue;
            };
            if list(target, "values").iter().any(|listed| listed == value.as_str()) {
                self.mark("target", "lists it");
                return Some(text(target, "variant"));
            }
            self.mark("target", "does not");
        }
        None
    }
}

fn variant_named<'v>(object: &'v Value, field: &str) -> Option<&'v str> {
    given(object, field).map(|variant| variant.as_str().expect("a variant's key"))
}

/// A variant's value, in the one form that its type has.
fn value(flag: &Value, variant: &str) -> Value {
    let value = &flag["variants"][variant];
    match text(flag, "type") {
        "number" => json!(value.as_f64().expect("a number")),
        "integer" if value.is_f64() => {
            #[expect(clippy::cast_possible_truncation, reason = "accepted as a whole number within 2^53")]
            let integer = value.as_f64().expect("a number") as i64;
            json!(integer)
        }
        _ => value.clone(),
    }
}
