//! A flag's definition: what it is in every environment.

use std::{collections::BTreeMap, ops::Deref, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;

pub use crate::configuration::{
    FlagEnvironment, FlagEnvironmentSpec, Hold, Prerequisite, Rollout, Rule, Serve, Target, WeightedVariant,
};
use crate::{
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, VariantKey},
    limits::{
        AGE_MAX_MS, FLAG_DEFINITION_BYTES_MAX, INTEGER_MAX, LINKS_MAX, LONG_TEXT_BYTES_MAX, METADATA_MAX,
        SHORT_TEXT_BYTES_MAX, TAGS_MAX, TEST_CONTEXT_BYTES_MAX, TESTS_MAX, VALUE_BYTES_MAX, VARIANTS_MAX,
    },
    operand::time,
    parse::{check_attributes, check_json, check_name},
    size::json_bytes,
    text::check_text,
};

/// The type of a flag's value. Never changes, for callers rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlagType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// A whole number within +-(2^53 - 1), what a double holds exactly.
    Integer,
    /// A finite double, always written with a fraction or an exponent.
    Number,
    /// A JSON object.
    Object,
}

/// What a flag is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To release something gradually.
    Release,
    /// To compare variants.
    Experiment,
    /// To run the system.
    Operational,
    /// To turn something off at once.
    KillSwitch,
    /// To decide who may do what.
    Permission,
}

/// Who may evaluate a flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exposure {
    /// Server-side programs.
    #[default]
    Server,
    /// Browsers and phones too.
    Client,
}

/// What is done with an answer that is older than `max_age_ms`, and that nobody can confirm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnStale {
    /// It serves the answer.
    #[default]
    Serve,
    /// It serves the safe variant.
    SafeVariant,
    /// It answers with an error.
    Error,
}

/// What a critical read that could not be confirmed gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnconfirmed {
    /// The safe variant.
    #[default]
    SafeVariant,
    /// The last known answer, for `grace_ms`, and the safe variant after that: bounded staleness in place of
    /// linearizability.
    LastKnown,
}

/// What is recorded of a flag's evaluations. Anything but nothing needs cluster version 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditEvaluations {
    /// Nothing.
    #[default]
    None,
    /// How many, by variant, reason, revision and token.
    Summary,
    /// That, and each one, up to so many a minute.
    Full,
}

/// A link to more about a flag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// What it leads to.
    pub title: String,
    /// Where.
    pub url: String,
}

/// What a flag must answer for a context. Kept for a later version, which runs it before a change applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagTest {
    /// A name for people.
    pub name: String,
    /// The environment.
    pub environment: EnvironmentKey,
    /// The context.
    #[serde(default)]
    pub context: BTreeMap<String, Value>,
    /// The variant that it must get.
    pub variant: VariantKey,
}

/// A flag's definition as a person states it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagSpec {
    /// The flag's key.
    pub key: FlagKey,
    /// A name for people. Default: empty.
    #[serde(default)]
    pub name: String,
    /// The type of its value.
    #[serde(rename = "type")]
    pub flag_type: FlagType,
    /// What it decides. Default: empty.
    #[serde(default)]
    pub description: String,
    /// Who answers for it. Default: empty.
    #[serde(default)]
    pub owner: String,
    /// Words to find it by. Default: none.
    #[serde(default)]
    pub tags: Vec<String>,
    /// More about it. Default: none.
    #[serde(default)]
    pub links: Vec<Link>,
    /// Scalars that every evaluation carries. Default: none.
    #[serde(default)]
    pub metadata: BTreeMap<String, Value>,
    /// What it is for. Default: not stated.
    #[serde(default)]
    pub purpose: Option<Purpose>,
    /// Whether it is to be removed some day. Default: no.
    #[serde(default)]
    pub temporary: bool,
    /// When it should be gone, an RFC 3339 time. Nothing happens then by itself. Default: not stated.
    #[serde(default)]
    pub expires_at: Option<String>,
    /// What must have come true before it goes. Default: empty.
    #[serde(default)]
    pub exit_criteria: String,
    /// Whether it is read linearizably from every node. Default: no.
    #[serde(default)]
    pub critical: bool,
    /// What is served when nobody can be sure of a critical flag. Required where `critical`.
    #[serde(default)]
    pub safe_variant: Option<VariantKey>,
    /// The age beyond which an answer is stale, in milliseconds. Default: none. For a critical flag it bounds the age of
    /// the copy that a client may still answer from; its default there is the client's.
    #[serde(default)]
    pub max_age_ms: Option<u64>,
    /// What to do with a stale answer. Default: serve it.
    #[serde(default)]
    pub on_stale: OnStale,
    /// What an unconfirmed critical read gets. Default: the safe variant.
    #[serde(default)]
    pub on_unconfirmed: OnUnconfirmed,
    /// How old an answer may be that `last-known` still serves, in milliseconds. Required where `on_unconfirmed` is that.
    #[serde(default)]
    pub grace_ms: Option<u64>,
    /// What is recorded of its evaluations. Default: nothing.
    #[serde(default)]
    pub audit_evaluations: AuditEvaluations,
    /// What it must answer for some contexts. Default: nothing.
    #[serde(default)]
    pub tests: Vec<FlagTest>,
    /// Who may evaluate it. Default: server-side programs.
    #[serde(default)]
    pub exposure: Exposure,
    /// The values it may have, by variant.
    pub variants: Variants,
    /// What is served while it is disabled. Default: the caller's code default.
    #[serde(default)]
    pub off_variant: Option<VariantKey>,
}

