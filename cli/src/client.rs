//! The HTTP client of all commands: which node is asked, with which token, and what its answer means.
//!
//! Endpoints are tried in order. One that can't be reached, breaks off or answers 503 is followed by the
//! next; every write carries an `Idempotency-Key` that stays the same over its retries, so that a write whose
//! first answer was lost happens once. Where nothing but 503 comes back - a leader is being elected - the
//! round is repeated for a few seconds.

mod nesting;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::{
    Method, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::failure::{Exit, Failure};

/// The header under which a write's request id travels.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header under which a read asks to be confirmed.
const CONSISTENCY: &str = "flagraft-consistency";
/// How long reaching a node may take before the next one is tried.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait between two rounds over all endpoints. An election takes about a second.
const ROUND_PAUSE: Duration = Duration::from_millis(250);
/// How long all of a download may take. What goes wrong shows long before, by nothing coming any more.
const DOWNLOAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The content type of one JSON value.
const JSON: &str = "application/json";
/// How many items a page of a list holds: the most that the API gives.
const PAGE_ITEMS: &str = "500";

/// One call of the API, before it is known which node answers it.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    idempotency_key: Option<String>,
    /// Whether a read is confirmed with a quorum.
    confirmed: bool,
}

impl Call {
    /// A read.
    pub fn get<S: AsRef<str>>(path: impl IntoIterator<Item = S>) -> Self {
        Self::new(Method::GET, path)
    }

    /// A read that has a body, such as an evaluation: repeating it changes nothing.
    pub fn ask<S: AsRef<str>>(path: impl IntoIterator<Item = S>, body: Value) -> Self {
        Self { body: Some(body), ..Self::new(Method::POST, path) }
    }

    /// A write, with a request id of its own.
    pub fn write<S: AsRef<str>>(
        method: Method,
        path: impl IntoIterator<Item = S>,
        body: Option<Value>,
    ) -> Result<Self, Failure> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(|e| {
            Failure::new(Exit::Other, format!("the operating system gave no random bytes: {e}"))
        })?;
        let key = format!("cli-{}", hex::encode(random));
        Ok(Self { body, idempotency_key: Some(key), ..Self::new(method, path) })
    }

    fn new<S: AsRef<str>>(method: Method, path: impl IntoIterator<Item = S>) -> Self {
        let path = path.into_iter().map(|segment| segment.as_ref().to_owned()).collect();
        Self { method, path, query: Vec::new(), body: None, idempotency_key: None, confirmed: false }
    }

    /// The same read, of the newest state that there is, whichever node answers.
    pub fn confirmed(mut self) -> Self {
        self.confirmed = true;
        self
    }

    /// The same write under a request id that a later run of the same command makes again while nothing has changed.
    pub fn with_key(mut self, key: String) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Adds a query parameter, if there is a value for it.
    pub fn query(mut self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.query.push((name, value.into()));
        }
        self
    }

    fn url(&self, endpoint: &Url) -> Result<Url, Failure> {
        let mut url = endpoint.clone();
        {
            let mut segments = url.path_segments_mut().map_err(|()| {
                Failure::usage(format!("{endpoint} is no endpoint; give one like http://127.0.0.1:7401"))
            })?;
            segments.pop_if_empty();
            for segment in &self.path {
                // A path segment of dots would silently name another route.
                if segment.is_empty() || segment == "." || segment == ".." {
                    return Err(
                        Failure::usage(format!("{segment:?} is no key")).next("give 1 to 256 characters")
                    );
                }
                segments.push(segment);
            }
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

/// A node's answer to a call that succeeded.
#[derive(Debug)]
pub struct Answer {
    /// The JSON body; `null` where there was none.
    pub body: Value,
    /// The body as it came: for answers that are not one JSON value.
    pub text: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The status: a success, unless the call allows others.
    pub status: StatusCode,
}

impl Answer {
    /// A header's text; empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether it is a success with a body that should be one JSON value and could not be read as one.
    fn is_unreadable(&self) -> bool {
        let is_json = self.header(CONTENT_TYPE.as_str()).starts_with(JSON);
        self.status.is_success() && is_json && self.body.is_null() && self.text.trim() != "null"
    }
}

/// The nodes and the token to ask them with.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    endpoints: Vec<Url>,
    /// The endpoint that answered last, so that an import does not stumble over a dead node once per batch.
    first: AtomicUsize,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    retry_for: Duration,
}

/// What is to be done with the body of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Take {
    /// It is read whole.
    Whole,
    /// A success is handed on unread.
    Unread,
}

