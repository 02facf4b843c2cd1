//! Notes of one evaluation.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{FLAGS_MAX, NOTES_MAX, budget::shortened};
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
    /// The attributes that were looked at, by where they are in the context: most are looked at again and again.
    values: BTreeMap<usize, Arc<Value>>,
    /// How many flags were begun.
    flags: usize,
    /// How many targets, rules and conditions were noted.
    notes: usize,
    /// How many of the flags that are being evaluated are not noted, and how many of the conditions. What is within them
    /// is not either, and what comes after them is not: what is noted is the beginning.
    unnoted_flags: usize,
    unnoted_conditions: usize,
    /// Whether anything was left out, or cut.
    is_shortened: bool,
}

/// All that was seen.
pub(super) struct Seen {
    pub flag: FlagSeen,
    pub is_shortened: bool,
}

/// What was found of an attribute; `None` where it is missing.
pub(super) type Found = Option<Arc<Value>>;

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
    pub saw: Found,
    pub is_listed: bool,
}

#[derive(Default)]
pub(super) struct RuleSeen {
    pub when: Option<ConditionSeen>,
    pub rollout: Option<RolloutSeen>,
    pub serves: bool,
}

pub(super) struct RolloutSeen {
    pub saw: Found,
    pub choice: Option<Choice>,
}

#[derive(Default)]
pub(super) struct ConditionSeen {
    pub holds: bool,
    pub saw: Option<Found>,
    pub bucket: Option<u32>,
    pub listed: Option<MemberList>,
    pub segment: Option<Arc<StoredSegment>>,
    pub inner: Vec<ConditionSeen>,
}

impl Watcher {
    pub fn new() -> Self {
        Self {
            open: Vec::new(),
            done: None,
            values: BTreeMap::new(),
            flags: 0,
            notes: 0,
            unnoted_flags: 0,
            unnoted_conditions: 0,
            is_shortened: false,
        }
    }

    /// What was seen of the flag that was asked for, once that is evaluated.
    pub fn seen(self) -> Option<Seen> {
        Some(Seen { flag: self.done?, is_shortened: self.is_shortened })
    }

    /// The flag that is being evaluated, if it is noted.
    fn flag(&mut self) -> Option<&mut FlagSeen> {
        if self.unnoted_flags == 0 { self.open.last_mut() } else { None }
    }

    /// The condition that is being held against the context, if it is noted.
    fn condition(&mut self) -> Option<&mut ConditionSeen> {
        if self.unnoted_conditions == 0 { self.flag()?.conditions.last_mut() } else { None }
    }

    fn is_full(&self) -> bool {
        self.notes >= NOTES_MAX
    }

    fn count(&mut self) {
        self.notes = self.notes.saturating_add(1);
    }

    /// What is kept of an attribute: one copy, however often it is looked at, and of a long one the beginning.
    fn found(&mut self, saw: Option<&Value>) -> Found {
        let value = saw.filter(|_| self.unnoted_flags == 0 && self.unnoted_conditions == 0)?;
        let known = self.values.entry(std::ptr::from_ref(value).addr());
        let kept = known.or_insert_with(|| {
            let short = shortened(value);
            self.is_shortened |= short.is_some();
            Arc::new(short.unwrap_or_else(|| value.clone()))
        });
        Some(Arc::clone(kept))
    }
}

impl Trace for Watcher {
    fn flag_begins(&mut self, flag: &CompiledFlag) {
        if self.unnoted_flags > 0 || self.flags >= FLAGS_MAX || self.is_full() {
            self.unnoted_flags = self.unnoted_flags.saturating_add(1);
            self.is_shortened = true;
            return;
        }
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
        if let Some(left) = self.unnoted_flags.checked_sub(1) {
            self.unnoted_flags = left;
            return;
        }
        let Some(mut seen) = self.open.pop() else { return };
        seen.variant = resolution.variant.to_owned();
        seen.value = resolution.value.cloned();
        seen.reason = resolution.reason;
        seen.detail = resolution.detail;
        self.done = Some(seen);
    }

    fn prerequisite(&mut self, served: Option<&str>, is_met: bool) {
        // One that was worked out before was not evaluated again, and one too many was not noted: then nothing is done.
        let evaluation = self.done.take();
        let seen = PrerequisiteSeen { served: served.map(str::to_owned), is_met, evaluation };
        if let Some(flag) = self.flag() {
            flag.prerequisites.push(seen);
        }
    }

    fn target(&mut self, saw: Option<&Value>, is_listed: bool) {
        let saw = self.found(saw);
        self.count();
        if let Some(flag) = self.flag() {
            flag.targets.push(TargetSeen { saw, is_listed });
        }
    }

    fn rule_begins(&mut self) {
        self.count();
        if let Some(flag) = self.flag() {
            flag.is_in_rule = true;
            flag.rules.push(RuleSeen::default());
        }
    }

    fn rule_ends(&mut self, serves: bool) {
        let Some(flag) = self.flag() else { return };
        flag.is_in_rule = false;
        if let Some(rule) = flag.rules.last_mut() {
            rule.serves = serves;
        }
    }

    fn rollout(&mut self, saw: Option<&Value>, choice: Option<Choice>) {
        let seen = Some(RolloutSeen { saw: self.found(saw), choice });
        let Some(flag) = self.flag() else { return };
        match flag.rules.last_mut() {
            Some(rule) if flag.is_in_rule => rule.rollout = seen,
            _ => flag.rollout = seen,
        }
    }

    fn condition_begins(&mut self) {
        if self.unnoted_flags > 0 {
            return;
        }
        if self.unnoted_conditions > 0 || self.is_full() {
            self.unnoted_conditions = self.unnoted_conditions.saturating_add(1);
            self.is_shortened = true;
            return;
        }
        self.count();
        if let Some(flag) = self.flag() {
            flag.conditions.push(ConditionSeen::default());
        }
    }

    fn attribute(&mut self, saw: Option<&Value>) {
        let saw = self.found(saw);
        if let Some(condition) = self.condition() {
            condition.saw = Some(saw);
        }
    }

    fn bucket(&mut self, saw: Option<&Value>, bucket: Option<u32>) {
        let saw = self.found(saw);
        if let Some(condition) = self.condition() {
            condition.saw = Some(saw);
            condition.bucket = bucket;
        }
    }

    fn segment(&mut self, segment: &CompiledSegment, saw: Option<&Value>, listed: Option<MemberList>) {
        let saw = self.found(saw);
        if let Some(condition) = self.condition() {
            condition.saw = Some(saw);
            condition.listed = listed;
            condition.segment = Some(Arc::clone(segment.stored()));
        }
    }

    fn condition_ends(&mut self, holds: bool) {
        if self.unnoted_flags > 0 {
            return;
        }
        if let Some(left) = self.unnoted_conditions.checked_sub(1) {
            self.unnoted_conditions = left;
            return;
        }
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
