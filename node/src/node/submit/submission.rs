//! A write on its way: what is asked for, and what became of it.

use std::time::Duration;

use flagraft_core::{
    invalid::Invalid,
    proposal::{Body, Cause, Change, RequestId},
    reply::Reply,
    signing::ChangeSignature,
    token::{Secret, TokenFault},
};

use crate::random::random;

/// A write as the node that took it hands it on.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Who asks. The leader checks it again.
    pub credentials: Credentials,
    /// What is asked for.
    pub body: Body,
    /// What tells whether two requests ask for the same, where that is not the body:
    /// [`flagraft_core::proposal::Proposal::asks_sha256`].
    pub asks_sha256: Option<[u8; 32]>,
    /// The author's signature of the change.
    pub signature: Option<ChangeSignature>,
    /// The request's id: the client's `Idempotency-Key`, or one of [`mint_request_id`].
    pub request: RequestId,
    /// What caused it, where that is not a person's request.
    pub caused_by: Option<Cause>,
    /// Only say what would become of it: nothing enters the log.
    pub dry_run: bool,
}

impl Submission {
    /// What somebody asks for, unsigned, to be done, and told from other requests by its body.
    pub fn new(credentials: Credentials, body: Body, request: RequestId) -> Self {
        Self {
            credentials,
            body,
            asks_sha256: None,
            signature: None,
            request,
            caused_by: None,
            dry_run: false,
        }
    }

    /// A change that the holder of `secret` asks for.
    pub fn change(secret: Secret, change: Change, request: RequestId) -> Self {
        Self::new(Credentials::Token(secret), Body::Change(change), request)
    }
}

/// Who asks for a write.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The holder of a token.
    Token(Secret),
    /// A member, for the cluster itself: it founds the cluster, or reports what it counted.
    Member(u64),
}

/// A write that was answered by the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// What `apply` answered: accepted, unchanged, rejected or refused.
    pub reply: Reply,
    /// Whether its effect is published on this node already, so that a read here sees it. False only when this
    /// node did not catch up within the deadline, and for a dry run.
    pub published_here: bool,
    /// For a change that created or promoted a critical flag: the members that did not publish it within the
    /// deadline, so they may not know yet that it has to be confirmed.
    pub not_yet_on: Vec<u64>,
}

/// Why a write has no answer of the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The credentials are no good, as the leader sees it. 401.
    #[error("the token is {0}")]
    Unauthenticated(TokenFault),
    /// The change breaks a rule that needs no state to see. 400 or 422.
    #[error("{0}")]
    Invalid(Invalid),
    /// The change has more bytes than an entry of the log may have. 413.
    #[error("{0}")]
    TooLarge(Invalid),
    /// This token was rejected too often in this second for another rejection to be recorded. 429.
    #[error(
        "too many rejected changes with this token; look at the errors of the earlier ones before trying again"
    )]
    TooManyRejections,
    /// It certainly did not enter the log, and may be sent again. 503.
    #[error("{why}; the change was not made")]
    NotEntered {
        /// What stood in the way.
        why: NotEntered,
        /// When to try again.
        retry_after: Duration,
    },
    /// It may have entered the log or not: ask for the request, or send it again under the same id. 504.
    #[error("no answer came in time; whether the change was made is unknown")]
    OutcomeUnknown,
}

impl SubmitError {
    /// Whether the same write would be refused again, whenever it is sent.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::TooLarge(_))
    }
}

/// What kept a write from entering the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum NotEntered {
    /// No leader is known, or none answers.
    #[error("no leader could be reached")]
    NoLeader,
    /// The leader can't reach a quorum.
    #[error("the leader has no quorum")]
    NoQuorum,
    /// Too many writes are under way on this node or the leader.
    #[error("too many writes are under way")]
    Overloaded,
    /// This node is shutting down.
    #[error("this node is shutting down")]
    Stopping,
    /// The disk of the leader, or of too many members for a quorum, has no room for another entry.
    #[error("the disk of node {node} is full or nearly so")]
    NoRoom {
        /// A member whose disk has too little room.
        node: u64,
    },
    /// The clocks of this node and of the leader differ so much that the leader can't tell a write from an old one
    /// that somebody sends again.
    #[error("the clocks of this node and of the leader differ by minutes")]
    ClockSkew,
    /// The leader runs a version that does not understand what this node forwards.
    #[error("the leader runs another version, which does not understand the change")]
    NotUnderstood,
}

/// A fresh id for a request whose client gave none: `req_` and 32 hexadecimal digits.
pub fn mint_request_id() -> RequestId {
    RequestId { id: format!("req_{}", hex::encode(random::<16>())), client_given: false }
}
