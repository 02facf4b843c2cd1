//! The ways to divide the users of a rollout: ours, and those of other systems.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// How a rollout divides its users.
///
/// Each variant says how the bucket is made of the seed and the value. The value is the text of an attribute
/// ([`HashInput`](super::HashInput)), in UTF-8, as the seed is; `total` is the sum of the weights. The value gets the
/// first weight with which the running sum of the weights exceeds the bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `murmur3` (MurmurHash3 x86 32-bit): `murmur3(seed ":" value) * total >> 32`.
    #[default]
    Murmur3,
    /// Unleash's gradual rollout: `murmur3(seed ":" value) % total`. The seed is its group id; of a total of 100 the first
    /// weight is the percentage.
    Unleash,
    /// Unleash's variants: `murmur3(seed ":" value) % total` with the hash's own seed 86028157.
    UnleashVariant,
    /// LaunchDarkly: the first 60 bits of `sha1(seed "." value)` as a share of all there are, in single precision. The seed
    /// is `<flag key>.<salt>`, or a rollout's own seed in decimal. What lies beyond the sum, by rounding, gets the last
    /// weight.
    Launchdarkly,
    /// flagd's `fractional`: `murmur3(seed value) * total >> 32`, with nothing between the two.
    Flagd,
    /// flagd's `fractional` of before: `abs(murmur3(seed value)) / (2^31 - 1) * 100`, the hash as a signed number, against
    /// running percentages in double precision. Three hashes of 2^32 reach 100: for them the rollout says nothing.
    FlagdPercent,
    /// Flipt's variants: `crc32(seed value) % 1000`. The seed is the flag's key.
    Flipt,
    /// Flipt's boolean thresholds: `crc32(value seed) % 100`. The seed is the flag's key; the first weight is the
    /// percentage.
    FliptThreshold,
    /// GO Feature Flag: `fnv1a(seed value) % total`. The seed is the flag's key; its variations are taken in reverse
    /// alphabetical order, and a percent weighs 1,000.
    GoFeatureFlag,
    /// GrowthBook's hash version 1: `fnv1a(value seed) % 1000 / 1000`, against running shares in double precision.
    GrowthbookV1,
    /// GrowthBook's hash version 2: `fnv1a(decimal(fnv1a(seed value))) % 10000 / 10000`, compared in the same way.
    GrowthbookV2,
}

impl Method {
    /// All of them, ours first.
    pub const ALL: [Self; 11] = [
        Self::Murmur3,
        Self::Unleash,
        Self::UnleashVariant,
        Self::Launchdarkly,
        Self::Flagd,
        Self::FlagdPercent,
        Self::Flipt,
        Self::FliptThreshold,
        Self::GoFeatureFlag,
        Self::GrowthbookV1,
        Self::GrowthbookV2,
    ];

    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Murmur3 => "murmur3",
            Self::Unleash => "unleash",
            Self::UnleashVariant => "unleash_variant",
            Self::Launchdarkly => "launchdarkly",
            Self::Flagd => "flagd",
            Self::FlagdPercent => "flagd_percent",
            Self::Flipt => "flipt",
            Self::FliptThreshold => "flipt_threshold",
            Self::GoFeatureFlag => "go_feature_flag",
            Self::GrowthbookV1 => "growthbook_v1",
            Self::GrowthbookV2 => "growthbook_v2",
        }
    }

    /// What the weights must add up to, where the method counts its buckets by itself.
    pub fn total(self) -> Option<u32> {
        match self {
            Self::Launchdarkly => Some(100_000),
            Self::Flipt => Some(1_000),
            Self::FliptThreshold => Some(100),
            Self::Murmur3
            | Self::Unleash
            | Self::UnleashVariant
            | Self::Flagd
            | Self::FlagdPercent
            | Self::GoFeatureFlag
            | Self::GrowthbookV1
            | Self::GrowthbookV2 => None,
        }
    }

    /// Whether the seed may be empty: where the other system hashes the value alone if told to.
    pub fn may_lack_seed(self) -> bool {
        match self {
            Self::Murmur3 | Self::Unleash | Self::UnleashVariant | Self::Launchdarkly => false,
            Self::Flagd
            | Self::FlagdPercent
            | Self::Flipt
            | Self::FliptThreshold
            | Self::GoFeatureFlag
            | Self::GrowthbookV1
            | Self::GrowthbookV2 => true,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// By hand, so that the message for an unknown name is ours: rejections are kept.
impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::ALL.into_iter().find(|method| method.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            de::Error::custom(format!("there is no method {name:?}; leave it out, or give one of {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_frozen_and_read_back() {
        let names = Method::ALL.map(|method| serde_json::to_value(method).expect("a name"));
        assert_eq!(
            json!(names),
            json!([
                "murmur3",
                "unleash",
                "unleash_variant",
                "launchdarkly",
                "flagd",
                "flagd_percent",
                "flipt",
                "flipt_threshold",
                "go_feature_flag",
                "growthbook_v1",
                "growthbook_v2"
            ])
        );
        for (method, name) in Method::ALL.into_iter().zip(names) {
            assert_eq!(serde_json::from_value::<Method>(name).expect("a method"), method);
        }
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        for unknown in ["sha1", "Murmur3", ""] {
            let error = serde_json::from_value::<Method>(json!(unknown)).expect_err(unknown).to_string();
            assert!(error.contains(&format!("{unknown:?}")), "{error}");
            for method in Method::ALL {
                assert!(error.contains(method.as_str()), "{error}");
            }
        }
    }
}
