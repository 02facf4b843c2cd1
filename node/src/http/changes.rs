//! The write: 1 to 100 operations as one change.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use flagraft_core::{
    invalid::Invalid,
    key::ProjectKey,
    operation::Operation,
    proposal::{Cause, CauseKind},
    signing::ChangeSignature,
};
use serde_json::Value;

use super::{
    App,
    auth::{Admin, Caller},
    error::ApiError,
    extract::{Json, Path},
    shorthand::{InProject, bodies},
    write::{Draft, WriteTerms, submit},
};

bodies! {
    /// A change, why, and who vouches for it.
    ChangeRequest {
        operations: Vec<Value>,
        #[serde(default)]
        expect_revision: Option<u64>,
        #[serde(default)]
        dry_run: bool,
        #[serde(default)]
        caused_by: Option<Cause>,
        #[serde(default)]
        signature: Option<ChangeSignature>
    }
}

pub(super) async fn post(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<ChangeRequest>,
) -> Result<Response, ApiError> {
    change(&app, &caller, &terms, Some(at.project()?), body).await
}

/// The same of what belongs to no project: tokens and signing keys.
pub(super) async fn post_anywhere(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Json(body): Json<ChangeRequest>,
) -> Result<Response, ApiError> {
    change(&app, &caller, &terms, None, body).await
}

async fn change(
    app: &App,
    caller: &Caller,
    terms: &WriteTerms,
    project: Option<ProjectKey>,
    body: ChangeRequest,
) -> Result<Response, ApiError> {
    terms.unconditional()?;
    let draft = draft(body)
        .map(|draft| Draft { project, ..draft })
        .map_err(|invalid| ApiError::body(invalid).request_id(&terms.request.id))?;
    Ok(submit(app, caller, terms, draft).await?.into_response())
}

fn draft(body: ChangeRequest) -> Result<Draft, Invalid> {
    let why = body.why();
    let operations = body.operations.into_iter().enumerate().map(|(index, value)| {
        let operation = Operation::from_value(value).and_then(|operation| {
            if operation.name().starts_with("system.")
                || matches!(operation, Operation::AuditRemove(_) | Operation::AuditCatalogPut(_))
            {
                return Err(Invalid::new(
                    "/op",
                    "operations on the cluster itself are proposed by its members only; leave it out",
                ));
            }
            Ok(operation)
        });
        operation.map_err(|invalid| invalid.under(index).under("operations"))
    });
    let operations = operations.collect::<Result<_, _>>()?;
    if let Some(cause) = &body.caused_by
        && !matches!(cause.kind, CauseKind::Import | CauseKind::Rollback)
    {
        return Err(Invalid::new(
            "/caused_by/kind",
            "a client's change is caused by an import or a rollback",
        ));
    }
    Ok(Draft {
        operations,
        signature: body.signature,
        expect_revision: body.expect_revision,
        caused_by: body.caused_by,
        dry_run: body.dry_run,
        ..Draft::nothing(why)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value) -> Result<Draft, Invalid> {
        draft(flagraft_core::parse::from_value(body)?)
    }

    #[test]
    fn faults_are_pointed_at() {
        let disable = json!({"op": "flag.disable", "flag": "a", "environment": "dev"});
        assert_eq!(
            read(json!({"reason": "r", "operations": [disable]})).expect("a change").operations.len(),
            1
        );
        for (body, path) in [
            (json!({"operations": []}), ""),
            (json!({"reason": "r", "operations": {}}), "/operations"),
            (json!({"reason": "r", "operations": [disable, {"op": "flag.fly"}]}), "/operations/1/op"),
            (
                json!({"reason": "r", "operations": [{"op": "system.cluster_version", "version": 1}]}),
                "/operations/0/op",
            ),
            (
                json!({"reason": "r", "operations": [{"op": "flag.disable", "flag": "a b", "environment": "dev"}]}),
                "/operations/0/flag",
            ),
            (
                json!({"reason": "r", "operations": [disable], "caused_by": {"kind": "ramp", "id": "1"}}),
                "/caused_by/kind",
            ),
            (json!({"reason": 1, "operations": [disable]}), "/reason"),
        ] {
            assert_eq!(read(body.clone()).expect_err("refused").path, path, "{body}");
        }
    }
}
