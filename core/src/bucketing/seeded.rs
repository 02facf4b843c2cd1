//! Hashes that have taken in their seed: what is left to do for each value.

use sha1::{Digest as _, Sha1};

use super::{fnv1a::Fnv1a, murmur3::Murmur3};

/// `murmur3(seed value) * total >> 32`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaled {
    seeded: Murmur3,
    total: u32,
}

impl Scaled {
    /// `before` is all that is hashed before the value.
    pub(super) fn new(before: &[&str], total: u32) -> Self {
        Self { seeded: murmur3(0, before), total }
    }

    pub(super) fn bucket(&self, value: &str) -> u32 {
        let scaled = u64::from(hash(self.seeded, value)).saturating_mul(u64::from(self.total)) >> 32;
        // Smaller than `total`, as the hash is smaller than 2^32.
        u32::try_from(scaled).unwrap_or(self.total)
    }

    pub(super) fn total(&self) -> u32 {
        self.total
    }
}

/// What makes a whole number of a value.
#[derive(Clone, Debug)]
pub(super) enum Whole {
    Scaled(Scaled),
    Remainder {
        seeded: Murmur3,
        total: u32,
    },
    Fnv1a {
        seeded: Fnv1a,
        total: u32,
    },
    Crc32 {
        seeded: crc32fast::Hasher,
        total: u32,
    },
    /// The value is hashed before the seed, so there is nothing to hash beforehand.
    Crc32Before {
        seed: Box<str>,
        total: u32,
    },
}

impl Whole {
    pub(super) fn bucket(&self, value: &str) -> u32 {
        match self {
            Self::Scaled(scaled) => scaled.bucket(value),
            Self::Remainder { seeded, total } => remainder(hash(*seeded, value), *total),
            Self::Fnv1a { seeded, total } => remainder(hash_fnv1a(*seeded, value), *total),
            Self::Crc32 { seeded, total } => {
                let mut hash = seeded.clone();
                hash.update(value.as_bytes());
                remainder(hash.finalize(), *total)
            }
            Self::Crc32Before { seed, total } => remainder(crc32(&[value, seed]).finalize(), *total),
        }
    }

    pub(super) fn total(&self) -> u32 {
        match self {
            Self::Scaled(scaled) => scaled.total(),
            Self::Remainder { total, .. }
            | Self::Fnv1a { total, .. }
            | Self::Crc32 { total, .. }
            | Self::Crc32Before { total, .. } => *total,
        }
    }
}

/// LaunchDarkly's share of a value, from 0 to 1, both included. The hasher holds 64 bytes of what it hashes: it is boxed to
/// keep the others small.
#[derive(Clone, Debug)]
pub(super) struct Share(Box<Sha1>);

impl Share {
    pub(super) fn new(seed: &str) -> Self {
        Self(Box::new(Sha1::new_with_prefix(seed).chain_update(".")))
    }

    pub(super) fn bucket(&self, value: &str) -> f32 {
        // The hasher is copied without its box.
        let digest: [u8; 20] = Sha1::clone(&self.0).chain_update(value).finalize().into();
        // Fifteen hexadecimal digits are 60 bits.
        let first = digest.first_chunk().map_or(0, |first| u64::from_be_bytes(*first) >> 4);
        first as f32 / 0xFFF_FFFF_FFFF_FFFF_u64 as f32
    }
}

/// What makes a double of a value.
#[derive(Clone, Debug)]
pub(super) enum Double {
    /// flagd's percentage, from 0 to a little more than 100.
    Percent(Murmur3),
    /// GrowthBook's share by its first version. The value is hashed before the seed.
    ThousandthBefore { seed: Box<str> },
    /// GrowthBook's share by its second version.
    TenThousandth(Fnv1a),
}

impl Double {
    pub(super) fn bucket(&self, value: &str) -> f64 {
        match self {
            Self::Percent(seeded) => {
                let signed = hash(*seeded, value).cast_signed();
                f64::from(signed).abs() / f64::from(i32::MAX) * 100.0
            }
            Self::ThousandthBefore { seed } => {
                f64::from(remainder(fnv1a(&[value, seed]).finish(), 1_000)) / 1_000.0
            }
            Self::TenThousandth(seeded) => {
                let mut digits = itoa::Buffer::new();
                let first = digits.format(hash_fnv1a(*seeded, value));
                f64::from(remainder(fnv1a(&[first]).finish(), 10_000)) / 10_000.0
            }
        }
    }
}

pub(super) fn murmur3(seed: u32, before: &[&str]) -> Murmur3 {
    let mut hash = Murmur3::new(seed);
    before.iter().for_each(|part| hash.write(part.as_bytes()));
    hash
}

pub(super) fn fnv1a(parts: &[&str]) -> Fnv1a {
    let mut hash = Fnv1a::new();
    parts.iter().for_each(|part| hash.write(part.as_bytes()));
    hash
}

pub(super) fn crc32(parts: &[&str]) -> crc32fast::Hasher {
    let mut hash = crc32fast::Hasher::new();
    parts.iter().for_each(|part| hash.update(part.as_bytes()));
    hash
}

fn hash(mut seeded: Murmur3, value: &str) -> u32 {
    seeded.write(value.as_bytes());
    seeded.finish()
}

fn hash_fnv1a(mut seeded: Fnv1a, value: &str) -> u32 {
    seeded.write(value.as_bytes());
    seeded.finish()
}

/// No weights add up to 0; were there such a rollout, it would have one bucket, which is nobody's.
fn remainder(hash: u32, total: u32) -> u32 {
    hash.checked_rem(total).unwrap_or(0)
}
