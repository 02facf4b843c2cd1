//! Bucketing: which share of a rollout a user falls into. The values are frozen, those of other systems' methods too:
//! whoever comes from another system keeps every user in the variant that they had there.
//!
//! A [`Divider`] is made of a rollout once and asked for each user: its seed is hashed already, its thresholds are added
//! up, and to ask it allocates nothing. A [`BucketRange`] is the same of a `bucket` condition.

mod divider;
mod fnv1a;
mod hash_input;
mod method;
mod murmur3;
mod range;
mod seeded;

pub use self::{
    divider::{Choice, Divider, Place},
    hash_input::HashInput,
    method::Method,
    range::BucketRange,
};