/// Values by variant.
pub type Variants = BTreeMap<VariantKey, Arc<Value>>;

/// A valid definition. A clone shares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagDefinition {
    spec: Arc<FlagSpec>,
    bytes: usize,
}

impl Deref for FlagDefinition {
    type Target = FlagSpec;

    fn deref(&self) -> &FlagSpec {
        &self.spec
    }
}

impl Serialize for FlagDefinition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.spec.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FlagDefinition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(FlagSpec::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl FlagDefinition {
    /// Checks a definition and brings its values into their one form: `1.0` becomes `1` where the type is integer, and
    /// `1` becomes `1.0` where it is number.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn new(mut spec: FlagSpec) -> Result<Self, Invalid> {
        check_texts(&spec)?;
        if spec.variants.is_empty() || spec.variants.len() > VARIANTS_MAX {
            return Err(Invalid::new("/variants", format!("a flag has 1 to {VARIANTS_MAX} variants")));
        }
        for (variant, value) in &mut spec.variants {
            // The depth comes first: what is deeper is not to be written out at all.
            let checked = check_json(value)
                .and_then(|()| normalise(spec.flag_type, Arc::make_mut(value)))
                .and_then(|()| check_size(value));
            checked.map_err(|invalid| invalid.under(variant).under("variants"))?;
        }
        check_variant("safe_variant", spec.safe_variant.as_ref(), &spec.variants)?;
        check_variant("off_variant", spec.off_variant.as_ref(), &spec.variants)?;
        if spec.critical && spec.safe_variant.is_none() {
            return Err(Invalid::new(
                "/safe_variant",
                "a critical flag needs a safe variant: what is served when nobody can be sure",
            ));
        }
        if spec.on_stale == OnStale::SafeVariant && spec.safe_variant.is_none() {
            return Err(Invalid::new(
                "/safe_variant",
                "on_stale is safe-variant, but the flag has none; name one, or choose serve or error",
            ));
        }
        for (field, ms) in [("max_age_ms", spec.max_age_ms), ("grace_ms", spec.grace_ms)] {
            if ms.is_some_and(|ms| ms > AGE_MAX_MS) {
                return Err(Invalid::new(
                    format!("/{field}"),
                    format!("give at most {AGE_MAX_MS} ms, a day"),
                ));
            }
        }
        if spec.on_unconfirmed == OnUnconfirmed::LastKnown && spec.grace_ms.is_none() {
            return Err(Invalid::new(
                "/grace_ms",
                "on_unconfirmed is last-known, but for how long? Give grace_ms, or choose safe-variant",
            ));
        }
        count("/tests", spec.tests.len(), TESTS_MAX)?;
        for (index, test) in spec.tests.iter().enumerate() {
            check_test(test, &spec.variants).map_err(|invalid| invalid.under(index).under("tests"))?;
        }
        let bytes = json_bytes(&spec);
        if bytes > FLAG_DEFINITION_BYTES_MAX {
            return Err(Invalid::here(format!(
                "the flag's definition has {bytes} bytes of JSON; at most {FLAG_DEFINITION_BYTES_MAX} are kept; give it fewer or smaller variants"
            )));
        }
        Ok(Self { spec: Arc::new(spec), bytes })
    }

    /// Its size: the bytes of its compact JSON.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is the very same one, shared.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spec, &other.spec)
    }

    /// Whether evaluation sees the same in both: the value, whom it may be told to, whether it has to be confirmed, how
    /// long it is good, and the metadata that go with it. The other fields are for people.
    pub fn evaluates_like(&self, other: &Self) -> bool {
        // Taken apart, so that no field can be added without a decision.
        let seen = |spec: &FlagSpec| {
            let FlagSpec {
                key,
                flag_type,
                metadata,
                critical,
                safe_variant,
                max_age_ms,
                on_stale,
                on_unconfirmed,
                grace_ms,
                audit_evaluations,
                exposure,
                variants,
                off_variant,
                name: _,
                description: _,
                owner: _,
                tags: _,
                links: _,
                purpose: _,
                temporary: _,
                expires_at: _,
                exit_criteria: _,
                tests: _,
            } = spec.clone();
            let consistency = (critical, safe_variant, on_unconfirmed, grace_ms, max_age_ms, on_stale);
            (key, flag_type, variants, off_variant, exposure, metadata, consistency, audit_evaluations)
        };
        seen(&self.spec) == seen(&other.spec)
    }

    /// The definition without the tests of an environment that goes.
    #[must_use]
    pub(crate) fn without_tests_of(&self, environment: &EnvironmentKey) -> Self {
        let mut less = self.clone();
        Arc::make_mut(&mut less.spec).tests.retain(|test| test.environment != *environment);
        less.bytes = json_bytes(&less.spec);
        less
    }

    /// Whether it tests anything in the environment.
    pub fn has_tests_of(&self, environment: &EnvironmentKey) -> bool {
        self.tests.iter().any(|test| test.environment == *environment)
    }
}

