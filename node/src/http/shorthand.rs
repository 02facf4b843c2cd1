//! What the shorthand routes share: names in paths, bodies, and the way back from the change that was judged to the
//! body that was sent.

use axum::{
    http::{HeaderValue, StatusCode, header::ETAG},
    response::{IntoResponse, Response},
};
use flagraft_core::{
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, ProjectKey, SegmentKey},
    parse,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    App,
    auth::Caller,
    consistency::View,
    error::ApiError,
    recorded::first_operation,
    write::{Draft, WriteTerms, submit},
};

/// Where the one operation of a shorthand is in the change that was judged.
const OPERATION: &str = "/operations/0";

/// A key from a path. What can't be a key can't be found.
pub(super) fn named<K: std::str::FromStr<Err = Invalid>>(kind: &str, text: &str) -> Result<K, ApiError> {
    text.parse().map_err(|invalid: Invalid| {
        let mut error = ApiError::not_found(kind, text);
        error.message = format!("there can be no {kind} \"{text}\": {}", invalid.message);
        error
    })
}

/// The names in a path below a project, in order. As text: a key is checked where it is used, so that its fault is
/// told and not only that the path is wrong.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct InProject {
    pub(super) project: String,
    #[serde(default)]
    pub(super) key: String,
    #[serde(default)]
    pub(super) environment: String,
}

impl InProject {
    pub(super) fn project(&self) -> Result<ProjectKey, ApiError> {
        named("project", &self.project)
    }

    pub(super) fn flag(&self) -> Result<FlagKey, ApiError> {
        named("flag", &self.key)
    }

    pub(super) fn segment(&self) -> Result<SegmentKey, ApiError> {
        named("segment", &self.key)
    }

    pub(super) fn environment(&self) -> Result<EnvironmentKey, ApiError> {
        named("environment", &self.environment)
    }
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, ::serde::Deserialize)]
            #[serde(deny_unknown_fields)]
            pub(in crate::http) struct $name {
                reason: String,
                #[serde(default)]
                ticket: Option<String>,
                $($(#[$attribute])* pub(in crate::http) $field: $type,)*
            }

            impl $name {
                pub(in crate::http) fn why(&self) -> $crate::http::write::Why {
                    $crate::http::write::Why { reason: self.reason.clone(), ticket: self.ticket.clone() }
                }
            }
        )*
    };
}
pub(super) use bodies;

/// An object as a read gives it may be written back: `system` is ignored, and the key of the path is filled in where
/// the object has none.
pub(super) fn writable(object: Value, key: &str) -> Result<Map<String, Value>, Invalid> {
    let Value::Object(mut object) = object else {
        return Err(Invalid::here("this is a JSON object"));
    };
    object.remove("system");
    match object.get("key") {
        None => drop(object.insert("key".to_owned(), key.into())),
        Some(Value::String(given)) if given == key => {}
        Some(_) => {
            return Err(Invalid::new(
                "/key",
                format!("the path says {key:?}; say the same here, or leave the key out"),
            ));
        }
    }
    Ok(object)
}

/// Reads an object of a body's `field`.
pub(super) fn object<T: DeserializeOwned>(field: &str, object: Value, key: &str) -> Result<T, ApiError> {
    writable(object, key)
        .and_then(|object| parse::from_value(Value::Object(object)))
        .map_err(|invalid| ApiError::body(invalid.under(field)))
}

/// Where a field of an operation stands in the body that was sent.
pub(super) type Fields<'a> = &'a [(&'a str, &'a str)];

/// Submits the one operation of a shorthand. Errors point into the body that was sent: `fields` says which field of
/// the operation is which one there. A PUT is answered 201 where it made its object.
pub(super) async fn submit_one(
    app: &App,
    caller: &Caller,
    terms: &WriteTerms,
    draft: Draft,
    fields: Fields<'_>,
    is_put: bool,
) -> Result<Response, ApiError> {
    let written = submit(app, caller, terms, draft)
        .await
        .map_err(|error| error.map_path(|path| pointer_in_body(&path, fields)))?;
    let made =
        is_put && written.outcome == "accepted" && !written.replayed && made(app, written.sequence).await;
    Ok((if made { StatusCode::CREATED } else { StatusCode::OK }, written).into_response())
}

/// Whether the change made its object. What this node had before it is no witness: it may have been behind. A change
/// that is not published here yet can't tell, and a client loses nothing by a 200.
async fn made(app: &App, sequence: u64) -> bool {
    first_operation(app, sequence).await.is_ok_and(|recorded| recorded.is_some_and(|it| it.before.is_null()))
}

/// The error of an operation whose fields are those of the body.
pub(super) fn without_operation(error: ApiError) -> ApiError {
    error.map_path(|path| path.strip_prefix(OPERATION).unwrap_or(&path).to_owned())
}

pub(super) fn pointer_in_body(path: &str, fields: Fields<'_>) -> String {
    let Some(in_operation) = path.strip_prefix(OPERATION) else { return path.to_owned() };
    fields
        .iter()
        .find_map(|(ours, theirs)| {
            let rest = in_operation.strip_prefix('/')?.strip_prefix(ours)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("/{theirs}{rest}"))
        })
        // What the operation has from the path is in no body.
        .unwrap_or_default()
}

/// An object with its ETag.
pub(super) fn with_etag(view: &View, revision: u64, object: Value) -> Response {
    let mut response = axum::Json(object).into_response();
    let headers = response.headers_mut();
    headers.insert(ETAG, view.stamp.etag(revision));
    headers.insert(axum::http::header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}

/// An object with `system` in it: what the catalog knows beside what was stated.
pub(super) fn with_system(object: Value, system: Value) -> Value {
    let mut object = object;
    if let Some(fields) = object.as_object_mut() {
        fields.insert("system".to_owned(), system);
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_lead_into_the_body_that_was_sent() {
        let put: Fields<'_> = &[("flag", "flag")];
        let patch: Fields<'_> = &[("flag", "patch")];
        assert_eq!(pointer_in_body("/operations/0/flag/variants/on", put), "/flag/variants/on");
        assert_eq!(pointer_in_body("/operations/0/flag/variants/on", patch), "/patch/variants/on");
        assert_eq!(pointer_in_body("/operations/0/flagship", put), "");
        assert_eq!(pointer_in_body("/operations/0/environment", &[]), "");
        assert_eq!(pointer_in_body("/ticket", put), "/ticket");
    }

    #[test]
    fn what_one_reads_one_may_write() {
        let object = writable(json!({"name": "A", "system": {"revision": 3}}), "a").expect("writable");
        assert_eq!(Value::Object(object), json!({"key": "a", "name": "A"}));
        assert_eq!(writable(json!({"key": "b"}), "a").expect_err("another key").path, "/key");
        assert!(writable(json!([]), "a").is_err());
    }
}
