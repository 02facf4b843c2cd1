//! Which faults can be done on this machine.

use flagraft_chaos::schedule::fault::{Kind, Layer};

use crate::{cgroup, clock, disk::Disk};

/// Why a fault can't be done on this machine; `None`: it can. What is not done is to be said, and counts for nothing.
pub fn why_not_here(kind: Kind) -> Option<String> {
    if kind.layers().contains(&Layer::Disk) {
        return Disk::why_not_here();
    }
    match kind {
        Kind::CpuStarvation => cgroup::why_not_here("cpu"),
        Kind::MemoryLimit => cgroup::why_not_here("memory"),
        Kind::ClockJump => clock::why_not_here(),
        _ => None,
    }
}
