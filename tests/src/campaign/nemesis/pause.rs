//! SIGSTOP to some nodes, SIGCONT when it ends.

use super::{Ground, Wrong};
use crate::process::state;

pub(super) struct Pause {
    nodes: Vec<u64>,
    pids: Vec<u32>,
}

impl Pause {
    pub(super) fn of(nodes: Vec<u64>) -> Self {
        Self { nodes, pids: Vec::new() }
    }
}

impl Wrong for Pause {
    fn begin(&mut self, ground: &mut Ground) {
        self.pids = self.nodes.iter().map(|node| ground.pause(*node)).collect();
    }

    fn look(&mut self, _: &mut Ground) -> Option<String> {
        let stopped = self.pids.iter().all(|pid| state(*pid) == Some('T'));
        stopped.then(|| format!("the system says of the processes {:?}: stopped (T)", self.pids))
    }

    fn end(&mut self, ground: &mut Ground) {
        self.nodes.iter().for_each(|node| ground.resume(*node));
    }
}
