//! Writes: taken by any node, forwarded at most once, answered by the deadline.
//!
//! The way of a write: [`Writes::submit`] on the node that took it, `drive` to find the leader and to try again,
//! `answer` for the hop, `lead` on the leader.

mod answer;
mod drive;
mod lead;
mod limiter;
mod submission;
mod telling;

use std::{sync::Arc, time::Duration};

use flagraft_core::reply::{Outcome, Reply};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

pub use self::submission::{Credentials, NotEntered, Submission, SubmitError, Submitted, mint_request_id};
use self::{
    answer::{ForwardedWrite, LeaderAnswer},
    drive::{Answered, Attempt, Paths, drive, retry_after},
    lead::{Lead, before_way_back, too_new},
    telling::Telling,
};
use crate::{
    clock::WallClock,
    config::WriteConfig,
    leadership::{known_leader, leader_other_than},
    metrics::Metrics,
    node::room::Room,
    peer::PeerClient,
    raft::Replica,
    reads::Reads,
    storage::Storage,
};

/// How a node writes.
pub(crate) struct Writes {
    node_id: u64,
    replica: Replica,
    peers: PeerClient,
    lead: Lead,
    room: Arc<Room>,
    telling: Arc<Telling>,
    config: WriteConfig,
    metrics: Metrics,
    permits: Semaphore,
}

/// What a node writes with.
pub(crate) struct WritesParts {
    pub(crate) node_id: u64,
    pub(crate) replica: Replica,
    pub(crate) peers: PeerClient,
    pub(crate) storage: Arc<Storage>,
    pub(crate) reads: Arc<Reads>,
    pub(crate) room: Arc<Room>,
    pub(crate) clock: WallClock,
    pub(crate) config: WriteConfig,
    pub(crate) metrics: Metrics,
}

impl Writes {
    pub(crate) fn new(parts: WritesParts) -> Self {
        let WritesParts { node_id, replica, peers, storage, reads, room, clock, config, metrics } = parts;
        let telling = Arc::new(Telling {
            node_id,
            replica: replica.clone(),
            peers: peers.clone(),
            storage,
            answer_reserve: config.answer_reserve,
        });
        let lead = Lead::new(
            node_id,
            replica.clone(),
            Arc::clone(&telling),
            reads,
            Arc::clone(&room),
            clock,
            config.clone(),
        );
        let permits = Semaphore::new(config.in_flight_max);
        Self { node_id, replica, peers, lead, telling, room, config, metrics, permits }
    }

    /// Takes a write to its answer, within the deadline.
    pub(crate) async fn submit(
        &self,
        submission: &Submission,
        deadline: Duration,
    ) -> Result<Submitted, SubmitError> {
        let deadline = Instant::now() + deadline;
        let not_entered =
            |why| SubmitError::NotEntered { why, retry_after: retry_after(why, self.config.retry_pause) };
        if self.permits.is_closed() {
            return Err(not_entered(NotEntered::Stopping));
        }
        if submission.body.is_report() && yields(&self.permits, &self.config) {
            return Err(not_entered(NotEntered::Overloaded));
        }
        let _permit = self.permits.try_acquire().map_err(|_| not_entered(NotEntered::Overloaded))?;
        // Not left to the leader: an older one does not know that there are signatures, and would leave this one out.
        if let Some(reply) = too_new(submission, &self.replica.published().state) {
            return Ok(Submitted { reply, published_here: true, not_yet_on: Vec::new() });
        }
        let Answered { reply, not_yet_on } =
            drive(self, submission, deadline, self.config.retry_pause).await?;
        // Without room for it, it does not come here, and to wait for it would only take the caller's time.
        let comes = !submission.dry_run && self.room.follows();
        let published_here = comes && self.publishes(&reply, deadline).await;
        Ok(Submitted { reply, published_here, not_yet_on })
    }

    /// Answers a write that the state published here remembers, by what it came to.
    pub(crate) async fn repeat(&self, reply: Reply, deadline: Duration) -> Submitted {
        let not_yet_on = self.telling.not_yet_on(&reply, Instant::now() + deadline).await;
        Submitted { reply, published_here: true, not_yet_on }
    }

