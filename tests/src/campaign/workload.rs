//! The clients: each does what its part of the schedule says, over the public API, and notes it.

mod follow;
mod read;
mod write;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flagraft_chaos::{
    recorder::Recorder,
    schedule::workload::{Action, Client, Profile, Role, Step},
};
use tokio::{sync::watch, task::JoinSet};

pub use self::write::reason;
use super::stage::{Stage, Starts, index};
use crate::{
    api::{Answer, Api},
    wait,
};

/// How many writes and confirmed reads have to go through a node to show that it is back.
const GOES_ON: u64 = 3;

/// Clients that go on until they are told to stop.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

/// What all clients have in common.
#[derive(Debug)]
struct Shared {
    recorder: Arc<Recorder>,
    writers: Vec<Api>,
    readers: Vec<Api>,
    starts: Starts,
    history: String,
    profile: Profile,
    /// What went well through each node.
    served: Vec<Served>,
    /// Answers that no request of these clients should get, whatever happens to the nodes.
    odd: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Served {
    writes: AtomicU64,
    confirmed: AtomicU64,
}

/// A client at work.
struct Actor {
    client: Client,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
    /// The greatest revision that it has seen.
    seen: u64,
    /// The last event of the stream that it follows.
    last_event: Option<u64>,
}

impl Workload {
    /// Starts all of them.
    pub fn start(stage: &Stage, clients: Vec<Client>) -> Self {
        let served = stage.readers.iter().map(|_| Served::default()).collect();
        let shared = Arc::new(Shared {
            recorder: Arc::clone(&stage.recorder),
            writers: stage.writers.clone(),
            readers: stage.readers.clone(),
            starts: stage.starts.clone(),
            history: stage.history.clone(),
            profile: stage.profile.clone(),
            served,
            odd: Mutex::default(),
        });
        let stop = watch::Sender::new(false);
        let actor = |client| Actor {
            client,
            shared: Arc::clone(&shared),
            stop: stop.subscribe(),
            seen: stage.revision,
            last_event: None,
        };
        let clients = clients.into_iter().map(|client| actor(client).run()).collect();
        Self { shared, stop, clients }
    }

    /// Waits until some more writes were acknowledged and some more reads confirmed through every node.
    ///
    /// # Errors
    /// They are not within `limit`: through which nodes.
    pub async fn goes_on_within(&self, limit: Duration) -> Result<(), String> {
        let counts = || self.shared.served.iter().map(Served::counts);
        let before: Vec<_> = counts().collect();
        wait::tried(limit, || async {
            let behind: Vec<String> = (1..)
                .zip(counts().zip(&before))
                .filter(|(_, (now, before))| now.0 < before.0 + GOES_ON || now.1 < before.1 + GOES_ON)
                .map(|(node, (now, before))| {
                    let (writes, reads) = (now.0 - before.0, now.1 - before.1);
                    format!(
                        "{writes} writes were acknowledged and {reads} reads confirmed through node {node}"
                    )
                })
                .collect();
            if behind.is_empty() { Ok(()) } else { Err(behind.join(", ")) }
        })
        .await
    }

    /// Lets each client finish what it does, and gives the answers that none of them should have got.
    pub async fn finish(mut self) -> Vec<String> {
        self.stop.send_replace(true);
        let mut odd = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            if let Err(error) = ended {
                odd.push(format!("a client could not go on: {error}"));
            }
        }
        odd.append(&mut self.shared.odd.lock().expect("no holder panics"));
        odd
    }
}

impl Served {
    fn counts(&self) -> (u64, u64) {
        (self.writes.load(Ordering::Relaxed), self.confirmed.load(Ordering::Relaxed))
    }
}

impl Shared {
    fn served(&self, node: u64) -> &Served {
        &self.served[index(node)]
    }

    fn note_odd(&self, answer: &Answer, what: &str) {
        self.odd.lock().expect("no holder panics").push(format!("{what}: {answer:?}"));
    }
}

impl Actor {
    async fn run(mut self) {
        while !*self.stop.borrow() {
            let Step { think_us, node, action } = self.client.next_step();
            wait::pace(Duration::from_micros(think_us)).await;
            match action {
                Action::Write { set } => self.write(node, set).await,
                Action::Read { flag, ask } => self.read(node, Some(flag), ask).await,
                Action::ReadAll { ask } => self.read(node, None, ask).await,
                Action::Follow { events_max } => self.follow(node, events_max).await,
            }
        }
    }

    /// Reads through one node are a session until that is started again.
    fn session(&self) -> Option<u64> {
        match self.client.role() {
            Role::Session { node } => {
                Some((u64::from(self.client.number()) << 32) | self.shared.starts.of_node(node))
            }
            Role::Writer | Role::Reader | Role::Follower => None,
        }
    }
}
