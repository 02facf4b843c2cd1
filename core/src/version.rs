//! The cluster version: what every decision of `apply` and every rule of evaluation is a function of.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// A cluster version that this binary knows, from 1 to [`ClusterVersion::NEWEST`].
///
/// There is no value of a later one: an entry of the log that founds a cluster with it, or raises a cluster to it, does
/// not decode, so the node stops as it does for an operation that it does not know. What this binary knows decides
/// nothing else; whether an entry is accepted, and the words in which it is rejected, follow from the state and the entry.
///
/// Version 2 allows what makes the audit log prove itself: keys that sign, signed changes, and the records of accesses
/// and evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ClusterVersion(u32);

impl ClusterVersion {
    /// The newest version that this binary knows: what it founds a cluster with.
    pub const NEWEST: Self = Self(2);

    /// The version with this number, if this binary knows it.
    pub fn new(number: u32) -> Option<Self> {
        (1..=Self::NEWEST.0).contains(&number).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for ClusterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for ClusterVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        Self::new(number).ok_or_else(|| {
            D::Error::custom(format!(
                "this program knows the cluster versions 1 to {}, not {number}; run a newer one for that",
                Self::NEWEST
            ))
        })
    }
}
