//! What surrounds every route: [`Observe`], CORS, and answers for unknown paths and wrong methods.

use std::time::Duration;

use axum::{
    Router,
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER},
    },
};
use tower::layer::layer_fn;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{
    App, Options,
    audit::SEARCHED,
    auth::API_KEY,
    consistency::{AGE, CONSISTENCY, HISTORY, NODE, REVISION},
    error::{ApiError, REQUEST_ID},
    list::NEXT,
    observe::Observe,
    stream::LAST_EVENT_ID,
    terms::{DEADLINE, MAX_AGE, MIN_REVISION},
    write::IDEMPOTENCY_KEY,
};

/// The routes with everything around them.
pub(super) fn around(routes: Router<App>, app: &App) -> Router<App> {
    let observed = app.clone();
    let mut router = routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(layer_fn(move |route| Observe::new(observed.clone(), route)));
    if let Some(cors) = cors(&app.options) {
        router = router.layer(cors);
    }
    router
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
    let exposed: [HeaderName; 10] =
        [ETAG, RETRY_AFTER, REVISION, HISTORY, AGE, CONSISTENCY, NODE, REQUEST_ID, NEXT, SEARCHED];
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
