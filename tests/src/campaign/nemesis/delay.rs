//! All that passes between some nodes and the others arrives later.

use std::time::Duration;

use flagraft_chaos::dice::Dice;

use super::{Ground, Wrong, cut::arrows, network::Link};
use crate::links::Flow;

/// From hardly more than a good network has to more than an election waits.
const DELAYS_MS: (u64, u64) = (10, 400);

pub(super) struct Delay {
    links: Vec<Link>,
    by: Duration,
    before: u64,
    fault: Option<u64>,
}

impl Delay {
    pub(super) fn around(nodes: &[u64], ground: &Ground, dice: &mut Dice) -> Self {
        let by = Duration::from_millis(dice.from_to(DELAYS_MS.0, DELAYS_MS.1));
        Self { links: ground.network.around(nodes), by, before: 0, fault: None }
    }
}

impl Wrong for Delay {
    fn begin(&mut self, ground: &mut Ground) {
        self.before = ground.network.pieces(&self.links, |pieces| pieces.delayed);
        let flows = self.links.iter().map(|link| (*link, Flow::Delayed(self.by))).collect();
        self.fault = Some(ground.network.put(flows));
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        let late = ground.network.pieces(&self.links, |pieces| pieces.delayed) - self.before;
        (late > 0).then(|| format!("{late} pieces came {:?} later over {}", self.by, arrows(&self.links)))
    }

    fn end(&mut self, ground: &mut Ground) {
        if let Some(fault) = self.fault.take() {
            ground.network.take_away(fault);
        }
    }
}
