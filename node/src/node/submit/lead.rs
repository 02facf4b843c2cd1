//! A write on the leader: who asks is checked again, what is not deterministic is stamped in, and it is proposed.

use std::{sync::Arc, time::Duration};

use flagraft_core::{
    apply::apply,
    identity::LogPosition,
    operation::Operation,
    proposal::{Actor, Body, Change, Proposal},
    reply::{Outcome, Reply},
    state::State,
    token::{Secret, TokenFault},
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use super::{
    answer::LeaderAnswer,
    limiter::RejectionLimiter,
    submission::{Credentials, Submission, random_bytes},
};
use crate::{
    clock::wall_ms,
    config::WriteConfig,
    leadership::{known_leader, leader_other_than},
    peer::PeerClient,
    raft::{ProposeError, Replica},
    reads::Reads,
    storage::GROUP,
};

/// What a node proposes with while it leads.
pub(super) struct Lead {
    node_id: u64,
    replica: Replica,
    peers: PeerClient,
    reads: Arc<Reads>,
    config: WriteConfig,
    limiter: RejectionLimiter,
    permits: Semaphore,
}

impl Lead {
    pub(super) fn new(
        node_id: u64,
        replica: Replica,
        peers: PeerClient,
        reads: Arc<Reads>,
        config: WriteConfig,
    ) -> Self {
        let limiter = RejectionLimiter::new(config.recorded_rejections_per_second);
        let permits = Semaphore::new(config.in_flight_max);
        Self { node_id, replica, peers, reads, config, limiter, permits }
    }

    /// Takes a write through, if this node leads. Answers by the deadline.
    pub(super) async fn take(&self, submission: &Submission, deadline: Instant) -> LeaderAnswer {
        let Ok(_permit) = self.permits.try_acquire() else { return LeaderAnswer::Overloaded };
        if deadline <= Instant::now() {
            return LeaderAnswer::NoQuorum;
        }
        let leader = known_leader(&self.replica);
        if leader != Some(self.node_id) {
            return LeaderAnswer::NotLeader { leader };
        }
        if !self.has_quorum(deadline).await {
            // Whoever lost its quorum may have lost its office too, without having heard of it.
            return match known_leader(&self.replica) {
                leader if leader == Some(self.node_id) => LeaderAnswer::NoQuorum,
                leader => LeaderAnswer::NotLeader { leader },
            };
        }
        let actor = match self.authenticate(submission, deadline).await {
            Ok(actor) => actor,
            Err(fault) => return LeaderAnswer::Unauthenticated { fault },
        };
        if let Body::Change(change) = &submission.body
            && let Err(invalid) = change.validate().and_then(|()| change.validate_operations())
        {
            return LeaderAnswer::invalid(invalid);
        }
        let proposal = Proposal {
            group: GROUP,
            request: submission.request.clone(),
            body: submission.body.clone(),
            actor,
            caused_by: submission.caused_by.clone(),
            proposed_at_ms: wall_ms(),
            salt: random_bytes(),
            node: self.node_id,
        };
        if submission.dry_run {
            // What would be proposed is encoded by whoever proposes; here nobody does.
            if let Err(invalid) = proposal.encode() {
                return LeaderAnswer::TooLarge { message: invalid.message };
            }
            return LeaderAnswer::Done { reply: self.foresee(&proposal), not_yet_on: Vec::new() };
        }
        self.propose(proposal, deadline).await
    }

    async fn propose(&self, proposal: Proposal, deadline: Instant) -> LeaderAnswer {
        let token = proposal.actor.token.clone();
        let may_be_repeated = proposal.request.client_given;
        let (under_way, room) = self.limiter.begin(token.as_ref());
        // System actors are not limited: nobody outside the cluster can make them be rejected.
        if !room && token.is_some() && matches!(self.foresee(&proposal).outcome, Outcome::Rejected { .. }) {
            return LeaderAnswer::TooManyRejections;
        }
        let proposed = tokio::select! {
            proposed = timeout_at(deadline, self.replica.propose(proposal)) => proposed,
            // What was proposed in an office that is lost is for the next leader to keep or discard. A request that
            // may be repeated asks that one; any other waits for what becomes of it.
            () = leader_other_than(&self.replica, Some(self.node_id)), if may_be_repeated => {
                return LeaderAnswer::OutcomeUnknown;
            }
        };
        let reply = match proposed {
            Ok(Ok(reply)) => reply,
            Ok(Err(ProposeError::NotLeader { leader })) => return LeaderAnswer::NotLeader { leader },
            Ok(Err(ProposeError::Invalid(message))) => return LeaderAnswer::TooLarge { message },
            Ok(Err(ProposeError::Stopped)) => return LeaderAnswer::NotLeader { leader: None },
            Ok(Err(ProposeError::OutcomeUnknown)) | Err(_) => return LeaderAnswer::OutcomeUnknown,
        };
        if matches!(reply.outcome, Outcome::Rejected { .. }) && !reply.replayed {
            under_way.was_rejected();
        }
        // The answer to a repeated request does not say whether the first one promoted a flag. It may have.
        let may_promote = reply.promotes_critical || (reply.replayed && accepted(&reply));
        let not_yet_on = if may_promote { self.tell_members(deadline).await } else { Vec::new() };
        LeaderAnswer::Done { reply, not_yet_on }
    }

    /// What `apply` would answer if the proposal were the next entry.
    fn foresee(&self, proposal: &Proposal) -> Reply {
        let published = self.replica.published();
        let at = published.position.map_or(LogPosition::default(), |last| LogPosition {
            term: last.term,
            index: last.index.saturating_add(1),
        });
        apply(&published.state, proposal, at).reply
    }

    /// Whether a quorum followed this node a moment ago. What a leader proposes without one would hang until there
    /// is one again, with an outcome unknown to the caller.
    async fn has_quorum(&self, deadline: Instant) -> bool {
        if self.reads.age().is_some_and(|age| age <= self.config.quorum_fresh) {
            return true;
        }
        let patience =
            self.config.quorum_check_timeout.min(deadline.saturating_duration_since(Instant::now()));
        self.reads.confirm_patiently(patience).await.is_ok()
    }

    async fn authenticate(&self, submission: &Submission, deadline: Instant) -> Result<Actor, TokenFault> {
        match &submission.credentials {
            Credentials::Member(node) => {
                let state = &self.replica.published().state;
                if is_for_members(state, &submission.body) {
                    Ok(Actor::system(*node))
                } else {
                    Err(TokenFault::Unknown)
                }
            }
            Credentials::Token(secret) => {
                let found = actor_of(&self.replica.published().state, secret);
                if found != Err(TokenFault::Unknown) {
                    return found;
                }
                // A new leader may not have applied the entry that created the token.
                let patience =
                    self.config.quorum_check_timeout.min(deadline.saturating_duration_since(Instant::now()));
                _ = self.reads.confirm_patiently(patience).await;
                actor_of(&self.replica.published().state, secret)
            }
        }
    }

    /// Waits, within the deadline, until every other member publishes what this one does. Returns those that do not.
    async fn tell_members(&self, deadline: Instant) -> Vec<u64> {
        // Some of the time is for the way back to the node that took the write.
        let patience = before_way_back(deadline, self.config.answer_reserve);
        let Some(position) = self.replica.published().position else { return Vec::new() };
        let members = self.replica.status().members.into_keys();
        let mut waits: FuturesUnordered<_> = members
            .filter(|id| *id != self.node_id)
            .map(|id| async move {
                (id, self.peers.await_published(id, position.index, patience).await == Ok(true))
            })
            .collect();
        let mut not_yet_on = Vec::new();
        while let Some((id, published)) = waits.next().await {
            if !published {
                not_yet_on.push(id);
            }
        }
        not_yet_on.sort_unstable();
        not_yet_on
    }
}

fn accepted(reply: &Reply) -> bool {
    matches!(reply.outcome, Outcome::Accepted { .. })
}

/// Who the holder of the secret is, if the token is good now.
fn actor_of(state: &State, secret: &Secret) -> Result<Actor, TokenFault> {
    let token = state.token_by_secret(&secret.sha256()).ok_or(TokenFault::Unknown)?;
    token.check(wall_ms())?;
    Ok(Actor {
        actor_type: token.spec.actor.actor_type,
        id: token.spec.actor.id.clone(),
        name: token.spec.name.clone(),
        groups: Vec::new(),
        token: Some(token.spec.id.clone()),
    })
}

/// What a member may propose for the cluster itself: counts of refused credentials, and the founding, while there is
/// no history. Everything else needs somebody's token.
fn is_for_members(state: &State, body: &Body) -> bool {
    match body {
        Body::Denials(_) => true,
        Body::Change(Change { operations, .. }) => {
            // A catalog without a history that has something in it came from a backup.
            let is_restored = state.revision() > 0;
            state.history().is_none()
                && match operations.first() {
                    Some(Operation::SystemBootstrap(_)) => !is_restored,
                    Some(Operation::SystemRestore(_)) => is_restored,
                    _ => false,
                }
        }
    }
}

/// What remains of a deadline after the way back of the answer was set aside.
pub(super) fn before_way_back(deadline: Instant, reserve: Duration) -> Duration {
    deadline.saturating_duration_since(Instant::now()).saturating_sub(reserve)
}
