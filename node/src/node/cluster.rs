//! How the cluster does, as one node sees it: what it knows itself, and what each member says when asked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use flagraft_core::{
    identity::{ClusterId, History},
    seat::{Seat, SeatRole},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::checkpoints::CheckpointReport;
use crate::{
    clock::wall_ms,
    disk::{Disk, DiskReport, DiskState},
    peer::PeerClient,
    raft::{MemberRole, NodeMeta, RaftRole, Replica, SnapshotProgress},
    reads::Reads,
};

/// What a member says of itself. Its digest, audit size and root belong to its index: members that are at the same
/// index and differ in those have come apart. JSON between members: fields are only ever added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberReport {
    role: RaftRole,
    term: u64,
    leader: Option<u64>,
    /// The last entry published, which is what all of the following is about.
    index: Option<u64>,
    applied: Option<u64>,
    revision: u64,
    digest: String,
    audit: AuditStatus,
    age_ms: Option<u64>,
    ready: bool,
    wall_clock_ms: i64,
    snapshot: Option<SnapshotProgress>,
    #[serde(default)]
    disk: DiskReport,
    /// On the leader: what a change of the membership waits for.
    #[serde(default)]
    waits_for: Option<String>,
    /// The checkpoints that it has and signs.
    #[serde(default)]
    checkpoint: CheckpointReport,
}

impl MemberReport {
    pub(crate) fn of(
        replica: &Replica,
        reads: &Reads,
        disk: &Disk,
        waits_for: Option<String>,
        checkpoint: CheckpointReport,
    ) -> Self {
        let (published, age_ms) = reads.local();
        let status = replica.status();
        Self {
            role: status.role,
            term: status.term,
            leader: status.leader,
            index: published.position.map(|position| position.index),
            applied: status.applied,
            revision: published.state.revision(),
            digest: published.state.digest().to_string(),
            audit: AuditStatus {
                size: published.state.sequence(),
                root: hex::encode(published.state.audit_root()),
            },
            age_ms,
            ready: reads.readiness().ready,
            wall_clock_ms: wall_ms(),
            snapshot: replica.snapshot_progress(),
            disk: disk.report(),
            waits_for,
            checkpoint,
        }
    }

    /// What the member's disk lets it do.
    pub(super) fn disk_state(&self) -> DiskState {
        self.disk.state
    }
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster's identity; `None` before it was founded.
    pub cluster: Option<ClusterId>,
    /// The catalog's history; `None` before it was founded.
    pub history: Option<History>,
    /// The node that answers.
    pub node: u64,
    /// Whom it takes for the leader.
    pub leader: Option<u64>,
    /// The Raft term it is in.
    pub term: u64,
    /// All members, by id.
    pub members: Vec<ClusterMember>,
    /// Whether the members are what they are meant to be.
    pub membership: MembershipStatus,
    /// Node ids that were given away, and whose nodes have not come yet.
    pub invitations: Vec<InvitationStatus>,
    /// The index that this node publishes: what the following three are about.
    pub index: Option<u64>,
    /// The revision of its catalog.
    pub revision: u64,
    /// The digest of its state: 64 hexadecimal digits, the same on all nodes at the same index.
    pub digest: String,
    /// Its audit log.
    pub audit: AuditStatus,
}

/// Whether the members are what they are meant to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipStatus {
    /// Whether nothing is left to be changed.
    pub settled: bool,
    /// Whether a change is half-way: the old voters and the new ones have to agree to everything.
    pub joint: bool,
    /// What the change waits for, as the leader says. `None` where it waits for nothing, or the leader does not answer.
    pub waits_for: Option<String>,
}

/// A node id that was given away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationStatus {
    /// The id.
    pub node_id: u64,
    /// What the member will be.
    pub role: SeatRole,
    /// When its join token ends, in milliseconds since 1970 UTC.
    pub expires_at_ms: i64,
}

