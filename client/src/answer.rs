//! The answer to a caller: what may be served, in the form that was asked for.

use std::collections::BTreeMap;

use flagraft_core::resolution::Resolution;
use serde_json::Value;

use crate::{
    context::Context,
    decide::{Verdict, decide},
    details::{Consistency, Details, ErrorCode, EvaluationFault, Reason, Source},
    held::Held,
    shared::Shared,
    value::FlagValue,
};

/// The value. Without an observer it costs little more than the evaluation.
#[inline]
pub(crate) fn value<T: FlagValue>(
    shared: &Shared,
    held: Option<&Held>,
    key: &str,
    context: &Context,
    default: T,
) -> T {
    if shared.observer.is_some() {
        return details(shared, held, key, context, default).value;
    }
    let Some(held) = held else { return default };
    let found = context.under(&held.overlay, |context| {
        if held.is_plain {
            let resolution = held.replica.environment().evaluate(key, context).ok()?;
            return served(shared, held, &resolution);
        }
        match decide(held, key, context, &*shared.clock) {
            Verdict::Serve(resolution, _) => served(shared, held, &resolution),
            Verdict::Unsupported => {
                let (variant, value) = held.replica.safe_variant(key)?;
                let value = T::of(&value)?;
                if let Some(resolution) = safe_resolution(held, key, &variant) {
                    shared.count(held, &resolution);
                }
                Some(value)
            }
            Verdict::NotFound | Verdict::Stale => None,
        }
    });
    found.unwrap_or(default)
}

/// The value of what is served, which is counted if the flag asks for that. `None`: the caller's default. A caller that
/// asks for another type is served nothing of the flag's.
#[inline]
fn served<T: FlagValue>(shared: &Shared, held: &Held, resolution: &Resolution<'_>) -> Option<T> {
    let value = match resolution.value {
        Some(value) => Some(T::of(value)?),
        None => None,
    };
    if resolution.is_audited {
        shared.count(held, resolution);
    }
    value
}

/// The resolution to the safe variant of a flag that depends on what is not understood. One that is not understood itself
/// has none: what it asks for is not known either.
fn safe_resolution<'h>(held: &'h Held, key: &str, variant: &str) -> Option<Resolution<'h>> {
    let resolution = held.replica.environment().safe_resolution(key).ok()?;
    (resolution.is_audited && resolution.variant == variant).then_some(resolution)
}

/// The value, with all that is known of it.
pub(crate) fn details<T: FlagValue>(
    shared: &Shared,
    held: Option<&Held>,
    key: &str,
    context: &Context,
    default: T,
) -> Details<T> {
    offer(shared, held, key, context, default).take(shared)
}

/// An answer from a copy that counts as an evaluation once it is given to the caller.
pub(crate) struct Offer<'h, T> {
    pub details: Details<T>,
    /// What is to be counted then.
    audited: Option<(&'h Held, Resolution<'h>)>,
}

impl<T> Offer<'_, T> {
    /// The answer, which the caller gets.
    pub fn take(self, shared: &Shared) -> Details<T> {
        if let Some((held, resolution)) = &self.audited {
            shared.count(held, resolution);
        }
        self.details
    }
}

/// An answer for a caller who may get another one in its place.
pub(crate) fn offer<'h, T: FlagValue>(
    shared: &Shared,
    held: Option<&'h Held>,
    key: &str,
    context: &Context,
    default: T,
) -> Offer<'h, T> {
    let (details, audited) = match held {
        Some(held) => context.under(&held.overlay, |context| {
            let verdict = decide(held, key, context, &*shared.clock);
            let resolution = match &verdict {
                Verdict::Serve(resolution, _) => Some(*resolution),
                _ => None,
            };
            let is_unsupported = matches!(verdict, Verdict::Unsupported);
            let mut details = of_verdict(held, key, verdict, default);
            details.age_ms = held.age_ms(&*shared.clock);
            let resolution = match resolution {
                None if is_unsupported => safe_resolution(held, key, &details.variant),
                resolution => resolution,
            };
            let is_counted = |resolution: &Resolution<'_>| resolution.is_audited && details.error.is_none();
            let audited = resolution.filter(is_counted).map(|resolution| (held, resolution));
            (details, audited)
        }),
        None => (of_nothing(default), None),
    };
    if let Some(observer) = &shared.observer {
        let error = details.error.as_ref().map(|fault| fault.code);
        observer.evaluated(key, details.reason, details.consistency, error);
    }
    Offer { details, audited }
}

