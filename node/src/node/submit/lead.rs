//! A write on the leader: who asks is checked again, what is not deterministic is stamped in, and it is proposed.

use std::{sync::Arc, time::Duration};

use flagraft_core::{
    apply::apply,
    identity::LogPosition,
    operation::Operation,
    proposal::{Actor, Body, Change, Proposal},
    rejection::Rejection,
    reply::{Outcome, Reply},
    state::State,
    token::{Secret, TokenFault},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout_at},
};

use super::{
    answer::LeaderAnswer,
    limiter::RejectionLimiter,
    submission::{Credentials, Submission},
    telling::Telling,
    yields,
};
use crate::{
    canary::{self, Canary},
    clock::{BootTime, WallClock, wall_ms},
    config::WriteConfig,
    leadership::{known_leader, leader_other_than},
    node::room::Room,
    raft::{ProposeError, Published, Replica},
    random::random,
    reads::Reads,
    storage::GROUP,
};

/// What a node proposes with while it leads.
pub(super) struct Lead {
    node_id: u64,
    replica: Replica,
    telling: Arc<Telling>,
    reads: Arc<Reads>,
    room: Arc<Room>,
    clock: WallClock,
    config: WriteConfig,
    limiter: RejectionLimiter,
    permits: Semaphore,
}

impl Lead {
    pub(super) fn new(
        node_id: u64,
        replica: Replica,
        telling: Arc<Telling>,
        reads: Arc<Reads>,
        room: Arc<Room>,
        clock: WallClock,
        config: WriteConfig,
    ) -> Self {
        let limiter = RejectionLimiter::new(config.recorded_rejections_per_second);
        let permits = Semaphore::new(config.in_flight_max);
        Self { node_id, replica, telling, reads, room, clock, config, limiter, permits }
    }

    /// Takes a write through, if this node leads. Answers by the deadline.
    pub(super) async fn take(&self, submission: &Submission, deadline: Instant) -> LeaderAnswer {
        if submission.body.is_report() && yields(&self.permits, &self.config) {
            return LeaderAnswer::Overloaded;
        }
        let Ok(_permit) = self.permits.try_acquire() else { return LeaderAnswer::Overloaded };
        if deadline <= Instant::now() {
            return LeaderAnswer::NoQuorum;
        }
        let leader = known_leader(&self.replica);
        if leader != Some(self.node_id) {
            return LeaderAnswer::NotLeader { leader };
        }
        if let Some(node) = self.room.lacks().filter(|_| !submission.dry_run) {
            return LeaderAnswer::NoRoom { node };
        }
        if !self.has_quorum(deadline).await {
            // Whoever lost its quorum may have lost its office too, without having heard of it.
            return match known_leader(&self.replica) {
                leader if leader == Some(self.node_id) => LeaderAnswer::NoQuorum,
                leader => LeaderAnswer::NotLeader { leader },
            };
        }
        // The cluster version never falls, so what this node has published knows no more than the entry will find.
        if let Some(reply) = too_new(submission, &self.replica.published().state) {
            return LeaderAnswer::Done { reply, not_yet_on: Vec::new() };
        }
        let actor = match self.authenticate(submission, deadline).await {
            Ok(actor) => actor,
            Err(answer) => return answer,
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
            asks_sha256: submission.asks_sha256,
            signature: submission.signature.clone(),
            actor,
            caused_by: submission.caused_by.clone(),
            proposed_at_ms: self.clock.now_ms(),
            salt: random(),
            node: self.node_id,
        };
        if submission.dry_run {
            // What would be proposed is encoded by whoever proposes; here nobody does.
            if let Err(error) = proposal.encode() {
                return LeaderAnswer::not_encoded(&error);
            }
            let reply = foresee(&self.replica.published(), &proposal);
            return LeaderAnswer::Done { reply, not_yet_on: Vec::new() };
        }
        if canary::is_planted(Canary::AcknowledgeUnknown) {
            return self.propose_impatiently(proposal).await;
        }
        self.propose(proposal, deadline).await
    }

