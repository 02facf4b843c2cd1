//! Exports of the audit log: what is asked for, streamed while it is read, with what proves it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use flagraft_core::checkpoint::Origin;
use serde::Deserialize;

use super::{
    super::{
        App,
        auth::{Admin, Caller},
        consistency::View,
        error::ApiError,
        extract::Query,
        terms::ReadTerms,
    },
    question::{Parameters, Question},
};
use crate::{
    audit::{Export, Format},
    clock::wall_ms,
    pieces::PieceStream,
    storage::GROUP,
};

/// The parameters that choose records, and those of an export.
pub(in super::super) const PARAMETERS: &[&str] = &[
    "from",
    "to",
    "since",
    "until",
    "project",
    "environment",
    "flag",
    "segment",
    "actor",
    "ticket",
    "kind",
    "outcome",
    "format",
    "checkpoint",
];

/// What is asked for of the checkpoint.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Wanted {
    /// There need be none.
    None,
}

/// An export. A failure on the way cuts the answer off; its last line is there only if everything before it is.
pub(in super::super) async fn get(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::new(pairs);
    let format = parameters.word::<Format>("format")?.unwrap_or_default();
    let unproved = parameters.word::<Wanted>("checkpoint")?.is_some();
    let question = Question::take(&mut parameters)?;
    parameters.finish()?;
    let view = terms.view(&app).await?;
    let started = start(&app, &caller, &view, &question, format, unproved, &terms).await;
    view.answer(|_| {
        let mut response = Body::from_stream(started?).into_response();
        let content_type = match format {
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
        };
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Ok(response)
    })
}

async fn start(
    app: &App,
    caller: &Caller,
    view: &View,
    question: &Question,
    format: Format,
    unproved: bool,
    terms: &ReadTerms,
) -> Result<PieceStream, ApiError> {
    let state = view.state();
    caller.still_good(state)?;
    let filter = question.filter(caller, state)?;
    let (Some(cluster), Some(history)) = (state.cluster_id(), state.history()) else {
        return Err(ApiError::unavailable(
            "there is no audit log here yet; export once the cluster is founded",
        ));
    };
    let range = question.range(app, state.sequence()).await?;
    let permit = Arc::clone(&app.exports).try_acquire_owned().map_err(|_| {
        ApiError::unavailable("this node is making other exports; wait for them, or ask another node")
    })?;
    let (size, checkpoint) = match unproved {
        true => (range.end, None),
        false => {
            let covering = app.node.checkpoint_of(range.end, terms.left()).await;
            let (size, note) = covering.map_err(|why| {
                ApiError::unavailable(format!(
                    "{why}; ask again, with a longer Flagraft-Deadline-Ms, or another node; or take the records without \
                     what proves them, with checkpoint=none"
                ))
            })?;
            (size, Some(note))
        }
    };
    let token = &caller.token.spec;
    tracing::info!(
        token = %token.id,
        actor = %token.actor.id,
        from = range.start,
        to = range.end,
        size,
        "an export of the audit log is asked for"
    );
    let export = Export {
        origin: Origin { cluster, history, group: GROUP },
        range,
        size,
        filter,
        format,
        exported_at_ms: wall_ms(),
        checkpoint,
        keys: app.node.audit_keys(state),
    };
    Ok(app.node.export(export, app.options.backup_stall, permit))
}
