//! What is wrong between the members, when several things are at once: of two faults on one link, the worse one acts.

use std::collections::BTreeMap;

use crate::links::{Flow, Links, Pieces};

/// From one member to another.
pub(super) type Link = (u64, u64);

/// The links, and which faults are on them.
pub(super) struct Network {
    links: Links,
    members: Vec<u64>,
    faults: BTreeMap<u64, BTreeMap<Link, Flow>>,
    last: u64,
}

impl Network {
    pub(super) fn of(links: Links, members: Vec<u64>) -> Self {
        Self { links, members, faults: BTreeMap::new(), last: 0 }
    }

    /// Puts a fault on links, and gives the number by which it is taken away.
    pub(super) fn put(&mut self, flows: BTreeMap<Link, Flow>) -> u64 {
        self.last += 1;
        let links: Vec<Link> = flows.keys().copied().collect();
        self.faults.insert(self.last, flows);
        self.act_on(&links);
        self.last
    }

    /// Takes a fault away.
    pub(super) fn take_away(&mut self, fault: u64) {
        let links: Vec<Link> = self.faults.remove(&fault).into_iter().flat_map(BTreeMap::into_keys).collect();
        self.act_on(&links);
    }

    fn act_on(&self, links: &[Link]) {
        for (from, to) in links {
            self.links.set(*from, *to, self.worst((*from, *to)));
        }
    }

    /// What acts on a link.
    fn worst(&self, link: Link) -> Flow {
        let flows = self.faults.values().filter_map(|flows| flows.get(&link));
        flows.copied().max_by_key(|flow| badness(*flow)).unwrap_or_default()
    }

    /// Has every connection between two members break in the midst of what is sent, after so many bytes.
    pub(super) fn break_after(&self, (from, to): Link, bytes: usize) {
        self.links.break_after(from, to, bytes);
    }

    /// Whether it has.
    pub(super) fn is_broken(&self, (from, to): Link) -> bool {
        self.links.is_broken(from, to)
    }

    /// Lets new connections between two members pass, as far as other faults allow.
    pub(super) fn mend(&self, (from, to): Link) {
        let both = [(from, to), (to, from)];
        both.iter().for_each(|(from, to)| self.links.no_limit(*from, *to));
        self.act_on(&both);
    }

    /// To how many pieces of what was sent over these links `what` happened, since the cluster was founded.
    pub(super) fn pieces(&self, links: &[Link], what: impl Fn(Pieces) -> u64) -> u64 {
        links.iter().map(|(from, to)| what(self.links.pieces(*from, *to))).sum()
    }

    /// The links from these members to all others.
    pub(super) fn out_of(&self, nodes: &[u64]) -> Vec<Link> {
        let outside = |node: &&u64| !nodes.contains(node);
        let others: Vec<u64> = self.members.iter().filter(outside).copied().collect();
        nodes.iter().flat_map(|from| others.iter().map(|to| (*from, *to))).collect()
    }

    /// The links between these members and all others, both ways.
    pub(super) fn around(&self, nodes: &[u64]) -> Vec<Link> {
        both_ways(self.out_of(nodes))
    }
}

/// These links and those the other way.
fn both_ways(links: Vec<Link>) -> Vec<Link> {
    links.into_iter().flat_map(|(from, to)| [(from, to), (to, from)]).collect()
}

fn badness(flow: Flow) -> u128 {
    match flow {
        Flow::Open => 0,
        Flow::Delayed(by) => by.as_millis() + 1,
        Flow::Held => u128::MAX - 2,
        Flow::Swallowed => u128::MAX - 1,
        Flow::Broken => u128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn of_two_faults_on_a_link_the_worse_one_acts_until_it_is_taken_away() {
        let mut network = Network::of(Links::default(), vec![1, 2, 3]);
        let late = Flow::Delayed(Duration::from_millis(20));
        let delay = network.put(BTreeMap::from([((1, 2), late), ((1, 3), late)]));
        let cut = network.put(BTreeMap::from([((1, 2), Flow::Held)]));
        assert_eq!([(1, 2), (1, 3), (2, 1)].map(|link| network.worst(link)), [Flow::Held, late, Flow::Open]);
        network.take_away(delay);
        assert_eq!([(1, 2), (1, 3)].map(|link| network.worst(link)), [Flow::Held, Flow::Open]);
        network.take_away(cut);
        assert_eq!(network.worst((1, 2)), Flow::Open);
    }

    #[test]
    fn links_are_those_that_lead_out() {
        let network = Network::of(Links::default(), vec![1, 2, 3]);
        assert_eq!(network.out_of(&[1, 3]), [(1, 2), (3, 2)]);
        assert_eq!(network.around(&[2]), [(2, 1), (1, 2), (2, 3), (3, 2)]);
    }
}