/// Checks that a variant that is named exists.
pub(crate) fn check_variant(
    field: &str,
    variant: Option<&VariantKey>,
    variants: &Variants,
) -> Result<(), Invalid> {
    match variant {
        Some(variant) if !variants.contains_key(variant) => {
            let known: Vec<&str> = variants.keys().map(VariantKey::as_str).collect();
            Err(Invalid::new(
                format!("/{field}"),
                format!("there is no variant {variant:?}; the flag has {}", known.join(", ")),
            ))
        }
        _ => Ok(()),
    }
}

/// Brings a value into the one form of its type, or says that it is of another type.
fn normalise(flag_type: FlagType, value: &mut Value) -> Result<(), Invalid> {
    let wrong = |wanted: &str| Err(Invalid::here(format!("the flag's type asks for {wanted}")));
    match (flag_type, &*value) {
        (FlagType::Boolean, Value::Bool(_))
        | (FlagType::String, Value::String(_))
        | (FlagType::Object, Value::Object(_)) => Ok(()),
        (FlagType::Integer, Value::Number(number)) => {
            let whole = number.as_i64().or_else(|| number.as_f64().and_then(whole_number));
            match whole.filter(|whole| whole.unsigned_abs() <= INTEGER_MAX.unsigned_abs()) {
                Some(whole) => {
                    *value = whole.into();
                    Ok(())
                }
                None => wrong("a whole number within +-9007199254740991"),
            }
        }
        (FlagType::Number, Value::Number(number)) => {
            match number.as_f64().and_then(serde_json::Number::from_f64) {
                Some(double) => {
                    *value = Value::Number(double);
                    Ok(())
                }
                None => wrong("a finite number"),
            }
        }
        (FlagType::Boolean, _) => wrong("true or false"),
        (FlagType::String, _) => wrong("a string"),
        (FlagType::Integer, _) => wrong("a whole number"),
        (FlagType::Number, _) => wrong("a number"),
        (FlagType::Object, _) => wrong("a JSON object"),
    }
}

