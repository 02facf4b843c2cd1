//! The notes of an evaluation beside the flag's own text.

use super::{
    ConditionKind, DecidedBy, ExplainedCondition, ExplainedPrerequisite, ExplainedRollout, ExplainedRule,
    ExplainedServe, ExplainedShare, ExplainedTarget, Explanation, RuleOutcome,
    watcher::{ConditionSeen, FlagSeen, PrerequisiteSeen, RolloutSeen, RuleSeen, TargetSeen},
};
use crate::{
    compiled::flag::Cause,
    condition::Condition,
    configuration::{FlagEnvironmentSpec, Prerequisite, Rollout, Rule, Serve, Target},
    expression,
    key::EnvironmentKey,
};

pub(super) fn explanation(seen: FlagSeen, environment: &EnvironmentKey) -> Explanation {
    let flag = seen.flag;
    let unconfigured = FlagEnvironmentSpec::default();
    let spec = flag.environments.get(environment).map_or(&unconfigured, |configuration| &**configuration);
    let decided_by = decided_by(seen.cause, &seen.prerequisites, &seen.targets, &seen.rules, spec);
    let prerequisites = beside(&spec.prerequisites, seen.prerequisites);
    let targets = beside(&spec.targets, seen.targets);
    let rules = beside(&spec.rules, seen.rules);
    Explanation {
        flag: flag.definition.key.clone(),
        variant: seen.variant,
        value: seen.value,
        reason: seen.reason,
        detail: seen.detail,
        decided_by,
        prerequisites: prerequisites.map(|(spec, seen)| prerequisite(spec, seen, environment)).collect(),
        targets: targets.map(|(spec, seen)| target(spec, seen)).collect(),
        rules: rules.map(|(spec, seen)| rule(spec, seen, environment)).collect(),
        default: spec.default.as_ref().map(|default| serve(default, seen.rollout)),
    }
}

/// What was put, each with what was seen of it; what evaluation did not come to is at the end.
fn beside<P, S>(put: &[P], seen: Vec<S>) -> impl Iterator<Item = (&P, Option<S>)> {
    put.iter().zip(seen.into_iter().map(Some).chain(std::iter::repeat_with(|| None)))
}

fn decided_by(
    cause: Option<Cause>,
    prerequisites: &[PrerequisiteSeen],
    targets: &[TargetSeen],
    rules: &[RuleSeen],
    spec: &FlagEnvironmentSpec,
) -> DecidedBy {
    match cause {
        Some(Cause::NotConfigured) => return DecidedBy::NotConfigured,
        Some(Cause::Held) => {
            let id = spec.hold.as_ref().map(|hold| hold.id.clone()).unwrap_or_default();
            return DecidedBy::Hold { id };
        }
        Some(Cause::Disabled) => return DecidedBy::Disabled,
        Some(Cause::Default) => return DecidedBy::Default,
        None => {}
    }
    let unmet = spec.prerequisites.iter().zip(prerequisites).find(|(_, seen)| !seen.is_met);
    if let Some((prerequisite, _)) = unmet {
        return DecidedBy::Prerequisite { flag: prerequisite.flag.clone() };
    }
    if let Some(index) = targets.iter().position(|seen| seen.is_listed) {
        return DecidedBy::Target { index };
    }
    match spec.rules.iter().zip(rules).find(|(_, seen)| seen.serves) {
        Some((rule, _)) => DecidedBy::Rule { id: rule.id.clone() },
        None => DecidedBy::Default,
    }
}

fn prerequisite(
    spec: &Prerequisite,
    seen: Option<PrerequisiteSeen>,
    environment: &EnvironmentKey,
) -> ExplainedPrerequisite {
    let (met, served, evaluation) =
        seen.map_or((None, None, None), |seen| (Some(seen.is_met), seen.served, seen.evaluation));
    ExplainedPrerequisite {
        flag: spec.flag.clone(),
        variants: spec.variants.clone(),
        met,
        served,
        explanation: evaluation.map(|seen| Box::new(explanation(seen, environment))),
    }
}

