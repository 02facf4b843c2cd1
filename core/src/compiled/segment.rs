//! A segment in one environment, ready to be asked.

use std::sync::Arc;

use imbl::OrdSet;

use super::{condition::CompiledCondition, shared::Shared, values::TextSet};
use crate::{
    key::EnvironmentKey,
    project::StoredSegment,
    segment::{MemberList, Segment},
};

/// A segment as it is in one environment.
#[derive(Debug)]
pub(super) struct CompiledSegment {
    stored: Arc<StoredSegment>,
    included: Members,
    excluded: Members,
    /// Who of those that are not listed is in; `None`: nobody. Shared by the environments that have none of their own.
    pub when: Option<Arc<CompiledCondition>>,
}

/// One of its lists.
#[derive(Clone, Debug)]
enum Members {
    /// The segment's own, of up to a million: shared with the state.
    Shared(OrdSet<Arc<str>>),
    /// The environment's own.
    Own(Arc<TextSet>),
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
    /// Compiles a segment. What is as it was in `known`, the same segment in the same environment before, is taken from
    /// there: when members come or go, nothing else is compiled.
    pub fn new(
        stored: &Arc<StoredSegment>,
        environment: &EnvironmentKey,
        known: Option<&Self>,
        shared: &mut Shared,
    ) -> Self {
        let segment = &stored.segment;
        let kept = |is_kept: &dyn Fn(&Segment) -> bool| {
            known.filter(|known| {
                let old = &known.stored.segment;
                old.differs_only_in_members(segment) || is_kept(old)
            })
        };
        let members = |list| {
            let Some(own) = segment.own_members(environment, list) else {
                return Members::Shared(segment.members(list).clone());
            };
            match kept(&|old| old.own_members(environment, list) == Some(own)) {
                Some(known) => known.members(list).clone(),
                None => {
                    let own = own.iter().map(|member| member.as_str().into());
                    Members::Own(Arc::new(TextSet::new(own.collect())))
                }
            }
        };
        let when = segment.when(environment).map(|when| {
            let kept = kept(&|old| old.when(environment) == Some(when)).and_then(|known| known.when.clone());
            kept.unwrap_or_else(|| match segment.own_when(environment) {
                Some(own) => Arc::new(CompiledCondition::new(own, &mut shared.patterns)),
                None => shared.condition(segment.key(), when),
            })
        });
        Self {
            stored: Arc::clone(stored),
            included: members(MemberList::Included),
            excluded: members(MemberList::Excluded),
            when,
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

    fn members(&self, list: MemberList) -> &Members {
        match list {
            MemberList::Included => &self.included,
            MemberList::Excluded => &self.excluded,
        }
    }
}
