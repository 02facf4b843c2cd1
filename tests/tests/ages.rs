//! The stated age is true: on a node that is cut off from the leader while others write, no answer claims to be younger
//! than it is, whoever asks for a bound gets it or a refusal, and the node says that it is not ready. Judged by the
//! times at which the writes were acknowledged, on the clock of this process.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::{Answer, Api, Consistency},
    catalog::{SAFE_COUNT, counter},
    cluster::Setup,
    settings::{measured, rounds},
    wait,
};
use serde_json::json;
use tokio::task::JoinSet;

mod common;
use common::shop::Shop;

/// The flag that is written again and again, and a critical one written with it.
const PLAIN: &str = "plain";
const GATE: &str = "gate";
/// The age at which the nodes of this test stop to be ready.
const READY_AGE: Duration = Duration::from_secs(2);
/// The bound that some readers ask for.
const MAX_AGE: Duration = Duration::from_secs(1);
/// What an answer may take beyond its bound, on a busy machine too, where the bound itself may not be missed.
const PATIENCE: Duration = Duration::from_secs(20);
const READERS: u32 = 8;

/// When each count was acknowledged: until the one after it was, it may have been current.
#[derive(Clone, Debug, Default)]
struct Acknowledged(Arc<Mutex<Vec<Instant>>>);

impl Acknowledged {
    fn note(&self) {
        self.0.lock().expect("no holder panics").push(Instant::now());
    }

    fn count(&self) -> u64 {
        self.0.lock().expect("no holder panics").len() as u64
    }

    /// When this count was surely not current any more.
    fn outdated_at(&self, count: u64) -> Option<Instant> {
        // Count n is acknowledged at place n - 1, so the one after it at place n.
        self.0.lock().expect("no holder panics").get(usize::try_from(count).expect("small")).copied()
    }

    /// By how much an answer claims to be younger than it is. `begun` is when it was asked for: a state that was
    /// current `age` before the answer was current at some moment after `begun - age`.
    fn lie(&self, count: u64, begun: Instant, age: Duration) -> Option<Duration> {
        let claimed = begun.checked_sub(age)?;
        claimed.checked_duration_since(self.outdated_at(count)?).filter(|lie| !lie.is_zero())
    }
}

fn count_of(answer: &Answer) -> u64 {
    answer.value().as_u64().unwrap_or_else(|| panic!("no count: {answer:?}"))
}

/// What readers of one node saw.
#[derive(Debug, Default)]
struct Seen {
    ages: Vec<Duration>,
    refused: u32,
    safe: u32,
}

/// Reads through a node until it is aborted or `until` passes, and judges every answer.
async fn read(node: Api, acknowledged: Acknowledged, until: Instant, max_age: Option<Duration>) -> Seen {
    let mut seen = Seen::default();
    while Instant::now() < until {
        for flag in [PLAIN, GATE] {
            let mut call = node.evaluate(flag, &json!({})).header("flagraft-deadline-ms", "100");
            if let Some(max_age) = max_age {
                call = call.header("flagraft-max-age-ms", max_age.as_millis().to_string());
            }
            let begun = Instant::now();
            let answer = call.answer().await;
            let age = answer.age_ms().map(Duration::from_millis);
            match (answer.status, answer.consistency()) {
                (200, Consistency::SafeVariant) => {
                    assert_eq!((flag, answer.value()), (GATE, &json!(SAFE_COUNT)), "{answer:?}");
                    seen.safe += 1;
                }
                (200, consistency) => {
                    assert!(flag == PLAIN || consistency == Consistency::Linearizable, "{answer:?}");
                    let age = age.expect("it was known once, so it stays known");
                    let count = count_of(&answer);
                    if let Some(lie) = acknowledged.lie(count, begun, age) {
                        panic!("{flag} = {count} claims an age that is {lie:?} too small: {answer:?}");
                    }
                    if let Some(max_age) = max_age
                        && let Some(lie) = acknowledged.lie(count, begun, max_age)
                    {
                        panic!("{flag} = {count} is {lie:?} older than was asked for: {answer:?}");
                    }
                    if consistency == Consistency::Local {
                        seen.ages.push(age);
                    }
                }
                (503, _) => {
                    assert!(flag == PLAIN && max_age.is_some(), "only a bound is refused: {answer:?}");
                    seen.refused += 1;
                }
                _ => panic!("{answer:?}"),
            }
        }
    }
    seen
}

