//! What may be served of a copy, by its age.
//!
//! A flag that is effectively critical is served from the copy only while that is young enough, and never from disk or a
//! bootstrap file, whose age nobody knows: else its safe variant. Another flag does as it says itself.

use flagraft_core::{
    context::EvaluationContext,
    feed::ReplicaError,
    resolution::Resolution,
    standing::{Standing, is_beyond},
};

use crate::{clock::Clock, details::Consistency, held::Held};

/// The age at which a critical flag's answer is stale where the flag does not say, in milliseconds.
const CRITICAL_MAX_AGE_MS: u64 = 1_000;

/// What may be served.
pub(crate) enum Verdict<'a> {
    /// This.
    Serve(Resolution<'a>, Consistency),
    /// Nothing: there is no such flag.
    NotFound,
    /// Nothing but the safe variant, if it names one: it is not understood.
    Unsupported,
    /// Nothing: the flag says that a stale answer is an error.
    Stale,
}

/// What may be served of a flag for a context.
#[inline]
pub(crate) fn decide<'a>(
    held: &'a Held,
    key: &str,
    context: &EvaluationContext,
    clock: &dyn Clock,
) -> Verdict<'a> {
    let resolution = match held.replica.evaluate(key, context) {
        Ok(resolution) => resolution,
        Err(ReplicaError::FlagNotFound) => return Verdict::NotFound,
        Err(ReplicaError::Unsupported) => return Verdict::Unsupported,
    };
    let environment = held.replica.environment();
    let is_critical = !environment.critical().is_empty() && environment.is_critical(key);
    let flag = &resolution.flag.definition;
    if flag.max_age_ms.is_none() && !is_critical {
        return Verdict::Serve(resolution, Consistency::Local);
    }
    let age_ms = held.age_ms(clock);
    let standing = if !is_critical {
        Standing::by_age(flag, age_ms)
    } else if is_beyond(Some(flag.max_age_ms.unwrap_or(CRITICAL_MAX_AGE_MS)), age_ms) {
        Standing::unconfirmed(flag, age_ms)
    } else {
        Standing::Good
    };
    match standing {
        Standing::Good => Verdict::Serve(resolution, Consistency::Local),
        Standing::Stale => Verdict::Stale,
        Standing::Safe => match environment.safe_resolution(key) {
            Ok(safe) => Verdict::Serve(safe, Consistency::SafeVariant),
            Err(_) => Verdict::NotFound,
        },
    }
}
