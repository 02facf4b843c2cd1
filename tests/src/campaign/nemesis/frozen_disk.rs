//! A node's disk does nothing until it ends: whatever the node writes waits. What it has read before it goes on reading.
//!
//! Nothing that waits for such a disk can be killed, so nothing else is done to its process meanwhile.

use std::time::Duration;

use super::{Ground, Wrong};
use crate::disk::Frozen;

/// How long a write of our own has to wait to show that the disk is frozen.
const SHOWN_AFTER: Duration = Duration::from_millis(300);

pub(super) struct FrozenDisk {
    node: u64,
    /// Dropped, the disk is thawed, also when a panic takes everything down: what waits for it could not end.
    frozen: Option<Frozen>,
}

impl FrozenDisk {
    pub(super) fn of(node: u64) -> Self {
        Self { node, frozen: None }
    }
}

impl Wrong for FrozenDisk {
    fn begin(&mut self, ground: &mut Ground) {
        self.frozen = Some(ground.cluster.disk(self.node).freeze());
    }

    fn look(&mut self, _: &mut Ground) -> Option<String> {
        let frozen = self.frozen.as_mut()?;
        frozen.look();
        frozen.waits_for().filter(|waits| *waits >= SHOWN_AFTER).map(|_| frozen.to_string())
    }

    fn end(&mut self, _: &mut Ground) {
        self.frozen = None;
    }
}
