//! Finding records: block by block, past those that can't have any.

use std::{
    ops::{ControlFlow, Range},
    time::Instant,
};

use super::{BLOCK, Filter, filter::Wanted, summary::Summary, term::Told};
use crate::{
    raft::AuditTree,
    storage::{Storage, StorageError},
};

/// From which end records are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Order {
    /// From the oldest on.
    #[default]
    Oldest,
    /// From the newest on.
    Newest,
}

/// How much one search may do. It ends behind the block in which it runs out, and always gets through one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    /// Records that it reads.
    pub(crate) records: u64,
    /// Blocks that it passes over by their summaries.
    pub(crate) blocks: u64,
    /// When it has to end.
    pub(crate) until: Instant,
}

/// What a search has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The sequences of the records, in the order that was asked for.
    pub(crate) sequences: Vec<u64>,
    /// Where to go on: the first sequence that was not looked at, or, from the newest on, the one after it. `None`: all
    /// were.
    pub(crate) next: Option<u64>,
    /// Records that were read.
    pub(crate) read: u64,
    /// Records that were passed over unread.
    pub(crate) passed: u64,
}

/// Looks for records.
pub(crate) struct Search<'a> {
    storage: &'a Storage,
    filter: &'a Filter,
    wanted: Wanted,
    tree: AuditTree,
}

impl<'a> Search<'a> {
    /// Of the log that has this tree.
    pub(crate) fn new(storage: &'a Storage, filter: &'a Filter, tree: AuditTree) -> Self {
        Self { storage, filter, wanted: filter.wanted(), tree }
    }

    /// At most `limit` of the records of `range`. This blocks.
    ///
    /// # Errors
    /// When the database fails, or the log has a gap.
    pub(crate) fn find(
        mut self,
        range: Range<u64>,
        order: Order,
        limit: usize,
        mut budget: Budget,
    ) -> Result<Found, StorageError> {
        let mut found = Found::default();
        let mut left = range;
        while !left.is_empty() {
            let block = match order {
                Order::Oldest => left.start / BLOCK,
                Order::Newest => (left.end - 1) / BLOCK,
            };
            let part = left.start.max(block * BLOCK)..left.end.min((block + 1).saturating_mul(BLOCK));
            let records = part.end - part.start;
            if self.may_hold(block)? {
                let mut matching = self.matching(part.clone())?;
                found.read += records;
                budget.records = budget.records.saturating_sub(records);
                if order == Order::Newest {
                    matching.reverse();
                }
                let room = limit.saturating_sub(found.sequences.len());
                let is_full = matching.len() >= room;
                matching.truncate(room);
                let last = matching.last().copied().filter(|_| is_full);
                found.sequences.append(&mut matching);
                if let Some(last) = last {
                    match order {
                        Order::Oldest => left.start = last + 1,
                        Order::Newest => left.end = last,
                    }
                    break;
                }
            } else {
                found.passed += records;
                budget.blocks = budget.blocks.saturating_sub(1);
            }
            match order {
                Order::Oldest => left.start = part.end,
                Order::Newest => left.end = part.start,
            }
            if budget.records == 0 || budget.blocks == 0 || Instant::now() >= budget.until {
                break;
            }
        }
        if !left.is_empty() {
            found.next = Some(match order {
                Order::Oldest => left.start,
                Order::Newest => left.end,
            });
        }
        Ok(found)
    }

    /// Whether a block may have a record that is wanted. One without a summary that is surely its own may.
    ///
    /// # Errors
    /// When the database fails.
    pub(crate) fn may_hold(&mut self, block: u64) -> Result<bool, StorageError> {
        let summary = Summary::kept(self.storage, &mut self.tree, block)?;
        Ok(summary.is_none_or(|summary| summary.may_hold(&self.wanted)))
    }

