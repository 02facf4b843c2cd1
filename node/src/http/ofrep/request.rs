//! What an OFREP request asks for, in which environment, for whom.

use std::{borrow::Cow, time::Instant};

use axum::{
    body::Body,
    extract::{FromRequest as _, FromRequestParts as _, Request},
    http::request::Parts,
};
use flagraft_core::{
    context::EvaluationContext,
    identity::RevisionToken,
    key::{EnvironmentKey, ProjectKey},
    token::TokenKind,
};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::failure::Failure;
use crate::http::{
    App,
    auth::Caller,
    context::{context, nobody},
    error::ApiError,
    extract::{JsonBytes, parsed},
    terms::ReadTerms,
    time::parse_rfc3339,
};

/// An evaluation that is asked for.
pub(super) struct Asked {
    pub(super) caller: Caller,
    pub(super) project: ProjectKey,
    pub(super) environment: EnvironmentKey,
    pub(super) terms: ReadTerms,
    /// With what the token and the node add.
    pub(super) context: EvaluationContext,
}

impl Asked {
    /// Authenticates the request and reads it.
    pub(super) async fn of(app: &App, mut parts: Parts, body: Body) -> Result<Self, Failure> {
        let caller = Caller::authenticate(app, &parts.headers).await?;
        let Some((project, environment)) = caller.token.spec.evaluates() else {
            app.node.metrics().denied("forbidden");
            return Err(ApiError::forbidden(
                "this token evaluates in no environment; use a service or client token (fr_svc_..., fr_cli_...)",
            )
            .into());
        };
        let (project, environment) = (project.clone(), environment.clone());
        if caller.kind() == TokenKind::Client {
            app.client_rate.take(&caller.token.spec.id, Instant::now()).map_err(|wait| {
                app.node.metrics().rate_limited("client_token");
                ApiError::too_many_requests(
                    "this client token asks too often; wait, and poll less often",
                    wait,
                )
            })?;
        }
        let terms = ReadTerms::from_request_parts(&mut parts, app).await?;
        let JsonBytes(bytes) = JsonBytes::from_request(Request::from_parts(parts, body), app).await?;
        let context = context(app, &caller.token, given_context(parsed(&bytes)?)?)
            .map_err(|invalid| Failure::invalid_context(&invalid.message))?;
        Ok(Self { caller, project, environment, terms, context })
    }

    pub(super) fn is_client(&self) -> bool {
        self.caller.kind() == TokenKind::Client
    }

    /// The name of the set of flags that the token sees.
    pub(super) fn flag_set_id(&self) -> String {
        format!("{}/{}", self.project, self.environment)
    }
}

/// The context of a request's body. One that is not given is empty; fields that OFREP does not name are ignored, so
/// that newer providers are understood.
fn given_context(body: Value) -> Result<Value, Failure> {
    let Value::Object(mut body) = body else {
        let message = "the body is a JSON object: {\"context\": {...}}";
        return Err(Failure::parse_error(message));
    };
    Ok(body.remove("context").unwrap_or_else(nobody))
}

/// What an event told its receiver, who now asks for all flags: `flagConfigEtag`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The answer must not be older than this. An event of this API names it, and so does the ETag of a bulk answer.
    Revision(RevisionToken),
    /// A state that this API has no such name for. Of a confirmed answer alone it is certain that it is not older.
    SomethingElse,
}

/// What set off a bulk request. `flagConfigLastModified` says nothing that the ETag does not, so it is only read.
pub(super) fn told(query: Option<&str>) -> Result<Option<Told>, ApiError> {
    let last_modified = parameter(query, "flagConfigLastModified");
    if last_modified.is_some_and(|given| !is_time(&given)) {
        return Err(ApiError::invalid(
            "flagConfigLastModified is a time, in seconds since 1970 or as 2027-03-01T00:00:00Z; pass the event's on as it \
             is, or leave it out",
        ));
    }
    Ok(parameter(query, "flagConfigEtag").map(|given| {
        let tag = given.trim_start_matches("W/").trim_matches('"');
        let token: Vec<&str> = tag.splitn(3, '.').take(2).collect();
        token.join(".").parse().map_or(Told::SomethingElse, Told::Revision)
    }))
}

/// A parameter of the query, the first of its name.
pub(super) fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, str>> {
    let mut pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(given, _)| *given == name)?;
    Some(percent_decode_str(value).decode_utf8_lossy())
}

fn is_time(text: &str) -> bool {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number || parse_rfc3339(text).is_ok()
}

#[cfg(test)]
mod tests {
    use flagraft_core::identity::History;
    use serde_json::json;

    use super::*;

    #[test]
    fn contexts() {
        for (body, context) in [
            (json!({}), json!({})),
            (json!({"context": {}, "later": 1}), json!({})),
            (json!({"context": {"targetingKey": "u1"}}), json!({"targetingKey": "u1"})),
            (json!({"context": null}), json!(null)),
        ] {
            assert_eq!(given_context(body.clone()).expect("an object"), context, "{body}");
        }
        for body in [json!([]), json!("context")] {
            assert_eq!(given_context(body.clone()).expect_err("refused").code, "PARSE_ERROR", "{body}");
        }
    }

    #[test]
    fn an_etag_of_an_event_or_of_an_answer_is_a_minimum_revision() {
        let expected = Told::Revision(RevisionToken { history: History(0xab), revision: 7 });
        for query in [
            "flagConfigEtag=00000000000000ab.7",
            "flagConfigLastModified=1771622898&flagConfigEtag=%2200000000000000ab.7%22",
            "flagConfigEtag=%2200000000000000ab.7.0011aabb%22",
        ] {
            assert_eq!(told(Some(query)).expect(query).as_ref(), Some(&expected), "{query}");
        }
        assert_eq!(told(None).expect("none"), None);
        for query in ["flagConfigEtag=550e8400-e29b-41d4-a716-446655440000", "flagConfigEtag="] {
            assert_eq!(told(Some(query)).expect(query), Some(Told::SomethingElse), "{query}");
        }
    }

    #[test]
    fn the_time_of_an_event_is_a_time() {
        for good in ["0", "1771622898", "2026-02-20T21:28:18Z", "2026-02-20T22:28:18%2B01:00"] {
            assert_eq!(told(Some(&format!("flagConfigLastModified={good}"))).expect(good), None);
        }
        for bad in ["", "-1", "1.5", "yesterday", "2026-02-20", "1771622898s"] {
            assert!(told(Some(&format!("flagConfigLastModified={bad}"))).is_err(), "{bad}");
        }
    }
}
