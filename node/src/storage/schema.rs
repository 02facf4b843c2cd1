//! Where things are in RocksDB: column families, keys, and the options the database is opened with.
//!
//! Every key starts with a group (u32, big-endian), so that one folder can later hold several Raft groups.
//! Group 0 is the folder itself.

use flagraft_core::merkle::tile::Tile;
use rocksdb::{
    BlockBasedOptions, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel, Options,
};

/// The group of everything that concerns the folder and not one Raft group.
pub(super) const FOLDER: u32 = 0;

/// Log entries: group, then index (u64 big-endian).
pub(super) const RAFT_LOG: &str = "raft_log";
/// What Raft and the folder must remember beside the log: group, then the name of a [`MetaKey`].
pub(super) const RAFT_META: &str = "raft_meta";
/// The rows of the replicated state: group, then the row's own key.
pub(super) const STATE: &str = "state";
/// Audit records: group, then sequence (u64 big-endian).
pub(super) const AUDIT: &str = "audit";
/// Complete tiles of the audit log's tree: group, then level (u8), then index (u64 big-endian).
pub(super) const AUDIT_TILES: &str = "audit_tiles";
/// Summaries of blocks of the audit log: group, then block (u64 big-endian).
pub(super) const AUDIT_INDEX: &str = "audit_index";

/// All families.
pub(super) const FAMILIES: [&str; 6] = [RAFT_LOG, RAFT_META, STATE, AUDIT, AUDIT_TILES, AUDIT_INDEX];
/// The families that every folder has had from its first day. The others are made where they are missing: what is in
/// them is made of what is in these, and start-up notices when it was there and is gone.
pub(super) const FIRST_FAMILIES: [&str; 4] = [RAFT_LOG, RAFT_META, STATE, AUDIT];

/// Bytes of write-ahead log after which RocksDB flushes the column family that holds the oldest of it back.
/// Without a bound a rarely written family (`raft_meta`) would pin old log files for ever.
const WAL_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The single values kept beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaKey {
    /// The vote: term, candidate and whether a quorum granted it.
    Vote,
    /// Where a restart applies up to at once, written by a recovery alone: a node that runs keeps with its state how far
    /// it has applied.
    Committed,
    /// The last log id removed from the front of the log.
    LastPurged,
    /// The last log id whose effect is in the state.
    LastApplied,
    /// The hash of the state at [`MetaKey::LastApplied`], which lies in another column family: the two can be lost apart.
    AppliedState,
    /// The membership in force at [`MetaKey::LastApplied`].
    Membership,
    /// The last log id of the last snapshot that came from another member.
    LastInstalled,
    /// Present while audit records of a snapshot are being written ahead of the state that counts them.
    AuditStaging,
    /// Present once the folder has all complete tiles of its audit log: from then on one that is missing is damage.
    AuditTiles,
    /// The size and root of the last checkpoint of the audit log that this node signed.
    AuditSigned,
    /// The newest checkpoint of the audit log that a majority signed: a signed note.
    AuditCheckpoint,
    /// The stretches of the audit log in which records were removed and whose files were not rewritten since.
    AuditRemoved,
}

impl MetaKey {
    fn name(self) -> &'static str {
        match self {
            Self::Vote => "vote",
            Self::Committed => "committed",
            Self::LastPurged => "last_purged",
            Self::LastApplied => "last_applied",
            Self::AppliedState => "applied_state",
            Self::Membership => "membership",
            Self::LastInstalled => "last_installed",
            Self::AuditStaging => "audit_staging",
            Self::AuditTiles => "audit_tiles",
            Self::AuditSigned => "audit_signed",
            Self::AuditCheckpoint => "audit_checkpoint",
            Self::AuditRemoved => "audit_removed",
        }
    }

    pub(super) fn key(self, group: u32) -> Vec<u8> {
        prefixed(group, self.name().as_bytes())
    }
}

/// A key of `group`.
pub(super) fn prefixed(group: u32, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + key.len());
    bytes.extend_from_slice(&group.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

/// A key of `group` that is a number: an index or a sequence.
pub(super) fn numbered(group: u32, number: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&group.to_be_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// The number in a key made by [`numbered`]. `None` when the key has another shape.
pub(super) fn number_of(key: &[u8]) -> Option<u64> {
    let number: [u8; 8] = key.get(4..)?.try_into().ok()?;
    Some(u64::from_be_bytes(number))
}

/// The key of a tile of the audit log's tree.
pub(super) fn tile_key(group: u32, tile: Tile) -> [u8; 13] {
    let mut bytes = [0; 13];
    bytes[..4].copy_from_slice(&group.to_be_bytes());
    bytes[4] = tile.level;
    bytes[5..].copy_from_slice(&tile.index.to_be_bytes());
    bytes
}

/// The first key after all keys of `group`.
pub(super) fn end_of(group: u32) -> [u8; 4] {
    group.saturating_add(1).to_be_bytes()
}

/// How the database is opened.
pub(super) fn options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_paranoid_checks(true);
    // A write reaches the operating system before it returns, so a killed process loses nothing; a power cut
    // takes what was not yet synced, which nobody was told of.
    options.set_manual_wal_flush(false);
    // A torn record at the end of the log is what a power cut leaves: recovery stops there. It would stop as
    // quietly at damage in the middle; the checks at start-up are what notices that.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    // Two threads write, Raft's core and the state machine, and nearly always in the order of the keys: one that goes on
    // where the last write ended is faster than two that search side by side.
    options.set_allow_concurrent_memtable_write(false);
    // Nor does one wait for the other by spinning: on a small machine that takes the core that the other needs.
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_recycle_log_file_num(0);
    options.set_bytes_per_sync(1024 * 1024);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 * 1024 * 1024);
    options.set_log_level(LogLevel::Warn);
    options
}

/// The column families.
pub(super) fn families() -> Vec<ColumnFamilyDescriptor> {
    FAMILIES
        .into_iter()
        .map(|name| {
            let mut table = BlockBasedOptions::default();
            table.set_format_version(6);
            let mut options = Options::default();
            options.set_block_based_table_factory(&table);
            options.set_compression_type(DBCompressionType::Lz4);
            options.set_write_buffer_size(if name == RAFT_META { 4 } else { 32 } * 1024 * 1024);
            ColumnFamilyDescriptor::new(name, options)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_frozen() {
        assert_eq!(numbered(1, 258), [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(number_of(&numbered(7, 99)), Some(99));
        assert_eq!(number_of(b"short"), None);
        assert_eq!(tile_key(1, Tile { level: 2, index: 258 }), [0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(prefixed(1, b"flag"), b"\x00\x00\x00\x01flag");
        assert_eq!(end_of(1), [0, 0, 0, 2]);
        let names = [
            (MetaKey::Vote, "vote"),
            (MetaKey::Committed, "committed"),
            (MetaKey::LastPurged, "last_purged"),
            (MetaKey::LastApplied, "last_applied"),
            (MetaKey::AppliedState, "applied_state"),
            (MetaKey::Membership, "membership"),
            (MetaKey::LastInstalled, "last_installed"),
            (MetaKey::AuditStaging, "audit_staging"),
            (MetaKey::AuditTiles, "audit_tiles"),
            (MetaKey::AuditSigned, "audit_signed"),
            (MetaKey::AuditCheckpoint, "audit_checkpoint"),
            (MetaKey::AuditRemoved, "audit_removed"),
        ];
        for (key, name) in names {
            assert_eq!(key.key(1), prefixed(1, name.as_bytes()));
        }
    }
}
