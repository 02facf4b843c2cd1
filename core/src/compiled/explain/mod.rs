//! Explanations: one evaluation with everything that was tried, in the words of the flag as it was put.
//!
//! It is not a second evaluator: a watcher notes what the one evaluation does, and the notes are put beside the flag's own
//! text. What evaluation did not come to is there too, without an outcome.

mod budget;
mod compose;
mod watcher;

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use self::watcher::Watcher;
use super::environment::CompiledEnvironment;
use crate::{
    bucketing::{Method, Place},
    context::EvaluationContext,
    key::{FlagKey, RuleId, VariantKey},
    resolution::{EvaluationError, Reason},
    segment::MemberList,
};

/// So many flags are explained in one explanation: the one that was asked for and those it depends on. Of further
/// ones only what they serve is said.
const FLAGS_MAX: usize = 100;
/// So many targets, rules and conditions are noted of one evaluation. When there are as many, no further condition is, and
/// no further flag is explained.
const NOTES_MAX: usize = 50_000;
/// Bytes of an attribute that an explanation shows, and of a text in it when that has become long already.
const SHORT_BYTES_MAX: usize = 1_024;
/// Bytes of JSON after which an explanation becomes short: further texts are cut, attributes and the conditions of
/// segments are left out, and no further flag is explained. What must be in it may be as much again.
const LONG_BYTES: usize = 4 * 1024 * 1024;

/// One evaluation, explained.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The flag.
    pub flag: FlagKey,
    /// The variant; `""` for the caller's code default.
    pub variant: String,
    /// The value; absent for the caller's code default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Why.
    pub reason: Reason,
    /// More of why: see [`crate::resolution::Resolution::detail`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
    /// What decided.
    pub decided_by: DecidedBy,
    /// The prerequisites, in their order.
    pub prerequisites: Vec<ExplainedPrerequisite>,
    /// The targets, in their order.
    pub targets: Vec<ExplainedTarget>,
    /// The rules, in their order.
    pub rules: Vec<ExplainedRule>,
    /// What is served where nothing matches; `null` for the caller's code default.
    pub default: Option<ExplainedServe>,
    /// Whether something is cut, or left out, somewhere in the explanation, because it would be too long. Said of the flag
    /// that was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
}

/// What decided an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum DecidedBy {
    /// The flag was never configured in the environment.
    NotConfigured,
    /// A variant is held.
    Hold {
        /// What holds it.
        id: String,
    },
    /// The flag is off.
    Disabled,
    /// A prerequisite is unmet.
    Prerequisite {
        /// The flag that it asks for.
        flag: FlagKey,
    },
    /// A target lists the value.
    Target {
        /// Its place among the targets, from 0.
        index: usize,
    },
    /// A rule served.
    Rule {
        /// The rule's id.
        id: RuleId,
    },
    /// Nothing else did.
    Default,
}

/// A prerequisite.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedPrerequisite {
    /// The flag.
    pub flag: FlagKey,
    /// The variants that satisfy.
    pub variants: Vec<VariantKey>,
    /// Whether it is met; `null` where evaluation did not come to it.
    pub met: Option<bool>,
    /// The variant that the flag serves; `null` where it is disabled, unknown, or evaluation did not come to it.
    pub served: Option<String>,
    /// The flag's own evaluation, unless it is explained elsewhere in this explanation already, or that is shortened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Box<Explanation>>,
}

/// A target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedTarget {
    /// The attribute.
    pub by: String,
    /// How many values it lists.
    pub values: usize,
    /// The variant that they get.
    pub variant: VariantKey,
    /// Whether it lists the attribute's value; `null` where evaluation did not come to it.
    pub listed: Option<bool>,
    /// The attribute, `null` where it is missing; absent where evaluation did not come to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saw: Saw,
}

/// What was found of an attribute: `None` where nobody looked, `Some(None)` where it is missing. Of one that is long the
/// beginning: of a text as it is, of anything else as the text of its JSON.
pub type Saw = Option<Option<Arc<Value>>>;

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleOutcome {
    /// It served.
    Serves,
    /// Its condition does not hold.
    NoMatch,
    /// Its rollout says nothing about the attribute, or the attribute is missing.
    NoShare,
    /// Evaluation did not come to it.
    NotReached,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedRule {
    /// The rule's id.
    pub id: RuleId,
    /// Its name for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What became of it.
    pub outcome: RuleOutcome,
    /// The text of its condition; `null` for everyone.
    pub text: Option<String>,
    /// Its condition; `null` for everyone.
    pub when: Option<ExplainedCondition>,
    /// What it serves.
    pub serve: ExplainedServe,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedCondition {
    /// What it is.
    pub kind: ConditionKind,
    /// Its text; of groups only where they have none in them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Whether it holds; `null` where evaluation did not come to it.
    pub holds: Option<bool>,
    /// The attribute that it looked at, `null` where that is missing; absent where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saw: Saw,
    /// The bucket that the attribute falls into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u32>,
    /// The list of the segment that has the targeting key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed: Option<MemberList>,
    /// The conditions in a group; of a segment its own condition, where evaluation came to it. A segment that several
    /// conditions name is worked out, and explained, once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inner: Vec<ExplainedCondition>,
}

/// What a condition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionKind {
    /// Every one of them holds.
    All,
    /// At least one of them holds.
    Any,
    /// It does not hold.
    Not,
    /// The context is in the segment.
    Segment,
    /// The context falls into a range of buckets.
    Bucket,
    /// An attribute compares with one of the values.
    Attribute,
}

/// What is served.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplainedServe {
    /// This variant.
    Variant(VariantKey),
    /// One of several.
    Rollout(ExplainedRollout),
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedRollout {
    /// The attribute that is hashed.
    pub by: String,
    /// How.
    pub method: Method,
    /// What is hashed with it.
    pub seed: String,
    /// The whole that the buckets are parts of.
    pub of: u32,
    /// The shares, in their order.
    pub shares: Vec<ExplainedShare>,
    /// The attribute, `null` where it is missing; absent where evaluation did not come to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saw: Saw,
    /// The bucket that the attribute falls into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Place>,
    /// The variant of the share that has the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<VariantKey>,
}

/// A share of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedShare {
    /// The variant.
    pub variant: VariantKey,
    /// Its weight.
    pub weight: u32,
    /// It has the buckets below this that no share before it has.
    pub below: Place,
}

impl CompiledEnvironment {
    /// What a flag is for a context, and everything that was tried to find that out.
    ///
    /// # Errors
    /// [`EvaluationError::FlagNotFound`] as in [`Self::evaluate`].
    pub fn explain(&self, key: &str, context: &EvaluationContext) -> Result<Explanation, EvaluationError> {
        let mut watcher = Watcher::new();
        self.watch(key, context, &mut watcher)?;
        // An evaluation that ended has begun, and its flag is the first one.
        let seen = watcher.seen().ok_or(EvaluationError::FlagNotFound)?;
        Ok(compose::explanation(seen, self.key()))
    }
}
