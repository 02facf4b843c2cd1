//! What `apply` answers to whoever proposed.

use serde::{Deserialize, Serialize};

use crate::rejection::Rejection;

/// The answer to a proposal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The request's id, as the client gave it or the first node minted it.
    pub request_id: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Whether an earlier entry with this request id decided, and this one did nothing.
    pub replayed: bool,
    /// Whether a flag became critical by this entry: the answer then waits until every member knows.
    pub promotes_critical: bool,
}

/// What became of a proposal. Kept in the table of request ids: the JSON form is frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It took effect.
    Accepted {
        /// The revision that it made.
        revision: u64,
        /// Its record's sequence.
        sequence: u64,
    },
    /// The state was so already.
    Unchanged {
        /// The revision that the state is at.
        revision: u64,
        /// Its record's sequence.
        sequence: u64,
    },
    /// It was rejected, and recorded.
    Rejected {
        /// Why.
        rejection: Rejection,
        /// Its record's sequence.
        sequence: u64,
    },
    /// It was rejected without a record.
    Refused {
        /// Why.
        rejection: Rejection,
    },
}

impl Outcome {
    /// Why it was rejected, if it was.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Self::Rejected { rejection, .. } | Self::Refused { rejection } => Some(rejection),
            Self::Accepted { .. } | Self::Unchanged { .. } => None,
        }
    }
}
