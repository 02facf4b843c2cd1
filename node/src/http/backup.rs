//! Backups: the catalog at one revision and the whole audit log, streamed while they are read.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use flagraft_core::token::Role;

use super::{App, auth::Admin, error::ApiError, terms::ReadTerms};

/// A backup of one published state. A failure on the way cuts the answer off; its end holds the hash of all of it, so
/// whoever has that has everything.
pub(super) async fn get(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    view.answer(|state| {
        caller.still_good(state)?;
        if !caller.token.spec.allows_everywhere(Role::Operator) {
            app.node.metrics().denied("forbidden");
            return Err(ApiError::forbidden(
                "a backup holds every project and token, so this needs a token with the role operator on every project",
            ));
        }
        let permit = Arc::clone(&app.backups).try_acquire_owned().map_err(|_| {
            ApiError::unavailable("this node is making other backups; wait for them, or ask another node")
        })?;
        let started = app.node.backup(view.published(), app.options.backup_stall, permit);
        let (header, stream) = started.map_err(|error| ApiError::unavailable(error.to_string()))?;
        let token = &caller.token.spec;
        tracing::info!(
            token = %token.id,
            actor = %token.actor.id,
            revision = header.revision,
            audit_size = header.audit_size,
            "a backup is asked for"
        );
        let mut response = Body::from_stream(stream).into_response();
        let octets = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, octets);
        Ok(response)
    })
}
