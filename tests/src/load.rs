//! Clients that go on reading and writing while a test does something to the nodes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    api::{Answer, Api},
    catalog::{PROJECT, counter, put},
    cluster::{Cluster, Liveness},
    lost_answers::LostAnswers,
    wait::{self, pace},
};

/// How long one attempt of a write may take before it is tried on the next node. Above a node's own deadline.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How long a write is tried before it counts as never acknowledged.
const GIVE_UP: Duration = Duration::from_secs(20);

/// A write that is tried on one node after another, under one `Idempotency-Key`, until one says what became of it.
///
/// A refusal that the catalog gives (a 4xx but 429) is an answer too. `None`: nobody answered in time.
pub async fn write_anywhere(
    nodes: &[Api],
    first: usize,
    key: &str,
    path: &str,
    body: &Value,
) -> Option<Answer> {
    let end = Instant::now() + GIVE_UP;
    for turn in 0.. {
        let node = &nodes[(first + turn) % nodes.len()];
        if let Ok(answer) = node.post(path, body).idempotent(key).within(ATTEMPT).send().await
            && answer.status < 500
            && answer.status != 429
        {
            return Some(answer);
        }
        if Instant::now() > end {
            return None;
        }
        pace(Duration::from_millis(10)).await;
    }
    None
}

/// What a writer's writes came to.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// The reasons of the writes that were acknowledged, each with the revision that the answer named.
    pub acknowledged: Vec<(String, u64)>,
    /// The reasons of the writes that nobody acknowledged.
    pub unknown: Vec<String>,
    /// How many acknowledged writes had lost their first answer on purpose.
    pub first_answer_lost: u64,
    /// The longest time that one client had nothing acknowledged.
    pub longest_wait: Duration,
}

/// Clients that write counters of their own, one after the other, each write under its own `Idempotency-Key` and
/// retried on another node. Of every `lose_one_in` writes, one loses its first answer.
#[derive(Debug)]
pub struct Writers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Written>>,
    acknowledged: Arc<AtomicU64>,
}

impl Writers {
    /// Starts `clients` of them, which leave the nodes some of the machine.
    pub async fn start(cluster: &Cluster, clients: u64, lose_one_in: Option<u64>) -> Self {
        Self::start_on("load", &cluster.admins(), clients, lose_one_in).await
    }

    /// Starts `clients` of them, which write as fast as they are answered.
    pub async fn at_full_speed(cluster: &Cluster, clients: u64) -> Self {
        Self::with_pause("load", &cluster.admins(), clients, None, Duration::ZERO).await
    }

    /// Starts `clients` of them on these nodes. `name` tells their flags and requests from those of other writers.
    pub async fn start_on(name: &str, nodes: &[Api], clients: u64, lose_one_in: Option<u64>) -> Self {
        Self::with_pause(name, nodes, clients, lose_one_in, Duration::from_millis(2)).await
    }

    async fn with_pause(
        name: &str,
        nodes: &[Api],
        clients: u64,
        lose_one_in: Option<u64>,
        pause: Duration,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut tasks = Vec::new();
        for client in 0..clients {
            let nodes = nodes.to_vec();
            let mut losers = Vec::new();
            for node in &nodes {
                losers.push(LostAnswers::before(node.base()).await);
            }
            let (stop, acknowledged) = (stop.clone(), acknowledged.clone());
            let flag = format!("{name}-{client}");
            let writer = Writer { flag, nodes, losers, lose_one_in, pause, stop, acknowledged };
            tasks.push(tokio::spawn(writer.run()));
        }
        Self { stop, tasks, acknowledged }
    }

    /// How many writes were acknowledged so far, by all clients.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until more than `count` writes were acknowledged, by all clients.
    ///
    /// # Panics
    /// They are not within `limit`.
    pub async fn beyond(&self, count: u64, limit: Duration) {
        wait::until_true("the load to go on", limit, || async { self.acknowledged() > count }).await;
    }

    /// Lets each client finish its write, and gives what all came to.
    pub async fn finish(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Written::default();
        for task in self.tasks {
            let one = task.await.expect("a writer does not panic");
            all.acknowledged.extend(one.acknowledged);
            all.unknown.extend(one.unknown);
            all.first_answer_lost += one.first_answer_lost;
            all.longest_wait = all.longest_wait.max(one.longest_wait);
        }
        all
    }
}

