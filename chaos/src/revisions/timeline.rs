//! The values of each flag, sorted by revision, and where among them a write belongs of which nobody knows.
//!
//! A value is written once, so a flag has it for one run of revisions and never again. The run of a write whose revision
//! is known begins there. That of another begins somewhere after the last revision at which an older value was seen, and
//! at the same revision for all flags that the write sets.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    operation::Outcome,
    verdict::{Rule, Verdict},
};

use super::{
    order::Order,
    text,
    writes::{Flag, Writes},
};

/// A flag had this value at this revision, as this operation saw or made it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub revision: u64,
    pub value: Option<u64>,
    pub op: u64,
}

#[derive(Debug)]
pub(super) struct Timelines<'a> {
    writes: &'a Writes,
    /// What is true of each flag, sorted.
    flags: HashMap<Flag, Vec<Point>>,
    /// The writes that were seen and whose revision is not known: of each flag in which they were, the last point before
    /// and the first with their value.
    unknown: BTreeMap<usize, Vec<(Flag, Point, Point)>>,
}

impl<'a> Timelines<'a> {
    /// Sorts what was seen into what was written, and tells what does not fit.
    pub fn of(writes: &'a Writes, seen: impl Iterator<Item = (Flag, Point)>, verdict: &mut Verdict) -> Self {
        let mut flags: HashMap<Flag, Vec<Point>> = HashMap::new();
        let beginning = writes.beginning();
        let base = beginning.revision.unwrap_or_default();
        for flag in writes.all_flags() {
            let value = beginning.set.iter().find(|(set, _)| *set == flag).map(|(_, value)| *value);
            flags.insert(flag, vec![Point { revision: base, value, op: 0 }]);
        }
        for write in writes.known() {
            for (flag, value) in &write.set {
                let revision = write.revision.unwrap_or_default();
                flags.entry(*flag).or_default().push(Point { revision, value: Some(*value), op: write.op });
            }
        }
        // Behind what was written there: sorting keeps that order.
        for (flag, point) in seen {
            flags.entry(flag).or_default().push(point);
        }
        let mut timelines = Self { writes, flags: HashMap::new(), unknown: BTreeMap::new() };
        let mut order: Vec<Flag> = flags.keys().copied().collect();
        order.sort_unstable();
        for flag in order {
            let mut points = flags.remove(&flag).unwrap_or_default();
            points.sort_by_key(|point| point.revision);
            let kept = timelines.walk(flag, points, verdict);
            timelines.flags.insert(flag, kept);
        }
        timelines
    }

    fn walk(&mut self, flag: Flag, points: Vec<Point>, verdict: &mut Verdict) -> Vec<Point> {
        let mut kept: Vec<Point> = Vec::with_capacity(points.len());
        // The unknown writes whose run has begun.
        let mut begun: HashSet<usize> = HashSet::new();
        for point in points {
            let Some(before) = kept.last().copied() else {
                kept.push(point);
                continue;
            };
            if before.value == point.value {
                if before.revision < point.revision {
                    kept.push(point);
                }
                continue;
            }
            let index = point.value.map_or(Some(0), |value| self.writes.index_of(flag, value));
            let Some((index, write)) = index.map(|index| (index, self.writes.get(index))) else { continue };
            if write.outcome == Outcome::Failed {
                // Said already.
                continue;
            }
            let begins_here = match write.revision {
                Some(revision) => revision == point.revision,
                None => before.revision < point.revision && !begun.contains(&index),
            };
            if begins_here {
                if write.revision.is_none() {
                    begun.insert(index);
                    self.unknown.entry(index).or_default().push((flag, before, point));
                }
                kept.push(point);
                continue;
            }
            let name = self.writes.name(flag);
            let what = || {
                let written =
                    write.revision.map_or_else(String::new, |at| format!(", which was written as {at}"));
                format!(
                    "at revision {}, {name} is seen as {}{written}, and was {} at {}",
                    point.revision,
                    text(point.value),
                    text(before.value),
                    before.revision
                )
            };
            // The write of the value is named too: that it was before the other is the point.
            verdict.accuse(Rule::Replay, [before.op, point.op, write.op], what);
        }
        kept
    }

    /// Finds a revision for each write of which nobody knows and that somebody saw.
    pub fn place_unknown(&self, order: &Order, verdict: &mut Verdict) {
        for (index, sights) in &self.unknown {
            let write = self.writes.get(*index);
            let after = sights.iter().map(|(_, before, _)| *before).max_by_key(|point| point.revision);
            let until = sights.iter().map(|(_, _, first)| *first).min_by_key(|point| point.revision);
            let (Some(after), Some(until)) = (after, until) else { continue };
            // Whatever was known before it began is before it.
            let known = order.newest_before(write.start);
            if let Some((newest, by)) = known
                && newest >= until.revision
            {
                if by == until.op {
                    // Seen before it began: said already.
                    continue;
                }
                let what =
                    || format!("seen at revision {}, and {newest} was known before it began", until.revision);
                verdict.accuse(Rule::Foreseen, [by, until.op, write.op], what);
                continue;
            }
            let from = after.revision.max(known.map_or(0, |(newest, _)| newest)) + 1;
            let mut ranges = vec![(from, until.revision)];
            let mut against = after.op;
            for (flag, _) in &write.set {
                if sights.iter().all(|(seen, _, _)| seen != flag) {
                    let points = self.flags.get(flag).map_or(&[][..], Vec::as_slice);
                    let narrower = ranges.iter().flat_map(|range| hidden(points, *range)).collect();
                    if ranges != narrower {
                        let last = points.partition_point(|point| point.revision <= until.revision);
                        against = points.get(last).or(points.last()).map_or(against, |point| point.op);
                        ranges = narrower;
                    }
                }
            }
            if ranges.iter().all(|(from, to)| from > to) {
                let what = || {
                    let names: Vec<&str> =
                        write.set.iter().map(|(flag, _)| self.writes.name(*flag)).collect();
                    format!(
                        "a change of {} was seen in part: there is no revision that it can have",
                        names.join(" and ")
                    )
                };
                verdict.accuse(Rule::HalfChange, [write.op, after.op, until.op, against], what);
            } else if !ranges.iter().any(|(from, to)| self.writes.has_free(*from, *to)) {
                let what = || {
                    format!("all revisions that a write can have are of others, {from} to {}", until.revision)
                };
                verdict.accuse(Rule::SharedRevision, [write.op, after.op, until.op], what);
            }
        }
    }
}

/// The parts of a range of revisions at which a write may have come whose value nobody saw: it was overwritten before
/// somebody looked.
fn hidden(points: &[Point], (from, to): (u64, u64)) -> Vec<(u64, u64)> {
    // From the last point before the range on.
    let first = points.partition_point(|point| point.revision < from).saturating_sub(1);
    let mut parts = Vec::new();
    for (index, point) in points.iter().enumerate().skip(first) {
        if point.revision >= to {
            break;
        }
        let end = match points.get(index + 1) {
            Some(next) if next.value == point.value => continue,
            Some(next) => next.revision - 1,
            None => u64::MAX,
        };
        let part = (from.max(point.revision + 1), to.min(end));
        if part.0 <= part.1 {
            parts.push(part);
        }
    }
    parts
}
