//! The fan-out: what streams are told of the changes that come to be published here.
//!
//! A thread hears each revision singly, after it was published, and writes what it did to each environment once, for
//! everybody. The recent changes of all environments are kept, so that whoever was cut off goes on where it was, on any
//! node. A stream is a place in that memory and no buffer of its own: one that takes too little loses its place, and
//! ends. When a revision was not heard singly, every stream begins anew with a snapshot.
//!
//! Invariant: nothing here holds up the application of entries, or an evaluation.

mod follower;
pub(crate) mod frame;
mod line;
mod lines;
mod metrics;
mod snapshots;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use flagraft_core::state::State;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use self::metrics::FeedMetrics;
pub(crate) use self::{
    follower::Follower,
    line::Taken,
    lines::Place,
    metrics::{Ended, StreamKind},
    snapshots::{NoSnapshot, Snapshot},
};
use self::{
    lines::{Kept, Lines, tell},
    snapshots::Snapshots,
};
use crate::{
    config::StreamConfig,
    raft::{Heard, Published, Replica, Revisions},
};

/// What streams of this node are told.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    revisions: Revisions,
}

struct Shared {
    lines: Mutex<Lines>,
    snapshots: Snapshots,
    permits: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    /// The revision that all lines lead to.
    reached: watch::Sender<u64>,
    metrics: FeedMetrics,
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Feed {
    /// Starts to follow what the replica publishes.
    ///
    /// # Errors
    /// When there can't be one more thread.
    pub fn start(replica: &Replica, config: &StreamConfig, metrics: FeedMetrics) -> io::Result<Self> {
        let revisions = replica.revisions();
        // In this order: a revision that comes between is heard of, though it is there already.
        revisions.follow();
        let kept = Kept { changes_max: config.changes_max, bytes_max: config.changes_bytes_max };
        let lines = Lines::new(replica.published().state.clone(), kept);
        let reached = watch::Sender::new(lines.upto().1);
        let shared = Arc::new(Shared {
            lines: Mutex::new(lines),
            snapshots: Snapshots::new(config.snapshots_bytes_max),
            permits: Arc::new(Semaphore::new(config.streams_max)),
            closing: watch::Sender::new(false),
            reached,
            metrics,
        });
        let keeper = Keeper { shared: Arc::clone(&shared), revisions: revisions.clone() };
        thread::Builder::new().name("flagraft-feed".to_owned()).spawn(move || keeper.run())?;
        Ok(Self { shared, revisions })
    }

    /// Returns once what is published up to `revision` can be followed from. There is no deadline.
    pub async fn reached(&self, revision: u64) {
        let mut reached = self.shared.reached.subscribe();
        // The sender lives as long as `self`.
        _ = reached.wait_for(|reached| *reached >= revision).await.is_ok();
    }

    /// Follows an environment from a revision of this history on, or from a snapshot that is still to be taken. `None`
    /// when there is no such environment.
    pub fn follow(&self, place: &Place, from: Option<u64>) -> Option<Follower> {
        let mut lines = self.shared.lines();
        let line = lines.line(place)?;
        let history = lines.history()?;
        drop(lines);
        Some(Follower::new(Arc::clone(&self.shared), line, history, from))
    }

    /// The environment as this state has it, made once for all who ask at about the same time.
    ///
    /// # Errors
    /// When there is no such environment, or it could not be made.
    pub async fn snapshot(&self, published: &Arc<Published>, place: &Place) -> Result<Snapshot, NoSnapshot> {
        self.shared.snapshots.of(published, place).await
    }

    /// Room for one more stream; `None` when there are as many as may be, or this node stops.
    pub fn open(&self, kind: StreamKind) -> Option<OpenStream> {
        if *self.shared.closing.borrow() {
            return None;
        }
        let permit = Arc::clone(&self.shared.permits).try_acquire_owned().ok()?;
        self.shared.metrics.opened(kind);
        let closing = self.shared.closing.subscribe();
        Some(OpenStream {
            kind,
            closing,
            why: Ended::Gone,
            metrics: self.shared.metrics.clone(),
            _permit: permit,
        })
    }

    /// Ends all streams: they hold up the end of a node otherwise. No more are opened.
    pub fn end_streams(&self) {
        self.shared.closing.send_replace(true);
    }

    /// Ends the feed.
    pub fn close(&self) {
        self.end_streams();
        self.revisions.close();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.close();
    }
}

/// A stream that is open: counted as such until it is dropped.
pub(crate) struct OpenStream {
    kind: StreamKind,
    closing: watch::Receiver<bool>,
    why: Ended,
    metrics: FeedMetrics,
    _permit: OwnedSemaphorePermit,
}

impl OpenStream {
    /// Counts an event that it is given.
    pub fn sent(&self, event: &'static str) {
        self.metrics.sent(self.kind, event);
    }

    /// Says why it ends. Who says nothing went away.
    pub fn ends(&mut self, why: Ended) {
        self.why = why;
    }

    /// Returns once this node stops.
    pub async fn closing(&mut self) {
        // A sender that is gone says the same.
        _ = self.closing.wait_for(|closing| *closing).await.is_ok();
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.metrics.ended(self.kind, self.why);
    }
}

/// The thread that hears of revisions.
struct Keeper {
    shared: Arc<Shared>,
    revisions: Revisions,
}

impl Keeper {
    fn run(self) {
        let mut at = self.shared.lines().at().clone();
        while let Some(heard) = self.revisions.heard() {
            match heard {
                Heard::Leap(state) => {
                    self.leap((*state).clone());
                    at = *state;
                }
                Heard::Revisions(states) => {
                    for after in states {
                        self.revision(&at, after.clone());
                        at = after;
                    }
                }
            }
        }
    }

    fn revision(&self, before: &State, after: State) {
        let is_known = before.history() == after.history() && after.revision() <= before.revision();
        if is_known {
            return;
        }
        let follows =
            before.history() == after.history() && before.revision().checked_add(1) == Some(after.revision());
        // Ids count in one history.
        if !follows {
            return self.leap(after);
        }
        let revision = after.revision();
        match tell(before, &after) {
            Ok(told) => {
                let to_wake = self.shared.lines().advance(after, told, &self.shared.metrics);
                to_wake.iter().for_each(|line| line.wake());
                self.shared.reached.send_replace(revision);
            }
            Err(error) => {
                tracing::error!(%error, "a change could not be written for streams; they begin anew");
                self.leap(after);
            }
        }
    }

    fn leap(&self, state: State) {
        self.shared.metrics.leaps.inc();
        let revision = state.revision();
        let to_wake = self.shared.lines().begin_anew(state);
        to_wake.iter().for_each(|line| line.wake());
        self.shared.reached.send_replace(revision);
    }
}
