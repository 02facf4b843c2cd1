//! What a service holds: asks, listens, and in the end shuts down.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use flagraft_core::resolution::Resolution;
use serde_json::{Map, Value};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use crate::{
    builder::Builder,
    changes::Changes,
    context::Context,
    decide::{Verdict, decide},
    details::{Consistency, Details, ErrorCode, EvaluationFault, Reason, Source},
    held::Held,
    remote::{self, Unconfirmed, Wanted},
    shared::Shared,
    status::Status,
    value::FlagValue,
};

/// How long a node may take over an evaluation.
const REMOTE_DEADLINE: Duration = Duration::from_secs(2);

/// A client of one environment. A clone is another handle of the same client.
///
/// Every getter returns, at once, whatever becomes of the cluster: a value of the flag's, or the caller's default.
#[derive(Clone)]
pub struct Client(Arc<Running>);

/// The client, and what it runs. Ends with the last handle.
struct Running {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The tasks are given up with the set that holds them; this lets the one that saves the copy finish first.
        let _ = self.stop.send(true);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).finish_non_exhaustive()
    }
}

/// Getters of one type of flag.
macro_rules! getters {
    ($($what:literal $value:ident $details:ident $remote:ident $type:ty;)*) => {
        $(
            #[doc = concat!("The value of ", $what, " flag for a context; `default` where there is none to serve.")]
            #[inline]
            pub fn $value(&self, key: &str, context: &Context, default: $type) -> $type {
                self.value(key, context, default)
            }

            #[doc = concat!("The same of ", $what, " flag, with all that is known of the answer.")]
            pub fn $details(&self, key: &str, context: &Context, default: $type) -> Details<$type> {
                self.details(key, context, default)
            }

            #[doc = concat!(
                "The same of ", $what, " flag, by a node where the copy can't tell: it is not there yet, it is too old for this \
                 flag, or it does not understand it. Takes at most two seconds; where no node answers, it is the same as \
                 the plain getter's."
            )]
            pub async fn $remote(&self, key: &str, context: &Context, default: $type) -> Details<$type> {
                self.details_remote(key, context, default).await
            }
        )*
    };
}

impl Client {
    /// A client to be set up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn of(shared: Arc<Shared>, stop: watch::Sender<bool>, tasks: JoinSet<()>) -> Self {
        Self(Arc::new(Running { shared, stop, tasks: Mutex::new(tasks) }))
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }

    getters! {
        "a boolean" bool_value bool_details bool_details_remote bool;
        "a string" string_value string_details string_details_remote String;
        "an integer" integer_value integer_details integer_details_remote i64;
        "a number or an integer" number_value number_details number_details_remote f64;
        "an object" object_value object_details object_details_remote Map<String, Value>;
    }

    /// What a flag is for a context, confirmed by a quorum while it was asked for: for a decision that must not rest on
    /// anything old. The value is `None` where the caller's default is meant. Takes at most `within`.
    ///
    /// # Errors
    /// [`Unconfirmed`] where no node could confirm an answer: go by the flag's safe variant, which the plain getters serve
    /// once the copy is too old.
    pub async fn confirm(
        &self,
        key: &str,
        context: &Context,
        within: Duration,
    ) -> Result<Details<Option<Value>>, Unconfirmed> {
        remote::evaluate(self.shared(), key, context, Wanted::Linearizable, within).await
    }

    /// How the client does.
    pub fn status(&self) -> Status {
        *self.shared().status.borrow()
    }

    /// How the client does from now on.
    pub fn statuses(&self) -> watch::Receiver<Status> {
        self.shared().status.subscribe()
    }

    /// Waits until there is a copy that is known to be current, for at most this long; says how the client does then. A
    /// service may start whatever that is: every flag has an answer, if only the caller's default.
    pub async fn ready(&self, within: Duration) -> Status {
        let mut statuses = self.statuses();
        let ready = statuses.wait_for(|status| matches!(status, Status::Ready | Status::Fatal));
        let _ = timeout(within, ready).await;
        self.status()
    }

    /// The changes of the copy from now on.
    pub fn changes(&self) -> Changes {
        Changes::of(&self.shared().changes)
    }

    /// The flags that this version does not understand, each with the reason.
    pub fn unsupported(&self) -> Vec<(String, String)> {
        let held = self.shared().held.load();
        let unsupported = held.iter().flat_map(|held| held.replica.unsupported());
        unsupported.map(|(key, why)| (key.to_owned(), why.to_owned())).collect()
    }

    /// Ends all that the client runs, and waits for that; the copy is saved before. Its handles answer from the copy as it
    /// is then.
    pub async fn shutdown(&self) {
        let _ = self.0.stop.send(true);
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }

    /// The value. Without an observer it costs no more than the evaluation and one look at the copy.
    #[inline]
    fn value<T: FlagValue>(&self, key: &str, context: &Context, default: T) -> T {
        let shared = self.shared();
        if shared.observer.is_some() {
            return self.details(key, context, default).value;
        }
        let held = shared.held.load();
        let Some(held) = &*held else { return default };
        let found = context.under(&held.overlay, |context| match decide(held, key, context, &*shared.clock) {
            Verdict::Serve(resolution, _) => resolution.value.and_then(T::of),
            Verdict::Unsupported => held.replica.safe_variant(key).and_then(|(_, value)| T::of(&value)),
            Verdict::NotFound | Verdict::Stale => None,
        });
        found.unwrap_or(default)
    }

    fn details<T: FlagValue>(&self, key: &str, context: &Context, default: T) -> Details<T> {
        let shared = self.shared();
        let held = shared.held.load();
        let details = match &*held {
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

    async fn details_remote<T: FlagValue + Clone>(&self, key: &str, context: &Context, default: T) -> Details<T> {
        let local = self.details(key, context, default.clone());
        let code = local.error.as_ref().map(|fault| fault.code);
        let is_good = local.consistency != Consistency::SafeVariant
            && !matches!(code, Some(ErrorCode::ProviderNotReady | ErrorCode::General));
        if is_good {
            return local;
        }
        match remote::evaluate(self.shared(), key, context, Wanted::Any, REMOTE_DEADLINE).await {
            Ok(mut details) => match details.value.take() {
                None => details.map(|_| default),
                Some(value) => match T::of(&value) {
                    Some(value) => details.map(|_| value),
                    None => failed(details.map(|_| default), type_mismatch::<T>(key)),
                },
            },
            Err(Unconfirmed::Refused(fault)) if code == Some(ErrorCode::ProviderNotReady) => failed(local, fault),
            Err(_) => local,
        }
    }
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
    let bare = |value| Details { revision: held.revision(), source: held.source, error: None, ..of_nothing(value) };
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
            let message =
                format!("flag {key:?} uses what this version of the client does not understand; upgrade it, or ask a node");
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
            let message = format!("the copy is older than flag {key:?} allows, and it asks for an error then");
            failed(bare(default), fault(ErrorCode::General, message))
        }
    }
}

fn failed<T>(details: Details<T>, fault: EvaluationFault) -> Details<T> {
    Details { reason: Reason::Error, variant: String::new(), error: Some(fault), ..details }
}

fn type_mismatch<T: FlagValue>(key: &str) -> EvaluationFault {
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
