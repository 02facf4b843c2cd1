//! Writes that take effect together or not at all.

use std::ops::Range;

use flagraft_core::{
    merkle::{Hash, tile::Tile},
    record::tombstone,
};
use rocksdb::WriteBatch;

use super::{
    Storage,
    error::StorageError,
    identity::{self, Identity},
    removed::RemovedIn,
    schema::{AUDIT, AUDIT_TILES, MetaKey, RAFT_LOG, RAFT_META, STATE, end_of, numbered, prefixed, tile_key},
};

/// A batch of writes, see [`Storage::batch`].
pub struct Batch<'a> {
    storage: &'a Storage,
    writes: WriteBatch,
    /// The sequence after the last record that the state counts once this batch is written, where it changes that.
    counted: Option<u64>,
    /// Whether staged records beyond that go.
    takes_in: bool,
    /// Where records are removed: the first sequence, and the one after the last.
    removed: Option<(u64, u64)>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(storage: &'a Storage) -> Self {
        Self { storage, writes: WriteBatch::default(), counted: None, takes_in: false, removed: None }
    }

    /// Puts a row of the state, or removes it when there is no value.
    pub fn row(&mut self, key: &[u8], value: Option<&[u8]>) {
        let family = self.storage.family(STATE);
        let key = prefixed(self.storage.group, key);
        match value {
            Some(value) => self.writes.put_cf(family, key, value),
            None => self.writes.delete_cf(family, key),
        }
    }

    /// Removes all rows of the state; rows put later in this batch stay.
    pub fn clear_state(&mut self) {
        self.writes.delete_range_cf(
            self.storage.family(STATE),
            prefixed(self.storage.group, &[]).as_slice(),
            end_of(self.storage.group).as_slice(),
        );
    }

    /// Puts the audit record that the state of this batch counts as its last.
    pub fn record(&mut self, sequence: u64, bytes: &[u8]) {
        self.staged_record(sequence, bytes);
        self.counted = Some(sequence.saturating_add(1));
    }

    /// Puts what stands for a removed audit record in the record's place: its leaf hash. Done twice it is the same.
    pub fn remove_record(&mut self, sequence: u64, leaf: &Hash) {
        self.staged_record(sequence, &tombstone(leaf));
        let (from, to) = self.removed.unwrap_or((sequence, sequence));
        self.removed = Some((from.min(sequence), to.max(sequence.saturating_add(1))));
    }

    /// The state of this batch counts the audit records up to `end`, staged ones among them; those beyond go.
    pub fn take_in_staged(&mut self, end: u64) {
        self.trim_audit(end);
        self.meta(MetaKey::AuditStaging, None);
        self.counted = Some(end);
        self.takes_in = true;
    }

    /// Puts an audit record that no state counts yet.
    pub(super) fn staged_record(&mut self, sequence: u64, bytes: &[u8]) {
        self.writes.put_cf(self.storage.family(AUDIT), numbered(self.storage.group, sequence), bytes);
    }

    /// Puts a complete tile of the audit log's tree.
    pub fn tile(&mut self, tile: Tile, bytes: &[u8]) {
        let key = tile_key(self.storage.group, tile);
        self.writes.put_cf(self.storage.family(AUDIT_TILES), key, bytes);
    }

    /// Puts an entry of the Raft log.
    pub fn entry(&mut self, index: u64, bytes: &[u8]) {
        self.writes.put_cf(self.storage.family(RAFT_LOG), numbered(self.storage.group, index), bytes);
    }

    /// Removes the entries of `range` from the front of the Raft log, and notes the last purged log id; entries put
    /// later in this batch stay.
    pub fn purge_log(&mut self, range: Range<u64>, last_purged: &[u8]) {
        if !range.is_empty() {
            self.writes.delete_range_cf(
                self.storage.family(RAFT_LOG),
                numbered(self.storage.group, range.start),
                numbered(self.storage.group, range.end),
            );
        }
        self.meta(MetaKey::LastPurged, Some(last_purged));
    }

    /// Puts who the folder belongs to. For a folder that nobody serves from: one that is open goes on under the
    /// identity that it was opened with.
    pub fn identity(&mut self, identity: &Identity) {
        identity::put(&mut self.writes, self.storage.family(RAFT_META), identity);
    }

    /// Removes the audit records from `end` on.
    pub fn trim_audit(&mut self, end: u64) {
        self.writes.delete_range_cf(
            self.storage.family(AUDIT),
            numbered(self.storage.group, end).as_slice(),
            end_of(self.storage.group).as_slice(),
        );
    }

    /// Puts a single value, or removes it when there is none.
    pub fn meta(&mut self, key: MetaKey, value: Option<&[u8]>) {
        let family = self.storage.family(RAFT_META);
        let key = key.key(self.storage.group);
        match value {
            Some(value) => self.writes.put_cf(family, key, value),
            None => self.writes.delete_cf(family, key),
        }
    }

    /// Bytes of the batch so far.
    pub fn size_bytes(&self) -> usize {
        self.writes.size_in_bytes()
    }

    /// Writes the batch. Durable after the next sync.
    ///
    /// # Errors
    /// When the database fails; nothing is written then.
    pub fn commit(mut self) -> Result<(), StorageError> {
        if self.counted.is_none() && self.removed.is_none() {
            return self.storage.write(self.writes);
        }
        let mut tail = self.storage.tail();
        if let Some((from, to)) = self.removed {
            let by = self.counted.unwrap_or(tail.counted);
            let notes = self.storage.with_removed_note(RemovedIn { from, to, by })?;
            self.meta(MetaKey::AuditRemoved, Some(&notes));
        }
        self.storage.write(self.writes)?;
        let Some(counted) = self.counted else { return Ok(()) };
        tail.end = if self.takes_in { counted } else { tail.end.max(counted) };
        tail.marked &= !self.takes_in;
        tail.counted = counted;
        Ok(())
    }

    pub(super) fn into_writes(self) -> WriteBatch {
        self.writes
    }
}
