//! Which records are old enough to go.

use std::ops::ControlFlow;

use flagraft_core::{
    record::{Age, RecordKind, is_removed},
    retention::{HeldStretches, SequenceRange},
};

use crate::storage::{Storage, StorageError};

/// Rows that are looked at for one portion, at most.
const LOOKED_AT_MAX: u64 = 100_000;

/// Which records are looked for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Those of these kinds.
    pub(super) kinds: Vec<RecordKind>,
    /// Those that are older than this, in milliseconds since 1970 UTC.
    pub(super) before_ms: i64,
    /// Of those that go as changes, the ones with a revision up to this one: the edge stands for them.
    pub(super) changes_upto: u64,
    /// Those that are not held.
    pub(super) held: HeldStretches,
    /// At most so many.
    pub(super) limit: u64,
}

impl Wanted {
    fn may_go(&self, age: &Age) -> bool {
        match age.goes_as {
            Some(RecordKind::Change) if age.revision.is_some_and(|revision| revision > self.changes_upto) => {
                false
            }
            Some(kind) => self.kinds.contains(&kind),
            None => false,
        }
    }
}

/// A portion of the records that may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picked {
    /// In order, apart from each other. There may be none, and more to be looked at.
    pub(super) ranges: Vec<SequenceRange>,
    /// Where to go on.
    pub(super) next: u64,
    /// Whether nothing that is old enough lies behind.
    pub(super) is_done: bool,
}

/// Looks at the records from `from` on and before `end`. Record time never falls, so it ends at the first one that is too
/// young. This blocks.
///
/// # Errors
/// When the database fails.
pub(super) fn pick(storage: &Storage, from: u64, end: u64, wanted: &Wanted) -> Result<Picked, StorageError> {
    let mut picked = Picked { ranges: Vec::new(), next: from, is_done: from >= end };
    if picked.is_done {
        return Ok(picked);
    }
    let mut count = 0_u64;
    storage.scan_audit::<StorageError>(from, |sequence, row| {
        // A row that is no record that this version can read stays, and so does one that is kept for ever.
        let age = if is_removed(row) { None } else { Age::read(row) };
        picked.is_done = sequence >= end || age.is_some_and(|age| age.time_ms >= wanted.before_ms);
        if picked.is_done || count >= wanted.limit || sequence - from >= LOOKED_AT_MAX {
            return Ok(ControlFlow::Break(()));
        }
        if age.is_some_and(|age| wanted.may_go(&age)) && !wanted.held.hold(sequence) {
            add(&mut picked.ranges, sequence);
            count += 1;
        }
        picked.next = sequence.saturating_add(1);
        Ok(ControlFlow::Continue(()))
    })?;
    picked.is_done |= picked.next >= end;
    Ok(picked)
}

/// How far changes were looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sought {
    /// Where to go on: at the change, if one was found.
    pub(super) next: u64,
    /// Whether one was found.
    pub(super) is_found: bool,
}

