//! What may be served of a copy, by its age.
//!
//! A flag that is effectively critical is served from the copy only while that is young enough, and never from disk or a
//! bootstrap file, whose age nobody knows: else its safe variant. Another flag does as it says itself.

use flagraft_core::{context::EvaluationContext, feed::ReplicaError, flag::OnStale, resolution::Resolution};

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
    let stated = resolution.flag.definition.max_age_ms;
    if stated.is_none() && !is_critical {
        return Verdict::Serve(resolution, Consistency::Local);
    }
    let max_age_ms = stated.unwrap_or(CRITICAL_MAX_AGE_MS);
    if held.age_ms(clock).is_some_and(|age_ms| age_ms <= max_age_ms) {
        return Verdict::Serve(resolution, Consistency::Local);
    }
    let on_stale = if is_critical { OnStale::SafeVariant } else { resolution.flag.definition.on_stale };
    match on_stale {
        OnStale::Serve => Verdict::Serve(resolution, Consistency::Local),
        OnStale::Error => Verdict::Stale,
        OnStale::SafeVariant => match environment.safe_resolution(key) {
            Ok(safe) => Verdict::Serve(safe, Consistency::SafeVariant),
            Err(_) => Verdict::NotFound,
        },
    }
}
