//! Connections between some nodes and the others break in the midst of a message, again and again.

use flagraft_chaos::dice::Dice;

use super::{Ground, Wrong, cut::arrows, network::Link};

/// How many bytes pass before a connection breaks: within a message, or after some.
const BYTES: (u64, u64) = (1, 40_000);

pub(super) struct Loss {
    links: Vec<Link>,
    dice: Dice,
    broken: u64,
}

impl Loss {
    pub(super) fn around(nodes: &[u64], ground: &Ground, dice: Dice) -> Self {
        Self { links: ground.network.around(nodes), dice, broken: 0 }
    }

    fn break_soon(&mut self, link: Link, ground: &Ground) {
        let bytes = usize::try_from(self.dice.from_to(BYTES.0, BYTES.1)).expect("a few");
        ground.network.break_after(link, bytes);
    }
}

impl Wrong for Loss {
    fn begin(&mut self, ground: &mut Ground) {
        for link in self.links.clone() {
            self.break_soon(link, ground);
        }
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        let broken = |link: &Link| ground.network.is_broken(*link);
        for link in self.links.iter().copied().filter(broken).collect::<Vec<_>>() {
            // The other way is broken with it: it is counted once.
            if ground.network.is_broken(link) {
                self.broken += 1;
                ground.network.mend(link);
                self.break_soon(link, ground);
                self.break_soon((link.1, link.0), ground);
            }
        }
        (self.broken > 0).then(|| format!("connections broke over {}", arrows(&self.links)))
    }

    fn end(&mut self, ground: &mut Ground) {
        self.links.iter().for_each(|link| ground.network.mend(*link));
    }
}
