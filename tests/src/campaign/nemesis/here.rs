//! Which faults can be done on this machine.

use flagraft_chaos::schedule::fault::{Kind, Layer};

use super::slow_disk;
use crate::{cgroup::Cgroup, disk::Disk};

/// Why a fault can't be done on this machine; `None`: it can.
pub fn why_not_here(kind: Kind) -> Option<String> {
    if kind.layers().contains(&Layer::Disk)
        && let Some(why) = Disk::why_not_here()
    {
        return Some(why);
    }
    (kind == Kind::SlowDisk).then(why_no_slow_disk).flatten()
}

/// Why the system can't slow a disk down for a process.
fn why_no_slow_disk() -> Option<String> {
    let probed = Cgroup::new(slow_disk::CONTROLLER, "probe").and_then(|group| group.read(slow_disk::LIMIT));
    probed.err().map(|error| format!("no control group slows a disk down here: {error}"))
}

/// Those of these faults that can be done on this machine, once each and in order; and of each other one the reason, to be
/// said, for what is not done counts for nothing.
pub fn done_here(kinds: &[Kind]) -> (Vec<Kind>, Vec<String>) {
    let mut not_run = Vec::new();
    let mut done = kinds.to_vec();
    done.sort_unstable();
    done.dedup();
    done.retain(|kind| {
        let why_not = why_not_here(*kind);
        not_run.extend(why_not.iter().map(|why| format!("{kind}: {why}")));
        why_not.is_none()
    });
    (done, not_run)
}
