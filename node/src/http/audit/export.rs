//! Exports of the audit log: what is asked for, streamed while it is read, with what proves it.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State as AppState,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use flagraft_core::{
    audit_file::{FORMAT, Format, Header},
    audit_key::AuditKeys,
    checkpoint::Origin,
    identity::ClusterId,
    note::VerifierKey,
    state::State,
};
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
use crate::{audit::Export, clock::wall_ms, node::SignedCheckpoint, pieces::PieceStream, storage::GROUP};

/// The parameters of an export, beside those that choose records.
pub(in super::super) const PARAMETERS: &[&str] = &["format", "checkpoint"];

/// How an export is written.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Written {
    #[default]
    Ndjson,
    Csv,
}

impl Written {
    fn format(self) -> Format {
        match self {
            Self::Ndjson => Format::Ndjson,
            Self::Csv => Format::Csv,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
        })
    }
}

/// Which checkpoint is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Proof {
    /// One that a majority of the nodes signed.
    #[default]
    Signed,
    /// None.
    None,
}

/// An export. A failure on the way cuts the answer off; its last line is there only if everything before it is.
pub(in super::super) async fn get(
    Admin(caller): Admin,
    AppState(app): AppState<App>,
    terms: ReadTerms,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::new(pairs);
    let written = parameters.word::<Written>("format")?.unwrap_or_default();
    let proof = parameters.word::<Proof>("checkpoint")?.unwrap_or_default();
    let question = Question::take(&mut parameters)?;
    parameters.finish()?;
    let view = terms.view(&app).await?;
    let started = start(&app, &caller, &view, &question, written.format(), proof, &terms).await;
    view.answer(|_| {
        let mut response = Body::from_stream(started?).into_response();
        response.headers_mut().insert(CONTENT_TYPE, written.content_type());
        Ok(response)
    })
}

async fn start(
    app: &App,
    caller: &Caller,
    view: &View,
    question: &Question,
    format: Format,
    proof: Proof,
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
    let permit = Arc::clone(&app.exports).try_acquire_owned().map_err(|_| {
        ApiError::unavailable("this node is making other exports; wait for them, or ask another node")
    })?;
    let (origin, range, size, checkpoint) = match proof {
        Proof::Signed => {
            let signed = signed(app, question, terms).await?;
            let of = signed.checkpoint;
            // What came after the checkpoint nobody has signed for yet.
            let range = question.range(app, of.size).await?;
            (of.origin, range, of.size, signed.note.clone())
        }
        Proof::None => {
            let range = question.range(app, state.sequence()).await?;
            let (origin, size) = (Origin { cluster, history, group: GROUP }, state.sequence());
            let made = app.node.unsigned_checkpoint(&view.published(), origin).await;
            let note = made.map_err(|error| ApiError::internal("reading the audit log's tree", error))?;
            (origin, range, size, note)
        }
    };
    let header = Header {
        format: FORMAT,
        origin,
        from: range.start,
        to: range.end,
        size,
        filter: filter.stated(),
        exported_at_ms: wall_ms(),
    };
    let token = &caller.token.spec;
    let (from, to) = (header.from, header.to);
    tracing::info!(token = %token.id, actor = %token.actor.id, from, to, size, "an export of the audit log is asked for");
    let export = Export { header, format, filter, checkpoint, keys: keys(state, cluster) };
    Ok(app.node.export(export, app.options.backup_stall, permit))
}

/// A checkpoint that covers what is asked for.
async fn signed(
    app: &App,
    question: &Question,
    terms: &ReadTerms,
) -> Result<Arc<SignedCheckpoint>, ApiError> {
    let published = app.node.published().state.sequence();
    let mut size = if question.has_end() { question.range(app, published).await?.end } else { 0 };
    loop {
        let signed = covering(app, size, terms).await?;
        // What was removed is gone already, so the record that says so has to be in the file too.
        let removal = app.node.last_audit_removal(signed.checkpoint.size).await;
        match removal.map_err(|error| ApiError::internal("reading the audit log", error))? {
            None => return Ok(signed),
            Some(sequence) => size = sequence.saturating_add(1),
        }
    }
}

/// A checkpoint of at least this many records.
async fn covering(app: &App, size: u64, terms: &ReadTerms) -> Result<Arc<SignedCheckpoint>, ApiError> {
    app.node.checkpoint_of(size, terms.left()).await.ok_or_else(|| {
        ApiError::unavailable(format!(
            "no checkpoint that a majority of the nodes signed covers the first {size} records of the audit log yet; ask \
             again in some seconds, or with a longer Flagraft-Deadline-Ms, or without `to` for what the newest one \
             covers; or, with checkpoint=none, for records that nothing proves"
        ))
    })
}

/// The keys that the nodes sign with.
pub(in super::super) fn keys(state: &State, cluster: ClusterId) -> Vec<VerifierKey> {
    let of_node = |(node, keys): (u64, &Arc<AuditKeys>)| -> Vec<VerifierKey> {
        keys.active().filter_map(|key| key.public_key.verifier(cluster, node)).collect()
    };
    state.audit_keys().flat_map(of_node).collect()
}
