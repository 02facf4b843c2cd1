//! Replaces the state by a snapshot's, in one step that either happened or did not.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
};

use flagraft_core::merkle::Frontier;

use super::{
    snapshot::{self, Catalog, SnapshotData},
    types::SnapshotMeta,
    wire::{encode_log_id, encode_membership},
};
use crate::storage::{AuditRow, MetaKey, Storage, StorageError};

/// Bytes of audit records written in one batch.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Audit records read at a time.
const PAGE_RECORDS: usize = 1_000;

/// Checks a snapshot, then makes it the state. This blocks.
///
/// Audit records go first, beyond the end of those the present state counts, where nobody looks for them. Then one
/// synced batch replaces the rows, the applied position and the membership, and so takes the records in. A crash
/// before it leaves the old state, and start-up removes the surplus records; a crash after it leaves the new one.
pub(super) fn install(
    storage: &Storage,
    meta: &SnapshotMeta,
    data: &SnapshotData,
) -> Result<Catalog, io::Error> {
    let catalog = snapshot::read(&data.catalog)?;
    if catalog.meta != *meta {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a snapshot of {} was announced as one of {meta}", catalog.meta),
        ));
    }

    let mut records = match &data.audit {
        Some(file) => Some(AuditReader::new(file)?),
        None => None,
    };
    take_in_records(storage, &catalog, || records.as_mut().map_or(Ok(None), AuditReader::next))?;

    // Gone before the state moves on: after a crash an older snapshot would not reach up to where the log starts.
    snapshot::remove_all(storage)?;

    let last_log_id = catalog.meta.last_log_id.as_ref().map(encode_log_id).transpose()?;
    let mut batch = storage.batch();
    batch.clear_state();
    for (key, value) in &catalog.rows {
        batch.row(key, Some(value));
    }
    batch.meta(MetaKey::LastApplied, last_log_id.as_deref());
    batch.meta(MetaKey::LastInstalled, last_log_id.as_deref());
    batch.meta(MetaKey::Membership, Some(&encode_membership(&catalog.meta.last_membership)?));
    batch.meta(MetaKey::AuditStaging, None);
    batch.commit()?;
    storage.sync_blocking()?;

    keep_catalog(storage, data, meta)?;
    tracing::info!(snapshot = %meta, rows = catalog.rows.len(), "a snapshot is installed");
    Ok(catalog)
}

/// Writes the records that the catalog counts and the disk lacks, after proof that with them the audit log has the
/// root that the catalog states.
fn take_in_records(
    storage: &Storage,
    catalog: &Catalog,
    mut next: impl FnMut() -> Result<Option<AuditRow>, io::Error>,
) -> Result<(), io::Error> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let wanted = catalog.state.sequence();
    let mut tree = Frontier::default();
    loop {
        let page = storage.audit_range(tree.size(), PAGE_RECORDS)?;
        if page.is_empty() {
            break;
        }
        page.iter().for_each(|row| tree.push(&row.bytes));
    }
    let present = tree.size();
    if present > wanted {
        return Err(invalid(format!(
            "the snapshot counts {wanted} audit records and this node has {present} already"
        )));
    }

    let mut batch = storage.batch();
    if present < wanted {
        batch.meta(MetaKey::AuditStaging, Some(&present.to_be_bytes()));
    }
    while tree.size() < wanted {
        let Some(row) = next()? else {
            return Err(invalid(format!("audit record {} is missing from the snapshot", tree.size())));
        };
        // Those that were applied here since the transfer began are skipped; the root below covers them all.
        if row.sequence < tree.size() {
            continue;
        }
        if row.sequence != tree.size() {
            return Err(invalid(format!("audit record {} where {} belongs", row.sequence, tree.size())));
        }
        tree.push(&row.bytes);
        batch.record(row.sequence, &row.bytes);
        if batch.size_bytes() >= BATCH_BYTES {
            std::mem::replace(&mut batch, storage.batch()).commit()?;
        }
    }
    if tree.root() != catalog.state.audit_root() {
        // What was written of it lies beyond the end, and start-up removes it.
        return Err(invalid("the audit records do not have the root that the snapshot states".to_owned()));
    }
    Ok(batch.commit()?)
}

/// Keeps the installed catalog as this node's own newest snapshot.
fn keep_catalog(storage: &Storage, data: &SnapshotData, meta: &SnapshotMeta) -> Result<(), io::Error> {
    let path = storage.snapshot_dir().join("installed.tmp");
    let copy = File::create(&path).map_err(StorageError::file(&path))?;
    let mut from: &File = &data.catalog;
    from.rewind()?;
    let mut to = BufWriter::new(&copy);
    io::copy(&mut from, &mut to).and_then(|_| to.flush()).map_err(StorageError::file(&path))?;
    copy.sync_all().map_err(StorageError::file(&path))?;
    snapshot::put_in_place(storage, &path, meta)
}

/// Reads the audit part of a received snapshot: sequence u64, length u32, bytes; big-endian.
struct AuditReader<'a> {
    from: BufReader<&'a File>,
    left: u64,
}

impl<'a> AuditReader<'a> {
    fn new(mut file: &'a File) -> Result<Self, io::Error> {
        file.rewind()?;
        Ok(Self { from: BufReader::new(file), left: file.metadata()?.len() })
    }

    fn next(&mut self) -> Result<Option<AuditRow>, io::Error> {
        const HEAD_BYTES: u64 = 12;
        if self.left == 0 {
            return Ok(None);
        }
        let (mut sequence, mut length) = ([0; 8], [0; 4]);
        self.from.read_exact(&mut sequence)?;
        self.from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        self.left = self
            .left
            .checked_sub(HEAD_BYTES + u64::from(length))
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        self.from.read_exact(&mut bytes)?;
        Ok(Some(AuditRow { sequence: u64::from_be_bytes(sequence), bytes }))
    }
}
