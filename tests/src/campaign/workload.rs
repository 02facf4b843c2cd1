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
    schedule::workload::{Action, Ask, Client, Profile, Role, Step},
};
use tokio::{sync::watch, task::JoinSet};

pub use self::write::reason;
use super::stage::{Stage, Starts, index};
use crate::{
    api::{Answer, Api},
    wait,
};

/// How many writes, confirmed reads and events of a stream have to go through a node to show that it is back.
const GOES_ON: u64 = 3;

/// Clients that go on until they are told to stop.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    clients: JoinSet<Actor>,
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
    /// The greatest revision of an acknowledged write.
    acknowledged: AtomicU64,
    /// Answers that no request of these clients should get, whatever happens to the nodes.
    odd: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Served {
    writes: AtomicU64,
    confirmed: AtomicU64,
    events: AtomicU64,
}

/// A client at work.
#[derive(Debug)]
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
            acknowledged: AtomicU64::new(stage.revision),
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

    /// Waits until some more writes were acknowledged, reads confirmed and events sent through every node.
    ///
    /// # Errors
    /// They are not within `limit`: through which nodes.
    pub async fn goes_on_within(&self, limit: Duration) -> Result<(), String> {
        let counts = || self.shared.served.iter().map(Served::counts);
        let before: Vec<_> = counts().collect();
        wait::tried(limit, || async {
            let behind: Vec<String> = (1..)
                .zip(counts().zip(&before))
                .filter_map(|(node, (now, before))| {
                    let [writes, reads, events] = [0, 1, 2].map(|what| now[what] - before[what]);
                    let is_behind = writes.min(reads).min(events) < GOES_ON;
                    is_behind.then(|| {
                        format!(
                            "{writes} writes were acknowledged, {reads} reads confirmed and {events} events sent through node {node}"
                        )
                    })
                })
                .collect();
            if behind.is_empty() { Ok(()) } else { Err(behind.join(", ")) }
        })
        .await
    }

    /// Lets each client finish what it does, and gives the answers that none of them should have got. Then, of a cluster
    /// that has healed, the last writes are read through every node, and every follower is to be sent all of them.
    pub async fn finish(mut self, has_healed: bool) -> Vec<String> {
        self.stop.send_replace(true);
        let (mut odd, mut actors) = (Vec::new(), Vec::new());
        while let Some(ended) = self.clients.join_next().await {
            match ended {
                Ok(actor) => actors.push(actor),
                Err(error) => odd.push(format!("a client could not go on: {error}")),
            }
        }
        if has_healed {
            odd.append(&mut last_things(actors, self.shared.served.len() as u64).await);
        }
        odd.append(&mut self.shared.odd.lock().expect("no holder panics"));
        odd
    }
}

/// What clients do when nothing is written any more: gives what went wrong.
async fn last_things(actors: Vec<Actor>, nodes: u64) -> Vec<String> {
    let (followers, mut others): (Vec<_>, Vec<_>) =
        actors.into_iter().partition(|actor| matches!(actor.client.role(), Role::Follower));
    if let Some(reader) = others.first_mut() {
        for node in 1..=nodes {
            reader.read(node, None, Ask::Linearizable).await;
        }
    }
    // Each through another node.
    let mut following: JoinSet<_> = (1..=nodes)
        .cycle()
        .zip(followers)
        .map(|(node, mut follower)| async move { follower.catch_up(node).await })
        .collect();
    let mut odd = Vec::new();
    while let Some(ended) = following.join_next().await {
        odd.extend(ended.unwrap_or_else(|error| Err(format!("a follower could not go on: {error}"))).err());
    }
    odd
}

impl Served {
    /// Writes, confirmed reads and events.
    fn counts(&self) -> [u64; 3] {
        [&self.writes, &self.confirmed, &self.events].map(|count| count.load(Ordering::Relaxed))
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
    /// Until it is told to stop.
    async fn run(mut self) -> Self {
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
        self
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
