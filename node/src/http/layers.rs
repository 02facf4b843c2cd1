//! What surrounds every route: a bound on requests under way, metrics, tracing, CORS, and answers for panics, unknown
//! paths and wrong methods.

use std::{
    any::Any,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER},
    },
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
};
use tracing::Instrument as _;

use super::{
    App, Options,
    auth::API_KEY,
    consistency::{AGE, CONSISTENCY, DEADLINE, HISTORY, MAX_AGE, MIN_REVISION, NODE, REVISION},
    error::{ApiError, REQUEST_ID},
    list::NEXT,
    stream::LAST_EVENT_ID,
    write::IDEMPOTENCY_KEY,
};

/// The label of requests that no route matches.
const UNMATCHED: &str = "unmatched";

/// The routes with everything around them.
pub(super) fn around(routes: Router<App>, app: &App) -> Router<App> {
    let mut router = routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), observe));
    if let Some(cors) = cors(&app.options) {
        router = router.layer(cors);
    }
    router
}

/// Counts, times and traces a request; refuses it when too many are under way. The span holds the route's template and
/// nothing of the request itself: neither headers nor the query, which may hold a ticket, nor a path somebody pasted
/// a secret into.
async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or(UNMATCHED, MatchedPath::as_str);
    let method = method_label(request.method());
    let metrics = app.node.metrics();

    let response = match app.in_flight.try_acquire() {
        Ok(_permit) => {
            metrics.in_flight().inc();
            // Lowered also when the client goes away and this future is dropped.
            let _under_way = Lower(metrics.in_flight());
            let span = tracing::debug_span!("request", method, route);
            next.run(request).instrument(span).await
        }
        // How the node does is told also when it is overloaded.
        Err(_) if matches!(route, "/livez" | "/readyz" | "/metrics") => next.run(request).await,
        Err(_) => ApiError::unavailable("this node has too many requests under way; ask another node")
            .into_response(),
    };

    let (status, took) = (response.status(), begun.elapsed());
    metrics.request_finished(route, method, status.as_u16(), took);
    tracing::debug!(method, route, status = status.as_u16(), took_us = duration_us(took), "answered");
    response
}

struct Lower<'g>(&'g prometheus::IntGauge);

impl Drop for Lower<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
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

async fn unknown_path() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_such_path",
        "there is nothing at this path; GET /openapi.json lists all of them. Paths are case-sensitive and end without /",
    )
}

async fn wrong_method(method: Method) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{method} does not work here; the header Allow says what does"),
    )
}

fn panicked(panic: Box<dyn Any + Send + 'static>) -> axum::http::Response<axum::body::Body> {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    ApiError::internal("handling the request", message).into_response()
}

/// What browsers of the configured origins may do; `None` where there are none.
fn cors(options: &Options) -> Option<CorsLayer> {
    if options.cors_origins.is_empty() {
        return None;
    }
    let origins = if options.cors_origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(options.cors_origins.iter().filter_map(|origin| {
            HeaderValue::from_str(origin.trim_end_matches('/'))
                .inspect_err(
                    |_| tracing::warn!(%origin, "this CORS origin is no header value; it is left out"),
                )
                .ok()
        }))
    };
    let accepted: [HeaderName; 11] = [
        AUTHORIZATION,
        CONTENT_TYPE,
        IF_MATCH,
        IF_NONE_MATCH,
        API_KEY,
        IDEMPOTENCY_KEY,
        MIN_REVISION,
        CONSISTENCY,
        DEADLINE,
        MAX_AGE,
        LAST_EVENT_ID,
    ];
    let exposed: [HeaderName; 9] =
        [ETAG, RETRY_AFTER, REVISION, HISTORY, AGE, CONSISTENCY, NODE, REQUEST_ID, NEXT];
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([
                Method::GET,
                Method::HEAD,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers(accepted)
            .expose_headers(exposed)
            .max_age(Duration::from_secs(600)),
    )
}