/// The whole number that a double is, if it is one that doubles hold exactly.
fn whole_number(double: f64) -> Option<i64> {
    // Within these bounds the conversion is exact.
    #[expect(clippy::cast_possible_truncation, reason = "checked against the bounds of exact doubles")]
    let whole = (double.fract() == 0.0 && double.abs() <= 9_007_199_254_740_991.0).then_some(double as i64);
    whole
}

fn check_size(value: &Value) -> Result<(), Invalid> {
    let bytes = json_bytes(value);
    if bytes > VALUE_BYTES_MAX {
        return Err(Invalid::here(format!(
            "the value has {bytes} bytes; at most {VALUE_BYTES_MAX} are kept"
        )));
    }
    Ok(())
}

fn check_texts(spec: &FlagSpec) -> Result<(), Invalid> {
    let at = |path: &str, checked: Result<(), Invalid>| {
        checked.map_err(|invalid| Invalid::new(path.to_owned(), invalid.message))
    };
    at("/name", check_text("the name", &spec.name, SHORT_TEXT_BYTES_MAX))?;
    at("/description", check_text("the description", &spec.description, LONG_TEXT_BYTES_MAX))?;
    at("/owner", check_text("the owner", &spec.owner, SHORT_TEXT_BYTES_MAX))?;
    at("/exit_criteria", check_text("the text", &spec.exit_criteria, LONG_TEXT_BYTES_MAX))?;
    if spec.expires_at.as_deref().is_some_and(|text| time::parse(text).is_none()) {
        return Err(Invalid::new("/expires_at", "give an RFC 3339 time, as 2027-03-01T00:00:00Z"));
    }
    count("/tags", spec.tags.len(), TAGS_MAX)?;
    for (index, tag) in spec.tags.iter().enumerate() {
        at(&format!("/tags/{index}"), check_text("the tag", tag, SHORT_TEXT_BYTES_MAX))?;
    }
    count("/links", spec.links.len(), LINKS_MAX)?;
    for (index, link) in spec.links.iter().enumerate() {
        at(&format!("/links/{index}/title"), check_text("the title", &link.title, SHORT_TEXT_BYTES_MAX))?;
        at(&format!("/links/{index}/url"), check_text("the URL", &link.url, LONG_TEXT_BYTES_MAX))?;
        // A console will show these as links: nothing but the web may be behind one.
        if !(link.url.starts_with("https://") || link.url.starts_with("http://")) {
            return Err(Invalid::new(
                format!("/links/{index}/url"),
                "give a URL that begins with https:// or http://",
            ));
        }
    }
    count("/metadata", spec.metadata.len(), METADATA_MAX)?;
    for (name, value) in &spec.metadata {
        let fault = |message: String| Err(Invalid::here(message).under(name).under("metadata"));
        check_name(name).map_err(|invalid| invalid.under(name).under("metadata"))?;
        if name.is_empty() || name.len() > SHORT_TEXT_BYTES_MAX {
            return fault(format!("a metadata name has 1 to {SHORT_TEXT_BYTES_MAX} bytes"));
        }
        match value {
            Value::String(text) if text.len() > LONG_TEXT_BYTES_MAX => {
                return fault(format!("a metadata value has at most {LONG_TEXT_BYTES_MAX} bytes"));
            }
            Value::String(_) | Value::Number(_) | Value::Bool(_) => {}
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return fault("metadata are strings, numbers and booleans".to_owned());
            }
        }
    }
    Ok(())
}

fn count(path: &str, count: usize, max: usize) -> Result<(), Invalid> {
    if count > max {
        return Err(Invalid::new(path, format!("there are {count}; at most {max} are kept")));
    }
    Ok(())
}

fn check_test(test: &FlagTest, variants: &Variants) -> Result<(), Invalid> {
    check_text("the name", &test.name, SHORT_TEXT_BYTES_MAX).map_err(|invalid| invalid.under("name"))?;
    check_attributes(&test.context).map_err(|invalid| invalid.under("context"))?;
    if json_bytes(&test.context) > TEST_CONTEXT_BYTES_MAX {
        return Err(Invalid::new(
            "/context",
            format!("a test's context has at most {TEST_CONTEXT_BYTES_MAX} bytes"),
        ));
    }
    check_variant("variant", Some(&test.variant), variants)
}

pub(crate) fn targeting_key() -> String {
    "targetingKey".to_owned()
}
