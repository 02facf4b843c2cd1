//! A cluster member: what the HTTP listener and the command line see of it.
//!
//! Each part does its work elsewhere: `start` puts them together and `stop` takes them apart; writes are in `submit`,
//! reads in [`crate::reads`], the way into a cluster in `founding`, what peers ask for in `desk`.

mod accounts;
mod audit;
mod checkpoints;
mod clocks;
mod cluster;
mod denials;
mod desk;
mod failure;
mod founding;
mod joining;
mod listener;
mod membership;
mod retention;
mod room;
mod secrets;
mod start;
mod stop;
mod submit;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::Duration,
};

use flagraft_core::{audit_key::AuditPublicKey, reply::Reply};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    task::{AbortHandle, JoinHandle},
};

pub use self::{
    audit::AUDIT_PAGE_MAX,
    checkpoints::{CheckpointReport, SignedCheckpoint},
    cluster::{
        AuditStatus, ClusterMember, ClusterStatus, InvitationStatus, MemberAim, MemberState, MembershipStatus,
    },
    failure::{Failure, StartError},
    submit::{Credentials, NotEntered, Submission, SubmitError, Submitted, mint_request_id},
};
use self::{
    checkpoints::Cosigner, cluster::MemberReport, denials::DenialCount, listener::PeerListener,
    membership::Steward, submit::Writes,
};
pub use crate::disk::{DiskReport, DiskState};
use crate::{
    accounts::Accounts,
    backup::{self, Header, NotFounded},
    clock::wall_ms,
    config::NodeConfig,
    disk::Disk,
    feed::Feed,
    leadership::known_leader,
    metrics::Metrics,
    peer::{HandOverReply, PeerClient},
    pieces::{PieceStream, Pieces},
    raft::{NodeMeta, Published, RaftStatus, Replica},
    reads::Reads,
    storage::Storage,
    travel::Traveller,
};

/// Between two looks whether a change of the membership has arrived here.
const MEMBERSHIP_PAUSE: Duration = Duration::from_millis(20);

/// Why leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandOverError {
    /// It was not.
    #[error("{0}")]
    Refused(String),
    /// It may have been or not.
    #[error("{0}")]
    Unavailable(String),
}

/// A running member.
pub struct Node {
    config: NodeConfig,
    meta: NodeMeta,
    storage: Arc<Storage>,
    replica: Replica,
    peers: PeerClient,
    reads: Arc<Reads>,
    feed: Feed,
    traveller: Arc<Traveller>,
    writes: Arc<Writes>,
    steward: Arc<Steward>,
    cosigner: Arc<Cosigner>,
    metrics: Metrics,
    denials: Arc<DenialCount>,
    accounts: Arc<Accounts>,
    failure: watch::Receiver<Option<Failure>>,
    peer_address: SocketAddr,
    peer_listener: Mutex<Option<PeerListener>>,
    /// What runs until the node stops: the way into a cluster, and the comparison of clocks.
    tasks: Vec<AbortHandle>,
    disk: Arc<Disk>,
    /// Whether the disk, which had refused a write, takes writes again.
    disk_is_back: watch::Receiver<bool>,
    /// Tells those who report what was counted to write their last records, and backups to end.
    stop: watch::Sender<bool>,
    /// Those who write what was counted: they have the last word when the node stops.
    reporters: Mutex<Option<[JoinHandle<()>; 2]>>,
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

    /// What streams are told.
    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What looks into the past.
    pub fn traveller(&self) -> &Arc<Traveller> {
        &self.traveller
    }

    /// Ends all streams, and opens no more: what has to be done before the listener drains.
    pub fn end_streams(&self) {
        self.feed.end_streams();
    }

