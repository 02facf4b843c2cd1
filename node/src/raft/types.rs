//! What Raft carries here, and the names under which the rest of this module uses openraft's types.

use std::{collections::BTreeMap, fmt, sync::Arc};

use flagraft_core::{compiled::CompiledCatalog, identity::LogPosition, reply::Reply, state::State};
use openraft::alias;
use serde::{Deserialize, Serialize};

use super::{runtime::PatientRuntime, tiles::OpenTiles};

openraft::declare_raft_types!(
    /// openraft's type parameters.
    pub TypeConfig:
        D = Command,
        R = Answer,
        NodeId = u64,
        Node = NodeMeta,
        AsyncRuntime = PatientRuntime,
);

pub(super) type Entry = alias::EntryOf<TypeConfig>;
pub(super) type LogId = alias::LogIdOf<TypeConfig>;
pub(super) type Vote = alias::VoteOf<TypeConfig>;
pub(super) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(super) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(super) type LeaderId = alias::CommittedLeaderIdOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<u64, NodeMeta>;

/// What a normal log entry carries: a proposal, as its JSON.
///
/// The log never interprets it; `apply` decodes it, and stops the node at a kind it does not know.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command(pub(super) Vec<u8>);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proposal of {} bytes", self.0.len())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What applying an entry answers: the reply to a proposal; nothing for Raft's own entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer(pub(super) Option<Reply>);

/// What the cluster knows about a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeMeta {
    /// Where its peer listener is: `host:port`.
    pub peer_addr: String,
    /// Where clients reach it: a URL. May be empty.
    pub public_addr: String,
    /// The random id of its data folder: 32 hexadecimal digits.
    pub uid: String,
    /// Its zone, for operators. May be empty.
    pub zone: String,
    /// Its region, for operators. May be empty.
    pub region: String,
    /// Anything else operators want to know it by.
    pub labels: BTreeMap<String, String>,
    /// Whether it is meant to vote.
    pub role: MemberRole,
    /// The cluster versions it can run at.
    pub versions: VersionRange,
}

/// Whether a member is meant to vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Counts towards the quorum.
    #[default]
    Voter,
    /// Receives everything and decides nothing.
    Learner,
}

/// Versions that a node can speak, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionRange {
    /// The oldest.
    pub min: u32,
    /// The newest.
    pub max: u32,
}

impl VersionRange {
    /// What this program speaks.
    pub const OURS: Self = Self { min: 1, max: 1 };

    /// Whether there is a version that both can speak.
    pub fn overlaps(self, other: Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }
}

impl Default for VersionRange {
    fn default() -> Self {
        Self::OURS
    }
}

/// The state that reads are answered from, and how far in the log it is.
#[derive(Clone, Debug)]
pub struct Published {
    /// The state.
    pub state: State,
    /// The same, compiled for evaluation.
    pub catalog: CompiledCatalog,
    /// The last entry whose effect is in it. `None` before the first.
    pub position: Option<LogPosition>,
    /// The growing tiles of the audit log that the state counts.
    pub(crate) tiles: Arc<OpenTiles>,
}

impl Published {
    /// A state that nothing was published before.
    pub(crate) fn first(state: State, position: Option<LogPosition>, tiles: Arc<OpenTiles>) -> Self {
        Self { catalog: CompiledCatalog::compile(&state), state, position, tiles }
    }

    /// The state that comes after this one: what they share stays compiled.
    pub(super) fn next(&self, state: State, position: Option<LogPosition>, tiles: Arc<OpenTiles>) -> Self {
        Self { catalog: self.catalog.updated(&self.state, &state), state, position, tiles }
    }

    /// The index that a reader waits for: of the first entry that is not in this state.
    pub(super) fn next_index(&self) -> u64 {
        self.position.map_or(0, |position| position.index.saturating_add(1))
    }
}

/// What a node is doing in its Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RaftRole {
    /// Orders the log.
    Leader,
    /// Follows a leader and may become one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Follows without a vote.
    Learner,
    /// Shut down or failed.
    Stopped,
}

/// A member as the membership in force has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// What the cluster knows about it.
    pub meta: NodeMeta,
    /// Whether it counts towards the quorum now.
    pub voter: bool,
}

/// A node's view of its Raft group. Indexes are `None` before the first entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftStatus {
    /// This node.
    pub node_id: u64,
    /// The term it is in.
    pub term: u64,
    /// Whom it takes for the leader. Not a proof of leadership.
    pub leader: Option<u64>,
    /// What it does itself.
    pub role: RaftRole,
    /// The membership in force.
    pub members: BTreeMap<u64, MemberStatus>,
    /// The last entry in its log.
    pub last_log: Option<u64>,
    /// The last entry it knows to be committed.
    pub committed: Option<u64>,
    /// The last entry applied.
    pub applied: Option<u64>,
    /// The last entry whose effect readers see.
    pub published: Option<u64>,
    /// The last entry covered by the newest snapshot.
    pub snapshot: Option<u64>,
    /// The last entry removed from the front of the log.
    pub purged: Option<u64>,
    /// On the leader: how far each member's log is known to agree. Empty elsewhere.
    pub matched: BTreeMap<u64, Option<u64>>,
    /// Whether Raft runs.
    pub running: bool,
}

impl RaftStatus {
    /// The ids of the voters.
    pub fn voters(&self) -> impl Iterator<Item = u64> + '_ {
        self.members.iter().filter(|(_, member)| member.voter).map(|(id, _)| *id)
    }
}

/// How much of a snapshot has come to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotProgress {
    /// Audit records that are here, those that were here before among them.
    pub received_records: u64,
    /// Audit records that the snapshot counts.
    pub total_records: u64,
    /// Bytes of its catalog that are here.
    pub received_bytes: u64,
    /// Bytes of its catalog.
    pub total_bytes: u64,
}

/// openraft's log id as the domain has it: without the leader's id.
pub(super) fn position(log_id: &LogId) -> LogPosition {
    LogPosition { term: log_id.leader_id.term, index: log_id.index }
}
