//! A follower of the environment's stream, which keeps the last id and goes on from there, through whatever node.

use std::time::Duration;

use flagraft_chaos::operation::{Did, Event};

use super::{Actor, index};
use crate::{
    catalog::{ENVIRONMENT, PROJECT},
    followers::{all_counts, changed_counts, number},
    stream::{self, Stream},
};

/// How long a stream may be silent before its follower looks for another node: that one may be paused. A node that is not
/// says something every five seconds.
const PATIENCE: Duration = Duration::from_secs(7);

impl Actor {
    /// Follows through a node until so many events came, or it breaks off or falls silent.
    pub(super) async fn follow(&mut self, node: u64, events_max: u64) {
        let shared = &self.shared;
        let path = format!("/api/v1/projects/{PROJECT}/environments/{ENVIRONMENT}/stream");
        let mut call = shared.readers[index(node)].get(&path);
        let after = self.last_event;
        if let Some(after) = after {
            call = call.header("last-event-id", format!("{}.{after}", shared.history));
        }
        let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, call.begin()).await else { return };
        match answer.status().as_u16() {
            200 => {}
            503 => return,
            _ => {
                let odd = format!("a good request for a stream was answered: {answer:?}");
                shared.odd.lock().expect("no holder panics").push(odd);
                return;
            }
        }
        self.note(node, None, Event::Asked { after });
        let mut stream = Stream::of(answer);
        for _ in 0..events_max {
            let event = tokio::select! {
                event = tokio::time::timeout(PATIENCE, stream.next()) => event,
                _ = self.stop.wait_for(|stop| *stop) => return,
            };
            let Ok(Some(event)) = event else { return };
            let revision = event.revision();
            let event = self.understood(&event);
            self.note(node, Some(revision), event);
            self.last_event = Some(revision);
        }
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