    /// The sequences of this part of a block that are wanted.
    fn matching(&self, part: Range<u64>) -> Result<Vec<u64>, StorageError> {
        let mut matching = Vec::new();
        let mut next = part.start;
        self.storage.scan_audit::<StorageError>(part.start, |sequence, row| {
            if sequence >= part.end {
                return Ok(ControlFlow::Break(()));
            }
            next = sequence + 1;
            if self.filter.takes(row) {
                matching.push(sequence);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if next != part.end {
            return Err(StorageError::corrupt(format!(
                "the audit log ends at {next} where {} was expected",
                part.end
            )));
        }
        Ok(matching)
    }
}

/// The sequence of the first record of `range` that is not older than this time, by record time, which never goes back;
/// the range's end where there is none. This blocks.
///
/// # Errors
/// When the database fails.
pub(crate) fn first_since(storage: &Storage, range: Range<u64>, time_ms: i64) -> Result<u64, StorageError> {
    let time = |_: u64, row: &[u8]| Ok::<_, StorageError>(Told::read(row).map(|told| told.time_ms));
    Ok(storage.first_audit_record(range, time, |at_ms| *at_ms >= time_ms)?.0)
}

/// The record time of the last of the first `size` records that has one; 0 where none has. This blocks.
///
/// # Errors
/// When the database fails.
pub(crate) fn last_time(storage: &Storage, size: u64) -> Result<i64, StorageError> {
    let mut last_ms = 0;
    storage.scan_audit_back::<StorageError>(size, |_, row| match Told::read(row) {
        Some(told) => {
            last_ms = told.time_ms;
            Ok(ControlFlow::Break(()))
        }
        None => Ok(ControlFlow::Continue(())),
    })?;
    Ok(last_ms)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use flagraft_core::record::tombstone;
    use serde_json::json;

    use super::{
        super::term::{Term, tests::record},
        *,
    };
    use crate::storage::{StorageMetrics, StorageOptions};

    /// Records with these times; `None` for one that was removed.
    fn log(times_ms: &[Option<i64>]) -> (Arc<Storage>, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry");
        let storage = Storage::open(StorageOptions::new(dir.path(), 1, metrics)).expect("the folder opens");
        let mut batch = storage.batch();
        for (sequence, time_ms) in (0..).zip(times_ms) {
            match time_ms {
                Some(time_ms) => {
                    batch.record(sequence, &record(&json!({"sequence": sequence, "time_ms": time_ms})))
                }
                None => batch.record(sequence, &tombstone(&[7; 32])),
            }
        }
        batch.commit().expect("writes");
        (storage, dir)
    }

    #[test]
    fn a_time_is_found_among_equal_ones_and_past_removed_records() {
        let times = [None, Some(10), Some(10), None, None, Some(20), Some(20), None, Some(30), None];
        let (storage, _dir) = log(&times);
        for from in 0..=times.len() {
            for to in from..=times.len() {
                for time_ms in [5, 10, 11, 20, 25, 30, 31] {
                    let range = u64::try_from(from).expect("small")..u64::try_from(to).expect("small");
                    let found = first_since(&storage, range.clone(), time_ms).expect("reads");
                    let at = usize::try_from(found).expect("small");
                    assert!(range.contains(&found) || found == range.end);
                    // Records that were removed may be on either side; those that are there are not.
                    assert!(
                        times[from..at].iter().flatten().all(|at_ms| *at_ms < time_ms),
                        "{range:?} {time_ms}"
                    );
                    assert!(
                        times[at..to].iter().flatten().all(|at_ms| *at_ms >= time_ms),
                        "{range:?} {time_ms}"
                    );
                }
            }
        }
        assert_eq!(last_time(&storage, 10).expect("reads"), 30);
        assert_eq!(last_time(&storage, 1).expect("reads"), 0);
    }

    #[test]
    fn a_search_that_has_looked_at_enough_says_where_to_go_on() {
        let (storage, _dir) = log(&[Some(1); 200]);
        let nobody = Filter::default().any_of([Term::Ticket("none".to_owned())]);
        let spent = Budget { records: 1, blocks: 1, until: Instant::now() + Duration::from_secs(60) };
        let find = |filter: &Filter, order, budget| {
            let tree = AuditTree::of_records(Arc::clone(&storage), 200);
            Search::new(&storage, filter, tree).find(10..190, order, 5, budget).expect("reads")
        };
        let found = find(&nobody, Order::Oldest, spent);
        assert_eq!(
            (found.sequences.len(), found.next, found.read),
            (0, None, 180),
            "one block is always got through"
        );
        let found = find(&Filter::default(), Order::Newest, spent);
        assert_eq!((found.sequences, found.next), (vec![189, 188, 187, 186, 185], Some(185)));
        let found = find(&Filter::default(), Order::Oldest, spent);
        assert_eq!((found.sequences, found.next), (vec![10, 11, 12, 13, 14], Some(15)));
    }
}
