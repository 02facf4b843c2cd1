//! What a service holds: asks, listens, and in the end shuts down.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    answer,
    builder::Builder,
    changes::Changes,
    context::Context,
    details::{Consistency, Details, ErrorCode},
    reader::Reader,
    remote::{self, Unconfirmed, Wanted},
    shared::Shared,
    status::Status,
    value::FlagValue,
    view::View,
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
        // The tasks are given up with the set that holds them. Whoever wants the copy saved before that calls `shutdown`.
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

    /// The copy as it is now: what is asked of it is answered from one revision, never from half of a change.
    pub fn view(&self) -> View {
        View::of(Arc::clone(&self.0.shared))
    }

    /// A reader of the copy for one thread, which always asks the newest one: for a loop in which a nanosecond matters.
    pub fn reader(&self) -> Reader {
        Reader::of(Arc::clone(&self.0.shared))
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

    /// Ends all that the client runs, and waits for that; the copy is saved before, and the last report of evaluations sent.
    /// Its handles answer from the copy as it is then, and those answers are not counted.
    pub async fn shutdown(&self) {
        let _ = self.0.stop.send(true);
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }

    #[inline]
    fn value<T: FlagValue>(&self, key: &str, context: &Context, default: T) -> T {
        let held = self.shared().held.load();
        answer::value(self.shared(), held.as_deref(), key, context, default)
    }

    fn details<T: FlagValue>(&self, key: &str, context: &Context, default: T) -> Details<T> {
        let held = self.shared().held.load();
        answer::details(self.shared(), held.as_deref(), key, context, default)
    }

    async fn details_remote<T: FlagValue + Clone>(
        &self,
        key: &str,
        context: &Context,
        default: T,
    ) -> Details<T> {
        let held = self.shared().held.load_full();
        // What a node evaluates in its place, the node counts.
        let local = answer::offer(self.shared(), held.as_deref(), key, context, default.clone());
        let code = local.details.error.as_ref().map(|fault| fault.code);
        let is_good = local.details.consistency != Consistency::SafeVariant
            && !matches!(code, Some(ErrorCode::ProviderNotReady | ErrorCode::General));
        if is_good {
            return local.take(self.shared());
        }
        match remote::evaluate(self.shared(), key, context, Wanted::Any, REMOTE_DEADLINE).await {
            Ok(mut details) => match details.value.take() {
                None => details.map(|_| default),
                Some(value) => match T::of(&value) {
                    Some(value) => details.map(|_| value),
                    None => answer::failed(details.map(|_| default), answer::type_mismatch::<T>(key)),
                },
            },
            Err(Unconfirmed::Refused(fault)) if code == Some(ErrorCode::ProviderNotReady) => {
                answer::failed(local.details, fault)
            }
            Err(_) => local.take(self.shared()),
        }
    }
}
