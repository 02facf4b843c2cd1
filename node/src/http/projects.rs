//! Projects.

use axum::{extract::State, response::Response};
use flagraft_core::{
    environment::ProjectSpec,
    operation::{Operation, ProjectDelete, ProjectPut},
    project::Project,
};
use serde_json::{Value, json};

use super::{
    App,
    auth::Admin,
    consistency::View,
    error::ApiError,
    extract::{Json, Path, Query},
    list::Page,
    patch::{Patch, Target, merge, submit_patch},
    shorthand::{InProject, bodies, object, submit_one, with_etag, with_system},
    terms::ReadTerms,
    write::{Draft, Why, WriteTerms},
};

bodies! {
    /// A project and why.
    PutProject { project: Value }
}

fn show(project: &Project) -> Value {
    with_system(json!(project.spec), json!({"revision": project.revision}))
}

pub(super) async fn list(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let window = Page::window(page.limit, page.cursor)?;
    let view = terms.view(&app).await?;
    view.answer(|state| {
        caller.still_good(state)?;
        let visible = state.projects().filter(|project| caller.token.spec.sees(project.key()));
        Ok(window.page(
            visible,
            |project| project.key().as_str().into(),
            |project| show(project),
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
        Ok(with_etag(&view, project.revision, show(project)))
    })
}

pub(super) async fn put(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<PutProject>,
) -> Result<Response, ApiError> {
    let (key, why) = (at.project()?, body.why());
    let project: ProjectSpec = object("project", body.project, &key)?;
    let if_revision = terms.if_revision(&View::local(&app))?;
    let draft = Draft::one(key, Operation::ProjectPut(ProjectPut { project, if_revision }), why);
    submit_one(&app, &caller, &terms, draft, &[("project", "project")], true).await
}

pub(super) async fn patch(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<Patch>,
) -> Result<Response, ApiError> {
    let key = at.project()?;
    let target = Target { project: &key, kind: "project", key: &key };
    submit_patch(&app, &caller, &terms, target, body, |state, patch, expected| {
        let stored = caller.project(&app, state, &key)?;
        let mut patched = json!(stored.spec);
        merge(&mut patched, patch);
        let project: ProjectSpec = object("patch", patched, &key)?;
        let if_revision = Some(expected.unwrap_or(stored.revision));
        Ok(Operation::ProjectPut(ProjectPut { project, if_revision }))
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
    let if_revision = terms.if_revision(&View::local(&app))?;
    let draft = Draft::one(at.project()?, Operation::ProjectDelete(ProjectDelete { if_revision }), why);
    submit_one(&app, &caller, &terms, draft, &[], false).await
}
