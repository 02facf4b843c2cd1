//! Explanations: what a flag is for a context, and everything that was tried to find that out.
//!
//! An explanation is a read of the catalog like any other, of a critical flag too: it tells what the state says that the
//! answer's headers name. It is no evaluation that a service relies on, so no safe variant takes its place.

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse as _, Response},
};
use flagraft_core::{compiled::explain::Explanation, context::EvaluationContext};
use serde::Deserialize;
use serde_json::Value;

use super::{
    App,
    auth::{Caller, Reader},
    consistency::View,
    context::{context, nobody},
    error::ApiError,
    extract::{Json, Path},
    shorthand::InProject,
    terms::ReadTerms,
};

/// What to explain, for whom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explain {
    flag: String,
    #[serde(default = "nobody")]
    context: Value,
}

/// One evaluation, explained.
pub(super) async fn post(
    Reader(caller): Reader,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    Json(body): Json<Explain>,
) -> Result<Response, ApiError> {
    let context = context(&app, &caller.token, body.context).map_err(ApiError::body)?;
    let view = terms.view(&app).await?;
    // It writes the text of all that was put, of the prerequisites too: Raft's heartbeats can't wait for that.
    let explaining = tokio::task::spawn_blocking(move || {
        view.answer(|_| {
            let explanation = explain(&app, &caller, &view, &at, &body.flag, &context)?;
            Ok(Answer(explanation).into_response())
        })
    });
    explaining.await.map_err(|panic| ApiError::internal("explaining a flag", panic))?
}

fn explain(
    app: &App,
    caller: &Caller,
    view: &View,
    at: &InProject,
    flag: &str,
    context: &EvaluationContext,
) -> Result<Explanation, ApiError> {
    let project = caller.project(app, view.state(), &at.project)?;
    let stored = project.environments.get(at.environment.as_str());
    let stored = stored.filter(|stored| caller.reads_rules(project.key(), &stored.spec.key));
    let compiled = stored.and_then(|stored| view.environment(project.key(), &stored.spec.key));
    let compiled = compiled.ok_or_else(|| ApiError::not_found("environment", &at.environment))?;
    compiled.explain(flag, context).map_err(|_| {
        let mut error = ApiError::not_found("flag", flag);
        if project
            .flags
            .get(flag)
            .is_some_and(|flag| flag.system.archived.is_some() && flag.system.deleted.is_none())
        {
            error.message =
                format!("flag \"{flag}\" is archived, so nobody is served anything of it; restore it first");
        }
        error
    })
}
