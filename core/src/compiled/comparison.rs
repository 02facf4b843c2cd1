//! What an attribute is compared with, ready for it.

use std::{cmp::Ordering, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use regex::RegexSet;
use serde_json::Value;

use super::{patterns::Patterns, values::ValueSet};
use crate::{
    condition::{AttributeCondition, Operator},
    operand::{
        letters::LowerCase,
        network::{parse_address, parse_network},
        number::Number,
        time::{self, Time},
        version::Version,
    },
};

/// A comparison of one value. A value of another type does not match; that is never an error.
#[derive(Clone, Debug)]
pub(super) enum Comparison {
    /// Whatever is there.
    Exists,
    /// Nothing: what it compares with is not what its operator takes, which is refused when proposed.
    Never,
    OneOf(ValueSet),
    Text {
        part: Part,
        values: Box<[Box<str>]>,
        ignore_case: bool,
        /// Bytes of the longest one. As small as it may be, for there are very many of these.
        longest: u32,
    },
    Pattern(Arc<RegexSet>),
    Number(Bound<Number>),
    Time(Bound<Time>),
    Version(Bound<Box<Version<Box<str>>>>),
    VersionOneOf(Box<[Version<Box<str>>]>),
    Network(Box<[IpNet]>),
}

/// Which part of a text is compared.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Start,
    End,
    Any,
}

/// Where the values that match lie: on one side of a limit. Of several limits only the one that is the easiest to meet
/// counts, for one match is enough.
#[derive(Clone, Debug)]
pub(super) struct Bound<T> {
    limit: T,
    /// Whether they lie below it.
    is_upper: bool,
    /// Whether the limit itself is one of them.
    includes: bool,
}

impl<T> Bound<T> {
    fn new(
        values: impl Iterator<Item = T>,
        compare: impl Fn(&T, &T) -> Ordering,
        is_upper: bool,
        includes: bool,
    ) -> Option<Self> {
        let limit = if is_upper { values.max_by(compare) } else { values.min_by(compare) };
        Some(Self { limit: limit?, is_upper, includes })
    }

    /// Whether something that compares so with the limit matches.
    #[inline]
    fn holds(&self, ordering: Ordering) -> bool {
        match ordering {
            Ordering::Equal => self.includes,
            Ordering::Less => self.is_upper,
            Ordering::Greater => !self.is_upper,
        }
    }
}

impl Comparison {
    pub fn new(condition: &AttributeCondition, patterns: &mut Patterns) -> Self {
        let AttributeCondition { attribute: _, op, values, ignore_case } = condition;
        let texts = || values.iter().filter_map(Value::as_str);
        let text = |part| {
            let values: Box<[Box<str>]> = match ignore_case {
                true => texts().map(|text| LowerCase::of(text).as_str().into()).collect(),
                false => texts().map(Box::from).collect(),
            };
            let longest = values.iter().map(|value| value.len()).max().unwrap_or_default();
            let longest = u32::try_from(longest).unwrap_or(u32::MAX);
            Self::Text { part, values, ignore_case: *ignore_case, longest }
        };
        let number = |is_upper, includes| {
            Bound::new(values.iter().filter_map(Number::of), Number::cmp, is_upper, includes)
                .map(Self::Number)
        };
        let time = |is_upper| {
            Bound::new(texts().filter_map(time::parse), Time::cmp, is_upper, false).map(Self::Time)
        };
        let version = |is_upper, includes| {
            let versions = texts().filter_map(Version::parse).map(|version| Box::new(version.to_owned()));
            Bound::new(versions, |one, other| one.compare(other), is_upper, includes).map(Self::Version)
        };
        let comparison = match op {
            Operator::Exists => Some(Self::Exists),
            Operator::In | Operator::Eq => Some(Self::OneOf(ValueSet::new(values, *ignore_case))),
            Operator::StartsWith => Some(text(Part::Start)),
            Operator::EndsWith => Some(text(Part::End)),
            Operator::Contains => Some(text(Part::Any)),
            Operator::Matches => patterns.compiled(condition).map(Self::Pattern),
            Operator::Lt => number(true, false),
            Operator::Lte => number(true, true),
            Operator::Gt => number(false, false),
            Operator::Gte => number(false, true),
            Operator::Before => time(true),
            Operator::After => time(false),
            Operator::SemverEq => {
                let versions = texts().filter_map(Version::parse);
                Some(Self::VersionOneOf(versions.map(Version::to_owned).collect()))
            }
            Operator::SemverLt => version(true, false),
            Operator::SemverLte => version(true, true),
            Operator::SemverGt => version(false, false),
            Operator::SemverGte => version(false, true),
            Operator::Cidr => Some(Self::Network(texts().filter_map(parse_network).collect())),
        };
        comparison.unwrap_or(Self::Never)
    }

