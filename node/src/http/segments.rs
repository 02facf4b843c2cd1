//! Segments: named groups of users.

use axum::{extract::State, response::Response};
use flagraft_core::{
    operation::{Operation, SegmentDelete, SegmentPut},
    segment::SegmentSpec,
};
use serde_json::{Value, json};

use super::{
    App,
    auth::Admin,
    consistency::{ReadTerms, View},
    error::ApiError,
    extract::{Json, Path, Query},
    list::Page,
    shorthand::{InProject, Patch, bodies, merge, object, patched_from, submit_one, with_etag, with_system},
    write::{Draft, Why, WriteTerms},
};

bodies! {
    /// A segment and why.
    PutSegment { segment: Value }
}

fn show(spec: SegmentSpec, revision: u64) -> Value {
    with_system(json!(spec), json!({"revision": revision}))
}

pub(super) async fn list(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let window = Page::window(page.limit, page.cursor)?;
    let view = terms.view(&app).await?;
    view.answer(|state| {
        let project = caller.project(&app, state, &at.project)?;
        Ok(window.page(
            project.segments.iter(),
            |(key, _)| key.as_str().into(),
            // A list of up to a million members has no place in a list of segments.
            |(_, stored)| show(stored.segment.spec_without_members(), stored.revision),
            state.revision(),
        ))
    })
}

pub(super) async fn get(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    view.answer(|state| {
        let project = caller.project(&app, state, &at.project)?;
        match project.segments.get(at.key.as_str()) {
            Some(stored) => {
                Ok(with_etag(&view, stored.revision, show(stored.segment.to_spec(), stored.revision)))
            }
            None => Err(ApiError::not_found("segment", &at.key)),
        }
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
    let view = View::local(&app);
    let created = !view.state().project(&project).is_some_and(|project| project.segments.contains_key(&key));
    let if_revision = terms.if_revision(&view)?;
    let draft = Draft::one(project, Operation::SegmentPut(SegmentPut { segment, if_revision }), why);
    submit_one(&app, &caller, &terms, draft, &[("segment", "segment")], created).await
}

pub(super) async fn patch(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<Patch>,
) -> Result<Response, ApiError> {
    let (project, key, why) = (at.project()?, at.segment()?, body.why());
    let view = patched_from(&app, &terms).await?;
    let stored = caller.project(&app, view.state(), &project)?.segments.get(&key);
    let stored = stored.ok_or_else(|| ApiError::not_found("segment", &key))?;
    // Lists that the patch does not name stay as they are, without being sent through the log.
    let mut patched = json!(stored.segment.spec_without_members());
    let mut patch = body.patch;
    for list in ["included", "excluded"] {
        if let Some(removed) = patch.get_mut(list).filter(|members| members.is_null()) {
            *removed = json!([]);
        }
    }
    merge(&mut patched, patch);
    let segment: SegmentSpec = object("patch", patched, &key)?;
    let if_revision = Some(terms.if_revision(&view)?.unwrap_or(stored.revision));
    let draft = Draft::one(project, Operation::SegmentPut(SegmentPut { segment, if_revision }), why);
    submit_one(&app, &caller, &terms, draft, &[("segment", "patch")], false).await
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
