//! A range of buckets, ready to be asked.

use std::ops::Range;

use super::seeded::Scaled;

/// A `bucket` condition made ready: its seed is hashed already. To ask it allocates nothing.
#[derive(Clone, Debug)]
pub struct BucketRange {
    hash: Scaled,
    range: Range<u32>,
}

impl BucketRange {
    /// The range `range` of `of` buckets under a seed.
    #[must_use]
    pub fn new(seed: &str, range: Range<u32>, of: u32) -> Self {
        Self { hash: Scaled::new(&[seed, ":"], of), range }
    }

    /// The bucket of a value, from 0 to `of - 1`: `murmur3(seed ":" value) * of >> 32`.
    pub fn bucket(&self, value: &str) -> u32 {
        self.hash.bucket(value)
    }

    /// Whether the range holds a bucket.
    pub fn holds(&self, bucket: u32) -> bool {
        self.range.contains(&bucket)
    }

    /// The range: its first bucket, and the one after its last.
    pub fn range(&self) -> &Range<u32> {
        &self.range
    }

    /// How many buckets there are.
    pub fn of(&self) -> u32 {
        self.hash.total()
    }
}
