//! Calls on the cluster: how it does, who belongs to it and who leads.
//!
//! A change of the members is stated in the log, and the cluster makes it so by itself. The answer says whether it has been
//! done already; [`status`] shows what it waits for.

use std::collections::BTreeMap;

use flagraft_core::{
    identity::{ClusterId, History},
    seat::SeatRole,
};
use serde::{Deserialize, Serialize};

use super::{call::Call, change::Receipt, download::File, secret::Secret, why::Why};

/// The cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct ClusterStatus {
    /// The cluster's identity; `None` before it was founded.
    pub cluster: Option<ClusterId>,
    /// The catalog's history; `None` before it was founded.
    pub history: Option<History>,
    /// The node that answered.
    pub node: u64,
    /// Whom it takes for the leader.
    pub leader: Option<u64>,
    /// The Raft term it is in.
    pub term: u64,
    /// All members, by id.
    pub members: Vec<MemberStatus>,
    /// Whether the members are what they are meant to be.
    pub membership: MembershipStatus,
    /// Node ids that were given away, and whose nodes have not come yet.
    pub invitations: Vec<InvitationStatus>,
    /// The index of the log that the following three are about.
    pub index: Option<u64>,
    /// The revision of the node's catalog.
    pub revision: u64,
    /// The digest of its state, the same on all nodes at the same index.
    pub digest: String,
    /// Its audit log.
    pub audit: AuditStatus,
}

impl ClusterStatus {
    /// The member with this id.
    pub fn member(&self, id: u64) -> Option<&MemberStatus> {
        self.members.iter().find(|member| member.id == id)
    }
}

/// A member of the cluster. What only it can say is `None` where it does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its id.
    pub id: u64,
    /// Whether it counts towards the quorum.
    pub role: SeatRole,
    /// What it is meant to be: `voter`, `learner` or `removed`. Its role follows.
    pub aim: String,
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
    /// What it does: `leader`, `follower`, `candidate`, `learner`, `stopped` or `unreachable`.
    pub state: String,
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
    /// Its wall clock minus that of the node that answered, in milliseconds.
    pub clock_offset_ms: Option<i64>,
}

/// The size and root of a node's audit log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct AuditStatus {
    /// Records in the log.
    pub size: u64,
    /// The root of its Merkle tree, in hexadecimal.
    pub root: String,
}

/// Whether the members are what they are meant to be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct MembershipStatus {
    /// Whether nothing is left to be changed.
    pub settled: bool,
    /// Whether a change is half-way: the old voters and the new ones have to agree to everything.
    pub joint: bool,
    /// What the change waits for, as the leader says.
    pub waits_for: Option<String>,
}

/// A node id that was given away.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct InvitationStatus {
    /// The id.
    pub node_id: u64,
    /// What the member will be.
    pub role: SeatRole,
    /// When its join token ends, in milliseconds since 1970 UTC.
    pub expires_at_ms: i64,
}

/// A node that was invited.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Invited {
    /// What the write did.
    #[serde(flatten)]
    pub receipt: Receipt,
    /// The node's id.
    pub node_id: u64,
    /// What it comes with. `None` where an earlier request with this `Idempotency-Key` was answered with it: invite the node
    /// once more, and another token takes its place.
    pub join_token: Option<Secret>,
    /// Whom it asks to be let in: what `flagraft serve --join` takes.
    pub join: String,
}

/// A change of a member that was stated.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Followed {
    /// What the write did.
    #[serde(flatten)]
    pub receipt: Receipt,
    /// The member.
    pub node_id: u64,
    /// Whether the membership has followed. Else it does by itself.
    pub done: bool,
    /// What it waits for.
    pub waits_for: Option<String>,
}

/// A transfer of leadership.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Transferred {
    /// What the write did.
    #[serde(flatten)]
    pub receipt: Receipt,
    /// Who leads now.
    pub leader: u64,
}

/// The cluster and each member.
pub fn status() -> Call<ClusterStatus> {
    Call::get(path()).answering()
}

/// Invites a node under an id that was never used in this cluster. The join token that it comes with is good for
/// `expires_in_seconds`.
pub fn invite(node_id: u64, role: SeatRole, expires_in_seconds: u64, why: impl Into<Why>) -> Call<Invited> {
    #[derive(Serialize)]
    struct Fields {
        node_id: u64,
        role: SeatRole,
        expires_in_seconds: u64,
    }
    let body = why.into().body(Fields { node_id, role, expires_in_seconds });
    Call::post(path().into_iter().chain(["members"]), body).answering()
}

/// Lets a learner vote, once it has caught up.
pub fn promote(node_id: u64, why: impl Into<Why>) -> Call<Followed> {
    let path = path().into_iter().chain(["members"]).map(str::to_owned);
    Call::post(path.chain([node_id.to_string(), "promote".to_owned()]), why.into()).answering()
}

/// Removes a member, as soon as the others are a quorum without it; with a successor, once that votes, and at the same
/// moment. Its id is never used again.
pub fn remove(node_id: u64, successor: Option<u64>, why: impl Into<Why>) -> Call<Followed> {
    let path = path().into_iter().chain(["members"]).map(str::to_owned);
    Call::delete(path.chain([node_id.to_string()]), why)
        .query("successor", successor.map(|id| id.to_string()))
        .answering()
}

/// Lets another member lead: this one, or the voter whose log is most complete.
pub fn transfer(to: Option<u64>, why: impl Into<Why>) -> Call<Transferred> {
    #[derive(Serialize)]
    struct Fields {
        to: Option<u64>,
    }
    Call::post(path().into_iter().chain(["leader"]), why.into().body(Fields { to })).answering()
}

/// The catalog at one revision and the whole audit log, as one file: for
/// [`AdminClient::download`](super::AdminClient::download). Of the newest state with [`Call::confirmed`].
pub fn backup() -> Call<File> {
    Call::get(["api", "v1", "backup"]).answering()
}

fn path() -> [&'static str; 3] {
    ["api", "v1", "cluster"]
}