/// What a caller gets where there is no copy.
fn of_nothing<T>(default: T) -> Details<T> {
    let details = Details {
        value: default,
        variant: String::new(),
        reason: Reason::Error,
        error: None,
        metadata: BTreeMap::new(),
        consistency: Consistency::Local,
        revision: None,
        age_ms: None,
        source: Source::Nowhere,
    };
    let message = "no definitions have come from any node yet; check the client's status".to_owned();
    failed(details, EvaluationFault { code: ErrorCode::ProviderNotReady, message })
}

/// What a caller gets, from a copy.
fn of_verdict<T: FlagValue>(held: &Held, key: &str, verdict: Verdict<'_>, default: T) -> Details<T> {
    let bare =
        |value| Details { revision: held.revision(), source: held.source, error: None, ..of_nothing(value) };
    let fault = |code, message: String| EvaluationFault { code, message };
    match verdict {
        Verdict::Serve(resolution, consistency) => {
            let value = resolution.value.map(T::of);
            let Some(value) = value else {
                // The caller's default is what the flag says.
                return Details {
                    reason: resolution.reason.into(),
                    metadata: metadata(held, &resolution),
                    consistency,
                    ..bare(default)
                };
            };
            match value {
                None => failed(bare(default), type_mismatch::<T>(key)),
                Some(value) => Details {
                    variant: resolution.variant.to_owned(),
                    reason: resolution.reason.into(),
                    metadata: metadata(held, &resolution),
                    consistency,
                    ..bare(value)
                },
            }
        }
        Verdict::Unsupported => {
            let message = format!(
                "flag {key:?} uses what this version of the client does not understand; upgrade it, or ask a node"
            );
            match held.replica.safe_variant(key).map(|(variant, value)| (variant, T::of(&value))) {
                Some((variant, Some(value))) => {
                    let (reason, consistency) = (Reason::Unknown, Consistency::SafeVariant);
                    Details { variant, reason, consistency, ..bare(value) }
                }
                _ => failed(bare(default), fault(ErrorCode::General, message)),
            }
        }
        Verdict::NotFound => {
            let message = format!("there is no flag {key:?}; check the key, and whether it is archived");
            failed(bare(default), fault(ErrorCode::FlagNotFound, message))
        }
        Verdict::Stale => {
            let message =
                format!("the copy is older than flag {key:?} allows, and it asks for an error then");
            failed(bare(default), fault(ErrorCode::General, message))
        }
    }
}

/// The same answer, where something is wrong.
pub(crate) fn failed<T>(details: Details<T>, fault: EvaluationFault) -> Details<T> {
    Details { reason: Reason::Error, variant: String::new(), error: Some(fault), ..details }
}

/// The flag is of another type.
pub(crate) fn type_mismatch<T: FlagValue>(key: &str) -> EvaluationFault {
    let message = format!("flag {key:?} is no {}; ask for its own type", T::WANTED);
    EvaluationFault { code: ErrorCode::TypeMismatch, message }
}

/// What a node would say with the answer.
fn metadata(held: &Held, resolution: &Resolution<'_>) -> BTreeMap<String, Value> {
    let mut metadata = resolution.flag.definition.metadata.clone();
    let environment = held.replica.environment().key();
    metadata.insert("flagSetId".to_owned(), format!("{}/{environment}", held.replica.project()).into());
    if let Some(history) = held.history {
        let version = resolution.flag.evaluated_revision(environment);
        metadata.insert("version".to_owned(), format!("{history}.{version}").into());
    }
    if let Some(detail) = resolution.detail {
        metadata.insert("detail".to_owned(), detail.into());
    }
    metadata
}
