//! A run of faults under load: a schedule of [`flagraft_chaos`] is done to a real cluster while clients use it over its
//! public API, and what they saw is judged.
//!
//! - `stage`: the cluster, its flags, and where what happens is written down.
//! - `workload`: the clients. Each operation is noted before it is sent.
//! - [`nemesis`]: does the faults, and shows of each that it took effect.
//! - `progress`: says how far it is, for a person.
//! - [`verdict`]: the cluster has to heal, to agree, and to have kept every promise; else all that is known of the run is
//!   left in a folder.

pub mod nemesis;
mod progress;
mod stage;
pub mod verdict;
mod workload;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use flagraft_chaos::schedule::{Schedule, Settings};

use self::{
    nemesis::Ground,
    progress::Progress,
    stage::Stage,
    verdict::{Done, Outcome},
    workload::Workload,
};

/// How long a cluster may take, after the last fault, until every node serves reads, writes and streams again and all of
/// them agree.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Order {
    /// What the schedule is made from. Faults that can't be done on this machine are left out, and said to be.
    pub settings: Settings,
    /// The command that runs it again.
    pub again: String,
    /// A bug that is planted in every node, which must be of a build that has it (`flagraft-canary`).
    pub canary: Option<String>,
    /// Where the folder is made in which what is known of the run is written.
    pub folder: PathBuf,
    /// What is left there.
    pub keep: Keep,
    /// Whether to say meanwhile how far it is.
    pub shows_progress: bool,
}

/// What a run leaves in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing, whatever it came to.
    Nothing,
    /// All that is known of a run that failed or proves nothing; nothing of one that passed.
    WhatFailed,
    /// The same, and the report of one that passed.
    Reports,
    /// All of each.
    All,
}

impl Keep {
    /// Whether a run leaves anything, and if so, whether all of it. What a good one saw is long, and shows nothing that its
    /// report does not.
    fn leaves(self, is_good: bool) -> Option<bool> {
        match (self, is_good) {
            (Self::Nothing, _) | (Self::WhatFailed, true) => None,
            (Self::Reports, true) => Some(false),
            (Self::WhatFailed | Self::Reports, false) | (Self::All, _) => Some(true),
        }
    }
}

/// Does what a seed decides, and judges it.
///
/// # Panics
/// The cluster does not start.
pub async fn run(order: &Order) -> Outcome {
    let mut settings = order.settings.clone();
    let (kinds, not_run) = nemesis::done_here(&settings.kinds);
    settings.kinds = kinds;
    let schedule = Schedule::new(settings.clone());
    let (stage, cluster) = Stage::set(&settings, order).await;
    let mut ground = Ground::of(cluster, &stage);
    let progress = order.shows_progress.then(|| Progress::start(&stage, &schedule));
    let workload = Workload::start(&stage, schedule.clients());
    nemesis::run(&mut ground, &schedule).await;
    let agree_until = Instant::now() + HEALED_WITHIN;
    let healed = heal(&mut ground, &workload).await;
    let odd = workload.finish(healed.is_ok()).await;
    drop(progress);
    verdict::judge(Done { order, stage, ground, schedule, healed, agree_until, odd, not_run }).await
}

/// Waits until every node is ready, acknowledges writes, confirms reads and sends events again; gives how long that took.
async fn heal(ground: &mut Ground, workload: &Workload) -> Result<Duration, String> {
    let begun = Instant::now();
    ground.ready_within(HEALED_WITHIN).await?;
    workload.goes_on_within(HEALED_WITHIN.saturating_sub(begun.elapsed())).await?;
    Ok(begun.elapsed())
}
