//! What happens to every request, whatever it asks for: it is counted, timed and traced, refused when too many are
//! under way, and answered also when its handler panics.
//!
//! One service for all of that, around every route, for each layer of a router's costs a request several allocations.

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    response::{IntoResponse as _, Response},
};
use flagraft_core::key::ProjectKey;
use pin_project_lite::pin_project;
use tower::Service;
use tracing::Span;

use super::{App, Part, auth::SeenCaller, error::ApiError, table};
use crate::accounts::Read;

/// The label of requests that no route matches.
const UNMATCHED: &str = "unmatched";

/// A route, observed.
#[derive(Clone)]
pub(super) struct Observe<S> {
    app: App,
    route: S,
}

impl<S> Observe<S> {
    pub(super) fn new(app: App, route: S) -> Self {
        Self { app, route }
    }
}

impl<S: Service<Request, Response = Response, Error = Infallible>> Service<Request> for Observe<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = Observed<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Observed<S::Future> {
        let asked = Asked {
            begun: Instant::now(),
            method: method_label(request.method()),
            route: request.extensions().get::<MatchedPath>().cloned(),
            read: Reading::of(&mut request),
        };
        let under_way = UnderWay::enter(&self.app);
        // How the node does is told also when it is overloaded.
        let answers = under_way.is_some() || matches!(asked.route(), "/livez" | "/readyz" | "/metrics");
        // The span holds the route's template and nothing of the request itself: neither headers nor the query, which
        // may hold a ticket, nor a path somebody pasted a secret into.
        let span = tracing::debug_span!("request", method = asked.method, route = asked.route());
        let answering = answers.then(|| self.route.call(request));
        Observed { answering, app: self.app.clone(), asked, span, under_way }
    }
}

/// What is known of a request before it is answered.
struct Asked {
    begun: Instant,
    method: &'static str,
    route: Option<MatchedPath>,
    read: Option<Reading>,
}

impl Asked {
    fn route(&self) -> &str {
        self.route.as_ref().map_or(UNMATCHED, MatchedPath::as_str)
    }

    fn answered(&self, app: &App, response: &Response) {
        let (status, took) = (response.status().as_u16(), self.begun.elapsed());
        if let Some(Reading { caller, project }) = &self.read
            && let Some(token) = caller.token()
        {
            let read = Read { token, method: self.method, route: self.route(), project: project.as_ref() };
            app.node.accounts().read(&read, status);
        }
        app.node.metrics().request_finished(self.route(), self.method, status, took);
        let took_us = duration_us(took);
        tracing::debug!(method = self.method, route = self.route(), status, took_us, "answered");
    }
}

/// A read that is accounted for: one of the management API, as far as its caller is known.
struct Reading {
    caller: SeenCaller,
    project: Option<ProjectKey>,
}

/// What all routes of the management API begin with, and those of projects.
const MANAGEMENT: &str = "/api/v1/";
const OF_A_PROJECT: &str = "/api/v1/projects/{project}";

impl Reading {
    fn of(request: &mut Request) -> Option<Self> {
        let route = request.extensions().get::<MatchedPath>()?.as_str();
        let reads = match *request.method() {
            Method::GET | Method::HEAD => route.starts_with(MANAGEMENT),
            Method::POST => reads_by_post(route),
            _ => false,
        };
        if !reads {
            return None;
        }
        // A name that no project can have is none that is worth a record.
        let named = || request.uri().path().get(MANAGEMENT.len()..)?.split('/').nth(1);
        let project = named().filter(|_| route.starts_with(OF_A_PROJECT));
        let project = project.and_then(|key| ProjectKey::new(key).ok());
        let caller = SeenCaller::default();
        request.extensions_mut().insert(caller.clone());
        Some(Self { caller, project })
    }
}

/// Whether a route reads, though it takes a body.
fn reads_by_post(route: &str) -> bool {
    static ROUTES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let reads = |route: &super::Route| route.method == Method::POST && route.part == Part::Read;
        table().into_iter().filter(reads).map(|route| route.path).collect()
    });
    ROUTES.contains(&route)
}

/// One of the requests that may be under way at once.
struct UnderWay(App);

impl UnderWay {
    fn enter(app: &App) -> Option<Self> {
        app.in_flight.try_acquire().ok()?.forget();
        app.node.metrics().in_flight().inc();
        Some(Self(app.clone()))
    }
}

impl Drop for UnderWay {
    // Also when the client goes away and the answer is dropped before it is made.
    fn drop(&mut self) {
        self.0.node.metrics().in_flight().dec();
        self.0.in_flight.add_permits(1);
    }
}

pin_project! {
    /// The answer of an observed route.
    pub(super) struct Observed<F> {
        // `None` where the request is refused.
        #[pin]
        answering: Option<F>,
        app: App,
        asked: Asked,
        span: Span,
        under_way: Option<UnderWay>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for Observed<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.answering.as_pin_mut() {
            Some(answering) => {
                let _entered = this.span.enter();
                // Nothing of the request is used again after a panic.
                match catch_unwind(AssertUnwindSafe(|| answering.poll(context))) {
                    Ok(answered) => match ready!(answered) {
                        Ok(response) => response,
                        Err(never) => match never {},
                    },
                    Err(panic) => panicked(&*panic),
                }
            }
            None => overloaded(),
        };
        this.asked.answered(this.app, &response);
        drop(this.under_way.take());
        Poll::Ready(Ok(response))
    }
}

fn overloaded() -> Response {
    ApiError::unavailable("this node has too many requests under way; ask another node").into_response()
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    ApiError::internal("handling the request", message).into_response()
}

fn duration_us(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The method as a label: one of a fixed set, whatever was sent.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
