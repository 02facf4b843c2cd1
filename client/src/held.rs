//! The copy that evaluations read.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use flagraft_core::{
    feed::Replica,
    identity::{History, RevisionToken},
};

use crate::{
    clock::{Clock, ceil_ms},
    context::Overlay,
    details::Source,
};

/// A copy of the definitions. A newer one takes its place; this one stays as it is for whoever reads it.
#[derive(Debug)]
pub(crate) struct Held {
    pub replica: Replica,
    /// The history that its revisions count in; a bootstrap file belongs to none.
    pub history: Option<History>,
    pub source: Source,
    pub overlay: Arc<Overlay>,
    /// Whether every flag may be served as it is, whatever the age: all of them are understood, none is critical, and
    /// none bounds its age.
    pub is_plain: bool,
    /// Whether its evaluations are counted: whether it is known to be of the environment that the token reports for.
    pub is_counted: bool,
    /// The time, in nanoseconds of the clock, as of which it is known to have been current; 0 where nobody knows.
    ///
    /// Invariant: it is of this very copy. A newer copy has its own, so that nobody who still reads the older one
    /// takes the newer one's age for its own.
    as_of: AtomicU64,
}

impl Held {
    pub fn new(replica: Replica, history: Option<History>, source: Source, overlay: Arc<Overlay>) -> Self {
        let is_plain = is_plain(&replica);
        // Anybody may have put a bootstrap file there, of any environment.
        let is_counted = source != Source::Bootstrap;
        Self { replica, history, source, overlay, is_plain, is_counted, as_of: AtomicU64::new(0) }
    }

    /// The copy after a change: it is at least as fresh.
    pub fn followed_by(&self, replica: Replica) -> Self {
        Self {
            is_plain: is_plain(&replica),
            is_counted: self.is_counted,
            replica,
            history: self.history,
            source: self.source,
            overlay: Arc::clone(&self.overlay),
            as_of: AtomicU64::new(self.as_of.load(Ordering::Acquire)),
        }
    }

    /// It was current as of this time, in nanoseconds of the clock. One from disk never is: nothing of it is known.
    pub fn was_current(&self, at_nanos: u64) {
        if self.source == Source::Node {
            self.as_of.fetch_max(at_nanos, Ordering::AcqRel);
        }
    }

    /// It was current when an earlier copy was: it holds all that one held, and maybe more. For copies of one environment
    /// and one history, this one's revision no lower.
    pub fn was_current_with(&self, earlier: &Self) {
        self.was_current(earlier.as_of.load(Ordering::Acquire));
    }

    /// The state of the definitions: what stays the same while only others change.
    pub fn definitions(&self) -> Option<RevisionToken> {
        let revision = self.replica.environment_revision();
        self.history.map(|history| RevisionToken { history, revision })
    }

    /// A bound on how long ago it was known to be current; `None` where nobody knows.
    pub fn age_ms(&self, clock: &dyn Clock) -> Option<u64> {
        // Read before the clock, so that the age is never below the truth.
        match self.as_of.load(Ordering::Acquire) {
            0 => None,
            as_of => Some(ceil_ms(as_of, clock.boot_nanos())),
        }
    }

    /// The revision that it is at.
    pub fn revision(&self) -> Option<RevisionToken> {
        self.history.map(|history| RevisionToken { history, revision: self.replica.revision() })
    }
}

fn is_plain(replica: &Replica) -> bool {
    let environment = replica.environment();
    let is_understood = replica.unsupported().next().is_none();
    is_understood && environment.critical().is_empty() && environment.max_ages().is_empty()
}
