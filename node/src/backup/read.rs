//! Reading a backup, and everything that can be checked about it.

use std::io::{self, Read};

use flagraft_core::{
    digest::Digest,
    merkle::Frontier,
    record::{Chain, Link, is_removed, row_leaf_hash},
    rows::is_in_digest,
    state::State,
    version::ClusterVersion,
};
use sha2::{Digest as _, Sha256};

use super::{HASH_BYTES, HEADER_BYTES_MAX, Header, KEY_BYTES_MAX, MAGIC, VALUE_BYTES_MAX};
use crate::storage::GROUP;

/// Why a backup was not read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It can't be read.
    #[error("the backup can't be read: {0}")]
    Read(io::Error),
    /// It is damaged, cut off, or no backup.
    #[error("this backup is no good: {0}; use another one")]
    Bad(String),
    /// It was made by a newer version of the program.
    #[error("{0}; use the version of flagraft that made the backup, or a newer one")]
    TooNew(String),
    /// What was read could not be taken.
    #[error("{0}")]
    Taken(io::Error),
}

/// A part of a backup, as it is read.
#[derive(Debug)]
pub enum Part<'a> {
    /// What it says of itself.
    Header(&'a Header),
    /// A row of the state.
    Row {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// An audit record.
    Record {
        /// Its place in the log.
        sequence: u64,
        /// Its bytes.
        bytes: &'a [u8],
    },
}

/// Reads what a backup says of itself, and nothing more. Whether that is true, [`check`] says.
///
/// # Errors
/// When it does not begin as a backup does.
pub fn head(from: impl Read) -> Result<Header, BackupError> {
    Checker::new(from).head()
}

/// Reads a backup to its end and checks it: that no byte was changed, that the rows have the digest and the audit
/// records the root that it states, and that each record goes on where the one before it ended. `take` is given each
/// part as it is read; what it got counts only when this returns a header.
///
/// # Errors
/// When it can't be read or is no good, or `take` fails.
pub fn check(
    from: impl Read,
    mut take: impl FnMut(Part<'_>) -> io::Result<()>,
) -> Result<Header, BackupError> {
    let mut from = Checker::new(from);
    let header = from.head()?;
    take(Part::Header(&header)).map_err(BackupError::Taken)?;
    from.rows(&header, &mut take)?;
    from.records(&header, &mut take)?;
    from.end()?;
    Ok(header)
}

/// [`check`], and then that the rows make a state that this version can serve. Gives that state. `record` is given
/// each audit record, `step` is called for each part.
///
/// # Errors
/// As [`check`], or when the state is of a newer version.
pub fn load(
    from: impl Read,
    mut record: impl FnMut(u64, &[u8]) -> io::Result<()>,
    mut step: impl FnMut(&Part<'_>),
) -> Result<(Header, State), BackupError> {
    let mut rows = Vec::new();
    let header = check(from, |part| {
        step(&part);
        match part {
            Part::Header(_) => {}
            Part::Row { key, value } => rows.push((key, value)),
            Part::Record { sequence, bytes } => record(sequence, bytes)?,
        }
        Ok(())
    })?;
    if ClusterVersion::new(header.cluster_version).is_none() {
        return Err(BackupError::TooNew(format!(
            "the backup is of cluster version {}, and this version of flagraft knows {}",
            header.cluster_version,
            ClusterVersion::NEWEST
        )));
    }
    // The bytes are those that were written, so a row that does not load is of a version that this one does not know.
    let state = State::from_rows(rows).map_err(|error| BackupError::TooNew(error.to_string()))?;
    if state.digest() != state.recompute_digest()
        || state.revision() != header.revision
        || state.sequence() != header.audit_size
        || state.audit_root() != header.audit_root
        || state.cluster_id() != Some(header.cluster)
        || state.history() != Some(header.history)
    {
        return Err(bad("its rows make another state than its header says"));
    }
    Ok((header, state))
}

/// Reads and hashes.
struct Checker<R> {
    from: R,
    hash: Sha256,
    buffer: Vec<u8>,
}

impl<R: Read> Checker<R> {
    fn new(from: R) -> Self {
        Self { from, hash: Sha256::new(), buffer: Vec::new() }
    }

    fn head(&mut self) -> Result<Header, BackupError> {
        if self.bytes(MAGIC.len(), "its first line")? != MAGIC {
            return Err(bad("it does not begin as a backup does"));
        }
        let length = self.length(HEADER_BYTES_MAX, "its header")?;
        let header = Header::decode(self.bytes(length, "its header")?).map_err(|error| match error {
            crate::raft::codec::CodecError::KindVersion { .. } => BackupError::TooNew(error.to_string()),
            _ => bad(format!("its header: {error}")),
        })?;
        if header.group != GROUP {
            return Err(bad(format!("it is of group {}", header.group)));
        }
        Ok(header)
    }

    fn rows(
        &mut self,
        header: &Header,
        take: &mut impl FnMut(Part<'_>) -> io::Result<()>,
    ) -> Result<(), BackupError> {
        let mut digest = Digest::default();
        loop {
            let key_bytes = self.length(KEY_BYTES_MAX, "a row")?;
            if key_bytes == 0 {
                break;
            }
            let value_bytes = self.length(VALUE_BYTES_MAX, "a row")?;
            let key = self.bytes(key_bytes, "a row")?.to_vec();
            let value = self.bytes(value_bytes, "a row")?.to_vec();
            if is_in_digest(&key) {
                digest.add(&key, &value);
            }
            take(Part::Row { key, value }).map_err(BackupError::Taken)?;
        }
        if digest.to_string() != header.digest {
            return Err(bad("its rows do not have the digest that it states"));
        }
        Ok(())
    }

    fn records(
        &mut self,
        header: &Header,
        take: &mut impl FnMut(Part<'_>) -> io::Result<()>,
    ) -> Result<(), BackupError> {
        let mut tree = Frontier::default();
        let mut chain = Chain::new(header.group);
        while tree.size() < header.audit_size {
            let sequence = tree.size();
            let length = self.length(VALUE_BYTES_MAX, "an audit record")?;
            let bytes = self.bytes(length, "an audit record")?;
            let leaf = row_leaf_hash(bytes)
                .ok_or_else(|| bad(format!("audit record {sequence} is not a record")))?;
            // Of one that retention removed only the hash is left.
            if !is_removed(bytes) {
                let link = Link::read(bytes)
                    .ok_or_else(|| bad(format!("audit record {sequence} is not a record")))?;
                chain.pass_over_to(sequence);
                chain.follow(&link).map_err(|broken| {
                    bad(format!(
                        "audit record {sequence} does not go on where the one before it ended: {broken}"
                    ))
                })?;
            }
            tree.push_hash(leaf);
            take(Part::Record { sequence, bytes }).map_err(BackupError::Taken)?;
        }
        if tree.root() != header.audit_root {
            return Err(bad("its audit records do not have the root that it states"));
        }
        match chain.last() {
            Some(last)
                // A backup that was made while records were removed may lack its last one. The root is of it all the same.
                if chain.next() < header.audit_size && last.revision_after <= header.revision =>
            {
                Ok(())
            }
            Some(last)
                if last.revision_after == header.revision
                    && last.history == header.history
                    && last.digest.to_string() == header.digest =>
            {
                Ok(())
            }
            _ => Err(bad("its audit log does not lead to its state")),
        }
    }

    /// The hash, and nothing after it.
    fn end(mut self) -> Result<(), BackupError> {
        let hash: [u8; HASH_BYTES] = self.hash.clone().finalize().into();
        if self.bytes(HASH_BYTES, "its hash")? != hash {
            return Err(bad("its SHA-256 does not match"));
        }
        let mut more = [0];
        match self.from.read(&mut more).map_err(BackupError::Read)? {
            0 => Ok(()),
            _ => Err(bad("something follows its end")),
        }
    }

    fn length(&mut self, max: usize, what: &str) -> Result<usize, BackupError> {
        let bytes = self.bytes(4, what)?;
        let length = bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= max)
            .ok_or_else(|| bad(format!("{what} of {length} bytes")))
    }

    /// The next `count` bytes. Memory grows with what comes, not with what a damaged length says.
    fn bytes(&mut self, count: usize, what: &str) -> Result<&[u8], BackupError> {
        self.buffer.clear();
        let limit = u64::try_from(count).unwrap_or(u64::MAX);
        let found =
            self.from.by_ref().take(limit).read_to_end(&mut self.buffer).map_err(BackupError::Read)?;
        if found < count {
            return Err(bad(format!("it ends within {what}")));
        }
        self.hash.update(&self.buffer);
        Ok(&self.buffer)
    }
}

fn bad(what: impl Into<String>) -> BackupError {
    BackupError::Bad(what.into())
}
