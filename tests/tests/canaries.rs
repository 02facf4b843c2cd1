//! A harness that finds nothing proves nothing. Nodes with a bug planted in them run the same campaigns as good ones, and each
//! bug must be found.

use std::{
    collections::BTreeMap,
    env,
    process::Command,
    time::{Duration, Instant},
};

use flagraft_chaos::schedule::{Settings, fault::Kind, workload::Profile};
use flagraft_tests::{
    campaign::{self, Keep, Order, nemesis},
    settings::{canary_binary, measured, seed},
};
use tokio::task::JoinSet;

/// How many clusters run at a time: each leaves the machine half idle.
const AT_ONCE: usize = 3;
/// How often a bug is tried to be found.
const TRIES: u64 = 6;
/// How long faults are done to it in each try.
const SECONDS: u64 = 25;

/// A planted bug, the faults that are done to nodes that have it, and the words by which it is known that this bug was
/// found, and not another one.
struct Canary {
    name: &'static str,
    kinds: &'static [Kind],
    found_by: &'static [&'static str],
}

/// What every node meets: most bugs need no more.
const COMMON: &[Kind] = &[Kind::Kill, Kind::Pause, Kind::Partition, Kind::OneWay, Kind::Delay];

/// What is said of a write that was done again, and of one that is not there, or twice.
const WRITES: &[&str] = &["sent again at", "the audit log:"];
/// What is said of an answer from the past.
const STALE: &[&str] = &["a stale answer"];
/// What is said of a node that finds by itself that its folder is not as it was left.
const REFUSES: &[&str] = &["ended by itself", "had synced", "the audit log:"];

const CANARIES: [Canary; 13] = [
    Canary { name: "acknowledge-unknown", kinds: COMMON, found_by: WRITES },
    Canary { name: "always-young", kinds: COMMON, found_by: &["older than stated"] },
    Canary { name: "apply-twice", kinds: COMMON, found_by: WRITES },
    Canary { name: "clock-in-apply", kinds: COMMON, found_by: &["do not agree"] },
    Canary { name: "confirm-locally", kinds: COMMON, found_by: STALE },
    Canary { name: "cut-damage", kinds: &[Kind::BitFlip, Kind::Truncate], found_by: REFUSES },
    Canary { name: "forget-requests", kinds: COMMON, found_by: WRITES },
    Canary { name: "ignore-min-revision", kinds: COMMON, found_by: &["less than the minimum revision"] },
    Canary { name: "long-lease", kinds: COMMON, found_by: STALE },
    Canary { name: "lose-on-resume", kinds: COMMON, found_by: &["a change missing from a stream"] },
    Canary { name: "order-by-hash", kinds: COMMON, found_by: &["a good write was answered", "do not agree"] },
    Canary { name: "rewrite-record", kinds: COMMON, found_by: REFUSES },
    Canary { name: "skip-sync", kinds: &[Kind::PowerLoss], found_by: REFUSES },
];

impl Canary {
    /// What is said of this bug, if anything of what is broken is.
    fn of(&self, broken: Vec<String>) -> Option<String> {
        broken.into_iter().find(|said| self.found_by.iter().any(|words| said.contains(words)))
    }
}

/// Runs campaigns until one breaks the promise that the bug breaks: what is said of it, and after how long. `None`: none did.
async fn found(canary: &'static Canary, seed: u64) -> Option<(String, Duration)> {
    let begun = Instant::now();
    for turn in 0..TRIES {
        let profile = Profile { think_us: 15_000, ..Profile::default() };
        let seed = seed.wrapping_add(turn);
        let settings = Settings { seed, seconds: SECONDS, nodes: 3, kinds: canary.kinds.to_vec(), profile };
        let order = Order {
            settings,
            // Of what is found here, nothing is kept.
            again: String::new(),
            canary: Some(canary.name.to_owned()),
            folder: env::temp_dir(),
            keep: Keep::Nothing,
            shows_progress: false,
        };
        let outcome = campaign::run(&order).await;
        let others = format!("{:?}", outcome.broken);
        if let Some(broken) = canary.of(outcome.broken) {
            return Some((broken, begun.elapsed()));
        }
        println!("{}: seed {seed} did not find it, but {others}", canary.name);
    }
    None
}

/// The build names its bugs to whoever names one that it does not have.
#[test]
fn every_bug_of_the_build_is_tried() {
    let mut node = Command::new(canary_binary());
    let folder = tempfile::tempdir().expect("a folder");
    node.args(["serve", "--dev", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
    node.env("FLAGRAFT_CANARY", "none");
    let output = node.output().expect("it can be started");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let (_, names) = said.split_once("use one of ").unwrap_or_else(|| panic!("no names: {said}"));
    let mut built: Vec<&str> = names.lines().next().unwrap_or_default().split(", ").collect();
    built.sort_unstable();
    assert_eq!(built, CANARIES.map(|canary| canary.name));
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
