//! Every revision singly, in order, for who follows them: what is published goes in leaps of a batch.
//!
//! Whoever applies entries never waits for the follower: when it is too far behind, the revisions that wait are
//! forgotten, and it is told to begin anew.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use flagraft_core::state::State;

/// Revisions that wait for the follower, at most. At the most writes a second that a node applies that is a fifth of a
/// second's.
const WAITING_MAX: usize = 4_096;
/// Bytes of the entries that made them, at most: the states share all that these did not change.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// The state after a revision, and the size of the entry that made it.
#[derive(Debug)]
pub(super) struct Revision {
    pub state: State,
    pub entry_bytes: usize,
}

/// What came to be published since the follower asked last.
#[derive(Debug)]
pub enum Heard {
    /// These revisions: the state after each, without a gap.
    Revisions(Vec<State>),
    /// More than is remembered, or something that is no revision, as when a snapshot was installed: only the state that
    /// it came to.
    Leap(Box<State>),
}

/// Where revisions are handed on once they are published. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Revisions {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    heard: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    follows: bool,
    closed: bool,
    leap: Option<Box<State>>,
    states: Vec<State>,
    bytes: usize,
}

impl Revisions {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what is published now.
    pub(super) fn publish(&self, revisions: Vec<Revision>) {
        if revisions.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        if !waiting.follows {
            return;
        }
        for Revision { state, entry_bytes } in revisions {
            waiting.states.push(state);
            waiting.bytes = waiting.bytes.saturating_add(entry_bytes);
        }
        if (waiting.states.len() > WAITING_MAX || waiting.bytes > WAITING_BYTES_MAX)
            && let Some(newest) = waiting.states.pop()
        {
            waiting.leap_to(newest);
        }
        drop(waiting);
        self.shared.heard.notify_one();
    }

    /// Hands on a state that did not come about revision by revision.
    pub(super) fn leap(&self, state: State) {
        let mut waiting = self.waiting();
        if waiting.follows {
            waiting.leap_to(state);
        }
        drop(waiting);
        self.shared.heard.notify_one();
    }

    /// From now on there is somebody who follows. Whatever is published after this call is heard.
    pub fn follow(&self) {
        self.waiting().follows = true;
    }

    /// Nobody follows any more: [`Revisions::heard`] ends.
    pub fn close(&self) {
        let mut waiting = self.waiting();
        *waiting = Waiting { closed: true, ..Waiting::default() };
        drop(waiting);
        self.shared.heard.notify_one();
    }

    /// What came to be published since the last call. Blocks the thread until there is something; `None` after
    /// [`Revisions::close`].
    pub fn heard(&self) -> Option<Heard> {
        let mut waiting = self.waiting();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(state) = waiting.leap.take() {
                return Some(Heard::Leap(state));
            }
            if !waiting.states.is_empty() {
                waiting.bytes = 0;
                return Some(Heard::Revisions(std::mem::take(&mut waiting.states)));
            }
            waiting = self.shared.heard.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Waiting {
    fn leap_to(&mut self, state: State) {
        self.states.clear();
        self.bytes = 0;
        self.leap = Some(Box::new(state));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revisions(count: usize, entry_bytes: usize) -> Vec<Revision> {
        (0..count).map(|_| Revision { state: State::empty(), entry_bytes }).collect()
    }

    #[test]
    fn a_follower_hears_each_revision_or_that_it_missed_some() {
        let handed_on = Revisions::default();
        handed_on.publish(revisions(3, 1));
        handed_on.follow();
        handed_on.publish(revisions(2, 1));
        handed_on.publish(revisions(1, 1));
        assert!(matches!(handed_on.heard(), Some(Heard::Revisions(states)) if states.len() == 3));

        for (count, bytes) in [(WAITING_MAX, 1), (1, WAITING_BYTES_MAX)] {
            handed_on.publish(revisions(count, bytes));
            handed_on.publish(revisions(1, 1));
            handed_on.publish(revisions(2, 1));
            assert!(matches!(handed_on.heard(), Some(Heard::Leap(_))), "{count}");
            assert!(matches!(handed_on.heard(), Some(Heard::Revisions(states)) if states.len() == 2));
        }
        handed_on.publish(revisions(2, 1));
        handed_on.leap(State::empty());
        assert!(matches!(handed_on.heard(), Some(Heard::Leap(_))));
        handed_on.close();
        assert!(handed_on.heard().is_none());
    }
}
