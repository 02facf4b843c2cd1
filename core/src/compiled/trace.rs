//! What an evaluation tells whoever watches it.

use serde_json::Value;

use super::{flag::CompiledFlag, segment::CompiledSegment};
use crate::{bucketing::Choice, resolution::Resolution, segment::MemberList};

/// Somebody who watches an evaluation. Nobody does usually: then all this compiles to nothing.
///
/// What is told comes in the order in which it is done, and what is not done is not told.
pub(super) trait Trace {
    /// A flag begins to be evaluated: the one that was asked for, or a prerequisite within another.
    fn flag_begins(&mut self, _flag: &CompiledFlag) {}
    /// It is evaluated.
    fn flag_ends(&mut self, _resolution: &Resolution<'_>) {}
    /// What the prerequisite that comes next serves, and whether that will do.
    fn prerequisite(&mut self, _served: Option<&str>, _is_met: bool) {}
    /// The target that comes next saw an attribute.
    fn target(&mut self, _saw: Option<&Value>, _is_listed: bool) {}
    /// The rule that comes next begins to be tried.
    fn rule_begins(&mut self) {}
    /// It is tried.
    fn rule_ends(&mut self, _serves: bool) {}
    /// A rollout saw an attribute and chose by it.
    fn rollout(&mut self, _saw: Option<&Value>, _choice: Option<Choice>) {}
    /// A condition begins to be held against the context.
    fn condition_begins(&mut self) {}
    /// It compared an attribute.
    fn attribute(&mut self, _saw: Option<&Value>) {}
    /// It put an attribute into a bucket.
    fn bucket(&mut self, _saw: Option<&Value>, _bucket: Option<u32>) {}
    /// It asked a segment's lists.
    fn segment(&mut self, _segment: &CompiledSegment, _saw: Option<&Value>, _listed: Option<MemberList>) {}
    /// Whether the condition holds.
    fn condition_ends(&mut self, _holds: bool) {}
}

/// Nobody.
pub(super) struct Unwatched;

impl Trace for Unwatched {}
