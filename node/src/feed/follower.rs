//! A place in the changes of an environment.

use std::sync::Arc;

use flagraft_core::{
    identity::{History, RevisionToken},
    state::State,
};
use tokio::sync::watch;

use super::{
    Place, Shared, Snapshot,
    line::{Line, Taken},
};
use crate::canary::{self, Canary};

/// Changes that are taken at once, at most, and their bytes, beyond the first: what is taken is kept for its receiver
/// alone, however little that reads.
const TAKEN_MAX: usize = 64;
const TAKEN_BYTES_MAX: usize = 1 << 20;

/// A place in the changes of an environment.
///
/// Invariant: whoever has been given all that [`Follower::take`] gave, and the snapshots that it asked for, has seen every
/// change of the environment up to [`Follower::seen`], once and in order.
pub(crate) struct Follower {
    shared: Arc<Shared>,
    line: Arc<Line>,
    wake: watch::Receiver<()>,
    history: History,
    epoch: u64,
    /// `None`: it needs a snapshot first.
    stands: Option<Stands>,
}

#[derive(Clone, Copy)]
struct Stands {
    /// Everything up to this revision was given.
    seen: u64,
    /// The revision that last touched the environment, up to that.
    environment_revision: u64,
}

impl Follower {
    /// A follower from the revision `from` on, as far as all that came after it is remembered.
    pub(super) fn new(shared: Arc<Shared>, line: Arc<Line>, history: History, from: Option<u64>) -> Self {
        let wake = line.subscribe();
        let from = match canary::is_planted(Canary::LoseOnResume) {
            true => from.map(|from| next_after(&line, from)),
            false => from,
        };
        let (epoch, touched) = line.stands(from.unwrap_or(0));
        let stands =
            from.zip(touched).map(|(seen, environment_revision)| Stands { seen, environment_revision });
        Self { shared, line, wake, history, epoch, stands }
    }

    /// The newest revision that was seen whole, and the one that last touched the environment up to that; `None` before
    /// the first snapshot.
    pub fn seen(&self) -> Option<(RevisionToken, u64)> {
        let stands = self.stands?;
        Some((RevisionToken { history: self.history, revision: stands.seen }, stands.environment_revision))
    }

    /// What came since, or the first of it: then [`Follower::woken`] returns at once. With [`Taken::Anew`] it needs a snapshot of a state that is published after this call: see
    /// [`Follower::begin`].
    pub fn take(&mut self) -> Taken {
        // In this order: what the lines lead to now is in this line then.
        let (epoch, upto) = self.shared.lines().upto();
        let Some(stands) = &mut self.stands else {
            self.epoch = self.line.stands(0).0;
            return Taken::Anew;
        };
        let taken = self.line.after(self.epoch, stands.seen, TAKEN_MAX, TAKEN_BYTES_MAX);
        match &taken {
            Taken::Changes { changes, is_all } => {
                if let Some(last) = changes.last() {
                    *stands = Stands { seen: last.revision, environment_revision: last.revision };
                }
                if !is_all {
                    self.wake.mark_changed();
                } else if epoch == self.epoch {
                    stands.seen = stands.seen.max(upto);
                }
            }
            Taken::Anew => {
                self.epoch = self.line.stands(0).0;
                self.stands = None;
            }
            Taken::Lost | Taken::Deleted => {}
        }
        taken
    }

    /// Goes on from a snapshot.
    pub fn begin(&mut self, snapshot: &Snapshot) {
        self.history = snapshot.revision.history;
        let environment_revision = snapshot.environment_revision;
        self.stands = Some(Stands { seen: snapshot.revision.revision, environment_revision });
        // What came since it was made woke nobody who waited for it.
        self.wake.mark_changed();
    }

    /// Goes on from a state of which the receiver needs nothing but its revision. `false` when that has no such
    /// environment.
    pub fn begin_at(&mut self, state: &State, place: &Place) -> bool {
        let (Some(history), Some(stored)) = (state.history(), super::lines::environment(state, place)) else {
            return false;
        };
        self.history = history;
        let environment_revision = stored.touched_revision;
        self.stands = Some(Stands { seen: state.revision(), environment_revision });
        true
    }

    /// Returns once there may be something to take.
    pub async fn woken(&mut self) {
        if self.wake.changed().await.is_err() {
            // The line lives as long as `self` does.
            std::future::pending::<()>().await;
        }
    }
}

/// With a planted bug: the revision of the first change after this one, as if its receiver had been given that too.
fn next_after(line: &Line, from: u64) -> u64 {
    match line.after(line.stands(from).0, from, 1, usize::MAX) {
        Taken::Changes { changes, .. } => changes.first().map_or(from, |change| change.revision),
        Taken::Anew | Taken::Lost | Taken::Deleted => from,
    }
}
