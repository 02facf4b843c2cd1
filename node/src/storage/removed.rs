//! What is left of removed audit records until RocksDB has rewritten its files: the old values, under what replaced them.
//!
//! A batch that removes records notes which stretch of the log they are of. Later, off the way of everything else, that
//! stretch is rewritten and the note goes. So the bytes go although a crash comes between.

use rocksdb::{BottommostLevelCompaction, CompactOptions};

use super::{
    Storage,
    error::StorageError,
    schema::{AUDIT, MetaKey, numbered},
};

/// Bytes of one note: the first sequence, the one after the last, and that of the record that removed them.
const NOTE_BYTES: usize = 24;
/// Notes that are kept apart. Beyond them the newest two become one, which is more to rewrite than need be.
const NOTES_MAX: usize = 256;

/// A stretch of the log in which records were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RemovedIn {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The sequence after the last record of the batch that removed them: what tells a stretch that was removed from once
    /// more from one that was rewritten meanwhile.
    pub(super) by: u64,
}

impl RemovedIn {
    fn joined(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), to: self.to.max(other.to), by: self.by.max(other.by) }
    }
}

impl Storage {
    /// Rewrites the files with the audit records that were removed since it was done last, so that their bytes are gone
    /// from the database. Returns the stretches of the log. This blocks, for as long as it takes to write them anew.
    ///
    /// # Errors
    /// When the database fails.
    pub fn compact_removed(&self) -> Result<Vec<std::ops::Range<u64>>, StorageError> {
        let noted = self.removed_notes()?;
        for note in &noted {
            let mut options = CompactOptions::default();
            // Values that an iterator kept alive may lie beneath what replaced them, at the bottom already.
            options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
            let (from, to) = (numbered(self.group, note.from), numbered(self.group, note.to));
            self.db.compact_range_cf_opt(self.family(AUDIT), Some(from), Some(to), &options);
        }
        if !noted.is_empty() {
            // Batches that remove records are written under this lock, so none comes between.
            let _tail = self.tail();
            let mut left = self.removed_notes()?;
            left.retain(|note| !noted.contains(note));
            self.put_removed_notes(&left)?;
        }
        Ok(noted.into_iter().map(|note| note.from..note.to).collect())
    }

    /// The notes with one more.
    pub(super) fn with_removed_note(&self, note: RemovedIn) -> Result<Vec<u8>, StorageError> {
        let mut notes = self.removed_notes()?;
        notes.push(note);
        if notes.len() > NOTES_MAX
            && let (Some(last), Some(before)) = (notes.pop(), notes.pop())
        {
            notes.push(before.joined(last));
        }
        Ok(encode(&notes))
    }

    fn removed_notes(&self) -> Result<Vec<RemovedIn>, StorageError> {
        let Some(bytes) = self.meta(MetaKey::AuditRemoved)? else { return Ok(Vec::new()) };
        decode(&bytes).ok_or_else(|| {
            StorageError::corrupt("the note of the stretches in which audit records were removed is none")
        })
    }

    fn put_removed_notes(&self, notes: &[RemovedIn]) -> Result<(), StorageError> {
        let mut batch = self.batch();
        let bytes = encode(notes);
        batch.meta(MetaKey::AuditRemoved, Some(bytes.as_slice()).filter(|bytes| !bytes.is_empty()));
        self.write(batch.into_writes())
    }
}

fn encode(notes: &[RemovedIn]) -> Vec<u8> {
    notes.iter().flat_map(|note| [note.from, note.to, note.by].map(u64::to_be_bytes).concat()).collect()
}

fn decode(bytes: &[u8]) -> Option<Vec<RemovedIn>> {
    let (notes, []) = bytes.as_chunks::<NOTE_BYTES>() else { return None };
    let read = |note: &[u8; NOTE_BYTES]| {
        let (numbers, []) = note.as_chunks::<8>() else { return None };
        let [from, to, by] = numbers else { return None };
        let [from, to, by] = [from, to, by].map(|number| u64::from_be_bytes(*number));
        Some(RemovedIn { from, to, by })
    };
    notes.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, sync::Arc};

    use flagraft_core::merkle::leaf_hash;

    use super::{
        super::{StorageMetrics, StorageOptions},
        *,
    };

    fn storage(dir: &Path) -> Arc<Storage> {
        let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry");
        Storage::open(StorageOptions::new(dir, 1, metrics)).expect("the folder opens")
    }

    /// How often the words are in the database's files of tables.
    fn in_tables(dir: &Path, words: &[u8]) -> usize {
        let files = fs::read_dir(dir.join("db")).expect("a folder");
        let tables = files
            .map(|file| file.expect("a file").path())
            .filter(|path| path.extension().is_some_and(|end| end == "sst"));
        tables.map(|path| memchr::memmem::find_iter(&fs::read(path).expect("reads"), words).count()).sum()
    }

    /// Bytes like no others, so that no compression hides them.
    fn words(sequence: u64) -> [u8; 32] {
        leaf_hash(&sequence.to_be_bytes())
    }

    fn record(sequence: u64) -> Vec<u8> {
        [b"{".as_slice(), &words(sequence)].concat()
    }

    #[test]
    fn the_bytes_of_a_removed_record_go_from_the_files() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = storage(dir.path());
        let mut batch = storage.batch();
        (0..40).for_each(|sequence| batch.record(sequence, &record(sequence)));
        batch.commit().expect("writes");
        storage.db.flush_cf(storage.family(AUDIT)).expect("flushes");
        assert_eq!(in_tables(dir.path(), &words(7)), 1, "or this test shows nothing");
        assert_eq!(storage.compact_removed().expect("nothing to do"), []);

        let mut batch = storage.batch();
        batch.record(40, &record(40));
        for sequence in 5..9 {
            batch.remove_record(sequence, &leaf_hash(&record(sequence)));
        }
        batch.commit().expect("writes");
        drop(storage);
        // The note outlives the process.
        let storage = self::storage(dir.path());
        let compacted = storage.compact_removed().expect("compacts");
        assert_eq!((compacted.len(), compacted.first()), (1, Some(&(5..9))));
        assert_eq!(in_tables(dir.path(), &words(7)), 0);
        assert_eq!(in_tables(dir.path(), &words(9)), 1, "its neighbours stay");
        assert_eq!(storage.compact_removed().expect("nothing to do"), []);
        let rows = storage.audit_range(0, 100).expect("reads");
        assert_eq!(rows.len(), 41);
        assert_eq!(rows[7].bytes, flagraft_core::record::tombstone(&leaf_hash(&record(7))));
    }

    #[test]
    fn notes_are_read_as_they_were_written_and_there_are_not_too_many() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = storage(dir.path());
        let note = |at: u64| RemovedIn { from: at, to: at + 2, by: 1_000 + at };
        for at in 0..300 {
            let bytes = storage.with_removed_note(note(at)).expect("reads");
            storage.put_meta(MetaKey::AuditRemoved, &bytes).expect("writes");
        }
        let notes = storage.removed_notes().expect("reads");
        assert_eq!(notes.len(), NOTES_MAX);
        assert_eq!(notes[..255], (0..255).map(note).collect::<Vec<_>>());
        assert_eq!(notes[255], RemovedIn { from: 255, to: 301, by: 1_299 });
        assert_eq!(decode(&[0; NOTE_BYTES + 1]), None);
    }
}
