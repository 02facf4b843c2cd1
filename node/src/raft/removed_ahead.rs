//! Rows of the audit log that stand for removed records, held against the records that say which were removed.
//!
//! A removed record's row is its leaf hash, so whoever puts that in a record's place changes no root: nothing but the log
//! itself tells what retention removed. Its records that say so stand behind what they removed, and are never removed.
//!
//! Only a snapshot brings rows ahead of them: its sender may have removed more since it was made, and a backup is made while
//! records are removed. Those rows are noted when it is installed, until the log names them.

use std::{
    io,
    ops::{ControlFlow, Range},
};

use flagraft_core::{
    record::{Removals, is_removed, removed_by},
    retention::{SequenceRange, joined},
};
use memchr::memmem::Finder;

use crate::storage::{MetaKey, Storage, StorageError};

/// What is in every record of a removal, and in few others: to read each record for it would take longer than to hash it.
const NAME_OF_REMOVALS: &[u8] = b"\"audit.remove\"";
/// Bytes of one run of the note: the first sequence, and the one after the last.
const RUN_BYTES: usize = 16;

/// The removed rows of a log, as they are read in order.
pub(super) struct RemovedRows {
    name: Finder<'static>,
    removals: Removals,
}

impl RemovedRows {
    pub(super) fn new() -> Self {
        Self { name: Finder::new(NAME_OF_REMOVALS), removals: Removals::default() }
    }

    /// Takes note of a row. Gives what its record removed: what stands before it.
    pub(super) fn read(&mut self, sequence: u64, row: &[u8]) -> Vec<SequenceRange> {
        if is_removed(row) {
            self.removals.leave_out(sequence..sequence.saturating_add(1));
            return Vec::new();
        }
        if self.name.find(row).is_none() {
            return Vec::new();
        }
        // What is no record has not the hash that the tree has of it either: that is found elsewhere.
        let removed = removed_by(row).unwrap_or_default();
        self.removals.observe(sequence, removed.clone());
        removed
    }

    /// Refuses rows that stand for removed records though neither a record nor the note of a snapshot says so.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`], or when the database fails.
    pub(super) fn check(self, storage: &Storage) -> Result<(), StorageError> {
        let ahead = self.removals.unexplained();
        let noted = noted(storage)?;
        if let Some(run) = without(&ahead, &noted).first() {
            return Err(StorageError::corrupt(format!(
                "record {} of the audit log is gone, with its hash in its place, as if retention had removed it; no record \
                 of the log says that it was removed",
                run.start
            )));
        }
        // The rest of the note is named by records now.
        if ahead == noted { Ok(()) } else { note(storage, &ahead) }
    }
}

/// Notes, before a snapshot is installed, which rows it brings, or leaves if that is cut short, that no record of the log
/// names then. The records that it brings begin with `from`, and `end` is the one after the last. Durable with what is
/// written next. This blocks.
///
/// # Errors
/// When the database fails.
pub(super) fn note_of_snapshot(storage: &Storage, from: u64, end: u64) -> Result<(), io::Error> {
    if from >= end {
        return Ok(());
    }
    let mut rows = RemovedRows::new();
    let mut early = Vec::new();
    storage.scan_audit::<StorageError>(from, |sequence, row| {
        if sequence >= end {
            return Ok(ControlFlow::Break(()));
        }
        // What was here before goes first, and the records that say so are counted afterwards.
        let removed = rows.read(sequence, row).into_iter();
        early.extend(removed.map(|range| range.from..range.to.min(from)).filter(|run| !run.is_empty()));
        Ok(ControlFlow::Continue(()))
    })?;
    let before = noted(storage)?;
    let all = [before.clone(), early, rows.removals.unexplained()].concat();
    let ahead: Vec<Range<u64>> =
        joined(all.iter().map(stretch)).into_iter().map(|run| run.from..run.to).collect();
    if ahead != before {
        note(storage, &ahead)?;
    }
    Ok(())
}

/// What of these runs is in none of the others.
fn without(runs: &[Range<u64>], others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut removals = Removals::default();
    runs.iter().for_each(|run| removals.leave_out(run.clone()));
    removals.observe(u64::MAX, others.iter().map(stretch).collect());
    removals.unexplained()
}

