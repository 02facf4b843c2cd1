//! What can become of a call that does not succeed.

use std::{fmt, time::Duration};

use reqwest::{StatusCode, header::RETRY_AFTER};
use serde_json::Value;

use super::{answer::Received, call::Request};

/// What kind of thing went wrong: what a program decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AdminErrorKind {
    /// The call, or what the client was set up from, can't be sent. Nothing was.
    Invalid,
    /// There is no token, or one that is no good any more.
    Unauthenticated,
    /// The token does not reach.
    Forbidden,
    /// It does not exist, or not for this token, or the log does not reach back to it any more.
    NotFound,
    /// A node looked at it and said no: what was sent is wrong, or a policy refuses it.
    Rejected,
    /// It does not go with what is there: it exists already, is in use, or has changed meanwhile. Read again, and decide anew.
    Conflict,
    /// No node could do it now, and nothing has changed.
    Unavailable,
    /// A change may or may not have happened: its answer was lost.
    OutcomeUnknown,
    /// It was done, and the answer can't be read.
    Unreadable,
    /// None of these: a node that failed, or a server that is none.
    Other,
}

/// Why a call did not succeed, and what to do next.
#[derive(Clone, Debug)]
pub struct AdminError(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: AdminErrorKind,
    status: Option<u16>,
    code: Option<String>,
    message: String,
    advice: Option<String>,
    details: Option<Value>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
}

