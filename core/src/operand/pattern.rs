//! Regular expressions: linear in the length of what they are matched against, whatever they say.

use regex::{RegexSet, RegexSetBuilder};

use crate::limits::{REGEX_BYTES_MAX, REGEX_COMPILED_BYTES_MAX, REGEX_SCRATCH_BYTES_MAX};

/// Why patterns are refused. In words of ours: a library's may change, and a rejection is part of the replicated state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatternFault {
    /// The pattern at this place is too long.
    TooLong(usize),
    /// The pattern at this place is no regular expression, or too large a one.
    Malformed(usize),
    /// All together are too large.
    TooLarge,
}

/// Compiles the patterns of one condition.
pub(crate) fn compile(patterns: &[&str], ignore_case: bool) -> Result<RegexSet, PatternFault> {
    if let Some(place) = patterns.iter().position(|pattern| pattern.len() > REGEX_BYTES_MAX) {
        return Err(PatternFault::TooLong(place));
    }
    let build = |patterns: &[&str]| {
        RegexSetBuilder::new(patterns)
            .case_insensitive(ignore_case)
            .size_limit(REGEX_COMPILED_BYTES_MAX)
            .dfa_size_limit(REGEX_SCRATCH_BYTES_MAX)
            .build()
    };
    build(patterns).map_err(|_| {
        let fault = patterns.iter().position(|pattern| build(&[pattern]).is_err());
        fault.map_or(PatternFault::TooLarge, PatternFault::Malformed)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_searched_for_and_any_will_do() {
        let set = compile(&["^a+$", "x[0-9]"], false).expect("valid");
        assert!(
            set.is_match("aaa") && set.is_match("...x7...") && !set.is_match("aab") && !set.is_match("X7")
        );
        assert!(compile(&["x[0-9]"], true).expect("valid").is_match("X7"));
    }

    #[test]
    fn faults_name_their_pattern() {
        let long = "a".repeat(REGEX_BYTES_MAX + 1);
        for (patterns, fault) in [
            (vec!["a", "("], PatternFault::Malformed(1)),
            (vec!["(?=a)"], PatternFault::Malformed(0)),
            (vec![r"(a)\1"], PatternFault::Malformed(0)),
            (vec!["a", "b", r"\p{L}{1000}"], PatternFault::Malformed(2)),
            (vec!["a", &long], PatternFault::TooLong(1)),
            (vec![r"\w{5}"; 50], PatternFault::TooLarge),
        ] {
            assert_eq!(compile(&patterns, false).expect_err("refused"), fault, "{patterns:?}");
        }
    }

    #[test]
    fn what_people_write_has_room() {
        for pattern in [
            r"^[\w.+-]+@[\w-]+\.[\w.-]+$",
            r"(?i)^(https?://)?([\w-]+\.)*example\.(com|org|net)(/.*)?$",
            r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
            r"^\d{3}-\d{3}-\d{4}$",
            r"^\p{L}+$",
        ] {
            assert!(compile(&[pattern], false).is_ok(), "{pattern}");
        }
    }
}
