//! The client crate against a real cluster: how soon a change is where it is used, what a service is told while nodes
//! die, and what becomes of the streams of a node that is killed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_client::{Client, Consistency, Context, Observer, Request, Source, Status};
use flagraft_tests::{
    catalog::{ENVIRONMENT, PROJECT, counter, switch},
    cluster::Setup,
    memory,
    settings::{measured, rounds},
    wait,
};
use tokio::{sync::mpsc, task::JoinSet};

mod common;
use common::shop::Shop;

const PATIENCE: Duration = Duration::from_secs(60);
const COUNT: &str = "count";
const KILL: &str = "kill";

impl Shop {
    fn client(&self, nodes: impl IntoIterator<Item = u64>) -> flagraft_client::Builder {
        let urls: Vec<String> = nodes.into_iter().map(|id| self.reader(id).base().to_owned()).collect();
        Client::builder().endpoints(urls).token(&self.token)
    }
}

async fn ready(client: &Client) {
    assert_eq!(client.ready(PATIENCE).await, Status::Ready);
}

/// The share of sorted times that is asked for, in milliseconds.
fn at(sorted: &[Duration], share: usize) -> String {
    let rank = (sorted.len() * share).div_ceil(100).clamp(1, sorted.len());
    format!("{:.2}", sorted[rank - 1].as_secs_f64() * 1_000.0)
}

/// Streams that are open and that nobody looks at: what else a node has to tell.
async fn others(shop: &Shop, count: u32) -> JoinSet<()> {
    let mut streams = JoinSet::new();
    for (_, id) in (0..count).zip(shop.cluster.ids().into_iter().cycle()) {
        let path = format!("/api/v1/projects/{PROJECT}/environments/{ENVIRONMENT}/stream");
        let mut stream = shop.reader(id).get(&path).stream().await;
        streams.spawn(async move { while stream.next().await.is_some() {} });
    }
    streams
}

