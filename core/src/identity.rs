//! The identities that a cluster mints once: its own, and that of each life of its catalog.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{hexadecimal, invalid::Invalid};

/// One unbroken life of a catalog: 64 random bits, minted at bootstrap and at every restore or forced recovery.
///
/// Revisions of different histories are never compared. Text form: 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct History(pub u64);

/// A cluster's identity: 128 random bits, minted at bootstrap. Text form: 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// One life of a reporter, from its start to its end: 64 random bits, minted when it starts. Text form: 16 hexadecimal
/// digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub u64);

macro_rules! hexadecimal {
    ($name:ident, $integer:ty, $width:literal, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{:0", $width, "x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                hexadecimal::is_lower(text, $width)
                    .then(|| <$integer>::from_str_radix(text, 16).ok())
                    .flatten()
                    .map(Self)
                    .ok_or_else(|| {
                        Invalid::new(
                            "",
                            format!("{} is {} lower-case hexadecimal digits, not {text:?}", $what, $width),
                        )
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    };
}

hexadecimal!(History, u64, 16, "a history");
hexadecimal!(ClusterId, u128, 32, "a cluster id");
hexadecimal!(BootId, u64, 16, "a boot id");

/// Where an entry stands in the Raft log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPosition {
    /// The term of the leader that proposed the entry.
    pub term: u64,
    /// The entry's index.
    pub index: u64,
}

/// A revision together with the history it belongs to: what ETags, stream ids and read-your-writes tokens are.
/// Text form: `<history>.<revision>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RevisionToken {
    /// The history the revision counts in.
    pub history: History,
    /// The revision.
    pub revision: u64,
}

impl fmt::Display for RevisionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.history, self.revision)
    }
}

impl FromStr for RevisionToken {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || {
            Invalid::new(
                "",
                format!(
                    "a revision token is <history>.<revision>, as in the Flagraft-Revision and Flagraft-History headers, not {text:?}"
                ),
            )
        };
        let (history, revision) = text.split_once('.').ok_or_else(wrong)?;
        let digits = !revision.is_empty() && revision.bytes().all(|b| b.is_ascii_digit());
        Ok(Self {
            history: history.parse().map_err(|_| wrong())?,
            revision: digits.then(|| revision.parse().ok()).flatten().ok_or_else(wrong)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip_and_nothing_else_parses() {
        let token = RevisionToken { history: History(0xab), revision: 42 };
        assert_eq!(token.to_string(), "00000000000000ab.42");
        assert_eq!(token.to_string().parse(), Ok(token));
        for wrong in [
            "",
            "42",
            "ab.42",
            "00000000000000ab.",
            "00000000000000ab.-1",
            "00000000000000AB.1",
            "00000000000000ab.1.2",
        ] {
            assert!(wrong.parse::<RevisionToken>().is_err(), "{wrong}");
        }
    }
}
