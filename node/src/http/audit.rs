//! The audit log, as it is stored: a record per line, exactly the bytes that are hashed. As a list of what is asked for, and
//! as an export with what proves it.

pub(super) mod export;
pub(super) mod question;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderName, HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use flagraft_core::key::ProjectKey;
use futures_util::stream;
use serde::Deserialize;
use tokio::time::timeout;

use self::question::{Parameters, Question};
use super::{
    App,
    auth::{Admin, Caller},
    consistency::View,
    error::ApiError,
    extract::Query,
    list::NEXT,
    terms::ReadTerms,
};
use crate::audit::{Budget, Filter, Found, Order};

/// How much a search did for a page.
pub(super) const SEARCHED: HeaderName = HeaderName::from_static("flagraft-searched");
/// The parameters of a page, beside those that choose records.
pub(super) const PAGE: &[&str] = &["limit", "order"];

/// Records of a page that does not say how many.
const LIMIT: u64 = 1_000;
/// The most records of a page.
const LIMIT_MAX: u64 = 10_000;
/// Records in memory at once.
const CHUNK: usize = 100;
/// Bytes of them; one record may be more.
const CHUNK_BYTES: usize = 1 << 20;
/// Records that one request may read to find those that it asks for.
const SEARCHED_RECORDS_MAX: u64 = 100_000;
/// Blocks that one request may pass over.
const SEARCHED_BLOCKS_MAX: u64 = 100_000;

/// The order of a page, as a query says it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ordered {
    Oldest,
    Newest,
}

/// The project, if the caller may read what the audit log has of it. The records of a deleted project stay, so it need not
/// exist.
pub(super) fn recorded_project(caller: &Caller, key: &str) -> Result<ProjectKey, ApiError> {
    let key = ProjectKey::new(key).map_err(|_| ApiError::not_found("project", key))?;
    if !caller.token.spec.sees(&key) {
        return Err(ApiError::not_found("project", &key));
    }
    if !caller.reads(&key, None) {
        return Err(ApiError::forbidden(format!(
            "this needs a token with the role reader on project {key} as a whole"
        )));
    }
    Ok(key)
}

/// A page of `limit` records that the caller asks for and may see. `Flagraft-Next` says where the next page begins; there
/// is none at the end. A search that has looked at enough ends its page early, be it empty. The page is read while it is
/// sent.
pub(super) async fn list(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::new(pairs);
    let limit = parameters.number("limit")?.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::invalid(format!("limit is a number from 1 to {LIMIT_MAX}")));
    }
    let order = match parameters.word("order")? {
        None | Some(Ordered::Oldest) => Order::Oldest,
        Some(Ordered::Newest) => Order::Newest,
    };
    let question = Question::take(&mut parameters)?;
    parameters.finish()?;
    let view = terms.view(&app).await?;
    let found = page(&app, &caller, &view, &question, order, limit, &terms).await;
    view.answer(|_| {
        let (filter, Found { sequences, next, read, passed }) = found?;
        let is_open = filter.is_open();
        let mut response = Body::from_stream(records(app.clone(), filter, sequences)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if let Some(next) = next {
            headers.insert(NEXT, HeaderValue::from(next));
        }
        if !is_open && let Ok(searched) = HeaderValue::try_from(format!("read={read}, passed={passed}")) {
            headers.insert(SEARCHED, searched);
        }
        Ok(response)
    })
}

/// Finds the records of a page.
async fn page(
    app: &App,
    caller: &Caller,
    view: &View,
    question: &Question,
    order: Order,
    limit: u64,
    terms: &ReadTerms,
) -> Result<(Filter, Found), ApiError> {
    let state = view.state();
    caller.still_good(state)?;
    let filter = question.filter(caller, state)?;
    // Records beyond the published state are not there yet, whatever the disk has.
    let range = question.range(app, state.sequence()).await?;
    if filter.is_open() {
        let part = match order {
            Order::Oldest => range.start..range.end.min(range.start.saturating_add(limit)),
            Order::Newest => range.start.max(range.end.saturating_sub(limit))..range.end,
        };
        let found = match order {
            Order::Oldest => Found {
                next: Some(part.end).filter(|end| *end < range.end),
                sequences: part.collect(),
                ..Found::default()
            },
            Order::Newest => Found {
                next: Some(part.start).filter(|start| *start > range.start),
                sequences: part.rev().collect(),
                ..Found::default()
            },
        };
        return Ok((filter, found));
    }
    // A search keeps a core busy: a few of them must not take them all from evaluations.
    let Ok(Ok(_permit)) = timeout(terms.left(), app.searches.acquire()).await else {
        return Err(ApiError::unavailable(
            "this node is searching the audit log for too many others; ask again, or another node",
        ));
    };
    let budget =
        Budget { records: SEARCHED_RECORDS_MAX, blocks: SEARCHED_BLOCKS_MAX, until: terms.deadline_at };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match app.node.find_audit_records(&view.published(), filter.clone(), range, order, limit, budget).await {
        Ok(found) => Ok((filter, found)),
        Err(error) => Err(ApiError::internal("searching the audit log", error)),
    }
}

/// The records with these sequences, as lines, as far as they are there still. A failure ends the stream with an error,
/// which the client sees as a body that was cut off, never as the end of the log.
fn records(
    app: App,
    filter: Filter,
    sequences: Vec<u64>,
) -> impl futures_util::Stream<Item = Result<Bytes, String>> {
    stream::try_unfold((app, filter, sequences, 0), move |(app, filter, sequences, at)| async move {
        let upto = sequences.len().min(at + CHUNK);
        let Some(chunk) = sequences.get(at..upto).filter(|chunk| !chunk.is_empty()) else { return Ok(None) };
        let rows = app.node.audit_rows(chunk.to_vec(), CHUNK_BYTES).await.map_err(|error| {
            tracing::error!(%error, from = chunk.first(), "the audit log could not be read");
            error.to_string()
        })?;
        let mut lines = Vec::new();
        for row in rows.iter().filter(|row| filter.takes(row)) {
            lines.extend_from_slice(row);
            lines.push(b'\n');
        }
        Ok(Some((Bytes::from(lines), (app, filter, sequences, at + rows.len()))))
    })
}
