//! Reads: how a node knows that its state is current, and for how long it was not known.
//!
//! Everything here is about the *published* state: what readers see. Three questions are answered: is it current
//! now ([`Reads::confirm`]), since when is it not known to be ([`Reads::age_ms`]), and does it hold a certain
//! revision ([`Reads::await_revision`]).

mod gate;
mod keeper;
mod readiness;
mod rounds;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use flagraft_core::identity::RevisionToken;
use tokio::task::AbortHandle;

pub use self::{
    gate::Unconfirmed,
    readiness::{Check, Readiness},
};
use self::{
    gate::{Confirmed, Gate},
    rounds::ReplicaRounds,
};
use crate::{
    canary::{self, Canary},
    clock::{BootTime, ceil_ms},
    config::ReadConfig,
    disk::Disk,
    peer::PeerClient,
    raft::{Published, Replica},
};

/// A state that was current at some moment after the read began.
#[derive(Clone, Debug)]
pub struct Confirmation {
    /// The state to answer from.
    pub published: Arc<Published>,
    /// The index that the quorum confirmed; the state holds everything up to it.
    pub read_index: u64,
    /// The state is known to have been current at this moment.
    pub fresh_as_of: BootTime,
}

/// Why a revision was not waited for to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevisionUnavailable {
    /// The revision belongs to another history than this catalog.
    #[error(
        "the revision belongs to another history than this catalog, which was restored or founded anew since"
    )]
    OtherHistory,
    /// It was not published here within the deadline.
    #[error("revision {wanted} is not here yet: this node is at revision {published}")]
    NotYet {
        /// The revision that was asked for.
        wanted: u64,
        /// The revision this node is at.
        published: u64,
    },
}

/// How a node reads.
pub struct Reads {
    replica: Replica,
    gate: Arc<Gate>,
    disk: Arc<Disk>,
    config: ReadConfig,
    stopping: AtomicBool,
    refresher: AbortHandle,
}

impl Reads {
    /// Starts to keep the age of this node's state.
    pub(crate) fn start(
        node_id: u64,
        replica: Replica,
        peers: PeerClient,
        disk: Arc<Disk>,
        config: ReadConfig,
    ) -> Self {
        let rounds = ReplicaRounds::new(node_id, replica.clone(), peers, config.deadline_max);
        let gate = Arc::new(Gate::start(Arc::new(rounds), &config));
        let refresher = tokio::spawn(refresh(Arc::clone(&gate), config.clone())).abort_handle();
        Self { replica, gate, disk, config, stopping: AtomicBool::new(false), refresher }
    }

    /// Waits until a quorum confirms that the published state holds everything that was committed when this was
    /// called, and gives that state. Answers within `deadline` and a few milliseconds. After one missed deadline
    /// (of the usual length) it answers at once until a round succeeds; rounds are tried in the background.
    ///
    /// # Errors
    /// When that could not be confirmed: the state must not be taken for current.
    pub async fn confirm(&self, deadline: Duration) -> Result<Confirmation, Unconfirmed> {
        if canary::is_planted(Canary::ConfirmLocally) && self.gate.fresh_as_of().is_some() {
            return Ok(self.confirmation(Confirmed { read_index: 0, fresh_as_of: BootTime::now() }));
        }
        Ok(self.confirmation(self.gate.confirm(deadline.min(self.config.deadline_max)).await?))
    }

    /// The same, also while the node answers at once because an earlier read missed its deadline: for what has to
    /// wait, such as a write.
    pub(crate) async fn confirm_patiently(&self, deadline: Duration) -> Result<Confirmation, Unconfirmed> {
        Ok(self.confirmation(self.gate.confirm_patiently(deadline).await?))
    }

    /// Test only: of a node whose cluster always tells it at once that it is current.
    #[cfg(test)]
    pub(crate) fn in_touch(replica: Replica, storage: Arc<crate::storage::Storage>) -> Self {
        let config = ReadConfig::default();
        let disk = Arc::new(Disk::new(storage, crate::config::DiskConfig::default()));
        let gate = Arc::new(Gate::start(Arc::new(rounds::InTouch), &config));
        let refresher = tokio::spawn(std::future::pending::<()>()).abort_handle();
        Self { replica, gate, disk, config, stopping: AtomicBool::new(false), refresher }
    }

