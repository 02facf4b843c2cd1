//! What a member signed last, on its disk: it binds what it signs from then on.

use flagraft_core::merkle::Hash;

use crate::storage::{MetaKey, Storage, StorageError};

/// What this node signed last: 8 bytes of size, big-endian, and 32 of root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastSigned {
    pub(super) size: u64,
    pub(super) root: Hash,
}

impl LastSigned {
    pub(super) fn read(storage: &Storage) -> Result<Option<Self>, StorageError> {
        let Some(bytes) = storage.meta(MetaKey::AuditSigned)? else { return Ok(None) };
        let read = || {
            let (size, root) = bytes.split_first_chunk::<8>()?;
            Some(Self { size: u64::from_be_bytes(*size), root: root.try_into().ok()? })
        };
        read().map(Some).ok_or_else(|| StorageError::corrupt("what this node signed last is damaged"))
    }

    /// Takes the place of the `last` one, unless that is of as many records. Durable when it returns, also where nothing
    /// is written: whoever wrote the last one may have been dropped before it was on the disk, and a signature that is
    /// forgotten binds nobody.
    pub(super) async fn keep(&self, last: Option<Self>, storage: &Storage) -> Result<(), StorageError> {
        if last.is_none_or(|last| last.size < self.size) {
            self.write(storage)?;
        }
        storage.sync().await
    }

    /// Durable after the next sync.
    fn write(&self, storage: &Storage) -> Result<(), StorageError> {
        let bytes = [self.size.to_be_bytes().as_slice(), &self.root].concat();
        storage.put_meta(MetaKey::AuditSigned, &bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::testing;

    /// Waits until the node is told to end: whoever waits for a sync hears that it failed a moment before.
    async fn ends(told: &std::sync::Mutex<Vec<String>>) {
        let told = async {
            while told.lock().expect("unpoisoned").is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), told)
            .await
            .expect("a disk that fails ends the node");
    }

    /// A signature that the node would not remember after a power cut must not leave it.
    #[tokio::test]
    async fn what_was_signed_is_kept_before_anybody_hears_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let signed = LastSigned { size: 70_000, root: [7; 32] };
        let (failing, told) = testing::open_failing(dir.path(), Some(0));
        assert!(signed.keep(None, &failing).await.is_err(), "the disk does not have it");
        ends(&told).await;
        drop(failing);
        let dir = tempfile::tempdir().expect("a folder");
        let storage = testing::open(dir.path());
        assert_eq!(LastSigned::read(&storage).expect("reads"), None);
        signed.keep(None, &storage).await.expect("durable");
        assert_eq!(LastSigned::read(&storage).expect("reads"), Some(signed));
        let bytes = storage.meta(MetaKey::AuditSigned).expect("reads").expect("there");
        assert_eq!(hex::encode(bytes), format!("0000000000011170{}", "07".repeat(32)), "frozen");
        let less = LastSigned { size: 3, root: [3; 32] };
        less.keep(Some(signed), &storage).await.expect("durable");
        assert_eq!(LastSigned::read(&storage).expect("reads"), Some(signed), "what binds is the longest log");
    }

    /// A request that nobody waits for any more is dropped, perhaps between the write and the end of its sync. The next
    /// one of the same size found what it had written, and signed although the disk might not have it.
    #[tokio::test]
    async fn what_a_dropped_request_wrote_is_synced_before_the_next_one_signs() {
        let dir = tempfile::tempdir().expect("a folder");
        let signed = LastSigned { size: 70_000, root: [7; 32] };
        let (failing, told) = testing::open_failing(dir.path(), Some(0));
        signed.write(&failing).expect("written");
        let last = LastSigned::read(&failing).expect("reads");
        assert_eq!(last, Some(signed));
        assert!(signed.keep(last, &failing).await.is_err(), "the disk does not have it");
        ends(&told).await;
    }
}