/// An answer of a node.
enum Received {
    Whole(Answer),
    Unread(reqwest::Response),
}

/// What came of asking one node.
enum Attempt {
    Answered(Received),
    /// It said 503: nothing was entered.
    Unavailable(Answer),
    /// No connection: nothing was entered.
    Unreachable(String),
    /// The connection broke, or time ran out, after the request may have been read.
    Lost(String),
}

impl Client {
    /// A client for these endpoints.
    ///
    /// `timeout` bounds one request to one node, `retry_for` the repetition of rounds in which every node was
    /// unavailable.
    pub fn new(
        endpoints: Vec<Url>,
        token: Option<&str>,
        timeout: Duration,
        retry_for: Duration,
    ) -> Result<Self, Failure> {
        let authorization = match token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                    Failure::new(Exit::Auth, "the token holds characters that no token has")
                        .next("was the file or variable cut or edited?")
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let http = reqwest::Client::builder()
            // Nodes are asked directly: a proxy of the environment would only hide which one answered.
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            .user_agent(concat!("flagraft-cli/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Failure::new(Exit::Other, format!("could not set up the HTTP client: {e}")))?;
        Ok(Self { http, endpoints, first: AtomicUsize::new(0), authorization, timeout, retry_for })
    }

    /// Makes the call; an answer that is no success is a failure.
    pub async fn send(&self, call: &Call) -> Result<Answer, Failure> {
        match self.answer(call, Take::Whole).await? {
            Received::Whole(answer) if answer.is_unreadable() => Err(unreadable(call, &answer)),
            Received::Whole(answer) if answer.status.is_success() => Ok(answer),
            Received::Whole(answer) => Err(judge(&answer)),
            Received::Unread(_) => Err(Failure::new(Exit::Other, "an answer was not read")),
        }
    }

    /// Makes a call whose answer may be long: its body is read by [`Download::piece`].
    pub async fn download(&self, call: &Call) -> Result<Download, Failure> {
        match self.answer(call, Take::Unread).await? {
            Received::Unread(response) => Ok(Download { response, stall: self.timeout }),
            Received::Whole(answer) => Err(judge(&answer)),
        }
    }

    /// All items of a paged list.
    pub async fn list(&self, call: Call) -> Result<Vec<Value>, Failure> {
        let call = call.query("limit", Some(PAGE_ITEMS));
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut body = self.send(&call.clone().query("cursor", cursor)).await?.body;
            match body.get_mut("items").map(Value::take) {
                Some(Value::Array(page)) => items.extend(page),
                _ => {
                    return Err(Failure::new(
                        Exit::Other,
                        "the node's answer is no list; is this a Flagraft node?",
                    ));
                }
            }
            cursor = body.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    /// Asks one node after the other until one answers; any status but 503 is an answer.
    async fn answer(&self, call: &Call, take: Take) -> Result<Received, Failure> {
        let give_up = Instant::now() + self.retry_for;
        let mut maybe_entered = false;
        loop {
            let mut unavailable: Option<Answer> = None;
            let mut faults = Vec::new();
            let first = self.first.load(Ordering::Relaxed);
            for offset in 0..self.endpoints.len() {
                let index = (first + offset) % self.endpoints.len();
                let endpoint = &self.endpoints[index];
                match self.attempt(endpoint, call, take).await? {
                    Attempt::Answered(answer) => {
                        self.first.store(index, Ordering::Relaxed);
                        return Ok(answer);
                    }
                    Attempt::Unavailable(answer) => unavailable = Some(answer),
                    Attempt::Unreachable(fault) => faults.push(format!("{endpoint} {fault}")),
                    Attempt::Lost(fault) => {
                        maybe_entered |= call.idempotency_key.is_some();
                        faults.push(format!("{endpoint} {fault}"));
                    }
                }
            }
            let pause = ROUND_PAUSE.min(give_up.saturating_duration_since(Instant::now()));
            if unavailable.is_some() && !pause.is_zero() {
                tokio::time::sleep(pause).await;
                continue;
            }
            return Err(exhausted(call, maybe_entered, unavailable.as_ref(), &faults));
        }
    }

    async fn attempt(&self, endpoint: &Url, call: &Call, take: Take) -> Result<Attempt, Failure> {
        let mut request = self.http.request(call.method.clone(), call.url(endpoint)?);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(key) = &call.idempotency_key {
            request = request.header(IDEMPOTENCY_KEY, key);
        }
        if call.confirmed {
            request = request.header(CONSISTENCY, "linearizable");
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, JSON).body(body.to_string());
        }
        if take == Take::Unread {
            request = request.timeout(DOWNLOAD_MAX);
        }
        let response = match tokio::time::timeout(self.timeout, request.send()).await {
            Err(_) => return Ok(Attempt::Lost("did not answer in time".to_owned())),
            Ok(response) => response,
        };
        let response = match response {
            Ok(response) if take == Take::Unread && response.status().is_success() => {
                return Ok(Attempt::Answered(Received::Unread(response)));
            }
            Ok(response) => response,
            Err(error) if error.is_builder() => {
                return Err(Failure::usage(format!("{endpoint} can't be asked: {}", reason(&error)))
                    .next("this client speaks http only; give an endpoint like http://127.0.0.1:7401"));
            }
            Err(error) if error.is_connect() => {
                return Ok(Attempt::Unreachable(format!("can't be reached ({})", reason(&error))));
            }
            Err(error) => return Ok(Attempt::Lost(broke_off(&error))),
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let text = match response.text().await {
            Ok(text) => text,
            Err(error) => return Ok(Attempt::Lost(broke_off(&error))),
        };
        let body = nesting::parse(&text).unwrap_or(Value::Null);
        let answer = Answer { body, text, headers, status };
        Ok(match status {
            StatusCode::SERVICE_UNAVAILABLE => Attempt::Unavailable(answer),
            _ => Attempt::Answered(Received::Whole(answer)),
        })
    }
}

/// The body of a long answer.
pub struct Download {
    response: reqwest::Response,
    /// How long nothing may come.
    stall: Duration,
}

impl Download {
    /// The next piece; `None` at the end. Whether that is the end of what was sent is for the content to say.
    pub async fn piece(&mut self) -> Result<Option<impl AsRef<[u8]> + Send + 'static>, Failure> {
        let lost = |why: String| {
            Failure::new(Exit::Unavailable, format!("the answer {why}")).next("run the command again")
        };
        match tokio::time::timeout(self.stall, self.response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(lost(broke_off(&error))),
            Err(_) => Err(lost(format!("stopped for {} s", self.stall.as_secs()))),
        }
    }
}

fn broke_off(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        "did not answer in time".to_owned()
    } else {
        format!("broke off ({})", reason(error))
    }
}

/// The innermost cause: `Connection refused` rather than the layers around it. Never the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
        .to_string()
        .trim_end_matches(|c: char| c == ')' || c.is_ascii_digit())
        .trim_end_matches(" (os error ")
        .to_owned()
}

