//! The audit log, as it is stored: a record per line, exactly the bytes that are hashed.

use std::collections::BTreeSet;

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use flagraft_core::{key::ProjectKey, record::RecordKind, token::Role};
use futures_util::stream;
use serde::Deserialize;

use super::{
    App,
    auth::{Admin, Caller},
    consistency::View,
    error::ApiError,
    extract::Query,
    list::NEXT,
    terms::ReadTerms,
};

/// Records of a page that does not say how many.
const LIMIT: u64 = 1_000;
/// The most records of a page.
const LIMIT_MAX: u64 = 10_000;
/// Records in memory at once.
const CHUNK: u64 = 100;

/// Which records to read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// The first sequence. Default: 0.
    #[serde(default)]
    from: u64,
    limit: Option<u64>,
    /// Those of this project.
    project: Option<String>,
    /// Those of this kind.
    kind: Option<RecordKind>,
}

/// What of a record decides whether it is shown.
#[derive(Deserialize)]
struct Head {
    project: Option<ProjectKey>,
    kind: RecordKind,
}

/// Which records a caller gets.
struct Selection {
    /// `None`: those of every project, and of none.
    projects: Option<BTreeSet<ProjectKey>>,
    kind: Option<RecordKind>,
}

impl Selection {
    fn of(caller: &Caller, view: &View, filter: &Filter) -> Result<Self, ApiError> {
        let state = view.state();
        let readable = |project: &ProjectKey| caller.reads(project, None);
        let kind = filter.kind;
        if let Some(key) = &filter.project {
            let key = recorded_project(caller, key)?;
            return Ok(Self { projects: Some(BTreeSet::from([key])), kind });
        }
        if caller.token.spec.allows_everywhere(Role::Reader) {
            return Ok(Self { projects: None, kind });
        }
        let projects: BTreeSet<ProjectKey> =
            state.projects().map(|project| project.key()).filter(|key| readable(key)).cloned().collect();
        if projects.is_empty() {
            return Err(ApiError::forbidden(
                "this needs a token with the role reader on a project as a whole",
            ));
        }
        Ok(Self { projects: Some(projects), kind })
    }

    fn takes(&self, record: &[u8]) -> bool {
        if self.projects.is_none() && self.kind.is_none() {
            return true;
        }
        // A record that this version can't read is shown to nobody whose right to it depends on what it says.
        let Ok(head) = serde_json::from_slice::<Head>(record) else { return false };
        let in_projects = match (&self.projects, &head.project) {
            (None, _) => true,
            (Some(projects), Some(project)) => projects.contains(project),
            (Some(_), None) => false,
        };
        in_projects && self.kind.is_none_or(|kind| kind == head.kind)
    }
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

/// A page of `limit` records from `from` on, less those that the caller does not get. `Flagraft-Next` says where the
/// next page begins; there is none at the end. The page is read range by range while it is sent.
pub(super) async fn list(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Query(filter): Query<Filter>,
) -> Result<Response, ApiError> {
    let limit = filter.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::invalid(format!("limit is a number from 1 to {LIMIT_MAX}")));
    }
    let view = terms.view(&app).await?;
    view.answer(|state| {
        caller.still_good(state)?;
        let selection = Selection::of(&caller, &view, &filter)?;
        // Records beyond the published state are not there yet, whatever the disk has.
        let size = state.sequence();
        let end = filter.from.saturating_add(limit).min(size);
        let mut response =
            Body::from_stream(records(app.clone(), selection, filter.from, end)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        if end < size {
            headers.insert(NEXT, HeaderValue::from(end));
        }
        Ok(response)
    })
}

/// The selected records of a range, as lines. A failure ends the stream with an error, which the client sees as a
/// body that was cut off, never as the end of the log.
fn records(
    app: App,
    selection: Selection,
    from: u64,
    end: u64,
) -> impl futures_util::Stream<Item = Result<Bytes, String>> {
    stream::try_unfold((app, selection, from), move |(app, selection, from)| async move {
        if from >= end {
            return Ok(None);
        }
        let upto = from.saturating_add(CHUNK).min(end);
        let limit = usize::try_from(upto - from).unwrap_or(usize::MAX);
        let rows = app.node.audit_page(from, limit).await.map_err(|error| {
            tracing::error!(%error, from, "the audit log could not be read");
            error.to_string()
        })?;
        if rows.len() < limit {
            return Err(format!(
                "the audit log ends at {} where {upto} was expected",
                from.saturating_add(rows.len() as u64)
            ));
        }
        let mut lines = Vec::new();
        for row in rows.iter().filter(|row| selection.takes(&row.bytes)) {
            lines.extend_from_slice(&row.bytes);
            lines.push(b'\n');
        }
        Ok(Some((Bytes::from(lines), (app, selection, upto))))
    })
}
