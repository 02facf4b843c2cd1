//! What this node has surely on its disk, noted outside of the database: see [`crate::storage::Floor`].
//!
//! A floor is a lower bound. It is raised only after a sync; and lowered, durably, before the log is cut back, so
//! that it never promises what was given up on purpose.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    types::{LogId, Vote},
    wire::{decode_floor, encode_floor},
};
use crate::storage::{Floor, Storage};

/// The vote and the end of the log that start-up must find again, or something later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Synced {
    pub vote: Option<Vote>,
    /// The last entry of the log, or of what a snapshot stands for.
    pub last: Option<LogId>,
}

impl Synced {
    /// What the folder's floor says. Nothing, when it is new.
    pub(super) fn of(storage: &Storage) -> Result<Self, io::Error> {
        let bytes = storage.floor().latest();
        if bytes.is_empty() { Ok(Self::default()) } else { Ok(decode_floor(&bytes)?) }
    }

    /// Makes this the folder's floor, durably. All of it must be synced already. This blocks.
    pub(super) fn keep(&self, storage: &Storage) -> Result<(), io::Error> {
        Ok(storage.floor().write(encode_floor(self)?)?)
    }
}

/// Notes what becomes durable.
pub(super) struct Watermark {
    floor: Floor,
    marks: Mutex<Marks>,
}

struct Marks {
    synced: Synced,
    /// Counts how often the log was cut back. What was appended before says nothing of the log after.
    cuts: u64,
}

impl Watermark {
    /// Goes on from what is durable now. This blocks.
    pub(super) fn new(storage: &Storage, synced: Synced) -> Result<Self, io::Error> {
        synced.keep(storage)?;
        let floor = storage.floor().clone();
        Ok(Self { floor, marks: Mutex::new(Marks { synced, cuts: 0 }) })
    }

    /// How often the log was cut back: to be passed to [`Watermark::appended`] with what is appended now.
    pub(super) fn cuts(&self) -> u64 {
        self.lock().cuts
    }

    /// Entries up to `last`, appended when the log had been cut back `cuts` times, are durable. Whoever syncs writes
    /// the floor before it tells anybody.
    pub(super) fn appended(&self, last: LogId, cuts: u64) -> Result<(), io::Error> {
        let mut marks = self.lock();
        if marks.cuts == cuts && marks.synced.last.is_none_or(|known| known.index < last.index) {
            marks.synced.last = Some(last);
            self.floor.set(encode_floor(&marks.synced)?);
        }
        Ok(())
    }

    /// The vote is durable. Whoever syncs writes the floor before it tells anybody: who forgets a vote may vote twice.
    pub(super) fn voted(&self, vote: Vote) -> Result<(), io::Error> {
        let mut marks = self.lock();
        marks.synced.vote = Some(vote);
        self.floor.set(encode_floor(&marks.synced)?);
        Ok(())
    }

    /// The log is about to be cut back to `keep`. This blocks.
    pub(super) fn cut(&self, keep: Option<LogId>) -> Result<(), io::Error> {
        self.write(|marks| {
            marks.cuts += 1;
            if marks.synced.last.map(|id| id.index) > keep.map(|id| id.index) {
                marks.synced.last = keep;
            }
        })
    }

    /// The log is about to lose its front up to `upto`, which a durable snapshot or state stands for. This blocks.
    pub(super) fn purged(&self, upto: LogId) -> Result<(), io::Error> {
        self.write(|marks| {
            if marks.synced.last.is_none_or(|known| known.index < upto.index) {
                marks.synced.last = Some(upto);
            }
        })
    }

    fn write(&self, change: impl FnOnce(&mut Marks)) -> Result<(), io::Error> {
        let mut marks = self.lock();
        change(&mut marks);
        Ok(self.floor.write(encode_floor(&marks.synced)?)?)
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