impl AdminError {
    fn new(kind: AdminErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            kind,
            status: None,
            code: None,
            message: message.into(),
            advice: None,
            details: None,
            request_id: None,
            retry_after: None,
        }))
    }

    fn advising(mut self, advice: impl Into<String>) -> Self {
        self.0.advice = Some(advice.into());
        self
    }

    fn about(mut self, request: &Request) -> Self {
        self.0.request_id.clone_from(&request.key);
        self
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> AdminErrorKind {
        self.0.kind
    }

    /// The node's HTTP status; `None` where no node answered.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The API's word for it, such as `policy` or `in_use`; `None` where no node said one.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What to do next in a program, where the message does not say it.
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref()
    }

    /// What the node said beside its message.
    pub fn details(&self) -> Option<&Value> {
        self.0.details.as_ref()
    }

    /// The JSON pointer to the fault in what was sent, or, of an answer that can't be read, in that; `None` where it is
    /// about the whole.
    pub fn path(&self) -> Option<&str> {
        self.details()?.get("path")?.as_str().filter(|path| !path.is_empty())
    }

    /// The write's `Idempotency-Key`, where it counts: its outcome is unknown, what was said of it can't be read, or the node
    /// names it.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// How long the node asks to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// A call that can't be sent.
    pub(super) fn invalid(message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(AdminErrorKind::Invalid, message).advising(advice)
    }

    /// A token that can't be one.
    pub(super) fn bad_token() -> Self {
        Self::new(AdminErrorKind::Unauthenticated, "the token holds characters that no token has")
            .advising("was the file or variable that it came from cut or edited?")
    }

    /// A long answer that ended before its end.
    pub(super) fn cut(message: impl Into<String>) -> Self {
        Self::new(AdminErrorKind::Unavailable, message).advising("ask for it again")
    }

    /// A success that can't be read: the body is no JSON.
    pub(super) fn no_json(request: &Request, status: StatusCode) -> Self {
        let mut error = Self::unreadable(
            format!("the node answered {status}, but what it said is not JSON that this version can read"),
            request.key.as_deref(),
        );
        error.0.status = Some(status.as_u16());
        error
    }

    /// A success that is JSON, and not of the type that was expected.
    pub(super) fn of_another_type(message: &str, path: &str, request_id: Option<&str>) -> Self {
        let message = format!("the node's answer is not what this version expects: {message}");
        let mut error = Self::unreadable(message, request_id);
        if !path.is_empty() {
            error.0.details = Some(serde_json::json!({ "path": path }));
        }
        error
    }

    /// What was written is written; only what was said of it is lost.
    fn unreadable(message: String, request_id: Option<&str>) -> Self {
        let mut error = Self::new(AdminErrorKind::Unreadable, message);
        error.0.request_id = request_id.map(str::to_owned);
        error.advising(match request_id {
            Some(id) => how_to_ask(id),
            None => "was it cut, or is the node of a later version? its JSON can be read without a type"
                .to_owned(),
        })
    }

    /// No node gave an answer that decides.
    pub(super) fn exhausted(
        request: &Request,
        maybe_entered: bool,
        unavailable: Option<&Received>,
        faults: &[String],
    ) -> Self {
        let faults = faults.join(", ");
        if let (true, Some(id)) = (maybe_entered, &request.key) {
            let message = format!(
                "the connection was lost before the answer came, so the change may or may not have happened: {faults}"
            );
            return Self::new(AdminErrorKind::OutcomeUnknown, message)
                .about(request)
                .advising(how_to_ask(id));
        }
        match unavailable {
            Some(answer) => Self::judged(answer),
            None => Self::new(AdminErrorKind::Unavailable, format!("no node answered: {faults}"))
                .advising("start one, or name others as endpoints"),
        }
    }

    /// What an answer that is no success means.
    pub(super) fn judged(answer: &Received) -> Self {
        let status = answer.status.as_u16();
        let kind = match status {
            401 => AdminErrorKind::Unauthenticated,
            403 => AdminErrorKind::Forbidden,
            404 | 410 => AdminErrorKind::NotFound,
            400 | 413 | 415 | 422 => AdminErrorKind::Rejected,
            409 | 412 => AdminErrorKind::Conflict,
            429 | 503 => AdminErrorKind::Unavailable,
            504 => AdminErrorKind::OutcomeUnknown,
            _ => AdminErrorKind::Other,
        };
        let (code, mut message) = said(answer);
        if kind == AdminErrorKind::OutcomeUnknown {
            // What to do next is said below, in the words of a program.
            message.truncate(message.find(';').unwrap_or(message.len()));
        }
        let envelope = answer.json.get("error");
        let details = envelope.and_then(|e| e.get("details")).filter(|details| !details.is_null());
        let ids = [
            envelope.and_then(|e| e.get("request_id")),
            details.and_then(|details| details.get("request_id")),
            answer.json.get("request_id"),
        ];
        let request_id = ids.into_iter().flatten().find_map(Value::as_str).map(str::to_owned);
        let retry_after = answer.header(RETRY_AFTER.as_str()).parse().ok().map(Duration::from_secs);
        let advice = match (kind, &request_id) {
            (AdminErrorKind::Unauthenticated, _) => Some("give another token".to_owned()),
            (AdminErrorKind::OutcomeUnknown, Some(id)) => Some(how_to_ask(id)),
            (AdminErrorKind::Unavailable, _) => {
                retry_after.map(|wait| format!("nothing has changed; try again in {} s", wait.as_secs()))
            }
            _ => None,
        };
        let details = details.cloned();
        let status = Some(status);
        Self(Box::new(Parts {
            kind,
            status,
            code: Some(code),
            message,
            advice,
            details,
            request_id,
            retry_after,
        }))
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message().trim_end_matches('.'))?;
        if let Some(path) = self.path() {
            write!(f, " (at {path})")?;
        }
        match self.advice() {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for AdminError {}

fn how_to_ask(request_id: &str) -> String {
    format!(
        "send the same call again, or ask what became of request {request_id}, before another one does the same"
    )
}

/// The answer's own words: those of the API's envelope, of OFREP, or none.
fn said(answer: &Received) -> (String, String) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let envelope = answer.json.get("error");
    if let Some(message) = text(envelope.and_then(|e| e.get("message"))) {
        return (text(envelope.and_then(|e| e.get("code"))).unwrap_or_default(), message);
    }
    if let Some(code) = text(answer.json.get("errorCode")) {
        let details = text(answer.json.get("errorDetails")).unwrap_or_else(|| code.clone());
        return (code, details);
    }
    let status = answer.status;
    let code = format!("http_{}", status.as_u16());
    // Probes answer in plain words.
    let line = answer.text.lines().next();
    let message = match line.filter(|line| (1..200).contains(&line.len()) && !line.starts_with(['<', '{'])) {
        Some(line) => line.to_owned(),
        None => format!("the node answered {status} without saying why; is this a Flagraft node?"),
    };
    (code, message)
}