    /// What is known of the disk that the data folder lies on.
    pub fn disk(&self) -> DiskReport {
        self.disk.report()
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

    /// Answers a write that the state published here remembers, by what it came to. Takes at most `deadline`.
    pub(crate) async fn repeat(&self, first: Reply, deadline: Duration) -> Submitted {
        self.writes.repeat(first, deadline).await
    }

    /// Counts a request that was refused because its token was missing or no good. The count becomes one audit
    /// record every [`crate::config::WriteConfig::denials_interval`].
    pub fn count_denial(&self) {
        self.denials.add();
    }

    /// Where evaluations and reads are counted.
    pub(crate) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// How the cluster does. Asks every member, and takes half a second at most.
    pub async fn cluster_status(&self) -> ClusterStatus {
        let own = MemberReport::of(
            &self.replica,
            &self.reads,
            &self.disk,
            self.steward.waits_for(),
            self.cosigner.report(),
        );
        let patience = self.config.waits.status_timeout;
        cluster::gather(self.id(), &self.meta, own, &self.replica, &self.peers, patience).await
    }

    /// Returns true once the membership in force here is committed and holds the node as a voter (`true`) or not at all
    /// (`false`); false when that is not so within `deadline`.
    pub async fn await_member(&self, node_id: u64, votes: bool, deadline: Duration) -> bool {
        let reached = async {
            loop {
                let view = self.replica.membership();
                let is_voter = view.voters.iter().all(|voters| voters.contains(&node_id));
                let is_so = if votes { is_voter } else { !view.members.contains_key(&node_id) };
                // Whoever was removed is told so by the others, and sees no later membership.
                let is_gone = !votes && node_id == self.id() && self.peers.watch_removed().borrow().is_some();
                if (is_so && view.is_committed && !view.is_joint()) || is_gone {
                    return;
                }
                tokio::time::sleep(MEMBERSHIP_PAUSE).await;
            }
        };
        tokio::time::timeout(deadline, reached).await.is_ok()
    }

    /// Lets another member lead, as the audit record at `sequence` says. Returns who leads.
    ///
    /// # Errors
    /// Why it was not done, or is not known to have been; and whether asking again can help.
    pub async fn transfer_leadership(
        &self,
        to: u64,
        sequence: u64,
        deadline: Duration,
    ) -> Result<u64, HandOverError> {
        let reply = match known_leader(&self.replica) {
            Some(leader) if leader == self.id() => self.steward.hand_over(to, sequence).await,
            Some(leader) => match self.peers.hand_over(leader, to, sequence, deadline).await {
                Ok(reply) => reply,
                Err(error) => HandOverReply::Unavailable { why: error.to_string() },
            },
            None => HandOverReply::Unavailable { why: "no leader is known".to_owned() },
        };
        match reply {
            HandOverReply::Leads { leader } => Ok(leader),
            HandOverReply::Refused { why } => Err(HandOverError::Refused(why)),
            HandOverReply::Unavailable { why } => Err(HandOverError::Unavailable(why)),
        }
    }

    /// The newest checkpoint of the audit log that a majority of the nodes signed, as far as this node knows.
    pub fn checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        self.cosigner.newest()
    }

    /// Makes one more key with which this node signs checkpoints, once it is listed in the state.
    ///
    /// # Errors
    /// When the key file can't be written.
    pub(crate) async fn make_audit_key(&self) -> std::io::Result<AuditPublicKey> {
        self.cosigner.make_key().await
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
    ) -> Result<(Header, PieceStream), NotFounded> {
        let header = Header::of(&published, self.id(), wall_ms())?;
        let (storage, stop) = (Arc::clone(&self.storage), self.stop.subscribe());
        let of = header.clone();
        let make = move |to: &mut Pieces| backup::write(&of, &published, &storage, to);
        Ok((header, PieceStream::start("a backup", stall, stop, permit, make)))
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

    /// Returns once the disk takes writes again, after it had refused one: this node has to be started anew to take
    /// part in its cluster again.
    pub async fn disk_is_back(&self) {
        let mut back = self.disk_is_back.clone();
        if back.wait_for(|back| *back).await.is_err() {
            // Nobody looks any more: the node stops.
            std::future::pending::<()>().await;
        }
    }
}