    /// Waits, within the deadline, until what the reply tells of is published here: whoever wrote through this node
    /// reads it here next.
    async fn publishes(&self, reply: &Reply, deadline: Instant) -> bool {
        let revision = match &reply.outcome {
            Outcome::Accepted { revision, .. } | Outcome::Unchanged { revision, .. } => *revision,
            Outcome::Rejected { .. } | Outcome::Refused { .. } => return true,
        };
        timeout_at(deadline, self.replica.await_revision(revision)).await.is_ok()
    }

    /// Takes a write that another member forwarded and waits for within `deadline`. It is not forwarded again.
    pub(crate) async fn take_forwarded(&self, from: u64, message: &[u8], deadline: Duration) -> Vec<u8> {
        let answer = match serde_json::from_slice::<ForwardedWrite>(message) {
            Err(error) => {
                tracing::warn!(from, %error, "a member forwarded a write that this one can't read");
                LeaderAnswer::NotUnderstood
            }
            Ok(write) => match write.into_submission(from) {
                Err(why) => why.into(),
                Ok(submission) => {
                    // Some of the time is for the way back to the node that took the write.
                    let share = deadline.saturating_sub(self.config.answer_reserve);
                    let share = share.min(self.config.forwarded_deadline_max);
                    self.lead.take(&submission, Instant::now() + share).await
                }
            },
        };
        // All that an answer is made of has a JSON form.
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    /// Refuses all writes from now on; those under way go on.
    pub(crate) fn stop(&self) {
        self.permits.close();
    }

    async fn forward(&self, leader: u64, submission: &Submission, deadline: Instant) -> Attempt {
        let Ok(message) = serde_json::to_vec(&ForwardedWrite::new(submission)) else {
            return Attempt::NotSent;
        };
        if before_way_back(deadline, self.config.answer_reserve).is_zero() {
            return Attempt::NotSent;
        }
        let may_be_repeated = submission.request.client_given;
        let left = deadline.saturating_duration_since(Instant::now());
        let answer = tokio::select! {
            answer = self.peers.forward(leader, message, left) => answer,
            // A deposed or dead leader may keep its silence; the new one is asked instead. What must not be asked
            // twice is worth waiting for: a leader that hands over in order still answers what it took.
            () = leader_other_than(&self.replica, Some(leader)), if may_be_repeated && self.leader() == Some(leader) => {
                self.metrics.forwarded(false);
                return Attempt::Lost;
            }
        };
        self.metrics.forwarded(answer.is_ok());
        match answer {
            Ok(answer) => serde_json::from_slice(&answer).map_or(Attempt::Lost, Attempt::Answered),
            Err(error) if error.surely_not_delivered() => Attempt::NotSent,
            Err(_) => Attempt::Lost,
        }
    }
}

/// Whether reports have to wait: the last quarter of the room for writes is for changes.
fn yields(permits: &Semaphore, config: &WriteConfig) -> bool {
    permits.available_permits() <= config.in_flight_max / 4
}

impl Paths for Writes {
    fn leader(&self) -> Option<u64> {
        known_leader(&self.replica)
    }

    async fn attempt(&self, leader: u64, submission: &Submission, deadline: Instant) -> Attempt {
        if leader == self.node_id {
            Attempt::Answered(self.lead.take(submission, deadline).await)
        } else {
            self.forward(leader, submission, deadline).await
        }
    }

    fn remembered(&self, minted_id: &str) -> Option<Reply> {
        let published = self.replica.published();
        Some(published.state.request(minted_id)?.reply(minted_id.to_owned()))
    }

    async fn not_yet_on(&self, reply: &Reply, deadline: Instant) -> Vec<u64> {
        self.telling.not_yet_on(reply, deadline).await
    }

    async fn leader_other_than(&self, than: Option<u64>) {
        leader_other_than(&self.replica, than).await;
    }
}
