//! A rollout's division of the users, ready to be asked.

use std::fmt;

use serde::Serialize;

use super::{
    method::Method,
    seeded::{Double, Scaled, Share, Whole, crc32, fnv1a, murmur3},
};

/// A rollout made ready: its seed is hashed already and its weights are added up. To ask it allocates nothing.
#[derive(Clone, Debug)]
pub struct Divider(Scale);

/// A hash, and the upper bounds of the weights in the numbers that it makes.
#[derive(Clone, Debug)]
enum Scale {
    Whole { hash: Whole, thresholds: Box<[u32]> },
    Single { hash: Share, thresholds: Box<[f32]> },
    Double { hash: Double, thresholds: Box<[f64]>, of: u32 },
}

/// Where a value falls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The bucket.
    pub place: Place,
    /// The weight that it belongs to, counted from 0; `None` where the rollout says nothing about the value.
    pub index: Option<usize>,
}

/// A bucket, or the upper bound of one, as the method counts. In JSON a number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Place {
    /// A number of so many.
    Whole(u32),
    /// A share, in single precision.
    Single(f32),
    /// A share or a percentage, in double precision.
    Double(f64),
}

impl Divider {
    /// The division by a method, under a seed, into weights in this order.
    #[must_use]
    pub fn new(method: Method, seed: &str, weights: impl IntoIterator<Item = u32>) -> Self {
        let weights: Vec<u32> = weights.into_iter().collect();
        let thresholds = running(&weights, 0, |sum: u32, weight| sum.saturating_add(weight));
        let total = thresholds.last().copied().unwrap_or(0);
        let whole = |hash| Scale::Whole { hash, thresholds: thresholds.clone() };
        let share = |hash| Scale::Double {
            hash,
            thresholds: running(&weights, 0.0, |sum, weight| sum + f64::from(weight) / f64::from(total)),
            of: 1,
        };
        Self(match method {
            Method::Murmur3 => whole(Whole::Scaled(Scaled::new(&[seed, ":"], total))),
            Method::Unleash => whole(Whole::Remainder { seeded: murmur3(0, &[seed, ":"]), total }),
            Method::UnleashVariant => {
                whole(Whole::Remainder { seeded: murmur3(86_028_157, &[seed, ":"]), total })
            }
            Method::Launchdarkly => Scale::Single {
                hash: Share::new(seed),
                // What the weights add up to is checked where the rollout is put; this is what LaunchDarkly divides by.
                thresholds: running(&weights, 0.0, |sum, weight| sum + weight as f32 / 100_000.0),
            },
            Method::Flagd => whole(Whole::Scaled(Scaled::new(&[seed], total))),
            Method::FlagdPercent => Scale::Double {
                hash: Double::Percent(murmur3(0, &[seed])),
                thresholds: running(&weights, 0.0, |sum, weight| {
                    sum + 100.0 * f64::from(weight) / f64::from(total)
                }),
                of: 100,
            },
            Method::Flipt => whole(Whole::Crc32 { seeded: crc32(&[seed]), total: 1_000 }),
            Method::FliptThreshold => whole(Whole::Crc32Before { seed: seed.into(), total: 100 }),
            Method::GoFeatureFlag => whole(Whole::Fnv1a { seeded: fnv1a(&[seed]), total }),
            Method::GrowthbookV1 => share(Double::ThousandthBefore { seed: seed.into() }),
            Method::GrowthbookV2 => share(Double::TenThousandth(fnv1a(&[seed]))),
        })
    }

    /// Where a value falls.
    pub fn choose(&self, value: &str) -> Choice {
        match &self.0 {
            Scale::Whole { hash, thresholds } => {
                let bucket = hash.bucket(value);
                Choice { place: Place::Whole(bucket), index: first_above(thresholds, bucket) }
            }
            Scale::Single { hash, thresholds } => {
                let bucket = hash.bucket(value);
                // Rounding can leave the greatest buckets beyond the sum of the weights.
                let index = first_above(thresholds, bucket).or(thresholds.len().checked_sub(1));
                Choice { place: Place::Single(bucket), index }
            }
            Scale::Double { hash, thresholds, .. } => {
                let bucket = hash.bucket(value);
                Choice { place: Place::Double(bucket), index: first_above(thresholds, bucket) }
            }
        }
    }

    /// The whole of which the buckets are parts: so many buckets, 1 for shares, 100 for percentages.
    pub fn of(&self) -> u32 {
        match &self.0 {
            Scale::Whole { hash, .. } => hash.total(),
            Scale::Single { .. } => 1,
            Scale::Double { of, .. } => *of,
        }
    }

    /// The upper bounds of the weights, in their order. A bucket belongs to the first weight whose bound exceeds it.
    pub fn thresholds(&self) -> impl Iterator<Item = Place> + '_ {
        // One of the three is there; chained they are one type.
        let (whole, single, double): (&[u32], &[f32], &[f64]) = match &self.0 {
            Scale::Whole { thresholds, .. } => (thresholds, &[], &[]),
            Scale::Single { thresholds, .. } => (&[], thresholds, &[]),
            Scale::Double { thresholds, .. } => (&[], &[], thresholds),
        };
        let whole = whole.iter().copied().map(Place::Whole);
        whole
            .chain(single.iter().copied().map(Place::Single))
            .chain(double.iter().copied().map(Place::Double))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Single(number) => number.fmt(f),
            Self::Double(number) => number.fmt(f),
        }
    }
}

/// The sums of the weights up to each of them.
fn running<T: Copy>(weights: &[u32], zero: T, add: impl Fn(T, u32) -> T) -> Box<[T]> {
    let sums = weights.iter().scan(zero, |sum, weight| {
        *sum = add(*sum, *weight);
        Some(*sum)
    });
    sums.collect()
}

fn first_above<T: PartialOrd>(thresholds: &[T], bucket: T) -> Option<usize> {
    thresholds.iter().position(|threshold| bucket < *threshold)
}
