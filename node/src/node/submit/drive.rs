//! A write from the node that took it to an answer: to the leader, once more if that was not the leader, and so
//! on until the deadline.
//!
//! Invariant: an answer that says "not made" is given only when no attempt may have entered the log. That is what
//! tells 503 from 504.
//!
//! Trying again after an attempt that may have entered is safe under an id that the client gave, because entries with
//! the same id and body are one change. Ids that a node minted are remembered only while there is room for them, so
//! under one of those nothing is proposed twice: the write waits whether its request turns up in the state.

use std::{future::Future, time::Duration};

use flagraft_core::{invalid::Invalid, reply::Reply};
use tokio::time::{Instant, sleep_until};

use super::{
    answer::LeaderAnswer,
    submission::{NotEntered, Submission, SubmitError},
};

/// What became of one attempt.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// The node asked gave an answer.
    Answered(LeaderAnswer),
    /// The attempt certainly did not reach the node.
    NotSent,
    /// It may have reached the node or not.
    Lost,
}

/// The ways a write can take.
pub(crate) trait Paths: Sync {
    /// Who is taken for the leader.
    fn leader(&self) -> Option<u64>;

    /// Hands the write to a node, this one or another. Returns by the deadline.
    fn attempt(
        &self,
        leader: u64,
        submission: &Submission,
        deadline: Instant,
    ) -> impl Future<Output = Attempt> + Send;

    /// What became of the request with this id, where the state published here remembers it.
    fn remembered(&self, minted_id: &str) -> Option<Reply>;

    /// If a flag became critical by what the reply is about: the members that do not publish it by the deadline.
    fn not_yet_on(&self, reply: &Reply, deadline: Instant) -> impl Future<Output = Vec<u64>> + Send;

    /// Returns when another leader is known than `than`.
    fn leader_other_than(&self, than: Option<u64>) -> impl Future<Output = ()> + Send;
}

/// What the log answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) not_yet_on: Vec<u64>,
}

/// Takes the write to an answer, or to its deadline.
pub(crate) async fn drive<P: Paths>(
    paths: &P,
    submission: &Submission,
    deadline: Instant,
    retry_pause: Duration,
) -> Result<Answered, SubmitError> {
    let mut course =
        Course { dry_run: submission.dry_run, may_have_entered: false, why: NotEntered::NoLeader };
    let mut hint = None;
    loop {
        let only_watch = course.may_have_entered && !submission.request.client_given;
        if only_watch && let Some(reply) = paths.remembered(&submission.request.id) {
            let not_yet_on = paths.not_yet_on(&reply, deadline).await;
            return Ok(Answered { reply, not_yet_on });
        }
        let known = paths.leader();
        let target = hint.take().or(known);
        if let Some(leader) = target.filter(|_| !only_watch) {
            match course.after(paths.attempt(leader, submission, deadline).await)? {
                Next::Done(answered) => return Ok(answered),
                Next::Retry => {}
                // A hint is followed at once if it is news; a node that knows no better is asked again after a pause.
                Next::Ask(other) if other != leader && known != Some(other) => hint = Some(other),
                Next::Ask(_) => {}
            }
        }
        let pause = Instant::now() + retry_pause;
        if pause >= deadline {
            sleep_until(deadline).await;
            return Err(course.over(retry_pause));
        }
        if hint.is_none() {
            tokio::select! {
                () = sleep_until(pause) => {}
                () = paths.leader_other_than(known) => {}
            }
        } else {
            // Two nodes that each take the other for the leader must not make this spin.
            sleep_until(Instant::now() + retry_pause / 8).await;
        }
    }
}

enum Next {
    Done(Answered),
    Retry,
    Ask(u64),
}

/// What is known of a write so far.
struct Course {
    dry_run: bool,
    may_have_entered: bool,
    /// What stood in the way last.
    why: NotEntered,
}

impl Course {
    fn after(&mut self, attempt: Attempt) -> Result<Next, SubmitError> {
        let answer = match attempt {
            Attempt::Answered(answer) => answer,
            // What the last answer said holds on: perhaps there is just no time left for another.
            Attempt::NotSent => return Ok(Next::Retry),
            Attempt::Lost => {
                self.may_have_entered |= !self.dry_run;
                return Ok(Next::Retry);
            }
        };
        match answer {
            LeaderAnswer::Done { reply, not_yet_on } => Ok(Next::Done(Answered { reply, not_yet_on })),
            LeaderAnswer::NotLeader { leader } => {
                let retry = self.held_up(NotEntered::NoLeader);
                Ok(leader.map_or(retry, Next::Ask))
            }
            LeaderAnswer::NoQuorum => Ok(self.held_up(NotEntered::NoQuorum)),
            LeaderAnswer::Overloaded => Ok(self.held_up(NotEntered::Overloaded)),
            // It may be handing over to a member that has room.
            LeaderAnswer::NoRoom { node } => Ok(self.held_up(NotEntered::NoRoom { node })),
            LeaderAnswer::OutcomeUnknown => {
                self.may_have_entered |= !self.dry_run;
                Ok(Next::Retry)
            }
            LeaderAnswer::Unauthenticated { fault } => Err(self.refused(SubmitError::Unauthenticated(fault))),
            LeaderAnswer::TooManyRejections => Err(self.refused(SubmitError::TooManyRejections)),
            // Neither passes before the deadline: to ask again would only keep two nodes busy.
            LeaderAnswer::ClockSkew => Err(self.refused(not_entered(NotEntered::ClockSkew))),
            LeaderAnswer::NotUnderstood => Err(self.refused(not_entered(NotEntered::NotUnderstood))),
            LeaderAnswer::Invalid { path, message } => {
                Err(self.refused(SubmitError::Invalid(Invalid { path, message })))
            }
            LeaderAnswer::TooLarge { message } => {
                Err(self.refused(SubmitError::TooLarge(Invalid { path: String::new(), message })))
            }
        }
    }

    fn held_up(&mut self, why: NotEntered) -> Next {
        self.why = why;
        Next::Retry
    }

    /// A leader that refuses says nothing of an earlier attempt, which may have been accepted before.
    fn refused(&self, error: SubmitError) -> SubmitError {
        if self.may_have_entered { SubmitError::OutcomeUnknown } else { error }
    }

    fn over(&self, retry_pause: Duration) -> SubmitError {
        match self.may_have_entered {
            true => SubmitError::OutcomeUnknown,
            false => {
                SubmitError::NotEntered { why: self.why, retry_after: retry_after(self.why, retry_pause) }
            }
        }
    }
}

fn not_entered(why: NotEntered) -> SubmitError {
    SubmitError::NotEntered { why, retry_after: retry_after(why, Duration::ZERO) }
}

/// Elections take a second or two; an overload passes sooner, and a full disk not by itself; clocks and versions are
/// for a person to put right.
pub(crate) fn retry_after(why: NotEntered, least: Duration) -> Duration {
    let usual = match why {
        NotEntered::NoLeader | NotEntered::NoQuorum => Duration::from_secs(2),
        NotEntered::Overloaded | NotEntered::Stopping => Duration::from_secs(1),
        NotEntered::NoRoom { .. } => Duration::from_secs(5),
        NotEntered::ClockSkew | NotEntered::NotUnderstood => Duration::from_secs(60),
    };
    usual.max(least)
}

#[cfg(test)]
#[path = "drive_tests.rs"]
mod tests;
