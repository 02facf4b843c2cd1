//! What a leader answers to a write, and the form in which a write and its answer travel between members.
//!
//! The form is JSON, like the proposal that is made of it: its fields are part of the peer protocol.

use std::time::Duration;

use flagraft_core::{
    invalid::Invalid,
    proposal::{Body, Cause, RequestId},
    reply::Reply,
    token::{Secret, TokenFault},
};
use serde::{Deserialize, Serialize};

use super::submission::{Credentials, Submission};

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
}

impl LeaderAnswer {
    pub(super) fn invalid(invalid: Invalid) -> Self {
        Self::Invalid { path: invalid.path, message: invalid.message }
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
        }
    }

    /// The write as it was submitted to the member `from`, and how long the leader has for it.
    pub(super) fn into_submission(self, from: u64) -> Result<(Submission, Duration), Invalid> {
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
