//! What openraft says about itself, in this crate's words, and what follows from it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use openraft::{Raft, RaftMetrics, ServerState, async_runtime::watch::WatchReceiver};
use tokio::sync::watch;

use super::{
    log_store::LogStore,
    state_machine::StateMachine,
    types::{MemberStatus, RaftRole, RaftStatus, TypeConfig},
};
use crate::{clock::BootTime, peer::PeerClient, storage::Storage};

/// Translates openraft's metrics.
pub(super) fn of(metrics: &RaftMetrics<TypeConfig>, published: Option<u64>) -> RaftStatus {
    let membership = metrics.membership_config.membership();
    let voters: Vec<u64> = membership.voter_ids().collect();
    let members = membership
        .nodes()
        .map(|(id, meta)| (*id, MemberStatus { meta: meta.clone(), voter: voters.contains(id) }))
        .collect();
    let running = metrics.running_state.is_ok();
    let matched = metrics.replication.iter().flatten();
    RaftStatus {
        node_id: metrics.id,
        term: metrics.current_term,
        leader: metrics.current_leader,
        role: match metrics.state {
            _ if !running => RaftRole::Stopped,
            ServerState::Leader => RaftRole::Leader,
            ServerState::Follower => RaftRole::Follower,
            ServerState::Candidate => RaftRole::Candidate,
            ServerState::Learner => RaftRole::Learner,
            ServerState::Shutdown => RaftRole::Stopped,
        },
        members,
        last_log: metrics.last_log_index,
        committed: metrics.local_committed.map(|id| id.index),
        applied: metrics.last_applied.map(|id| id.index),
        published,
        snapshot: metrics.snapshot.map(|id| id.index),
        purged: metrics.purged.map(|id| id.index),
        matched: matched.map(|(id, upto)| (*id, upto.map(|log_id| log_id.index))).collect(),
        running,
    }
}

/// What a node follows of its own Raft.
pub(super) struct Watched {
    /// Whom it takes for the leader.
    pub(super) leader: watch::Receiver<Option<u64>>,
    /// When it last heard, as the leader, that a quorum follows it. `None` while it does not lead.
    pub(super) heard: watch::Receiver<Option<BootTime>>,
}

/// Follows openraft's metrics for as long as it runs: tells who leads and when that was last heard of, keeps the peers' address book up to date and
/// the log within its bytes, and ends the process when Raft stopped without being asked to; unless that was because
/// the disk refused a write: then what is published goes on being read.
pub(super) fn watch(
    raft: Raft<TypeConfig, StateMachine>,
    log: LogStore,
    peers: PeerClient,
    storage: Arc<Storage>,
    stopping: Arc<AtomicBool>,
) -> Watched {
    let mut metrics = raft.metrics();
    let (tell, leader) = watch::channel(None);
    let (hear, heard) = watch::channel(None);
    tokio::spawn(async move {
        let mut known = None;
        let mut acknowledged = None;
        let mut compaction = Compaction::default();
        loop {
            // Copied, because a borrow held across an await can block Raft's core; and only what is needed, because
            // this runs whenever Raft's core has done anything.
            let (membership, current_leader, acknowledged_now, progress) = {
                let now = metrics.borrow_watched();
                let progress = Progress {
                    snapshot: now.snapshot.map(|id| id.index),
                    applied: now.last_applied.map(|id| id.index),
                };
                (Arc::clone(&now.membership_config), now.current_leader, now.last_quorum_acked, progress)
            };
            if known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &membership)) {
                for (id, meta) in membership.membership().nodes() {
                    peers.learn(*id, meta);
                }
                peers.keep_members(|id| membership.membership().get_node(&id).is_some());
                known = Some(membership);
            }
            tell.send_if_modified(|leader| {
                let changed = *leader != current_leader;
                *leader = current_leader;
                changed
            });
            // It is the time at which was sent what a quorum has acknowledged; this is when it is heard of.
            if acknowledged != acknowledged_now {
                acknowledged = acknowledged_now;
                hear.send_replace(acknowledged.map(|_| BootTime::now()));
            }
            compaction.step(&raft, &log, progress).await;
            let gone = metrics.changed().await.is_err();
            let failure = metrics.borrow_watched().running_state.as_ref().err().map(ToString::to_string);
            // A core that panicked is gone without a last word.
            let failure = failure.or(gone.then(|| "it panicked".to_owned()));
            if let Some(failure) = failure.filter(|_| !stopping.load(Ordering::Acquire)) {
                match storage.refused() {
                    Some(why) => tracing::error!("the disk takes no writes, so Raft has stopped: {why}"),
                    None => storage.fatal(&format!("Raft has stopped: {failure}")),
                }
            }
            if gone {
                break;
            }
        }
    });
    Watched { leader, heard }
}

/// The last entries of the newest snapshot and of the state.
#[derive(Clone, Copy)]
struct Progress {
    snapshot: Option<u64>,
    applied: Option<u64>,
}

/// Keeps the log within its bytes: asks for a snapshot where that is missing, then for the purge it allows.
#[derive(Default)]
struct Compaction {
    /// The snapshot there was when the last one was asked for.
    asked_at: Option<Option<u64>>,
    /// The last purge asked for.
    purged: Option<u64>,
}

impl Compaction {
    async fn step(&mut self, raft: &Raft<TypeConfig, StateMachine>, log: &LogStore, now: Progress) {
        let Some(excess) = log.size().excess() else { return };
        let snapshot = now.snapshot;
        let asked = if snapshot >= Some(excess) {
            if self.purged >= Some(excess) {
                return;
            }
            self.purged = Some(excess);
            raft.trigger().purge_log(excess).await
        } else {
            // Not every change of the metrics is a reason to ask again: only a snapshot that was not far enough.
            if self.asked_at == Some(snapshot) || now.applied < Some(excess) {
                return;
            }
            self.asked_at = Some(snapshot);
            raft.trigger().snapshot().await
        };
        if let Err(error) = asked {
            tracing::debug!(%error, "the log is not compacted, for Raft has stopped");
        }
    }
}
