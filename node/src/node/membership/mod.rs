//! Membership: who belongs to the cluster, and how that changes.
//!
//! What the members are *meant* to be is in the log, as the seats of [`flagraft_core::seat`]. Every change of it is a
//! proposal with its reason and its record. What Raft takes them for follows: the [`Steward`] of the node that leads
//! takes one step after the other (`plan`) until the two agree, whoever stated the change and whoever led then. Only
//! a new member does not come by itself: it asks the leader to be taken in (`admission`).

mod admission;
mod plan;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flagraft_core::{operation::Operation, record::RecordOutcome, seat::Seat};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{sleep, timeout},
};

use self::plan::{Step, next_step};
use super::submit::Writes;
use crate::{
    leadership::known_leader,
    peer::{HandOverReply, PeerClient},
    raft::{MembershipChange, MembershipView, Replica, TransferError},
    reads::Reads,
    storage::Storage,
};

/// Between two looks at the membership.
const PAUSE: Duration = Duration::from_millis(100);
/// How long one step may take before it is looked at anew. It is not undone by that.
const STEP_PATIENCE: Duration = Duration::from_secs(10);

/// Makes Raft's membership what it is meant to be, while this node leads.
pub(super) struct Steward {
    pub(super) node_id: u64,
    pub(super) storage: Arc<Storage>,
    pub(super) replica: Replica,
    pub(super) peers: PeerClient,
    pub(super) reads: Arc<Reads>,
    pub(super) writes: Arc<Writes>,
    /// How long a member may be silent and still count for a quorum.
    pub(super) silence_max: Duration,
    /// Held over each step: from the look at the membership to the end of its change.
    step: AsyncMutex<()>,
    waits_for: Mutex<Option<String>>,
}

/// What a steward needs.
pub(super) struct StewardParts {
    pub(super) node_id: u64,
    pub(super) storage: Arc<Storage>,
    pub(super) replica: Replica,
    pub(super) peers: PeerClient,
    pub(super) reads: Arc<Reads>,
    pub(super) writes: Arc<Writes>,
    pub(super) silence_max: Duration,
}

impl Steward {
    pub(super) fn new(parts: StewardParts) -> Self {
        let StewardParts { node_id, storage, replica, peers, reads, writes, silence_max } = parts;
        Self {
            node_id,
            storage,
            replica,
            peers,
            reads,
            writes,
            silence_max,
            step: AsyncMutex::new(()),
            waits_for: Mutex::new(None),
        }
    }

    /// Takes step after step, for as long as the node runs.
    pub(super) async fn run(&self) {
        loop {
            let waits_for = self.step().await;
            *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = waits_for;
            sleep(PAUSE).await;
        }
    }

