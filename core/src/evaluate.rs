//! Evaluation: `(revision, context) -> result`, the same on every node and in every client, for ever.
//!
//! The order: a hold, the switch, the prerequisites, the targets, the rules, the default.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    bucketing::HashInput,
    configuration::{Prerequisite, Rollout, Serve},
    context::EvaluationContext,
    flag::FlagEnvironment,
    key::{EnvironmentKey, FlagKey, SegmentKey, VariantKey},
    limits::PREREQUISITE_DEPTH_MAX,
    project::{Flag, Project},
    resolution::{EvaluationError, Reason, Resolution},
    targeting,
};

/// One environment of a project, at one revision: what evaluation reads.
#[derive(Clone, Copy, Debug)]
pub struct EnvironmentView<'a> {
    /// The project.
    pub project: &'a Project,
    /// The environment.
    pub environment: &'a EnvironmentKey,
}

/// What a flag is for a context.
///
/// # Errors
/// [`EvaluationError::FlagNotFound`] when there is no such flag, or it is archived or deleted.
pub fn evaluate<'a>(
    view: &EnvironmentView<'a>,
    key: &str,
    context: &EvaluationContext,
) -> Result<Resolution<'a>, EvaluationError> {
    let flag = view.project.live_flag(key).ok_or(EvaluationError::FlagNotFound)?;
    let mut evaluation = Evaluation {
        view: *view,
        context,
        variants: BTreeMap::from([(&flag.definition.key, None)]),
        members: BTreeMap::new(),
    };
    Ok(evaluation.resolve(flag, PREREQUISITE_DEPTH_MAX))
}

/// One evaluation under way. Prerequisites and segments that are met again are not worked out again: were they, a
/// catalog of a few hundred flags that depend on each other crosswise could keep a node busy for hours.
pub(crate) struct Evaluation<'a, 'c> {
    pub(crate) view: EnvironmentView<'a>,
    pub(crate) context: &'c EvaluationContext,
    /// What the flags met so far serve; `None` for what no prerequisite can be content with: disabled, unknown, or
    /// still being worked out, so that even a catalog with a cycle, which `apply` refuses, could not hang this.
    variants: BTreeMap<&'a FlagKey, Option<&'a str>>,
    /// Whether the context is in the segments met so far; `false` while that is being worked out.
    pub(crate) members: BTreeMap<&'a SegmentKey, bool>,
}

impl<'a> Evaluation<'a, '_> {
    /// `chain_left` bounds the chain of prerequisites, and with it the stack, as `apply` bounds it too.
    fn resolve(&mut self, flag: &'a Arc<Flag>, chain_left: usize) -> Resolution<'a> {
        let Some(configuration) = flag.environments.get(self.view.environment) else {
            return resolve(flag, flag.definition.off_variant.as_ref(), Reason::Disabled);
        };
        if let Some(hold) = &configuration.hold {
            return resolve(flag, Some(&hold.variant), Reason::TargetingMatch);
        }
        if !configuration.enabled {
            return resolve(flag, off_variant(flag, configuration), Reason::Disabled);
        }
        if !configuration.prerequisites().all(|prerequisite| self.is_met(prerequisite, chain_left)) {
            let off = resolve(flag, off_variant(flag, configuration), Reason::Default);
            return Resolution { detail: Some("prerequisite"), ..off };
        }
        if let Some(variant) = target(configuration, self.context) {
            return resolve(flag, Some(variant), Reason::TargetingMatch);
        }
        for rule in &configuration.rules {
            if !targeting::applies(self, rule.when.as_ref()) {
                continue;
            }
            match &rule.serve {
                Serve::Variant(variant) => return resolve(flag, Some(variant), Reason::TargetingMatch),
                Serve::Rollout(rollout) => {
                    // Without the attribute to divide by, and beyond the weights of some methods, the rule says nothing:
                    // the next one may.
                    if let Some(variant) = roll_out(rollout, self.context) {
                        return resolve(flag, Some(variant), Reason::Split);
                    }
                }
            }
        }
        serve_default(flag, configuration, self.context)
    }

    fn is_met(&mut self, prerequisite: &'a Prerequisite, chain_left: usize) -> bool {
        let served = match self.variants.get(&prerequisite.flag) {
            Some(served) => *served,
            None => {
                self.variants.insert(&prerequisite.flag, None);
                let served = self.served_by(&prerequisite.flag, chain_left);
                self.variants.insert(&prerequisite.flag, served);
                served
            }
        };
        served.is_some_and(|served| prerequisite.variants.iter().any(|variant| variant.as_str() == served))
    }

    fn served_by(&mut self, key: &FlagKey, chain_left: usize) -> Option<&'a str> {
        let chain_left = chain_left.checked_sub(1)?;
        let flag = self.view.project.live_flag(key)?;
        let resolution = self.resolve(flag, chain_left);
        // A disabled prerequisite is unmet, whatever its off variant is.
        (resolution.reason != Reason::Disabled).then_some(resolution.variant)
    }
}

