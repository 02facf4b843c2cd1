//! Hardly more memory for some nodes than they have, until it ends. The system takes from them what it can, such as files
//! that they have read, and kills whoever needs more; those that it killed are started again when it ends.

use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

use flagraft_chaos::dice::Dice;

use super::{Ground, Wrong, share::Share};
use crate::process::FATAL_EXIT_CODE;

/// What a node gets beside what it has: the group that it moves to counts what its processes take from then on.
const MORE_KIB: (u64, u64) = (256, 8_192);

pub(super) struct MemoryLimit {
    nodes: Vec<u64>,
    more_kib: u64,
    share: Option<Share>,
}

impl MemoryLimit {
    pub(super) fn of(nodes: Vec<u64>, dice: &mut Dice) -> Self {
        Self { nodes, more_kib: dice.from_to(MORE_KIB.0, MORE_KIB.1), share: None }
    }
}

impl Wrong for MemoryLimit {
    fn begin(&mut self, ground: &mut Ground) {
        // It may be killed at any moment from now on.
        self.nodes.iter().for_each(|node| ground.falls(*node));
        let mut share = Share::of(&self.nodes, "memory", ("memory.limit_in_bytes", self.more_kib * 1024));
        share.take_in(ground);
        self.share = Some(share);
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        let share = self.share.as_ref()?;
        let ended = self.nodes.iter().find_map(|node| Some((*node, ground.ended(*node)?)));
        if let Some((node, status)) = ended {
            return Some(format!("with {} KiB more, node {node} ended: {status}", self.more_kib));
        }
        let times = share.count("memory.failcnt", None);
        (times > 0).then(|| format!("the system refused it more than {} KiB {times} times", self.more_kib))
    }

    fn end(&mut self, ground: &mut Ground) {
        self.share = None;
        for node in self.nodes.clone() {
            match ground.ended(node) {
                None => ground.rises(node),
                Some(status) => {
                    if !is_allowed(status) {
                        ground.misdeeds.push(format!("node {node}, short of memory, ended with {status}"));
                    }
                    ground.start(node);
                }
            }
        }
    }
}

/// Whether a node may end like this that gets no more memory: the system kills it, or it gives up because it can't write.
fn is_allowed(status: ExitStatus) -> bool {
    const SIGKILL: i32 = 9;
    status.signal() == Some(SIGKILL) || status.code() == Some(FATAL_EXIT_CODE)
}
