//! What a leader answers to a write, and the form in which a write and its answer travel between members.
//!
//! The form is JSON, like the proposal that is made of it: its fields are part of the peer protocol, frozen in
//! `golden/`. Members of two versions talk to each other while a cluster is upgraded: fields are only ever added, and one
//! that a member does not know is left out of account. What an older leader must not leave out of account belongs behind
//! the cluster version.

use flagraft_core::{
    invalid::Invalid,
    proposal::{Body, Cause, EncodeError, RequestId},
    reply::Reply,
    signing::ChangeSignature,
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
#[serde(tag = "answer", rename_all = "snake_case")]
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
    /// The sender's clock and this node's differ too much: it did nothing.
    ClockSkew,
    /// This node does not understand what was forwarded: it did nothing.
    NotUnderstood,
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

/// Why a forwarded write is not taken: nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    ClockSkew,
    NotUnderstood,
    Invalid(Invalid),
}

impl From<NotTaken> for LeaderAnswer {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::ClockSkew => Self::ClockSkew,
            NotTaken::NotUnderstood => Self::NotUnderstood,
            NotTaken::Invalid(invalid) => Self::invalid(invalid),
        }
    }
}

/// A write on its one hop to the leader.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct ForwardedWrite {
    /// The caller's secret. `None`: the sending member asks for the cluster itself.
    secret: Option<String>,
    body: Body,
    /// In hexadecimal: [`Submission::asks_sha256`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asks_sha256: Option<String>,
    /// Behind the cluster version: see [`super::Writes::submit`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<ChangeSignature>,
    request: RequestId,
    #[serde(default)]
    caused_by: Option<Cause>,
    #[serde(default)]
    dry_run: bool,
    /// When it was sent by the sender's clock, in milliseconds since 1970 UTC.
    sent_at_ms: i64,
}

impl ForwardedWrite {
    pub(super) fn new(submission: &Submission) -> Self {
        Self {
            secret: match &submission.credentials {
                Credentials::Token(secret) => Some(secret.expose().to_owned()),
                Credentials::Member(_) => None,
            },
            body: submission.body.clone(),
            asks_sha256: submission.asks_sha256.map(hex::encode),
            signature: submission.signature.clone(),
            request: submission.request.clone(),
            caused_by: submission.caused_by.clone(),
            dry_run: submission.dry_run,
            sent_at_ms: wall_ms(),
        }
    }

    /// The write as it was submitted to the member `from`.
    pub(super) fn into_submission(self, from: u64) -> Result<Submission, NotTaken> {
        let skew_ms = wall_ms().abs_diff(self.sent_at_ms);
        if skew_ms > SENT_WITHIN_MS {
            tracing::warn!(
                from,
                skew_ms,
                "a member forwarded a write that is old by this node's clock; set the clocks right"
            );
            return Err(NotTaken::ClockSkew);
        }
        let credentials = match self.secret {
            Some(secret) => Credentials::Token(Secret::parse(&secret).map_err(NotTaken::Invalid)?),
            None => Credentials::Member(from),
        };
        let asks_sha256 = self.asks_sha256.as_deref().map(hash_of).transpose()?;
        Ok(Submission {
            credentials,
            body: self.body,
            asks_sha256,
            signature: self.signature,
            request: self.request,
            caused_by: self.caused_by,
            dry_run: self.dry_run,
        })
    }
}

fn hash_of(text: &str) -> Result<[u8; 32], NotTaken> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map(|()| hash).map_err(|_| NotTaken::NotUnderstood)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
