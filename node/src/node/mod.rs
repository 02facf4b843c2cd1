//! A cluster member: what the HTTP listener and the command line see of it.
//!
//! Each part does its work elsewhere: `start` puts them together and `stop` takes them apart; writes are in `submit`,
//! reads in [`crate::reads`], the way into a cluster in `founding`, what peers ask for in `desk`.

mod clocks;
mod cluster;
mod denials;
mod desk;
mod failure;
mod founding;
mod listener;
mod secrets;
mod start;
mod stop;
mod submit;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    task::{AbortHandle, JoinHandle},
};

pub use self::{
    cluster::{AuditStatus, ClusterMember, ClusterStatus, MemberState},
    failure::{Failure, StartError},
    submit::{Credentials, NotEntered, Submission, SubmitError, Submitted, mint_request_id, random_bytes},
};
use self::{denials::DenialCount, listener::PeerListener, submit::Writes};
use crate::{
    backup::{BackupStream, Header, NotFounded},
    clock::wall_ms,
    config::NodeConfig,
    metrics::Metrics,
    peer::PeerClient,
    raft::{NodeMeta, Published, RaftStatus, Replica},
    reads::Reads,
    storage::{AuditRow, Storage, StorageError},
};

/// Records of one page of the audit log, at most.
pub const AUDIT_PAGE_MAX: usize = 1_000;

/// A running member.
pub struct Node {
    config: NodeConfig,
    meta: NodeMeta,
    storage: Arc<Storage>,
    replica: Replica,
    peers: PeerClient,
    reads: Arc<Reads>,
    writes: Arc<Writes>,
    metrics: Metrics,
    denials: Arc<DenialCount>,
    failure: watch::Receiver<Option<Failure>>,
    peer_address: SocketAddr,
    peer_listener: Mutex<Option<PeerListener>>,
    /// What runs until the node stops: the way into a cluster, and the comparison of clocks.
    tasks: Vec<AbortHandle>,
    /// Tells the reporter of refused credentials to write its last record, and backups to end.
    stop: watch::Sender<bool>,
    reporter: Mutex<Option<JoinHandle<()>>>,
    /// Set when the node was let go: whatever ends after that is no reason to end the process.
    let_go: Arc<AtomicBool>,
}

impl Node {
    /// The node's id.
    pub fn id(&self) -> u64 {
        self.config.node_id
    }

    /// The node's settings.
    pub fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Where its peers reach it.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_address
    }

    /// The state that reads are answered from, however old it is.
    pub fn published(&self) -> Arc<Published> {
        self.replica.published()
    }

    /// What knows how old that is, and makes sure.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Raft, as this node sees it.
    pub fn raft_status(&self) -> RaftStatus {
        self.replica.status()
    }

    /// Makes a change, on whichever node leads. Answers within `deadline`.
    ///
    /// # Errors
    /// When there is no answer of the log; see [`SubmitError`] for whether the change may have been made. A change
    /// that the log rejects is not an error here.
    pub async fn submit(&self, submission: Submission, deadline: Duration) -> Result<Submitted, SubmitError> {
        self.writes.submit(&submission, deadline).await
    }

    /// Counts a request that was refused because its token was missing or no good. The count becomes one audit
    /// record every [`crate::config::WriteConfig::denials_interval`].
    pub fn count_denial(&self) {
        self.denials.add();
    }

    /// How the cluster does. Asks every member, and takes half a second at most.
    pub async fn cluster_status(&self) -> ClusterStatus {
        cluster::gather(
            self.id(),
            &self.meta,
            &self.replica,
            &self.peers,
            &self.reads,
            self.config.waits.status_timeout,
        )
        .await
    }

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
        let storage = Arc::clone(&self.storage);
        let read = tokio::task::spawn_blocking(move || storage.audit_range(from, limit));
        read.await.map_err(|error| StorageError::Failed(error.to_string()))?
    }

    /// Starts a backup of a published state. Whoever takes nothing of it for `stall` is given up; `permit` is kept until
    /// it ends.
    ///
    /// # Errors
    /// When the state belongs to no cluster yet.
    pub fn backup(
        &self,
        published: Arc<Published>,
        stall: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Result<(Header, BackupStream), NotFounded> {
        let header = Header::of(&published, self.id(), wall_ms())?;
        let (storage, stop) = (Arc::clone(&self.storage), self.stop.subscribe());
        let stream = BackupStream::start(header.clone(), published, storage, stall, stop, permit);
        Ok((header, stream))
    }

    /// Returns when this node can't go on and has to be stopped: its configuration and its cluster contradict.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
            Ok(Some(failure)) => failure,
            // A task that has ended without a failure has none to tell of.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}
