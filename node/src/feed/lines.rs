//! The recent changes of every environment, and the state that they lead to.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
};

use bytes::Bytes;
use flagraft_core::{
    feed::encode::{Touch, change, touched},
    identity::{History, RevisionToken},
    key::{EnvironmentKey, ProjectKey},
    project::StoredEnvironment,
    state::State,
};

use super::{
    frame,
    line::{Change, Line},
    metrics::FeedMetrics,
};

/// An environment of a project.
pub(crate) type Place = (ProjectKey, EnvironmentKey);

/// How many changes are kept, of all environments together: the oldest ones go first, whatever environment they are of,
/// for none has a claim to more of the memory than another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub changes_max: usize,
    pub bytes_max: usize,
}

/// The recent changes of every environment.
///
/// Invariant: every line has every change of its environment up to the state `at` that came after what the line begins
/// with. So whoever has looked at `at` and takes what a line has then has seen all of that state.
#[derive(Debug)]
pub(super) struct Lines {
    at: State,
    epoch: u64,
    lines: BTreeMap<Place, Arc<Line>>,
    /// Every change that is kept, in order: where it is, and its bytes.
    order: VecDeque<(Weak<Line>, usize)>,
    bytes: usize,
    kept: Kept,
}

/// What a revision did to an environment, made ready to be sent.
#[derive(Debug)]
pub(super) struct Told {
    place: Place,
    touch: Touch,
    change: Option<Change>,
}

/// What a revision did to each environment that it touched. Takes no lock: it may take long.
pub(super) fn tell(before: &State, after: &State) -> Result<Vec<Told>, serde_json::Error> {
    let Some(history) = after.history() else { return Ok(Vec::new()) };
    let id = RevisionToken { history, revision: after.revision() };
    let places = touched(before, after).into_iter();
    let told = places.map(|(project, environment, touch)| {
        let document = change(before, after, &project, &environment);
        let change = document.map(|document| {
            let frame: Bytes = frame::event("change", id, &document)?;
            Ok(Change { revision: document.revision, previous: document.previous, frame })
        });
        Ok(Told { place: (project, environment), touch, change: change.transpose()? })
    });
    told.collect()
}

impl Lines {
    pub fn new(at: State, kept: Kept) -> Self {
        Self { at, epoch: 0, lines: BTreeMap::new(), order: VecDeque::new(), bytes: 0, kept }
    }

    /// The state that all lines lead to.
    pub fn at(&self) -> &State {
        &self.at
    }

    /// Which life this is, and the revision that all lines lead to.
    pub fn upto(&self) -> (u64, u64) {
        (self.epoch, self.at.revision())
    }

    pub fn history(&self) -> Option<History> {
        self.at.history()
    }

    /// The line of an environment; `None` when the state has no such environment.
    pub fn line(&mut self, place: &Place) -> Option<Arc<Line>> {
        let touched = environment(&self.at, place)?.touched_revision;
        let epoch = self.epoch;
        let line = self.lines.entry(place.clone()).or_insert_with(|| Arc::new(Line::new(epoch, touched)));
        Some(Arc::clone(line))
    }

    /// Takes over the revision that `told` says was next. Returns who is to be woken.
    pub fn advance(&mut self, after: State, told: Vec<Told>, metrics: &FeedMetrics) -> Vec<Arc<Line>> {
        let mut to_wake = Vec::new();
        for Told { place, touch, change } in told {
            match touch {
                Touch::Gone | Touch::Made => {
                    if let Some(line) = self.lines.remove(&place) {
                        self.bytes = self.bytes.saturating_sub(line.delete());
                        to_wake.push(line);
                    }
                }
                Touch::Changed => {
                    // A line that nobody asked for yet is made of the state before, which `at` still is.
                    let (Some(change), Some(line)) = (change, self.line(&place)) else { continue };
                    let bytes = change.frame.len();
                    self.order.push_back((Arc::downgrade(&line), bytes));
                    self.bytes = self.bytes.saturating_add(bytes);
                    line.push(change);
                    to_wake.push(line);
                }
            }
        }
        self.at = after;
        self.trim();
        metrics.kept_bytes.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
        to_wake
    }

    /// Forgets the oldest changes that are too many. The newest one stays: whoever waits for it is there already.
    fn trim(&mut self) {
        while self.order.len() > 1
            && (self.order.len() > self.kept.changes_max || self.bytes > self.kept.bytes_max)
        {
            let Some((line, _)) = self.order.pop_front() else { return };
            // A line that was deleted has forgotten its changes already.
            let forgotten = line.upgrade().map_or(0, |line| line.forget_oldest());
            self.bytes = self.bytes.saturating_sub(forgotten);
        }
    }

    /// Takes over a state to which no revisions led singly. Returns who is to be woken.
    pub fn begin_anew(&mut self, state: State) -> Vec<Arc<Line>> {
        self.epoch += 1;
        self.order.clear();
        self.bytes = 0;
        self.at = state;
        let lines = std::mem::take(&mut self.lines);
        let mut to_wake = Vec::new();
        for (place, line) in lines {
            to_wake.push(Arc::clone(&line));
            match environment(&self.at, &place) {
                Some(stored) => {
                    line.begin_anew(self.epoch, stored.touched_revision);
                    self.lines.insert(place, line);
                }
                None => drop(line.delete()),
            }
        }
        to_wake
    }
}

/// The environment, if the state has it.
pub(super) fn environment<'s>(
    state: &'s State,
    (project, environment): &Place,
) -> Option<&'s StoredEnvironment> {
    state.project(project)?.environments.get(environment).map(AsRef::as_ref)
}