    /// With a planted bug: what becomes of the proposal is taken for granted if it is not known at once.
    async fn propose_impatiently(&self, proposal: Proposal) -> LeaderAnswer {
        let patience = Instant::now() + canary::PATIENCE;
        match self.propose(proposal.clone(), patience).await {
            LeaderAnswer::OutcomeUnknown => {
                let reply = foresee(&self.replica.published(), &proposal);
                LeaderAnswer::Done { reply, not_yet_on: Vec::new() }
            }
            answer => answer,
        }
    }

    async fn propose(&self, proposal: Proposal, deadline: Instant) -> LeaderAnswer {
        let token = proposal.actor.token.clone();
        let may_be_repeated = proposal.request.client_given;
        // System actors are not limited: nobody outside the cluster can make them be rejected. What a restored catalog
        // refuses before it has a history changes nothing, and a node whose own key is rejected holds back by itself.
        if let Some(token) = &token
            && !self.limiter.has_room(token)
            && self.would_be_recorded_as_rejected(&proposal).await
        {
            return LeaderAnswer::TooManyRejections;
        }
        let proposed = loop {
            let mut heard = self.replica.watch_quorum();
            let proposed = tokio::select! {
                proposed = timeout_at(deadline, self.replica.propose(&proposal)) => proposed,
                // What was proposed in an office that is lost is for the next leader to keep or discard. A request that
                // may be repeated asks that one; any other waits for what becomes of it.
                () = leader_other_than(&self.replica, Some(self.node_id)), if may_be_repeated => {
                    return LeaderAnswer::OutcomeUnknown;
                }
            };
            // Over a slow link a leader is not sure of its office all the time, but is again with the next answer: that is
            // nearer than another attempt of the node that took the write.
            let is_unsure = matches!(proposed, Ok(Err(ProposeError::NotLeader { leader: None })));
            if !is_unsure || !self.hears(&mut heard, deadline).await {
                break proposed;
            }
        };
        let reply = match proposed {
            Ok(Ok(reply)) => reply,
            Ok(Err(ProposeError::NotLeader { leader })) => return LeaderAnswer::NotLeader { leader },
            Ok(Err(ProposeError::Invalid(error))) => return LeaderAnswer::not_encoded(&error),
            Ok(Err(ProposeError::Stopped)) => return LeaderAnswer::NotLeader { leader: None },
            Ok(Err(ProposeError::OutcomeUnknown)) | Err(_) => return LeaderAnswer::OutcomeUnknown,
        };
        if let Some(token) = &token
            && is_recorded_rejection(&reply)
        {
            self.limiter.recorded(token);
        }
        let not_yet_on = self.telling.not_yet_on(&reply, deadline).await;
        LeaderAnswer::Done { reply, not_yet_on }
    }

    /// Waits until a quorum answers this node as its leader: `false` when none does.
    async fn hears(&self, heard: &mut watch::Receiver<Option<BootTime>>, deadline: Instant) -> bool {
        let until = deadline.min(Instant::now() + self.config.quorum_check_timeout);
        tokio::select! {
            answered = timeout_at(until, heard.changed()) => {
                matches!(answered, Ok(Ok(()))) && heard.borrow().is_some()
            }
            () = leader_other_than(&self.replica, Some(self.node_id)) => false,
        }
    }

    /// Asked only of a token whose rejections have used up their room. Judging a large change takes a while, and more
    /// important work waits for this thread.
    async fn would_be_recorded_as_rejected(&self, proposal: &Proposal) -> bool {
        let (published, proposal) = (self.replica.published(), proposal.clone());
        let judging = tokio::task::spawn_blocking(move || foresee(&published, &proposal));
        judging.await.is_ok_and(|reply| is_recorded_rejection(&reply))
    }

    /// Whether a quorum followed this node a moment ago. What a leader proposes without one would hang until there
    /// is one again, with an outcome unknown to the caller.
    async fn has_quorum(&self, deadline: Instant) -> bool {
        let is_fresh = |age: Duration| age <= self.config.quorum_fresh;
        let mut heard = self.replica.watch_quorum();
        let heard_now = |at: &Option<BootTime>| at.is_some_and(|at| is_fresh(at.elapsed()));
        if self.reads.age().is_some_and(is_fresh) || heard_now(&heard.borrow()) {
            return true;
        }
        let patience =
            self.config.quorum_check_timeout.min(deadline.saturating_duration_since(Instant::now()));
        // Over a slow link, what comes first is often the answer to what was sent before.
        tokio::select! {
            confirmed = self.reads.confirm_patiently(patience) => confirmed.is_ok(),
            Ok(_) = heard.wait_for(heard_now) => true,
        }
    }

