//! Whether this node's disk takes new entries.
//!
//! A write that finds no room stops Raft, so a node stops taking entries before that: once less than a reserve is free.
//! It goes on voting, following and reading.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
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
    /// Less than the reserve is free: it takes no new entries until there is more.
    Full,
    /// It refused a write: the node takes no part in the cluster until it takes writes again, and reads what it had.
    Refusing,
}

impl DiskState {
    /// The word for it in JSON and in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
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
    full: AtomicBool,
}

const UNKNOWN: u64 = u64::MAX;

/// What a start needs, whatever the reserve is: opening the database writes files.
const START_BYTES: u64 = 16 * 1024 * 1024;

impl Disk {
    /// Not looked at yet: see [`Disk::look`].
    pub(crate) fn new(storage: Arc<Storage>, config: DiskConfig) -> Self {
        Self { storage, config, free_bytes: AtomicU64::new(UNKNOWN), full: AtomicBool::new(false) }
    }

    /// Its settings.
    pub(crate) fn config(&self) -> &DiskConfig {
        &self.config
    }

    /// What it lets the node do.
    pub(crate) fn state(&self) -> DiskState {
        if self.storage.refused().is_some() {
            DiskState::Refusing
        } else if self.full.load(Ordering::Acquire) {
            DiskState::Full
        } else {
            DiskState::Ok
        }
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
        let was_full = self.full.load(Ordering::Acquire);
        self.full.store(is_full(free, self.config.reserve_bytes, was_full), Ordering::Release);
        Ok(())
    }

    /// After a refused write: whether the disk takes writes again, and a start would find room. This blocks.
    pub(crate) fn is_back(&self) -> bool {
        // A disk that is still full would refuse the first write after the start.
        self.look().is_ok()
            && !self.full.load(Ordering::Acquire)
            && self.free_bytes.load(Ordering::Acquire) >= START_BYTES
            && self.storage.probe().is_ok()
    }
}

/// Whether a disk with this much free counts as full. One that was full needs an eighth more than the reserve, so that
/// a node does not come and go with every file that is written and removed.
fn is_full(free: u64, reserve: u64, was_full: bool) -> bool {
    let enough = if was_full { reserve.saturating_add(reserve / 8) } else { reserve };
    free < enough
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_below_the_reserve_and_until_an_eighth_above_it() {
        assert!(!is_full(800, 800, false));
        assert!(is_full(799, 800, false));
        assert!(is_full(899, 800, true));
        assert!(!is_full(900, 800, true));
        assert!(!is_full(0, 0, false) && !is_full(0, 0, true), "a reserve of 0 turns it off");
    }

    #[test]
    fn the_words_are_those_of_the_json() {
        for state in [DiskState::Ok, DiskState::Full, DiskState::Refusing] {
            assert_eq!(serde_json::to_value(state).expect("JSON"), state.as_str());
        }
    }
}
