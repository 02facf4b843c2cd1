//! What a node answers to a call that succeeds.

use std::{fmt, marker::PhantomData};

use flagraft_core::{identity::RevisionToken, parse};
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, ETAG, HeaderMap},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{call::Request, error::AdminError, nesting};

/// The content type of one JSON value.
pub(super) const JSON: &str = "application/json";

/// An answer as it was received.
pub(super) struct Received {
    /// The JSON body; `null` where there was none.
    pub json: Value,
    pub text: String,
    pub headers: HeaderMap,
    pub status: StatusCode,
}

impl Received {
    /// Reads it whole.
    pub async fn of(response: Response) -> Result<Self, reqwest::Error> {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await?;
        Ok(Self { json: nesting::parse(&text).unwrap_or(Value::Null), text, headers, status })
    }

    /// A header's text; empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// Whether it is a success with a body that should be one JSON value and could not be read as one.
    pub fn is_unreadable(&self) -> bool {
        let is_json = self.header(CONTENT_TYPE.as_str()).starts_with(JSON);
        self.status.is_success() && is_json && self.json.is_null() && self.text.trim() != "null"
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A node's answer to a call that succeeded: JSON as it came, which [`Answer::read`] reads as a `T`.
///
/// Whoever shows or keeps it takes the JSON, in which nothing is lost that a later version of the node has added. Whoever
/// decides by it reads it: what this version does not know is then an error, or left out where that can do no harm.
pub struct Answer<T = Value> {
    json: Value,
    text: String,
    headers: HeaderMap,
    status: StatusCode,
    key: Option<String>,
    read: PhantomData<fn() -> T>,
}

impl<T> Answer<T> {
    pub(super) fn new(received: Received, request: &Request) -> Self {
        let Received { json, text, headers, status } = received;
        Self { json, text, headers, status, key: request.key.clone(), read: PhantomData }
    }

    /// The same, but for its body.
    pub(super) fn with_json<U>(self, json: Value) -> Answer<U> {
        let Self { headers, status, key, .. } = self;
        Answer { json, text: String::new(), headers, status, key, read: PhantomData }
    }

    /// The body, where it is JSON; `null` where it is not.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The same.
    pub fn into_json(self) -> Value {
        self.json
    }

    /// The body as it came; empty of a list of several pages.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A header's text; empty where it is absent.
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// The HTTP status, 200 to 299.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The state that it was made from: what the next read must not be older than. `None` of what touches no state.
    pub fn revision(&self) -> Option<RevisionToken> {
        let history = self.header("flagraft-history").parse().ok()?;
        Some(RevisionToken { history, revision: self.header("flagraft-revision").parse().ok()? })
    }

    /// The revision that wrote the object that was read: what [`Call::if_at`](super::Call::if_at) takes. `None` where no
    /// single object was.
    pub fn etag(&self) -> Option<RevisionToken> {
        self.header(ETAG.as_str()).trim_matches('"').parse().ok()
    }

    /// A bound on how long ago that state was known to be current, in milliseconds; `None` where nobody knows.
    pub fn age_ms(&self) -> Option<u64> {
        self.header("flagraft-age-ms").parse().ok()
    }

    /// The `Idempotency-Key` that a write went under.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.key.as_deref()
    }
}

impl<T: DeserializeOwned> Answer<T> {
    /// Reads it.
    ///
    /// # Errors
    /// [`AdminErrorKind::Unreadable`](super::AdminErrorKind::Unreadable), with the path to what this version can't read. A
    /// write has taken effect nevertheless.
    pub fn read(&self) -> Result<T, AdminError> {
        read(&self.json, self.key.as_deref())
    }
}

impl<T: DeserializeOwned> Answer<Lines<T>> {
    /// Reads it, a value a line.
    ///
    /// # Errors
    /// [`AdminErrorKind::Unreadable`](super::AdminErrorKind::Unreadable), as of [`Answer::read`].
    pub fn lines(&self) -> Result<Vec<T>, AdminError> {
        self.text.lines().map(line).collect()
    }
}

/// A body of one JSON value a line: what [`Answer::lines`] reads.
#[derive(Debug)]
pub struct Lines<T>(PhantomData<fn() -> T>);

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// What is on it, in the order of the list.
    pub items: Vec<T>,
    /// The `cursor` of the next page; `None` on the last one.
    pub next: Option<String>,
    /// The revision that it is of. Each page is of the state at its own time.
    pub revision: u64,
}

/// Reads one line of NDJSON.
pub(super) fn line<T: DeserializeOwned>(line: &str) -> Result<T, AdminError> {
    let value =
        nesting::parse(line).ok_or_else(|| AdminError::of_another_type("a line is no JSON", "", None))?;
    read(&value, None)
}

fn read<T: DeserializeOwned>(json: &Value, key: Option<&str>) -> Result<T, AdminError> {
    T::deserialize(json).map_err(|_| match parse::from_value::<T>(json.clone()) {
        // Read once more, to say where the fault is.
        Err(invalid) => AdminError::of_another_type(&invalid.message, &invalid.path, key),
        Ok(_) => AdminError::of_another_type("it has other fields", "", key),
    })
}

impl<T> fmt::Debug for Answer<T> {
    /// Without the body, in which a new token's secret may be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("revision", &self.revision())
            .field("idempotency_key", &self.key)
            .finish_non_exhaustive()
    }
}
