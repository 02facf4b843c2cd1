//! Retention of the audit log: for how long records of each kind are kept, which stretches of the log are held whatever
//! their age, and where the changes begin that can still be made anew.
//!
//! Retention takes the bytes and the salt of a record and leaves its leaf hash, so that every proof stays good. Which records go is
//! said by their sequences, in an entry of the log: every member removes the same ones, whatever its clock says.

mod edge;

use serde::{Deserialize, Serialize};

pub(crate) use self::edge::check_part;
pub use self::edge::{Edge, EdgeCatalog};
use crate::{
    invalid::Invalid,
    key::HoldId,
    limits::{AUDIT_REMOVED_MAX, REASON_BYTES_MAX, RETENTION_DAYS_MAX},
    record::RecordKind,
};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// How many days records of each kind are kept. `None`: for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepDays {
    /// Changes, those that changed nothing among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<u32>,
    /// Changes that the state or a policy refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<u32>,
    /// What a token did not grant, and counts of requests without a good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<u32>,
    /// Counts of reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<u32>,
    /// Counts of evaluations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluations: Option<u32>,
    /// Changes of the cluster itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<u32>,
}

impl KeepDays {
    /// How long records of a kind are kept, in days; `None`: for ever.
    pub fn of(&self, kind: RecordKind) -> Option<u32> {
        match kind {
            RecordKind::Change => self.change,
            RecordKind::Rejected => self.rejected,
            RecordKind::Denied => self.denied,
            RecordKind::Access => self.access,
            RecordKind::Evaluations => self.evaluations,
            RecordKind::System => self.system,
        }
    }

    /// The rules, by kind.
    pub fn rules(&self) -> impl Iterator<Item = (RecordKind, u32)> + '_ {
        RecordKind::ALL.into_iter().filter_map(|kind| Some((kind, self.of(kind)?)))
    }

    /// The fewest days that any kind is kept; `None` where all are kept for ever.
    pub fn shortest(&self) -> Option<u32> {
        self.rules().map(|(_, days)| days).min()
    }

    /// Checks what needs no state.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        match self.rules().find(|(_, days)| *days == 0 || *days > RETENTION_DAYS_MAX) {
            Some((kind, days)) => Err(Invalid::here(format!(
                "records are kept for 1 to {RETENTION_DAYS_MAX} days, not {days}; leave the kind out to keep them for ever"
            ))
            .under(kind.name())),
            None => Ok(()),
        }
    }
}

/// The time before which records are older than this many days: the beginning of a day in UTC, so that no record goes
/// before as many whole days have passed. In milliseconds since 1970 UTC.
pub fn cutoff_ms(now_ms: i64, days: u32) -> i64 {
    now_ms.saturating_sub(now_ms.rem_euclid(DAY_MS)).saturating_sub(i64::from(days).saturating_mul(DAY_MS))
}

/// The rule of the cluster, as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// For how long records are kept.
    pub keep_days: KeepDays,
    /// The revision that changed it last; 0: it was never changed.
    pub revision: u64,
}

/// Records from `from` on and before `to`, by their sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceRange {
    /// The first.
    pub from: u64,
    /// The one after the last.
    pub to: u64,
}

impl SequenceRange {
    /// One record.
    pub(crate) fn one(sequence: u64) -> Self {
        Self { from: sequence, to: sequence.saturating_add(1) }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// A legal hold: nothing in this stretch of the log is removed, of whatever kind and age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldSpec {
    /// Its id.
    pub id: HoldId,
    /// What it is for.
    pub reason: String,
    /// The sequence of the first record that is held.
    pub from: u64,
    /// The sequence after the last one. `None`: all that comes is held too.
    #[serde(default)]
    pub to: Option<u64>,
}

impl HoldSpec {
    /// The stretch that it is of. Without an end it reaches as far as a log can.
    pub fn stretch(&self) -> SequenceRange {
        SequenceRange { from: self.from, to: self.to.unwrap_or(u64::MAX) }
    }

    /// Checks what needs no state.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.reason.trim().is_empty() || self.reason.len() > REASON_BYTES_MAX {
            return Err(Invalid::new(
                "/reason",
                format!(
                    "say in 1 to {REASON_BYTES_MAX} bytes what the hold is for; whoever lifts it has to know"
                ),
            ));
        }
        if self.to.is_some_and(|to| to <= self.from) {
            return Err(Invalid::new(
                "/to",
                "a hold is of at least one record, and `to` is the sequence after its last one; leave it out to hold all \
                 that comes",
            ));
        }
        Ok(())
    }
}

/// A hold as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// As it was asked for.
    pub spec: HoldSpec,
    /// The revision that changed it last.
    pub revision: u64,
    /// When it was put first, in milliseconds since 1970 UTC.
    pub created_at_ms: i64,
}

/// Checks which records a removal names: in order, apart from each other, and as many as it says.
///
/// # Errors
/// [`Invalid`] with the path to the first fault, relative to the operation.
pub(crate) fn check_removal(ranges: &[SequenceRange], records: u64) -> Result<(), Invalid> {
    if ranges.is_empty() {
        return Err(Invalid::new("/ranges", "a removal names at least one record"));
    }
    let mut end = None;
    for (index, range) in ranges.iter().enumerate() {
        let fault = if range.from >= range.to {
            "a range has at least one record: `to` is the sequence after its last one"
        } else if end.is_some_and(|end| range.from <= end) {
            "ranges stand in order and apart from each other; join those that touch"
        } else {
            end = Some(range.to);
            continue;
        };
        return Err(Invalid::here(fault).under(index).under("ranges"));
    }
    let named = ranges.iter().map(SequenceRange::count).fold(0, u64::saturating_add);
    if named > AUDIT_REMOVED_MAX {
        return Err(Invalid::new(
            "/ranges",
            format!("at most {AUDIT_REMOVED_MAX} records are removed by one change, not {named}; split it"),
        ));
    }
    if named != records {
        return Err(Invalid::new("/records", format!("the ranges name {named} records, not {records}")));
    }
    Ok(())
}