    fn confirmation(&self, confirmed: Confirmed) -> Confirmation {
        Confirmation {
            published: self.replica.published(),
            read_index: confirmed.read_index,
            fresh_as_of: confirmed.fresh_as_of,
        }
    }

    /// How long ago, at most, the published state was current, in milliseconds. `None` until that is first known
    /// after a start. It counts on while the process is stopped.
    pub fn age_ms(&self) -> Option<u64> {
        self.age().map(ceil_ms)
    }

    /// [`Reads::age_ms`] as a duration.
    pub(crate) fn age(&self) -> Option<Duration> {
        self.gate.fresh_as_of().map(BootTime::elapsed)
    }

    /// The published state with a bound on its age, in milliseconds. In this order: an age that is read after the
    /// state was loaded may be that of a newer one.
    pub fn local(&self) -> (Arc<Published>, Option<u64>) {
        let fresh_as_of = self.gate.fresh_as_of();
        let published = self.replica.published();
        if canary::is_planted(Canary::AlwaysYoung) {
            return (published, Some(0));
        }
        (published, fresh_as_of.map(|time| ceil_ms(time.elapsed())))
    }

    /// Whether reads are answered as unconfirmed without waiting, since one missed its deadline.
    pub fn is_suspect(&self) -> bool {
        self.gate.is_suspect()
    }

    /// How often that began or ceased to be so.
    pub(crate) fn suspect_turns(&self) -> u64 {
        self.gate.turns()
    }

    /// Rounds of confirmation begun since the start, for the metrics.
    pub fn rounds(&self) -> u64 {
        self.gate.rounds()
    }

    /// Waits until the revision is published here and gives the state that holds it.
    ///
    /// # Errors
    /// When it belongs to another history, or is not here within the deadline (at most the greatest one of
    /// [`ReadConfig::deadline_max`]).
    pub async fn await_revision(
        &self,
        wanted: RevisionToken,
        deadline: Duration,
    ) -> Result<Arc<Published>, RevisionUnavailable> {
        let deadline = deadline.min(self.config.deadline_max);
        let RevisionToken { history, revision } = wanted;
        // A state without a history yet waits to be caught up, or, where it came from a backup, for the entry that gives
        // it one: it is not another history.
        let is_other = |published: &Published| published.state.history().is_some_and(|ours| ours != history);
        if is_other(&self.replica.published()) {
            return Err(RevisionUnavailable::OtherHistory);
        }
        let waited = tokio::time::timeout(deadline, self.replica.await_revision(revision)).await;
        let published = self.replica.published();
        if is_other(&published) {
            return Err(RevisionUnavailable::OtherHistory);
        }
        // A restored catalog has the revisions of another history until its first entry gives it its own.
        match waited {
            Ok(()) if published.state.history().is_some() => Ok(published),
            Ok(()) | Err(_) => {
                Err(RevisionUnavailable::NotYet { wanted: revision, published: published.state.revision() })
            }
        }
    }

    /// Whether this node should be sent requests, and why not.
    pub fn readiness(&self) -> Readiness {
        let status = self.replica.status();
        Readiness::of(&readiness::Facts {
            stopping: self.stopping.load(Ordering::Acquire),
            running: status.running,
            member: status.members.contains_key(&status.node_id),
            founded: self.replica.published().state.history().is_some(),
            leader: status.leader,
            disk: self.disk.report(),
            age_ms: self.age_ms(),
            age_max_ms: ceil_ms(self.config.ready_max_age),
        })
    }

    /// Makes the node not ready, for good: the first step of stopping.
    pub(crate) fn fail_readiness(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Ends the background work; reads that wait are unconfirmed.
    pub(crate) fn stop(&self) {
        self.refresher.abort();
        self.gate.stop();
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

/// Keeps the age young, and probes while the node is suspect. Reads do the same by the way, so a busy node has
/// no rounds beyond theirs.
async fn refresh(gate: Arc<Gate>, config: ReadConfig) {
    loop {
        let is_fresh = gate.fresh_as_of().is_some_and(|time| time.elapsed() < config.refresh_interval);
        if gate.is_suspect() || !is_fresh {
            // While this waits, the gate tries round after round.
            match gate.confirm_patiently(config.deadline_max).await {
                Ok(_) | Err(Unconfirmed::Overloaded) => {}
                Err(Unconfirmed::Deadline | Unconfirmed::Suspect) => continue,
                Err(Unconfirmed::Stopped) => return,
            }
        }
        tokio::time::sleep(config.refresh_interval).await;
    }
}
