//! Conditions, ready to be held against a context. Node by node they are what was proposed: nothing is left out, joined or
//! moved, so that an explanation can name each.

use super::{attribute::AttributeName, comparison::Comparison, patterns::Patterns, table::Reference};
use crate::{bucketing::BucketRange, condition::Condition, key::SegmentKey};

/// A condition.
#[derive(Clone, Debug)]
pub(super) enum CompiledCondition {
    All(Box<[CompiledCondition]>),
    Any(Box<[CompiledCondition]>),
    Not(Box<CompiledCondition>),
    Segment(Reference<SegmentKey>),
    Bucket(Box<(AttributeName, BucketRange)>),
    Attribute(AttributeName, Comparison),
}

impl CompiledCondition {
    pub fn new(condition: &Condition, patterns: &mut Patterns) -> Self {
        let mut each = |inner: &[Condition]| inner.iter().map(|inner| Self::new(inner, patterns)).collect();
        match condition {
            Condition::All(inner) => Self::All(each(inner)),
            Condition::Any(inner) => Self::Any(each(inner)),
            Condition::Not(inner) => Self::Not(Box::new(Self::new(inner, patterns))),
            Condition::Segment(key) => Self::Segment(Reference::new(key.clone())),
            Condition::Bucket(bucket) => Self::Bucket(Box::new((
                AttributeName::new(&bucket.by),
                BucketRange::new(&bucket.seed, bucket.from..bucket.to, bucket.of),
            ))),
            Condition::Attribute(attribute) => Self::Attribute(
                AttributeName::new(&attribute.attribute),
                Comparison::new(attribute, patterns),
            ),
        }
    }
}
