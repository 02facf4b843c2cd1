//! A node's disk has next to no room: so little that it proposes nothing, or so little that it takes nothing of others. It
//! goes on reading, and does not end.

use flagraft_chaos::dice::Dice;

use super::{Ground, Wrong, asked::Asked, question::metrics_until};
use crate::{campaign::stage::DISK_RESERVE, metrics::Metrics};

/// What a node counts its disk's level as.
const LEVEL: &str = "flagraft_disk_full";

/// What is left to the node.
#[derive(Clone, Copy)]
enum Left {
    /// Less than the reserve.
    Little,
    /// Less than half of it.
    Nothing,
}

impl Left {
    fn bytes(self) -> u64 {
        match self {
            Self::Little => DISK_RESERVE / 4 * 3,
            Self::Nothing => DISK_RESERVE / 4,
        }
    }

    /// What the node says of it.
    fn level(self) -> u64 {
        match self {
            Self::Little => 1,
            Self::Nothing => 2,
        }
    }
}

pub(super) struct DiskFull {
    node: u64,
    left: Left,
    said: Option<Asked<u64>>,
}

impl DiskFull {
    pub(super) fn of(node: u64, dice: &mut Dice) -> Self {
        let left = if dice.percent(50) { Left::Little } else { Left::Nothing };
        Self { node, left, said: None }
    }
}

impl Wrong for DiskFull {
    fn begin(&mut self, ground: &mut Ground) {
        ground.cluster.disk(self.node).fill(self.left.bytes());
        let (node, wanted) = (ground.cluster.admin(self.node), self.left.level());
        let is_said = move |metrics: &Metrics| Some(metrics.get(LEVEL)).filter(|level| *level == wanted);
        self.said = Some(Asked::of(async move { metrics_until(&[node], is_said).await }));
    }

    fn look(&mut self, _: &mut Ground) -> Option<String> {
        let level = self.said.as_ref()?.answer()?;
        Some(format!("with {} bytes free, node {} says {LEVEL} {level}", self.left.bytes(), self.node))
    }

    fn end(&mut self, ground: &mut Ground) {
        ground.cluster.disk(self.node).free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_as_little_as_the_node_is_to_say() {
        let (half, whole) = (DISK_RESERVE / 2, DISK_RESERVE);
        let (little, nothing) = (Left::Little, Left::Nothing);
        assert!(little.bytes() > half && little.bytes() < whole && nothing.bytes() < half);
        assert_eq!((little.level(), nothing.level()), (1, 2));
    }
}
