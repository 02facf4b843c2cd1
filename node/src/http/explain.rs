//! Explanations: what a flag is for a context, and everything that was tried to find that out.
//!
//! An explanation is a read of the catalog like any other, of a critical flag too: it tells what the state says that the
//! answer's headers name, or what the state said that was asked for. It is no evaluation that a service relies on, so no safe variant takes its place.

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse as _, Response},
};
use flagraft_core::{
    compiled::{CompiledEnvironment, explain::Explanation},
    context::EvaluationContext,
    project::Project,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    App,
    auth::{Caller, Reader},
    consistency::View,
    context::{context, nobody},
    error::ApiError,
    extract::{Json, Path, Query},
    past::{At, Past, Then},
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
    Query(past): Query<Past>,
    Json(body): Json<Explain>,
) -> Result<Response, ApiError> {
    let when = past.when()?;
    let context = context(&app, &caller.token, body.context).map_err(ApiError::body)?;
    let view = terms.view(&app).await?;
    if let Some(when) = when {
        let then = Then::of(&app, &caller, &view, &at.project, when).await?;
        let explaining = tokio::task::spawn_blocking(move || explain_then(&then, &at, &body.flag, &context));
        return explaining.await.map_err(|panic| ApiError::internal("explaining a flag", panic))?;
    }
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
    explained(project, compiled, flag, context)
}

/// An explanation of what was, and when that was.
#[derive(Serialize)]
struct Explained {
    #[serde(flatten)]
    explanation: Explanation,
    at: At,
}

fn explain_then(
    then: &Then,
    at: &InProject,
    flag: &str,
    context: &EvaluationContext,
) -> Result<Response, ApiError> {
    then.answer(|project| {
        let stored = project.environments.get(at.environment.as_str());
        let compiled =
            stored.and_then(|stored| then.travelled().environment(project.key(), &stored.spec.key));
        let compiled =
            compiled.ok_or_else(|| then.missing(ApiError::not_found("environment", &at.environment)))?;
        let explanation =
            explained(project, &compiled, flag, context).map_err(|error| then.missing(error))?;
        Ok(Answer(Explained { explanation, at: then.at() }))
    })
}

fn explained(
    project: &Project,
    compiled: &CompiledEnvironment,
    flag: &str,
    context: &EvaluationContext,
) -> Result<Explanation, ApiError> {
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
