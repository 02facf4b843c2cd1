//! What an evaluation resolves to. The words are OpenFeature's.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::project::Flag;

/// Why a value was resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Reason {
    /// The flag serves everyone the same and has nothing to decide by.
    Static,
    /// Nothing matched, or a prerequisite is unmet.
    Default,
    /// A target or a rule matched.
    TargetingMatch,
    /// A rollout decided.
    Split,
    /// The flag is off, or was never configured in the environment.
    Disabled,
    /// Nobody can be sure: the safe variant.
    Unknown,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Static, Self::Default, Self::TargetingMatch, Self::Split, Self::Disabled, Self::Unknown];

    /// Its name in OpenFeature.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a flag is for a context.
#[derive(Clone, Copy, Debug)]
pub struct Resolution<'a> {
    /// The flag.
    pub flag: &'a Arc<Flag>,
    /// The variant; `""` for the caller's code default.
    pub variant: &'a str,
    /// The value; `None` for the caller's code default.
    pub value: Option<&'a Value>,
    /// Why.
    pub reason: Reason,
    /// More of why, where the reason alone would mislead: `prerequisite`.
    pub detail: Option<&'static str>,
    /// Whether the flag asks for its evaluations to be counted.
    pub is_audited: bool,
}

/// Why a flag could not be evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluationError {
    /// There is no such flag: it never was, or it is archived or deleted.
    FlagNotFound,
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FlagNotFound => f.write_str("there is no such flag"),
        }
    }
}

impl std::error::Error for EvaluationError {}
