//! Environments of a project.

use axum::{extract::State, response::Response};
use flagraft_core::{
    environment::EnvironmentSpec,
    operation::{EnvironmentDelete, EnvironmentPut, Operation},
    project::{Project, StoredEnvironment},
};
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
    /// An environment and why.
    PutEnvironment { environment: Value }
}

fn show(stored: &StoredEnvironment) -> Value {
    let system = json!({"revision": stored.revision, "touched_revision": stored.touched_revision});
    with_system(json!(stored.spec), system)
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
        let visible = project.environments.values();
        let mut visible: Vec<_> =
            visible.filter(|stored| caller.reads(project.key(), Some(&stored.spec.key))).collect();
        visible.sort_by_key(|stored| place(stored));
        window.page(visible.into_iter(), |stored| place(stored).into(), |stored| show(stored), revision)
    };
    if let Some(when) = (Past { at_revision, at: time }).when()? {
        let then = Then::of(&app, &caller, &view, &at.project, when).await?;
        return then.answer(|project| Ok(page(project, then.revision())));
    }
    view.answer(|state| Ok(page(caller.project(&app, state, &at.project)?, state.revision())))
}

/// Sorts environments by their order, then by key: as text, because a cursor is text.
fn place(stored: &StoredEnvironment) -> String {
    // Moves the range of i32 to that of u32, so that the digits sort like the numbers.
    let order = i64::from(stored.spec.order) - i64::from(i32::MIN);
    format!("{order:010}/{}", stored.spec.key)
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
        let stored = project.environments.get(at.environment.as_str());
        match stored.filter(|stored| caller.reads(project.key(), Some(&stored.spec.key))) {
            Some(stored) => Ok(with_etag(&view, stored.revision, show(stored))),
            None => Err(ApiError::not_found("environment", &at.environment)),
        }
    })
}

pub(super) async fn put(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<PutEnvironment>,
) -> Result<Response, ApiError> {
    let (project, key, why) = (at.project()?, at.environment()?, body.why());
    let environment: EnvironmentSpec = object("environment", body.environment, &key)?;
    let if_revision = terms.if_revision(&View::local(&app))?;
    let draft =
        Draft::one(project, Operation::EnvironmentPut(EnvironmentPut { environment, if_revision }), why);
    submit_one(&app, &caller, &terms, draft, &[("environment", "environment")], true).await
}

pub(super) async fn patch(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<Patch>,
) -> Result<Response, ApiError> {
    let (project, key) = (at.project()?, at.environment()?);
    let target = Target { project: &project, kind: "environment", key: &key };
    submit_patch(&app, &caller, &terms, target, body, |state, patch, expected| {
        let stored = caller.project(&app, state, &project)?.environments.get(&key);
        let stored = stored.ok_or_else(|| ApiError::not_found("environment", &key))?;
        let mut patched = json!(stored.spec);
        merge(&mut patched, patch);
        let environment: EnvironmentSpec = object("patch", patched, &key)?;
        let if_revision = Some(expected.unwrap_or(stored.revision));
        Ok(Operation::EnvironmentPut(EnvironmentPut { environment, if_revision }))
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
    let (project, environment) = (at.project()?, at.environment()?);
    let if_revision = terms.if_revision(&View::local(&app))?;
    let operation = Operation::EnvironmentDelete(EnvironmentDelete { environment, if_revision });
    submit_one(&app, &caller, &terms, Draft::one(project, operation, why), &[], false).await
}
