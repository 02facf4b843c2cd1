//! What became of a write whose answer was lost.

use serde::Deserialize;

use super::call::Call;

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RequestStatus {
    /// The `Idempotency-Key` that it went under.
    pub request_id: String,
    /// When it was decided, an RFC 3339 time.
    pub at: String,
    /// The sequence of its audit record; `None` where it has none.
    pub sequence: Option<u64>,
    /// What was decided.
    #[serde(flatten)]
    pub outcome: RequestOutcome,
}

/// What was decided of a write.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestOutcome {
    /// It took effect.
    Accepted {
        /// The revision that it made.
        revision: u64,
    },
    /// The state was so already.
    Unchanged {
        /// The revision that the state was at.
        revision: u64,
    },
    /// It was rejected.
    Rejected {
        /// Why.
        error: RequestError,
    },
}

/// Why a write was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct RequestError {
    /// The API's word for it.
    pub code: String,
    /// What happened, and what to do.
    pub message: String,
}

/// What became of the write with this `Idempotency-Key`, made with the same token in the last 15 minutes. Not found means that
/// none was decided so far.
pub fn get(request_id: &str) -> Call<RequestStatus> {
    Call::get(["api", "v1", "requests", request_id]).answering()
}
