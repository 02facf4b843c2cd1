//! What handlers take from a request: the path's names, the query, and the JSON body; each with the API's own
//! errors in place of the framework's.

use std::{pin::pin, time::Duration};

use axum::{
    body::{Body, BodyDataStream, Bytes, HttpBody as _},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE, request::Parts},
};
use flagraft_core::parse;
use futures_util::{StreamExt as _, future::poll_immediate};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::{App, error::ApiError, json};

/// How long a body may take to arrive: a sender that is slower holds a connection for nothing.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How much of a body that is too long is still taken before it is refused.
const DISCARDED_BYTES_MAX: usize = 8 << 20;

/// The names in the path. A name that can't exist (an undecodable one, a key with `/` in it) is not found: a path
/// never means something else than what it spells.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &App) -> Result<Self, ApiError> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(names)) => Ok(Self(names)),
            Err(_) => Err(ApiError::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "the path holds a name that nothing can have; check it against the rules for keys",
            )),
        }
    }
}

/// The query. Unknown parameters are refused, for an ignored filter or reason would be a lie.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &App) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(ApiError::invalid(format!("the query is wrong: {}", cause(&rejection)))),
        }
    }
}

/// The body as bytes that claim to be JSON, within the limits of size and time.
pub(super) struct JsonBytes(pub(super) Bytes);

impl FromRequest<App> for JsonBytes {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        if !is_json(request.headers()) && !is_empty(&request) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "send JSON, with the header Content-Type: application/json",
            ));
        }
        let max = app.options.body_max_bytes;
        let mut reading = pin!(read(request.into_body(), max));
        // Most bodies are there with their heads: those need no timer.
        let read = match poll_immediate(reading.as_mut()).await {
            Some(read) => read,
            None => timeout(BODY_TIMEOUT, reading).await.unwrap_or(Err(Unread::Slow)),
        };
        read.map(Self).map_err(|unread| match unread {
            Unread::TooLong => ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body has more than {max} bytes; split the request"),
            ),
            Unread::CutOff => ApiError::invalid("the body ended before it was complete; send it again"),
            Unread::Slow => ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "request_timeout",
                format!("the body did not arrive within {} s; send it again", BODY_TIMEOUT.as_secs()),
            ),
        })
    }
}

/// Why a body was not read.
enum Unread {
    TooLong,
    CutOff,
    Slow,
}

async fn read(body: Body, max: usize) -> Result<Bytes, Unread> {
    let mut stream = body.into_data_stream();
    let mut first = Bytes::new();
    let mut more = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| Unread::CutOff)?;
        if first.len() + more.len() + chunk.len() > max {
            Box::pin(discard(stream)).await;
            return Err(Unread::TooLong);
        }
        // A body that comes in one piece, as most do, is not copied.
        if first.is_empty() {
            first = chunk;
        } else {
            more.extend_from_slice(&chunk);
        }
    }
    Ok(if more.is_empty() { first } else { [&first[..], &more].concat().into() })
}

/// Takes the rest of a body that is too long, within reason: to close the connection on a client that still sends
/// would reset it before the client has read why.
async fn discard(mut rest: BodyDataStream) {
    let mut discarded = 0;
    while discarded < DISCARDED_BYTES_MAX {
        match rest.next().await {
            Some(Ok(chunk)) => discarded += chunk.len(),
            Some(Err(_)) | None => return,
        }
    }
}

/// The JSON body of an API request.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, app).await?;
        parse::from_value(parsed(&bytes)?).map(Self).map_err(ApiError::body)
    }
}

/// Reads JSON; the error says where the text stops making sense.
pub(super) fn parsed(bytes: &[u8]) -> Result<Value, ApiError> {
    json::parse(bytes).map_err(|error| {
        let message = if bytes.is_empty() {
            "there is no body; send JSON, with the header Content-Type: application/json".to_owned()
        } else {
            format!("the body is not JSON: {error}")
        };
        ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", message)
    })
}

/// Whether nothing is sent. It is not held against the sender then that nothing says of what type it is: what is
/// wrong is that there is no body.
fn is_empty(request: &Request) -> bool {
    request.body().is_end_stream() && !request.headers().contains_key(CONTENT_TYPE)
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(given) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The innermost error: the ones around it name the framework's types.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
