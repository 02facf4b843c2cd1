//! OFREP's failures: `errorCode`, `errorDetails`, and the key of a single flag.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::request::Asked;
use crate::http::{App, consistency::Stamp, error::ApiError};

/// A failure: the error that every other route would give, and OFREP's code for it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: &'static str,
    error: ApiError,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let code = if error.code == "malformed_json" { "PARSE_ERROR" } else { "GENERAL" };
        Self { code, error }
    }
}

impl Failure {
    pub(super) fn parse_error(message: &str) -> Self {
        Self { code: "PARSE_ERROR", error: ApiError::invalid(message) }
    }

    pub(super) fn invalid_context(message: &str) -> Self {
        Self { code: "INVALID_CONTEXT", error: ApiError::invalid(message) }
    }

    pub(super) fn flag_not_found(key: &str, asked: &Asked) -> Self {
        let place = asked.flag_set_id();
        let error = ApiError::new(
            StatusCode::NOT_FOUND,
            "flag_not_found",
            format!(
                "there is no flag \"{key}\" in {place} for this token; check the key, and whether it is archived"
            ),
        );
        Self { code: "FLAG_NOT_FOUND", error }
    }

    pub(super) fn stamped(self, stamp: &Stamp) -> Self {
        Self { error: self.error.stamped(stamp), ..self }
    }

    pub(super) fn answer(self, app: &App, key: Option<&str>) -> Response {
        app.node.metrics().evaluation_failed(self.code);
        let mut body = json!({"errorCode": self.code, "errorDetails": self.error.message});
        if let (Some(key), Some(fields)) = (key, body.as_object_mut()) {
            fields.insert("key".to_owned(), key.into());
        }
        let mut response = (self.error.status, Json(body)).into_response();
        self.error.decorate(&mut response);
        response
    }
}
