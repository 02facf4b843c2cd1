//! Whether this node's disk takes new entries.
//!
//! A write that finds no room stops Raft, so a node stops taking entries before that. Below a reserve it proposes no
//! changes, and below half of it it takes none of others; it goes on voting and reading. Between the two, what is under
//! way comes to its end.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

use serde::{Deserialize, Serialize};

use crate::{
    config::DiskConfig,
    storage::{Storage, StorageError},
};

/// What a node's disk lets it do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskState {
    /// It takes entries.
    #[default]
    Ok,
    /// Less than the reserve is free: the node proposes no changes, and takes those of others.
    Low,
    /// Less than half of the reserve is free: the node takes no changes at all.
    Full,
    /// It refused a write: the node takes no part in the cluster until it takes writes again, and reads what it had.
    Refusing,
}

impl DiskState {
    /// The word for it in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Low => "low",
            Self::Full => "full",
            Self::Refusing => "refusing",
        }
    }
}

/// What is known of a node's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// What it lets the node do.
    pub state: DiskState,
    /// Bytes that are free on it; `None` when it can't be asked.
    pub free_bytes: Option<u64>,
}

/// This node's disk, as it was when last looked at.
pub(crate) struct Disk {
    storage: Arc<Storage>,
    config: DiskConfig,
    /// [`UNKNOWN`] when the disk can't be asked.
    free_bytes: AtomicU64,
    /// A [`Level`], as a number.
    level: AtomicU8,
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
enum Level {
    Ok = 0,
    Low = 1,
    Full = 2,
}

impl Level {
    fn of_number(number: u8) -> Self {
        match number {
            0 => Self::Ok,
            1 => Self::Low,
            _ => Self::Full,
        }
    }

    /// The level of a disk with this much free that was at another one. To get better it takes an eighth more than it
    /// took to stay, so that a node does not come and go with every file that is written and removed.
    fn of(free: u64, reserve: u64, was: Self) -> Self {
        let enough =
            |least: u64, lacked: bool| free >= if lacked { least.saturating_add(least / 8) } else { least };
        if !enough(reserve / 2, was == Self::Full) {
            Self::Full
        } else if !enough(reserve, was >= Self::Low) {
            Self::Low
        } else {
            Self::Ok
        }
    }
}

const UNKNOWN: u64 = u64::MAX;

/// What a start needs, whatever the reserve is: opening the database writes files.
const START_BYTES: u64 = 16 * 1024 * 1024;

impl Disk {
    /// Not looked at yet: see [`Disk::look`].
    pub(crate) fn new(storage: Arc<Storage>, config: DiskConfig) -> Self {
        Self { storage, config, free_bytes: AtomicU64::new(UNKNOWN), level: AtomicU8::new(Level::Ok as u8) }
    }

    /// Its settings.
    pub(crate) fn config(&self) -> &DiskConfig {
        &self.config
    }

    /// What it lets the node do.
    pub(crate) fn state(&self) -> DiskState {
        match self.level() {
            _ if self.storage.refused().is_some() => DiskState::Refusing,
            Level::Ok => DiskState::Ok,
            Level::Low => DiskState::Low,
            Level::Full => DiskState::Full,
        }
    }

    fn level(&self) -> Level {
        Level::of_number(self.level.load(Ordering::Acquire))
    }

    /// What is known of it.
    pub(crate) fn report(&self) -> DiskReport {
        let free_bytes = self.free_bytes.load(Ordering::Acquire);
        DiskReport { state: self.state(), free_bytes: (free_bytes != UNKNOWN).then_some(free_bytes) }
    }

    /// Why it refused a write, if it did.
    pub(crate) fn refused(&self) -> Option<&str> {
        self.storage.refused()
    }

    /// Looks how much is free. This may block.
    ///
    /// # Errors
    /// When the disk can't be asked. What it lets the node do stays as it was.
    pub(crate) fn look(&self) -> Result<(), StorageError> {
        let free =
            self.storage.free_bytes().inspect_err(|_| self.free_bytes.store(UNKNOWN, Ordering::Release))?;
        self.free_bytes.store(free, Ordering::Release);
        let level = Level::of(free, self.config.reserve_bytes, self.level());
        self.level.store(level as u8, Ordering::Release);
        Ok(())
    }

    /// After a refused write: whether the disk takes writes again, and a start would find room. This blocks.
    pub(crate) fn is_back(&self) -> bool {
        // A disk that is still full would refuse the first write after the start.
        self.look().is_ok()
            && self.level() == Level::Ok
            && self.free_bytes.load(Ordering::Acquire) >= START_BYTES
            && self.storage.probe().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_an_eighth_more_to_get_better_than_to_stay() {
        let level = |free, was| Level::of(free, 800, was);
        assert_eq!(level(800, Level::Ok), Level::Ok);
        assert_eq!(level(799, Level::Ok), Level::Low);
        assert_eq!(level(899, Level::Low), Level::Low);
        assert_eq!(level(900, Level::Low), Level::Ok);
        assert_eq!(level(400, Level::Low), Level::Low);
        assert_eq!(level(399, Level::Low), Level::Full);
        assert_eq!(level(399, Level::Ok), Level::Full);
        assert_eq!(level(449, Level::Full), Level::Full);
        assert_eq!(level(450, Level::Full), Level::Low);
        assert_eq!(level(899, Level::Full), Level::Low);
        assert_eq!(level(900, Level::Full), Level::Ok);
        for was in [Level::Ok, Level::Low, Level::Full] {
            assert_eq!(Level::of(0, 0, was), Level::Ok, "a reserve of 0 turns it off");
            assert_eq!(Level::of_number(was as u8), was);
        }
    }

    #[test]
    fn the_words_are_those_of_the_json() {
        for state in [DiskState::Ok, DiskState::Low, DiskState::Full, DiskState::Refusing] {
            assert_eq!(serde_json::to_value(state).expect("JSON"), state.as_str());
        }
    }
}
