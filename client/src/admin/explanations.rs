//! Why a flag is what it is for a context.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::call::Call;
use crate::context::Context;

/// One evaluation, explained.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The flag.
    pub flag: String,
    /// The variant; empty for the caller's default.
    pub variant: String,
    /// The value; `None` for the caller's default.
    #[serde(default)]
    pub value: Option<Value>,
    /// Why, in OpenFeature's words.
    pub reason: String,
    /// What decided.
    pub decided_by: DecidedBy,
    /// All that was tried, as the API's documentation describes it: `prerequisites`, `targets`, `rules` and `default`.
    #[serde(flatten)]
    pub tried: Map<String, Value>,
}

/// What decided an evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct DecidedBy {
    /// `not_configured`, `hold`, `disabled`, `prerequisite`, `target`, `rule` or `default`.
    pub step: String,
    /// The rule, or what holds the variant.
    #[serde(default)]
    pub id: Option<String>,
    /// The prerequisite's flag.
    #[serde(default)]
    pub flag: Option<String>,
    /// The target's place, from 0.
    #[serde(default)]
    pub index: Option<u64>,
}

/// Explains what a flag is for a context in an environment. It tells what the state says, of a critical flag too.
pub fn get(project: &str, environment: &str, flag: &str, context: &Context) -> Call<Explanation> {
    let body = json!({"flag": flag, "context": context.attributes()});
    Call::ask(["api", "v1", "projects", project, "environments", environment, "explain"], body).answering()
}
