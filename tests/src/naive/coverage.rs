//! What a run of evaluations came across.

use std::{collections::BTreeMap, fmt};

/// The cells of a row that counts how an operator came out.
const OPERATOR: &[&str] =
    &["matches", "does not", "of another type", "missing", "an element does", "no element does"];
const HOLDS: &[&str] = &["holds", "does not"];
const METHOD: &[&str] = &["a variant", "no value"];
/// For a method whose arithmetic can come out beyond the last variant.
const METHOD_BEYOND: &[&str] = &["a variant", "no value", "beyond the last"];
const DEPTH: &[&str] = &["one", "two", "three"];

/// Every row there is, with its cells.
const ROWS: &[(&str, &[&str])] = &[
    ("STATIC", &["a variant", "the code default"]),
    (
        "DEFAULT",
        &[
            "a variant",
            "the code default",
            "a variant, for a prerequisite",
            "the code default, for a prerequisite",
        ],
    ),
    ("DISABLED", &["a variant", "the code default"]),
    ("TARGETING_MATCH", &["a variant"]),
    ("SPLIT", &["a variant"]),
    ("flag", &["never configured", "disabled", "held", "the environment's off variant"]),
    ("prerequisite", &["met", "another variant", "disabled", "the code default"]),
    ("depth of prerequisites", DEPTH),
    ("prerequisites of one flag", &["up to sixteen", "more"]),
    ("target", &["lists it", "does not", "no value"]),
    ("rule", &["applies", "does not", "gives a variant", "rolls out", "says nothing"]),
    ("default", &["gives a variant", "the code default", "rolls out", "says nothing"]),
    ("all", HOLDS),
    ("all of nothing", &["holds"]),
    ("any", HOLDS),
    ("any of nothing", &["does not"]),
    ("not", HOLDS),
    ("segment", HOLDS),
    ("member", &["included", "excluded", "by its condition", "not by its condition", "no condition"]),
    ("segment's field", &["its own", "the environment's"]),
    ("depth of segments", DEPTH),
    ("bucket", &["holds", "does not", "no value"]),
    ("in", OPERATOR),
    ("in, ignoring case", OPERATOR),
    ("eq", OPERATOR),
    ("eq, ignoring case", OPERATOR),
    ("starts_with", OPERATOR),
    ("starts_with, ignoring case", OPERATOR),
    ("ends_with", OPERATOR),
    ("ends_with, ignoring case", OPERATOR),
    ("contains", OPERATOR),
    ("contains, ignoring case", OPERATOR),
    ("matches", OPERATOR),
    ("matches, ignoring case", OPERATOR),
    ("lt", OPERATOR),
    ("lte", OPERATOR),
    ("gt", OPERATOR),
    ("gte", OPERATOR),
    ("before", OPERATOR),
    ("after", OPERATOR),
    ("semver_eq", OPERATOR),
    ("semver_lt", OPERATOR),
    ("semver_lte", OPERATOR),
    ("semver_gt", OPERATOR),
    ("semver_gte", OPERATOR),
    ("cidr", OPERATOR),
    ("exists", &["matches", "missing"]),
    ("by murmur3", METHOD),
    ("by unleash", METHOD),
    ("by unleash_variant", METHOD),
    ("by launchdarkly", METHOD_BEYOND),
    ("by flagd", METHOD),
    ("by flagd_percent", METHOD_BEYOND),
    ("by flipt", METHOD),
    ("by flipt_threshold", METHOD),
    ("by go_feature_flag", METHOD),
    ("by growthbook_v1", METHOD),
    ("by growthbook_v2", METHOD),
    (
        "hashed",
        &[
            "text",
            "empty text",
            "integer",
            "whole double",
            "boolean",
            "fraction",
            "array",
            "object",
            "missing",
        ],
    ),
];

/// How often each outcome of each construct was come across.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<(&'static str, &'static str), u64>,
}

impl Coverage {
    pub(super) fn mark(&mut self, row: &'static str, cell: &'static str) {
        *self.counts.entry((row, cell)).or_default() += 1;
    }

    /// Adds what another run came across.
    pub fn add(&mut self, other: &Self) {
        for (mark, count) in &other.counts {
            *self.counts.entry(*mark).or_default() += count;
        }
    }

    /// How many outcomes there are to come across.
    pub fn cells() -> usize {
        ROWS.iter().map(|(_, cells)| cells.len()).sum()
    }

    /// What was never come across, as `row: cell`.
    pub fn missed(&self) -> Vec<String> {
        let cells = ROWS.iter().flat_map(|(row, cells)| cells.iter().map(move |cell| (*row, *cell)));
        cells
            .filter(|mark| !self.counts.contains_key(mark))
            .map(|(row, cell)| format!("{row}: {cell}"))
            .collect()
    }

    /// What was come across but stands in no row: the table above is incomplete.
    pub fn unlisted(&self) -> Vec<String> {
        let is_listed =
            |row: &str, cell: &str| ROWS.iter().any(|(name, cells)| *name == row && cells.contains(&cell));
        self.counts
            .keys()
            .filter(|(row, cell)| !is_listed(row, cell))
            .map(|(row, cell)| format!("{row}: {cell}"))
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, cells) in ROWS {
            write!(f, "{row:<28}")?;
            for cell in *cells {
                let count = self.counts.get(&(*row, *cell)).copied().unwrap_or_default();
                write!(f, "  {cell} {count}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