fn serve_default<'a>(
    flag: &'a Arc<Flag>,
    configuration: &'a FlagEnvironment,
    context: &EvaluationContext,
) -> Resolution<'a> {
    let decides = !(configuration.rules.is_empty()
        && configuration.targets.is_empty()
        && configuration.prerequisites.is_empty());
    let plain = if decides { Reason::Default } else { Reason::Static };
    match &configuration.default {
        None => resolve(flag, None, plain),
        Some(Serve::Variant(variant)) => resolve(flag, Some(variant), plain),
        Some(Serve::Rollout(rollout)) => match roll_out(rollout, context) {
            Some(variant) => resolve(flag, Some(variant), Reason::Split),
            None => resolve(flag, off_variant(flag, configuration), Reason::Default),
        },
    }
}

/// The resolution to a variant, or to the caller's code default.
fn resolve<'a>(flag: &'a Arc<Flag>, variant: Option<&'a VariantKey>, reason: Reason) -> Resolution<'a> {
    // A configuration names only variants that exist; were one missing all the same, the code default is the answer.
    let served = variant.and_then(|variant| flag.definition.variants.get_key_value(variant));
    let (variant, value) = served.map_or(("", None), |(variant, value)| (variant.as_str(), Some(value)));
    Resolution { flag, variant, value, reason, detail: None }
}

fn off_variant<'a>(flag: &'a Flag, configuration: &'a FlagEnvironment) -> Option<&'a VariantKey> {
    configuration.off_variant.as_ref().or(flag.definition.off_variant.as_ref())
}

fn target<'a>(configuration: &'a FlagEnvironment, context: &EvaluationContext) -> Option<&'a VariantKey> {
    let lists = |by: &str, values: &[String]| {
        let value = context.get(by).and_then(HashInput::of);
        value.is_some_and(|value| values.iter().any(|listed| listed == value.as_str()))
    };
    configuration
        .targets
        .iter()
        .find(|target| lists(&target.by, &target.values))
        .map(|target| &target.variant)
}

fn roll_out<'a>(rollout: &'a Rollout, context: &EvaluationContext) -> Option<&'a VariantKey> {
    let value = context.get(&rollout.by).and_then(HashInput::of)?;
    let index = rollout.divider().choose(value.as_str()).index?;
    rollout.weights.get(index).map(|weighted| &weighted.variant)
}

/// What is served of a flag when nobody can be sure: its safe variant. A flag that is critical only by what it depends
/// on may have none: it then serves what it serves when it is off.
///
/// # Errors
/// [`EvaluationError::FlagNotFound`] as in [`evaluate`].
pub fn safe_resolution<'a>(view: &EnvironmentView<'a>, key: &str) -> Result<Resolution<'a>, EvaluationError> {
    let flag = view.project.live_flag(key).ok_or(EvaluationError::FlagNotFound)?;
    let configuration = flag.environments.get(view.environment);
    let safe = configuration
        .and_then(|configuration| configuration.safe_variant.as_ref())
        .or(flag.definition.safe_variant.as_ref());
    let off = || match configuration {
        Some(configuration) => off_variant(flag, configuration),
        None => flag.definition.off_variant.as_ref(),
    };
    Ok(resolve(flag, safe.or_else(off), Reason::Unknown))
}

/// Whether a flag is critical in the environment: marked so, or dependent on one that is, however far down.
pub fn is_effectively_critical(view: &EnvironmentView<'_>, key: &FlagKey) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![key];
    while let Some(key) = open.pop() {
        let Some(flag) = view.project.live_flag(key) else { continue };
        if flag.definition.critical {
            return true;
        }
        if seen.insert(key)
            && let Some(configuration) = flag.environments.get(view.environment)
        {
            open.extend(configuration.prerequisites().map(|prerequisite| &prerequisite.flag));
        }
    }
    false
}

/// The flags that are effectively critical in the environment.
pub fn critical_flags<'a>(view: &EnvironmentView<'a>) -> BTreeSet<&'a FlagKey> {
    let mut critical: BTreeSet<&FlagKey> = view.project.critical.iter().collect();
    if critical.is_empty() {
        return critical;
    }
    // Who depends on whom, turned round, so that one walk from the marked flags finds all that depend on them.
    let dependencies =
        view.project.flags.iter().filter(|(_, flag)| flag.is_live()).flat_map(|(key, flag)| {
            let configuration = flag.environments.get(view.environment);
            configuration
                .into_iter()
                .flat_map(|c| c.prerequisites())
                .map(move |prerequisite| (&prerequisite.flag, key))
        });
    let mut dependants: BTreeMap<&FlagKey, Vec<&FlagKey>> = BTreeMap::new();
    for (on, dependant) in dependencies {
        dependants.entry(on).or_default().push(dependant);
    }
    let mut open: Vec<&FlagKey> = critical.iter().copied().collect();
    while let Some(key) = open.pop() {
        let found = dependants.get(key).into_iter().flatten();
        open.extend(found.copied().filter(|dependant| critical.insert(dependant)));
    }
    critical
}