fn stretch(run: &Range<u64>) -> SequenceRange {
    SequenceRange { from: run.start, to: run.end }
}

fn noted(storage: &Storage) -> Result<Vec<Range<u64>>, StorageError> {
    let Some(bytes) = storage.meta(MetaKey::AuditRemovedAhead)? else { return Ok(Vec::new()) };
    decode(&bytes).ok_or_else(|| {
        StorageError::corrupt(
            "the note of the audit records that were removed ahead of the record of it is none",
        )
    })
}

fn note(storage: &Storage, runs: &[Range<u64>]) -> Result<(), StorageError> {
    let bytes: Vec<u8> =
        runs.iter().flat_map(|run| [run.start, run.end].map(u64::to_be_bytes).concat()).collect();
    let mut batch = storage.batch();
    batch.meta(MetaKey::AuditRemovedAhead, Some(bytes.as_slice()).filter(|bytes| !bytes.is_empty()));
    batch.commit()
}

fn decode(bytes: &[u8]) -> Option<Vec<Range<u64>>> {
    let (runs, []) = bytes.as_chunks::<RUN_BYTES>() else { return None };
    let read = |run: &[u8; RUN_BYTES]| {
        let (numbers, []) = run.as_chunks::<8>() else { return None };
        let [start, end] = numbers else { return None };
        Some(u64::from_be_bytes(*start)..u64::from_be_bytes(*end))
    };
    runs.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use flagraft_core::record::{row_leaf_hash, tombstone};

    use super::*;
    use crate::raft::testing::{
        append, applied_in_batches, apply, open, recover, state_machine, with_removals,
    };

    /// Puts the hashes of these records in their places, as retention does.
    fn remove(storage: &Storage, sequences: Range<u64>) {
        for row in storage.audit_range(sequences.start, 1_000).expect("reads") {
            if sequences.contains(&row.sequence) {
                storage.alter_record(row.sequence, &tombstone(&row_leaf_hash(&row.bytes).expect("a record")));
            }
        }
    }

    /// Records 2 to 4 and 300 and 301 are removed by record 599, 4 and 5 by record 600.
    async fn log(dir: &Path) -> Arc<Storage> {
        let entries = with_removals(620, 600, [vec![(2, 5), (300, 302)], vec![(4, 6), (597, 599)]]);
        applied_in_batches(dir, &entries, 128).await
    }

    fn refusal(storage: &Storage) -> String {
        recover(storage).map(drop).expect_err("nobody said so").to_string()
    }

    #[tokio::test]
    async fn what_no_record_says_was_removed_is_missed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = log(dir.path()).await;
        recover(&storage).expect("what was removed is named by records");
        for (gone, first) in [(310..311, 310), (299..303, 299), (6..7, 6), (0..2, 0), (602..620, 602)] {
            let before = storage.audit_range(0, 1_000).expect("reads");
            remove(&storage, gone);
            let said = refusal(&storage);
            assert!(said.contains(&format!("record {first} of the audit log is gone")), "{said}");
            assert!(said.contains("no record of the log says that it was removed"), "{said}");
            before.iter().for_each(|row| storage.alter_record(row.sequence, &row.bytes));
        }
        recover(&storage).expect("as it was");
        // Not even the record of a removal goes, which is what says of others that they were removed.
        remove(&storage, 599..600);
        let said = refusal(&storage);
        assert!(said.contains("record 2 of the audit log is gone"), "{said}");
    }

    /// A record that quotes the name of the operation removes nothing.
    #[tokio::test]
    async fn only_what_is_removed_by_an_accepted_record_before_its_place_is_explained() {
        let removal = |sequence: u64, outcome: &str| {
            format!(
                "{{\"kind\":\"system\",\"sequence\":{sequence},\"operations\":[{{\"operation\":{{\"op\":\"audit.remove\",\
                 \"ranges\":[{{\"from\":3,\"to\":5}},{{\"from\":8,\"to\":10}}]}}}}],\"outcome\":\"{outcome}\"}}"
            )
        };
        let quoted =
            br#"{"kind":"change","reason":"see \"audit.remove\"","operations":[],"outcome":"accepted"}"#;
        let both = [3..5, 8..9];
        for (sequence, row, left) in [
            (12, removal(12, "accepted").into_bytes(), &both[..0]),
            (9, removal(9, "accepted").into_bytes(), &both[1..]),
            (12, removal(12, "rejected").into_bytes(), &both[..]),
            (12, quoted.to_vec(), &both[..]),
        ] {
            let mut rows = RemovedRows::new();
            for removed in [3, 4, 8] {
                assert_eq!(rows.read(removed, &tombstone(&[7; 32])), []);
            }
            rows.read(sequence, &row);
            assert_eq!(rows.removals.unexplained(), left, "{}", String::from_utf8_lossy(&row));
        }
    }

    /// The sender of a snapshot may have gone on and removed records that the snapshot's own log still has. The receiver has
    /// their hashes before it has the record that says so, and may be stopped in between.
    #[tokio::test]
    async fn what_a_snapshot_brings_ahead_of_its_record_is_noted_until_the_log_names_it() {
        let entries = with_removals(620, 600, [vec![(2, 5), (300, 302)], vec![(4, 6), (597, 599)]]);
        let dir = tempfile::tempdir().expect("a temporary folder");
        // As an installation would leave it: a log that ends at record 598, some of it removed by what comes later.
        let storage = applied_in_batches(dir.path(), &entries[..=598], 128).await;
        remove(&storage, 300..302);
        assert!(refusal(&storage).contains("record 300"), "it was not noted");
        note_of_snapshot(&storage, 0, 598).expect("noted");
        assert_eq!(noted(&storage).expect("reads"), std::slice::from_ref(&(300..302)));
        drop(storage);
        let storage = open(dir.path());
        recover(&storage).expect("noted");
        assert_eq!(noted(&storage).expect("reads"), std::slice::from_ref(&(300..302)), "it is still needed");
        remove(&storage, 302..303);
        assert!(refusal(&storage).contains("record 302"), "the note is of others");

        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = applied_in_batches(dir.path(), &entries[..=598], 128).await;
        remove(&storage, 300..302);
        note_of_snapshot(&storage, 0, 598).expect("noted");
        append(&storage, entries[599..].to_vec()).await.expect("appended");
        apply(&mut state_machine(&storage), entries[599..].to_vec()).await.expect("applied");
        recover(&storage).expect("named by now");
        assert_eq!(noted(&storage).expect("reads"), [], "what the log names needs no note");
        assert_eq!(storage.meta(MetaKey::AuditRemovedAhead).expect("reads"), None);
        remove(&storage, 310..311);
        assert!(refusal(&storage).contains("record 310"));
    }

    /// Before a snapshot is installed, the records that it says were removed go. If that is cut short, the records that say
    /// so may never be counted here: the next snapshot can end before them.
    #[tokio::test]
    async fn what_a_cut_installation_removed_is_noted_before() {
        let entries = with_removals(620, 600, [vec![(2, 5), (300, 302)], vec![(4, 6), (597, 599)]]);
        let dir = tempfile::tempdir().expect("a temporary folder");
        let whole = log(&dir.path().join("whole")).await;
        let storage = applied_in_batches(&dir.path().join("cut"), &entries[..=400], 128).await;
        let rows = whole.audit_range(400, 1_000).expect("reads").into_iter().map(|row| row.bytes);
        storage.stage_records(400, &rows.collect::<Vec<_>>()).expect("staged");
        note_of_snapshot(&storage, 400, 620).expect("noted");
        assert_eq!(noted(&storage).expect("reads"), [2..6, 300..302]);
        remove(&storage, 2..6);
        remove(&storage, 300..302);
        storage.discard_staged().expect("writes");
        recover(&storage).expect("noted");
        remove(&storage, 6..7);
        assert!(refusal(&storage).contains("record 6 "));
    }

    #[test]
    fn the_note_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = open(dir.path());
        let runs = [3..4, 70_000..u64::MAX];
        note(&storage, &runs).expect("writes");
        assert_eq!(noted(&storage).expect("reads"), runs);
        let bytes = storage.meta(MetaKey::AuditRemovedAhead).expect("reads").expect("there");
        assert_eq!(
            hex::encode(bytes),
            "000000000000000300000000000000040000000000011170ffffffffffffffff",
            "frozen"
        );
        storage.put_meta(MetaKey::AuditRemovedAhead, &[0; 17]).expect("writes");
        assert!(noted(&storage).is_err());
    }
}
