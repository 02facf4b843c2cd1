//! The thread that hears of revisions.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use flagraft_core::state::State;

use super::{
    Shared,
    lines::{Told, tell},
};
use crate::raft::{Heard, Revisions};

/// What writes down what a revision did.
type Tell = fn(&State, &State) -> Result<Vec<Told>, serde_json::Error>;

/// The thread that hears of revisions.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    pub(super) tell: Tell,
}

impl Keeper {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tell }
    }

    /// Hears until nothing is handed on any more.
    pub fn run(self, revisions: &Revisions) {
        while let Some(heard) = revisions.heard() {
            self.hear(heard);
        }
    }

    pub(super) fn hear(&self, heard: Heard) {
        match heard {
            Heard::Leap(state) => self.leap(*state),
            Heard::Revisions(states) => states.into_iter().for_each(|after| self.revision(after)),
        }
    }

    fn revision(&self, after: State) {
        let before = self.shared.lines().at().clone();
        // Ids count in one history.
        let is_same = before.history() == after.history();
        if is_same && after.revision() <= before.revision() {
            // It was published between the moment that the lines began with and the one from which on all is heard.
            return;
        }
        if !is_same || before.revision().checked_add(1) != Some(after.revision()) {
            return self.leap(after);
        }
        // A fault in one change must not end what all streams live on. A panic leaves nothing behind that the leap does
        // not replace.
        let advanced = catch_unwind(AssertUnwindSafe(|| self.advance(&before, after.clone())));
        let why = match advanced {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            // What it says is in the log already.
            Err(_) => "a panic".to_owned(),
        };
        tracing::error!(%why, revision = after.revision(), "a change could not be written for streams; they begin anew");
        self.leap(after);
    }

    fn advance(&self, before: &State, after: State) -> Result<(), serde_json::Error> {
        let revision = after.revision();
        let told = (self.tell)(before, &after)?;
        let to_wake = self.shared.lines().advance(after, told, &self.shared.metrics);
        to_wake.iter().for_each(|line| line.wake());
        self.shared.reached.send_replace(revision);
        Ok(())
    }

    fn leap(&self, state: State) {
        self.shared.metrics.leaps.inc();
        let revision = state.revision();
        let to_wake = self.shared.lines().begin_anew(state);
        to_wake.iter().for_each(|line| line.wake());
        self.shared.reached.send_replace(revision);
    }
}
