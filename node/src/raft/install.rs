//! Replaces the state by a snapshot's, in one step that either happened or did not.

use std::{io, ops::ControlFlow};

use flagraft_core::record::row_leaf_hash;

use super::{
    applied,
    catalog_file::{self, Catalog},
    removal, removed_ahead,
    snapshot::{CatalogFile, Finished, SnapshotData},
    tiles::OpenTiles,
    types::SnapshotMeta,
    wire::{encode_log_id, encode_membership},
};
use crate::storage::{MetaKey, Storage, StorageError};

/// A snapshot of which everything is checked: its catalog by itself, and the audit records on this node's disk by the
/// root that the catalog states.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    file: CatalogFile,
    catalog: Catalog,
    /// How many records were counted here when the ones beyond them were proved.
    proved_from: u64,
    /// The growing tiles of the audit log with them. Those that they complete are on the disk.
    tiles: OpenTiles,
}

/// Why a snapshot can't be installed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    /// The catalog is not what it says, or can't be read.
    #[error("{0}")]
    Catalog(#[source] io::Error),
    /// The records beyond the counted ones are not those that the catalog counts, or not all of them.
    #[error("{0}")]
    Records(String),
    /// This node's disk failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<CheckError> for io::Error {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Catalog(error) => error,
            CheckError::Records(what) => Self::new(io::ErrorKind::InvalidData, what),
            CheckError::Storage(error) => error.into(),
        }
    }
}

/// Checks a snapshot by what is on the disk. `counted` is of the audit records that the present state counts.
/// This blocks for as long as it takes to read the catalog and the records beyond the counted ones.
///
/// # Errors
/// See [`CheckError`].
pub(super) fn check(
    storage: &Storage,
    counted: &OpenTiles,
    file: CatalogFile,
) -> Result<Checked, CheckError> {
    let catalog = catalog_file::read(&file.file).map_err(CheckError::Catalog)?;
    let tiles = prove(storage, counted, &catalog)?;
    Ok(Checked { file, catalog, proved_from: counted.size(), tiles })
}

/// Proves that the records on the disk beyond the counted ones are those that the catalog counts. Returns the growing
/// tiles of the log with them; those that they complete are staged, where nobody looks for them either.
fn prove(storage: &Storage, counted: &OpenTiles, catalog: &Catalog) -> Result<OpenTiles, CheckError> {
    let wanted = catalog.state.sequence();
    let mut tiles = counted.clone();
    if tiles.size() > wanted {
        return Err(CheckError::Records(format!(
            "the snapshot counts {wanted} audit records and this node counts {} already",
            tiles.size()
        )));
    }
    if tiles.size() < wanted {
        storage.scan_audit::<CheckError>(counted.size(), |sequence, row| {
            let leaf = row_leaf_hash(row)
                .ok_or_else(|| CheckError::Records(format!("audit record {sequence} is none")))?;
            for (tile, bytes) in tiles.push(leaf) {
                storage.stage_tile(tile, &bytes)?;
            }
            Ok(if tiles.size() < wanted { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
    }
    if tiles.size() < wanted {
        return Err(CheckError::Records(format!("audit record {} is missing", tiles.size())));
    }
    if tiles.frontier().as_ref() != Some(catalog.state.audit_frontier()) {
        return Err(CheckError::Records(
            "the audit records do not have the root that the snapshot states".to_owned(),
        ));
    }
    Ok(tiles)
}

/// Makes a snapshot the state; returns it, and the growing tiles of its audit log. This blocks.
///
/// Its audit records are here already, beyond the end of those the present state counts, where nobody looks for them.
/// One synced batch replaces the rows, the applied position and the membership, and so takes the records in. A crash
/// before it leaves the old state and the surplus records, a crash after it the new state.
pub(super) fn install(
    storage: &Storage,
    counted: &OpenTiles,
    meta: &SnapshotMeta,
    data: SnapshotData,
) -> Result<(Catalog, OpenTiles), io::Error> {
    let checked = match data {
        SnapshotData::Stored(file) => check(storage, counted, file)?,
        SnapshotData::Received(checked) => {
            let mut checked = *checked;
            if checked.proved_from != counted.size() {
                // Entries were applied since: what they wrote must fit to the rest.
                checked.tiles = prove(storage, counted, &checked.catalog)?;
            }
            checked
        }
        SnapshotData::Covered => {
            return Err(invalid(format!(
                "nothing has come of the snapshot {meta}, which is to be installed"
            )));
        }
    };
    let Checked { file, catalog, tiles, .. } = checked;
    if catalog.meta != *meta {
        return Err(invalid(format!("a snapshot of {} was announced as one of {meta}", catalog.meta)));
    }

    // Gone before the state moves on: after a crash an older snapshot would not reach up to where the log starts. And none
    // comes before the new one is there.
    let finished = Finished::of(storage);
    finished.remove_all()?;

    // Before anybody can read here what the others have removed. What the entries of these removals did on other nodes is
    // done here by their records; a crash after it leaves records that are removed a little early, which changes no hash.
    removed_ahead::note_of_snapshot(storage, counted.size(), tiles.size())?;
    removal::catch_up(storage, counted.size(), &tiles)?;

    let last_log_id = catalog.meta.last_log_id.as_ref().map(encode_log_id).transpose()?;
    let mut batch = storage.batch();
    batch.clear_state();
    for (key, value) in catalog.state.rows() {
        batch.row(&key, Some(&value));
    }
    batch.take_in_staged(catalog.state.sequence());
    applied::put(&mut batch, catalog.meta.last_log_id.as_ref(), &catalog.state)?;
    batch.meta(MetaKey::LastInstalled, last_log_id.as_deref());
    batch.meta(MetaKey::Membership, Some(&encode_membership(&catalog.meta.last_membership)?));
    batch.commit()?;
    storage.sync_blocking()?;

    finished.keep(&file)?;
    drop(finished);
    let entry = meta.last_log_id.map_or(0, |id| id.index);
    tracing::info!(entry, records = catalog.state.sequence(), "a snapshot is installed");
    Ok((catalog, tiles))
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
