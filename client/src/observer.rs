//! What a service may count.

use std::time::Duration;

use crate::{
    details::{Consistency, ErrorCode, Reason},
    status::Status,
};

/// What was asked of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// What the token is good for.
    Token,
    /// The definitions.
    Definitions,
    /// The revision of the definitions, to know how old the copy is.
    Probe,
    /// The stream of changes, until its first event.
    Stream,
    /// One evaluation.
    Evaluation,
    /// That a report of evaluations be put into the audit log.
    Report,
}

impl Request {
    /// Its name, for the label of a metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Definitions => "definitions",
            Self::Probe => "probe",
            Self::Stream => "stream",
            Self::Evaluation => "evaluation",
            Self::Report => "report",
        }
    }
}

/// Hears of what a client does: for metrics and traces. The methods are called where it happens, so they must be quick and
/// must not block. Each has a default that does nothing.
pub trait Observer: Send + Sync + 'static {
    /// A flag was evaluated from the copy.
    fn evaluated(&self, key: &str, reason: Reason, consistency: Consistency, error: Option<ErrorCode>) {
        let _ = (key, reason, consistency, error);
    }

    /// The status is another one.
    fn status(&self, status: Status) {
        let _ = status;
    }

    /// A node was asked something: what came of it, in a word of at most a few (`ok`, `unreachable`, `silent`, ...), and how
    /// long that took.
    fn asked(&self, endpoint: &str, request: Request, outcome: &'static str, took: Duration) {
        let _ = (endpoint, request, outcome, took);
    }

    /// A copy was taken in: of this revision, in so many bytes.
    fn updated(&self, revision: u64, bytes: usize) {
        let _ = (revision, bytes);
    }

    /// The stream was lost, or had to be given up, for this reason.
    fn stream_lost(&self, endpoint: &str, reason: &'static str) {
        let _ = (endpoint, reason);
    }
}
