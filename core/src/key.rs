//! The names of things. A value of one of these types is valid: its constructor is the only way to get one.

use crate::invalid::Invalid;
use crate::limits::{FLAG_KEY_BYTES_MAX, NAME_KEY_BYTES_MAX, SLUG_BYTES_MAX};
use crate::text::{check_key, check_path_safe};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

macro_rules! key {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps `text`.
            ///
            /// # Errors
            /// [`Invalid`], with an empty path, when `text` breaks the rules of this type.
            pub fn new(text: &str) -> Result<Self, Invalid> {
                let check: fn(&str) -> Result<(), Invalid> = $check;
                check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The key as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Invalid;
            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    };
}

key!(
    /// A flag's key: 1-256 bytes in NFC without white space, control, format or bidi characters (emoji joiners
    /// excepted), none of `/ \ ? # %`, not `.` or `..`.
    FlagKey,
    |text| {
        check_key("the flag key", text, FLAG_KEY_BYTES_MAX, false)?;
        check_path_safe("the flag key", text)
    }
);

key!(
    /// A variant's key: 1-128 printable bytes; a space may stand inside.
    VariantKey,
    |text| check_key("the variant key", text, NAME_KEY_BYTES_MAX, true)
);

key!(
    /// A rule's id, unique within one flag and environment: 1-128 printable bytes.
    RuleId,
    |text| check_key("the rule id", text, NAME_KEY_BYTES_MAX, true)
);

key!(
    /// A segment's key: 1-128 printable bytes. It stands in URLs, so it follows a flag key in what they rewrite.
    SegmentKey,
    |text| {
        check_key("the segment key", text, NAME_KEY_BYTES_MAX, true)?;
        check_path_safe("the segment key", text)
    }
);

key!(
    /// A project's key: `[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?`.
    ProjectKey,
    |text| check_slug("the project key", text)
);

key!(
    /// An environment's key: `[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?`.
    EnvironmentKey,
    |text| check_slug("the environment key", text)
);

key!(
    /// The id of a legal hold: `[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?`.
    HoldId,
    |text| check_slug("the id of a hold", text)
);

fn check_slug(what: &str, text: &str) -> Result<(), Invalid> {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_well =
        bytes.first().is_some_and(|&b| alphanumeric(b)) && bytes.last().is_some_and(|&b| alphanumeric(b));
    let holds_only = bytes.iter().all(|&b| alphanumeric(b) || b == b'_' || b == b'-');
    if ends_well && holds_only && bytes.len() <= SLUG_BYTES_MAX {
        return Ok(());
    }
    Err(Invalid::here(format!(
        "{what} must have 1 to {SLUG_BYTES_MAX} of a-z, 0-9, - and _, and begin and end with a letter or digit"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flag_keys() {
        let longest = "k".repeat(256);
        for good in ["a", "checkout-v2", "Größe", "a.b", "...", "👩‍💻", "❤\u{FE0F}", "a:b;c", "日本", &longest]
        {
            assert!(FlagKey::new(good).is_ok(), "{good:?}");
        }
        let too_long = "k".repeat(257);
        for bad in [
            "",
            ".",
            "..",
            "a b",
            "a\tb",
            "a\u{a0}b",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a%b",
            "a\nb",
            "a\u{7f}",
            "a\u{200b}b",
            "a\u{202e}b",
            "a\u{feff}",
            "e\u{301}",
            "a\u{2066}b",
            "a\u{ad}b",
            "a\u{e0041}",
            &too_long,
        ] {
            assert!(FlagKey::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn variant_and_segment_keys() {
        for good in ["on", "100%", "a/b", "beta testers", "."] {
            assert!(VariantKey::new(good).is_ok(), "{good:?}");
            assert!(RuleId::new(good).is_ok(), "{good:?}");
        }
        let too_long = "k".repeat(129);
        for bad in ["", " a", "a ", "a\tb", "a\u{3000}b", "e\u{301}", "\u{200f}", &too_long] {
            assert!(VariantKey::new(bad).is_err(), "{bad:?}");
            assert!(RuleId::new(bad).is_err(), "{bad:?}");
            assert!(SegmentKey::new(bad).is_err(), "{bad:?}");
        }
        assert!(SegmentKey::new("beta testers").is_ok());
        for bad in ["..", "a/b", "a%"] {
            assert!(SegmentKey::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn slugs() {
        let longest = "k".repeat(64);
        for good in ["a", "0", "dev", "eu-west_1", &longest] {
            assert!(ProjectKey::new(good).is_ok() && EnvironmentKey::new(good).is_ok(), "{good:?}");
            assert!(HoldId::new(good).is_ok(), "{good:?}");
        }
        let too_long = "k".repeat(65);
        for bad in ["", "-", "a-", "_a", "A", "a.b", "a b", "é", &too_long] {
            assert!(ProjectKey::new(bad).is_err() && EnvironmentKey::new(bad).is_err(), "{bad:?}");
            assert!(HoldId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_key_is_checked_when_it_is_read() {
        assert_eq!(serde_json::from_str::<FlagKey>("\"a\"").unwrap(), "a");
        let fault = serde_json::from_str::<FlagKey>("\"a b\"").unwrap_err().to_string();
        assert!(fault.contains("white space"), "{fault}");
    }
}
