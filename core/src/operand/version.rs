//! Versions in the order of Semantic Versioning 2.0.0 (<https://semver.org>, section 11).
//!
//! More is read than the standard has, for what apps report is often less than it asks for: a leading `v`, and a
//! missing minor or patch, which count as 0. Numbers have any length. Nothing is kept of the text that is read, so that
//! an attribute is compared without an allocation; a crate would keep it.

use std::cmp::Ordering;

/// A version; `T` is its text, borrowed from an attribute or kept of a condition. Equal is who has the same place in the
/// order: build metadata do not count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Version<T> {
    /// Major, minor, patch: digits without a leading zero.
    numbers: [T; 3],
    /// What follows the first `-`; empty for a release.
    pre_release: T,
}

impl<'t> Version<&'t str> {
    /// Reads a version; `None` for a text that is none.
    pub fn parse(text: &'t str) -> Option<Self> {
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let core_bytes = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (core, rest) = text.split_at_checked(core_bytes)?;
        let (major, core) = number(core)?;
        let (minor, core) = core.map_or(Some(("0", None)), number)?;
        let (patch, core) = core.map_or(Some(("0", None)), number)?;
        let version = Self { numbers: [major, minor, patch], pre_release: "" };
        match (core, rest) {
            (Some(_), _) => None,
            (None, "") => Some(version),
            (None, rest) => Some(Self { pre_release: pre_release(rest)?, ..version }),
        }
    }

    /// The same, kept.
    pub fn to_owned(self) -> Version<Box<str>> {
        Version { numbers: self.numbers.map(Box::from), pre_release: self.pre_release.into() }
    }
}

impl<T: AsRef<str>> Version<T> {
    /// Which of two comes first.
    pub fn compare<U: AsRef<str>>(&self, other: &Version<U>) -> Ordering {
        let numbers = self.numbers.iter().zip(&other.numbers);
        numbers
            .map(|(one, other)| compare_numeric(one.as_ref(), other.as_ref()))
            .find(|ordering| ordering.is_ne())
            .unwrap_or_else(|| compare_pre_releases(self.pre_release.as_ref(), other.pre_release.as_ref()))
    }
}

/// The number that a text of digits and dots begins with, and what follows its dot.
fn number(text: &str) -> Option<(&str, Option<&str>)> {
    let digits = text.bytes().take_while(|byte| *byte != b'.').count();
    let (number, rest) = text.split_at_checked(digits)?;
    let is_valid = !number.is_empty() && (number.len() == 1 || !number.starts_with('0'));
    is_valid.then_some((number, rest.get(1..)))
}

/// The pre-release in what follows the numbers: `-rc.1+build`.
fn pre_release(rest: &str) -> Option<&str> {
    let rest = match rest.split_once('+') {
        None => rest,
        Some((rest, build)) => build.split('.').all(is_identifier).then_some(rest)?,
    };
    if rest.is_empty() {
        return Some("");
    }
    let pre_release = rest.strip_prefix('-')?;
    let is_valid = |identifier| is_identifier(identifier) && !has_leading_zero(identifier);
    pre_release.split('.').all(is_valid).then_some(pre_release)
}

fn is_numeric(identifier: &str) -> bool {
    identifier.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_identifier(identifier: &str) -> bool {
    !identifier.is_empty() && identifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn has_leading_zero(identifier: &str) -> bool {
    identifier.len() > 1 && identifier.starts_with('0') && is_numeric(identifier)
}

/// Digits without leading zeros: the longer text is the greater number.
fn compare_numeric(one: &str, other: &str) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// A release comes after all of its pre-releases.
fn compare_pre_releases(one: &str, other: &str) -> Ordering {
    match (one.is_empty(), other.is_empty()) {
        (false, false) => one.split('.').map(Identifier::of).cmp(other.split('.').map(Identifier::of)),
        (one_is_release, other_is_release) => one_is_release.cmp(&other_is_release),
    }
}

/// One part of a pre-release.
#[derive(PartialEq, Eq)]
struct Identifier<'t> {
    text: &'t str,
    is_numeric: bool,
}

impl<'t> Identifier<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, is_numeric: is_numeric(text) }
    }
}

impl Ord for Identifier<'_> {
    /// Numbers by their worth and before words; words by their ASCII.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_numeric, other.is_numeric) {
            (true, true) => compare_numeric(self.text, other.text),
            (false, false) => self.text.cmp(other.text),
            (one_is_numeric, _) => {
                if one_is_numeric {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }
}

impl PartialOrd for Identifier<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Version<&str> {
        Version::parse(text).unwrap_or_else(|| panic!("a version: {text}"))
    }

    #[test]
    fn the_order_of_the_standard() {
        // Section 11's own example, and what lies around it.
        let ascending = [
            "0.0.0-0",
            "0.0.1",
            "0.9.10",
            "0.10.0",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0-rc.1.0",
            "1.0.0",
            "1.0.1-x",
            "1.0.1",
            "2.0.0",
            "2.1.0",
            "2.1.1",
            "99999999999999999999.0.0",
            "100000000000000000000.0.0",
        ];
        for (at, one) in ascending.iter().enumerate() {
            for (place, other) in ascending.iter().enumerate() {
                assert_eq!(parsed(one).compare(&parsed(other)), at.cmp(&place), "{one} {other}");
            }
        }
    }

    #[test]
    fn what_counts_as_the_same() {
        for (one, other) in [
            ("2", "2.0.0"),
            ("v2.1", "2.1.0"),
            ("V2.1.0", "2.1.0"),
            ("1.0.0+a", "1.0.0+b.7"),
            ("1-rc.1", "1.0.0-rc.1"),
            ("1.2.3-a-b+00.-", "1.2.3-a-b"),
        ] {
            assert_eq!(parsed(one).compare(&parsed(other).to_owned()), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn what_is_no_version() {
        for text in [
            "",
            "v",
            "vv1",
            "1.",
            ".1",
            "1..2",
            "1.2.3.4",
            "01",
            "1.02",
            "1.2.3-",
            "1.2.3-01",
            "1.2.3-a..b",
            "1.2.3+",
            "1.2.3+a..b",
            "1.2.3+a+b",
            "1.2.3-é",
            " 1",
            "1 ",
            "-1",
            "1.x",
            "1.2.*",
            "１.0.0",
            "1.2.3-a_b",
            "latest",
        ] {
            assert!(Version::parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_orders_as_the_crate_does(one in version(), other in version()) {
            let theirs = |text: &str| semver::Version::parse(text).expect("strict");
            prop_assert_eq!(
                parsed(&one).compare(&parsed(&other)),
                theirs(&one).cmp_precedence(&theirs(&other))
            );
        }

        #[test]
        fn reading_is_total(text in "[v0-9a.+-]{0,12}|.*") {
            // What the crate takes for a version is one here too.
            if semver::Version::parse(&text).is_ok() {
                prop_assert!(Version::parse(&text).is_some());
            }
            _ = Version::parse(&text);
        }
    }

    fn version() -> impl Strategy<Value = String> {
        "(0|[1-3]|10)\\.(0|[1-3]|10)\\.(0|[1-3])(-(0|1|10|a|b|a1|-)(\\.(0|1|10|a|b|-))?)?(\\+[ab0]{1,2})?"
    }
}
