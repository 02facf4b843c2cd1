//! Does the faults of a schedule, and shows of each that it took effect.
//!
//! A schedule says when each fault begins and how long it lasts. What the run makes of that may come later: a fault waits
//! until one that would get in its way is over, until fewer than three others last, until somebody leads if it is done to
//! the leader, and it lasts until something has shown that it is there. All that begin after one are late by as much as it.

mod asked;
mod clock_jump;
mod cpu_starvation;
mod cut;
mod delay;
mod disk_full;
mod frozen_disk;
mod ground;
mod here;
mod kill;
mod leaders;
mod loss;
mod membership_churn;
mod memory_limit;
mod network;
mod pause;
mod power_loss;
mod question;
mod rolling_restart;
mod share;
mod slow_disk;
pub(super) mod snapshot_catch_up;
mod spoil;
mod sync_error;
mod trial;
mod wipe;

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use flagraft_chaos::{
    dice::Dice,
    incidents::What,
    schedule::{
        Schedule,
        fault::Kind,
        nemesis::{AT_ONCE, Fault, Target},
    },
};

pub use self::{ground::Ground, here::done_here};
use crate::wait;

/// How often to look whether something is to be done, or has shown.
const PAUSE: Duration = Duration::from_millis(20);
/// How much longer than planned a fault lasts until it shows. One that does not is taken away, and proves nothing.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);
/// How long a fault waits for a leader that it can be done to.
const LED_WITHIN: Duration = Duration::from_secs(30);

/// One way to break nodes. A file for each.
trait Wrong: Send {
    /// Does it. Called once.
    fn begin(&mut self, ground: &mut Ground);

    /// Looks at it while it lasts, again and again: what shows that it took effect, once something does.
    fn look(&mut self, ground: &mut Ground) -> Option<String>;

    /// Whether it has to go on although its time is over.
    fn goes_on(&self) -> bool {
        false
    }

    /// How much longer than planned it may take until it shows.
    fn patience(&self) -> Duration {
        SHOWN_WITHIN
    }

    /// Takes it away. Called once.
    fn end(&mut self, ground: &mut Ground);
}

/// What does a fault to these nodes.
fn wrong(kind: Kind, nodes: Vec<u64>, ground: &Ground, mut dice: Dice) -> Box<dyn Wrong> {
    match kind {
        Kind::Kill => Box::new(kill::Kill::of(nodes)),
        Kind::Pause => Box::new(pause::Pause::of(nodes)),
        Kind::RollingRestart => Box::new(rolling_restart::RollingRestart::of(nodes, &mut dice)),
        Kind::Partition => Box::new(cut::Cut::around(&nodes, ground)),
        Kind::OneWay => Box::new(cut::Cut::out_of(&nodes, ground)),
        Kind::Bridge => Box::new(cut::Cut::but_for_one(ground, &mut dice)),
        Kind::Loss => Box::new(loss::Loss::around(&nodes, ground, dice)),
        Kind::Delay => Box::new(delay::Delay::around(&nodes, ground, &mut dice)),
        Kind::PowerLoss => Box::new(power_loss::PowerLoss::of(nodes, &mut dice)),
        // These are done to one node.
        Kind::DiskFull => Box::new(disk_full::DiskFull::of(nodes[0], &mut dice)),
        Kind::SyncError => Box::new(sync_error::SyncError::of(nodes[0], &mut dice)),
        Kind::FrozenDisk => Box::new(frozen_disk::FrozenDisk::of(nodes[0])),
        Kind::SlowDisk => Box::new(slow_disk::SlowDisk::of(nodes[0], &mut dice)),
        Kind::BitFlip => Box::new(spoil::Spoil::flip(nodes[0], dice)),
        Kind::Truncate => Box::new(spoil::Spoil::cut(nodes[0], dice)),
        Kind::Wipe => Box::new(wipe::Wipe::of(nodes[0])),
        Kind::ClockJump => Box::new(clock_jump::ClockJump::of(nodes, &mut dice)),
        Kind::CpuStarvation => Box::new(cpu_starvation::CpuStarvation::of(nodes, &mut dice)),
        Kind::MemoryLimit => Box::new(memory_limit::MemoryLimit::of(nodes, &mut dice)),
        Kind::SnapshotCatchUp => Box::new(snapshot_catch_up::SnapshotCatchUp::of(&nodes, ground, &mut dice)),
        Kind::MembershipChurn => Box::new(membership_churn::MembershipChurn::of(&mut dice)),
    }
}

/// A fault that has begun.
struct UnderWay<'a> {
    fault: &'a Fault,
    wrong: Box<dyn Wrong>,
    until: Instant,
    has_shown: bool,
}

/// Does a whole schedule, and returns when its last fault was taken away.
pub(super) async fn run(ground: &mut Ground, schedule: &Schedule) {
    let begun = Instant::now();
    let mut late = Duration::ZERO;
    let mut planned: VecDeque<&Fault> = schedule.faults().iter().collect();
    let mut under_way: Vec<UnderWay<'_>> = Vec::new();
    while !planned.is_empty() || !under_way.is_empty() {
        ground.look().await;
        for this in &mut under_way {
            this.look(ground);
        }
        let now = Instant::now();
        while let Some(over) = under_way.iter().position(|this| this.is_over(now)) {
            under_way.swap_remove(over).end(ground);
        }
        if let Some(fault) = planned.front()
            && let Some(waited) = begun.elapsed().checked_sub(due(fault, late))
            && under_way.len() < AT_ONCE
            && !under_way.iter().any(|this| fault.clashes(this.fault))
            && (!needs_leader(fault) || ground.leader().is_some() || waited > LED_WITHIN)
        {
            late += waited;
            under_way.extend(begin(fault, ground));
            planned.pop_front();
            continue;
        }
        wait::pace(PAUSE).await;
    }
}

fn due(fault: &Fault, late: Duration) -> Duration {
    Duration::from_millis(fault.start_ms) + late
}

fn needs_leader(fault: &Fault) -> bool {
    fault.target == Target::Leader || fault.kind == Kind::Bridge
}

fn begin<'a>(fault: &'a Fault, ground: &mut Ground) -> Option<UnderWay<'a>> {
    let nodes = match &fault.target {
        Target::Leader => ground.leader().into_iter().collect(),
        Target::Nodes(nodes) => nodes.clone(),
        Target::All => ground.ids(),
    };
    let kind = fault.kind.name().to_owned();
    ground.note(What::FaultBegins { fault: fault.fault, kind, nodes: nodes.clone() });
    if nodes.is_empty() || (needs_leader(fault) && ground.leader().is_none()) {
        // Nothing was done, so nothing will show.
        ground.note(What::FaultEnds { fault: fault.fault });
        return None;
    }
    let mut wrong = wrong(fault.kind, nodes, ground, Dice::new(fault.dice));
    wrong.begin(ground);
    let until = Instant::now() + Duration::from_millis(fault.lasts_ms);
    Some(UnderWay { fault, wrong, until, has_shown: false })
}

impl UnderWay<'_> {
    fn look(&mut self, ground: &mut Ground) {
        if let Some(proof) = self.wrong.look(ground)
            && !self.has_shown
        {
            self.has_shown = true;
            ground.note(What::TookEffect { fault: self.fault.fault, proof });
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        let is_complete = self.has_shown && !self.wrong.goes_on();
        now >= self.until && (is_complete || now >= self.until + self.wrong.patience())
    }

    fn end(mut self, ground: &mut Ground) {
        self.wrong.end(ground);
        ground.note(What::FaultEnds { fault: self.fault.fault });
    }
}