/// What a member is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberAim {
    /// It is to count towards the quorum.
    Voter,
    /// It is to receive everything and decide nothing.
    Learner,
    /// It is to go.
    Removed,
}

/// The size and root of a node's audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditStatus {
    /// Records in the log.
    pub size: u64,
    /// The root of its Merkle tree, in hexadecimal.
    pub root: String,
}

/// A member of the cluster. What only it can say is `None` when it does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterMember {
    /// Its id.
    pub id: u64,
    /// Whether it counts towards the quorum.
    pub role: MemberRole,
    /// What it is meant to be: `role` follows.
    pub aim: MemberAim,
    /// Where clients reach it: a URL, or empty.
    pub address: String,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Its zone, or empty.
    pub zone: String,
    /// Its region, or empty.
    pub region: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it does.
    pub state: MemberState,
    /// Whether it is ready to be sent requests.
    pub ready: bool,
    /// The last entry it publishes: what its revision, digest and audit log are about.
    pub index: Option<u64>,
    /// The last entry it applied.
    pub applied: Option<u64>,
    /// The revision of its catalog.
    pub revision: Option<u64>,
    /// A bound on how long ago its state was current, in milliseconds.
    pub age_ms: Option<u64>,
    /// The digest of its state.
    pub digest: Option<String>,
    /// Its audit log.
    pub audit: Option<AuditStatus>,
    /// Its wall clock minus that of the node that answers, in milliseconds; off by half the way to it and back.
    pub clock_offset_ms: Option<i64>,
    /// The snapshot that is on its way to it, for it is too far behind for entries.
    pub snapshot: Option<SnapshotProgress>,
    /// The disk that its data lies on.
    pub disk: Option<DiskReport>,
    /// The checkpoints of the audit log that it has and signs.
    pub checkpoint: Option<CheckpointReport>,
}

/// What a member does, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// Orders the log.
    Leader,
    /// Follows the leader.
    Follower,
    /// Stands for election.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Its Raft has stopped.
    Stopped,
    /// It does not answer.
    Unreachable,
}

impl From<RaftRole> for MemberState {
    fn from(role: RaftRole) -> Self {
        match role {
            RaftRole::Leader => Self::Leader,
            RaftRole::Follower => Self::Follower,
            RaftRole::Candidate => Self::Candidate,
            RaftRole::Learner => Self::Learner,
            RaftRole::Stopped => Self::Stopped,
        }
    }
}

/// Asks all other members at once how they do; `own` is what this one says. Takes as long as the slowest, at most
/// `patience`.
pub(super) async fn gather(
    node_id: u64,
    own_meta: &NodeMeta,
    own: MemberReport,
    replica: &Replica,
    peers: &PeerClient,
    patience: Duration,
) -> ClusterStatus {
    let status = replica.status();
    let view = replica.membership();
    let seats: BTreeMap<u64, Arc<Seat>> = replica.published().state.seats().collect();
    let mut metas: BTreeMap<u64, (NodeMeta, bool)> =
        status.members.iter().map(|(id, member)| (*id, (member.meta.clone(), member.voter))).collect();
    // A node that no cluster has taken in yet is alone in its list.
    metas.entry(node_id).or_insert_with(|| (own_meta.clone(), false));
    let asked = metas.into_iter().map(async |(id, (meta, voter))| {
        let report = if id == node_id { Some(own.clone()) } else { ask(peers, id, patience).await };
        let aim = aim(seats.get(&id).map(Arc::as_ref).filter(|seat| seat.is_of(&meta.uid)), voter);
        (member(id, meta, voter, aim, report.as_ref()), report.and_then(|report| report.waits_for))
    });
    let mut members = Vec::new();
    let mut leader_waits_for = None;
    for (member, waits_for) in join_all(asked).await {
        if Some(member.id) == status.leader {
            leader_waits_for = waits_for;
        }
        members.push(member);
    }
    let is_as_meant = |member: &ClusterMember| match member.aim {
        MemberAim::Voter => member.role == MemberRole::Voter,
        MemberAim::Learner => member.role == MemberRole::Learner,
        MemberAim::Removed => false,
    };
    let membership = MembershipStatus {
        settled: view.is_committed && !view.is_joint() && members.iter().all(is_as_meant),
        joint: view.is_joint(),
        waits_for: leader_waits_for,
    };
    let invitations = seats.iter().filter_map(|(id, seat)| {
        let invitation = seat.invitation.as_ref()?;
        Some(InvitationStatus { node_id: *id, role: seat.role, expires_at_ms: invitation.expires_at_ms })
    });
    let state = &replica.published().state;
    ClusterStatus {
        cluster: state.cluster_id(),
        history: state.history(),
        node: node_id,
        leader: status.leader,
        term: status.term,
        members,
        membership,
        invitations: invitations.collect(),
        index: own.index,
        revision: own.revision,
        digest: own.digest,
        audit: own.audit,
    }
}

