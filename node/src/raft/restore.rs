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
    InitializeError, Replica,
    snapshot::{self, SnapshotData, blocking},
    types::{LeaderId, LogId, Membership, NodeMeta, SnapshotMeta, StoredMembership, Vote},
};
use crate::{
    backup::{StageError, Staged},
    storage::{MetaKey, Storage, StorageError},
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

/// Writes the backup's audit records to where those of a snapshot wait, and gives its catalog.
fn read_in(
    storage: &Storage,
    staged: &Staged,
    judge: impl FnOnce(&State) -> Result<(), StageError>,
) -> Result<RestoredCatalog, RestoreError> {
    // Whatever an earlier attempt left.
    storage.trim_audit(0).map_err(io::Error::from)?;
    let mut batch = storage.batch();
    batch.meta(MetaKey::AuditStaging, Some(&0_u64.to_be_bytes()));
    let state = staged.load(|sequence, bytes| {
        batch.record(sequence, bytes);
        if batch.size_bytes() >= BATCH_BYTES {
            std::mem::replace(&mut batch, storage.batch()).commit()?;
        }
        Ok(())
    })?;
    batch.commit().map_err(io::Error::from)?;
    judge(&state)?;
    Ok(RestoredCatalog { state: state.without_founding(), position: staged.header().position })
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
    snapshot::write(&file, state, meta)?;
    // Kept open until it is installed, and gone with that.
    fs::remove_file(&path).map_err(StorageError::file(&path))?;
    Ok(SnapshotData {
        catalog_bytes: file.metadata()?.len(),
        catalog: Arc::new(file),
        audit_size: state.sequence(),
        audit: None,
    })
}
