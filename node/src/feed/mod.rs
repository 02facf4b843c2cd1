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
mod keeper;
mod line;
mod lines;
mod metrics;
mod room;
mod snapshots;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use flagraft_core::{identity::RevisionToken, state::State, token::Token};
use tokio::sync::watch;

pub use self::metrics::FeedMetrics;
pub(crate) use self::{
    follower::Follower,
    line::{Change, Taken},
    lines::Place,
    metrics::{Ended, StreamKind},
    room::NoRoom,
    snapshots::{NoSnapshot, Snapshot},
};
use self::{
    keeper::Keeper,
    lines::{Kept, Lines},
    room::{Room, Seat},
    snapshots::Snapshots,
};
use crate::{
    config::StreamConfig,
    raft::{Published, Replica, Revisions},
};

/// Why a revision that is published can't be followed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the streams of this node do not come up to revision {wanted}, which it has published")]
pub(crate) struct NotReached {
    wanted: u64,
}

/// What streams of this node are told.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    revisions: Revisions,
}

struct Shared {
    lines: Mutex<Lines>,
    snapshots: Snapshots,
    room: Room,
    closing: watch::Sender<bool>,
    /// The revision that all lines lead to.
    reached: watch::Sender<u64>,
    metrics: FeedMetrics,
}

impl Shared {
    fn new(at: State, config: &StreamConfig, metrics: FeedMetrics) -> Self {
        let kept = Kept { changes_max: config.changes_max, bytes_max: config.changes_bytes_max };
        let reached = watch::Sender::new(at.revision());
        Self {
            lines: Mutex::new(Lines::new(at, kept)),
            snapshots: Snapshots::new(config.snapshots_bytes_max),
            room: Room::new(config),
            closing: watch::Sender::new(false),
            reached,
            metrics,
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`Feed::reached`].
    async fn reached(&self, revision: u64, within: Duration) -> Result<(), NotReached> {
        let mut reached = self.reached.subscribe();
        // The sender lives as long as `self`.
        let reached = tokio::time::timeout(within, reached.wait_for(|reached| *reached >= revision)).await;
        reached.is_ok_and(|reached| reached.is_ok()).then_some(()).ok_or(NotReached { wanted: revision })
    }

    /// See [`Feed::follow`].
    fn follow(self: &Arc<Self>, place: &Place, from: Option<RevisionToken>) -> Option<Follower> {
        let mut lines = self.lines();
        let line = lines.line(place)?;
        let history = lines.history()?;
        drop(lines);
        let from = from.filter(|from| from.history == history).map(|from| from.revision);
        Some(Follower::new(Arc::clone(self), line, history, from))
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
        let shared = Arc::new(Shared::new(replica.published().state.clone(), config, metrics));
        let (keeper, heard) = (Keeper::new(Arc::clone(&shared)), revisions.clone());
        thread::Builder::new().name("flagraft-feed".to_owned()).spawn(move || keeper.run(&heard))?;
        Ok(Self { shared, revisions })
    }

    /// Waits until what is published up to `revision` can be followed from.
    ///
    /// # Errors
    /// When it can't be within this time.
    pub async fn reached(&self, revision: u64, within: Duration) -> Result<(), NotReached> {
        self.shared.reached(revision, within).await
    }

    /// Follows an environment from a revision on, or from a snapshot that is still to be taken: also where that revision
    /// is of another history than what is followed by now. `None` when there is no such environment.
    pub fn follow(&self, place: &Place, from: Option<RevisionToken>) -> Option<Follower> {
        self.shared.follow(place, from)
    }

    /// The environment as a state has it that `published` gives: that of the first call, or where it had to wait for its
    /// turn, of a later one. Made once for all who ask at about the same time, and few at once.
    ///
    /// # Errors
    /// When there is no such environment, or it could not be made.
    pub async fn snapshot(
        &self,
        published: impl Fn() -> Arc<Published> + Send + Sync,
        place: &Place,
    ) -> Result<Snapshot, NoSnapshot> {
        self.shared.snapshots.of(published, place).await
    }

    /// Opens one more stream of this token.
    ///
    /// # Errors
    /// When there is no room for it, or this node stops.
    pub fn open(&self, kind: StreamKind, token: &Token) -> Result<OpenStream, NoRoom> {
        if *self.shared.closing.borrow() {
            return Err(NoRoom::Stopping);
        }
        let seat = self.shared.room.take(kind, token)?;
        self.shared.metrics.opened(kind);
        let closing = self.shared.closing.subscribe();
        Ok(OpenStream { kind, closing, why: Ended::Gone, metrics: self.shared.metrics.clone(), _seat: seat })
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
    _seat: Seat,
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

#[cfg(test)]
mod tests;
