//! The one error of the API, its envelope, and the one place where a rejection becomes a status.

use std::{fmt::Display, time::Duration};

use axum::{
    Json,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{CACHE_CONTROL, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use flagraft_core::{invalid::Invalid, rejection::Rejection, token::TokenFault};
use serde_json::{Map, Value, json};

use super::consistency::Stamp;

/// Names the request in every answer to a write, so that its outcome can be asked for.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("flagraft-request-id");

/// An error of the API: what went wrong, and what to do about it.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Boxed, so that results which may fail stay small.
    more: Box<More>,
}

/// What only some errors have.
#[derive(Clone, Debug, Default)]
struct More {
    retry_after: Option<Duration>,
    stamp: Option<Stamp>,
    path: Option<String>,
    request_id: Option<String>,
    details: Map<String, Value>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), more: Box::default() }
    }

    /// 400: the request is wrong in itself.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// 400: a header is wrong.
    pub(super) fn header(name: impl Display, message: impl Display) -> Self {
        Self::invalid(format!("the header {name} {message}"))
    }

    /// 401. A caller learns why its own token is refused; an unknown one learns only that.
    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", message)
    }

    /// 401 for a token that exists and is no good.
    pub(super) fn token(fault: TokenFault) -> Self {
        Self::unauthenticated(format!("the token is {fault}; use another one"))
    }

    /// 403: the caller is known and may not do this.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 404: it does not exist, or not for this caller. Both read the same.
    pub(super) fn not_found(kind: &str, key: impl Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no {kind} \"{key}\"; check the key, or create it first"),
        )
    }

    /// 410: it was, and what it was is not known any more.
    pub(super) fn gone(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "gone", message)
    }

    /// 412: the object or the history is at another revision.
    pub(super) fn revision_mismatch(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "revision_mismatch", message)
    }

    /// 429.
    pub(super) fn too_many_requests(message: impl Into<String>, retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", message).retry_after(retry_after)
    }

    /// 503: nothing was done, and the same request may succeed a little later or at another node.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).retry_after(Duration::from_secs(1))
    }

    /// 503: a write can't be taken, for there is no room on a disk.
    pub(super) fn disk_full(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "disk_full", message)
    }

    /// 504: nobody knows whether the write took effect.
    pub(super) fn outcome_unknown(request_id: &str) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "outcome_unknown",
            format!(
                "whether the change took effect is not known; ask GET /api/v1/requests/{request_id}, or repeat the \
                 request with the same Idempotency-Key if it had one"
            ),
        )
        .request_id(request_id)
    }

    /// 500. The cause goes to the log and not to the caller.
    pub(super) fn internal(what: &'static str, cause: impl Display) -> Self {
        tracing::error!(%cause, what, "a request failed inside this node");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            format!("{what} failed inside this node; its log says why. Try another node"),
        )
    }

    /// A fault in the request's body.
    pub(super) fn body(invalid: Invalid) -> Self {
        Self::invalid(invalid.message).at(invalid.path)
    }

    /// Why a proposal was rejected. **The** mapping of rejections to statuses.
    pub(super) fn rejected(rejection: &Rejection) -> Self {
        let (status, code) = match rejection {
            Rejection::IdempotencyMismatch => (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch"),
            Rejection::TooManyRequests => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Rejection::Bootstrap { .. } => (StatusCode::CONFLICT, "bootstrap"),
            Rejection::UnsupportedOperation { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "unsupported_operation")
            }
            Rejection::Unauthenticated { .. } => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Rejection::BadSignature { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad_signature"),
            Rejection::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            Rejection::Forbidden { .. } => (StatusCode::FORBIDDEN, "forbidden"),
            Rejection::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
            Rejection::RevisionMismatch { .. } => (StatusCode::PRECONDITION_FAILED, "revision_mismatch"),
            Rejection::Invalid { .. } => (StatusCode::BAD_REQUEST, "invalid"),
            Rejection::InUse { .. } => (StatusCode::CONFLICT, "in_use"),
            Rejection::Policy { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "policy"),
        };
        let mut error = Self::new(status, code, rejection.to_string()).at(rejection.path());
        match rejection {
            Rejection::RevisionMismatch { expected, actual, .. } => {
                error = error.detail("expected", *expected).detail("actual", *actual);
            }
            // The table of request ids empties as record time goes on.
            Rejection::TooManyRequests => error = error.retry_after(Duration::from_secs(60)),
            _ => {}
        }
        error
    }

    /// Adds a JSON pointer to the fault in the request's body.
    pub(super) fn at(mut self, path: impl Into<String>) -> Self {
        self.more.path = Some(path.into()).filter(|path| !path.is_empty());
        self
    }

    /// Rewrites the pointer, where the request's body is not the body that was judged.
    pub(super) fn map_path(mut self, rewrite: impl FnOnce(String) -> String) -> Self {
        self.more.path = self.more.path.map(rewrite).filter(|path| !path.is_empty());
        self
    }

    pub(super) fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.details.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn request_id(mut self, id: impl Into<String>) -> Self {
        self.more.request_id = Some(id.into());
        self
    }

    pub(super) fn retry_after(mut self, after: Duration) -> Self {
        self.more.retry_after = Some(after);
        self
    }

    /// Says which state the answer is about.
    pub(super) fn stamped(mut self, stamp: &Stamp) -> Self {
        self.more.stamp = Some(stamp.clone());
        self
    }

    /// The headers that the error needs whatever its body is.
    pub(super) fn decorate(&self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.more.retry_after {
            let seconds = after.as_secs().max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(axum::http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(id) = self.more.request_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(stamp) = &self.more.stamp {
            stamp.write(headers);
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut details = self.more.details.clone();
        if let Some(path) = &self.more.path {
            details.insert("path".to_owned(), json!(path));
        }
        if let Some(id) = &self.more.request_id {
            details.insert("request_id".to_owned(), json!(id));
        }
        let body = json!({"error": {"code": self.code, "message": self.message, "details": details}});
        let mut response = (self.status, Json(body)).into_response();
        self.decorate(&mut response);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejections() -> Vec<(Rejection, u16, &'static str)> {
        let path = String::from("/operations/0/flag");
        let message = String::from("do that");
        vec![
            (Rejection::IdempotencyMismatch, 422, "idempotency_mismatch"),
            (Rejection::TooManyRequests, 429, "too_many_requests"),
            (Rejection::Bootstrap { message: message.clone() }, 409, "bootstrap"),
            (
                Rejection::UnsupportedOperation {
                    path: path.clone(),
                    operation: "flag.fly".into(),
                    needs: 2,
                },
                422,
                "unsupported_operation",
            ),
            (Rejection::Unauthenticated { fault: TokenFault::Revoked }, 401, "unauthenticated"),
            (
                Rejection::NotFound { path: path.clone(), kind: "flag".into(), key: "a".into() },
                404,
                "not_found",
            ),
            (Rejection::Forbidden { path: path.clone(), message: message.clone() }, 403, "forbidden"),
            (Rejection::Conflict { path: path.clone(), message: message.clone() }, 409, "conflict"),
            (
                Rejection::RevisionMismatch {
                    path: path.clone(),
                    object: "flag a".into(),
                    expected: 3,
                    actual: 4,
                },
                412,
                "revision_mismatch",
            ),
            (Rejection::Invalid { path: path.clone(), message: message.clone() }, 400, "invalid"),
            (Rejection::InUse { path: path.clone(), message: message.clone() }, 409, "in_use"),
            (Rejection::BadSignature { path: path.clone(), message: message.clone() }, 422, "bad_signature"),
            (Rejection::Policy { path, message }, 422, "policy"),
        ]
    }

    #[test]
    fn every_rejection_has_its_status_code_and_pointer() {
        for (rejection, status, code) in rejections() {
            let error = ApiError::rejected(&rejection);
            assert_eq!((error.status.as_u16(), error.code), (status, code), "{rejection:?}");
            assert!(!error.message.is_empty());
            assert_eq!(error.more.path.as_deref().unwrap_or(""), rejection.path());
        }
    }

    #[tokio::test]
    async fn the_envelope_says_where_what_and_which_request() {
        let error = ApiError::invalid("no such variant").at("/flag/variants/on").request_id("req-1");
        let response = error.into_response();
        assert_eq!(response.headers()[REQUEST_ID], "req-1");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(
            body,
            json!({"error": {"code": "invalid", "message": "no such variant",
                             "details": {"path": "/flag/variants/on", "request_id": "req-1"}}})
        );
    }
}
