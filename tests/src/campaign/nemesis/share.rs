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
    /// It can't be made here; [`why_not_here`](super::here::why_not_here) tells beforehand.
    pub(super) fn of(nodes: &[u64], controller: &str, (file, limit): (&str, impl ToString)) -> Self {
        let group = Cgroup::new(controller, "node").expect("control groups can be made here");
        group.set(file, limit).expect("a limit");
        Self { group, pids: nodes.iter().map(|node| (*node, None)).collect() }
    }

    /// Moves in whoever is not in it. Gives whether somebody was.
    pub(super) fn take_in(&mut self, ground: &mut Ground) -> bool {
        let mut is_another = false;
        for (node, held) in &mut self.pids {
            let pid = ground.pid(*node);
            // One that ends at this moment is not moved; the next one will be.
            if pid != *held && pid.is_none_or(|pid| self.group.add(pid).is_ok()) {
                *held = pid;
                is_another |= pid.is_some();
            }
        }
        is_another
    }

    /// One of the group's files, as the system has it now.
    pub(super) fn read(&self, file: &str) -> Option<String> {
        self.group.read(file).ok()
    }

    /// What the system has counted.
    pub(super) fn count(&self, file: &str, word: Option<&str>) -> u64 {
        self.group.count(file, word).unwrap_or_default()
    }
}