    /// On the leader: what a change of the membership waits for, if one is not done yet. For people.
    pub(super) fn waits_for(&self) -> Option<String> {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn step(&self) -> Option<String> {
        let _guard = self.step.lock().await;
        let view = self.replica.membership();
        let published = self.replica.published();
        if !view.leads || published.state.history().is_none() {
            return None;
        }
        let seats: BTreeMap<u64, Arc<Seat>> = published.state.seats().collect();
        let silence_max_ms = u64::try_from(self.silence_max.as_millis()).unwrap_or(u64::MAX);
        match next_step(self.node_id, &view, &seats, silence_max_ms) {
            Step::Rest => None,
            Step::Wait(why) => Some(why),
            Step::Change(change) => self.change(change, &view).await.err(),
            Step::HandOver { to } => {
                tracing::info!(to, "leadership is handed over, for this node is not to vote any more");
                match self.replica.transfer_leadership(Some(to)).await {
                    Ok(()) | Err(TransferError::NotLeader) => None,
                    Err(error) => Some(format!("leadership was not handed over to node {to}: {error}")),
                }
            }
        }
    }

    /// Makes one change on the membership that was looked at. The error is for people.
    async fn change(&self, change: MembershipChange, view: &MembershipView) -> Result<(), String> {
        tracing::info!(?change, "the membership is changed");
        match timeout(STEP_PATIENCE, self.replica.change_membership(change, view)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the last step is not committed yet".to_owned()),
        }
    }

    /// Lets `next` lead, as the audit record at `sequence` says: without one nobody's word is enough. A record of an
    /// earlier leader says nothing to this one.
    pub(super) async fn hand_over(&self, next: u64, sequence: u64) -> HandOverReply {
        let refused = |why: String| HandOverReply::Refused { why };
        let term = self.replica.status().term;
        match known_leader(&self.replica) {
            Some(leader) if leader == next => return HandOverReply::Leads { leader },
            Some(leader) if leader == self.node_id => {}
            _ => return HandOverReply::Unavailable { why: "this node does not lead any more".to_owned() },
        }
        match self.stated_handover(sequence).await {
            Err(why) => return HandOverReply::Unavailable { why },
            Ok(Some((to, stated_in))) if to == next && stated_in == term => {}
            Ok(_) => {
                return refused(format!(
                    "audit record {sequence} does not say that node {next} shall lead after term {term}; ask again"
                ));
            }
        }
        let view = self.replica.membership();
        if !view.voters.iter().all(|voters| voters.contains(&next)) {
            return refused(format!("node {next} does not vote, so it can't lead"));
        }
        match self.replica.transfer_leadership(Some(next)).await {
            Ok(()) => match known_leader(&self.replica) {
                Some(leader) => HandOverReply::Leads { leader },
                None => HandOverReply::Unavailable { why: "no leader is known yet".to_owned() },
            },
            Err(error) => HandOverReply::Unavailable { why: error.to_string() },
        }
    }

    /// To whom the accepted record at `sequence` hands leadership, and in which term it was written.
    async fn stated_handover(&self, sequence: u64) -> Result<Option<(u64, u64)>, String> {
        let storage = Arc::clone(&self.storage);
        let read = tokio::task::spawn_blocking(move || storage.audit_range(sequence, 1)).await;
        let rows = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let Some(row) = rows.first().filter(|row| row.sequence == sequence) else { return Ok(None) };
        let record: flagraft_core::record::Record =
            serde_json::from_slice(&row.bytes).map_err(|error| error.to_string())?;
        let stated = record.operations.first().map(|first| Operation::from_value(first.operation.clone()));
        Ok(match stated {
            Some(Ok(Operation::SystemLeadership(fields))) if record.outcome == RecordOutcome::Accepted => {
                Some((fields.to, record.term))
            }
            _ => None,
        })
    }
}

/// Why nothing is done for `node_id` any more, if it was removed: its seat says so, and it is in no membership that
/// might still need its vote.
pub(super) fn removed(replica: &Replica, node_id: u64) -> Option<String> {
    let published = replica.published();
    let seat = published.state.seat(node_id).filter(|seat| seat.is_removed())?;
    let view = replica.membership();
    let is_member = view.members.contains_key(&node_id) || view.committed_members.contains(&node_id);
    (!is_member).then(|| {
        format!(
            "node {node_id} was removed from the cluster at revision {}; stop it, and start it with an empty folder \
             and a new id if it shall come back",
            seat.revision
        )
    })
}

/// What a person is told whose node came back with another data folder than its id has.
pub(super) fn advise_wiped(replica: &Replica, node_id: u64) -> String {
    let published = replica.published();
    let next = published.state.seats().last().map_or(node_id, |(last, _)| last).saturating_add(1);
    let members = replica.membership().members;
    let others = members.iter().filter(|(id, meta)| **id != node_id && !meta.peer_addr.is_empty());
    let join: Vec<String> = others.map(|(id, meta)| format!("{id}={}", meta.peer_addr)).collect();
    format!(
        "put a new member in its place with `flagraft cluster replace {node_id} --with {next} --join-token-file TOKEN \
         --reason REASON`, and start the node with its empty folder and `--node-id {next} --join {} --join-token-file \
         TOKEN`",
        join.join(",")
    )
}
