//! What became of a request whose answer was lost.

use axum::{Json, extract::State, response::Response};
use flagraft_core::{reply::Outcome, state::RememberedRequest};
use serde_json::{Value, json};

use super::{
    App,
    auth::{Admin, Caller},
    consistency::{View, confirmed},
    error::ApiError,
    extract::Path,
    terms::ReadTerms,
    time::rfc3339,
};

pub(super) async fn get(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let mut view = terms.view(&app).await?;
    if found(&view, &caller, &id).is_none() {
        // "It did not happen" is said only of a state that is surely current.
        view = confirmed(&app, terms.left()).await?;
    }
    view.answer(|_| match found(&view, &caller, &id) {
        Some(request) => Ok(Json(show(&id, request))),
        None => {
            let mut error = ApiError::not_found("request", &id);
            error.message = "no request of this token with this id was decided in the last 15 minutes; one that is under \
                             way may still be, so ask again after its deadline"
                .to_owned();
            Err(error)
        }
    })
}

/// The request, if it is this caller's.
fn found<'v>(view: &'v View, caller: &Caller, id: &str) -> Option<&'v RememberedRequest> {
    let token = &caller.token.spec.id;
    [format!("{token}/{id}"), id.to_owned()]
        .iter()
        .filter_map(|scoped| view.state().request(scoped))
        .find(|request| request.token.as_ref() == Some(token))
        .map(AsRef::as_ref)
}

fn show(id: &str, request: &RememberedRequest) -> Value {
    let mut shown = json!({"request_id": id, "at": rfc3339(request.at_ms), "sequence": request.sequence});
    let (outcome, name, value) = match &request.outcome {
        Outcome::Accepted { revision, .. } => ("accepted", "revision", json!(revision)),
        Outcome::Unchanged { revision, .. } => ("unchanged", "revision", json!(revision)),
        Outcome::Rejected { rejection, .. } | Outcome::Refused { rejection } => {
            let error = ApiError::rejected(rejection);
            let value =
                json!({"code": error.code, "message": error.message, "details": {"path": rejection.path()}});
            ("rejected", "error", value)
        }
    };
    shown["outcome"] = outcome.into();
    shown[name] = value;
    shown
}
