//! Taking a node apart.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};

use super::Node;
use crate::{
    raft::{RaftRole, TransferError},
    storage::Storage,
};

/// How long the last records of what was counted may take to be written.
const REPORT_PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take until nothing uses the data folder any more.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

impl Node {
    /// Makes the node not ready, for good: the first step of stopping, before the listener drains.
    pub fn fail_readiness(&self) {
        self.reads.fail_readiness();
    }

    /// Stops the node: no write is taken any more, leadership is handed over if it is here, and Raft ends. Reads of
    /// what is published go on. Takes at most the time of [`crate::config::ShutdownConfig`] and a second or two.
    pub async fn shutdown(&self) {
        self.fail_readiness();
        self.end_streams();
        self.stop.send_replace(true);
        if let Some([denials, accounts]) = take(&self.reporters) {
            tokio::join!(let_finish(denials), let_finish(accounts));
        }
        self.traveller.stop();
        self.writes.stop();
        self.hand_over().await;
        for task in &self.tasks {
            task.abort();
        }
        self.reads.stop();
        if let Some(listener) = take(&self.peer_listener) {
            listener.stop(self.config.waits.drain_timeout).await;
        }
        self.replica.shutdown().await;
        self.feed.close();
        tracing::info!("this node has stopped");
    }

    /// [`Node::shutdown`], then waits until the data folder is closed. Whoever else holds the node has to let go.
    pub async fn close(self: Arc<Self>) {
        self.shutdown().await;
        let storage = Arc::downgrade(&self.storage);
        drop(self);
        if timeout(RELEASE_PATIENCE, released(&storage)).await.is_err() {
            tracing::warn!(
                "the data folder is still in use; it is left as after a crash, which loses nothing"
            );
        }
    }

    /// Lets another member lead, so that writes do not have to wait for an election.
    async fn hand_over(&self) {
        let status = self.replica.status();
        let is_alone = status.voters().all(|id| id == self.id());
        if status.role != RaftRole::Leader || is_alone {
            return;
        }
        match timeout(self.config.shutdown.handover_timeout, self.replica.transfer_leadership(None)).await {
            Ok(Ok(())) => tracing::info!("another member leads now"),
            Ok(Err(TransferError::NotLeader)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "leadership was not handed over; the others will elect a leader")
            }
            Err(_) => {
                tracing::warn!("leadership was not handed over in time; the others will elect a leader")
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.let_go.store(true, Ordering::Release);
        for task in &self.tasks {
            task.abort();
        }
        self.traveller.stop();
        self.reads.stop();
    }
}

/// Waits for who writes a last record, as long as there is patience.
async fn let_finish(mut reporter: JoinHandle<()>) {
    if timeout(REPORT_PATIENCE, &mut reporter).await.is_err() {
        reporter.abort();
    }
}

/// What the first caller takes.
fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Returns once nobody holds the storage any more.
async fn released(storage: &Weak<Storage>) {
    while storage.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