    /// Whether an attribute matches; an array does when any of its elements does.
    #[inline]
    pub fn matches(&self, attribute: &Value) -> bool {
        match (self, attribute) {
            (Self::Exists, _) => true,
            (_, Value::Array(elements)) => elements.iter().any(|element| self.matches_one(element)),
            _ => self.matches_one(attribute),
        }
    }

    #[inline]
    fn matches_one(&self, value: &Value) -> bool {
        match self {
            Self::Exists => true,
            Self::Never => false,
            Self::OneOf(values) => values.contains(value),
            Self::Text { part, values, ignore_case, longest } => value.as_str().is_some_and(|text| {
                if *ignore_case {
                    part.is_any_of(LowerCase::of(part.seen_of(text, *longest)).as_str(), values)
                } else {
                    part.is_any_of(text, values)
                }
            }),
            Self::Pattern(patterns) => value.as_str().is_some_and(|text| patterns.is_match(text)),
            Self::Number(bound) => {
                Number::of(value).is_some_and(|number| bound.holds(number.cmp(&bound.limit)))
            }
            Self::Time(bound) => {
                let time = value.as_str().and_then(time::parse);
                time.is_some_and(|time| bound.holds(time.cmp(&bound.limit)))
            }
            Self::Version(bound) => {
                let version = value.as_str().and_then(Version::parse);
                version.is_some_and(|version| bound.holds(version.compare(&bound.limit)))
            }
            Self::VersionOneOf(versions) => value
                .as_str()
                .and_then(Version::parse)
                .is_some_and(|version| versions.iter().any(|known| version.compare(known).is_eq())),
            Self::Network(networks) => {
                let address: Option<IpAddr> = value.as_str().and_then(parse_address);
                address.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
            }
        }
    }
}

impl Part {
    /// As much of a text as values of so many bytes in lower case can be found in: of a long one its first or last letters,
    /// as many as there are bytes, for each has at least one in lower case.
    #[inline]
    fn seen_of(self, text: &str, bytes: u32) -> &str {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if text.len() <= bytes {
            return text;
        }
        let mut letters = text.char_indices();
        let seen = match self {
            Self::Start => letters.nth(bytes).and_then(|(end, _)| text.get(..end)),
            Self::End => match bytes.checked_sub(1) {
                Some(place) => letters.nth_back(place).and_then(|(start, _)| text.get(start..)),
                None => Some(""),
            },
            Self::Any => None,
        };
        seen.unwrap_or(text)
    }

    fn is_any_of(self, text: &str, values: &[Box<str>]) -> bool {
        let mut values = values.iter();
        match self {
            Self::Start => values.any(|value| text.starts_with(&**value)),
            Self::End => values.any(|value| text.ends_with(&**value)),
            Self::Any => values.any(|value| text.contains(&**value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Letters that have more or fewer bytes in lower case, and some that have as many.
    proptest! {
        #[test]
        fn without_case_a_part_is_found_as_in_the_whole(
            text in "[aAbKÅẞȺİ𐐀]{0,12}", values in prop::collection::vec("[aAbKÅẞȺİ𐐀]{0,3}", 1..3),
        ) {
            let lower = |text: &str| LowerCase::of(text).as_str().to_owned();
            let values: Vec<Box<str>> = values.iter().map(|value| lower(value).into()).collect();
            let longest = values.iter().map(|value| value.len()).max().unwrap_or_default();
            let longest = u32::try_from(longest).expect("short");
            for part in [Part::Start, Part::End, Part::Any] {
                let found = part.is_any_of(&lower(part.seen_of(&text, longest)), &values);
                prop_assert_eq!(found, part.is_any_of(&lower(&text), &values), "{:?}", part);
            }
        }
    }
}
