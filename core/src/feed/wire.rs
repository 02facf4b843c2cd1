//! The documents as they are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::encode::{flags, segments};
use crate::{
    condition::Condition,
    flag::{AuditEvaluations, Exposure, FlagEnvironment, FlagType, OnStale, OnUnconfirmed, Variants},
    key::{EnvironmentKey, FlagKey, SegmentKey, VariantKey},
    project::{Flag, Project, StoredSegment},
    segment::MemberList,
};

/// An environment at one revision.
#[derive(Debug, Serialize)]
pub struct Snapshot<'a> {
    /// [`super::FORMAT`].
    pub format: u32,
    /// The state's revision.
    pub revision: u64,
    /// The revision that last touched the environment.
    pub environment_revision: u64,
    /// The project's key.
    pub project: &'a str,
    /// The environment's key.
    pub environment: &'a str,
    #[serde(serialize_with = "write_flags")]
    pub(super) flags: Contents<'a>,
    #[serde(serialize_with = "write_segments")]
    pub(super) segments: Contents<'a>,
}

/// What a snapshot is written from, one flag and one segment at a time: all of them at once would be a second copy.
#[derive(Debug)]
pub(super) struct Contents<'a> {
    pub project: &'a Project,
    pub environment: &'a EnvironmentKey,
}

fn write_flags<S: Serializer>(contents: &Contents<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(flags(contents.project, contents.environment))
}

fn write_segments<S: Serializer>(contents: &Contents<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(segments(contents.project, contents.environment))
}

/// What one revision did to an environment.
#[derive(Debug, Serialize)]
pub struct Change<'a> {
    /// [`super::FORMAT`].
    pub format: u32,
    /// The revision.
    pub revision: u64,
    /// The revision that touched the environment before.
    pub previous: u64,
    /// What it did: segments before flags, each in key order. May be empty.
    pub changes: Vec<Edit<'a>>,
}

/// One thing that a change did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit<'a> {
    /// A segment is asked now that was not, or is another one.
    Segment(SegmentDocument<'a>),
    /// A segment is asked no more.
    SegmentDeleted(&'a SegmentKey),
    /// Members came to a segment's list, or went.
    Members(MembersEdit<'a>),
    /// A flag is there now, or is another one.
    Flag(FlagDocument<'a>),
    /// A flag is gone: deleted or archived.
    Deleted(&'a FlagKey),
}

/// Members that came to a segment's list, and those that went. A list may have a million of them.
#[derive(Debug, Serialize)]
pub struct MembersEdit<'a> {
    /// The segment.
    pub segment: &'a SegmentKey,
    /// The list.
    pub list: MemberList,
    /// Who came, in order.
    pub add: Vec<&'a str>,
    /// Who went, in order.
    pub remove: Vec<&'a str>,
}

/// A flag as evaluation in the environment sees it. Fields at their default are left out.
#[derive(Debug, PartialEq, Serialize)]
pub struct FlagDocument<'a> {
    key: &'a FlagKey,
    #[serde(rename = "type")]
    flag_type: FlagType,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadata: &'a BTreeMap<String, Value>,
    #[serde(skip_serializing_if = "is_default")]
    critical: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    safe_variant: Option<&'a VariantKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_age_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    on_stale: OnStale,
    #[serde(skip_serializing_if = "is_default")]
    on_unconfirmed: OnUnconfirmed,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    audit_evaluations: AuditEvaluations,
    #[serde(skip_serializing_if = "is_default")]
    exposure: Exposure,
    variants: &'a Variants,
    #[serde(skip_serializing_if = "Option::is_none")]
    off_variant: Option<&'a VariantKey>,
    /// As it is stored; `null` where the flag was never configured.
    configuration: Option<&'a FlagEnvironment>,
    /// [`Flag::evaluated_revision`].
    version: u64,
}

impl<'a> FlagDocument<'a> {
    pub(super) fn new(flag: &'a Flag, environment: &EnvironmentKey) -> Self {
        let definition = &flag.definition;
        Self {
            key: &definition.key,
            flag_type: definition.flag_type,
            metadata: &definition.metadata,
            critical: definition.critical,
            safe_variant: definition.safe_variant.as_ref(),
            max_age_ms: definition.max_age_ms,
            on_stale: definition.on_stale,
            on_unconfirmed: definition.on_unconfirmed,
            grace_ms: definition.grace_ms,
            audit_evaluations: definition.audit_evaluations,
            exposure: definition.exposure,
            variants: &definition.variants,
            off_variant: definition.off_variant.as_ref(),
            configuration: flag.environments.get(environment),
            version: flag.evaluated_revision(environment),
        }
    }
}

/// A segment as it is in the environment.
#[derive(Debug, Serialize)]
pub struct SegmentDocument<'a> {
    key: &'a SegmentKey,
    included: Members<'a>,
    excluded: Members<'a>,
    /// Who of the others is in; `null`: nobody.
    when: Option<&'a Condition>,
}

impl<'a> SegmentDocument<'a> {
    pub(super) fn new(stored: &'a StoredSegment, environment: &EnvironmentKey) -> Self {
        let segment = &stored.segment;
        Self {
            key: segment.key(),
            included: Members::new(stored, environment, MemberList::Included),
            excluded: Members::new(stored, environment, MemberList::Excluded),
            when: segment.when(environment),
        }
    }
}

/// A segment's list as it is in an environment: the environment's own, or the segment's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Members<'a> {
    Shared(&'a imbl::OrdSet<std::sync::Arc<str>>),
    Own(&'a [String]),
}

impl<'a> Members<'a> {
    pub fn new(stored: &'a StoredSegment, environment: &EnvironmentKey, list: MemberList) -> Self {
        match stored.segment.own_members(environment, list) {
            Some(own) => Self::Own(own),
            None => Self::Shared(stored.segment.members(list)),
        }
    }

    /// The members, each once, in order.
    pub fn sorted(self) -> Vec<&'a str> {
        match self {
            Self::Shared(set) => set.iter().map(|member| &**member).collect(),
            Self::Own(list) => {
                let mut members: Vec<&str> = list.iter().map(String::as_str).collect();
                members.sort_unstable();
                members.dedup();
                members
            }
        }
    }
}

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Shared(set) => serializer.collect_seq(set.iter().map(|member| &**member)),
            Self::Own(_) => self.sorted().serialize(serializer),
        }
    }
}

/// How far a stream is: everything up to this revision was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// [`super::FORMAT`].
    pub format: u32,
    /// The newest revision that the stream has seen whole.
    pub revision: u64,
    /// The revision that last touched the environment, as far as the stream has seen.
    pub environment_revision: u64,
    /// The bound on the age of what the node has published, in milliseconds; `null` while it does not know. It may have
    /// waited in a buffer since: not what a client's own age can be counted from.
    pub age_ms: Option<u64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
