//! The notes of an evaluation beside the flag's own text.

use super::{
    ConditionKind, DecidedBy, ExplainedCondition, ExplainedPrerequisite, ExplainedRollout, ExplainedRule,
    ExplainedServe, ExplainedShare, ExplainedTarget, Explanation, LONG_BYTES, RuleOutcome, Saw,
    budget::Budget,
    watcher::{ConditionSeen, FlagSeen, Found, PrerequisiteSeen, RolloutSeen, RuleSeen, Seen, TargetSeen},
};
use crate::{
    compiled::flag::Cause,
    condition::Condition,
    configuration::{FlagEnvironmentSpec, Prerequisite, Rollout, Rule, Serve, Target},
    expression,
    key::EnvironmentKey,
    size::json_bytes,
};

pub(super) fn explanation(seen: Seen, environment: &EnvironmentKey) -> Explanation {
    let mut composer = Composer { environment, budget: Budget::new(LONG_BYTES) };
    let mut explanation = composer.flag(seen.flag);
    explanation.shortened = seen.is_shortened || composer.budget.is_overdrawn();
    explanation
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

/// Whoever puts the notes beside the text.
struct Composer<'e> {
    environment: &'e EnvironmentKey,
    budget: Budget,
}

impl Composer<'_> {
    fn flag(&mut self, seen: FlagSeen) -> Explanation {
        let flag = seen.flag;
        let unconfigured = FlagEnvironmentSpec::default();
        let configuration = flag.environments.get(self.environment);
        let spec = configuration.map_or(&unconfigured, |configuration| &**configuration);
        let decided_by = decided_by(seen.cause, &seen.prerequisites, &seen.targets, &seen.rules, spec);
        self.budget.spend(seen.value.as_ref().map_or(0, json_bytes));
        // The flag itself before those that it depends on: it is the one that was asked for.
        let targets =
            beside(&spec.targets, seen.targets).map(|(spec, seen)| self.target(spec, seen)).collect();
        let rules = beside(&spec.rules, seen.rules).map(|(spec, seen)| self.rule(spec, seen)).collect();
        let default = spec.default.as_ref().map(|default| self.serve(default, seen.rollout));
        let prerequisites = beside(&spec.prerequisites, seen.prerequisites);
        Explanation {
            flag: flag.definition.key.clone(),
            variant: seen.variant,
            value: seen.value,
            reason: seen.reason,
            detail: seen.detail,
            decided_by,
            prerequisites: prerequisites.map(|(spec, seen)| self.prerequisite(spec, seen)).collect(),
            targets,
            rules,
            default,
            shortened: false,
        }
    }

    fn prerequisite(&mut self, spec: &Prerequisite, seen: Option<PrerequisiteSeen>) -> ExplainedPrerequisite {
        let names = spec.variants.iter().map(|variant| variant.as_str().len());
        self.budget.spend(names.fold(spec.flag.as_str().len(), usize::saturating_add));
        let (met, served, evaluation) =
            seen.map_or((None, None, None), |seen| (Some(seen.is_met), seen.served, seen.evaluation));
        let evaluation = evaluation.filter(|_| self.budget.is_left());
        ExplainedPrerequisite {
            flag: spec.flag.clone(),
            variants: spec.variants.clone(),
            met,
            served,
            explanation: evaluation.map(|seen| Box::new(self.flag(seen))),
        }
    }

    fn target(&mut self, spec: &Target, seen: Option<TargetSeen>) -> ExplainedTarget {
        self.budget.spend(spec.by.len().saturating_add(spec.variant.as_str().len()));
        let (listed, saw) = seen.map_or((None, None), |seen| (Some(seen.is_listed), Some(seen.saw)));
        ExplainedTarget {
            by: spec.by.clone(),
            values: spec.values.len(),
            variant: spec.variant.clone(),
            listed,
            saw: self.saw(saw),
        }
    }

    fn rule(&mut self, spec: &Rule, seen: Option<RuleSeen>) -> ExplainedRule {
        let outcome = match &seen {
            None => RuleOutcome::NotReached,
            Some(seen) if seen.serves => RuleOutcome::Serves,
            Some(seen) if seen.rollout.is_some() => RuleOutcome::NoShare,
            Some(_) => RuleOutcome::NoMatch,
        };
        let seen = seen.unwrap_or_default();
        self.budget.spend(spec.id.as_str().len().saturating_add(spec.name.len()));
        ExplainedRule {
            id: spec.id.clone(),
            name: spec.name.clone(),
            outcome,
            text: spec.when.as_ref().map(|when| self.budget.text(expression::text(when))),
            when: spec.when.as_ref().map(|when| self.condition(when, seen.when)),
            serve: self.serve(&spec.serve, seen.rollout),
        }
    }

    fn serve(&mut self, spec: &Serve, seen: Option<RolloutSeen>) -> ExplainedServe {
        match spec {
            Serve::Variant(variant) => {
                self.budget.spend(variant.as_str().len());
                ExplainedServe::Variant(variant.clone())
            }
            Serve::Rollout(spec) => ExplainedServe::Rollout(self.rollout(spec, seen)),
        }
    }

    fn rollout(&mut self, spec: &Rollout, seen: Option<RolloutSeen>) -> ExplainedRollout {
        self.budget.spend(spec.by.len().saturating_add(spec.seed.len()));
        let divider = spec.divider();
        let shares = spec.weights.iter().zip(divider.thresholds()).map(|(weighted, below)| {
            self.budget.spend(weighted.variant.as_str().len());
            ExplainedShare { variant: weighted.variant.clone(), weight: weighted.weight, below }
        });
        let shares = shares.collect();
        let choice = seen.as_ref().and_then(|seen| seen.choice);
        let chosen = choice.and_then(|choice| spec.weights.get(choice.index?));
        ExplainedRollout {
            by: spec.by.clone(),
            method: spec.method(),
            seed: spec.seed.clone(),
            of: divider.of(),
            shares,
            bucket: choice.map(|choice| choice.place),
            variant: chosen.map(|weighted| weighted.variant.clone()),
            saw: self.saw(seen.map(|seen| seen.saw)),
        }
    }

    /// Recursion ends with the depth of what was put: see [`crate::limits::CONDITION_DEPTH_MAX`].
    fn condition(&mut self, put: &Condition, seen: Option<ConditionSeen>) -> ExplainedCondition {
        let holds = seen.as_ref().map(|seen| seen.holds);
        let ConditionSeen { saw, bucket, listed, segment, inner: seen_inner, .. } = seen.unwrap_or_default();
        let (kind, put_inner): (_, &[Condition]) = match put {
            Condition::All(inner) => (ConditionKind::All, inner),
            Condition::Any(inner) => (ConditionKind::Any, inner),
            Condition::Not(inner) => (ConditionKind::Not, std::slice::from_ref(inner)),
            Condition::Segment(_) => {
                let when = segment.as_ref().and_then(|stored| stored.segment.when(self.environment));
                // A segment that was not worked out here has nothing to show within.
                let when = when.filter(|_| !seen_inner.is_empty() && self.budget.is_left());
                (ConditionKind::Segment, when.map_or(&[], std::slice::from_ref))
            }
            Condition::Bucket(_) => (ConditionKind::Bucket, &[]),
            Condition::Attribute(_) => (ConditionKind::Attribute, &[]),
        };
        let is_group = matches!(kind, ConditionKind::All | ConditionKind::Any | ConditionKind::Not);
        self.budget.spend(0);
        ExplainedCondition {
            kind,
            text: (!is_group || put_inner.is_empty()).then(|| self.budget.text(expression::text(put))),
            holds,
            saw: self.saw(saw),
            bucket,
            listed,
            inner: beside(put_inner, seen_inner).map(|(put, seen)| self.condition(put, seen)).collect(),
        }
    }

    fn saw(&mut self, saw: Option<Found>) -> Saw {
        let saw = saw?;
        if let Some(value) = &saw {
            if !self.budget.is_left() {
                return None;
            }
            self.budget.spend(json_bytes(&**value));
        }
        Some(saw)
    }
}
