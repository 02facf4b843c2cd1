//! Semantic versions, with what is commonly left out of them.

use std::cmp::Ordering;

/// A version: three numbers and the identifiers of a pre-release. Numbers stay text, for they may have any length.
pub(super) struct Version {
    numbers: Vec<String>,
    pre_release: Vec<String>,
}

/// Reads `2.1.0-beta.1+build`, `v2`, `2.1-beta`; `None` if it is none.
pub(super) fn read(text: &str) -> Option<Version> {
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (text, build) = match text.split_once('+') {
        Some((text, build)) => (text, Some(build)),
        None => (text, None),
    };
    let (core, pre_release) = match text.split_once('-') {
        Some((core, pre_release)) => (core, Some(pre_release)),
        None => (text, None),
    };
    let mut numbers = Vec::new();
    for number in core.split('.') {
        if !is_number(number) || begins_with_a_useless_zero(number) {
            return None;
        }
        numbers.push(number.to_owned());
    }
    if numbers.len() > 3 {
        return None;
    }
    while numbers.len() < 3 {
        numbers.push("0".to_owned());
    }
    let pre_release = match pre_release {
        Some(pre_release) => identifiers(pre_release)?,
        None => Vec::new(),
    };
    if pre_release.iter().any(|identifier| is_number(identifier) && begins_with_a_useless_zero(identifier)) {
        return None;
    }
    if let Some(build) = build {
        identifiers(build)?;
    }
    Some(Version { numbers, pre_release })
}

/// By the precedence of Semantic Versioning 2.0.0, section 11. Build metadata don't count.
pub(super) fn compare(one: &Version, other: &Version) -> Ordering {
    for (one, other) in one.numbers.iter().zip(&other.numbers) {
        if one != other {
            return compare_numbers(one, other);
        }
    }
    match (one.pre_release.is_empty(), other.pre_release.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    for (one, other) in one.pre_release.iter().zip(&other.pre_release) {
        let ordering = match (is_number(one), is_number(other)) {
            (true, true) => compare_numbers(one, other),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => one.cmp(other),
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    one.pre_release.len().cmp(&other.pre_release.len())
}

fn identifiers(text: &str) -> Option<Vec<String>> {
    let identifiers: Vec<String> = text.split('.').map(str::to_owned).collect();
    let all_well_formed = identifiers.iter().all(|identifier| {
        !identifier.is_empty() && identifier.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    });
    if all_well_formed { Some(identifiers) } else { None }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

fn begins_with_a_useless_zero(number: &str) -> bool {
    number.len() > 1 && number.starts_with('0')
}

/// Without leading zeros the longer one is the greater one.
fn compare_numbers(one: &str, other: &str) -> Ordering {
    if one.len() == other.len() { one.cmp(other) } else { one.len().cmp(&other.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_specification() {
        // The example of section 11, and what is beyond it.
        let ascending = [
            "1.0.0-1",
            "1.0.0-10",
            "1.0.0-99999999999999999999999",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.1",
            "2",
            "10",
            "18446744073709551616",
        ];
        let version = |text: &str| read(text).unwrap_or_else(|| panic!("{text} is a version"));
        for (at, one) in ascending.iter().enumerate() {
            for (beside, other) in ascending.iter().enumerate() {
                assert_eq!(compare(&version(one), &version(other)), at.cmp(&beside), "{one} {other}");
            }
        }
        for alike in ["v2", "V2.0", "2.0.0+build.01", "2+b"] {
            assert_eq!(compare(&version(alike), &version("2")), Ordering::Equal, "{alike}");
        }
        for bad in
            ["", "v", "1.", "1.2.3.4", "01", "1.02", "1-", "1-01", "1-a..b", "1+", "vv1", " 1", "1-ä", "٣"]
        {
            assert!(read(bad).is_none(), "{bad}");
        }
    }
}
