//! A run of faults under load: a schedule of [`flagraft_chaos`] is done to a real cluster while clients use it over its
//! public API, and what they saw is judged.
//!
//! - `stage`: the cluster, its flags, and where what happens is written down.
//! - `workload`: the clients. Each operation is noted before it is sent.
//! - [`nemesis`]: does the faults, and shows of each that it took effect.
//! - [`verdict`]: the cluster has to heal, to agree, and to have kept every promise; else all that is known of the run is
//!   left in a folder.

pub mod nemesis;
mod stage;
pub mod verdict;
mod workload;

use std::time::Duration;

use flagraft_chaos::schedule::{Schedule, Settings};

use self::{nemesis::Ground, stage::Stage, verdict::Outcome, workload::Workload};

/// How long a cluster may take, after the last fault, until every node serves reads and writes again and all of them agree.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

/// Does what a seed decides, and judges it. `again` is the command that runs it again.
///
/// # Panics
/// A fault is asked for that is not done here ([`nemesis::KINDS`]), or the cluster does not start.
pub async fn run(settings: Settings, again: &str) -> Outcome {
    let undone = settings.kinds.iter().find(|kind| !nemesis::KINDS.contains(kind));
    assert!(undone.is_none(), "{undone:?} is not done here");
    let schedule = Schedule::new(settings.clone());
    println!("{schedule}");
    let (stage, cluster) = Stage::set(&settings).await;
    let mut ground = Ground::of(cluster, &stage);
    let workload = Workload::start(&stage, schedule.clients());
    nemesis::run(&mut ground, &schedule).await;
    let healed = heal(&mut ground, &workload).await;
    let odd = workload.finish().await;
    verdict::judge(stage, ground, schedule, healed, odd, again).await
}

/// Waits until every node is ready, and confirms reads and acknowledges writes again; gives how long that took.
async fn heal(ground: &mut Ground, workload: &Workload) -> Result<Duration, String> {
    let begun = std::time::Instant::now();
    ground.ready_within(HEALED_WITHIN).await?;
    workload.goes_on_within(HEALED_WITHIN.saturating_sub(begun.elapsed())).await?;
    Ok(begun.elapsed())
}
