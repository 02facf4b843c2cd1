//! Letting a node evaluate: to be certain of a critical flag, and for flags that this version does not understand.

use std::{collections::BTreeMap, time::Duration};

use flagraft_core::identity::RevisionToken;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    context::{Context, Overlay},
    details::{Consistency, Details, ErrorCode, EvaluationFault, Reason, Source},
    fault::Fault,
    hedge::first_good,
    observer::Request,
    shared::Shared,
};

/// Nobody gave a linearizable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unconfirmed {
    /// No node answered well in time.
    #[error("no node gave a confirmed answer in time; ask again, or go by the safe variant")]
    NoAnswer,
    /// A node answered that there is no such flag, or that the context is none.
    #[error(transparent)]
    Refused(EvaluationFault),
}

/// What a node answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    value: Option<Value>,
    #[serde(default)]
    variant: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    metadata: BTreeMap<String, Value>,
    #[serde(default, rename = "errorCode")]
    error_code: String,
    #[serde(default, rename = "errorDetails")]
    error_details: String,
}

/// How well a node's answer has to be founded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// As the node would give it by itself.
    Any,
    /// A quorum confirmed it.
    Linearizable,
}

/// What a flag is for a context, by the first node that answers well; the value is `None` where the caller's default is
/// meant.
pub(crate) async fn evaluate(
    shared: &Shared,
    key: &str,
    context: &Context,
    wanted: Wanted,
    deadline: Duration,
) -> Result<Details<Option<Value>>, Unconfirmed> {
    // No flag has such a key, and in a path they would name another route.
    if key.is_empty() || key == "." || key == ".." {
        let message = format!("there is no flag {key:?}");
        return Err(Unconfirmed::Refused(EvaluationFault { code: ErrorCode::FlagNotFound, message }));
    }
    let overlay = Overlay { region: shared.settings.region.clone(), ..Overlay::default() };
    let body = json!({"context": overlay.with_region(context)}).to_string().into_bytes();
    let asking = first_good(shared.endpoints.order(), shared.settings.hedge_after, async |endpoint| {
        let node = shared.endpoints.url(endpoint).ok_or(Fault::Unreachable)?;
        let is_linearizable = wanted == Wanted::Linearizable;
        let asked = shared.transport.evaluate(node, key, body.clone(), is_linearizable, deadline);
        let answered = shared.watched(endpoint, Request::Evaluation, asked).await;
        let answered = answered.and_then(|(status, body)| read(status, &body));
        if answered.is_ok() {
            shared.endpoints.succeeded(endpoint);
        }
        match answered {
            Ok(Ok(details)) if is_linearizable && details.consistency != Consistency::Linearizable => {
                // It said what is safe, not what is true. Another one may be better connected.
                Err(Fault::Busy(None))
            }
            Ok(answer) => Ok(answer),
            Err(fault) => {
                // One that can confirm nothing now may well stream, and say how old its state is.
                if !matches!(fault, Fault::Busy(_)) {
                    shared.endpoints.failed(endpoint, &fault);
                }
                Err(fault)
            }
        }
    });
    match timeout(deadline, asking).await {
        Ok(Ok(answer)) => answer.map_err(Unconfirmed::Refused),
        Ok(Err(_)) | Err(_) => Err(Unconfirmed::NoAnswer),
    }
}

/// Reads a node's answer: what it evaluated to, or why it did not.
fn read(status: StatusCode, body: &[u8]) -> Result<Result<Details<Option<Value>>, EvaluationFault>, Fault> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| Fault::Garbage("it is no evaluation"))?;
    if status != StatusCode::OK {
        let code = match (status, answer.error_code.as_str()) {
            (StatusCode::NOT_FOUND, "FLAG_NOT_FOUND") => ErrorCode::FlagNotFound,
            (StatusCode::BAD_REQUEST, "INVALID_CONTEXT") => ErrorCode::InvalidContext,
            _ => return Err(Fault::Status(status.as_u16())),
        };
        return Ok(Err(EvaluationFault { code, message: answer.error_details }));
    }
    let Answer { value, variant, reason, mut metadata, .. } = answer;
    let reason = match reason.as_str() {
        "STATIC" => Reason::Static,
        "DEFAULT" => Reason::Default,
        "TARGETING_MATCH" => Reason::TargetingMatch,
        "SPLIT" => Reason::Split,
        "DISABLED" => Reason::Disabled,
        "UNKNOWN" => Reason::Unknown,
        _ => return Err(Fault::Garbage("its reason is none of this API's")),
    };
    let consistency = match metadata.remove("consistency").as_ref().and_then(Value::as_str) {
        Some("linearizable") => Consistency::Linearizable,
        Some("safe-variant") => Consistency::SafeVariant,
        Some("local") => Consistency::Local,
        _ => return Err(Fault::Garbage("it does not say what it is good for")),
    };
    let number = metadata.remove("revision").as_ref().and_then(Value::as_u64);
    let age_ms = metadata.remove("ageMs").as_ref().and_then(Value::as_u64);
    // The version names the history; the revision is the state's.
    let version = metadata.get("version").and_then(Value::as_str);
    let version: Option<RevisionToken> = version.and_then(|version| version.parse().ok());
    let revision = version.zip(number).map(|(version, revision)| RevisionToken { revision, ..version });
    Ok(Ok(Details {
        value,
        variant,
        reason,
        error: None,
        metadata,
        consistency,
        revision,
        age_ms,
        source: Source::Remote,
    }))
}

#[cfg(test)]
mod tests {
    use flagraft_core::identity::History;

    use super::*;

    #[test]
    fn an_answer_is_read_with_what_it_is_good_for() {
        let body = json!({"key": "a", "reason": "SPLIT", "variant": "on", "value": true, "metadata": {
            "team": "payments", "flagSetId": "demo/dev", "version": "00000000000000ab.3", "revision": 7,
            "consistency": "linearizable", "ageMs": 4}});
        let details = read(StatusCode::OK, body.to_string().as_bytes()).expect("read").expect("evaluated");
        assert_eq!(
            (details.value, details.variant.as_str(), details.reason),
            (Some(json!(true)), "on", Reason::Split)
        );
        assert_eq!((details.consistency, details.age_ms), (Consistency::Linearizable, Some(4)));
        assert_eq!(details.revision, Some(RevisionToken { history: History(0xab), revision: 7 }));
        let names: Vec<&String> = details.metadata.keys().collect();
        assert_eq!(names, ["flagSetId", "team", "version"]);

        let refused = json!({"errorCode": "FLAG_NOT_FOUND", "errorDetails": "no such flag"}).to_string();
        let fault = read(StatusCode::NOT_FOUND, refused.as_bytes()).expect("read").expect_err("refused");
        assert_eq!((fault.code, fault.message.as_str()), (ErrorCode::FlagNotFound, "no such flag"));
        // A proxy's page, and an answer that does not say what it is good for.
        assert!(read(StatusCode::NOT_FOUND, b"{}").is_err());
        assert!(read(StatusCode::OK, b"<html>").is_err());
        assert!(read(StatusCode::OK, br#"{"reason": "STATIC", "value": true}"#).is_err());
    }
}
