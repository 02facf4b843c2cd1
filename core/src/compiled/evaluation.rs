//! The one way through a flag. The order: a hold, the switch, the prerequisites, the targets, the rules, the default.

use super::{
    condition::CompiledCondition,
    environment::CompiledEnvironment,
    flag::{
        CompiledFlag, CompiledPrerequisite, CompiledRollout, CompiledServe, CompiledTarget, Decision, Plan,
        Served,
    },
    memo::Memo,
    segment::CompiledSegment,
    trace::Trace,
};
use crate::{
    bucketing::HashInput,
    context::EvaluationContext,
    limits::{PREREQUISITE_DEPTH_MAX, SEGMENT_DEPTH_MAX},
    resolution::{Reason, Resolution},
    segment::MemberList,
};

/// What a flag is for a context.
#[inline]
pub(super) fn evaluate<'a, T: Trace>(
    environment: &'a CompiledEnvironment,
    flag: &'a CompiledFlag,
    context: &EvaluationContext,
    trace: &mut T,
) -> Resolution<'a> {
    match &flag.plan {
        // The answer that most flags have most of the time, and all that it takes.
        Plan::Fixed(served, reason, _) => fixed(flag, *served, *reason, trace),
        Plan::Decide(decision) => {
            let mut evaluation =
                Evaluation { environment, context, trace, served: Memo::new(), members: Memo::new() };
            if !decision.prerequisites.is_empty() {
                evaluation.served.put(flag, None);
            }
            evaluation.decided(flag, decision, PREREQUISITE_DEPTH_MAX)
        }
    }
}

/// A flag that is the same for everyone.
#[inline]
fn fixed<'a, T: Trace>(
    flag: &'a CompiledFlag,
    served: Served,
    reason: Reason,
    trace: &mut T,
) -> Resolution<'a> {
    trace.flag_begins(flag);
    let resolution = flag.resolve(served, reason);
    trace.flag_ends(&resolution);
    resolution
}

/// One evaluation under way.
struct Evaluation<'a, 'c, T> {
    environment: &'a CompiledEnvironment,
    context: &'c EvaluationContext,
    trace: &'c mut T,
    /// What the flags met so far serve; `None` for what no prerequisite can be content with: disabled, or still being
    /// worked out, so that even a catalog with a cycle, which `apply` refuses, could not hang this.
    served: Memo<Option<&'a str>>,
    /// Whether the context is in the segments met so far; `false` while that is being worked out.
    members: Memo<bool>,
}

