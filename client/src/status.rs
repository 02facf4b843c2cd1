//! How the client does, in OpenFeature's words.

use std::fmt;

/// How a client does. Whatever it is, every evaluation returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It has no copy yet: callers get their defaults.
    NotReady,
    /// It has a copy that it knows to be current, or all but.
    Ready,
    /// It has a copy, and does not know whether that is still current: it came from disk, or no node was heard of for a
    /// while.
    Stale,
    /// It has no copy, and no node gave it one so far. It goes on trying.
    Error,
    /// Every node refuses the token: only a person can help. It goes on trying, rarely, and answers from its copy if it has one.
    Fatal,
}

impl Status {
    /// Its name in OpenFeature.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "NOT_READY",
            Self::Ready => "READY",
            Self::Stale => "STALE",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
