//! Segments: named groups of users. They are shown without their members, of whom there may be a million: those have a
//! route of their own, which writes them while it reads them.

use std::{
    convert::Infallible,
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{
        HeaderValue,
        header::{CONTENT_TYPE, ETAG},
    },
    response::{IntoResponse as _, Response},
};
use flagraft_core::{
    operation::{Operation, SegmentDelete, SegmentPut},
    project::{Project, StoredSegment},
    segment::{MemberList, Segment, SegmentSpec},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App,
    auth::Admin,
    consistency::View,
    error::ApiError,
    extract::{Json, Path, Query},
    list::Page,
    past::{Past, PastPage, Then},
    patch::{Patch, Target, merge, submit_patch},
    shorthand::{InProject, bodies, object, submit_one, with_etag, with_system},
    terms::ReadTerms,
    write::{Draft, Why, WriteTerms},
};

bodies! {
    /// A segment and why.
    PutSegment { segment: Value }
}

/// Members that are written at once.
const MEMBERS_AT_ONCE: usize = 1_000;

fn show(stored: &StoredSegment) -> Value {
    let count = |list| stored.segment.members(list).len();
    let system = json!({
        "revision": stored.revision,
        "included_count": count(MemberList::Included),
        "excluded_count": count(MemberList::Excluded),
    });
    with_system(json!(stored.segment.spec_without_members()), system)
}

pub(super) async fn list(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    Query(PastPage { limit, cursor, at_revision, at: time }): Query<PastPage>,
) -> Result<Response, ApiError> {
    let window = Page::window(limit, cursor)?;
    let view = terms.view(&app).await?;
    let page = |project: &Project, revision| {
        let segments = project.segments.iter();
        window.page(segments, |(key, _)| key.as_str().into(), |(_, stored)| show(stored), revision)
    };
    if let Some(when) = (Past { at_revision, at: time }).when()? {
        let then = Then::of(&app, &caller, &view, &at.project, when).await?;
        return then.answer(|project| Ok(page(project, then.revision())));
    }
    view.answer(|state| Ok(page(caller.project(&app, state, &at.project)?, state.revision())))
}

pub(super) async fn get(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    Query(past): Query<Past>,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    let missing = || ApiError::not_found("segment", &at.key);
    if let Some(when) = past.when()? {
        let then = Then::of(&app, &caller, &view, &at.project, when).await?;
        return then.answer(|project| match project.segments.get(at.key.as_str()) {
            Some(stored) => Ok(axum::Json(show(stored))),
            None => Err(then.missing(missing())),
        });
    }
    view.answer(|state| {
        let project = caller.project(&app, state, &at.project)?;
        match project.segments.get(at.key.as_str()) {
            Some(stored) => Ok(with_etag(&view, stored.revision, show(stored))),
            None => Err(missing()),
        }
    })
}

/// Which of a segment's lists to read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Members {
    list: MemberList,
}

/// All members of one list, in order, a JSON string a line. All are of one revision, which the ETag says, however long
/// the client takes to read them.
pub(super) async fn members(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    Query(which): Query<Members>,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    view.answer(|state| {
        let project = caller.project(&app, state, &at.project)?;
        let stored = project.segments.get(at.key.as_str());
        let stored = stored.ok_or_else(|| ApiError::not_found("segment", &at.key))?;
        // A clone shares the list.
        let lines = lines(stored.segment.clone(), which.list);
        let mut response = Body::from_stream(stream::iter(lines.map(Ok::<_, Infallible>))).into_response();
        let headers = response.headers_mut();
        headers.insert(ETAG, view.stamp.etag(stored.revision));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        Ok(response)
    })
}

/// The members of a list as lines, some at a time.
fn lines(segment: Segment, list: MemberList) -> impl Iterator<Item = Bytes> {
    let mut last: Option<Arc<str>> = None;
    std::iter::from_fn(move || {
        let members = segment.members(list);
        let from = last.as_deref().map_or(Unbounded, Excluded);
        let mut lines = Vec::new();
        let some: Vec<&Arc<str>> = members.range::<_, str>((from, Unbounded)).take(MEMBERS_AT_ONCE).collect();
        for member in &some {
            lines.extend_from_slice(Value::from(member.as_ref()).to_string().as_bytes());
            lines.push(b'\n');
        }
        last = Some(Arc::clone(some.last()?));
        Some(Bytes::from(lines))
    })
}

pub(super) async fn put(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<PutSegment>,
) -> Result<Response, ApiError> {
    let (project, key, why) = (at.project()?, at.segment()?, body.why());
    let segment: SegmentSpec = object("segment", body.segment, &key)?;
    let if_revision = terms.if_revision(&View::local(&app))?;
    let draft = Draft::one(project, Operation::SegmentPut(SegmentPut { segment, if_revision }), why);
    submit_one(&app, &caller, &terms, draft, &[("segment", "segment")], true).await
}

pub(super) async fn patch(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<Patch>,
) -> Result<Response, ApiError> {
    let (project, key) = (at.project()?, at.segment()?);
    let target = Target { project: &project, kind: "segment", key: &key };
    submit_patch(&app, &caller, &terms, target, body, |state, mut patch, expected| {
        let stored = caller.project(&app, state, &project)?.segments.get(&key);
        let stored = stored.ok_or_else(|| ApiError::not_found("segment", &key))?;
        // Lists that the patch does not name stay as they are, without being sent through the log.
        let mut patched = json!(stored.segment.spec_without_members());
        for list in ["included", "excluded"] {
            if let Some(removed) = patch.get_mut(list).filter(|members| members.is_null()) {
                *removed = json!([]);
            }
        }
        merge(&mut patched, patch);
        let segment: SegmentSpec = object("patch", patched, &key)?;
        let if_revision = Some(expected.unwrap_or(stored.revision));
        Ok(Operation::SegmentPut(SegmentPut { segment, if_revision }))
    })
    .await
}

pub(super) async fn delete(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Query(why): Query<Why>,
) -> Result<Response, ApiError> {
    let (project, segment) = (at.project()?, at.segment()?);
    let if_revision = terms.if_revision(&View::local(&app))?;
    let draft = Draft::one(project, Operation::SegmentDelete(SegmentDelete { segment, if_revision }), why);
    submit_one(&app, &caller, &terms, draft, &[], false).await
}
