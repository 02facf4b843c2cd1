//! A cluster in the test's own process: nodes that answer as they are told to, well or badly, and clocks that jump.

#![allow(dead_code, unused_imports, reason = "not every file uses all of it")]

#[path = "../../../core/tests/common/mod.rs"]
mod catalog;
mod node;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use flagraft_client::{Builder, Client, Clock, Context};
use serde_json::{Value, json};
use tokio::time::timeout;

pub use self::node::{Mode, Node, Reporting, Truth};

/// A catalog that gives its definitions.
pub struct TestCatalog(catalog::Catalog);

impl TestCatalog {
    pub fn new(environments: &[&str]) -> Self {
        Self(catalog::Catalog::new(environments))
    }

    /// Makes a change that must be accepted.
    pub fn must(&mut self, operations: Value) {
        self.0.must(operations);
    }

    /// The definitions of an environment, as a node gives them.
    pub fn snapshot(&self, environment: &str) -> String {
        node::snapshot_of(&self.0.state, environment)
    }
}

/// The environment that all tests use.
pub const ENVIRONMENT: &str = "dev";
/// The token that the nodes take.
pub const TOKEN: &str = "fr_svc_test";
/// Longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(20);

/// Waits for something that must come.
pub async fn soon<T>(what: &str, coming: impl Future<Output = T>) -> T {
    timeout(LONG, coming).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

/// Waits until something is so that no event tells of, asking often.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    soon(what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// A client of these nodes that is in more of a hurry than others.
pub fn client(nodes: &[&Node]) -> Builder {
    Client::builder()
        .endpoints(nodes.iter().map(|node| node.url()))
        .token(TOKEN)
        .connect_timeout(Duration::from_millis(500))
        .request_timeout(Duration::from_millis(500))
        .hedge_after(Duration::from_millis(50))
        .heartbeat(Duration::from_millis(100))
        .probe_every(Duration::from_millis(20))
        .probe_every_critical(Duration::from_millis(20))
        .reconnect_spread(Duration::from_millis(20))
        .backoff_min(Duration::from_millis(5))
        .backoff_max(Duration::from_millis(50))
        .catch_up(Duration::from_millis(300))
        .save_every(Duration::from_millis(10))
}

/// A boolean flag that is on or off for everybody.
pub fn flag(key: &str, is_on: bool) -> Value {
    json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "environments": {ENVIRONMENT: {"enabled": true, "default": {"variant": if is_on { "on" } else { "off" }}}}})
}

/// The same, critical; off is safe.
pub fn critical(key: &str, is_on: bool) -> Value {
    let mut flag = flag(key, is_on);
    flag["critical"] = json!(true);
    flag["safe_variant"] = json!("off");
    flag
}

/// A flag that asks for its evaluations to be counted.
pub fn audited(key: &str, audit_evaluations: &str) -> Value {
    let mut flag = flag(key, true);
    flag["audit_evaluations"] = json!(audit_evaluations);
    flag
}

/// The change that puts flags.
pub fn put(flags: impl IntoIterator<Item = Value>) -> Value {
    flags.into_iter().map(|flag| json!({"op": "flag.put", "flag": flag})).collect()
}

/// Clocks that stand still until they are moved.
#[derive(Debug)]
pub struct TestClock {
    boot_nanos: AtomicU64,
    wall_ms: AtomicI64,
}

impl TestClock {
    pub fn new() -> Arc<Self> {
        // An hour after the start of the machine, in the year 2027.
        let boot_nanos = AtomicU64::new(3_600_000_000_000);
        Arc::new(Self { boot_nanos, wall_ms: AtomicI64::new(1_800_000_000_000) })
    }

    /// Time goes by, whether the machine sleeps or not.
    pub fn advance(&self, time: Duration) {
        self.boot_nanos.fetch_add(u64::try_from(time.as_nanos()).expect("not so long"), Ordering::SeqCst);
        self.set_wall(i64::try_from(time.as_millis()).expect("not so long"));
    }

    /// Somebody sets the clock.
    pub fn set_wall(&self, by_ms: i64) {
        self.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn boot_nanos(&self) -> u64 {
        self.boot_nanos.load(Ordering::SeqCst)
    }

    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }
}

/// A service at work: a thread that evaluates all the time, whatever happens to its client.
pub struct Service {
    work: Arc<Work>,
    thread: thread::JoinHandle<()>,
}

#[derive(Default)]
struct Work {
    stop: AtomicBool,
    begun: AtomicU64,
    returned: AtomicU64,
    longest_nanos: AtomicU64,
}

/// So many evaluations are what a service does at least before anything is concluded from it.
const EVALUATIONS_MIN: u64 = 2_000;

impl Service {
    /// Begins to work.
    pub fn of(client: &Client) -> Self {
        let work = Arc::new(Work::default());
        let (client, worked) = (client.clone(), Arc::clone(&work));
        let thread = thread::spawn(move || {
            let context = Context::of("u1");
            while !worked.stop.load(Ordering::Relaxed) {
                for key in ["plain", "kill", "no-such-flag"] {
                    worked.begun.fetch_add(1, Ordering::Relaxed);
                    let begun = Instant::now();
                    let value = client.bool_value(key, &context, false);
                    assert!(!value || key != "no-such-flag");
                    let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    worked.longest_nanos.fetch_max(took, Ordering::Relaxed);
                    worked.returned.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { work, thread }
    }

    /// Ends the work: every evaluation has returned.
    pub async fn lived(self, through: &str) {
        let Self { work, thread } = self;
        until("enough evaluations", || work.returned.load(Ordering::Relaxed) >= EVALUATIONS_MIN).await;
        work.stop.store(true, Ordering::Relaxed);
        until("the last evaluation", || thread.is_finished()).await;
        thread.join().expect("no evaluation panicked");
        let (begun, returned) = (work.begun.load(Ordering::Relaxed), work.returned.load(Ordering::Relaxed));
        let longest_us = work.longest_nanos.load(Ordering::Relaxed) / 1_000;
        println!(
            "{through}: {begun} evaluations, {} did not return; the longest took {longest_us} us",
            begun - returned
        );
        assert_eq!(begun - returned, 0, "evaluations that did not return, with {through}");
    }
}
