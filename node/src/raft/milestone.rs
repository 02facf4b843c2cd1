//! One revision that somebody waits for, to have the state exactly as it was there: what is published goes in leaps of a
//! batch.
//!
//! Whoever applies entries never waits: a state is handed over as a clone, which shares all that later ones do not change.

use std::sync::Arc;

use flagraft_core::state::State;
use tokio::sync::watch;

use super::revisions::Revision;

/// Where a revision is waited for, by one at a time. Clones share it.
#[derive(Clone, Debug)]
pub struct Milestone {
    mark: Arc<watch::Sender<Mark>>,
}

#[derive(Clone, Debug)]
enum Mark {
    /// Nobody waits.
    Idle,
    /// This revision is waited for.
    Wanted(u64),
    /// It came to be, or was leapt over.
    Passed(Option<Box<State>>),
}

impl Default for Milestone {
    fn default() -> Self {
        Self { mark: Arc::new(watch::Sender::new(Mark::Idle)) }
    }
}

impl Milestone {
    /// Notes what is published now: the revisions singly, and the state that they led to.
    pub(super) fn pass(&self, revisions: &[Revision], newest: &State) {
        self.mark.send_if_modified(|mark| {
            let Mark::Wanted(wanted) = *mark else { return false };
            if newest.revision() < wanted {
                return false;
            }
            let singly = revisions.iter().map(|revision| &revision.state);
            let found = singly.chain([newest]).find(|state| state.revision() == wanted);
            *mark = Mark::Passed(found.cloned().map(Box::new));
            true
        });
    }

    /// The state as it is published with `wanted`, which has still to come; `None` when it was leapt over. `published`
    /// gives what is published, for it may be there meanwhile.
    pub async fn reached(&self, wanted: u64, published: impl Fn() -> State) -> Option<State> {
        let mut marks = self.mark.subscribe();
        self.mark.send_replace(Mark::Wanted(wanted));
        let now = published();
        if now.revision() >= wanted {
            self.mark.send_replace(Mark::Idle);
            return (now.revision() == wanted).then_some(now);
        }
        // The sender lives as long as `self`, so waiting can't fail.
        _ = marks.wait_for(|mark| matches!(mark, Mark::Passed(_))).await.is_ok();
        match self.mark.send_replace(Mark::Idle) {
            Mark::Passed(state) => state.map(|state| *state),
            Mark::Idle | Mark::Wanted(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use flagraft_core::{apply::apply, identity::LogPosition};
    use futures_util::FutureExt as _;

    use super::{super::testing::change, *};

    /// A state after each of these many changes, from the empty one on.
    fn states(count: u64) -> Vec<State> {
        let mut states = vec![State::empty()];
        for number in 0..count {
            let at = LogPosition { term: 1, index: number };
            states.push(apply(&states[states.len() - 1], &change(number), at).state);
        }
        states
    }

    #[tokio::test]
    async fn the_state_is_that_of_the_revision_within_a_batch() {
        let states = states(4);
        let milestone = Milestone::default();
        let batch = |range: std::ops::RangeInclusive<usize>| -> Vec<Revision> {
            range.map(|at| Revision { state: states[at].clone(), entry_bytes: 1 }).collect()
        };
        let mut waiting = Box::pin(milestone.reached(3, || states[0].clone()));
        assert!((&mut waiting).now_or_never().is_none());
        milestone.pass(&batch(1..=2), &states[2]);
        assert!((&mut waiting).now_or_never().is_none());
        milestone.pass(&batch(3..=4), &states[4]);
        assert_eq!(waiting.await, Some(states[3].clone()));

        let mut waiting = Box::pin(milestone.reached(3, || states[0].clone()));
        assert!((&mut waiting).now_or_never().is_none());
        milestone.pass(&[], &states[4]);
        assert_eq!(waiting.await, None, "a snapshot leapt over it");
        assert_eq!(milestone.reached(3, || states[3].clone()).await, Some(states[3].clone()), "it is there");
        assert_eq!(milestone.reached(3, || states[4].clone()).await, None, "it is gone");
    }
}
