//! What the environments of a project share.

use std::sync::Arc;

use imbl::OrdMap;

use super::{changes::Changes, condition::CompiledCondition, patterns::Patterns};
use crate::{condition::Condition, key::SegmentKey};

/// What is compiled once for all environments of a project. A clone shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    /// The conditions of segments, for the environments that have none of their own in their place.
    conditions: OrdMap<SegmentKey, Arc<CompiledCondition>>,
    pub patterns: Patterns,
}

impl Shared {
    /// What of it is good after a change.
    pub fn after(&self, changes: &Changes<'_>) -> Self {
        let mut kept = self.clone();
        for change in &changes.segments {
            let is_kept = match (change.old, change.new) {
                (Some(old), Some(new)) => {
                    let (old, new) = (&old.segment, &new.segment);
                    old.differs_only_in_members(new) || old.common_when() == new.common_when()
                }
                _ => false,
            };
            if !is_kept {
                kept.conditions.remove(change.key);
            }
        }
        kept
    }

    /// A segment's condition, for every environment that has none of its own in its place.
    pub fn condition(&mut self, segment: &SegmentKey, condition: &Condition) -> Arc<CompiledCondition> {
        if let Some(known) = self.conditions.get(segment) {
            return Arc::clone(known);
        }
        let compiled = Arc::new(CompiledCondition::new(condition, &mut self.patterns));
        self.conditions.insert(segment.clone(), Arc::clone(&compiled));
        compiled
    }
}
