//! Changes of the membership: one step at a time, each made only on the membership that its maker has looked at.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{
    ChangeMembers, Raft, RaftMetrics, ServerState,
    async_runtime::Instant as _,
    errors::{ChangeMembershipError, ClientWriteError, RaftError},
    raft::Precondition,
};

use super::{
    state_machine::StateMachine,
    types::{LogId, NodeMeta, TypeConfig},
};

/// The membership in force on a node, committed or not, and what its leader knows of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipView {
    /// Whether this node leads, as far as it knows.
    pub leads: bool,
    /// The voters: one set, or the old and the new one while a change is under way.
    pub voters: Vec<BTreeSet<u64>>,
    /// All members, learners too.
    pub members: BTreeMap<u64, NodeMeta>,
    /// Whether it is known to be committed.
    pub is_committed: bool,
    /// The members of the last membership that is known to be committed.
    pub committed_members: BTreeSet<u64>,
    /// On the leader: how many entries of its log each member lacks. A member of which nothing is known is absent.
    pub behind: BTreeMap<u64, u64>,
    /// On the leader: the members whose log holds this membership.
    pub informed: BTreeSet<u64>,
    /// On the leader: how long ago each member was last heard from, in milliseconds. One that was not is absent.
    pub silent_ms: BTreeMap<u64, u64>,
    at: Option<LogId>,
}

impl MembershipView {
    pub(super) fn of(metrics: &RaftMetrics<TypeConfig>) -> Self {
        let stored = &metrics.membership_config;
        let leads = metrics.state == ServerState::Leader && metrics.running_state.is_ok();
        let at = *stored.log_id();
        let matched = metrics.replication.iter().flatten();
        let matched: BTreeMap<u64, u64> =
            matched.filter_map(|(id, upto)| Some((*id, upto.as_ref()?.index))).collect();
        let last = metrics.last_log_index.unwrap_or_default();
        let heard = metrics.heartbeat.iter().flatten();
        let elapsed_ms = |at: std::time::Duration| u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let mut silent_ms: BTreeMap<u64, u64> =
            heard.filter_map(|(id, at)| Some((*id, elapsed_ms(at.as_ref()?.elapsed())))).collect();
        let mut behind: BTreeMap<u64, u64> =
            matched.iter().map(|(id, index)| (*id, last.saturating_sub(*index))).collect();
        let mut informed: BTreeSet<u64> = matched
            .iter()
            .filter(|(_, index)| at.is_some_and(|at| **index >= at.index))
            .map(|(id, _)| *id)
            .collect();
        if leads {
            silent_ms.insert(metrics.id, 0);
            behind.insert(metrics.id, 0);
            informed.insert(metrics.id);
        }
        Self {
            leads,
            voters: stored.membership().get_joint_config().clone(),
            members: stored.membership().nodes().map(|(id, meta)| (*id, meta.clone())).collect(),
            is_committed: metrics.committed_membership_config.log_id() == stored.log_id(),
            committed_members: metrics
                .committed_membership_config
                .membership()
                .nodes()
                .map(|(id, _)| *id)
                .collect(),
            behind,
            informed,
            silent_ms,
            at,
        }
    }

    /// Whether a change is half-way: the old voters and the new ones both have to agree to everything.
    pub fn is_joint(&self) -> bool {
        self.voters.len() > 1
    }
}

/// One step of a change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new member that receives everything and decides nothing.
    AddLearner(u64, Box<NodeMeta>),
    /// What is known of a member is another thing from now on.
    Describe(u64, Box<NodeMeta>),
    /// These members vote, and the others do not. Those that did stay learners.
    SetVoters(BTreeSet<u64>),
    /// The second half of a change whose leader was lost after the first.
    Finish,
    /// These learners are no members any more.
    Drop(BTreeSet<u64>),
}

/// Why a step was not made, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipChangeError {
    /// It was not made: this node does not lead.
    #[error("this node is not the leader")]
    NotLeader,
    /// It was not made: the membership is another than the one that was looked at, or is being changed.
    #[error("the membership was changed meanwhile: {0}")]
    Superseded(String),
    /// It was not made, and can't be.
    #[error("the membership can't be changed so: {0}")]
    Invalid(String),
    /// It may have been made. The next look at the membership tells.
    #[error("whether the membership was changed is unknown: {0}")]
    Unknown(String),
}

/// Makes a step, unless the membership is not the one of `seen` any more. Returns once it is committed.
pub(super) async fn change(
    raft: &Raft<TypeConfig, StateMachine>,
    change: MembershipChange,
    seen: &MembershipView,
) -> Result<(), MembershipChangeError> {
    let changes = match change {
        MembershipChange::AddLearner(id, meta) => ChangeMembers::AddNodes(BTreeMap::from([(id, *meta)])),
        MembershipChange::Describe(id, meta) => ChangeMembers::SetNodes(BTreeMap::from([(id, *meta)])),
        MembershipChange::SetVoters(voters) => ChangeMembers::ReplaceAllVoters(voters),
        // To add nobody to the new voters is what flattens the two sets into the new one.
        MembershipChange::Finish => ChangeMembers::AddVoterIds(BTreeSet::new()),
        MembershipChange::Drop(ids) => ChangeMembers::RemoveNodes(ids),
    };
    let condition = Precondition::LastMembershipLogId { last_membership_log_id: seen.at };
    match raft.change_membership_if(changes, true, [condition]).await {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(error)) => Err(match error {
            ClientWriteError::ForwardToLeader(_) => MembershipChangeError::NotLeader,
            ClientWriteError::PreconditionFailed(failed) => {
                MembershipChangeError::Superseded(failed.to_string())
            }
            ClientWriteError::ChangeMembershipError(
                error @ (ChangeMembershipError::InProgress(_)
                | ChangeMembershipError::UncommittedLeaderLog(_)),
            ) => MembershipChangeError::Superseded(error.to_string()),
            ClientWriteError::ChangeMembershipError(error) => {
                MembershipChangeError::Invalid(error.to_string())
            }
            error @ ClientWriteError::LogEntryDiscarded(_) => {
                MembershipChangeError::Unknown(error.to_string())
            }
        }),
        Err(RaftError::Fatal(fatal)) => Err(MembershipChangeError::Unknown(fatal.to_string())),
    }
}
