//! A few percent of one processor for some nodes, until it ends.

use flagraft_chaos::dice::Dice;

use super::{Ground, Wrong, share::Share};

const PERCENT: (u64, u64) = (2, 10);
/// Of each period of 100 ms, the system's own, a percent is this long.
const PERCENT_US: u64 = 1_000;

pub(super) struct CpuStarvation {
    nodes: Vec<u64>,
    percent: u64,
    share: Option<Share>,
}

impl CpuStarvation {
    pub(super) fn of(nodes: Vec<u64>, dice: &mut Dice) -> Self {
        Self { nodes, percent: dice.from_to(PERCENT.0, PERCENT.1), share: None }
    }
}

impl Wrong for CpuStarvation {
    fn begin(&mut self, ground: &mut Ground) {
        // It lives, but what it has for all its clients and for the log of the others is 20 to 100 ms of each second. Nobody
        // promises that a read is answered with that before its client gives up. What it does answer has to be true.
        self.nodes.iter().for_each(|node| ground.weakens(*node));
        let mut share = Share::of(&self.nodes, "cpu", ("cpu.cfs_quota_us", self.percent * PERCENT_US));
        share.take_in(ground);
        self.share = Some(share);
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        let share = self.share.as_mut()?;
        share.take_in(ground);
        let times = share.count("cpu.stat", Some("nr_throttled"));
        (times > 0)
            .then(|| format!("the system held it up {times} times for having used its {} %", self.percent))
    }

    fn end(&mut self, ground: &mut Ground) {
        self.share = None;
        self.nodes.iter().for_each(|node| ground.recovers(*node));
    }
}
