//! Raft, and the only module that names openraft. The rest of the node sees [`Replica`].
//!
//! Invariant: nothing here reads a clock, or decides anything about flags. Entries carry proposals as bytes, and
//! `flagraft_core::apply` says what they do.

mod applied;
mod catalog_file;
pub mod codec;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod damage_tests;
mod floor;
mod incoming;
#[cfg(test)]
mod incoming_tests;
mod install;
mod log_size;
mod log_store;
mod lost_quorum;
#[cfg(test)]
mod lost_quorum_tests;
mod membership;
mod message;
#[cfg(test)]
mod message_tests;
mod milestone;
mod network;
mod outgoing;
mod publish;
mod recent;
mod recover;
#[cfg(test)]
mod recover_tests;
mod removal;
mod removed_ahead;
mod restore;
mod revisions;
mod runtime;
mod snapshot;
#[cfg(test)]
mod snapshot_tests;
mod state_machine;
mod status;
#[cfg(test)]
pub(crate) mod testing;
mod tiles;
mod transfer_metrics;
mod tuning;
mod types;
mod wire;
#[cfg(test)]
mod wire_tests;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flagraft_core::{
    proposal::{EncodeError, Proposal},
    reply::Reply,
};
use openraft::{
    LinearizerOption, Raft,
    async_runtime::watch::WatchReceiver,
    errors::{
        ClientWriteError, InitializeError as OpenraftInitializeError, LinearizableReadError, RaftError,
    },
};
use tokio::sync::watch;

pub(crate) use self::tiles::AuditTree;
use self::{
    incoming::{Incoming, TransferRefusal},
    log_store::LogStore,
    message::SnapshotInstallV2,
    network::NetworkFactory,
    publish::Publisher,
    snapshot::blocking,
    state_machine::StateMachine,
    status::Watched,
    types::{Command, TypeConfig, Vote},
};
pub use self::{
    lost_quorum::{FolderReport, RecoverError, Recovery, inspect, recover_alone},
    membership::{MembershipChange, MembershipChangeError, MembershipView},
    message::{RaftMessage, RaftReply},
    milestone::Milestone,
    restore::{RestoreError, RestoredCatalog},
    revisions::{Heard, Revisions},
    transfer_metrics::TransferMetrics,
    tuning::RaftTuning,
    types::{
        MemberRole, MemberStatus, NodeMeta, Published, RaftRole, RaftStatus, SnapshotProgress, VersionRange,
    },
    wire::NodeMetaV1,
};
use crate::{
    canary::lease,
    clock::BootTime,
    peer::PeerClient,
    storage::{Storage, StorageError},
};

/// How long a handover of leadership is waited for, in election timeouts.
const TRANSFER_ELECTION_TIMEOUTS: u32 = 2;

/// How long a read index is waited for at most.
const READ_INDEX_WAIT_MAX: Duration = Duration::from_secs(5);

/// How to open a [`Replica`].
pub struct ReplicaOptions {
    /// This node's id.
    pub node_id: u64,
    /// Its disk.
    pub storage: Arc<Storage>,
    /// Its way to the others.
    pub peers: PeerClient,
    /// Raft's times and limits.
    pub tuning: RaftTuning,
    /// Where snapshots on their way are counted.
    pub transfers: TransferMetrics,
}

/// Why a replica could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The disk can't be used or can't be trusted.
    #[error("the data folder can't be used: {0}")]
    Storage(#[from] StorageError),
    /// What is on the disk is damaged, or does not fit together.
    #[error("the data folder can't be used: {0}")]
    Disk(#[from] io::Error),
    /// The tuning contradicts itself.
    #[error("the Raft settings are invalid: {0}")]
    Tuning(String),
    /// openraft refused to start.
    #[error("Raft could not start: {0}")]
    Raft(String),
}

/// Why a cluster could not be founded.
#[derive(Debug, thiserror::Error)]
pub enum InitializeError {
    /// There is one already.
    #[error("this node already belongs to a cluster")]
    AlreadyInitialized,
    /// The founding members don't include this node.
    #[error("this node is not among the founding members")]
    NotAMember,
    /// Raft stopped.
    #[error("Raft has stopped: {0}")]
    Stopped(String),
}

/// Why a proposal has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was not proposed: this node does not lead, or has not heard for so long from a quorum that it can't be sure.
    #[error("this node is not the leader")]
    NotLeader {
        /// Who might be.
        leader: Option<u64>,
    },
    /// It was not proposed: an entry can't carry it.
    #[error("the proposal can't be written to the log: {0}")]
    Invalid(EncodeError),
    /// It may have taken effect, or may yet. Ask for the request id later.
    #[error("the outcome of the proposal is unknown")]
    OutcomeUnknown,
    /// It was not proposed: Raft does not run.
    #[error("Raft has stopped")]
    Stopped,
}

