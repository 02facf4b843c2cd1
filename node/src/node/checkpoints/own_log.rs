//! What a member's own log is, up to a size: what it signs, and what it holds the checkpoints of others against.

use std::{fmt, sync::Arc};

use flagraft_core::{
    checkpoint::{Checkpoint, Origin},
    identity::History,
    merkle::{Hash, root_at},
    record::is_removed,
};
use serde::Deserialize;

use crate::{
    raft::{AuditTree, Published},
    storage::{Storage, StorageError},
};

/// What this node's log is, up to a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnLog {
    size: u64,
    root: Hash,
    /// Which log the last record is of, and its time. `None` where retention removed that record: then the root alone
    /// says that it is the same one, for its leaf is still in the tree.
    last: Option<(Origin, i64)>,
}

/// What of a record a checkpoint says.
#[derive(Deserialize)]
struct Head {
    history: History,
    group: u32,
    time_ms: i64,
}

impl OwnLog {
    /// The log up to `size` records, at least one and no more than are published.
    pub(super) async fn of(
        storage: &Arc<Storage>,
        published: &Published,
        size: u64,
    ) -> Result<Self, StorageError> {
        let missing = |what: &str| {
            StorageError::corrupt(format!("{what} of the audit log's first {size} records is missing"))
        };
        let root = own_root(storage, published, size).await?;
        let cluster = published.state.cluster_id().ok_or_else(|| missing("the cluster"))?;
        let rows = Arc::clone(storage);
        let last = blocking(move || rows.audit_range(size.saturating_sub(1), 1)).await?;
        let row = last.first().ok_or_else(|| missing("the last"))?;
        let head = match is_removed(&row.bytes) {
            true => None,
            false => Some(serde_json::from_slice(&row.bytes).map_err(|_| missing("the head of the last"))?),
        };
        let last = head.map(|Head { history, group, time_ms }| (Origin { cluster, history, group }, time_ms));
        Ok(Self { size, root, last })
    }

    /// What there is to be signed of it; `None` where its last record was removed.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        let (origin, time_ms) = self.last?;
        Some(Checkpoint { origin, size: self.size, root: self.root, time_ms })
    }

    /// Whether a checkpoint is of this log.
    pub(super) fn is(&self, signed: &Checkpoint) -> bool {
        let is_last = self.last.is_none_or(|last| last == (signed.origin, signed.time_ms));
        is_last && (self.size, self.root) == (signed.size, signed.root)
    }
}

impl fmt::Display for OwnLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the root {}", hex::encode(self.root))?;
        match self.last {
            Some((origin, time_ms)) => write!(f, " at {time_ms} ms in {origin}"),
            None => f.write_str(", the last one removed by retention"),
        }
    }
}

/// The root of this node's log when it had `size` records.
pub(super) async fn own_root(
    storage: &Arc<Storage>,
    published: &Published,
    size: u64,
) -> Result<Hash, StorageError> {
    let mut tree = AuditTree::of(Arc::clone(storage), published);
    blocking(move || root_at(size, |level, index| tree.subtree(level, index))).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| StorageError::Failed(error.to_string()))?
}
