//! Hearing of changes.

use std::sync::Arc;

use flagraft_core::identity::RevisionToken;
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

/// How many changes a listener may be behind before it is told that anything may have changed.
const BEHIND_MAX: usize = 256;

/// The copy has changed.
#[derive(Clone, Debug)]
pub struct Change {
    /// Which revision it is at now; `None` for a bootstrap file, which belongs to no history.
    pub revision: Option<RevisionToken>,
    /// What may answer otherwise than before.
    pub changed: Changed,
}

/// What may answer otherwise than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// These flags, in key order: those that were changed, and those that depend on what was.
    Flags(Arc<[String]>),
    /// Any flag: it is the first copy, one of another history, or the listener was too slow to be told one by one.
    Everything,
}

impl Changed {
    /// Whether this flag may answer otherwise than before.
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::Flags(flags) => flags.binary_search_by(|flag| flag.as_str().cmp(key)).is_ok(),
            Self::Everything => true,
        }
    }
}

/// The changes from now on.
#[derive(Debug)]
pub struct Changes(Receiver<Change>);

impl Changes {
    pub(crate) fn channel() -> Sender<Change> {
        Sender::new(BEHIND_MAX)
    }

    pub(crate) fn of(sender: &Sender<Change>) -> Self {
        Self(sender.subscribe())
    }

    /// Waits for the next change; `None` once the client is gone.
    pub async fn next(&mut self) -> Option<Change> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(RecvError::Lagged(_)) => Some(Change { revision: None, changed: Changed::Everything }),
            Err(RecvError::Closed) => None,
        }
    }
}