/// Why a read could not be confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadIndexError {
    /// This node does not lead.
    #[error("this node is not the leader")]
    NotLeader {
        /// Who might be.
        leader: Option<u64>,
    },
    /// Too few members answered.
    #[error("no quorum of the members answered")]
    NoQuorum,
    /// Raft does not run.
    #[error("Raft has stopped")]
    Stopped,
}

/// Why leadership was not handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This node does not lead.
    #[error("this node is not the leader")]
    NotLeader,
    /// There is no other voter to hand over to.
    #[error("there is no other voter")]
    NoTarget,
    /// No other leader was seen in time.
    #[error("no other leader was seen within {0:?}")]
    Timeout(Duration),
    /// Raft does not run.
    #[error("Raft has stopped")]
    Stopped,
}

/// Why a message from another member was not answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RaftRefusal {
    /// Raft does not run.
    #[error("Raft has stopped: {0}")]
    Stopped(String),
    /// The message makes no sense here.
    #[error("{0}")]
    Invalid(String),
}

/// One member's replica of the group: its log, its state, and its part in the elections. Clones are handles to it.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: u64,
    storage: Arc<Storage>,
    raft: Raft<TypeConfig, StateMachine>,
    publisher: Publisher,
    incoming: Arc<Incoming>,
    watched: Watched,
    transfer_timeout: Duration,
    stopping: Arc<AtomicBool>,
}

