//! Some links carry nothing: what is sent over them waits until it ends, as a network's packets would be sent again.

use flagraft_chaos::dice::Dice;

use super::{
    Ground, Wrong,
    network::{Link, both_ways},
};
use crate::links::Flow;

pub(super) struct Cut {
    links: Vec<Link>,
    before: u64,
    fault: Option<u64>,
}

impl Cut {
    fn of(links: Vec<Link>) -> Self {
        Self { links, before: 0, fault: None }
    }

    /// Nothing passes between these nodes and the others.
    pub(super) fn around(nodes: &[u64], ground: &Ground) -> Self {
        Self::of(ground.network.around(nodes))
    }

    /// Nothing that these nodes send arrives.
    pub(super) fn out_of(nodes: &[u64], ground: &Ground) -> Self {
        Self::of(ground.network.out_of(nodes))
    }

    /// Two halves reach each other only through one node, which does not lead: then the halves have something to say to
    /// each other that does not arrive.
    pub(super) fn but_for_one(ground: &Ground, dice: &mut Dice) -> Self {
        let leader = ground.leader();
        let mut others: Vec<u64> = ground.ids().into_iter().filter(|node| Some(*node) != leader).collect();
        dice.shuffle(&mut others);
        others.pop();
        let (one, rest) = others.split_at(others.len() / 2);
        let half: Vec<u64> = leader.into_iter().chain(one.iter().copied()).collect();
        let across = half.iter().flat_map(|from| rest.iter().map(|to| (*from, *to))).collect();
        Self::of(both_ways(across))
    }
}

impl Wrong for Cut {
    fn begin(&mut self, ground: &mut Ground) {
        self.before = ground.network.affected(self.links.iter().copied());
        let flows = self.links.iter().map(|link| (*link, Flow::Held)).collect();
        self.fault = Some(ground.network.put(flows));
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        let held = ground.network.affected(self.links.iter().copied()) - self.before;
        (held > 0).then(|| format!("{held} pieces did not pass {}", arrows(&self.links)))
    }

    fn end(&mut self, ground: &mut Ground) {
        if let Some(fault) = self.fault.take() {
            ground.network.take_away(fault);
        }
    }
}

/// Links as a person reads them.
pub(super) fn arrows(links: &[Link]) -> String {
    links.iter().map(|(from, to)| format!("{from}->{to}")).collect::<Vec<_>>().join(" ")
}