/// These stretches in order, those that overlap or touch made one.
pub fn joined(stretches: impl IntoIterator<Item = SequenceRange>) -> Vec<SequenceRange> {
    let mut stretches: Vec<SequenceRange> = stretches.into_iter().collect();
    stretches.sort_unstable();
    let mut joined: Vec<SequenceRange> = Vec::new();
    for stretch in stretches {
        match joined.last_mut() {
            Some(last) if stretch.from <= last.to => last.to = last.to.max(stretch.to),
            _ => joined.push(stretch),
        }
    }
    joined
}

/// The stretches of the log of which nothing is removed, joined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeldStretches(Vec<SequenceRange>);

impl HeldStretches {
    /// Of these stretches, in any order.
    pub fn of(stretches: impl IntoIterator<Item = SequenceRange>) -> Self {
        Self(joined(stretches))
    }

    /// Whether any record of the range is held.
    pub fn overlap(&self, range: &SequenceRange) -> bool {
        let first = self.0.partition_point(|held| held.to <= range.from);
        self.0.get(first).is_some_and(|held| held.from < range.to)
    }

    /// Whether the record is held.
    pub fn hold(&self, sequence: u64) -> bool {
        self.overlap(&SequenceRange::one(sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(from: u64, to: u64) -> SequenceRange {
        SequenceRange { from, to }
    }

    fn hold(id: &str, from: u64, to: Option<u64>) -> HoldSpec {
        HoldSpec { id: HoldId::new(id).expect("an id"), reason: "a case".to_owned(), from, to }
    }

    #[test]
    fn a_day_is_over_when_it_is_over() {
        let noon = 20_000 * DAY_MS + DAY_MS / 2;
        assert_eq!(cutoff_ms(noon, 1), 19_999 * DAY_MS);
        assert_eq!(cutoff_ms(20_000 * DAY_MS, 1), 19_999 * DAY_MS);
        assert_eq!(cutoff_ms(20_000 * DAY_MS - 1, 1), 19_998 * DAY_MS);
        assert_eq!(cutoff_ms(noon, 30), 19_970 * DAY_MS);
        assert_eq!(cutoff_ms(-1, 1), -2 * DAY_MS, "before 1970 too");
        assert!(cutoff_ms(i64::MIN, u32::MAX) <= cutoff_ms(0, u32::MAX));
    }

    #[test]
    fn the_shortest_rule_and_the_kind_of_each() {
        let keep = KeepDays { access: Some(30), denied: Some(90), ..KeepDays::default() };
        assert_eq!(keep.shortest(), Some(30));
        assert_eq!(keep.of(RecordKind::Denied), Some(90));
        assert_eq!(keep.of(RecordKind::Change), None);
        assert_eq!(KeepDays::default().shortest(), None);
        for days in [0, RETENTION_DAYS_MAX + 1] {
            let fault = KeepDays { evaluations: Some(days), ..keep }.validate().expect_err("out of range");
            assert_eq!(fault.path, "/evaluations");
        }
        KeepDays { system: Some(RETENTION_DAYS_MAX), rejected: Some(1), ..keep }
            .validate()
            .expect("in range");
    }

    #[test]
    fn a_removal_is_in_order_apart_and_counted() {
        check_removal(&[range(0, 1), range(2, 5)], 4).expect("in order");
        for (ranges, records, path) in [
            (vec![], 0, "/ranges"),
            (vec![range(3, 3)], 0, "/ranges/0"),
            (vec![range(4, 3)], 0, "/ranges/0"),
            (vec![range(0, 2), range(2, 3)], 3, "/ranges/1"),
            (vec![range(5, 6), range(0, 1)], 2, "/ranges/1"),
            (vec![range(0, 9), range(3, 4)], 10, "/ranges/1"),
            (vec![range(0, 2)], 3, "/records"),
            (vec![range(0, AUDIT_REMOVED_MAX + 1)], AUDIT_REMOVED_MAX + 1, "/ranges"),
            (vec![range(0, 1), range(2, u64::MAX)], u64::MAX - 1, "/ranges"),
        ] {
            assert_eq!(check_removal(&ranges, records).expect_err("wrong").path, path, "{ranges:?}");
        }
        check_removal(&[range(7, 7 + AUDIT_REMOVED_MAX)], AUDIT_REMOVED_MAX)
            .expect("as many as there may be");
    }

    #[test]
    fn what_is_held_is_told_as_by_looking_at_every_hold() {
        let cases: [Vec<HoldSpec>; 4] = [
            vec![],
            vec![hold("a", 3, Some(5)), hold("b", 5, Some(6)), hold("c", 9, Some(10))],
            vec![hold("a", 2, Some(12)), hold("b", 4, Some(6)), hold("c", 15, None)],
            vec![hold("a", 0, None)],
        ];
        for holds in cases {
            let held = HeldStretches::of(holds.iter().map(HoldSpec::stretch));
            let is_held =
                |at: u64| holds.iter().any(|hold| hold.from <= at && hold.to.is_none_or(|to| at < to));
            for from in 0..20 {
                assert_eq!(held.hold(from), is_held(from), "{from} of {holds:?}");
                for to in from + 1..20 {
                    let any = (from..to).any(is_held);
                    assert_eq!(held.overlap(&range(from, to)), any, "{from}..{to} of {holds:?}");
                }
            }
        }
    }
}
