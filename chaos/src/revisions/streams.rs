//! What a stream promises its followers: every change once, whole and in order, or a snapshot that covers it.
//!
//! Each event names the last revision before it that touched the environment, so each follower is compared with what it
//! was sent before, and all followers' links together with the writes.

use std::collections::{BTreeMap, HashMap, btree_map::Entry};

pub(super) use crate::operation::Event;
use crate::{
    operation::{Operation, Outcome},
    verdict::{Rule, Verdict},
};

use super::writes::Writes;

#[derive(Debug, Default)]
pub(super) struct Streams {
    followers: HashMap<u64, Place>,
    /// Each change that somebody was sent.
    changes: BTreeMap<u64, Change>,
    /// From each revision that touched the environment, up to which revision it was said to be the last, and by whom.
    still: BTreeMap<u64, (u64, u64)>,
}

/// Where a follower is.
#[derive(Clone, Copy, Debug)]
struct Place {
    revision: u64,
    /// The last revision up to there that touched the environment.
    touched: u64,
    op: u64,
}

#[derive(Debug)]
struct Change {
    previous: u64,
    set: Vec<(String, u64)>,
    op: u64,
}

impl Streams {
    /// Compares an event with what its follower was sent before.
    pub fn observe(&mut self, operation: &Operation, stream: u64, event: &Event, verdict: &mut Verdict) {
        verdict.judged("events of streams", 1);
        let op = operation.op;
        let place = self.followers.get(&stream).copied();
        let before = place.map_or(0, |place| place.op);
        if let Event::Asked { after } = event {
            if let Some(place) = place
                && *after != Some(place.revision)
            {
                let what = || {
                    format!("stream {stream} is at {}, and asked for what is after {after:?}", place.revision)
                };
                verdict.accuse(Rule::StreamResumable, [before, op], what);
            }
            return;
        }
        let Some(revision) = operation.revision else {
            verdict.accuse(Rule::Recorded, [op], || "an event without a revision".to_owned());
            return;
        };
        if let Some(place) = place
            && revision < place.revision
        {
            let what = || format!("stream {stream} was at {}, and was sent {revision}", place.revision);
            verdict.accuse(Rule::StreamOrdered, [before, op], what);
            return;
        }
        let touched = match event {
            Event::Asked { .. } => return,
            Event::Snapshot { touched, .. } => {
                self.is_still(*touched, revision, op);
                *touched
            }
            Event::Progress { touched } => {
                self.is_still(*touched, revision, op);
                if place.is_none_or(|place| place.touched != *touched) {
                    let what = || format!("stream {stream} was told of {touched} before it was sent it");
                    verdict.accuse(Rule::StreamReliable, [before, op], what);
                }
                *touched
            }
            Event::Change { previous, set } => {
                match place {
                    Some(place) if place.revision == revision => {
                        let what =
                            || format!("stream {stream} was at {revision} already when it was sent it");
                        verdict.accuse(Rule::StreamUnique, [before, op], what);
                    }
                    Some(place) if place.touched == *previous => {}
                    _ => {
                        let what = || {
                            let at = place.map_or(0, |place| place.touched);
                            format!(
                                "stream {stream} had got to {at}, and was sent {revision}, which follows {previous}"
                            )
                        };
                        verdict.accuse(Rule::StreamReliable, [before, op], what);
                    }
                }
                self.change(revision, *previous, set, op, verdict);
                revision
            }
        };
        self.followers.insert(stream, Place { revision, touched, op });
    }

    fn is_still(&mut self, touched: u64, revision: u64, op: u64) {
        let still = self.still.entry(touched).or_insert((revision, op));
        if revision > still.0 {
            *still = (revision, op);
        }
    }

    fn change(
        &mut self,
        revision: u64,
        previous: u64,
        set: &[(String, u64)],
        op: u64,
        verdict: &mut Verdict,
    ) {
        match self.changes.entry(revision) {
            Entry::Vacant(place) => {
                place.insert(Change { previous, set: set.to_vec(), op });
            }
            Entry::Occupied(place) => {
                let first = place.get();
                if first.set != set {
                    let what = || format!("revision {revision} was sent as {:?} and as {set:?}", first.set);
                    verdict.accuse(Rule::StreamAtomic, [first.op, op], what);
                }
                if first.previous != previous {
                    let what = || format!("revision {revision} follows {} and {previous}", first.previous);
                    verdict.accuse(Rule::StreamReliable, [first.op, op], what);
                }
            }
        }
    }

    /// Compares what was sent with what was written, and tells the writes of which nobody knew that they are done.
    pub fn tell_revisions(&self, writes: &mut Writes, verdict: &mut Verdict) {
        'changes: for (revision, Change { set, op, .. }) in &self.changes {
            let mut whose = None;
            let mut of_one = !set.is_empty();
            for (name, value) in set {
                let flag = writes.flag(name);
                // That it was invented or refused is said where all that is seen is judged.
                let Some(index) = writes.index_of(flag, *value) else { continue 'changes };
                of_one &= whose.is_none_or(|whose| whose == index);
                whose = Some(index);
            }
            let write = writes.get(whose.unwrap_or(0));
            let whole = of_one && write.set.len() == set.len();
            let as_answered = write.revision.is_none_or(|answered| answered == *revision);
            if !whole || !as_answered {
                let (op_of_write, answered) = (write.op, write.revision);
                let what =
                    || format!("sent as revision {revision}: {set:?}; written otherwise, as {answered:?}");
                verdict.accuse(Rule::StreamAtomic, [op_of_write, *op], what);
            } else if write.revision.is_none()
                && write.outcome != Outcome::Failed
                && let Some(index) = whose
            {
                writes.tell(index, *revision);
            }
        }
    }

    /// No known write lies where a stream said that there was none.
    pub fn nothing_missing(&self, writes: &Writes, verdict: &mut Verdict) {
        for (revision, change) in &self.changes {
            if let Some(write) = writes.known_between(change.previous + 1, *revision) {
                let what = || format!("revision {revision} was sent as what follows {}", change.previous);
                verdict.accuse(Rule::StreamReliable, [write.op, change.op], what);
            }
        }
        for (touched, (revision, op)) in &self.still {
            if let Some(write) = writes.known_between(touched + 1, revision + 1) {
                let what = || format!("at revision {revision}, {touched} was said to be the last change");
                verdict.accuse(Rule::StreamReliable, [write.op, *op], what);
            }
        }
    }
}
