//! A follower of the environment's stream, which keeps the last id and goes on from there, through whatever node.

use std::{sync::atomic::Ordering, time::Duration};

use flagraft_chaos::operation::{Did, Event};

use super::{Actor, index};
use crate::{
    catalog::{ENVIRONMENT, PROJECT},
    followers::{all_counts, changed_counts, number},
    stream::{self, Stream},
    wait,
};

/// How long a stream may be silent before its follower looks for another node: that one may be paused. A node that is not
/// says something every five seconds.
const PATIENCE: Duration = Duration::from_secs(7);

/// How long a node of a healed cluster may take to send a follower all that it lacks.
const CATCHES_UP_WITHIN: Duration = Duration::from_secs(10);
/// Before one that was turned away asks again.
const PAUSE: Duration = Duration::from_millis(50);

impl Actor {
    /// Follows through a node until so many events came, or it breaks off or falls silent.
    pub(super) async fn follow(&mut self, node: u64, events_max: u64) {
        let Some(mut stream) = self.open(node).await else { return };
        for _ in 0..events_max {
            let event = tokio::select! {
                event = tokio::time::timeout(PATIENCE, stream.next()) => event,
                _ = self.stop.wait_for(|stop| *stop) => return,
            };
            let Ok(Some(event)) = event else { return };
            self.take(node, &event);
        }
    }

    /// Follows through a node until everything has come that was acknowledged. Nobody writes any more.
    pub(super) async fn catch_up(&mut self, node: u64) -> Result<(), String> {
        let last = self.shared.acknowledged.load(Ordering::Relaxed);
        let coming = async {
            while self.last_event < Some(last) {
                let Some(mut stream) = self.open(node).await else {
                    wait::pace(PAUSE).await;
                    continue;
                };
                while self.last_event < Some(last)
                    && let Some(event) = stream.next().await
                {
                    self.take(node, &event);
                }
            }
        };
        tokio::time::timeout(CATCHES_UP_WITHIN, coming).await.map_err(|_| {
            format!(
                "the stream through node {node} got to revision {:?}, and not to {last}, within {CATCHES_UP_WITHIN:?}",
                self.last_event
            )
        })
    }

    /// Asks a node for what is after the last event.
    async fn open(&self, node: u64) -> Option<Stream> {
        let shared = &self.shared;
        let path = format!("/api/v1/projects/{PROJECT}/environments/{ENVIRONMENT}/stream");
        let mut call = shared.readers[index(node)].get(&path);
        let after = self.last_event;
        if let Some(after) = after {
            call = call.header("last-event-id", format!("{}.{after}", shared.history));
        }
        let answer = tokio::time::timeout(PATIENCE, call.begin()).await.ok()?.ok()?;
        match answer.status().as_u16() {
            200 => {
                self.note(node, None, Event::Asked { after });
                Some(Stream::of(answer))
            }
            503 => None,
            _ => {
                let odd = format!("a good request for a stream was answered: {answer:?}");
                shared.odd.lock().expect("no holder panics").push(odd);
                None
            }
        }
    }

    fn take(&mut self, node: u64, event: &stream::Event) {
        let revision = event.revision();
        let understood = self.understood(event);
        self.note(node, Some(revision), understood);
        self.last_event = Some(revision);
        self.shared.served(node).events.fetch_add(1, Ordering::Relaxed);
    }

    fn note(&self, node: u64, revision: Option<u64>, event: Event) {
        let client = self.client.number();
        let did = Did::Stream { stream: client.into(), event };
        self.shared.recorder.note(client, node, revision, did).expect("noted");
    }

    /// # Panics
    /// It is no event of this stream.
    fn understood(&self, event: &stream::Event) -> Event {
        match event.kind.as_str() {
            "snapshot" => {
                let counts = all_counts(&event.data);
                let known = |flag: String| {
                    let count = counts.get(&flag).copied();
                    (flag, count)
                };
                let flags = self.shared.profile.flags().map(known).collect();
                Event::Snapshot { touched: number(event, "environment_revision"), flags }
            }
            "change" => {
                let mut set = changed_counts(&event.data);
                // Followers of different nodes are compared.
                set.sort_unstable();
                Event::Change { previous: number(event, "previous"), set }
            }
            "progress" => Event::Progress { touched: number(event, "environment_revision") },
            other => panic!("a stream sent an event of the kind {other:?}"),
        }
    }
}
