//! Backups: the catalog at one revision and the whole audit log up to it, as one file.
//!
//! ```text
//! "flagraft backup\n"
//! header length u32, header (an envelope of kind Backup)
//! rows of the state: key length u32, value length u32, key, value; after the last a zero u32
//! audit records from 0 on, as many as the header says: length u32, bytes
//! SHA-256 of all that
//! ```
//!
//! Numbers are big-endian. The rows are those of a snapshot, among them the tokens, of which the state keeps only the
//! SHA-256 of each secret. A backup is made while the cluster runs, from a state that is never changed in place, and
//! read and written in pieces: neither side has the audit log in memory.

mod header;
mod read;
mod staged;
mod write;

pub use self::{
    header::Header,
    read::{BackupError, Part, check, head, load},
    staged::{StageError, Staged, Words, stage},
    write::{NotFounded, write},
};

/// How every backup begins, so that one can tell what the file is.
const MAGIC: &[u8] = b"flagraft backup\n";
/// No header is longer.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// No key of a row is longer.
const KEY_BYTES_MAX: usize = 64 * 1024;
/// No value of a row and no record is longer, so that a damaged length can't ask for all memory.
const VALUE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Bytes of the hash at the end.
const HASH_BYTES: usize = 32;

#[cfg(test)]
mod tests;
