//! HTTP to one node, as a client sees it.

use std::time::{Duration, Instant};

use reqwest::{
    Client, Method, RequestBuilder,
    header::{CONTENT_TYPE, HeaderMap},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::stream::Stream;

/// How long a request may take before the harness gives it up. Longer than any deadline of a node: a test that must
/// show that a node answers in time measures the time of the answer.
const GIVE_UP: Duration = Duration::from_secs(15);

/// How long a stream is read at most.
const STREAMS_END: Duration = Duration::from_secs(600);

/// A node and a token.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    token: Option<String>,
    http: Client,
}

/// A request that got no answer.
pub type Unanswered = reqwest::Error;

impl Api {
    /// The node at `base` (`http://127.0.0.1:7401`), without a token.
    pub fn new(base: impl Into<String>) -> Self {
        let http = Client::builder().timeout(GIVE_UP).build().expect("the settings are valid");
        Self { base: base.into(), token: None, http }
    }

    /// The same node with this token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// The same token at another address, such as a proxy's.
    #[must_use]
    pub fn at(&self, base: impl Into<String>) -> Self {
        Self { base: base.into(), ..self.clone() }
    }

    /// The node's address.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The port of its address.
    ///
    /// # Panics
    /// The address names none.
    pub fn port(&self) -> u16 {
        let port = self.base.rsplit(':').next().and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("{} names no port", self.base))
    }

    /// The token, if there is one.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A request to be sent.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let mut builder = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            builder = builder.bearer_auth(token);
        }
        Call(builder)
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// `POST` of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).json(body)
    }

    /// Evaluation of one flag over OFREP.
    pub fn evaluate(&self, flag: &str, context: &Value) -> Call {
        self.post(&format!("/ofrep/v1/evaluate/flags/{flag}"), &json!({ "context": context }))
    }

    /// Evaluation of all flags over OFREP.
    pub fn evaluate_all(&self, context: &Value) -> Call {
        self.post("/ofrep/v1/evaluate/flags", &json!({ "context": context }))
    }

    /// One change of a project.
    pub fn change(&self, project: &str, reason: &str, operations: Vec<Value>) -> Call {
        let body = json!({"reason": reason, "operations": operations});
        self.post(&format!("/api/v1/projects/{project}/changes"), &body)
    }

    /// Sends a request line and headers exactly as they are written, for paths that a well-behaved client would tidy
    /// up, and answers the status.
    ///
    /// # Errors
    /// The node can't be reached, or answers no HTTP.
    pub async fn raw_status(&self, method: &str, path: &str, body: &str) -> std::io::Result<u16> {
        let host = self.base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).await?;
        let authorization =
            self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}Content-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        tokio::time::timeout(GIVE_UP, stream.read_to_end(&mut answer)).await??;
        let text = String::from_utf8_lossy(&answer);
        let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
        status.ok_or_else(|| std::io::Error::other(format!("no HTTP answer: {text:?}")))
    }
}

/// A request that was not sent yet.
#[derive(Debug)]
#[must_use = "a call does nothing until it is sent"]
pub struct Call(RequestBuilder);

impl Call {
    /// Adds a header.
    pub fn header(self, name: &str, value: impl AsRef<str>) -> Self {
        Self(self.0.header(name, value.as_ref()))
    }

    /// Gives it a JSON body.
    pub fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    /// Gives it a body of bytes that are said to be JSON.
    pub fn bytes(self, body: impl Into<Vec<u8>>) -> Self {
        Self(self.0.header(CONTENT_TYPE, "application/json").body(body.into()))
    }

    /// Names the request, so that it may be sent again.
    pub fn idempotent(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    /// Gives up sooner than the harness would.
    pub fn within(self, limit: Duration) -> Self {
        Self(self.0.timeout(limit))
    }

    /// Sends it, and gives the answer as it begins: a stream has no end to wait for.
    ///
    /// # Errors
    /// No answer began.
    pub async fn begin(self) -> Result<reqwest::Response, Unanswered> {
        self.0.timeout(STREAMS_END).send().await
    }

    /// Sends it.
    ///
    /// # Errors
    /// No answer came. Whether the node did what was asked is unknown then.
    pub async fn send(self) -> Result<Answer, Unanswered> {
        let begun = Instant::now();
        let response = self.0.send().await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await?;
        let body = match serde_json::from_slice(&bytes) {
            Ok(body) => body,
            Err(_) if bytes.is_empty() => Value::Null,
            Err(_) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        };
        Ok(Answer { status, headers, body, took: begun.elapsed() })
    }

    /// Opens a stream of events, which goes on for as long as it is read.
    ///
    /// # Panics
    /// It is refused.
    pub async fn stream(self) -> Stream {
        Stream::of(self.begin().await.unwrap_or_else(|error| panic!("no answer: {error:?}")))
    }

    /// Sends it to a node that must answer.
    ///
    /// # Panics
    /// No answer came.
    pub async fn answer(self) -> Answer {
        self.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    /// Sends it to a node that must agree.
    ///
    /// # Panics
    /// No answer came, or one that is no success.
    pub async fn ok(self) -> Answer {
        let answer = self.answer().await;
        assert!(answer.is_success(), "refused: {answer:?}");
        answer
    }
}

/// How current an answer claims to be: the header `Flagraft-Consistency`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// The state of the node that was asked.
    Local,
    /// Confirmed by a quorum.
    Linearizable,
    /// Nobody could be sure: the declared safe variant.
    SafeVariant,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body: JSON where it is JSON, else a string; `null` where there is none.
    pub body: Value,
    /// The time from sending the request to the end of the answer.
    pub took: Duration,
}

impl Answer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn required(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("the answer has no header {name}: {self:?}"))
    }

    /// The revision of the state that was answered from.
    pub fn revision(&self) -> u64 {
        self.required("flagraft-revision").parse().expect("a revision is a number")
    }

    /// `<history>.<revision>`: what `Flagraft-Min-Revision` takes.
    pub fn revision_token(&self) -> String {
        format!("{}.{}", self.required("flagraft-history"), self.revision())
    }

    /// How long ago the state was known to be current, in milliseconds; `None` if that is not known.
    pub fn age_ms(&self) -> Option<u64> {
        self.required("flagraft-age-ms").parse().ok()
    }

    /// How current it claims to be.
    pub fn consistency(&self) -> Consistency {
        match self.required("flagraft-consistency") {
            "local" => Consistency::Local,
            "linearizable" => Consistency::Linearizable,
            "safe-variant" => Consistency::SafeVariant,
            other => panic!("no such consistency: {other}"),
        }
    }

    /// The value of an evaluated flag.
    pub fn value(&self) -> &Value {
        &self.body["value"]
    }

    /// The error's code in our envelope, or OFREP's.
    pub fn error_code(&self) -> Option<&str> {
        self.body.pointer("/error/code").or_else(|| self.body.get("errorCode")).and_then(Value::as_str)
    }

    /// The error's message in our envelope, or OFREP's.
    pub fn error_message(&self) -> Option<&str> {
        self.body.pointer("/error/message").or_else(|| self.body.get("errorDetails")).and_then(Value::as_str)
    }
}
