//! Whether the node lives, whether it is ready, and its metrics.

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use flagraft_core::token::TokenKind;

use super::{
    App,
    auth::{Caller, Observer},
    error::ApiError,
};
use crate::{metrics::Snapshot, raft::RaftRole};

/// What a process says that lives.
pub(super) const LIVES: &str = "ok\n";

/// The process answers.
pub(super) async fn livez() -> &'static str {
    LIVES
}

/// Whether to send requests here. Why not is told to those with a token only: it names members.
pub(super) async fn readyz(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if !is_verbose(query.as_deref())? {
        return Ok(plain(&app));
    }
    let caller = Caller::authenticate(&app, &headers).await?;
    if caller.kind() == TokenKind::Client {
        return Err(ApiError::forbidden("a client token does not see why; use an admin or service token"));
    }
    Ok(verbose(&app))
}

/// The same on the listener that is for operators only.
pub(super) async fn open_readyz(
    State(app): State<App>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    Ok(if is_verbose(query.as_deref())? { verbose(&app) } else { plain(&app) })
}

/// Metrics, to those with a token.
pub(super) async fn metrics(_caller: Observer, state: State<App>) -> Result<Response, ApiError> {
    open_metrics(state).await
}

/// Metrics, on the listener that is for operators only.
pub(super) async fn open_metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = app
        .node
        .metrics()
        .render(&snapshot(&app))
        .map_err(|error| ApiError::internal("writing metrics", error))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn snapshot(app: &App) -> Snapshot {
    let status = app.node.raft_status();
    let published = app.node.published();
    Snapshot {
        role: match status.role {
            RaftRole::Leader => "leader",
            RaftRole::Follower => "follower",
            RaftRole::Candidate => "candidate",
            RaftRole::Learner => "learner",
            RaftRole::Stopped => "stopped",
        },
        term: status.term,
        purged_index: status.purged.unwrap_or(0),
        last_log_index: status.last_log.unwrap_or(0),
        committed_index: status.committed.unwrap_or(0),
        applied_index: status.applied.unwrap_or(0),
        published_index: published.position.map_or(0, |position| position.index),
        revision: published.state.revision(),
        audit_size: published.state.sequence(),
        age_ms: app.node.reads().age_ms(),
        read_rounds: app.node.reads().rounds(),
        read_suspect: app.node.reads().is_suspect(),
        ready: app.node.reads().readiness().ready,
        disk: app.node.disk(),
    }
}

/// `?verbose` or `?verbose=true`; anything else would be misunderstood in silence.
fn is_verbose(query: Option<&str>) -> Result<bool, ApiError> {
    match query {
        None | Some("" | "verbose=false") => Ok(false),
        Some("verbose" | "verbose=" | "verbose=true" | "verbose=1") => Ok(true),
        Some(_) => Err(ApiError::invalid("the only parameter is ?verbose")),
    }
}

fn plain(app: &App) -> Response {
    if app.node.reads().readiness().ready {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready; GET /readyz?verbose with a token says why\n")
            .into_response()
    }
}

fn verbose(app: &App) -> Response {
    let readiness = app.node.reads().readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}