/// Writes both flags through a node, one count after the other, until `until` passes.
async fn write(node: Api, acknowledged: Acknowledged, until: Instant) {
    while Instant::now() < until {
        let next = acknowledged.count() + 1;
        let put = |flag, critical| flagraft_tests::catalog::put(&counter(flag, next, critical));
        let operations = vec![put(PLAIN, false), put(GATE, true)];
        let change = node.change(flagraft_tests::catalog::PROJECT, &format!("count {next}"), operations);
        // Whoever waits for the member that is cut off to know of it would wait in vain.
        change.header("flagraft-deadline-ms", "2000").ok().await;
        acknowledged.note();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_claims_no_age_below_the_truth() {
    let cut_for = Duration::from_secs(u64::from(rounds(4, 10)));
    let setup = Setup::of(3).with_links().with_arg("--ready-max-age-ms", READY_AGE.as_millis());
    let shop = Shop::open(setup, &[counter(PLAIN, 0, false), counter(GATE, 0, true)]).await;
    let leader = shop.cluster.leader().await;
    let alone = shop.cluster.follower().await;
    shop.sure(alone, GATE).await;

    let acknowledged = Acknowledged::default();
    let before = Duration::from_secs(1);
    let until = Instant::now() + before + cut_for;
    let writing = tokio::spawn(write(shop.cluster.admin(leader), acknowledged.clone(), until));
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let max_age = (reader % 2 == 1).then_some(MAX_AGE);
        readers.spawn(read(shop.reader(alone), acknowledged.clone(), until, max_age));
    }
    wait::until_true("writes and reads to run", PATIENCE, || async { acknowledged.count() > 3 }).await;
    let at_the_cut = acknowledged.count();
    shop.cluster.links().cut_off(alone);

    // It falls by itself, and says why.
    let unready = wait::until("the node not to be ready", READY_AGE + PATIENCE, || async {
        let answer = shop.reader(alone).get("/readyz?verbose").answer().await;
        if answer.status == 503 { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert!(unready.body.to_string().contains("age"), "it says why: {unready:?}");
    assert!(shop.reader(leader).get("/readyz").answer().await.is_success(), "the others are ready");

    let mut all = Seen::default();
    while let Some(seen) = readers.join_next().await {
        let seen = seen.expect("no reader panics");
        all.ages.extend(seen.ages);
        all.refused += seen.refused;
        all.safe += seen.safe;
    }
    writing.await.expect("the writer does not panic");
    let held = shop.cluster.links().affected();
    assert!(held > 0, "the node was never cut off");
    assert!(acknowledged.count() > at_the_cut + 3, "nothing was written while it was cut off");
    assert!(all.refused > 0 && all.safe > 0, "nobody was refused, or nobody got the safe variant: {all:?}");
    let oldest = all.ages.iter().max().copied().expect("local answers");
    assert!(oldest > cut_for / 2, "an age of {oldest:?} is not that of a node cut off for {cut_for:?}");

    shop.cluster.links().heal();
    shop.sure(alone, GATE).await;
    wait::until_true("the node to be ready again", PATIENCE, || async {
        shop.reader(alone).get("/readyz").answer().await.is_success()
    })
    .await;
    measured(
        "cut off: seconds, local answers judged, ages below the truth, refused, safe variants, oldest age in ms",
        format!(
            "{}, {}, 0, {}, {}, {}",
            cut_for.as_secs(),
            all.ages.len(),
            all.refused,
            all.safe,
            oldest.as_millis()
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_healthy_cluster_ages_are_short() {
    let seconds = Duration::from_secs(u64::from(rounds(3, 10)));
    let clients = rounds(20, 100);
    let shop = Shop::open(Setup::of(3), &[counter(PLAIN, 0, false), counter(GATE, 0, true)]).await;
    let until = Instant::now() + seconds;
    let acknowledged = Acknowledged::default();
    let writing = tokio::spawn(write(shop.cluster.admin(1), acknowledged.clone(), until));
    let mut readers = JoinSet::new();
    for (client, node) in (0..clients).zip(shop.cluster.ids().into_iter().cycle()) {
        let (node, acknowledged) = (shop.reader(node), acknowledged.clone());
        readers.spawn(async move {
            let mut ages = Vec::new();
            // One kind of read each: critical ones would keep the age of the others young.
            while Instant::now() < until {
                let begun = Instant::now();
                let answer = node.evaluate(PLAIN, &json!({})).ok().await;
                let age = Duration::from_millis(answer.age_ms().expect("known on a healthy cluster"));
                if let Some(lie) = acknowledged.lie(count_of(&answer), begun, age) {
                    panic!("client {client}: an age that is {lie:?} too small: {answer:?}");
                }
                ages.push(age);
            }
            ages
        });
    }
    let mut ages = Vec::new();
    while let Some(seen) = readers.join_next().await {
        ages.extend(seen.expect("no reader panics"));
    }
    writing.await.expect("the writer does not panic");
    ages.sort_unstable();
    let at = |share: usize| ages[(ages.len() * share / 100).min(ages.len() - 1)].as_millis();
    measured(
        "healthy: clients, ages judged, p50, p99 and greatest in ms",
        format!("{clients}, {}, {}, {}, {}", ages.len(), at(50), at(99), at(100)),
    );
}
