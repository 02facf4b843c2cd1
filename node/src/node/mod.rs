//! A cluster member: what the HTTP listener and the command line see of it.
//!
//! Here the parts are put together and taken apart again; each does its work elsewhere: writes in `submit`, reads in
//! [`crate::reads`], the way into a cluster in `founding`, what peers ask for in `desk`.

mod clocks;
mod cluster;
mod denials;
mod desk;
mod failure;
mod founding;
mod secrets;
mod submit;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

use self::{
    clocks::ClockWatch,
    denials::{DenialCount, Reporter},
    desk::Desk,
    founding::{Newcomer, failure_of},
    submit::Writes,
};
pub use self::{
    cluster::{AuditStatus, ClusterMember, ClusterStatus, MemberState},
    failure::{Failure, StartError},
    submit::{Credentials, NotEntered, Submission, SubmitError, Submitted, mint_request_id},
};
use crate::{
    config::NodeConfig,
    metrics::Metrics,
    peer::{self, PeerClient, PeerOptions},
    raft::{
        MemberRole, NodeMeta, Published, RaftRole, RaftStatus, Replica, ReplicaOptions, TransferError,
        VersionRange,
    },
    reads::Reads,
    storage::{AuditRow, GROUP, Storage, StorageError, StorageMetrics, StorageOptions},
};

/// How long it may take until nothing uses the data folder any more.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);
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
    tasks: Vec<AbortHandle>,
    /// Tells the reporter of refused credentials to write its last record.
    stop: watch::Sender<bool>,
    reporter: Mutex<Option<JoinHandle<()>>>,
    /// Set when the node was let go: whatever ends after that is no reason to end the process.
    let_go: Arc<AtomicBool>,
}

/// The task that answers peers.
struct PeerListener {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Node {
    /// Starts a member where it left off, or a new one. Returns once it answers its peers: whether it belongs to a
    /// cluster, leads, or is current shows later, in [`Reads::readiness`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: NodeConfig) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let address = config.peers.listen;
        let listener = TcpListener::bind(address).map_err(|source| StartError::Listen {
            setting: "--peer-listen",
            address,
            source,
        })?;
        Self::start_on(config, listener).await
    }

    /// [`Node::start`] with a peer listener that is bound already.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_on(mut config: NodeConfig, listener: TcpListener) -> Result<Arc<Self>, StartError> {
        config.validate()?;
        let (peer_address, listener) = listening(listener, config.peers.listen)?;
        if let Some(own) = config.peers.members.get_mut(&config.node_id).filter(|own| own.ends_with(":0")) {
            // The port was left to the system, so only now is there an address to tell.
            *own = peer_address.to_string();
        }
        let secret = config.peers.secret_file.as_deref().map(secrets::peer_secret).transpose()?;
        let metrics = Metrics::new()?;
        let let_go = Arc::new(AtomicBool::new(false));
        let storage = open_storage(&config, &metrics, Arc::clone(&let_go)).await?;
        // Only now: in a folder that can't be used nothing is left behind.
        let founder = config.bootstrap.as_ref().map(|bootstrap| secrets::owner_token(&bootstrap.token_file));
        let founder = founder.transpose()?;

        let node_id = config.node_id;
        let identity = storage.identity();
        let meta = meta(&config, identity.member_uid.clone());
        let peers = PeerClient::new(PeerOptions {
            node_id,
            uid: identity.member_uid,
            cluster_id: identity.cluster_id,
            group: GROUP,
            secret,
            peers: config.peers.members.clone(),
            versions: VersionRange::OURS,
        })?;
        let replica = Replica::open(ReplicaOptions {
            node_id,
            storage: Arc::clone(&storage),
            peers: peers.clone(),
            tuning: config.raft.clone(),
        })
        .await?;
        let reads = Arc::new(Reads::start(node_id, replica.clone(), peers.clone(), config.reads.clone()));
        let writes = Arc::new(Writes::new(
            node_id,
            replica.clone(),
            peers.clone(),
            Arc::clone(&reads),
            config.writes.clone(),
            metrics.clone(),
        ));
        let desk = Arc::new(Desk {
            meta: meta.clone(),
            storage: Arc::clone(&storage),
            replica: replica.clone(),
            peers: peers.clone(),
            reads: Arc::clone(&reads),
            writes: Arc::clone(&writes),
            read_timeout: config.reads.try_timeout,
            await_published_max: config.waits.await_published_max,
        });
        let peer_listener = PeerListener::start(listener, &peers, desk);

