//! Turning flags on and off, and taking them in and out of service.

use axum::{extract::State, response::Response};
use flagraft_core::{
    operation::{FlagArchive, FlagCopy, FlagDisable, FlagEnable, FlagRestore, Operation},
    parse,
};
use serde_json::{Map, Value};

use crate::http::{
    App,
    auth::{Admin, Caller},
    error::ApiError,
    extract::{Json, Path},
    shorthand::{Fields, InProject, bodies, submit_one},
    write::{Draft, Why, WriteTerms},
};

bodies! {
    /// What to copy and why.
    CopyFlag {
        from: String,
        to: String,
        #[serde(default)]
        parts: Option<Value>
    }
}

/// Makes one operation on the flag that the path names.
async fn one(
    (app, caller): (&App, &Caller),
    terms: &WriteTerms,
    at: &InProject,
    operation: Operation,
    why: Why,
    fields: Fields<'_>,
) -> Result<Response, ApiError> {
    terms.unconditional()?;
    submit_one(app, caller, terms, Draft::one(at.project()?, operation, why), fields, false).await
}

/// Turns a flag on in one environment.
pub(in crate::http) async fn enable(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(why): Json<Why>,
) -> Result<Response, ApiError> {
    let (flag, environment) = (at.flag()?, at.environment()?);
    let operation = Operation::FlagEnable(FlagEnable { flag, environment, if_revision: None });
    one((&app, &caller), &terms, &at, operation, why, &[]).await
}

/// Turns a flag off in one environment.
pub(in crate::http) async fn disable(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(why): Json<Why>,
) -> Result<Response, ApiError> {
    let (flag, environment) = (at.flag()?, at.environment()?);
    let operation = Operation::FlagDisable(FlagDisable { flag, environment, if_revision: None });
    one((&app, &caller), &terms, &at, operation, why, &[]).await
}

/// Takes a flag out of service.
pub(in crate::http) async fn archive(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(why): Json<Why>,
) -> Result<Response, ApiError> {
    let operation = Operation::FlagArchive(FlagArchive { flag: at.flag()?, if_revision: None });
    one((&app, &caller), &terms, &at, operation, why, &[]).await
}

/// Brings a flag back, disabled everywhere.
pub(in crate::http) async fn restore(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(why): Json<Why>,
) -> Result<Response, ApiError> {
    let operation = Operation::FlagRestore(FlagRestore { flag: at.flag()?, if_revision: None });
    one((&app, &caller), &terms, &at, operation, why, &[]).await
}

/// Copies a flag's configuration from one environment to another.
pub(in crate::http) async fn copy(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<CopyFlag>,
) -> Result<Response, ApiError> {
    let why = body.why();
    // Read as the operation, whose defaults are the core's to say.
    let mut fields = Map::new();
    fields.insert("flag".to_owned(), at.flag()?.as_str().into());
    fields.insert("from".to_owned(), body.from.into());
    fields.insert("to".to_owned(), body.to.into());
    if let Some(parts) = body.parts {
        fields.insert("parts".to_owned(), parts);
    }
    let copy: FlagCopy = parse::from_value(Value::Object(fields)).map_err(ApiError::body)?;
    let fields = &[("from", "from"), ("to", "to"), ("parts", "parts")];
    one((&app, &caller), &terms, &at, Operation::FlagCopy(copy), why, fields).await
}
