//! A node that is asked to stop does so without harm: it finishes what it has begun, hands its lead over, and exits
//! with 0. So a rolling restart loses no write and fails no read of clients that know more than one node.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::Api,
    audit,
    catalog::{PROJECT, counter, put, switch},
    cluster::Setup,
    load::{Writers, write_anywhere},
    settings::{measured, rounds},
    wait,
};
use serde_json::json;

mod common;
use common::shop::Shop;

/// How long a stop may take.
const STOPPED_WITHIN: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_and_exits_well() {
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let leader = shop.cluster.leader().await;
    let status = shop.cluster.terminate(leader, STOPPED_WITHIN).await;
    let stopped = Instant::now();
    assert_eq!(status.code(), Some(0), "{}", shop.cluster.log(leader));
    let living: Vec<Api> = shop.cluster.living().into_iter().map(|id| shop.cluster.admin(id)).collect();
    let body = json!({"reason": "after the hand-over", "operations": [put(&counter("probe", 1, false))]});
    let path = format!("/api/v1/projects/{PROJECT}/changes");
    let answer =
        write_anywhere(&living, 0, "after-hand-over", &path, &body).await.expect("a write is accepted");
    assert!(answer.is_success(), "{answer:?}");
    // A lead that was handed over needs no election: far less than one takes.
    let took = stopped.elapsed();
    assert!(
        took < Duration::from_millis(700),
        "the next write took {took:?}, so the lead was not handed over"
    );
    measured("leader stopped gracefully: first write after its end (ms)", took.as_millis());
    shop.cluster.restart(leader).await;
    shop.cluster.agreed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_read_and_loses_no_write() {
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false), counter("gate", 5, true)]).await;
    let writers = Writers::start(&shop.cluster, 2, None).await;
    let readers: Vec<_> = ["banner", "gate"].map(|flag| Reader::start(&shop, flag)).into();
    let turns = rounds(1, 10);
    for id in (0..turns).flat_map(|_| shop.cluster.ids()).collect::<Vec<_>>() {
        let (read, wrote) = (readers[0].answered(), writers.acknowledged());
        wait::until_true("the load to run", Duration::from_secs(20), || async {
            readers[0].answered() > read + 20 && writers.acknowledged() > wrote + 5
        })
        .await;
        let status = shop.cluster.terminate(id, STOPPED_WITHIN).await;
        assert_eq!(status.code(), Some(0), "node {id}: {}", shop.cluster.log(id));
        shop.cluster.restart(id).await;
    }
    let written = writers.finish().await;
    assert_eq!(written.unknown, Vec::<String>::new(), "writes that nobody acknowledged");
    let mut reads = 0;
    for reader in readers {
        reads += reader.answered();
        reader.finish().await;
    }
    shop.cluster.agreed().await;
    let accepted = audit::accepted_by_reason(&audit::records(&shop.cluster.admin(1)).await);
    for (reason, _) in &written.acknowledged {
        assert_eq!(accepted.get(reason), Some(&1), "acknowledged, and in the audit log so often: {reason}");
    }
    measured(
        "rolling restart: times, reads, failed, writes, lost, longest without a write (ms)",
        format!(
            "{turns}, {reads}, 0, {}, 0, {}",
            written.acknowledged.len(),
            written.longest_wait.as_millis()
        ),
    );
}

/// A client that knows all nodes: a read that one refuses or cuts off is asked of the next.
struct Reader {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Reader {
    fn start(shop: &Shop, flag: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let nodes: Vec<Api> = shop.cluster.ids().into_iter().map(|id| shop.reader(id)).collect();
        let task = tokio::spawn(read(flag, nodes, stop.clone(), answered.clone()));
        Self { stop, answered, task }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    async fn finish(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.expect("no read failed on all nodes");
    }
}

async fn read(flag: &'static str, nodes: Vec<Api>, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) {
    let context = json!({"targetingKey": "reader"});
    for turn in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let mut refusals = Vec::new();
        for step in 0..nodes.len() {
            let node = &nodes[(turn + step) % nodes.len()];
            match node.evaluate(flag, &context).send().await {
                Ok(answer) if answer.status == 200 => {
                    refusals.clear();
                    answered.fetch_add(1, Ordering::SeqCst);
                    break;
                }
                Ok(answer) if answer.status == 503 => refusals.push(format!("{answer:?}")),
                Ok(answer) => panic!("a stopping node refuses with 503, but: {answer:?}"),
                Err(error) => refusals.push(format!("{error:?}")),
            }
        }
        assert!(refusals.is_empty(), "no node answered: {refusals:#?}");
        wait::pace(Duration::from_millis(3)).await;
    }
}