        let newcomer = Newcomer {
            node_id,
            meta: meta.clone(),
            configured: config.peers.members.keys().copied().collect(),
            storage: Arc::clone(&storage),
            replica: replica.clone(),
            peers: peers.clone(),
            writes: Arc::clone(&writes),
            founder,
            waits: config.waits.clone(),
        };
        let denials = Arc::new(DenialCount::default());
        let reporter = Reporter::new(node_id, Arc::clone(&denials), Arc::clone(&writes), replica.clone());
        let clocks = ClockWatch::new(peers.clone(), metrics.registry(), config.waits.clone())?;
        let (fail, failure) = watch::channel(None);
        let tasks = vec![
            tokio::spawn(async move {
                let failure = failure_of(newcomer).await;
                tracing::error!(%failure, "this node can't go on");
                fail.send_replace(Some(failure));
            })
            .abort_handle(),
            tokio::spawn(clocks.run()).abort_handle(),
        ];
        let (stop, stopped) = watch::channel(false);
        let reporter = tokio::spawn(reporter.run(config.writes.clone(), stopped));
        Ok(Arc::new(Self {
            config,
            meta,
            storage,
            replica,
            peers,
            reads,
            writes,
            metrics,
            denials,
            failure,
            peer_address,
            peer_listener: Mutex::new(Some(peer_listener)),
            tasks,
            stop,
            reporter: Mutex::new(Some(reporter)),
            let_go,
        }))
    }

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

    /// Returns when this node can't go on and has to be stopped: its configuration and its cluster contradict.
    pub async fn failed(&self) -> Failure {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
            Ok(Some(failure)) => failure,
            // A task that has ended without a failure has none to tell of.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Makes the node not ready, for good: the first step of stopping, before the listener drains.
    pub fn fail_readiness(&self) {
        self.reads.fail_readiness();
    }

    /// Stops the node: no write is taken any more, leadership is handed over if it is here, and Raft ends. Reads of
    /// what is published go on. Takes at most the time of [`crate::config::ShutdownConfig`] and a second or two.
    pub async fn shutdown(&self) {
        self.fail_readiness();
        self.stop.send_replace(true);
        if let Some(reporter) = take(&self.reporter)
            && let Err(error) = reporter.await
        {
            tracing::error!(%error, "refused credentials were not counted to the end");
        }
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
        self.reads.stop();
    }
}

impl PeerListener {
    fn start(listener: tokio::net::TcpListener, peers: &PeerClient, desk: Arc<Desk>) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let router = peer::server::router(peers, desk);
        let task = tokio::spawn(async move {
            let signal = async move {
                // A sender that is gone says the same.
                _ = stopped.wait_for(|stopped| *stopped).await.is_ok();
            };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(signal).await {
                tracing::error!(%error, "the peer listener failed");
            }
        });
        Self { stop, task }
    }

    async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(true);
        if timeout(patience, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

fn listening(
    listener: TcpListener,
    address: SocketAddr,
) -> Result<(SocketAddr, tokio::net::TcpListener), StartError> {
    let ready = || {
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((bound, tokio::net::TcpListener::from_std(listener)?))
    };
    ready().map_err(|source| StartError::Listen { setting: "--peer-listen", address, source })
}

async fn open_storage(
    config: &NodeConfig,
    metrics: &Metrics,
    let_go: Arc<AtomicBool>,
) -> Result<Arc<Storage>, StartError> {
    let counted = StorageMetrics::register(metrics.registry())?;
    let mut options = StorageOptions::new(&config.data_dir, config.node_id, counted);
    let end_process = options.fatal;
    options.fatal = Arc::new(move |why| match let_go.load(Ordering::Acquire) {
        true => tracing::warn!("after this node was let go: {why}"),
        false => end_process(why),
    });
    let opened = tokio::task::spawn_blocking(move || Storage::open(options)).await;
    Ok(opened.map_err(|error| StorageError::Failed(error.to_string()))??)
}

fn meta(config: &NodeConfig, uid: String) -> NodeMeta {
    NodeMeta {
        peer_addr: config.peers.members.get(&config.node_id).cloned().unwrap_or_default(),
        public_addr: config.http.public_address(),
        uid,
        zone: config.placement.zone.clone(),
        region: config.placement.region.clone(),
        labels: config.placement.labels.clone(),
        role: MemberRole::Voter,
        versions: VersionRange::OURS,
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
