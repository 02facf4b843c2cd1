//! A harness that finds nothing proves nothing. Nodes with a bug planted in them run the same campaigns as good ones, and each
//! bug must be found.

use std::{
    collections::BTreeMap,
    env,
    time::{Duration, Instant},
};

use flagraft_chaos::schedule::{Settings, fault::Kind, workload::Profile};
use flagraft_tests::{
    campaign::{self, Keep, Order, nemesis},
    settings::{measured, seed},
};
use tokio::task::JoinSet;

/// How many clusters run at a time: each leaves the machine half idle.
const AT_ONCE: usize = 3;
/// How often a bug is tried to be found.
const TRIES: u64 = 6;
/// How long faults are done to it in each try.
const SECONDS: u64 = 25;

/// A planted bug, and the faults that are done to nodes that have it.
struct Canary {
    name: &'static str,
    kinds: &'static [Kind],
}

/// What every node meets: most bugs need no more.
const COMMON: &[Kind] = &[Kind::Kill, Kind::Pause, Kind::Partition, Kind::OneWay, Kind::Delay];

const CANARIES: [Canary; 13] = [
    Canary { name: "acknowledge-unknown", kinds: COMMON },
    Canary { name: "always-young", kinds: COMMON },
    Canary { name: "apply-twice", kinds: COMMON },
    Canary { name: "clock-in-apply", kinds: COMMON },
    Canary { name: "confirm-locally", kinds: COMMON },
    Canary { name: "cut-damage", kinds: &[Kind::BitFlip, Kind::Truncate] },
    Canary { name: "forget-requests", kinds: COMMON },
    Canary { name: "ignore-min-revision", kinds: COMMON },
    Canary { name: "long-lease", kinds: COMMON },
    Canary { name: "lose-on-resume", kinds: COMMON },
    Canary { name: "order-by-hash", kinds: COMMON },
    Canary { name: "rewrite-record", kinds: COMMON },
    Canary { name: "skip-sync", kinds: &[Kind::PowerLoss] },
];

/// Runs campaigns until one breaks a promise: which, and after how long. `None`: none did.
async fn found(canary: &'static Canary, seed: u64) -> Option<(String, Duration)> {
    let begun = Instant::now();
    for turn in 0..TRIES {
        let profile = Profile { think_us: 15_000, ..Profile::default() };
        let seed = seed.wrapping_add(turn);
        let settings = Settings { seed, seconds: SECONDS, nodes: 3, kinds: canary.kinds.to_vec(), profile };
        let order = Order {
            settings,
            again: format!("./scripts/chaos --canary {} --seed {seed}", canary.name),
            canary: Some(canary.name.to_owned()),
            folder: env::temp_dir(),
            keep: Keep::Nothing,
            shows_progress: false,
        };
        let outcome = campaign::run(&order).await;
        if let Some(broken) = outcome.broken.into_iter().next() {
            return Some((broken, begun.elapsed()));
        }
        println!("{}: seed {seed} did not find it", canary.name);
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn every_planted_bug_is_found() {
    let seed = seed();
    let mut left: Vec<&'static Canary> = CANARIES.iter().collect();
    left.retain(|canary| {
        let (_, not_run) = nemesis::done_here(canary.kinds);
        not_run
            .iter()
            .for_each(|why| measured(&format!("NOT RUN HERE: the planted bug {}", canary.name), why));
        not_run.is_empty()
    });
    let (mut running, mut results) = (JoinSet::new(), BTreeMap::new());
    loop {
        while running.len() < AT_ONCE
            && let Some(canary) = left.pop()
        {
            running.spawn(async move { (canary.name, found(canary, seed).await) });
        }
        let Some(ended) = running.join_next().await else { break };
        let (name, result) = ended.expect("a run does not panic");
        results.insert(name, result);
    }
    for (name, result) in &results {
        match result {
            Some((broken, after)) => {
                println!("{name}: found after {after:.1?}: {broken}");
                measured(&format!("a planted bug is found: {name} (s)"), after.as_secs());
            }
            None => println!("{name}: NOT FOUND in {TRIES} runs"),
        }
    }
    let survivors: Vec<_> =
        results.iter().filter(|(_, result)| result.is_none()).map(|(name, _)| name).collect();
    assert!(survivors.is_empty(), "these bugs survived: {survivors:?}");
}
