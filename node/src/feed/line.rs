//! The recent changes of one environment, and who waits for the next one.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;

/// A change of an environment, as it is sent to everybody.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The revision that made it.
    pub(crate) revision: u64,
    /// The revision that touched the environment before.
    pub(super) previous: u64,
    /// The whole event.
    pub(crate) frame: Bytes,
}

/// What came after a revision.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The next changes, in order.
    Changes {
        changes: Vec<Change>,
        /// Whether none came after them up to now.
        is_all: bool,
    },
    /// A revision was not heard singly, so that nobody can go on: what follows needs a snapshot.
    Anew,
    /// Some of it is forgotten.
    Lost,
    /// The environment was deleted.
    Deleted,
}

/// The recent changes of one environment.
#[derive(Debug)]
pub(super) struct Line {
    ring: Mutex<Ring>,
    wake: watch::Sender<()>,
}

#[derive(Debug)]
struct Ring {
    /// Which life of the feed this is: another one knows nothing of what came before it.
    epoch: u64,
    /// Every change after this revision is kept.
    begins: u64,
    /// The revision that last touched the environment.
    newest: u64,
    changes: VecDeque<Change>,
    deleted: bool,
}

impl Line {
    /// A line that remembers nothing of what was up to `touched`, the revision that last touched the environment.
    pub fn new(epoch: u64, touched: u64) -> Self {
        Self { ring: Mutex::new(Ring::new(epoch, touched)), wake: watch::Sender::new(()) }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.wake.subscribe()
    }

    /// Wakes those who wait. Whoever adds several changes wakes once, after the last.
    pub fn wake(&self) {
        self.wake.send_replace(());
    }

    pub fn push(&self, change: Change) {
        let mut ring = self.ring();
        ring.newest = change.revision;
        ring.changes.push_back(change);
    }

    /// Forgets the oldest change; says how many bytes it had.
    pub fn forget_oldest(&self) -> usize {
        let mut ring = self.ring();
        let Some(oldest) = ring.changes.pop_front() else { return 0 };
        ring.begins = oldest.revision;
        oldest.frame.len()
    }

    /// Begins anew: what was before is not known.
    pub fn begin_anew(&self, epoch: u64, touched: u64) {
        *self.ring() = Ring::new(epoch, touched);
    }

    /// The environment is gone; says how many bytes are forgotten with it.
    pub fn delete(&self) -> usize {
        let mut ring = self.ring();
        ring.deleted = true;
        std::mem::take(&mut ring.changes).iter().map(|change| change.frame.len()).sum()
    }

    /// At most `max` changes after the revision `seen`, which was seen in the life `epoch`; the first of them, and as many
    /// more as have `bytes_max` bytes with it.
    pub fn after(&self, epoch: u64, seen: u64, max: usize, bytes_max: usize) -> Taken {
        let ring = self.ring();
        if ring.deleted {
            return Taken::Deleted;
        }
        if ring.epoch != epoch {
            return Taken::Anew;
        }
        if ring.begins > seen {
            return Taken::Lost;
        }
        let first = ring.changes.partition_point(|change| change.revision <= seen);
        let mut bytes: usize = 0;
        let fits = |change: &&Change| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(change.frame.len());
            is_first || bytes <= bytes_max
        };
        let changes: Vec<Change> = ring.changes.range(first..).take(max).take_while(fits).cloned().collect();
        let is_all = first.saturating_add(changes.len()) >= ring.changes.len();
        Taken::Changes { changes, is_all }
    }

    /// The life that this is, and the revision that last touched the environment up to `seen`; `None` for the latter
    /// when that is not remembered.
    pub fn stands(&self, seen: u64) -> (u64, Option<u64>) {
        let ring = self.ring();
        let next = ring.changes.iter().find(|change| change.revision > seen);
        let touched = next.map_or(ring.newest, |change| change.previous);
        (ring.epoch, (ring.begins <= seen).then_some(touched))
    }
}

impl Ring {
    fn new(epoch: u64, touched: u64) -> Self {
        Self { epoch, begins: touched, newest: touched, changes: VecDeque::new(), deleted: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(revision: u64, previous: u64) -> Change {
        Change { revision, previous, frame: Bytes::from(vec![0; 10]) }
    }

    fn revisions(taken: Taken) -> Vec<u64> {
        match taken {
            Taken::Changes { changes, .. } => changes.iter().map(|change| change.revision).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_remembered_is_given_and_what_is_not_is_said() {
        let line = Line::new(1, 5);
        assert_eq!(line.stands(4), (1, None), "something was before");
        assert_eq!(line.stands(9), (1, Some(5)));
        for (revision, previous) in [(7, 5), (8, 7), (12, 8)] {
            line.push(change(revision, previous));
        }
        assert_eq!(revisions(line.after(1, 5, 9, 99)), [7, 8, 12]);
        assert_eq!(revisions(line.after(1, 7, 1, 99)), [8]);
        assert_eq!(revisions(line.after(1, 10, 9, 99)), [12], "a revision that touched another environment");
        assert_eq!(revisions(line.after(1, 99, 9, 99)), [] as [u64; 0]);
        assert_eq!((line.stands(7).1, line.stands(10).1, line.stands(12).1), (Some(7), Some(8), Some(12)));
        assert!(matches!(line.after(1, 4, 9, 99), Taken::Lost));
        // Each has 10 bytes.
        for (max, bytes_max, taken, all) in
            [(9, 29, 2, false), (9, 30, 3, true), (2, 99, 2, false), (9, 1, 1, false), (3, 99, 3, true)]
        {
            let after = line.after(1, 5, max, bytes_max);
            let Taken::Changes { changes, is_all } = after else { panic!("{after:?}") };
            assert_eq!((changes.len(), is_all), (taken, all), "{max} {bytes_max}");
        }

        assert_eq!(line.forget_oldest(), 10);
        assert!(matches!(line.after(1, 6, 9, 99), Taken::Lost));
        assert_eq!(revisions(line.after(1, 7, 9, 99)), [8, 12]);

        line.begin_anew(2, 20);
        assert!(matches!(line.after(1, 12, 9, 99), Taken::Anew));
        assert_eq!(revisions(line.after(2, 20, 9, 99)), [] as [u64; 0]);
        line.push(change(21, 20));
        assert_eq!(line.delete(), 10);
        assert!(matches!(line.after(2, 20, 9, 99), Taken::Deleted));
    }
}
