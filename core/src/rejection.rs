//! Why a proposal is rejected.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{invalid::Invalid, token::TokenFault};

/// Why a proposal is rejected, **in order of precedence**: where several apply, the first of this list is the
/// one that is given. First comes what concerns the change as a whole: the cluster's founding, the token, the signature,
/// the project, the form of the change (its reason, its ticket, how many operations). Then the operations are judged one after the
/// other, so the first faulty operation decides. [`Rejection::Policy`] comes after all of them.
///
/// Stored in records and in the table of request ids, so the JSON form is frozen, and the wording too: members that
/// word a rejection differently would disagree about the state's digest. A message changes only behind a new cluster
/// version, and holds no other library's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Rejection {
    /// The request id was used for another body. Not recorded.
    IdempotencyMismatch,
    /// Too many request ids are remembered to take another one from a client. Not recorded.
    TooManyRequests,
    /// The cluster was not founded yet, or is being founded twice.
    Bootstrap {
        /// What to do.
        message: String,
    },
    /// The operation is newer than the cluster version allows.
    UnsupportedOperation {
        /// JSON pointer to the operation.
        path: String,
        /// The operation.
        operation: String,
        /// The cluster version it needs.
        needs: u32,
    },
    /// The caller's token is no longer good: an earlier entry revoked it, or its time ran out.
    Unauthenticated {
        /// What is wrong with the token.
        fault: TokenFault,
    },
    /// The signature that the change came with is none that counts.
    BadSignature {
        /// JSON pointer into the proposal, to what is wrong with it.
        path: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// The object does not exist, or not for this caller.
    NotFound {
        /// JSON pointer to where it is named.
        path: String,
        /// What it is: `project`, `environment`, `flag`, `segment`, `rule`, `token`, `signing key`.
        kind: String,
        /// Its key.
        key: String,
    },
    /// The caller's token does not grant this.
    Forbidden {
        /// JSON pointer to the operation.
        path: String,
        /// What it lacks.
        message: String,
    },
    /// The object stands in the way by existing: archived, deleted, or made already.
    Conflict {
        /// JSON pointer to where it is named.
        path: String,
        /// What stands in the way and what to do.
        message: String,
    },
    /// `if_revision` or `expect_revision` is not what the object has.
    RevisionMismatch {
        /// JSON pointer to the operation.
        path: String,
        /// The object.
        object: String,
        /// The revision that was expected.
        expected: u64,
        /// The revision that it has; 0: it does not exist.
        actual: u64,
    },
    /// The operation is wrong in itself, or against what it refers to.
    Invalid {
        /// JSON pointer to the fault.
        path: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// Something else still uses the object.
    InUse {
        /// JSON pointer to where it is named.
        path: String,
        /// What uses it.
        message: String,
    },
    /// The change does not satisfy the policy of an environment that it touches.
    Policy {
        /// JSON pointer to what would have to change.
        path: String,
        /// What the policy asks for.
        message: String,
    },
}

impl Rejection {
    pub(crate) fn invalid(invalid: Invalid) -> Self {
        Self::Invalid { path: invalid.path, message: invalid.message }
    }

    pub(crate) fn not_found(path: impl Into<String>, kind: &str, key: impl fmt::Display) -> Self {
        Self::NotFound { path: path.into(), kind: kind.to_owned(), key: key.to_string() }
    }

    /// JSON pointer to the fault within the proposal; `""` where it is the proposal as a whole.
    pub fn path(&self) -> &str {
        match self {
            Self::IdempotencyMismatch
            | Self::TooManyRequests
            | Self::Bootstrap { .. }
            | Self::Unauthenticated { .. } => "",
            Self::UnsupportedOperation { path, .. }
            | Self::BadSignature { path, .. }
            | Self::NotFound { path, .. }
            | Self::Forbidden { path, .. }
            | Self::Conflict { path, .. }
            | Self::RevisionMismatch { path, .. }
            | Self::Invalid { path, .. }
            | Self::InUse { path, .. }
            | Self::Policy { path, .. } => path,
        }
    }

    /// The same rejection seen from one level further out: `segment` goes before its path.
    #[must_use]
    pub(crate) fn under(mut self, segment: impl fmt::Display) -> Self {
        match &mut self {
            Self::IdempotencyMismatch
            | Self::TooManyRequests
            | Self::Bootstrap { .. }
            | Self::Unauthenticated { .. } => {}
            Self::UnsupportedOperation { path, .. }
            | Self::BadSignature { path, .. }
            | Self::NotFound { path, .. }
            | Self::Forbidden { path, .. }
            | Self::Conflict { path, .. }
            | Self::RevisionMismatch { path, .. }
            | Self::Invalid { path, .. }
            | Self::InUse { path, .. }
            | Self::Policy { path, .. } => *path = format!("/{segment}{path}"),
        }
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IdempotencyMismatch => {
                f.write_str("this Idempotency-Key was used for another request; use a new key for a new request")
            }
            Self::TooManyRequests => {
                f.write_str("too many Idempotency-Keys were used in the last 15 minutes; slow down, or send the request without one")
            }
            Self::UnsupportedOperation { operation, needs, .. } => {
                write!(f, "{operation} needs cluster version {needs}; raise it once every member runs a version that knows it")
            }
            Self::Unauthenticated { fault } => write!(f, "the token is {fault}; use another one"),
            Self::NotFound { kind, key, .. } => write!(f, "there is no {kind} {key:?}; check the key, or create it first"),
            Self::RevisionMismatch { object, expected, actual: 0, .. } => {
                write!(f, "{object} does not exist, but revision {expected} was expected; read it again and decide anew")
            }
            Self::RevisionMismatch { object, expected, actual, .. } => {
                write!(f, "{object} is at revision {actual}, not {expected}: somebody changed it; read it again and decide anew")
            }
            Self::Bootstrap { message }
            | Self::BadSignature { message, .. }
            | Self::Forbidden { message, .. }
            | Self::Conflict { message, .. }
            | Self::Invalid { message, .. }
            | Self::InUse { message, .. }
            | Self::Policy { message, .. } => f.write_str(message),
        }
    }
}
