//! Conditions of ours under construction.

use flagraft_core::limits::CONDITIONS_MAX;
use serde_json::{Value, json};

use super::{Translated, refuse};

/// A condition on a context, with those that do not depend on it told apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    Always,
    Never,
    When(Value),
}

impl Condition {
    pub(super) fn attribute(name: &str, op: &str, values: Vec<Value>) -> Self {
        match op {
            "exists" => Self::When(json!({"attribute": name, "op": op})),
            _ => Self::When(json!({"attribute": name, "op": op, "values": values})),
        }
    }

    /// The attribute has one of these values, by type and value.
    pub(super) fn one_of(name: &str, values: Vec<Value>) -> Self {
        match values.len() {
            0 => Self::Never,
            1 => Self::attribute(name, "eq", values),
            _ => Self::attribute(name, "in", values),
        }
    }

    pub(super) fn missing(name: &str) -> Self {
        Self::attribute(name, "exists", Vec::new()).not()
    }

    /// The attribute is a text.
    pub(super) fn is_text(name: &str) -> Self {
        Self::attribute(name, "starts_with", vec![json!("")])
    }

    /// How many comparisons it is made of.
    pub(super) fn comparisons(&self) -> usize {
        fn of(condition: &Value) -> usize {
            match (condition.get("all").or_else(|| condition.get("any")), condition.get("not")) {
                (Some(Value::Array(inner)), _) => inner.iter().map(of).sum(),
                (_, Some(inner)) => of(inner),
                _ => 1,
            }
        }
        match self {
            Self::Always | Self::Never => 0,
            Self::When(when) => of(when),
        }
    }

    /// Itself, unless it has outgrown what a flag may hold.
    pub(super) fn checked(self) -> Translated<Self> {
        match self.comparisons() <= CONDITIONS_MAX {
            true => Ok(self),
            false => too_many_conditions(),
        }
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::When(mut when) => match when.get_mut("not") {
                Some(inner) => Self::When(inner.take()),
                None => Self::When(json!({ "not": when })),
            },
        }
    }

    pub(super) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(parts, "all", Self::Never, Self::Always)
    }

    pub(super) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::joined(parts, "any", Self::Always, Self::Never)
    }

    /// `then` where this holds, else `otherwise`.
    pub(super) fn choose(self, then: Self, otherwise: Self) -> Self {
        match (&then, &otherwise) {
            (Self::Always, _) => Self::any([self, otherwise]),
            (Self::Never, _) => Self::all([self.not(), otherwise]),
            (_, Self::Never) => Self::all([self, then]),
            _ => Self::any([Self::all([self.clone(), then]), Self::all([self.not(), otherwise])]),
        }
    }

    /// `decides` makes the others irrelevant, `neutral` is irrelevant itself.
    fn joined(parts: impl IntoIterator<Item = Self>, word: &str, decides: Self, neutral: Self) -> Self {
        let mut conditions = Vec::new();
        for part in parts {
            match part {
                part if part == decides => return decides,
                part if part == neutral => {}
                // `a and (b and c)` is `a and b and c`.
                Self::When(mut when) => match when.get_mut(word) {
                    Some(Value::Array(inner)) => conditions.append(inner),
                    _ => conditions.push(when),
                },
                Self::Always | Self::Never => {}
            }
        }
        match conditions.len() {
            0 => neutral,
            1 => Self::When(conditions.remove(0)),
            _ => Self::When(json!({ word: conditions })),
        }
    }
}

pub(super) fn too_many_conditions<T>() -> Translated<T> {
    refuse(format!(
        "an expression that becomes more than {CONDITIONS_MAX} conditions, which is all that a flag may have; make several \
         flags of it"
    ))
}
