//! The kinds of faults: how much of the cluster they are done to, and which of them get in each other's way. What it takes to
//! do them is the affair of whoever does.

use std::{fmt, str::FromStr};

/// Something that can be done to nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// SIGKILL; started again when it ends.
    Kill,
    /// SIGSTOP; SIGCONT when it ends.
    Pause,
    /// SIGTERM and a new start, one node after the other.
    RollingRestart,
    /// Nothing passes between these nodes and the others, either way.
    Partition,
    /// What these nodes send does not arrive until it ends; what is sent to them does.
    OneWay,
    /// Two halves that reach each other only through one node.
    Bridge,
    /// Connections break in the midst of what is sent, again and again.
    Loss,
    /// All that is sent arrives later.
    Delay,
    /// Power is cut: what was not synced is lost.
    PowerLoss,
    /// The disk has no room.
    DiskFull,
    /// After some syncs that did well, each one fails.
    SyncError,
    /// The disk does nothing until it ends.
    FrozenDisk,
    /// The disk does a few operations a second.
    SlowDisk,
    /// A bit of a file of the stopped node is turned over.
    BitFlip,
    /// A file of the stopped node is cut short.
    Truncate,
    /// The node's folder is removed, and it comes back under its old id.
    Wipe,
    /// The wall clock jumps by an hour or a day, back or forth.
    ClockJump,
    /// A few percent of a processor.
    CpuStarvation,
    /// Little memory.
    MemoryLimit,
    /// The node is held back until the others have purged what it lacks.
    SnapshotCatchUp,
    /// Two more members, and then as many as before.
    MembershipChurn,
}

/// To how much of the cluster it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Extent {
    /// To the node that leads when it begins.
    Leader,
    /// To some node.
    One,
    /// To as many as a quorum has.
    Majority,
    /// To all.
    All,
}

/// What a fault occupies. Two faults at a time occupy different things, or the same of different nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// Whether the process runs.
    Process,
    /// What reaches it.
    Network,
    /// What its disk does.
    Disk,
    /// Its wall clock.
    Clock,
    /// Its share of the machine.
    Share,
    /// What is stored. No two nodes at a time: nobody promises to survive that.
    Data,
    /// Who belongs to the cluster. No two changes at a time.
    Members,
}

impl Layer {
    /// Whether it is one thing of the whole cluster, and not one of each node.
    pub fn is_of_cluster(self) -> bool {
        matches!(self, Self::Data | Self::Members)
    }
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::Kill,
        Self::Pause,
        Self::RollingRestart,
        Self::Partition,
        Self::OneWay,
        Self::Bridge,
        Self::Loss,
        Self::Delay,
        Self::PowerLoss,
        Self::DiskFull,
        Self::SyncError,
        Self::FrozenDisk,
        Self::SlowDisk,
        Self::BitFlip,
        Self::Truncate,
        Self::Wipe,
        Self::ClockJump,
        Self::CpuStarvation,
        Self::MemoryLimit,
        Self::SnapshotCatchUp,
        Self::MembershipChurn,
    ];

    /// Its name in schedules, logs and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::RollingRestart => "rolling-restart",
            Self::Partition => "partition",
            Self::OneWay => "one-way",
            Self::Bridge => "bridge",
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::PowerLoss => "power-loss",
            Self::DiskFull => "disk-full",
            Self::SyncError => "sync-error",
            Self::FrozenDisk => "frozen-disk",
            Self::SlowDisk => "slow-disk",
            Self::BitFlip => "bit-flip",
            Self::Truncate => "truncate",
            Self::Wipe => "wipe",
            Self::ClockJump => "clock-jump",
            Self::CpuStarvation => "cpu-starvation",
            Self::MemoryLimit => "memory-limit",
            Self::SnapshotCatchUp => "snapshot-catch-up",
            Self::MembershipChurn => "membership-churn",
        }
    }

    /// To how much of the cluster it is done, in turn.
    pub fn extents(self) -> &'static [Extent] {
        match self {
            Self::Kill | Self::PowerLoss => &[Extent::Leader, Extent::One, Extent::Majority, Extent::All],
            Self::Pause
            | Self::Partition
            | Self::OneWay
            | Self::Loss
            | Self::Delay
            | Self::DiskFull
            | Self::SyncError
            | Self::FrozenDisk
            | Self::SlowDisk
            | Self::ClockJump
            | Self::CpuStarvation
            | Self::MemoryLimit => &[Extent::Leader, Extent::One],
            Self::BitFlip | Self::Truncate | Self::Wipe | Self::SnapshotCatchUp => &[Extent::One],
            Self::RollingRestart | Self::Bridge | Self::MembershipChurn => &[Extent::All],
        }
    }

    /// What it occupies, of the nodes that it is done to.
    pub fn layers(self) -> &'static [Layer] {
        match self {
            Self::Kill | Self::Pause | Self::RollingRestart => &[Layer::Process],
            Self::Partition | Self::OneWay | Self::Bridge | Self::Loss | Self::Delay => &[Layer::Network],
            // Without power, no process runs; nor does one whose disk fails, and one whose disk is frozen can't be killed.
            Self::PowerLoss | Self::DiskFull | Self::SyncError | Self::FrozenDisk => {
                &[Layer::Disk, Layer::Process]
            }
            Self::SlowDisk => &[Layer::Disk],
            Self::BitFlip | Self::Truncate => &[Layer::Data, Layer::Process, Layer::Disk],
            Self::Wipe => &[Layer::Data, Layer::Process, Layer::Disk, Layer::Members],
            Self::ClockJump => &[Layer::Clock],
            Self::CpuStarvation => &[Layer::Share],
            // Who takes more is killed.
            Self::MemoryLimit => &[Layer::Share, Layer::Process],
            Self::SnapshotCatchUp => &[Layer::Network, Layer::Process],
            Self::MembershipChurn => &[Layer::Members, Layer::Data, Layer::Process],
        }
    }

    /// Its shortest and longest duration, in milliseconds.
    pub fn lasts_ms(self) -> (u64, u64) {
        match self {
            // Around election timeouts, from half of one to several.
            Self::Pause => (500, 8_000),
            Self::Kill | Self::PowerLoss | Self::Partition | Self::OneWay | Self::Bridge => (500, 6_000),
            Self::Loss | Self::Delay | Self::SlowDisk | Self::CpuStarvation | Self::MemoryLimit => {
                (3_000, 10_000)
            }
            Self::DiskFull | Self::SyncError | Self::FrozenDisk | Self::ClockJump => (1_000, 6_000),
            Self::BitFlip | Self::Truncate | Self::Wipe => (1_000, 3_000),
            Self::RollingRestart | Self::SnapshotCatchUp | Self::MembershipChurn => (10_000, 20_000),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// There is no fault of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no fault called {0:?}; use one of: {names}", names = Kind::ALL.map(Kind::name).join(", "))]
pub struct NoSuchFault(String);

impl FromStr for Kind {
    type Err = NoSuchFault;

    fn from_str(name: &str) -> Result<Self, NoSuchFault> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| NoSuchFault(name.to_owned()))
    }
}