/// Looks from `from` on and before `end` for a change that made a revision, is older than a time and is not held: not for a part of
/// a catalog, which goes with changes and needs no catalog to stand for it. This blocks.
///
/// # Errors
/// When the database fails.
pub(super) fn seek_change(
    storage: &Storage,
    from: u64,
    end: u64,
    before_ms: i64,
    held: &HeldStretches,
) -> Result<Sought, StorageError> {
    let mut sought = Sought { next: from, is_found: false };
    storage.scan_audit::<StorageError>(from, |sequence, row| {
        let age = if is_removed(row) { None } else { Age::read(row) };
        if sequence >= end || age.is_some_and(|age| age.time_ms >= before_ms) {
            return Ok(ControlFlow::Break(()));
        }
        sought.next = sequence;
        sought.is_found = age.is_some_and(|age| {
            age.kind == RecordKind::Change && age.goes_as.is_some() && age.revision.is_some()
        }) && !held.hold(sequence);
        if sought.is_found {
            return Ok(ControlFlow::Break(()));
        }
        sought.next = sequence.saturating_add(1);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sought)
}

/// Adds a sequence that is greater than all before it.
fn add(ranges: &mut Vec<SequenceRange>, sequence: u64) {
    let after = sequence.saturating_add(1);
    match ranges.last_mut() {
        Some(last) if last.to == sequence => last.to = after,
        _ => ranges.push(SequenceRange { from: sequence, to: after }),
    }
}

#[cfg(test)]
mod tests {
    use flagraft_core::{key::HoldId, record::tombstone, retention::HoldSpec};
    use serde_json::json;

    use super::*;
    use crate::raft::testing::open;

    /// What of a record is looked at here.
    fn record(sequence: u64, kind: &str, op: Option<&str>) -> Vec<u8> {
        let operations: Vec<_> = op.iter().map(|op| json!({"operation": {"op": op}})).collect();
        let accepted = u64::from(op.is_some());
        json!({
            "kind": kind, "time_ms": 1_000 * sequence, "revision_before": sequence, "revision_after": sequence + accepted,
            "operations": operations,
        })
        .to_string()
        .into_bytes()
    }

    fn range(from: u64, to: u64) -> SequenceRange {
        SequenceRange { from, to }
    }

    #[test]
    fn what_is_picked_is_old_of_its_kind_there_and_free() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = open(dir.path());
        let mut batch = storage.batch();
        for sequence in 0..40 {
            let row = match sequence {
                7 => tombstone(&[7; 32]).to_vec(),
                9 => record(sequence, "system", Some("audit.remove")),
                11 => record(sequence, "system", Some("system.leadership")),
                13 => b"{}".to_vec(),
                12 => record(sequence, "system", Some("audit.catalog.put")),
                15 => record(sequence, "change", Some("signing_key.put")),
                _ if sequence % 5 == 0 => record(sequence, "change", Some("flag.put")),
                _ => record(sequence, "access", None),
            };
            batch.record(sequence, &row);
        }
        batch.commit().expect("writes");
        let hold = HoldSpec {
            id: HoldId::new("case").expect("an id"),
            reason: "r".to_owned(),
            from: 17,
            to: Some(19),
        };
        let wanted = Wanted {
            kinds: vec![RecordKind::Access, RecordKind::System],
            before_ms: 24_000,
            changes_upto: 11,
            held: HeldStretches::of([hold.stretch()]),
            limit: 100,
        };
        let all = pick(&storage, 0, 40, &wanted).expect("reads");
        let ranges = [(1, 5), (6, 7), (8, 9), (14, 15), (16, 17), (19, 20), (21, 24)];
        assert_eq!(all.ranges, ranges.map(|(from, to)| range(from, to)));
        assert!(all.is_done);
        assert_eq!(all.next, 24, "the first that is too young");
        // In portions it is the same.
        let (mut next, mut portions) = (0, Vec::new());
        loop {
            let picked = pick(&storage, next, 40, &Wanted { limit: 3, ..wanted.clone() }).expect("reads");
            assert!(picked.ranges.iter().map(SequenceRange::count).sum::<u64>() <= 3);
            portions.extend(picked.ranges.iter().flat_map(|range| range.from..range.to));
            next = picked.next;
            if picked.is_done {
                break;
            }
        }
        let whole: Vec<u64> = all.ranges.iter().flat_map(|range| range.from..range.to).collect();
        assert_eq!(portions, whole);
        // Changes go up to the edge, with the catalogs that stood for others; not keys, which later records are verified by.
        let of_changes = |changes_upto| {
            let changes = Wanted { kinds: vec![RecordKind::Change], changes_upto, ..wanted.clone() };
            pick(&storage, 0, 40, &changes).expect("reads").ranges
        };
        assert_eq!(of_changes(0), []);
        assert_eq!(of_changes(10), [range(0, 1), range(5, 6)]);
        assert_eq!(of_changes(12), [range(0, 1), range(5, 6), range(10, 11)]);
        assert_eq!(of_changes(99), [range(0, 1), range(5, 6), range(10, 11), range(12, 13), range(20, 21)]);
        // No further than what is published.
        let short = pick(&storage, 0, 3, &wanted).expect("reads");
        assert_eq!((short.ranges, short.next, short.is_done), (vec![range(1, 3)], 3, true));

        // The changes that an edge has to pass: old ones that may go.
        let seek = |from, before_ms, held: &HeldStretches| {
            seek_change(&storage, from, 40, before_ms, held).expect("reads")
        };
        let free = HeldStretches::default();
        assert_eq!(seek(0, 24_000, &free), Sought { next: 0, is_found: true });
        assert_eq!(seek(6, 24_000, &free), Sought { next: 10, is_found: true });
        assert_eq!(seek(11, 24_000, &free), Sought { next: 20, is_found: true }, "no catalog, and no key");
        assert_eq!(seek(11, 20_000, &free), Sought { next: 20, is_found: false }, "the next is too young");
        let held = HeldStretches::of([range(20, 21)]);
        assert_eq!(seek(11, 24_000, &held), Sought { next: 24, is_found: false });
    }
}