/// The failure when no node gave an answer.
fn exhausted(call: &Call, maybe_entered: bool, unavailable: Option<&Answer>, faults: &[String]) -> Failure {
    if let (true, Some(id)) = (maybe_entered, &call.idempotency_key) {
        let mut failure = Failure::new(
            Exit::OutcomeUnknown,
            format!(
                "the connection was lost before the answer came, so the change may or may not have happened: {}",
                faults.join(", ")
            ),
        )
        .next(how_to_ask(id));
        failure.request_id = Some(id.clone());
        return failure;
    }
    match unavailable {
        Some(answer) => judge(answer),
        None => Failure::new(Exit::Unavailable, format!("no node answered: {}", faults.join(", ")))
            .next("start one, or name others with --endpoint or FLAGRAFT_ENDPOINTS"),
    }
}

fn how_to_ask(request_id: &str) -> String {
    format!("ask with `flagraft change status {request_id}` before doing it again")
}

/// The failure when a node's success can't be read. What was written is written; only what was said of it is lost.
fn unreadable(call: &Call, answer: &Answer) -> Failure {
    let mut failure = Failure::new(
        Exit::Other,
        format!(
            "the node answered {}, but what it said is not JSON that this version can read",
            answer.status
        ),
    );
    failure.request_id = call.idempotency_key.clone();
    failure.next(match &call.idempotency_key {
        Some(id) => how_to_ask(id),
        None => "was the answer cut, or is the node of a later version?".to_owned(),
    })
}

