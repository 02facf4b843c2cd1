//! An answer with all that is known of it.

use std::{collections::BTreeMap, fmt};

use flagraft_core::{identity::RevisionToken, resolution};
use serde_json::Value;

/// An answer with all that is known of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Details<T> {
    /// The value: the flag's, or the caller's default.
    pub value: T,
    /// The variant; empty where the value is the caller's default.
    pub variant: String,
    /// Why it is this value.
    pub reason: Reason,
    /// Why it is the caller's default, where something went wrong.
    pub error: Option<EvaluationFault>,
    /// The flag's own metadata, with `flagSetId` and `version`, and `detail` where the reason alone would mislead.
    pub metadata: BTreeMap<String, Value>,
    /// What the answer is good for.
    pub consistency: Consistency,
    /// The revision that it was made from; `None` where no node's definitions were at hand.
    pub revision: Option<RevisionToken>,
    /// A bound on how long ago that revision was known to be current, in milliseconds; `None` where nobody knows.
    pub age_ms: Option<u64>,
    /// Where the definitions came from.
    pub source: Source,
}

impl<T> Details<T> {
    /// The same answer with another form of its value.
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Details<U> {
        let Self { value, variant, reason, error, metadata, consistency, revision, age_ms, source } = self;
        Details {
            value: form(value),
            variant,
            reason,
            error,
            metadata,
            consistency,
            revision,
            age_ms,
            source,
        }
    }
}

/// Why a value was resolved, in OpenFeature's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The flag serves everyone the same.
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
    /// Something went wrong: the caller's default.
    Error,
}

impl Reason {
    /// Its name in OpenFeature.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Default => "DEFAULT",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Disabled => "DISABLED",
            Self::Unknown => "UNKNOWN",
            Self::Error => "ERROR",
        }
    }
}

impl From<resolution::Reason> for Reason {
    fn from(reason: resolution::Reason) -> Self {
        match reason {
            resolution::Reason::Static => Self::Static,
            resolution::Reason::Default => Self::Default,
            resolution::Reason::TargetingMatch => Self::TargetingMatch,
            resolution::Reason::Split => Self::Split,
            resolution::Reason::Disabled => Self::Disabled,
            resolution::Reason::Unknown => Self::Unknown,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What went wrong, in OpenFeature's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// There is no copy yet.
    ProviderNotReady,
    /// There is no such flag.
    FlagNotFound,
    /// The flag is of another type than was asked for.
    TypeMismatch,
    /// The context is none that a node takes.
    InvalidContext,
    /// Anything else: the message says what.
    General,
}

impl ErrorCode {
    /// Its name in OpenFeature.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ProviderNotReady => "PROVIDER_NOT_READY",
            Self::FlagNotFound => "FLAG_NOT_FOUND",
            Self::TypeMismatch => "TYPE_MISMATCH",
            Self::InvalidContext => "INVALID_CONTEXT",
            Self::General => "GENERAL",
        }
    }
}

/// What went wrong with an evaluation, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationFault {
    /// What kind of thing.
    pub code: ErrorCode,
    /// What, for a person.
    pub message: String,
}

impl fmt::Display for EvaluationFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EvaluationFault {}

/// What an answer is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// It was true at the stated age.
    Local,
    /// A quorum confirmed it while it was asked for.
    Linearizable,
    /// Nobody could be sure, so it is the variant that does no harm.
    SafeVariant,
}

impl Consistency {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Linearizable => "linearizable",
            Self::SafeVariant => "safe-variant",
        }
    }
}

/// Where the definitions of an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// There were none.
    Nowhere,
    /// A bootstrap file.
    Bootstrap,
    /// The last known good copy on disk.
    Disk,
    /// A node, and kept up since.
    Node,
    /// A node evaluated the flag itself.
    Remote,
}
