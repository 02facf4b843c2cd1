//! Makes the summaries of blocks, behind the state machine's back and off its way.

use std::{ops::Range, sync::Arc};

use super::{BLOCK, summary::Summary};
use crate::{
    raft::{AuditTree, Replica},
    storage::{Storage, StorageError},
};

/// Blocks that are looked at before the node may stop: what a thread can't be stopped in.
const STEP_BLOCKS: u64 = 64;

/// Makes the summaries.
pub(crate) struct Indexer {
    pub(crate) storage: Arc<Storage>,
    pub(crate) replica: Replica,
}

impl Indexer {
    /// Makes those that are missing or no good, then each one when its block is complete. Ends when the disk fails:
    /// searches go on without.
    pub(crate) async fn run(self) {
        let mut next = 0;
        loop {
            let published = self.replica.published();
            let complete = published.state.sequence() / BLOCK;
            while next < complete {
                let blocks = next..complete.min(next + STEP_BLOCKS);
                next = blocks.end;
                let storage = Arc::clone(&self.storage);
                let tree = AuditTree::of(Arc::clone(&storage), &published);
                match tokio::task::spawn_blocking(move || summarize(&storage, tree, blocks)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "the audit log is searched without an index from now on");
                        return;
                    }
                    // The node stops.
                    Err(_) => return,
                }
            }
            self.replica.await_records((complete + 1).saturating_mul(BLOCK)).await;
        }
    }
}

/// Makes the summaries of the complete blocks with these records anew, of a log of `size` records: records were removed, and
/// the summaries still tell what those were about. This blocks.
///
/// # Errors
/// When the database fails.
pub(crate) fn renew_summaries(storage: &Storage, records: Range<u64>, size: u64) -> Result<(), StorageError> {
    for block in records.start / BLOCK..records.end.div_ceil(BLOCK).min(size / BLOCK) {
        let Some(kept) = storage.audit_summary(block)? else { continue };
        if let Some(made) = summary_of(storage, block)?.filter(|made| *made != kept) {
            storage.put_audit_summary(block, &made)?;
        }
    }
    Ok(())
}

/// The summary of a complete block. One with a record that this version can't read has none: a later version may know what
/// it is about.
fn summary_of(storage: &Storage, block: u64) -> Result<Option<Vec<u8>>, StorageError> {
    Ok(Summary::of_block(storage, block)?.map(|summary| summary.encode()))
}

/// Makes the summaries of these complete blocks, where there is none that is surely theirs. This blocks.
///
/// # Errors
/// When the database fails.
fn summarize(storage: &Storage, mut tree: AuditTree, blocks: Range<u64>) -> Result<(), StorageError> {
    for block in blocks {
        if Summary::kept(storage, &mut tree, block)?.is_some() {
            continue;
        }
        if let Some(summary) = summary_of(storage, block)? {
            storage.put_audit_summary(block, &summary)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use flagraft_core::record::row_leaf_hash;
    use serde_json::json;

    use super::{
        super::{
            Filter, Term,
            term::tests::{operations, record},
        },
        *,
    };

    /// The index must not go on telling what removed records were about.
    #[test]
    fn a_summary_forgets_records_that_were_removed() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = crate::raft::testing::open(dir.path());
        let mut batch = storage.batch();
        let mut leaves = Vec::new();
        for sequence in 0..300 {
            let operation =
                json!({"op": "flag.enable", "flag": format!("flag-{sequence}"), "environment": "live"});
            let row = record(&json!({"sequence": sequence, "operations": operations(&[operation])}));
            leaves.push(row_leaf_hash(&row).expect("a row"));
            batch.record(sequence, &row);
        }
        batch.commit().expect("writes");
        let tree = AuditTree::of_records(Arc::clone(&storage), 300);
        summarize(&storage, tree, 0..1).expect("a block");
        let may_hold = |n: u64| {
            let bytes = storage.audit_summary(0).expect("reads").expect("a summary");
            let wanted =
                Filter::default().any_of([Term::Flag("shop".to_owned(), format!("flag-{n}"))]).wanted();
            Summary::decode(&bytes).expect("readable").may_hold(&wanted)
        };
        assert!(may_hold(7) && may_hold(8) && !may_hold(299));
        let mut batch = storage.batch();
        batch.remove_record(7, &leaves[7]);
        batch.commit().expect("writes");
        assert!(may_hold(7), "or this test shows nothing");
        renew_summaries(&storage, 7..8, 300).expect("a block");
        assert!(!may_hold(7) && may_hold(8));
        // Blocks that are not complete, or that nobody has summarized, have none.
        renew_summaries(&storage, 255..300, 300).expect("nothing to do");
        assert_eq!(storage.audit_summary(1).expect("reads"), None);
    }
}
