//! Notes of one evaluation.

use std::sync::Arc;

use serde_json::Value;

use super::FLAGS_MAX;
use crate::{
    bucketing::Choice,
    compiled::{
        flag::{Cause, CompiledFlag, Plan},
        segment::CompiledSegment,
        trace::Trace,
    },
    project::{Flag, StoredSegment},
    resolution::{Reason, Resolution},
    segment::MemberList,
};

/// Whoever takes the notes.
pub(super) struct Watcher {
    /// The flags that are being evaluated, each within the one before.
    open: Vec<FlagSeen>,
    /// The last one that was evaluated.
    done: Option<FlagSeen>,
    flags: usize,
}

/// What was seen of a flag.
pub(super) struct FlagSeen {
    pub flag: Arc<Flag>,
    pub cause: Option<Cause>,
    pub variant: String,
    pub value: Option<Value>,
    pub reason: Reason,
    pub detail: Option<&'static str>,
    pub prerequisites: Vec<PrerequisiteSeen>,
    pub targets: Vec<TargetSeen>,
    pub rules: Vec<RuleSeen>,
    /// The rollout of the default.
    pub rollout: Option<RolloutSeen>,
    is_in_rule: bool,
    /// The conditions that are being held against the context, each within the one before.
    conditions: Vec<ConditionSeen>,
}

pub(super) struct PrerequisiteSeen {
    pub served: Option<String>,
    pub is_met: bool,
    pub evaluation: Option<FlagSeen>,
}

pub(super) struct TargetSeen {
    pub saw: Option<Value>,
    pub is_listed: bool,
}

#[derive(Default)]
pub(super) struct RuleSeen {
    pub when: Option<ConditionSeen>,
    pub rollout: Option<RolloutSeen>,
    pub serves: bool,
}

pub(super) struct RolloutSeen {
    pub saw: Option<Value>,
    pub choice: Option<Choice>,
}

#[derive(Default)]
pub(super) struct ConditionSeen {
    pub holds: bool,
    pub saw: super::Saw,
    pub bucket: Option<u32>,
    pub listed: Option<MemberList>,
    pub segment: Option<Arc<StoredSegment>>,
    pub inner: Vec<ConditionSeen>,
}

impl Watcher {
    pub fn new() -> Self {
        Self { open: Vec::new(), done: None, flags: 0 }
    }

    /// What was seen of the flag that was asked for, once that is evaluated.
    pub fn seen(self) -> Option<FlagSeen> {
        self.done
    }

    fn condition(&mut self) -> Option<&mut ConditionSeen> {
        self.open.last_mut()?.conditions.last_mut()
    }
}

impl Trace for Watcher {
    fn flag_begins(&mut self, flag: &CompiledFlag) {
        self.flags = self.flags.saturating_add(1);
        let cause = match &flag.plan {
            Plan::Fixed(_, _, cause) => Some(*cause),
            Plan::Decide(_) => None,
        };
        self.open.push(FlagSeen {
            flag: Arc::clone(flag.flag()),
            cause,
            variant: String::new(),
            value: None,
            reason: Reason::Unknown,
            detail: None,
            prerequisites: Vec::new(),
            targets: Vec::new(),
            rules: Vec::new(),
            rollout: None,
            is_in_rule: false,
            conditions: Vec::new(),
        });
    }

    fn flag_ends(&mut self, resolution: &Resolution<'_>) {
        let Some(mut seen) = self.open.pop() else { return };
        seen.variant = resolution.variant.to_owned();
        seen.value = resolution.value.cloned();
        seen.reason = resolution.reason;
        seen.detail = resolution.detail;
        self.done = Some(seen);
    }

    fn prerequisite(&mut self, served: Option<&str>, is_met: bool) {
        // One that was worked out before was not evaluated again, so that nothing is done.
        let evaluation = self.done.take().filter(|_| self.flags <= FLAGS_MAX);
        let seen = PrerequisiteSeen { served: served.map(str::to_owned), is_met, evaluation };
        if let Some(flag) = self.open.last_mut() {
            flag.prerequisites.push(seen);
        }
    }

    fn target(&mut self, saw: Option<&Value>, is_listed: bool) {
        if let Some(flag) = self.open.last_mut() {
            flag.targets.push(TargetSeen { saw: saw.cloned(), is_listed });
        }
    }

    fn rule_begins(&mut self) {
        if let Some(flag) = self.open.last_mut() {
            flag.is_in_rule = true;
            flag.rules.push(RuleSeen::default());
        }
    }

    fn rule_ends(&mut self, serves: bool) {
        let Some(flag) = self.open.last_mut() else { return };
        flag.is_in_rule = false;
        if let Some(rule) = flag.rules.last_mut() {
            rule.serves = serves;
        }
    }

    fn rollout(&mut self, saw: Option<&Value>, choice: Option<Choice>) {
        let Some(flag) = self.open.last_mut() else { return };
        let seen = Some(RolloutSeen { saw: saw.cloned(), choice });
        match flag.rules.last_mut() {
            Some(rule) if flag.is_in_rule => rule.rollout = seen,
            _ => flag.rollout = seen,
        }
    }

    fn condition_begins(&mut self) {
        if let Some(flag) = self.open.last_mut() {
            flag.conditions.push(ConditionSeen::default());
        }
    }

    fn attribute(&mut self, saw: Option<&Value>) {
        if let Some(condition) = self.condition() {
            condition.saw = Some(saw.cloned());
        }
    }

    fn bucket(&mut self, saw: Option<&Value>, bucket: Option<u32>) {
        if let Some(condition) = self.condition() {
            condition.saw = Some(saw.cloned());
            condition.bucket = bucket;
        }
    }

    fn segment(&mut self, segment: &CompiledSegment, saw: Option<&Value>, listed: Option<MemberList>) {
        if let Some(condition) = self.condition() {
            condition.saw = Some(saw.cloned());
            condition.listed = listed;
            condition.segment = Some(Arc::clone(segment.stored()));
        }
    }

    fn condition_ends(&mut self, holds: bool) {
        let Some(flag) = self.open.last_mut() else { return };
        let Some(mut seen) = flag.conditions.pop() else { return };
        seen.holds = holds;
        match (flag.conditions.last_mut(), flag.rules.last_mut()) {
            (Some(outer), _) => outer.inner.push(seen),
            (None, Some(rule)) => rule.when = Some(seen),
            (None, None) => {}
        }
    }
}
