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
            return resolution.value.and_then(T::of);
        }
        match decide(held, key, context, &*shared.clock) {
            Verdict::Serve(resolution, _) => resolution.value.and_then(T::of),
            Verdict::Unsupported => held.replica.safe_variant(key).and_then(|(_, value)| T::of(&value)),
            Verdict::NotFound | Verdict::Stale => None,
        }
    });
    found.unwrap_or(default)
}

/// The value, with all that is known of it.
pub(crate) fn details<T: FlagValue>(
    shared: &Shared,
    held: Option<&Held>,
    key: &str,
    context: &Context,
    default: T,
) -> Details<T> {
    let details = match held {
        Some(held) => context.under(&held.overlay, |context| {
            let verdict = decide(held, key, context, &*shared.clock);
            let mut details = of_verdict(held, key, verdict, default);
            details.age_ms = held.age_ms(&*shared.clock);
            details
        }),
        None => of_nothing(default),
    };
    if let Some(observer) = &shared.observer {
        let error = details.error.as_ref().map(|fault| fault.code);
        observer.evaluated(key, details.reason, details.consistency, error);
    }
    details
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
