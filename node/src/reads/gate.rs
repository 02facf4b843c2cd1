//! The gate of confirmed reads: many reads, one round at a time, or a few where a round takes long.
//!
//! Invariant: a read never joins a round that is under way. A round proves that the cluster was at some index
//! *after the round began*; a read that arrives later could follow a write that the round knows nothing of. So
//! there are two slots: the reads of rounds under way, each with the first that began after it came, and those that
//! wait for the next one. Here the second slot is a channel, and only its drain, before a round begins, moves reads
//! to the first.
//!
//! The gate knows nothing of Raft: a round is whatever [`Rounds`] says it is.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::AbortHandle,
    time::{Instant, timeout_at},
};

use super::keeper::Keeper;
use crate::{clock::BootTime, config::ReadConfig};

/// What the gate does rounds with.
pub(crate) trait Rounds: Send + Sync + 'static {
    /// Runs one round: the index that the cluster had committed at some moment after this call, or `None` when
    /// nobody could say.
    fn read_index(&self) -> impl Future<Output = Option<u64>> + Send;

    /// Returns once this node publishes a state that holds everything up to the index.
    fn published(&self, index: u64) -> impl Future<Output = ()> + Send;

    /// Returns when another leader is known than at the time of the call: worth a fresh attempt.
    fn leader_change(&self) -> impl Future<Output = ()> + Send;
}

/// What a confirmed read knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Confirmed {
    /// Published here is everything up to this index.
    pub(crate) read_index: u64,
    /// A moment before the round began: the published state was current at this time.
    pub(crate) fresh_as_of: BootTime,
}

/// Why a read is not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unconfirmed {
    /// No quorum confirmed it within its deadline.
    #[error("no quorum confirmed within the deadline that this node is current")]
    Deadline,
    /// An earlier read ran into its deadline and no round succeeded since, so this one did not wait.
    #[error("this node can't confirm at present that it is current; it goes on trying")]
    Suspect,
    /// Too many reads wait already.
    #[error("too many reads wait for their confirmation on this node")]
    Overloaded,
    /// The node is shutting down.
    #[error("this node is shutting down")]
    Stopped,
}

/// A read that waits.
pub(super) struct Waiter {
    pub(super) deadline: Instant,
    pub(super) tell: oneshot::Sender<Confirmed>,
    /// Given back when the waiter is gone, so that there are never more waiters than permits.
    _permit: OwnedSemaphorePermit,
}

/// What the gate, its task and its readers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// [`BootTime`] in nanoseconds; 0: never.
    fresh_as_of: AtomicU64,
    suspect: AtomicBool,
    /// How often that has changed.
    turns: AtomicU64,
    pub(super) rounds: AtomicU64,
}

impl Shared {
    pub(super) fn succeeded(&self, confirmed: Confirmed) {
        self.fresh_as_of.fetch_max(confirmed.fresh_as_of.to_nanos(), Ordering::AcqRel);
        if self.suspect.swap(false, Ordering::AcqRel) {
            self.turns.fetch_add(1, Ordering::AcqRel);
            tracing::info!(
                "this node can confirm again that it is current: critical flags have their values back"
            );
        }
    }
}

/// The gate.
pub(crate) struct Gate {
    entrance: mpsc::Sender<Waiter>,
    permits: Arc<Semaphore>,
    shared: Arc<Shared>,
    suspect_after: Duration,
    task: AbortHandle,
}

impl Gate {
    /// A gate whose task runs rounds as long as somebody waits.
    pub(crate) fn start<R: Rounds>(rounds: Arc<R>, config: &ReadConfig) -> Self {
        let shared = Arc::new(Shared::default());
        let (entrance, waiting) = mpsc::channel(config.waiting_max.max(1));
        let keeper = Keeper::new(rounds, Arc::clone(&shared), waiting, config);
        Self {
            entrance,
            permits: Arc::new(Semaphore::new(config.waiting_max.max(1))),
            shared,
            // A request spends a little of its time before it gets here: nine tenths are as good as the whole.
            suspect_after: config.deadline * 9 / 10,
            task: tokio::spawn(keeper.run()).abort_handle(),
        }
    }

    /// Waits until a round that begins after this call is confirmed and its index is published here. A node that
    /// is suspect answers at once.
    pub(crate) async fn confirm(&self, deadline: Duration) -> Result<Confirmed, Unconfirmed> {
        if self.is_suspect() {
            return Err(Unconfirmed::Suspect);
        }
        self.confirm_patiently(deadline).await
    }

    /// [`Gate::confirm`] that waits even while the node is suspect.
    pub(crate) async fn confirm_patiently(&self, deadline: Duration) -> Result<Confirmed, Unconfirmed> {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return Err(if self.permits.is_closed() {
                Unconfirmed::Stopped
            } else {
                Unconfirmed::Overloaded
            });
        };
        let deadline_at = Instant::now() + deadline;
        let (tell, told) = oneshot::channel();
        let waiter = Waiter { deadline: deadline_at, tell, _permit: permit };
        // There is a place for every permit, so this fails only when the task has ended.
        self.entrance.try_send(waiter).map_err(|_| Unconfirmed::Stopped)?;
        match timeout_at(deadline_at, told).await {
            Ok(Ok(confirmed)) => Ok(confirmed),
            Ok(Err(_)) if self.permits.is_closed() => Err(Unconfirmed::Stopped),
            // The task drops a waiter when its deadline has passed, which it may notice first.
            Ok(Err(_)) | Err(_) => {
                self.missed(deadline);
                Err(Unconfirmed::Deadline)
            }
        }
    }

    /// A read that asked for less time than is usual proves nothing about the node by missing its deadline.
    fn missed(&self, waited: Duration) {
        if waited >= self.suspect_after && !self.shared.suspect.swap(true, Ordering::AcqRel) {
            self.shared.turns.fetch_add(1, Ordering::AcqRel);
            tracing::warn!(
                waited_ms = waited.as_millis(),
                "no quorum confirms that this node is current: critical flags get their safe variant until one does"
            );
        }
    }

    /// Whether a read missed its deadline and no round succeeded since.
    pub(crate) fn is_suspect(&self) -> bool {
        self.shared.suspect.load(Ordering::Acquire)
    }

    /// How often it began or ceased to be so.
    pub(crate) fn turns(&self) -> u64 {
        self.shared.turns.load(Ordering::Acquire)
    }

    /// When the published state is last known to have been current. `None`: never since the node started.
    pub(crate) fn fresh_as_of(&self) -> Option<BootTime> {
        match self.shared.fresh_as_of.load(Ordering::Acquire) {
            0 => None,
            nanos => Some(BootTime::from_nanos(nanos)),
        }
    }

    /// Rounds begun since the node started.
    pub(crate) fn rounds(&self) -> u64 {
        self.shared.rounds.load(Ordering::Relaxed)
    }

    /// Ends the task: all reads that wait, and all later ones, are unconfirmed.
    pub(crate) fn stop(&self) {
        self.permits.close();
        self.task.abort();
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