/// What an answer that is no success means.
fn judge(answer: &Answer) -> Failure {
    let exit = match answer.status.as_u16() {
        401 | 403 => Exit::Auth,
        404 | 410 => Exit::NotFound,
        400 | 409 | 412 | 413 | 415 | 422 => Exit::Rejected,
        429 | 503 => Exit::Unavailable,
        504 => Exit::OutcomeUnknown,
        _ => Exit::Other,
    };
    let (code, mut message) = said(answer);
    if exit == Exit::OutcomeUnknown {
        // What to do next is said below in the words of this tool.
        message.truncate(message.find(';').unwrap_or(message.len()));
    }
    let mut failure = Failure { code, ..Failure::new(exit, message) };
    let error = answer.body.get("error");
    failure.details = error.and_then(|e| e.get("details")).filter(|d| !d.is_null()).cloned().map(Box::new);
    failure.request_id = [
        error.and_then(|e| e.get("request_id")),
        failure.details.as_ref().and_then(|d| d.get("request_id")),
        answer.body.get("request_id"),
    ]
    .into_iter()
    .flatten()
    .find_map(Value::as_str)
    .map(str::to_owned);
    failure.next = match (exit, &failure.request_id) {
        (Exit::Auth, _) if answer.status == StatusCode::UNAUTHORIZED => {
            Some("give a token with --token-file, FLAGRAFT_ADMIN_TOKEN or FLAGRAFT_TOKEN".to_owned())
        }
        (Exit::Rejected, _) if failure.code == "policy" => Some("here that is --ticket".to_owned()),
        (Exit::OutcomeUnknown, Some(id)) => Some(how_to_ask(id)),
        (Exit::Unavailable, _) => {
            let seconds = answer.header(RETRY_AFTER.as_str());
            (!seconds.is_empty()).then(|| format!("nothing has changed; try again in {seconds} s"))
        }
        _ => None,
    };
    failure
}

/// The answer's own words: those of the API's envelope, of OFREP, or none.
fn said(answer: &Answer) -> (String, String) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let envelope = answer.body.get("error");
    if let Some(message) = text(envelope.and_then(|e| e.get("message"))) {
        return (text(envelope.and_then(|e| e.get("code"))).unwrap_or_default(), message);
    }
    if let Some(code) = text(answer.body.get("errorCode")) {
        let details = text(answer.body.get("errorDetails")).unwrap_or_else(|| code.clone());
        return (code, details);
    }
    let status = answer.status;
    // Probes answer in plain words.
    if let Some(line) = answer
        .text
        .lines()
        .next()
        .filter(|line| (1..200).contains(&line.len()) && !line.starts_with(['<', '{']))
    {
        return (format!("http_{}", status.as_u16()), line.to_owned());
    }
    (
        format!("http_{}", status.as_u16()),
        format!("the node answered {status} without saying why; is this a Flagraft node?"),
    )
}

/// The body of a change: the operations and why.
pub fn change_body(reason: &str, ticket: Option<&str>, operations: Vec<Value>) -> Value {
    let mut body = json!({"reason": reason, "operations": operations});
    if let Some(ticket) = ticket {
        body["ticket"] = json!(ticket);
    }
    body
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
