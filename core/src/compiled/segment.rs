//! A segment in one environment, ready to be asked.

use std::sync::Arc;

use imbl::OrdSet;

use super::{condition::CompiledCondition, values::TextSet};
use crate::{key::EnvironmentKey, project::StoredSegment, segment::MemberList};

/// A segment as it is in one environment.
#[derive(Clone, Debug)]
pub(super) struct CompiledSegment {
    stored: Arc<StoredSegment>,
    included: Members,
    excluded: Members,
    /// Who of those that are not listed is in; `None`: nobody.
    pub when: Option<CompiledCondition>,
}

/// One of its lists.
#[derive(Clone, Debug)]
enum Members {
    /// The segment's own, of up to a million: shared with the state.
    Shared(OrdSet<Arc<str>>),
    /// The environment's own.
    Own(TextSet),
}

impl Members {
    fn contains(&self, member: &str) -> bool {
        match self {
            Self::Shared(set) => set.contains(member),
            Self::Own(set) => set.contains(member),
        }
    }
}

impl CompiledSegment {
    pub fn new(stored: &Arc<StoredSegment>, environment: &EnvironmentKey) -> Self {
        let segment = &stored.segment;
        let members = |list| match segment.own_members(environment, list) {
            Some(own) => {
                Members::Own(TextSet::new(own.iter().map(|member| member.as_str().into()).collect()))
            }
            None => Members::Shared(segment.members(list).clone()),
        };
        Self {
            stored: Arc::clone(stored),
            included: members(MemberList::Included),
            excluded: members(MemberList::Excluded),
            when: segment.when(environment).map(CompiledCondition::new),
        }
    }

    /// The segment as it is in the catalog.
    pub fn stored(&self) -> &Arc<StoredSegment> {
        &self.stored
    }

    /// Which list has the targeting key, if one has: the included ones win.
    pub fn lists(&self, targeting_key: &str) -> Option<MemberList> {
        if self.included.contains(targeting_key) {
            Some(MemberList::Included)
        } else if self.excluded.contains(targeting_key) {
            Some(MemberList::Excluded)
        } else {
            None
        }
    }
}
