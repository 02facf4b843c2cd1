//! The state that readers see: swapped whole after each batch is written, and never before.

use std::sync::Arc;

use arc_swap::ArcSwap;
use flagraft_core::state::State;
use tokio::sync::watch;

use super::{
    milestone::Milestone,
    revisions::{Revision, Revisions},
    types::Published,
};

/// Where the newest state is published, and where readers wait for it. Clones share it.
#[derive(Clone)]
pub(super) struct Publisher {
    current: Arc<ArcSwap<Published>>,
    progress: Arc<watch::Sender<Progress>>,
    revisions: Revisions,
    milestone: Milestone,
}

#[derive(Clone, Copy)]
struct Progress {
    next_index: u64,
    revision: u64,
    records: u64,
}

impl Progress {
    fn of(published: &Published) -> Self {
        Self {
            next_index: published.next_index(),
            revision: published.state.revision(),
            records: published.state.sequence(),
        }
    }
}

impl Publisher {
    pub(super) fn new(first: Published) -> Self {
        let progress = Arc::new(watch::Sender::new(Progress::of(&first)));
        Self {
            current: Arc::new(ArcSwap::from_pointee(first)),
            progress,
            revisions: Revisions::default(),
            milestone: Milestone::default(),
        }
    }

    /// Makes `next` what readers see, wakes those who waited for it, and hands on the revisions that led there.
    pub(super) fn publish(&self, next: Published, revisions: Vec<Revision>) {
        let newest = next.state.clone();
        self.swap(next);
        self.milestone.pass(&revisions, &newest);
        self.revisions.publish(revisions);
    }

    /// Makes `next` what readers see, to which no revisions led.
    pub(super) fn publish_leap(&self, next: Published) {
        let state: State = next.state.clone();
        self.swap(next);
        self.milestone.pass(&[], &state);
        self.revisions.leap(state);
    }

    fn swap(&self, next: Published) {
        let progress = Progress::of(&next);
        self.current.store(Arc::new(next));
        self.progress.send_replace(progress);
    }

    pub(super) fn revisions(&self) -> Revisions {
        self.revisions.clone()
    }

    pub(super) fn milestone(&self) -> Milestone {
        self.milestone.clone()
    }

    pub(super) fn current(&self) -> Arc<Published> {
        self.current.load_full()
    }

    /// Returns once the effect of the entry at `index` is published.
    pub(super) async fn await_index(&self, index: u64) {
        self.wait(|progress| progress.next_index > index).await;
    }

    /// Returns once `revision` is published.
    pub(super) async fn await_revision(&self, revision: u64) {
        self.wait(|progress| progress.revision >= revision).await;
    }

    /// Returns once this many audit records are published.
    pub(super) async fn await_records(&self, records: u64) {
        self.wait(|progress| progress.records >= records).await;
    }

    async fn wait(&self, reached: impl FnMut(&Progress) -> bool) {
        let mut progress = self.progress.subscribe();
        // The sender lives as long as `self`, so waiting can't fail.
        _ = progress.wait_for(reached).await.is_ok();
    }
}
