//! What can go wrong with a node.

use std::time::Duration;

use flagraft_core::feed::FeedError;

/// Why a node did not give what it was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the node can't be reached")]
    Unreachable,
    #[error("the node did not answer in time")]
    Silent,
    #[error("the connection broke off")]
    BrokenOff,
    #[error(
        "the node refuses the token (status {0}); check that it is a service token that is neither revoked nor expired"
    )]
    Refused(u16),
    #[error("the node is not ready")]
    Busy(Option<Duration>),
    #[error("the node answered with status {0}")]
    Status(u16),
    #[error("the answer is not one of this API: {0}")]
    Garbage(&'static str),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    #[error("the answer is older than the copy that is held")]
    Older,
    #[error("the answer is of another history, which was left or which no quorum is known to stand behind")]
    LeftHistory,
    #[error("{0}")]
    Feed(FeedError),
}

impl Fault {
    /// In a word, for the label of a metric.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::BrokenOff => "broken_off",
            Self::Refused(_) => "refused",
            Self::Busy(_) => "busy",
            Self::Status(_) => "status",
            Self::Garbage(_) => "garbage",
            Self::TooLarge(_) => "too_large",
            Self::Older => "older",
            Self::LeftHistory => "left_history",
            Self::Feed(FeedError::Newer(_)) => "newer",
            Self::Feed(FeedError::Gap { .. }) => "gap",
            Self::Feed(FeedError::OtherPlace(_)) => "other_place",
            Self::Feed(FeedError::Malformed(_)) => "malformed",
        }
    }

    /// How long the node asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(retry_after) => *retry_after,
            _ => None,
        }
    }
}

impl From<FeedError> for Fault {
    fn from(error: FeedError) -> Self {
        Self::Feed(error)
    }
}
