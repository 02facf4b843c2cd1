//! A node comes back so far behind that the others have purged what it lacks. It is sent a snapshot while writes go on;
//! the link breaks in the middle again and again, and the leader changes. Nothing that has arrived is sent again, and
//! the memory of either side does not depend on how much it is.
//!
//! With `FLAGRAFT_TEST_ROUNDS=full` it is a million records and ten thousand flags.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::Api,
    catalog::{ENVIRONMENT, PROJECT, counter, put, switch},
    cluster::{Cluster, Setup},
    links::Flow,
    memory,
    settings::{measured, rounds},
    wait,
};
use serde_json::{Value, json};

mod common;
use common::shop::Shop;

/// How often the link breaks while the snapshot is on its way.
const CUTS: u32 = 5;
/// How many clients make the records. Many, for one sync serves all that wait for it.
const FILLERS: u64 = 64;
/// Audit records in one message of a transfer, at most: of those, a cut may cost as many.
const RECORDS_OF_A_MESSAGE: u64 = 4_000;
/// How long one step of a transfer may take, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(120);

/// Clients that write without a pause through the living members, and count what was acknowledged and the longest
/// time without.
struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Duration>>,
}

impl Load {
    fn start(nodes: &[Api], clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let tasks = (0..clients)
            .map(|client| {
                let node = nodes[client % nodes.len()].clone();
                let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
                    for count in 1.. {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        let operation = put(&counter(&format!("load-{client}"), count, false));
                        if let Ok(answer) = node.change(PROJECT, "load", vec![operation]).send().await
                            && answer.is_success()
                        {
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                            longest = longest.max(last.elapsed());
                            last = Instant::now();
                        } else {
                            wait::pace(Duration::from_millis(10)).await;
                        }
                    }
                    longest.max(last.elapsed())
                })
            })
            .collect();
        Self { stop, acknowledged, tasks }
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Ends it. Returns the longest time that a client had nothing acknowledged.
    async fn finish(self) -> Duration {
        self.stop.store(true, Ordering::SeqCst);
        let mut longest = Duration::ZERO;
        for task in self.tasks {
            longest = longest.max(task.await.expect("a client does not panic"));
        }
        longest
    }
}

async fn audit_size(cluster: &Cluster, id: u64) -> u64 {
    cluster.fingerprint(id).await.audit_size
}

/// Makes flags, 100 at a time.
async fn make_flags(node: &Api, flags: u32) {
    let all: Vec<Value> = (0..flags).map(|flag| put(&switch(&format!("flag-{flag:05}"), false))).collect();
    for some in all.chunks(100) {
        node.change(PROJECT, "many flags", some.to_vec()).ok().await;
    }
}

