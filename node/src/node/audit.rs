//! What a node tells of the audit log.

use std::{ops::Range, sync::Arc, time::Duration};

use flagraft_core::{
    checkpoint::{Checkpoint, Origin},
    merkle::root_at,
    note::Note,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{Node, SignedCheckpoint};
use crate::{
    audit::{Budget, Export, Filter, Found, Order, Search, first_since, last_time, removed_since, write},
    pieces::{PieceStream, Pieces},
    raft::{AuditTree, Published},
    storage::{AuditRow, Storage, StorageError},
};

/// Between two looks whether a checkpoint has come.
const CHECKPOINT_PAUSE: Duration = Duration::from_millis(20);

/// Records of one page of the audit log, at most.
pub const AUDIT_PAGE_MAX: usize = 1_000;

impl Node {
    /// At most `limit` (and [`AUDIT_PAGE_MAX`]) audit records from sequence `from` on, none of them ahead of the
    /// state that is published.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn audit_page(&self, from: u64, limit: usize) -> Result<Vec<AuditRow>, StorageError> {
        let published = self.published().state.sequence();
        let left = usize::try_from(published.saturating_sub(from)).unwrap_or(usize::MAX);
        let limit = limit.min(AUDIT_PAGE_MAX).min(left);
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.with_storage(move |storage| storage.audit_range(from, limit)).await
    }

    /// The rows with the first of these sequences, which a published state counts: as many as it takes to have `bytes`, or
    /// all.
    ///
    /// # Errors
    /// When the disk fails, or one is missing.
    pub(crate) async fn audit_rows(
        &self,
        sequences: Vec<u64>,
        bytes: usize,
    ) -> Result<Vec<Vec<u8>>, StorageError> {
        self.with_storage(move |storage| storage.audit_rows(&sequences, bytes)).await
    }

    /// At most `limit` of the records of `range` that are asked for, in the log of a published state.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) async fn find_audit_records(
        &self,
        published: &Published,
        filter: Filter,
        range: Range<u64>,
        order: Order,
        limit: usize,
        budget: Budget,
    ) -> Result<Found, StorageError> {
        let tree = self.tree(published);
        self.with_storage(move |storage| {
            Search::new(storage, &filter, tree).find(range, order, limit, budget)
        })
        .await
    }

    /// The sequence of the first of these records that is not older than this time; the range's end where there is none.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) async fn first_audit_record_since(
        &self,
        range: Range<u64>,
        time_ms: i64,
    ) -> Result<u64, StorageError> {
        self.with_storage(move |storage| first_since(storage, range, time_ms)).await
    }

    /// The sequence of the last record of a removal, from `from` on, that is published.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) async fn last_audit_removal(&self, from: u64) -> Result<Option<u64>, StorageError> {
        let by = from..self.published().state.sequence();
        self.with_storage(move |storage| removed_since(storage, by, 0..u64::MAX)).await
    }

    /// Starts to write an export. Whoever takes nothing of it for `stall` is given up; `permit` is kept until it ends.
    pub(crate) fn export(
        &self,
        export: Export,
        stall: Duration,
        permit: OwnedSemaphorePermit,
    ) -> PieceStream {
        let (storage, stop) = (Arc::clone(&self.storage), self.stop.subscribe());
        // What is published is at least what the checkpoint is of.
        let tree = self.tree(&self.published());
        let make = move |to: &mut Pieces| write(&export, &storage, &tree, to);
        PieceStream::start("an export of the audit log", stall, stop, permit, make)
    }

    /// The newest checkpoint that a majority of the nodes signed, once it is of at least `size` records; waits for it, but
    /// not for long. `None`: there is none. It is never of more records than are published here.
    pub(crate) async fn checkpoint_of(&self, size: u64, within: Duration) -> Option<Arc<SignedCheckpoint>> {
        let covering = async {
            loop {
                let published = self.published().state.sequence();
                let newest = self.checkpoint().map(|newest| (newest.checkpoint.size, newest));
                if let Some((of, newest)) = newest
                    && (size..=published).contains(&of)
                {
                    return newest;
                }
                tokio::time::sleep(CHECKPOINT_PAUSE).await;
            }
        };
        tokio::time::timeout(within, covering).await.ok()
    }

    /// What the log of a published state is: a checkpoint that nobody has signed.
    ///
    /// # Errors
    /// When the disk fails, or there is no such log.
    pub(crate) async fn unsigned_checkpoint(
        &self,
        published: &Published,
        origin: Origin,
    ) -> Result<Note, StorageError> {
        let (size, mut tree) = (published.state.sequence(), self.tree(published));
        let made = self.with_storage(move |storage| {
            let root = root_at(size, |level, index| tree.subtree(level, index))?;
            Ok(Checkpoint { origin, size, root, time_ms: last_time(storage, size)? })
        });
        Note::new(made.await?.to_string()).map_err(|error| StorageError::corrupt(error.to_string()))
    }

    /// Reads of the audit log's tree, as a published state has it; `read` may block.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) async fn audit_tree<T: Send + 'static>(
        &self,
        published: &Published,
        read: impl FnOnce(AuditTree) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let tree = self.tree(published);
        self.with_storage(move |_| read(tree)).await
    }

    /// The tree of a published log.
    fn tree(&self, published: &Published) -> AuditTree {
        AuditTree::of(Arc::clone(&self.storage), published)
    }

    /// The disk, to be looked at by tests.
    #[cfg(test)]
    pub(crate) fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Reads on a thread that may block.
    async fn with_storage<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Storage) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let storage = Arc::clone(&self.storage);
        let read = tokio::task::spawn_blocking(move || read(&storage));
        read.await.map_err(|error| StorageError::Failed(error.to_string()))?
    }
}
