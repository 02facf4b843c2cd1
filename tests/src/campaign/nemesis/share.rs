//! Some nodes with little of the machine.

use std::collections::BTreeMap;

use super::Ground;
use crate::cgroup::Cgroup;

/// A control group with the processes of some nodes in it, also of those that are started anew meanwhile.
pub(super) struct Share {
    group: Cgroup,
    pids: BTreeMap<u64, Option<u32>>,
}

impl Share {
    /// A group of this controller, with this limit.
    ///
    /// # Panics
    /// It can't be made here; [`why_not_here`](super::why_not_here) tells beforehand.
    pub(super) fn of(nodes: &[u64], controller: &str, (file, limit): (&str, u64)) -> Self {
        let group = Cgroup::new(controller, "node").expect("control groups can be made here");
        group.set(file, limit).expect("a limit");
        Self { group, pids: nodes.iter().map(|node| (*node, None)).collect() }
    }

    /// Moves in whoever is not in it.
    pub(super) fn take_in(&mut self, ground: &mut Ground) {
        for (node, held) in &mut self.pids {
            let pid = ground.pid(*node);
            if pid != *held && pid.is_none_or(|pid| self.group.add(pid).is_ok()) {
                *held = pid;
            }
        }
    }

    /// What the system has counted.
    pub(super) fn count(&self, file: &str, word: Option<&str>) -> u64 {
        self.group.count(file, word).unwrap_or_default()
    }
}
