//! The end of the audit log. Records that the state counts come from `apply`; beyond them may stand records that came
//! from another member ahead of the state that counts them: *staged* ones. Nobody looks for those until a snapshot's
//! state takes them in, and until then nothing is built on them.
//!
//! Both are written under one lock, so that a staged record never replaces a counted one, whatever arrives when.

use std::{
    ops::ControlFlow,
    sync::{MutexGuard, PoisonError},
};

use super::{Storage, error::StorageError, schema::MetaKey};

/// Where the counted records end, and where the staged ones beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AuditTail {
    /// The sequence after the last record that the state counts.
    pub(super) counted: u64,
    /// The sequence after the last record of all.
    pub(super) end: u64,
    /// Whether the disk bears the mark that there may be staged records.
    pub(super) marked: bool,
}

/// Why records were not staged.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// They belong behind records that are not here.
    #[error("audit records from {first} on where {end} comes next")]
    Gap {
        /// The first of them.
        first: u64,
        /// The sequence that would fit.
        end: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl Storage {
    /// Start-up: the state counts `counted` records. What stands beyond them was staged, if the mark says so, and is
    /// kept as far as it has no gap: a transfer that was cut short goes on there. Returns how many those are.
    ///
    /// # Errors
    /// When the database fails.
    pub fn settle_audit(&self, counted: u64) -> Result<u64, StorageError> {
        let stored = self.audit_end()?;
        let marked = self.meta(MetaKey::AuditStaging)?.is_some();
        // Fewer than the state counts, or more without the mark, is for the caller to refuse.
        if !marked || stored < counted {
            *self.tail() = AuditTail { counted, end: stored, marked };
            return Ok(0);
        }
        let end = self.audit_run(counted)?;
        *self.tail() = AuditTail { counted, end, marked };
        if end < stored {
            tracing::warn!(
                from = end,
                to = stored,
                "audit records of a cut snapshot transfer are discarded: a gap"
            );
            self.trim_audit(end)?;
        }
        if end == counted {
            self.discard_staged()?;
        }
        self.sync_blocking()?;
        Ok(end - counted)
    }

    /// Takes all records that are stored for counted, until the state is read.
    pub(super) fn count_all_stored(&self) -> Result<(), StorageError> {
        let stored = self.audit_end()?;
        *self.tail() = AuditTail { counted: stored, end: stored, marked: false };
        Ok(())
    }

    /// The sequence after the last record that is here, counted or staged: the one that a transfer goes on with.
    pub fn staged_end(&self) -> u64 {
        self.tail().end
    }

    /// Stages `records`, of which the first has the sequence `first`. Those that are here already are passed over.
    /// Returns [`Storage::staged_end`]. Durable after the next sync.
    ///
    /// # Errors
    /// When records before them are missing, or the database fails.
    pub fn stage_records(&self, first: u64, records: &[Vec<u8>]) -> Result<u64, StageError> {
        let mut tail = self.tail();
        let end = tail.end;
        if first > end {
            return Err(StageError::Gap { first, end });
        }
        let mut batch = self.batch();
        let mut next = end;
        for (sequence, bytes) in (first..).zip(records) {
            if sequence >= next {
                batch.staged_record(sequence, bytes);
                next = sequence.saturating_add(1);
            }
        }
        if next == end {
            return Ok(end);
        }
        if !tail.marked {
            batch.meta(MetaKey::AuditStaging, Some(&tail.counted.to_be_bytes()));
        }
        self.write(batch.into_writes())?;
        tail.end = next;
        tail.marked = true;
        Ok(next)
    }

    /// Removes the staged records: they are not what they should be. Durable after the next sync.
    ///
    /// # Errors
    /// When the database fails.
    pub fn discard_staged(&self) -> Result<(), StorageError> {
        let mut tail = self.tail();
        let mut batch = self.batch();
        if tail.end > tail.counted {
            batch.trim_audit(tail.counted);
        }
        batch.meta(MetaKey::AuditStaging, None);
        self.write(batch.into_writes())?;
        tail.end = tail.counted;
        tail.marked = false;
        Ok(())
    }

    /// The first sequence from `from` on that has no record.
    fn audit_run(&self, from: u64) -> Result<u64, StorageError> {
        let mut next = from;
        self.scan_audit_rows::<StorageError>(from, |sequence, _| {
            if sequence != next {
                return Ok(ControlFlow::Break(()));
            }
            next = next.saturating_add(1);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(next)
    }

    pub(super) fn tail(&self) -> MutexGuard<'_, AuditTail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::{
        super::{StorageMetrics, StorageOptions},
        *,
    };

    /// A folder with 5 counted records.
    fn storage(dir: &Path) -> Arc<Storage> {
        let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry");
        let storage = Storage::open(StorageOptions::new(dir, 1, metrics)).expect("the folder opens");
        let mut batch = storage.batch();
        (0..5).for_each(|sequence| batch.record(sequence, b"counted"));
        batch.commit().expect("writes");
        storage
    }

    fn marked(storage: &Storage) -> bool {
        storage.meta(MetaKey::AuditStaging).expect("reads").is_some()
    }

    fn records(storage: &Storage) -> Vec<Vec<u8>> {
        storage.audit_range(0, usize::MAX).expect("reads").into_iter().map(|row| row.bytes).collect()
    }

    fn staged(count: usize) -> Vec<Vec<u8>> {
        vec![b"staged".to_vec(); count]
    }

    #[test]
    fn records_are_staged_behind_the_counted_ones_without_a_gap() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = storage(dir.path());
        assert!(matches!(storage.stage_records(6, &staged(1)), Err(StageError::Gap { first: 6, end: 5 })));
        assert_eq!(storage.stage_records(0, &staged(5)).expect("all here"), 5);
        assert!(!marked(&storage), "nothing is staged");
        assert_eq!(storage.stage_records(3, &staged(4)).expect("writes"), 7);
        assert_eq!(storage.stage_records(7, &staged(1)).expect("writes"), 8);
        assert!(marked(&storage));
        assert_eq!(storage.staged_end(), 8);
        assert_eq!(records(&storage)[..5], vec![b"counted".to_vec(); 5]);

        let mut batch = storage.batch();
        batch.record(5, b"counted");
        batch.commit().expect("writes");
        assert_eq!(storage.staged_end(), 8);
        storage.discard_staged().expect("writes");
        assert_eq!((storage.staged_end(), records(&storage).len(), marked(&storage)), (6, 6, false));
        assert_eq!(storage.stage_records(6, &staged(2)).expect("writes"), 8);
        assert!(marked(&storage), "the mark comes back");
    }

    #[test]
    fn what_a_state_takes_in_is_counted_and_the_rest_goes() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = storage(dir.path());
        storage.stage_records(5, &staged(10)).expect("writes");
        let mut batch = storage.batch();
        batch.take_in_staged(12);
        batch.commit().expect("writes");
        assert_eq!((storage.staged_end(), records(&storage).len(), marked(&storage)), (12, 12, false));
        storage.discard_staged().expect("writes");
        assert_eq!(records(&storage).len(), 12, "what is counted is not discarded");
    }
}
