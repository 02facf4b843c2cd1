//! The power of some nodes' disks is cut at the same moment: what was not synced is lost. Their processes go with it, or
//! are left to find out. Power comes back when it ends, and then they are started.

use std::time::{Duration, Instant};

use flagraft_chaos::dice::Dice;

use super::{Ground, Wrong};
use crate::process::{FATAL_EXIT_CODE, REFUSED_EXIT_CODE};

/// How long a node without power has to find out. One that has nothing to write does not.
const FINDS_OUT_WITHIN: Duration = Duration::from_secs(3);

pub(super) struct PowerLoss {
    nodes: Vec<u64>,
    /// Whether the processes are killed at once, as the whole machine would go.
    at_once: bool,
    /// Those that were not ready when it was cut: they may find out while they start, which is before they serve.
    starting: Vec<u64>,
    /// Those that have not ended yet.
    running: Vec<u64>,
    since: Option<Instant>,
}

impl PowerLoss {
    pub(super) fn of(nodes: Vec<u64>, dice: &mut Dice) -> Self {
        Self { nodes, at_once: dice.percent(50), starting: Vec::new(), running: Vec::new(), since: None }
    }

    /// Takes note of the nodes that have ended by themselves.
    fn bury(&mut self, ground: &mut Ground) {
        self.running.retain(|node| {
            let Some(status) = ground.ended(*node) else { return true };
            let refused = self.starting.contains(node) && status.code() == Some(REFUSED_EXIT_CODE);
            if status.code() != Some(FATAL_EXIT_CODE) && !refused {
                ground.misdeeds.push(format!("node {node} had no power, and ended with {status}"));
            }
            false
        });
    }
}

impl Wrong for PowerLoss {
    fn begin(&mut self, ground: &mut Ground) {
        self.starting = self.nodes.iter().copied().filter(|node| !ground.serves(*node)).collect();
        ground.cut_power(&self.nodes);
        if self.at_once {
            ground.kill(&self.nodes);
        } else {
            self.running.clone_from(&self.nodes);
        }
        self.since = Some(Instant::now());
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        self.bury(ground);
        if self.since.is_some_and(|since| since.elapsed() > FINDS_OUT_WITHIN) {
            ground.kill(&std::mem::take(&mut self.running));
        }
        let is_cut = self.nodes.iter().all(|node| ground.cluster.disk(*node).has_no_power());
        let processes = if self.at_once { "killed with it" } else { "left to find out" };
        is_cut.then(|| {
            format!("the system says of the disks of {:?}: shutdown; processes {processes}", self.nodes)
        })
    }

    fn goes_on(&self) -> bool {
        !self.running.is_empty()
    }

    fn end(&mut self, ground: &mut Ground) {
        self.bury(ground);
        ground.kill(&std::mem::take(&mut self.running));
        for node in &self.nodes {
            // This shows too that what was not synced is lost.
            ground.cluster.power_on(*node);
            ground.start(*node);
        }
    }
}
