//! A write on its way: what is asked for, and what became of it.

use std::time::Duration;

use flagraft_core::{
    invalid::Invalid,
    proposal::{Body, Cause, Change, RequestId},
    reply::Reply,
    token::{Secret, TokenFault},
};

/// A write as the node that took it hands it on.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Who asks. The leader checks it again.
    pub credentials: Credentials,
    /// What is asked for.
    pub body: Body,
    /// The request's id: the client's `Idempotency-Key`, or one of [`mint_request_id`].
    pub request: RequestId,
    /// What caused it, where that is not a person's request.
    pub caused_by: Option<Cause>,
    /// Only say what would become of it: nothing enters the log.
    pub dry_run: bool,
}

impl Submission {
    /// A change that the holder of `secret` asks for.
    pub fn change(secret: Secret, change: Change, request: RequestId) -> Self {
        Self {
            credentials: Credentials::Token(secret),
            body: Body::Change(change),
            request,
            caused_by: None,
            dry_run: false,
        }
    }
}

/// Who asks for a write.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// The holder of a token.
    Token(Secret),
    /// A member, for the cluster itself: it founds the cluster, or counts refused credentials.
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
}

/// A fresh id for a request whose client gave none: `req_` and 32 hexadecimal digits.
pub fn mint_request_id() -> RequestId {
    RequestId { id: format!("req_{}", hex::encode(random_bytes())), client_given: false }
}

/// 128 random bits from the operating system.
pub fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    // Without randomness nothing here can go on safely, and Linux has it from the moment a process can run.
    #[expect(clippy::expect_used, reason = "a system without a source of randomness can't run a node")]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