impl Replica {
    /// Checks what is on the disk, and starts Raft where it left off.
    ///
    /// # Errors
    /// When the disk can't be trusted, or the tuning is invalid.
    pub async fn open(options: ReplicaOptions) -> Result<Self, StartError> {
        let ReplicaOptions { node_id, storage, peers, tuning, transfers } = options;
        let config = tuning.config().map_err(|error| StartError::Tuning(error.to_string()))?;
        let disk = Arc::clone(&storage);
        let log_bytes_max = tuning.log_bytes_max;
        let recovered = blocking(move || recover::recover(&disk, log_bytes_max)).await?;
        let (state_machine, log_size) = StateMachine::new(Arc::clone(&storage), recovered);
        let publisher = state_machine.publisher();
        let log = LogStore::new(Arc::clone(&storage), tuning.append_bytes_max, log_size)?;
        let network = NetworkFactory {
            node_id,
            peers: peers.clone(),
            storage: Arc::clone(&storage),
            transfers: transfers.clone(),
            append_timeout: Duration::from_millis(tuning.append_timeout_ms),
        };
        let raft = Raft::new(node_id, Arc::new(config), network, log.clone(), state_machine)
            .await
            .map_err(|error| StartError::Raft(error.to_string()))?;

        let stopping = Arc::new(AtomicBool::new(false));
        let watched = status::watch(raft.clone(), log, peers, Arc::clone(&storage), Arc::clone(&stopping));
        let transfer_timeout =
            Duration::from_millis(tuning.election_timeout_max_ms) * TRANSFER_ELECTION_TIMEOUTS;
        let incoming = Arc::new(Incoming::new(Arc::clone(&storage), publisher.clone(), transfers));
        let inner =
            Inner { node_id, storage, raft, publisher, incoming, watched, transfer_timeout, stopping };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Founds a cluster of these members, this node among them. For one node, once.
    ///
    /// # Errors
    /// When there is a cluster already, or this node is not among the members.
    pub async fn initialize(&self, members: BTreeMap<u64, NodeMeta>) -> Result<(), InitializeError> {
        self.inner.raft.initialize(members).await.map_err(|error| match error {
            RaftError::APIError(OpenraftInitializeError::NotAllowed(_)) => {
                InitializeError::AlreadyInitialized
            }
            RaftError::APIError(OpenraftInitializeError::NotInMembers(_)) => InitializeError::NotAMember,
            RaftError::Fatal(fatal) => InitializeError::Stopped(fatal.to_string()),
        })
    }

    /// Whether this node has a log or a vote: whether it ever was part of a cluster.
    pub async fn is_initialized(&self) -> bool {
        // A Raft that has stopped had been started by somebody.
        self.inner.raft.is_initialized().await.unwrap_or(true)
    }

    /// Proposes a change, and returns its reply once the change is applied and published here.
    ///
    /// There is no deadline: a caller that stops waiting must take the outcome for unknown.
    ///
    /// # Errors
    /// See [`ProposeError`]: all but one mean that the change surely has no effect.
    pub async fn propose(&self, proposal: &Proposal) -> Result<Reply, ProposeError> {
        if !self.is_running() {
            return Err(ProposeError::Stopped);
        }
        let bytes = proposal.encode().map_err(ProposeError::Invalid)?;
        match self.inner.raft.client_write(Command(bytes)).await {
            Ok(written) => written.data.0.ok_or(ProposeError::OutcomeUnknown),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id })
            }
            // Among them the entry that another leader may or may not have kept, and Raft stopping under way.
            Err(_) => Err(ProposeError::OutcomeUnknown),
        }
    }

    /// The index that a read must wait for to be linearizable: asks a quorum whether this node still leads.
    /// There is no deadline.
    ///
    /// # Errors
    /// When it does not lead, or can't be sure.
    pub async fn read_index(&self) -> Result<u64, ReadIndexError> {
        if lease::holds() && self.status().role == RaftRole::Leader {
            return Ok(self.published().position.map_or(0, |position| position.index));
        }
        // No acknowledgement of anything that was sent before this call will do. The wait is openraft's own bound, beyond
        // that of any caller's: it is what a read costs memory that nobody waits for any more.
        let anew = LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(READ_INDEX_WAIT_MAX);
        match self.inner.raft.get_read_linearizer(anew).await {
            Ok(linearizer) => {
                lease::renew();
                Ok(linearizer.read_log_id().index())
            }
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadIndexError::NotLeader { leader: forward.leader_id })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadIndexError::NoQuorum)
            }
            Err(RaftError::Fatal(_)) => Err(ReadIndexError::Stopped),
        }
    }

    /// What readers see now.
    pub fn published(&self) -> Arc<Published> {
        self.inner.publisher.current()
    }

    /// Where each revision is handed on, once it is published. For one follower.
    pub fn revisions(&self) -> Revisions {
        self.inner.publisher.revisions()
    }

    /// Where one revision is waited for, to have its state. For one who waits.
    pub fn milestone(&self) -> Milestone {
        self.inner.publisher.milestone()
    }

    /// Returns once the effect of the entry at `index` is published. There is no deadline.
    pub async fn await_published(&self, index: u64) {
        self.inner.publisher.await_index(index).await;
    }

    /// Returns once `revision` is published. There is no deadline.
    pub async fn await_revision(&self, revision: u64) {
        self.inner.publisher.await_revision(revision).await;
    }

    /// Returns once this many audit records are published. There is no deadline.
    pub async fn await_records(&self, records: u64) {
        self.inner.publisher.await_records(records).await;
    }

    /// This node's view of the group.
    pub fn status(&self) -> RaftStatus {
        let metrics = self.inner.raft.metrics().borrow_watched().clone();
        status::of(&metrics, self.published().position.map(|position| position.index))
    }

    /// The membership in force here.
    pub fn membership(&self) -> MembershipView {
        MembershipView::of(&self.inner.raft.metrics().borrow_watched().clone())
    }

    /// Makes one step of a change of the membership, unless the membership is not the one of `seen` any more. Returns
    /// once it is committed; there is no deadline, and a caller that stops waiting has to look what became of it.
    ///
    /// # Errors
    /// See [`MembershipChangeError`]: all but one mean that nothing was changed.
    pub async fn change_membership(
        &self,
        change: MembershipChange,
        seen: &MembershipView,
    ) -> Result<(), MembershipChangeError> {
        membership::change(&self.inner.raft, change, seen).await
    }

    /// Follows whom this node takes for the leader.
    pub fn watch_leader(&self) -> watch::Receiver<Option<u64>> {
        self.inner.watched.leader.clone()
    }

    /// Follows when this node last heard, as the leader, that a quorum follows it. `None` while it does not lead. What it
    /// hears from now on is a change.
    pub(crate) fn watch_quorum(&self) -> watch::Receiver<Option<BootTime>> {
        let mut heard = self.inner.watched.heard.clone();
        heard.mark_unchanged();
        heard
    }

    /// Whether Raft runs.
    pub fn is_running(&self) -> bool {
        self.inner.raft.metrics().borrow_watched().running_state.is_ok()
    }

    /// Answers a message from another member's Raft. The caller has checked who sent it.
    ///
    /// # Errors
    /// When Raft does not run, or the message makes no sense.
    pub async fn handle_raft(&self, message: RaftMessage) -> Result<RaftReply, RaftRefusal> {
        let raft = &self.inner.raft;
        let invalid = |error: codec::CodecError| RaftRefusal::Invalid(error.to_string());
        match message {
            RaftMessage::Append(append) => {
                let reply =
                    raft.append_entries(append.try_into().map_err(invalid)?).await.map_err(stopped)?;
                Ok(RaftReply::Append(reply.into()))
            }
            RaftMessage::Vote(request) => {
                Ok(RaftReply::Vote(raft.vote(request.into()).await.map_err(stopped)?.into()))
            }
            RaftMessage::PreVote(request) => {
                Ok(RaftReply::Vote(raft.pre_vote(request.into()).await.map_err(stopped)?.into()))
            }
            RaftMessage::Transfer(request) => {
                let accepted = raft.handle_transfer_leader(request.into()).await.map_err(stopped)?;
                Ok(RaftReply::Transfer(accepted.into()))
            }
            RaftMessage::SnapshotOffer(_)
            | RaftMessage::SnapshotChunk(_)
            | RaftMessage::SnapshotInstall(_) => Err(RaftRefusal::Invalid(
                "snapshots are no longer taken in the way that could not be resumed; upgrade the leader"
                    .to_owned(),
            )),
            RaftMessage::SnapshotOfferV2(offer) => {
                let (audit_size, catalog_bytes) =
                    self.receive(move |incoming| incoming.announce(offer)).await?;
                Ok(RaftReply::SnapshotOfferV2 { audit_size, catalog_bytes })
            }
            RaftMessage::AuditRecords(records) => {
                let audit_size = self.receive(move |incoming| incoming.add_records(&records)).await?;
                Ok(RaftReply::AuditRecords { audit_size })
            }
            RaftMessage::CatalogPiece(piece) => {
                let catalog_bytes = self.receive(move |incoming| incoming.add_piece(&piece)).await?;
                Ok(RaftReply::CatalogPiece { catalog_bytes })
            }
            RaftMessage::SnapshotInstallV2(message) => {
                // A task of its own: a caller that hangs up must not leave it half done.
                let replica = self.clone();
                tokio::spawn(async move { replica.install(message).await }).await.map_err(stopped)?
            }
        }
    }

    /// Checks the snapshot that has arrived and has Raft install it.
    async fn install(&self, message: SnapshotInstallV2) -> Result<RaftReply, RaftRefusal> {
        let vote: Vote = message.vote.into();
        let (arrived, (meta, snapshot)) = self
            .receive(move |incoming| {
                let arrived = incoming.begin_install(&message)?;
                let checked = arrived.check()?;
                Ok((arrived, checked))
            })
            .await?;
        let snapshot = openraft::Snapshot { meta, snapshot };
        let installed = self.inner.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        // A leader that was deposed meanwhile is answered with the newer vote, and nothing is installed.
        if installed.vote == vote {
            arrived.installed();
        }
        Ok(RaftReply::SnapshotInstall { vote: (&installed.vote).into() })
    }

    /// How far the snapshot is that is on its way to this node; `None` when there is none.
    pub fn snapshot_progress(&self) -> Option<SnapshotProgress> {
        self.inner.incoming.progress()
    }

    /// Hands leadership to `to`, or to the voter whose log is most complete. Returns once another leader is seen.
    ///
    /// # Errors
    /// When this node does not lead, nobody else can, or no other leader is seen in time.
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<(), TransferError> {
        let status = self.status();
        if status.role != RaftRole::Leader {
            return Err(TransferError::NotLeader);
        }
        let best = || {
            let others = status.voters().filter(|id| *id != self.inner.node_id);
            others.max_by_key(|id| status.matched.get(id).copied().flatten())
        };
        let target = to.or_else(best).ok_or(TransferError::NoTarget)?;
        self.inner.raft.trigger().transfer_leader(target).await.map_err(|_| TransferError::Stopped)?;
        let mut leader = self.watch_leader();
        let another = leader.wait_for(|leader| leader.is_some_and(|id| id != self.inner.node_id));
        match tokio::time::timeout(self.inner.transfer_timeout, another).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::Timeout(self.inner.transfer_timeout)),
        }
    }

    /// Asks for a snapshot now. It is built in the background.
    ///
    /// # Errors
    /// When Raft does not run.
    pub async fn trigger_snapshot(&self) -> Result<(), RaftRefusal> {
        self.inner.raft.trigger().snapshot().await.map_err(|fatal| RaftRefusal::Stopped(fatal.to_string()))
    }

    /// Stops Raft. Afterwards nothing is proposed, voted on or applied; reads of what is published go on.
    pub async fn shutdown(&self) {
        self.inner.stopping.store(true, Ordering::Release);
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::error!(%error, "Raft did not stop cleanly");
        }
    }

    async fn receive<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Incoming>) -> Result<T, TransferRefusal> + Send + 'static,
    ) -> Result<T, RaftRefusal> {
        let incoming = Arc::clone(&self.inner.incoming);
        let done = tokio::task::spawn_blocking(move || work(&incoming)).await;
        match done {
            Ok(result) => result.map_err(|refusal| RaftRefusal::Invalid(refusal.to_string())),
            Err(error) => Err(RaftRefusal::Stopped(error.to_string())),
        }
    }
}

fn stopped(error: impl std::fmt::Display) -> RaftRefusal {
    RaftRefusal::Stopped(error.to_string())
}
