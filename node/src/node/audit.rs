//! What a node tells of the audit log.

use std::{ops::Range, sync::Arc};

use super::Node;
use crate::{
    audit::{Budget, Filter, Found, Order, Search, first_since},
    storage::{AuditRow, Storage, StorageError},
};

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

    /// The rows with these sequences, which a published state counts.
    ///
    /// # Errors
    /// When the disk fails, or one is missing.
    pub(crate) async fn audit_rows(&self, sequences: Vec<u64>) -> Result<Vec<Vec<u8>>, StorageError> {
        self.with_storage(move |storage| storage.audit_rows(&sequences)).await
    }

    /// At most `limit` of the records of `range`, which are all counted by a published state, that are asked for.
    ///
    /// # Errors
    /// When the disk fails.
    pub(crate) async fn find_audit_records(
        &self,
        filter: Filter,
        range: Range<u64>,
        order: Order,
        limit: usize,
        budget: Budget,
    ) -> Result<Found, StorageError> {
        self.with_storage(move |storage| Search::new(storage, &filter).find(range, order, limit, budget))
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