/// From the answer to a write until the new value is what a client of each node answers.
async fn propagation(streams: u32, changes: u64) {
    let shop = Shop::open(Setup::of(3), &[counter(COUNT, 0, false)]).await;
    let others = others(&shop, streams).await;
    let (told, mut tells) = mpsc::unbounded_channel();
    let mut clients = Vec::new();
    for id in shop.cluster.ids() {
        let client = shop.client([id]).start().await.expect("well set up");
        ready(&client).await;
        let (mut heard, told, of) = (client.changes(), told.clone(), client.clone());
        tokio::spawn(async move {
            while heard.next().await.is_some() {
                let now = (of.integer_value(COUNT, &Context::new(), -1), Instant::now());
                if told.send(now).is_err() {
                    return;
                }
            }
        });
        clients.push(client);
    }
    let mut took = Vec::new();
    for change in 1..=changes {
        shop.count(1, COUNT, change, false).await;
        let answered = Instant::now();
        for _ in &clients {
            let (count, at) =
                tokio::time::timeout(PATIENCE, tells.recv()).await.expect("a client hears").expect("open");
            assert_eq!(
                u64::try_from(count),
                Ok(change),
                "each client hears of each change, once and in order"
            );
            took.push(at.saturating_duration_since(answered));
        }
    }
    took.sort_unstable();
    measured(
        "propagation: streams, changes, from the write's answer to the value in a client of each node p50, p99, most in ms",
        format!("{}, {changes}, {}, {}, {}", others.len(), at(&took, 50), at(&took, 99), at(&took, 100)),
    );
    for client in clients {
        client.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_soon_where_it_is_used() {
    propagation(rounds(20, 100), u64::from(rounds(50, 1_000))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_soon_where_it_is_used_by_many() {
    propagation(rounds(100, 2_000), u64::from(rounds(20, 1_000))).await;
}

/// A service that evaluates all the while, and counts.
struct Service {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Service {
    /// Evaluates on a thread of its own, which nothing but the evaluations themselves could hold up.
    fn of(client: &Client) -> Self {
        let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (client, stopped, counted) = (client.clone(), stop.clone(), answers.clone());
        let thread = std::thread::spawn(move || {
            let user = Context::of("anyone");
            while !stopped.load(Ordering::Relaxed) {
                let plain = client.bool_value("plain", &user, false);
                assert!(plain, "an ordinary flag has its value, whatever becomes of the nodes");
                let kill = client.bool_details(KILL, &user, true);
                if kill.consistency == Consistency::SafeVariant {
                    assert!(!kill.value, "{kill:?}");
                }
                counted.fetch_add(2, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        Self { stop, answers, thread }
    }

    /// How many evaluations returned; all of them.
    fn lived(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every evaluation returned, and was right");
        self.answers.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_lives_while_one_two_and_all_nodes_die_and_starts_without_them() {
    let mut shop = Shop::open(Setup::of(3), &[switch("plain", false), switch(KILL, true)]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let all = shop.cluster.ids();
    let client = shop.client(all.clone()).copies_in(folder.path()).start().await.expect("well set up");
    ready(&client).await;
    let service = Service::of(&client);
    let user = Context::of("anyone");
    let is_safe = |client: &Client| {
        let kill = client.bool_details(KILL, &user, true);
        kill.consistency == Consistency::SafeVariant && !kill.value
    };
    let knows = async |client: &Client, what: &str| {
        wait::until_true(what, PATIENCE, || async { client.bool_value(KILL, &user, false) }).await;
    };
    knows(&client, "the critical flag").await;

    shop.cluster.kill(all[0]);
    // A quorum is left: nothing is unsure for longer than it takes to find another node.
    knows(&client, "the critical flag with one node dead").await;
    let sure = client.confirm(KILL, &user, PATIENCE).await;
    assert!(sure.is_ok_and(|details| details.consistency == Consistency::Linearizable));

    shop.cluster.kill(all[1]);
    wait::until_true("the safe variant without a quorum", PATIENCE, || async { is_safe(&client) }).await;
    shop.cluster.kill(all[2]);
    assert!(is_safe(&client));
    let answers = service.lived();
    client.shutdown().await;

    // A service that starts now has the last known good copy, and says so; of critical flags the safe variant.
    let restarted = shop.client(all.clone()).copies_in(folder.path()).start().await.expect("well set up");
    let plain = restarted.bool_details("plain", &user, false);
    assert_eq!(
        (plain.value, plain.source, restarted.status()),
        (true, Source::Disk, Status::Stale),
        "{plain:?}"
    );
    assert!(is_safe(&restarted), "never from disk");
    let service = Service::of(&restarted);
    // Together: no node is ready without a quorum.
    for id in &all {
        shop.cluster.launch(*id);
    }
    for id in &all {
        shop.cluster.ready(*id).await;
    }
    knows(&restarted, "the critical flag with the nodes back").await;
    ready(&restarted).await;
    let answers = answers + service.lived();
    restarted.shutdown().await;
    measured(
        "a service beside one, two, three dead nodes and a start without any: evaluations, not returned",
        format!("{answers}, 0"),
    );
}

/// What a node was asked, in tenths of a second.
#[derive(Debug, Default)]
struct Asked(Mutex<BTreeMap<u128, u64>>);

struct Watch {
    asked: Arc<Asked>,
    begun: Instant,
}

impl Observer for Watch {
    fn asked(&self, _: &str, request: Request, _: &'static str, _: Duration) {
        // Probes come and go all the time.
        if request != Request::Probe {
            let tenth = self.begun.elapsed().as_millis() / 100;
            *self.asked.0.lock().expect("no holder panics").entry(tenth).or_default() += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_streams_of_a_dead_node_go_on_elsewhere_and_not_all_at_once() {
    let streams = rounds(100, 2_000);
    let mut shop = Shop::open(Setup::of(3), &[counter(COUNT, 0, false)]).await;
    let doomed = shop.cluster.follower().await;
    let others: Vec<u64> = shop.cluster.ids().into_iter().filter(|id| *id != doomed).collect();
    // While the others are away, everybody goes to the one that is left.
    shop.cluster.kill_together(&others);
    let before = memory::of(shop.cluster.pid(doomed)).resident;
    let asked = Arc::new(Asked::default());
    let begun = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..streams {
        let watch = Watch { asked: asked.clone(), begun };
        let client = shop.client(shop.cluster.ids()).observer(Arc::new(watch));
        // Rare probes: it is the streams that are looked at.
        clients.push(client.probe_every(Duration::from_secs(60)).start().await.expect("well set up"));
    }
    let open = async |shop: &Shop, id: u64| {
        shop.cluster.metrics(id).await.get("flagraft_streams_open{kind=\"definitions\"}")
    };
    wait::until("all streams on one node", PATIENCE * 2, || async {
        let open = open(&shop, doomed).await;
        if open >= u64::from(streams) { Ok(()) } else { Err(format!("{open} are")) }
    })
    .await;
    let after = memory::of(shop.cluster.pid(doomed)).resident;
    for id in &others {
        shop.cluster.restart(*id).await;
    }

    asked.0.lock().expect("no holder panics").clear();
    let killed = Instant::now();
    let killed_at = begun.elapsed().as_millis() / 100;
    shop.cluster.kill(doomed);
    wait::until("all streams elsewhere", PATIENCE * 2, || async {
        let mut open_now = 0;
        for id in &others {
            open_now += open(&shop, *id).await;
        }
        if open_now >= u64::from(streams) { Ok(()) } else { Err(format!("{open_now} are")) }
    })
    .await;
    let resumed_after = killed.elapsed();
    let rates: Vec<u64> = {
        let asked = asked.0.lock().expect("no holder panics");
        let last = asked.keys().next_back().copied().unwrap_or(killed_at);
        (killed_at..=last).map(|tenth| asked.get(&tenth).copied().unwrap_or(0)).collect()
    };
    // They still hear of what changes.
    shop.count(others[0], COUNT, 7, false).await;
    for client in &clients {
        wait::until_true("every client to have the new value", PATIENCE, || async {
            client.integer_value(COUNT, &Context::new(), -1) == 7
        })
        .await;
    }
    measured(
        "a dead node's streams: streams, all elsewhere after ms, requests in each tenth of a second, KiB of the node for each",
        format!(
            "{streams}, {}, {rates:?}, {:.0}",
            resumed_after.as_millis(),
            (after.saturating_sub(before) * 1024) as f64 / f64::from(streams)
        ),
    );
    let mut ending = JoinSet::new();
    for client in clients {
        ending.spawn(async move { client.shutdown().await });
    }
    ending.join_all().await;
}
