//! All that an environment answers, to be held against what another one does. A file takes it in with `#[path]`, for not
//! every one uses it.

use std::collections::BTreeMap;

use flagraft_core::{
    compiled::CompiledEnvironment,
    context::EvaluationContext,
    criticality::is_effectively_critical,
    project::{Flag, Project},
    resolution::{EvaluationError, Resolution},
};

/// What an environment answers for some contexts.
#[derive(Debug, PartialEq)]
pub struct Answers {
    /// How many flags it says there are.
    len: usize,
    /// The flags that it says are critical.
    critical: Vec<String>,
    /// What it says of each flag of the project, whether it is live or not.
    flags: BTreeMap<String, FlagAnswers>,
}

#[derive(Debug, PartialEq)]
struct FlagAnswers {
    is_critical: bool,
    safe: Option<Shown>,
    /// By context.
    evaluated: Vec<Option<Shown>>,
}

/// A resolution, as whoever asked sees it. The value is text: numbers that are equal need not be the same.
#[derive(Debug, PartialEq)]
struct Shown {
    variant: String,
    value: Option<String>,
    reason: &'static str,
    detail: Option<&'static str>,
    version: u64,
}

impl Answers {
    /// Asks for everything, and checks that each answer is one that there can be.
    pub fn of(environment: &CompiledEnvironment, project: &Project, contexts: &[EvaluationContext]) -> Self {
        let flags = project.flags.iter().map(|(key, flag)| {
            let shown = |resolved: Result<Resolution<'_>, EvaluationError>| {
                assert_eq!(resolved.is_ok(), flag.is_live(), "{key}: live flags are found, others are not");
                resolved.ok().map(|resolution| Shown::of(&resolution, flag, environment))
            };
            let answers = FlagAnswers {
                is_critical: environment.is_critical(key),
                safe: shown(environment.safe_resolution(key)),
                evaluated: contexts.iter().map(|context| shown(environment.evaluate(key, context))).collect(),
            };
            assert_eq!(environment.flag(key).is_some(), flag.is_live(), "{key}");
            let is_critical = flag.is_live() && is_effectively_critical(project, environment.key(), key);
            assert_eq!(answers.is_critical, is_critical, "{key}: critical by a walk of its own");
            (key.to_string(), answers)
        });
        Self {
            flags: flags.collect(),
            len: environment.len(),
            critical: environment.critical().iter().map(ToString::to_string).collect(),
        }
    }
}

impl Shown {
    fn of(resolution: &Resolution<'_>, flag: &Flag, environment: &CompiledEnvironment) -> Self {
        let value = resolution.value.map(ToString::to_string);
        let expected = flag.definition.variants.get(resolution.variant).map(ToString::to_string);
        assert_eq!(value, expected, "the value is the variant's, or there is neither: {resolution:?}");
        assert_eq!(resolution.variant.is_empty(), value.is_none(), "{resolution:?}");
        // The answer may come from an older revision of the flag, where that answers alike.
        assert!(resolution.flag.definition == flag.definition, "{resolution:?}");
        Self {
            variant: resolution.variant.to_owned(),
            value,
            reason: resolution.reason.as_str(),
            detail: resolution.detail,
            version: resolution.flag.evaluated_revision(environment.key()),
        }
    }
}
