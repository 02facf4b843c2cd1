//! The gate that every evaluation passes: what may be served of a state, by how it is known.
//!
//! Invariant: of a critical flag nothing but its safe variant passes, unless a quorum confirmed the state, or the flag
//! itself asks for its last known value and the state is young enough for that.

use flagraft_core::{
    resolution::{EvaluationError, Resolution},
    standing::{Standing, is_beyond},
};

use super::{Place, request::Asked};
use crate::http::consistency::{Consistency, Stamp};

/// What is served of a flag.
pub(super) enum Passed<'s> {
    /// What it is for the context.
    Known(Resolution<'s>),
    /// Its safe variant.
    Safe(Resolution<'s>),
    /// Nothing: it is older than it may be, and asks for an error then.
    Stale,
}

impl<'s> Place<'s> {
    /// Evaluates a flag in a state that is known as the stamp says.
    pub(super) fn pass(
        &self,
        key: &str,
        asked: &Asked,
        stamp: &Stamp,
    ) -> Result<Passed<'s>, EvaluationError> {
        let flag = self.compiled.flag(key).ok_or(EvaluationError::FlagNotFound)?;
        let standing = match stamp.consistency {
            Consistency::Linearizable => Standing::Good,
            _ if self.compiled.is_critical(key) => Standing::unconfirmed(&flag.definition, stamp.age_ms),
            _ => Standing::by_age(&flag.definition, stamp.age_ms),
        };
        Ok(match standing {
            Standing::Good => Passed::Known(self.compiled.evaluate(key, &asked.context)?),
            Standing::Safe => Passed::Safe(self.compiled.safe_resolution(key)?),
            Standing::Stale => Passed::Stale,
        })
    }

    /// Whether the answer about a flag should be confirmed: it is critical, or this state is older than it may be.
    pub(super) fn is_to_confirm(&self, key: &str, stamp: &Stamp) -> bool {
        let max_age_ms = || self.compiled.max_ages().get(key).copied();
        self.compiled.is_critical(key) || is_beyond(max_age_ms(), stamp.age_ms)
    }

    /// The same of an answer about all flags that the caller sees.
    pub(super) fn is_any_to_confirm(&self, asked: &Asked, stamp: &Stamp) -> bool {
        let mut beyond = self.compiled.max_ages().iter();
        self.compiled.critical().iter().any(|key| self.shows(asked, key))
            || beyond.any(|(key, max)| is_beyond(Some(*max), stamp.age_ms) && self.shows(asked, key))
    }
}
