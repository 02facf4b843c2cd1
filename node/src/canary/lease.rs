//! A leader that is sure of its office for too long, and asks nobody.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Canary, is_planted};

/// Many times what its followers wait before they choose another leader.
const LEASE: Duration = Duration::from_secs(10);

/// When a quorum last confirmed this process's node.
static CONFIRMED: Mutex<Option<Instant>> = Mutex::new(None);

/// A quorum has confirmed this node.
pub(crate) fn renew() {
    if is_planted(Canary::LongLease) {
        *CONFIRMED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Whether this node, which takes itself for the leader, believes that without asking.
pub(crate) fn holds() -> bool {
    is_planted(Canary::LongLease)
        && CONFIRMED.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < LEASE)
}
