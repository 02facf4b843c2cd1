//! What a leader answers to a write, and the form in which a write and its answer travel between members.
//!
//! The form is JSON, like the proposal that is made of it: its fields are part of the peer protocol.

use std::time::Duration;

use flagraft_core::{
    invalid::Invalid,
    proposal::{Body, Cause, EncodeError, RequestId},
    reply::Reply,
    token::{Secret, TokenFault},
};
use serde::{Deserialize, Serialize};

use super::submission::{Credentials, Submission};
use crate::clock::wall_ms;

/// How far the sender's clock may be from this node's, in milliseconds: less than a request id is remembered, so that
/// a write that somebody recorded and sends again is refused before its id is forgotten.
const SENT_WITHIN_MS: u64 = 10 * 60 * 1_000;

/// What a leader, or a node taken for one, answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum LeaderAnswer {
    /// The log answered.
    Done {
        /// What `apply` said.
        reply: Reply,
        /// Members that did not publish a newly critical flag in time.
        #[serde(default)]
        not_yet_on: Vec<u64>,
    },
    /// This node does not lead: it did nothing.
    NotLeader {
        /// Who does, as far as it knows.
        leader: Option<u64>,
    },
    /// This node could not make sure of its quorum: it did nothing.
    NoQuorum,
    /// Too many writes are under way here: it did nothing.
    Overloaded,
    /// The credentials are no good.
    Unauthenticated {
        /// What is wrong with them.
        fault: TokenFault,
    },
    /// The change breaks a rule that needs no state to see.
    Invalid {
        /// Where.
        path: String,
        /// What, and what to do.
        message: String,
    },
    /// The change is too large for an entry.
    TooLarge {
        /// What to do.
        message: String,
    },
    /// Too many rejections of this token in this second.
    TooManyRejections,
    /// It was proposed and not answered in time.
    OutcomeUnknown,
    /// There is no room for another entry on too many disks: nothing was done.
    NoRoom {
        /// A member whose disk has too little room.
        node: u64,
    },
}

impl LeaderAnswer {
    pub(super) fn invalid(invalid: Invalid) -> Self {
        Self::Invalid { path: invalid.path, message: invalid.message }
    }

    /// What was not proposed, because it can't be an entry of the log.
    pub(super) fn not_encoded(error: &EncodeError) -> Self {
        let message = error.to_string();
        match error {
            EncodeError::TooLarge(_) => Self::TooLarge { message },
            EncodeError::Unreadable(_) => Self::Invalid { path: String::new(), message },
        }
    }
}

/// A write on its one hop to the leader.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardedWrite {
    /// The caller's secret. `None`: the sending member asks for the cluster itself.
    secret: Option<String>,
    body: Body,
    request: RequestId,
    #[serde(default)]
    caused_by: Option<Cause>,
    #[serde(default)]
    dry_run: bool,
    /// How long the leader has, in milliseconds.
    deadline_ms: u64,
    /// When it was sent by the sender's clock, in milliseconds since 1970 UTC.
    sent_at_ms: i64,
}

impl ForwardedWrite {
    pub(super) fn new(submission: &Submission, deadline: Duration) -> Self {
        Self {
            secret: match &submission.credentials {
                Credentials::Token(secret) => Some(secret.expose().to_owned()),
                Credentials::Member(_) => None,
            },
            body: submission.body.clone(),
            request: submission.request.clone(),
            caused_by: submission.caused_by.clone(),
            dry_run: submission.dry_run,
            deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            sent_at_ms: wall_ms(),
        }
    }

    /// The write as it was submitted to the member `from`, and how long the leader has for it.
    pub(super) fn into_submission(self, from: u64) -> Result<(Submission, Duration), Invalid> {
        let skew_ms = wall_ms().abs_diff(self.sent_at_ms);
        if skew_ms > SENT_WITHIN_MS {
            return Err(Invalid::here(format!(
                "node {from} forwarded this {skew_ms} ms ago by the leader's clock: set the clocks of the nodes right, \
                 and send it again"
            )));
        }
        let credentials = match self.secret {
            Some(secret) => Credentials::Token(Secret::parse(&secret)?),
            None => Credentials::Member(from),
        };
        let submission = Submission {
            credentials,
            body: self.body,
            request: self.request,
            caused_by: self.caused_by,
            dry_run: self.dry_run,
        };
        Ok((submission, Duration::from_millis(self.deadline_ms)))
    }
}

#[cfg(test)]
mod tests {
    use flagraft_core::proposal::Denials;

    use super::*;

    #[test]
    fn a_forwarded_write_that_is_sent_again_later_is_refused() {
        let body = Body::Denials(Denials { node: 2, from_ms: 0, to_ms: 1, count: 1 });
        let submission = Submission {
            credentials: Credentials::Member(2),
            body,
            request: RequestId { id: "one".to_owned(), client_given: false },
            caused_by: None,
            dry_run: false,
        };
        let sent = ForwardedWrite::new(&submission, Duration::from_secs(1));
        assert!(sent.clone().into_submission(2).is_ok());
        let within = i64::try_from(SENT_WITHIN_MS).expect("minutes");
        for elsewhere in [-within - 1_000, within + 1_000] {
            let again = ForwardedWrite { sent_at_ms: sent.sent_at_ms + elsewhere, ..sent.clone() };
            let refused = again.into_submission(2).expect_err("refused");
            assert!(refused.message.contains("clocks"), "{refused}");
        }
    }
}