    async fn authenticate(&self, submission: &Submission, deadline: Instant) -> Result<Actor, LeaderAnswer> {
        let refused = |fault| LeaderAnswer::Unauthenticated { fault };
        match &submission.credentials {
            Credentials::Member(node) => {
                let state = &self.replica.published().state;
                if is_for_members(state, &submission.body)
                    || *node == self.node_id && is_for_the_leader(&submission.body)
                {
                    Ok(Actor::system(*node))
                } else {
                    Err(refused(TokenFault::Unknown))
                }
            }
            Credentials::Token(secret) => {
                let found = actor_of(&self.replica.published().state, secret);
                if found != Err(TokenFault::Unknown) {
                    return found.map_err(refused);
                }
                // A new leader may not have applied the entry that created the token. Unless it is sure of that, it
                // can't call a token unknown.
                let patience =
                    self.config.quorum_check_timeout.min(deadline.saturating_duration_since(Instant::now()));
                match self.reads.confirm_patiently(patience).await {
                    Ok(current) => actor_of(&current.published.state, secret).map_err(refused),
                    Err(_) => Err(LeaderAnswer::NoQuorum),
                }
            }
        }
    }
}

/// The answer to what the cluster version does not allow yet. It must not enter the log, although `apply` would refuse it:
/// a member that runs an older version could not read the entry, and would stop.
pub(super) fn too_new(submission: &Submission, state: &State) -> Option<Reply> {
    let signature = submission.signature.as_ref();
    // Before the founding, what is proposed founds a cluster of the newest version.
    let cluster_version = Some(state.cluster_version()).filter(|version| *version > 0)?;
    let rejection = submission.body.check_cluster_version(signature, cluster_version).err()?;
    Some(refusal(submission, rejection))
}

/// What `apply` would answer if the proposal were the next entry.
fn foresee(published: &Published, proposal: &Proposal) -> Reply {
    let at = published.position.map_or(LogPosition::default(), |last| LogPosition {
        term: last.term,
        index: last.index.saturating_add(1),
    });
    apply(&published.state, proposal, at).reply
}

/// The answer to what does not enter the log.
fn refusal(submission: &Submission, rejection: Rejection) -> Reply {
    Reply {
        request_id: submission.request.id.clone(),
        outcome: Outcome::Refused { rejection },
        replayed: false,
        promotes_critical: false,
    }
}

/// Whether the entry made a record of a rejection. One that repeats an earlier request makes none.
fn is_recorded_rejection(reply: &Reply) -> bool {
    matches!(reply.outcome, Outcome::Rejected { .. }) && !reply.replayed
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

/// What a member may propose for the cluster itself: counts of refused credentials, of evaluations and of reads; the
/// founding, while there is no history; to let a node in, which somebody invited and whose join token `apply` checks; and the
/// keys that it signs checkpoints with. Everything else needs somebody's token.
fn is_for_members(state: &State, body: &Body) -> bool {
    match body {
        Body::Denials(_) | Body::Evaluations(_) | Body::Access(_) => true,
        Body::Change(Change { operations, .. }) => match operations.as_slice() {
            [Operation::SystemBootstrap(_), ..] => state.history().is_none() && !state.is_restored(),
            [Operation::SystemRestore(_), ..] => state.is_restored(),
            // That the key is for the node that asks, `apply` checks.
            [Operation::MemberAdmit(_) | Operation::AuditKeyAdd(_)] => true,
            _ => false,
        },
    }
}

/// Whether the leader itself may ask for this without a token: to remove audit records whose time is over, and to put the
/// catalog into the log that stands for them. No other member has it asked for.
fn is_for_the_leader(body: &Body) -> bool {
    matches!(body, Body::Change(Change { operations, .. }) if matches!(operations[..], [Operation::AuditRemove(_) | Operation::AuditCatalogPut(_)]))
}

/// What remains of a deadline after the way back of the answer was set aside.
pub(super) fn before_way_back(deadline: Instant, reserve: Duration) -> Duration {
    deadline.saturating_duration_since(Instant::now()).saturating_sub(reserve)
}
