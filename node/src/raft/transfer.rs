//! A snapshot on its way from the leader: cut into pieces on one side, put together and checked on the other.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{
    message::{SnapshotChunkV1, SnapshotInstallV1, SnapshotOfferV1, SnapshotPart},
    snapshot::SnapshotData,
    types::SnapshotMeta,
};
use crate::storage::{Storage, StorageError};

/// Bytes of one piece.
pub(super) const CHUNK_BYTES: usize = 1024 * 1024;
/// Audit records read from the disk at a time.
const PAGE_RECORDS: usize = 1_000;

/// Cuts one part of a snapshot into pieces, and hashes what it hands out.
pub(super) struct Pieces {
    source: Source,
    offset: u64,
    hash: Sha256,
}

enum Source {
    Catalog(Arc<File>),
    Audit { storage: Arc<Storage>, next: u64, end: u64 },
}

impl Pieces {
    /// The pieces of a catalog file.
    pub(super) fn of_catalog(file: Arc<File>) -> Self {
        Self { source: Source::Catalog(file), offset: 0, hash: Sha256::new() }
    }

    /// The pieces of the audit records `[from, end)`.
    pub(super) fn of_audit(storage: Arc<Storage>, from: u64, end: u64) -> Self {
        Self { source: Source::Audit { storage, next: from, end }, offset: 0, hash: Sha256::new() }
    }

    /// The next piece and its offset; `None` after the last. This blocks.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Vec<u8>)>, io::Error> {
        let bytes = match &mut self.source {
            Source::Catalog(file) => read_piece(file, self.offset)?,
            Source::Audit { storage, next, end } => {
                let (bytes, after) = records(storage, *next, *end)?;
                *next = after;
                bytes
            }
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        self.hash.update(&bytes);
        let start = self.offset;
        self.offset += u64::try_from(bytes.len()).map_err(io::Error::other)?;
        Ok(Some((start, bytes)))
    }

    /// The hash of all pieces handed out.
    pub(super) fn sha256(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

fn read_piece(file: &File, offset: u64) -> Result<Vec<u8>, io::Error> {
    let mut bytes = vec![0; CHUNK_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        let at = offset + u64::try_from(filled).map_err(io::Error::other)?;
        match file.read_at(&mut bytes[filled..], at)? {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Whole records from `next` on, about [`CHUNK_BYTES`] of them, and the sequence of the first that is not among them.
fn records(storage: &Storage, mut next: u64, end: u64) -> Result<(Vec<u8>, u64), io::Error> {
    let mut bytes = Vec::new();
    while bytes.len() < CHUNK_BYTES && next < end {
        let limit = usize::try_from(end - next).unwrap_or(PAGE_RECORDS).min(PAGE_RECORDS);
        let page = storage.audit_range(next, limit)?;
        if page.is_empty() {
            return Err(StorageError::corrupt(format!("audit record {next} is missing")).into());
        }
        for row in page {
            if !bytes.is_empty() && bytes.len() + row.bytes.len() > CHUNK_BYTES {
                return Ok((bytes, next));
            }
            bytes.extend_from_slice(&row.sequence.to_be_bytes());
            bytes.extend_from_slice(&u32::try_from(row.bytes.len()).map_err(io::Error::other)?.to_be_bytes());
            bytes.extend_from_slice(&row.bytes);
            next = row.sequence + 1;
        }
    }
    Ok((bytes, next))
}

/// Why a piece of a snapshot was not taken. The leader starts again.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferRefusal {
    /// The transfer was replaced by another, or never announced.
    #[error("there is no snapshot transfer {0} here")]
    Unknown(u64),
    /// A piece was lost, repeated or is not what was announced.
    #[error("{0}")]
    Mismatch(String),
    /// This node's disk failed.
    #[error("the piece could not be written: {0}")]
    Disk(#[from] io::Error),
}

/// The one snapshot that is on its way to this node, if any.
#[derive(Default)]
pub(super) struct Incoming(Mutex<Option<Transfer>>);

struct Transfer {
    offer: SnapshotOfferV1,
    catalog: Part,
    audit: Part,
}

struct Part {
    file: File,
    size: u64,
    hash: Sha256,
}

impl Incoming {
    /// Makes room for an announced snapshot, in place of any unfinished one. Returns how many audit records are here
    /// already. This blocks.
    pub(super) fn begin(&self, storage: &Storage, offer: SnapshotOfferV1) -> Result<u64, TransferRefusal> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = |name: &str| {
            let path = storage.incoming_dir().join(name);
            // Unlinked first: an installation that still reads the old file keeps it.
            _ = fs::remove_file(&path);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(StorageError::file(&path))
                .map_err(io::Error::from)?;
            Ok::<_, TransferRefusal>(Part { file, size: 0, hash: Sha256::new() })
        };
        let (catalog, audit) = (part("catalog.tmp")?, part("audit.tmp")?);
        *current = Some(Transfer { offer, catalog, audit });
        Ok(storage.audit_end().map_err(io::Error::from)?)
    }

    /// Takes a piece. Returns the offset of the next one. This blocks.
    pub(super) fn add(&self, chunk: &SnapshotChunkV1) -> Result<u64, TransferRefusal> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transfer = current
            .as_mut()
            .filter(|transfer| transfer.offer.transfer == chunk.transfer)
            .ok_or(TransferRefusal::Unknown(chunk.transfer))?;
        let (part, limit) = match chunk.part {
            SnapshotPart::Catalog => (&mut transfer.catalog, transfer.offer.catalog_bytes),
            SnapshotPart::Audit => (&mut transfer.audit, u64::MAX),
        };
        let length = u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX);
        let end = part.size.saturating_add(length);
        if chunk.offset != part.size || end > limit {
            return Err(TransferRefusal::Mismatch(format!(
                "a piece of {length} bytes at {} where {} of {limit} have arrived",
                chunk.offset, part.size
            )));
        }
        part.file.write_all(&chunk.bytes)?;
        part.hash.update(&chunk.bytes);
        part.size = end;
        Ok(end)
    }

    /// Ends a transfer: hands out what has arrived when it is what was sent.
    pub(super) fn finish(
        &self,
        end: &SnapshotInstallV1,
    ) -> Result<(SnapshotMeta, SnapshotData), TransferRefusal> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transfer = current
            .take_if(|transfer| transfer.offer.transfer == end.transfer)
            .ok_or(TransferRefusal::Unknown(end.transfer))?;
        drop(current);
        let Transfer { offer, catalog, audit } = transfer;
        if catalog.size != offer.catalog_bytes {
            return Err(TransferRefusal::Mismatch(format!(
                "{} of {} bytes of the catalog have arrived",
                catalog.size, offer.catalog_bytes
            )));
        }
        for (part, sent) in [(&catalog, end.catalog_sha256), (&audit, end.audit_sha256)] {
            if <[u8; 32]>::from(part.hash.clone().finalize()) != sent {
                return Err(TransferRefusal::Mismatch("a part is not what was sent".to_owned()));
            }
        }
        let meta = offer
            .meta
            .try_into()
            .map_err(|error: super::codec::CodecError| TransferRefusal::Mismatch(error.to_string()))?;
        let data = SnapshotData {
            catalog: Arc::new(catalog.file),
            catalog_bytes: offer.catalog_bytes,
            audit_size: offer.audit_size,
            audit: Some(Arc::new(audit.file)),
        };
        Ok((meta, data))
    }
}