/// Has changes that change nothing recorded until the audit log has `records` records.
async fn make_records(cluster: &Cluster, leader: u64, records: u64) {
    let missing = records.saturating_sub(audit_size(cluster, leader).await);
    let left = Arc::new(AtomicU64::new(missing));
    let clients: Vec<_> = (0..FILLERS)
        .map(|_| {
            let (node, left) = (cluster.admin(leader), left.clone());
            tokio::spawn(async move {
                let enable = json!({"op": "flag.enable", "flag": "flag-00000", "environment": ENVIRONMENT});
                while left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok()
                {
                    let change = node.change(PROJECT, "nothing changes", vec![enable.clone()]);
                    if !change.send().await.is_ok_and(|answer| answer.is_success()) {
                        // A busy machine answers late. What may have been recorded is made once more, to be sure.
                        left.fetch_add(1, Ordering::SeqCst);
                        wait::pace(Duration::from_millis(50)).await;
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("a client does not panic");
    }
    assert!(audit_size(cluster, leader).await >= records);
}

/// The last entry that a node has applied.
async fn own_applied(cluster: &Cluster, id: u64) -> Option<u64> {
    let status = cluster.status(id).await.body;
    status["members"].as_array().into_iter().flatten().find(|member| member["id"] == id)?["applied"].as_u64()
}

/// How many attempts of a node to send a snapshot were cut.
async fn broken_sends(cluster: &Cluster, id: u64) -> u64 {
    cluster.metrics(id).await.get("flagraft_snapshot_sends_total{result=\"broken\"}")
}

/// Has the other of the two leaders-to-be take over, though none of them stops.
async fn change_leader(cluster: &Cluster, from: u64) -> u64 {
    for to in cluster.ids().into_iter().filter(|id| *id != from) {
        cluster.links().set_requests(from, to, Flow::Held);
    }
    let leader = wait::until("another leader", PATIENCE, || async {
        let mut seen = Vec::new();
        for id in cluster.ids().into_iter().filter(|id| *id != from) {
            seen.push(cluster.status(id).await.body["leader"].as_u64());
        }
        match seen[0] {
            Some(leader) if leader != from && seen.iter().all(|other| *other == Some(leader)) => Ok(leader),
            _ => Err(format!("{seen:?}")),
        }
    })
    .await;
    cluster.links().heal();
    leader
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_far_behind_catches_up_through_cuts_and_a_new_leader() {
    let records = u64::from(rounds(20_000, 1_000_000));
    let flags = rounds(500, 10_000);
    let keep = records / 20;
    let setup = Setup::of(3)
        .with_links()
        .with_arg("--snapshot-after-entries", records / 10)
        .with_arg("--keep-entries", keep);
    let mut shop = Shop::open(setup, &[switch("flag-00000", false)]).await;

    // The one that is left behind is none that leads.
    let leader = shop.cluster.leader().await;
    let behind = shop.cluster.follower().await;
    let other = 6 - leader - behind;
    shop.cluster.agreed().await;
    shop.cluster.kill(behind);

    let begun = Instant::now();
    make_flags(&shop.cluster.admin(leader), flags).await;
    make_records(&shop.cluster, leader, records).await;
    let took = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a count of records")]
    let rate = records as f64 / took;
    measured("catch-up: records made to be behind by, a second", format!("{records}, {rate:.0}"));

    let sample =
        shop.cluster.admin(leader).get(&format!("/api/v1/audit?from={}&limit=500", records / 4)).ok().await;
    let record_bytes = sample.body.as_str().map_or(0, str::len) / 500;
    let piece = usize::try_from(records).expect("a count") * record_bytes / (CUTS as usize + 1);

    for id in [leader, other] {
        memory::forget_peak(shop.cluster.pid(id));
    }
    let before = [leader, other].map(|id| memory::of(shop.cluster.pid(id)));
    let load = Load::start(&[shop.cluster.admin(leader), shop.cluster.admin(other)], 8);
    let quiet = (load.acknowledged(), Instant::now());
    wait::pace(Duration::from_secs(2)).await;
    let alone = rate_since(&load, quiet);

    let goal = own_applied(&shop.cluster, leader).await;
    let started = (load.acknowledged(), Instant::now());
    shop.cluster.links().break_after(leader, behind, piece);
    shop.cluster.launch(behind);
    let mut sender = leader;
    let mut arrived = 0;
    let mut peaks = Vec::new();
    for cut in 1..=CUTS {
        wait::until_true("the link to break", PATIENCE, || async {
            shop.cluster.links().is_broken(sender, behind)
        })
        .await;
        let seen = shop.cluster.metrics(behind).await.get("flagraft_snapshot_received_records_total");
        assert!(seen > arrived, "cut {cut}: {seen} records have arrived, {arrived} before");
        arrived = seen;
        peaks.push(memory::of(shop.cluster.pid(behind)).peak);
        // Until the sender has noticed, it is no more than a pause.
        let noticed = broken_sends(&shop.cluster, sender).await + 1;
        wait::until_true("the transfer to break", PATIENCE, || async {
            broken_sends(&shop.cluster, sender).await >= noticed
        })
        .await;
        if cut == 3 {
            sender = change_leader(&shop.cluster, sender).await;
            assert_ne!(sender, behind, "who is behind can't lead");
        } else {
            shop.cluster.links().heal();
        }
        if cut < CUTS {
            shop.cluster.links().break_after(sender, behind, piece);
        }
    }
    wait::until("the node to catch up", PATIENCE * 5, || async {
        let status = shop.cluster.status(sender).await.body;
        let there = status["members"].as_array().into_iter().flatten().find(|member| member["id"] == behind);
        match there {
            Some(there) if there["snapshot"].is_null() && there["applied"].as_u64() >= goal => Ok(()),
            there => Err(format!("{there:?}, and should have applied {goal:?}")),
        }
    })
    .await;
    let took = started.1.elapsed();
    let meanwhile = rate_since(&load, started);
    let longest = load.finish().await;
    shop.cluster.ready(behind).await;

    let received = shop.cluster.metrics(behind).await;
    let got = received.get("flagraft_snapshot_received_records_total");
    let total = audit_size(&shop.cluster, sender).await;
    assert!(
        got <= total + u64::from(CUTS + 1) * RECORDS_OF_A_MESSAGE,
        "{got} records came for the {total} that there are"
    );
    let resumed = received.get("flagraft_snapshot_resumed_total");
    assert!(resumed >= u64::from(CUTS), "the transfer went on {resumed} times");
    let print = shop.cluster.agreed().await;
    assert!(print.audit_size >= records);

    let after = [leader, other, behind].map(|id| memory::of(shop.cluster.pid(id)));
    measured(
        "catch-up: seconds; cuts; changes of the leader",
        format!("{:.1}; {CUTS}; 1", took.as_secs_f64()),
    );
    measured("catch-up: records received of all there are", format!("{got} of {total}"));
    measured("catch-up: writes a second before and during", format!("{alone:.0}, {meanwhile:.0}"));
    measured(
        "catch-up: longest time without an acknowledged write, with a change of leader",
        format!("{longest:?}"),
    );
    for (id, before, after) in [(leader, before[0], after[0]), (other, before[1], after[1])] {
        measured(
            &format!("catch-up: MiB of a sender (node {id}) before, at most, after"),
            format!("{}, {}, {}", before.resident, after.peak, after.resident),
        );
    }
    measured(
        "catch-up: MiB of the receiver at most, until each cut; in all; after",
        format!("{peaks:?}; {}; {}", after[2].peak, after[2].resident),
    );

    shop.cluster.kill(behind);
    let begun = Instant::now();
    shop.cluster.restart(behind).await;
    measured(
        "catch-up: seconds until a node with so many records is ready again",
        format!("{:.1}", begun.elapsed().as_secs_f64()),
    );
}

fn rate_since(load: &Load, (acknowledged, begun): (u64, Instant)) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a count of writes")]
    let writes = (load.acknowledged() - acknowledged) as f64;
    writes / begun.elapsed().as_secs_f64()
}
