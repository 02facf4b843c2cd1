//! The words and signs of the language, and what people write in their place.

use serde::{
    Deserialize,
    de::{
        IntoDeserializer,
        value::{Error, StrDeserializer},
    },
};
use serde_json::Value;

use crate::condition::Operator;

/// Words that never are an attribute's bare name. A later version adds none, so that a text stays readable: which of the
/// other words is a name can be told from where it stands.
const RESERVED: [&str; 6] = ["and", "or", "not", "true", "false", "null"];

/// Whether a name that is this word stands in backticks, or is missing.
pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// Whether a name may be written as it is.
pub(super) fn is_bare_name(name: &str) -> bool {
    name.starts_with(begins_word) && name.chars().all(continues_word) && !is_reserved(name)
}

/// Whether a word begins with it. ASCII only: which characters are letters differs from one version of Unicode to the
/// next, and a name that only looks like `plan` must look different.
pub(super) fn begins_word(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

/// Whether a word goes on with it.
pub(super) fn continues_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// The operator of that name in JSON.
pub(super) fn operator(name: &str) -> Option<Operator> {
    let deserializer: StrDeserializer<'_, Error> = name.into_deserializer();
    Operator::deserialize(deserializer).ok()
}

/// Whether one value of that operator is a text that can follow it without a list.
pub(super) fn takes_bare_text(op: Operator) -> bool {
    use Operator::{After, Before, Contains, EndsWith, Matches, StartsWith};
    matches!(op, StartsWith | EndsWith | Contains | Matches | Before | After)
}

/// A sign that compares with one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Sign {
    const ALL: [Self; 5] = [Self::Equal, Self::Less, Self::LessOrEqual, Self::Greater, Self::GreaterOrEqual];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sign| sign.as_str() == text)
    }

    /// Whether it may stand before that value: what is equal or not, or a number, that has an order.
    pub(super) fn compares_with(self, value: &Value) -> bool {
        match value {
            Value::Number(_) => true,
            Value::String(_) | Value::Bool(_) => self == Self::Equal,
            Value::Null | Value::Array(_) | Value::Object(_) => false,
        }
    }

    /// The operator that it is for a value as such.
    pub(super) fn plain(self) -> Operator {
        match self {
            Self::Equal => Operator::Eq,
            Self::Less => Operator::Lt,
            Self::LessOrEqual => Operator::Lte,
            Self::Greater => Operator::Gt,
            Self::GreaterOrEqual => Operator::Gte,
        }
    }

    /// The operator that it is for a version.
    pub(super) fn of_versions(self) -> Operator {
        match self {
            Self::Equal => Operator::SemverEq,
            Self::Less => Operator::SemverLt,
            Self::LessOrEqual => Operator::SemverLte,
            Self::Greater => Operator::SemverGt,
            Self::GreaterOrEqual => Operator::SemverGte,
        }
    }

    /// The sign that stands for an operator on values as such.
    pub(super) fn of_plain(op: Operator) -> Option<Self> {
        Self::ALL.into_iter().find(|sign| sign.plain() == op)
    }

    /// The sign that stands for an operator on versions.
    pub(super) fn of_version(op: Operator) -> Option<Self> {
        Self::ALL.into_iter().find(|sign| sign.of_versions() == op)
    }
}

/// What to write for what reads like an operator of another language; `None` when it reads like nothing known.
pub(super) fn meant(word: &str) -> Option<&'static str> {
    let plain: String =
        word.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect();
    let meant = match plain.as_str() {
        "is" | "equal" | "equals" | "eq" => "==",
        "isnot" | "ne" | "neq" | "notequals" | "notin" | "doesnotcontain" | "notcontains" => NOT_IN_FRONT,
        "oneof" | "isoneof" | "anyof" | "isin" | "in" => "in [...]",
        "startswith" | "beginswith" | "hasprefix" | "prefix" | "sw" => "starts_with",
        "endswith" | "hassuffix" | "suffix" | "ew" => "ends_with",
        "contain" | "contains" | "include" | "includes" | "has" | "co" => "contains",
        "match" | "matches" | "regex" | "regexp" | "like" | "rlike" => "matches",
        "lessthan" | "lt" => "<",
        "atmost" | "le" | "lte" => "<=",
        "greaterthan" | "gt" => ">",
        "atleast" | "ge" | "gte" => ">=",
        "before" => "before",
        "after" | "since" => "after",
        "exist" | "exists" | "present" | "ispresent" | "pr" | "isset" | "defined" => "exists",
        _ => return None,
    };
    Some(meant)
}

/// The remedy for all that is negated in the middle.
pub(super) const NOT_IN_FRONT: &str =
    "not in front of the comparison, such as not plan == \"pro\"; it holds without the attribute, too";