impl<'a, T: Trace> Evaluation<'a, '_, T> {
    /// `chain_left` bounds the chain of prerequisites, and with it the stack, as `apply` bounds it too.
    fn flag(&mut self, flag: &'a CompiledFlag, chain_left: usize) -> Resolution<'a> {
        match &flag.plan {
            Plan::Fixed(served, reason, _) => fixed(flag, *served, *reason, self.trace),
            Plan::Decide(decision) => self.decided(flag, decision, chain_left),
        }
    }

    /// A flag that depends on the context.
    fn decided(
        &mut self,
        flag: &'a CompiledFlag,
        decision: &'a Decision,
        chain_left: usize,
    ) -> Resolution<'a> {
        self.trace.flag_begins(flag);
        let resolution = self.decide(flag, decision, chain_left);
        self.trace.flag_ends(&resolution);
        resolution
    }

    fn decide(
        &mut self,
        flag: &'a CompiledFlag,
        decision: &'a Decision,
        chain_left: usize,
    ) -> Resolution<'a> {
        if !decision.prerequisites.iter().all(|prerequisite| self.is_met(prerequisite, chain_left)) {
            let off = flag.resolve(decision.off, Reason::Default);
            return Resolution { detail: Some("prerequisite"), ..off };
        }
        if let Some(target) = decision.targets.iter().find(|target| self.is_listed(target)) {
            return flag.resolve(target.variant, Reason::TargetingMatch);
        }
        for rule in &decision.rules {
            self.trace.rule_begins();
            let served = match (self.applies(rule.when.as_ref()), &rule.serve) {
                (false, _) => None,
                (true, CompiledServe::Fixed(served)) => Some((*served, Reason::TargetingMatch)),
                // Without the attribute to divide by, and where the method says nothing, the next rule may.
                (true, CompiledServe::Rollout(rollout)) => {
                    self.roll_out(rollout).map(|served| (served, Reason::Split))
                }
            };
            self.trace.rule_ends(served.is_some());
            if let Some((served, reason)) = served {
                return flag.resolve(served, reason);
            }
        }
        match &decision.default {
            CompiledServe::Fixed(served) => flag.resolve(*served, Reason::Default),
            CompiledServe::Rollout(rollout) => match self.roll_out(rollout) {
                Some(served) => flag.resolve(served, Reason::Split),
                None => flag.resolve(decision.off, Reason::Default),
            },
        }
    }

    fn is_met(&mut self, prerequisite: &'a CompiledPrerequisite, chain_left: usize) -> bool {
        let served = self.environment.flags.follow(&prerequisite.flag).and_then(|flag| {
            if let Some(served) = self.served.get(flag) {
                return served;
            }
            self.served.put(flag, None);
            let served = self.served_by(flag, chain_left);
            self.served.put(flag, served);
            served
        });
        let is_met =
            served.is_some_and(|served| prerequisite.variants.iter().any(|variant| *variant == *served));
        self.trace.prerequisite(served, is_met);
        is_met
    }

    fn served_by(&mut self, flag: &'a CompiledFlag, chain_left: usize) -> Option<&'a str> {
        let resolution = self.flag(flag, chain_left.checked_sub(1)?);
        // A disabled prerequisite is unmet, whatever its off variant is.
        (resolution.reason != Reason::Disabled).then_some(resolution.variant)
    }

    fn is_listed(&mut self, target: &CompiledTarget) -> bool {
        let saw = self.context.get(&target.by);
        let is_listed =
            saw.and_then(HashInput::of).is_some_and(|value| target.values.contains(value.as_str()));
        self.trace.target(saw, is_listed);
        is_listed
    }

    fn roll_out(&mut self, rollout: &CompiledRollout) -> Option<Served> {
        let saw = self.context.get(&rollout.by);
        let choice = saw.and_then(HashInput::of).map(|value| rollout.divider.choose(value.as_str()));
        self.trace.rollout(saw, choice);
        rollout.variants.get(choice?.index?).copied()
    }

    /// Whether a rule's condition holds; none at all holds for everyone.
    fn applies(&mut self, when: Option<&'a CompiledCondition>) -> bool {
        when.is_none_or(|condition| self.holds(condition, SEGMENT_DEPTH_MAX))
    }

    /// `segments_left` bounds how many segments deep it may go, and with it the stack, as `apply` bounds it too.
    fn holds(&mut self, condition: &'a CompiledCondition, segments_left: usize) -> bool {
        self.trace.condition_begins();
        let holds = match condition {
            CompiledCondition::All(inner) => inner.iter().all(|inner| self.holds(inner, segments_left)),
            CompiledCondition::Any(inner) => inner.iter().any(|inner| self.holds(inner, segments_left)),
            CompiledCondition::Not(inner) => !self.holds(inner, segments_left),
            CompiledCondition::Segment(key) => {
                let segment = self.environment.segments.follow(key);
                segment.is_some_and(|segment| self.is_member(segment, segments_left))
            }
            CompiledCondition::Bucket(bucket) => {
                let (by, range) = &**bucket;
                let saw = self.context.get(by);
                let bucket = saw.and_then(HashInput::of).map(|value| range.bucket(value.as_str()));
                self.trace.bucket(saw, bucket);
                bucket.is_some_and(|bucket| range.holds(bucket))
            }
            CompiledCondition::Attribute(name, comparison) => {
                let saw = self.context.get(name);
                self.trace.attribute(saw);
                saw.is_some_and(|attribute| comparison.matches(attribute))
            }
        };
        self.trace.condition_ends(holds);
        holds
    }

    fn is_member(&mut self, segment: &'a CompiledSegment, segments_left: usize) -> bool {
        if let Some(is_member) = self.members.get(segment) {
            return is_member;
        }
        self.members.put(segment, false);
        let is_member = self.work_out_member(segment, segments_left);
        self.members.put(segment, is_member);
        is_member
    }

    fn work_out_member(&mut self, segment: &'a CompiledSegment, segments_left: usize) -> bool {
        let Some(segments_left) = segments_left.checked_sub(1) else { return false };
        let saw = self.context.get(&self.environment.targeting_key);
        let listed = saw.and_then(HashInput::of).and_then(|key| segment.lists(key.as_str()));
        self.trace.segment(segment, saw, listed);
        match listed {
            Some(list) => list == MemberList::Included,
            None => segment.when.as_ref().is_some_and(|condition| self.holds(condition, segments_left)),
        }
    }
}
