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
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use crate::{clock::BootTime, config::ReadConfig};

/// Rounds under way at once, at most: more than begin, one each [`ReadConfig::try_timeout`], within the longest deadline.
const UNDER_WAY_MAX: usize = 16;

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

struct Waiter {
    deadline: Instant,
    tell: oneshot::Sender<Confirmed>,
    /// Given back when the waiter is gone, so that there are never more waiters than permits.
    _permit: OwnedSemaphorePermit,
}

/// What the gate, its task and its readers share.
#[derive(Debug, Default)]
struct Shared {
    /// [`BootTime`] in nanoseconds; 0: never.
    fresh_as_of: AtomicU64,
    suspect: AtomicBool,
    /// How often that has changed.
    turns: AtomicU64,
    rounds: AtomicU64,
}

impl Shared {
    fn succeeded(&self, confirmed: Confirmed) {
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
        let keeper = Keeper {
            rounds,
            shared: Arc::clone(&shared),
            waiting,
            try_timeout: config.try_timeout,
            retry_pause: config.retry_pause,
            answer_timeout: config.deadline_max,
            last: 0,
            lagging: JoinSet::new(),
        };
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

/// The task behind a gate.
struct Keeper<R> {
    rounds: Arc<R>,
    shared: Arc<Shared>,
    /// The second slot.
    waiting: mpsc::Receiver<Waiter>,
    try_timeout: Duration,
    retry_pause: Duration,
    answer_timeout: Duration,
    /// The number of the last round that began.
    last: u64,
    /// Rounds that are confirmed and wait until this node has caught up with them.
    lagging: JoinSet<()>,
}

/// A read in the first slot: any round from `since` on began after it came.
struct Joined {
    since: u64,
    waiter: Waiter,
}

/// What came of a round.
struct Ended {
    number: u64,
    confirmed: Option<Confirmed>,
}

impl<R: Rounds> Keeper<R> {
    async fn run(mut self) {
        // The first slot.
        let mut joined: Vec<Joined> = Vec::new();
        loop {
            if joined.is_empty() {
                match self.waiting.recv().await {
                    Some(waiter) => joined.push(Joined { since: self.last + 1, waiter }),
                    None => return,
                }
            }
            if self.confirm(&mut joined).await.is_break() {
                tokio::select! {
                    () = tokio::time::sleep(self.retry_pause) => {}
                    () = self.rounds.leader_change() => {}
                }
            }
        }
    }

    /// Runs rounds until nobody waits for one any more, or a change of leader makes them all moot. One that is long
    /// without an answer, because that is lost or because the others are far away, is joined by another: the first answer
    /// is for all who came before its round began.
    async fn confirm(&mut self, joined: &mut Vec<Joined>) -> ControlFlow<()> {
        let rounds = Arc::clone(&self.rounds);
        let leader_change = rounds.leader_change();
        tokio::pin!(leader_change);
        let mut under_way = FuturesUnordered::new();
        loop {
            // Let every read that is ready to run enter first: they share the round instead of each having the next.
            tokio::task::yield_now().await;
            while let Ok(waiter) = self.waiting.try_recv() {
                joined.push(Joined { since: self.last + 1, waiter });
            }
            let now = Instant::now();
            joined.retain(|Joined { waiter, .. }| waiter.deadline > now && !waiter.tell.is_closed());
            if joined.is_empty() {
                return ControlFlow::Continue(());
            }
            while self.lagging.try_join_next().is_some() {}

            // What arrives from here on waits for the next one.
            if under_way.len() < UNDER_WAY_MAX {
                under_way.push(self.begin());
            }
            let mut next_at = now + self.try_timeout;
            while !joined.is_empty() {
                tokio::select! {
                    Some(Ended { number, confirmed }) = under_way.next() => match confirmed {
                        Some(confirmed) => self.complete(confirmed, extract_before(joined, number)),
                        None if under_way.is_empty() => return ControlFlow::Break(()),
                        None => next_at = next_at.min(Instant::now() + self.retry_pause),
                    },
                    () = sleep_until(next_at) => break,
                    // A new leader makes the answers of the old one moot, and those may take their time to come.
                    () = &mut leader_change => return ControlFlow::Break(()),
                }
            }
            if joined.is_empty() {
                // Whoever comes now could not join them.
                under_way.clear();
            }
        }
    }

    /// Begins a round.
    fn begin(&mut self) -> impl Future<Output = Ended> + use<R> {
        self.last += 1;
        let number = self.last;
        // Before the round.
        let fresh_as_of = BootTime::now();
        self.shared.rounds.fetch_add(1, Ordering::Relaxed);
        let (rounds, patience) = (Arc::clone(&self.rounds), self.answer_timeout);
        async move {
            let index = timeout(patience, rounds.read_index()).await.ok().flatten();
            Ended { number, confirmed: index.map(|read_index| Confirmed { read_index, fresh_as_of }) }
        }
    }

    /// Tells the waiters once the index is published here, without holding up the next round.
    fn complete(&mut self, confirmed: Confirmed, waiters: Vec<Waiter>) {
        if self.rounds.published(confirmed.read_index).now_or_never().is_some() {
            return tell(&self.shared, confirmed, waiters);
        }
        let Some(last) = waiters.iter().map(|waiter| waiter.deadline).max() else { return };
        let (rounds, shared) = (Arc::clone(&self.rounds), Arc::clone(&self.shared));
        self.lagging.spawn(async move {
            if timeout_at(last, rounds.published(confirmed.read_index)).await.is_ok() {
                tell(&shared, confirmed, waiters);
            }
        });
    }
}

/// The waiters for whom a round with this number began late enough.
fn extract_before(joined: &mut Vec<Joined>, number: u64) -> Vec<Waiter> {
    joined.extract_if(.., |read| read.since <= number).map(|read| read.waiter).collect()
}

fn tell(shared: &Shared, confirmed: Confirmed, waiters: Vec<Waiter>) {
    shared.succeeded(confirmed);
    for waiter in waiters {
        // A reader that went away needs no answer.
        _ = waiter.tell.send(confirmed);
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
