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
    /// Those that are not held.
    pub(super) held: HeldStretches,
    /// At most so many.
    pub(super) limit: u64,
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
        let may_go = age.is_some_and(|age| !age.is_kept && wanted.kinds.contains(&age.kind));
        if may_go && !wanted.held.hold(sequence) {
            add(&mut picked.ranges, sequence);
            count += 1;
        }
        picked.next = sequence.saturating_add(1);
        Ok(ControlFlow::Continue(()))
    })?;
    picked.is_done |= picked.next >= end;
    Ok(picked)
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
        let accepted = u64::from(kind == "system");
        json!({
            "kind": kind, "time_ms": 1_000 * sequence, "revision_before": 3, "revision_after": 3 + accepted,
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
            held: HeldStretches::of([&hold]),
            limit: 100,
        };
        let all = pick(&storage, 0, 40, &wanted).expect("reads");
        let ranges = [(1, 5), (6, 7), (8, 9), (11, 13), (14, 15), (16, 17), (19, 20), (21, 24)];
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
        // No further than what is published.
        let short = pick(&storage, 0, 3, &wanted).expect("reads");
        assert_eq!((short.ranges, short.next, short.is_done), (vec![range(1, 3)], 3, true));
    }
}