fn target(spec: &Target, seen: Option<TargetSeen>) -> ExplainedTarget {
    let (listed, saw) = seen.map_or((None, None), |seen| (Some(seen.is_listed), Some(seen.saw)));
    ExplainedTarget {
        by: spec.by.clone(),
        values: spec.values.len(),
        variant: spec.variant.clone(),
        listed,
        saw,
    }
}

fn rule(spec: &Rule, seen: Option<RuleSeen>, environment: &EnvironmentKey) -> ExplainedRule {
    let outcome = match &seen {
        None => RuleOutcome::NotReached,
        Some(seen) if seen.serves => RuleOutcome::Serves,
        Some(seen) if seen.rollout.is_some() => RuleOutcome::NoShare,
        Some(_) => RuleOutcome::NoMatch,
    };
    let seen = seen.unwrap_or_default();
    ExplainedRule {
        id: spec.id.clone(),
        name: spec.name.clone(),
        outcome,
        text: spec.when.as_ref().map(expression::text),
        when: spec.when.as_ref().map(|when| condition(when, seen.when, environment)),
        serve: serve(&spec.serve, seen.rollout),
    }
}

fn serve(spec: &Serve, seen: Option<RolloutSeen>) -> ExplainedServe {
    match spec {
        Serve::Variant(variant) => ExplainedServe::Variant(variant.clone()),
        Serve::Rollout(spec) => ExplainedServe::Rollout(rollout(spec, seen)),
    }
}

fn rollout(spec: &Rollout, seen: Option<RolloutSeen>) -> ExplainedRollout {
    let divider = spec.divider();
    let shares = spec.weights.iter().zip(divider.thresholds()).map(|(weighted, below)| ExplainedShare {
        variant: weighted.variant.clone(),
        weight: weighted.weight,
        below,
    });
    let choice = seen.as_ref().and_then(|seen| seen.choice);
    let chosen = choice.and_then(|choice| spec.weights.get(choice.index?));
    ExplainedRollout {
        by: spec.by.clone(),
        method: spec.method(),
        seed: spec.seed.clone(),
        of: divider.of(),
        shares: shares.collect(),
        bucket: choice.map(|choice| choice.place),
        variant: chosen.map(|weighted| weighted.variant.clone()),
        saw: seen.map(|seen| seen.saw),
    }
}

/// Recursion ends with the depth of what was put: see [`crate::limits::CONDITION_DEPTH_MAX`].
fn condition(
    put: &Condition,
    seen: Option<ConditionSeen>,
    environment: &EnvironmentKey,
) -> ExplainedCondition {
    let holds = seen.as_ref().map(|seen| seen.holds);
    let ConditionSeen { saw, bucket, listed, segment, inner: seen_inner, .. } = seen.unwrap_or_default();
    let (kind, put_inner): (_, &[Condition]) = match put {
        Condition::All(inner) => (ConditionKind::All, inner),
        Condition::Any(inner) => (ConditionKind::Any, inner),
        Condition::Not(inner) => (ConditionKind::Not, std::slice::from_ref(inner)),
        Condition::Segment(_) => {
            let when = segment.as_ref().and_then(|stored| stored.segment.when(environment));
            // A segment that was not worked out here has nothing to show within.
            let when = when.filter(|_| !seen_inner.is_empty());
            (ConditionKind::Segment, when.map_or(&[], std::slice::from_ref))
        }
        Condition::Bucket(_) => (ConditionKind::Bucket, &[]),
        Condition::Attribute(_) => (ConditionKind::Attribute, &[]),
    };
    let is_group = matches!(kind, ConditionKind::All | ConditionKind::Any | ConditionKind::Not);
    let inner = beside(put_inner, seen_inner).map(|(put, seen)| condition(put, seen, environment));
    ExplainedCondition {
        kind,
        text: (!is_group || put_inner.is_empty()).then(|| expression::text(put)),
        holds,
        saw,
        bucket,
        listed,
        inner: inner.collect(),
    }
}
