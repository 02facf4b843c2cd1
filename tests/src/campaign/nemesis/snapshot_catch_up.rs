//! A node is held back, dead or cut off, until the others have purged what it lacks; then it is let go, and has to be sent
//! a snapshot while clients write.

use std::time::{Duration, Instant};

use flagraft_chaos::dice::Dice;
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    Ground, Wrong,
    asked::Asked,
    network::Link,
    question::{SAID_WITHIN, raft_index},
    trial::line_with,
};
use crate::{api::Api, catalog::PROJECT, links::Flow, metrics::Metrics, wait};

/// A snapshot is made after so many entries, in a run in which this is done.
pub(in crate::campaign) const SNAPSHOT_AFTER: u64 = 150;
/// So many entries are kept although a snapshot covers them.
pub(in crate::campaign) const KEEP: u64 = 20;
/// So many entries may lie on a link that is held, as one message, and arrive when it is let go.
const ON_THE_WAY: u64 = 256;

/// What the log of a node says once it has taken over a snapshot.
const INSTALLED: &str = "a snapshot is installed";
/// How long a node that was let go may take for that. Then it was not far enough behind, and is held back again.
const INSTALLED_WITHIN: Duration = Duration::from_secs(8);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// How many make entries that change nothing, and what each waits after one.
const FILLERS: usize = 4;
const FILL_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct SnapshotCatchUp {
    node: u64,
    how: How,
    state: State,
    /// How much of the node's log was there before.
    log_bytes: usize,
}

/// How a node is held back.
enum How {
    Dead,
    CutOff { links: Vec<Link> },
}

enum State {
    Free,
    Held { far_behind: Asked<u64>, cut: Option<u64> },
    LetGo { since: Instant, entries: u64 },
}

impl SnapshotCatchUp {
    pub(super) fn of(nodes: &[u64], ground: &Ground, dice: &mut Dice) -> Self {
        let node = nodes.first().copied().expect("one node");
        let links = ground.network.around(&[node]);
        let how = if dice.percent(50) { How::Dead } else { How::CutOff { links } };
        Self { node, how, state: State::Free, log_bytes: 0 }
    }

    fn hold(&mut self, ground: &mut Ground) {
        let cut = match &self.how {
            How::Dead => {
                ground.kill(&[self.node]);
                None
            }
            How::CutOff { links } => {
                Some(ground.network.put(links.iter().map(|link| (*link, Flow::Held)).collect()))
            }
        };
        let others =
            ground.ids().into_iter().filter(|id| *id != self.node).map(|id| ground.cluster.admin(id));
        self.state = State::Held { far_behind: Asked::of(far_behind(others.collect())), cut };
    }

    fn let_go(&mut self, ground: &mut Ground) {
        if let State::Held { far_behind, cut } = &self.state {
            let entries = far_behind.answer().copied().unwrap_or_default();
            match cut {
                None => ground.start(self.node),
                Some(cut) => ground.network.take_away(*cut),
            }
            self.state = State::LetGo { since: Instant::now(), entries };
        }
    }
}

impl Wrong for SnapshotCatchUp {
    fn begin(&mut self, ground: &mut Ground) {
        self.log_bytes = ground.cluster.log(self.node).len();
        self.hold(ground);
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        match &self.state {
            State::Held { far_behind, .. } if far_behind.answer().is_some() => self.let_go(ground),
            State::LetGo { since, entries } => {
                if let Some(said) = installed(&ground.cluster.log(self.node), self.log_bytes) {
                    let held = if matches!(self.how, How::Dead) { "dead" } else { "cut off" };
                    return Some(format!("after {entries} entries, {held}, node {} said: {said}", self.node));
                }
                if since.elapsed() > INSTALLED_WITHIN && ground.serves(self.node) {
                    self.hold(ground);
                }
            }
            State::Free | State::Held { .. } => {}
        }
        None
    }

    fn end(&mut self, ground: &mut Ground) {
        self.let_go(ground);
    }
}

/// Waits until each of the others has purged what the held one lacks; gives how many entries were committed meanwhile.
/// Clients that also ask a node which is cut off wait for it most of the time, so entries are made for it that change
/// nothing.
async fn far_behind(others: Vec<Api>) -> u64 {
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        fillers.spawn(fill(others[filler % others.len()].clone()));
    }
    let first = loop {
        if let Some(logs) = logs(&others).await {
            break logs.committed;
        }
        wait::pace(PAUSE).await;
    };
    loop {
        if let Some(logs) = logs(&others).await
            && logs.purged > first + ON_THE_WAY
        {
            return logs.committed - first;
        }
        wait::pace(PAUSE).await;
    }
}

/// Has changes recorded that change nothing, through one node.
async fn fill(node: Api) {
    let project = json!({"op": "project.put", "project": {"key": PROJECT, "name": PROJECT}});
    loop {
        // Whether it was done does not matter: it is counted by the entries.
        let _ =
            node.change(PROJECT, "nothing changes", vec![project.clone()]).within(SAID_WITHIN).send().await;
        wait::pace(FILL_PAUSE).await;
    }
}

/// What all of some nodes have in their logs.
struct Logs {
    /// The last entry that one of them knows to be committed.
    committed: u64,
    /// The last entry that each of them has purged.
    purged: u64,
}

/// Asks all of them; nothing if one does not answer.
async fn logs(nodes: &[Api]) -> Option<Logs> {
    let mut all = Logs { committed: 0, purged: u64::MAX };
    for node in nodes {
        let metrics = Metrics::said_by(node, SAID_WITHIN).await?;
        all.committed = all.committed.max(raft_index(&metrics, "committed"));
        all.purged = all.purged.min(raft_index(&metrics, "purged"));
    }
    Some(all)
}

/// What a log says of a snapshot after so many bytes.
fn installed(log: &str, after: usize) -> Option<&str> {
    line_with(log.get(after..)?, INSTALLED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_before_is_none_of_now() {
        let before = "12:00 INFO a snapshot is installed entry=7\n";
        assert_eq!(installed(before, before.len()), None);
        let log = format!("{before}12:01 INFO ready\n12:02 INFO a snapshot is installed entry=9\n");
        assert_eq!(installed(&log, before.len()), Some("a snapshot is installed entry=9"));
    }
}
