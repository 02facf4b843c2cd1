//! Writing a backup, piece by piece.

use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::{Header, MAGIC};
use crate::{
    raft::Published,
    storage::{GROUP, Storage, StorageError},
};

/// Bytes of audit records that are read from the disk at a time; one may be more.
const PAGE_BYTES: usize = 1 << 20;

/// There is nothing to back up: this node has no catalog yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no catalog here yet; back up once the cluster is founded")]
pub struct NotFounded;

impl Header {
    /// The header of a backup of this state, made by `node` now.
    ///
    /// # Errors
    /// When the state belongs to no cluster yet.
    pub fn of(published: &Published, node: u64, made_at_ms: i64) -> Result<Self, NotFounded> {
        let state = &published.state;
        let (Some(founding), Some(position)) = (state.founding(), published.position) else {
            return Err(NotFounded);
        };
        Ok(Self {
            group: GROUP,
            cluster: founding.cluster,
            history: founding.history,
            position,
            revision: state.revision(),
            cluster_version: state.cluster_version(),
            audit_size: state.sequence(),
            audit_root: state.audit_root(),
            digest: state.digest().to_string(),
            node,
            made_at_ms,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// Writes a backup of `published`, whose audit records are in `storage`. Records are only ever appended there, or removed with
/// their hash left, so those that this state counts keep their root however long this takes. This blocks.
///
/// # Errors
/// When the disk fails, or `to` does.
pub fn write(
    header: &Header,
    published: &Published,
    storage: &Storage,
    to: &mut impl Write,
) -> Result<(), io::Error> {
    let mut to = Hashing { to, hash: Sha256::new() };
    to.write_all(MAGIC)?;
    let head = header.encode()?;
    to.length(head.len())?;
    to.write_all(&head)?;

    for (key, value) in published.state.rows() {
        to.length(key.len())?;
        to.length(value.len())?;
        to.write_all(&key)?;
        to.write_all(&value)?;
    }
    to.length(0)?;

    let mut next = 0;
    while next < header.audit_size {
        let page = storage.audit_page(next, header.audit_size, PAGE_BYTES)?;
        if page.is_empty() {
            return Err(StorageError::corrupt(format!("audit record {next} is missing")).into());
        }
        for row in page {
            to.length(row.bytes.len())?;
            to.write_all(&row.bytes)?;
            next = row.sequence.saturating_add(1);
        }
    }

    let hash = to.hash.finalize();
    to.to.write_all(&hash)?;
    to.to.flush()
}

/// Hashes what passes.
struct Hashing<'a, W> {
    to: &'a mut W,
    hash: Sha256,
}

impl<W: Write> Hashing<'_, W> {
    fn length(&mut self, length: usize) -> Result<(), io::Error> {
        self.write_all(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes())
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), io::Error> {
        self.hash.update(bytes);
        self.to.write_all(bytes)
    }
}