/// What a member says of itself; `None` if it does not answer.
pub(super) async fn ask(peers: &PeerClient, id: u64, patience: Duration) -> Option<MemberReport> {
    let answer = peers.status(id, patience).await.ok()?;
    match serde_json::from_slice(&answer) {
        Ok(report) => Some(report),
        Err(error) => {
            tracing::warn!(node = id, %error, "a member's status can't be read");
            None
        }
    }
}

/// What a member is meant to be. One without a seat stays what it is.
fn aim(seat: Option<&Seat>, voter: bool) -> MemberAim {
    match seat {
        Some(seat) if seat.is_removed() => MemberAim::Removed,
        Some(Seat { role: SeatRole::Learner, .. }) => MemberAim::Learner,
        Some(_) => MemberAim::Voter,
        None if voter => MemberAim::Voter,
        None => MemberAim::Learner,
    }
}

fn member(
    id: u64,
    meta: NodeMeta,
    voter: bool,
    aim: MemberAim,
    report: Option<&MemberReport>,
) -> ClusterMember {
    ClusterMember {
        id,
        role: if voter { MemberRole::Voter } else { MemberRole::Learner },
        aim,
        address: meta.public_addr,
        peer_address: meta.peer_addr,
        zone: meta.zone,
        region: meta.region,
        labels: meta.labels,
        state: report.map_or(MemberState::Unreachable, |report| report.role.into()),
        ready: report.is_some_and(|report| report.ready),
        index: report.and_then(|report| report.index),
        applied: report.and_then(|report| report.applied),
        revision: report.map(|report| report.revision),
        age_ms: report.and_then(|report| report.age_ms),
        digest: report.map(|report| report.digest.clone()),
        audit: report.map(|report| report.audit.clone()),
        clock_offset_ms: report.map(|report| report.wall_clock_ms.saturating_sub(wall_ms())),
        snapshot: report.and_then(|report| report.snapshot),
        disk: report.map(|report| report.disk),
        checkpoint: report.map(|report| report.checkpoint.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Members of two versions ask each other while a cluster is upgraded.
    #[test]
    fn golden_report_and_what_a_newer_member_adds_to_it() {
        let literal = r#"{"role":"leader","term":7,"leader":2,"index":57,"applied":58,"revision":42,"digest":"d","audit":{"size":41,"root":"r"},"age_ms":12,"ready":true,"wall_clock_ms":1800000000000,"snapshot":null,"disk":{"state":"ok","free_bytes":null},"waits_for":null,"checkpoint":{"size":40,"signers":[1,2],"unsigned":null}}"#;
        let report: MemberReport = serde_json::from_str(literal).expect("a report");
        assert_eq!(serde_json::to_string(&report).expect("JSON"), literal);
        let mut newer: Value = serde_json::from_str(literal).expect("JSON");
        newer["threads"] = 1.into();
        newer["audit"]["oldest"] = 0.into();
        assert_eq!(serde_json::from_value::<MemberReport>(newer).expect("understood"), report);
    }
}
