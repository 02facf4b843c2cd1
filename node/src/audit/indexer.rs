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

/// Makes the summaries of these complete blocks, where there is none that is surely theirs. This blocks.
///
/// # Errors
/// When the database fails.
fn summarize(storage: &Storage, mut tree: AuditTree, blocks: Range<u64>) -> Result<(), StorageError> {
    for block in blocks {
        if Summary::kept(storage, &mut tree, block)?.is_some() {
            continue;
        }
        // One with a record that this version can't read is read each time: a later version may know what it is about.
        if let Some(summary) = Summary::of_block(storage, block)? {
            storage.put_audit_summary(block, &summary.encode())?;
        }
    }
    Ok(())
}
