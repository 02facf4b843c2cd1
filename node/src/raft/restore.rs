//! Founding a cluster on a catalog that came from a backup.
//!
//! The catalog becomes a snapshot that this node installs as if a leader had sent it, and the founding members are the
//! membership in it. So it goes the way of every snapshot, with its checks and its one step that either happened or
//! did not; and the other members, whose logs are empty, get it as every member does that lacks the start of the log.
//!
//! The snapshot stands where the backup stood in the log of its cluster, one term later: what is proposed next goes on
//! from there, and the audit log's positions never go back.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    sync::Arc,
};

use flagraft_core::{identity::LogPosition, state::State};
use openraft::{Snapshot, vote::RaftLeaderId};

use super::{
    InitializeError, Replica, catalog_file,
    snapshot::{CatalogFile, SnapshotData, blocking},
    types::{LeaderId, LogId, Membership, NodeMeta, SnapshotMeta, StoredMembership, Vote},
};
use crate::{
    backup::{StageError, Staged},
    storage::{Storage, StorageError},
};

/// Bytes of audit records written in one batch.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The leader that the snapshot is of. No node has this id: nobody led when it was made.
const NOBODY: u64 = 0;

/// Why a cluster could not be founded on a backup.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup can't be used.
    #[error(transparent)]
    Backup(#[from] StageError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// The cluster can't be founded.
    #[error(transparent)]
    Initialize(#[from] InitializeError),
}

/// A backup's catalog, read and checked, whose audit records are on the disk already, where those of a snapshot wait.
pub struct RestoredCatalog {
    state: State,
    position: LogPosition,
}

impl Replica {
    /// Reads a backup in, before anybody is told of it. `judge` may refuse the catalog.
    ///
    /// # Errors
    /// When the backup can't be used, or `judge` refuses.
    pub async fn load_restored(
        &self,
        staged: Staged,
        judge: impl FnOnce(&State) -> Result<(), StageError> + Send + 'static,
    ) -> Result<RestoredCatalog, RestoreError> {
        let storage = Arc::clone(&self.inner.storage);
        blocking(move || Ok(read_in(&storage, &staged, judge))).await?
    }

    /// Founds a cluster of these members, this node among them, on a backup: in place of [`Replica::initialize`], for
    /// one node, once. The catalog has no history then; the first entry brings it.
    ///
    /// # Errors
    /// When there is a cluster already, this node is not among the members, or the disk fails.
    pub async fn initialize_restored(
        &self,
        members: BTreeMap<u64, NodeMeta>,
        catalog: RestoredCatalog,
    ) -> Result<(), RestoreError> {
        if !members.contains_key(&self.inner.node_id) {
            return Err(InitializeError::NotAMember.into());
        }
        let RestoredCatalog { state, position } = catalog;
        let leader_id = LeaderId::new(position.term.saturating_add(1), NOBODY);
        let log_id = LogId { leader_id, index: position.index };
        let voters = members.keys().copied().collect();
        let membership = Membership::new(vec![voters], members).map_err(io::Error::other)?;
        let meta = SnapshotMeta {
            last_log_id: Some(log_id),
            last_membership: StoredMembership::new(Some(log_id), membership),
        };
        let (storage, of) = (Arc::clone(&self.inner.storage), meta.clone());
        let snapshot = blocking(move || snapshot_of(&storage, &state, &of)).await?;
        let vote = Vote { leader_id, committed: true };
        self.inner
            .raft
            .install_full_snapshot(vote, Snapshot { meta, snapshot })
            .await
            .map_err(|fatal| InitializeError::Stopped(fatal.to_string()))?;
        match self.published().position.map(|position| position.index) {
            Some(installed) if installed >= log_id.index => Ok(()),
            // Raft knows of something newer: somebody founded a cluster with this node meanwhile.
            _ => Err(InitializeError::AlreadyInitialized.into()),
        }
    }
}

/// Stages the backup's audit records as those of a snapshot, and gives its catalog.
fn read_in(
    storage: &Storage,
    staged: &Staged,
    judge: impl FnOnce(&State) -> Result<(), StageError>,
) -> Result<RestoredCatalog, RestoreError> {
    // Whatever an earlier attempt left.
    storage.discard_staged().map_err(io::Error::from)?;
    let mut records = Records { storage, first: 0, waiting: Vec::new(), bytes: 0 };
    let state = staged.load(|_, bytes| records.take(bytes))?;
    records.write()?;
    judge(&state)?;
    Ok(RestoredCatalog { state: state.without_founding(), position: staged.header().position })
}

/// Audit records on their way to the disk, a batch at a time.
struct Records<'a> {
    storage: &'a Storage,
    /// The sequence of the first that waits.
    first: u64,
    waiting: Vec<Vec<u8>>,
    bytes: usize,
}

impl Records<'_> {
    fn take(&mut self, record: &[u8]) -> Result<(), io::Error> {
        self.waiting.push(record.to_vec());
        self.bytes = self.bytes.saturating_add(record.len());
        if self.bytes >= BATCH_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), io::Error> {
        self.first = self.storage.stage_records(self.first, &self.waiting).map_err(io::Error::other)?;
        self.waiting.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// The catalog as a snapshot.
fn snapshot_of(storage: &Storage, state: &State, meta: &SnapshotMeta) -> Result<SnapshotData, io::Error> {
    let path = storage.snapshot_dir().join("restored.tmp");
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .map_err(StorageError::file(&path))?;
    catalog_file::write(&file, state, meta)?;
    // Kept open until it is installed, and gone with that.
    fs::remove_file(&path).map_err(StorageError::file(&path))?;
    Ok(SnapshotData::Stored(CatalogFile::of(file)?))
}