struct Writer {
    flag: String,
    nodes: Vec<Api>,
    losers: Vec<LostAnswers>,
    lose_one_in: Option<u64>,
    pause: Duration,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

impl Writer {
    async fn run(self) -> Written {
        let Self { flag, nodes, losers, lose_one_in, pause, stop, acknowledged } = self;
        let path = format!("/api/v1/projects/{PROJECT}/changes");
        let (mut written, mut last) = (Written::default(), Instant::now());
        for count in 1.. {
            if stop.load(Ordering::SeqCst) {
                break;
            }
            let reason = format!("{flag} is {count}");
            let key = format!("{flag}-{count}");
            let body = json!({"reason": reason, "operations": [put(&counter(&flag, count, false))]});
            let first = usize::try_from(count).expect("a small number") % nodes.len();
            let mut lost = false;
            if lose_one_in.is_some_and(|n| count % n == 0) {
                let before = losers[first].lost();
                let proxy = nodes[first].at(losers[first].base());
                let unanswered =
                    proxy.post(&path, &body).idempotent(&key).within(ATTEMPT).send().await.is_err();
                lost = unanswered && losers[first].lost() > before;
            }
            // A lost answer is asked for again of the next node.
            let answer = write_anywhere(&nodes, first + usize::from(lost), &key, &path, &body).await;
            match answer {
                Some(answer) => {
                    assert!(answer.is_success(), "a good write was refused: {answer:?}");
                    let revision = answer.body["revision"].as_u64().expect("a change has a revision");
                    written.acknowledged.push((reason, revision));
                    written.first_answer_lost += u64::from(lost);
                    written.longest_wait = written.longest_wait.max(last.elapsed());
                    last = Instant::now();
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
                None => written.unknown.push(reason),
            }
            if !pause.is_zero() {
                pace(pause).await;
            }
        }
        written
    }
}

/// One client for each node that goes on reading an ordinary flag there, which nobody changes meanwhile.
#[derive(Debug)]
pub struct Readers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
    answered: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Readers {
    /// Starts one for each node, with a token that evaluates `flag`, whose value is this one.
    pub fn start(cluster: &Cluster, secret: &str, flag: &str, value: &Value) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let failures = Arc::new(Mutex::new(Vec::new()));
        let tasks = cluster
            .ids()
            .into_iter()
            .map(|id| {
                let node = cluster.with_token(id, secret);
                let liveness = cluster.liveness(id);
                let read = Read { id, node, flag: flag.to_owned(), value: value.clone() };
                tokio::spawn(read.on(liveness, stop.clone(), answered.clone(), failures.clone()))
            })
            .collect();
        Self { stop, tasks, answered, failures }
    }

    /// How many reads were answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Stops them and gives what failed on nodes that lived through the read.
    pub async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.expect("a reader does not panic");
        }
        let failures = self.failures.lock().expect("no holder panics");
        failures.clone()
    }
}

/// What one client reads, and where.
struct Read {
    id: u64,
    node: Api,
    flag: String,
    value: Value,
}

impl Read {
    async fn on(
        self,
        liveness: Liveness,
        stop: Arc<AtomicBool>,
        answered: Arc<AtomicU64>,
        failures: Arc<Mutex<Vec<String>>>,
    ) {
        while !stop.load(Ordering::SeqCst) {
            let Some(life) = liveness.life() else {
                pace(Duration::from_millis(5)).await;
                continue;
            };
            match self.once().await {
                Ok(()) => {
                    answered.fetch_add(1, Ordering::SeqCst);
                }
                Err(failure) if liveness.lasted(life) => {
                    failures.lock().expect("no holder panics").push(failure)
                }
                // Its node died under it.
                Err(_) => {}
            }
            pace(Duration::from_millis(4)).await;
        }
    }

    /// An answer that counts is the right value, from the node's own state: an ordinary read waits for nobody.
    async fn once(&self) -> Result<(), String> {
        let id = self.id;
        match self.node.evaluate(&self.flag, &json!({"targetingKey": "reader"})).send().await {
            Ok(answer)
                if answer.status == 200
                    && answer.value() == &self.value
                    && answer.header("flagraft-consistency") == Some("local") =>
            {
                Ok(())
            }
            Ok(answer) => Err(format!("node {id}: {answer:?}")),
            Err(error) => Err(format!("node {id}: {error:?}")),
        }
    }
}
