//! Some links carry nothing: what is sent over them waits until it ends, as a network's packets would be sent again.

use flagraft_chaos::dice::Dice;

use super::{Ground, Wrong, network::Link};
use crate::links::Flow;

pub(super) struct Cut {
    /// The links of each direction that is cut.
    ways: Vec<Way>,
    fault: Option<u64>,
}

struct Way {
    links: Vec<Link>,
    /// How many pieces were held there before.
    before: u64,
}

impl Cut {
    fn of(ways: Vec<Vec<Link>>) -> Self {
        let ways = ways.into_iter().map(|links| Way { links, before: 0 }).collect();
        Self { ways, fault: None }
    }

    /// Nothing passes between these nodes and the others.
    pub(super) fn around(nodes: &[u64], ground: &Ground) -> Self {
        Self::across(ground.network.out_of(nodes))
    }

    /// Nothing that these nodes send arrives.
    pub(super) fn out_of(nodes: &[u64], ground: &Ground) -> Self {
        Self::of(vec![ground.network.out_of(nodes)])
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
        Self::across(half.iter().flat_map(|from| rest.iter().map(|to| (*from, *to))).collect())
    }

    /// These links, and back.
    fn across(there: Vec<Link>) -> Self {
        let back = there.iter().map(|(from, to)| (*to, *from)).collect();
        Self::of(vec![there, back])
    }
}

impl Wrong for Cut {
    fn begin(&mut self, ground: &mut Ground) {
        for way in &mut self.ways {
            way.before = way.held(ground);
        }
        let links = self.ways.iter().flat_map(|way| &way.links);
        let flows = links.map(|link| (*link, Flow::Held)).collect();
        self.fault = Some(ground.network.put(flows));
    }

    /// Something has to be held in each direction.
    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        let held = self.ways.iter().map(|way| {
            let held = way.held(ground) - way.before;
            (held > 0).then(|| format!("{held} pieces did not pass {}", arrows(&way.links)))
        });
        held.collect::<Option<Vec<_>>>().map(|held| held.join(", "))
    }

    fn end(&mut self, ground: &mut Ground) {
        if let Some(fault) = self.fault.take() {
            ground.network.take_away(fault);
        }
    }
}

impl Way {
    /// How many pieces were held here so far.
    fn held(&self, ground: &Ground) -> u64 {
        ground.network.pieces(&self.links, |pieces| pieces.held)
    }
}

/// Links as a person reads them.
pub(super) fn arrows(links: &[Link]) -> String {
    links.iter().map(|(from, to)| format!("{from}->{to}")).collect::<Vec<_>>().join(" ")
}
