//! A call of the API, before it is known which node answers it.

use std::marker::PhantomData;

use flagraft_core::identity::RevisionToken;
use reqwest::{
    Method, Url,
    header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH},
};
use serde::Serialize;
use serde_json::Value;

use super::{error::AdminError, why::Why};

/// The header under which a write's request id travels.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header under which a read asks to be confirmed.
const CONSISTENCY: HeaderName = HeaderName::from_static("flagraft-consistency");
/// The header that says how new a read has to be at least.
const MIN_REVISION: HeaderName = HeaderName::from_static("flagraft-min-revision");

/// A call of the API whose answer is a `T`, made by [`AdminClient::send`](super::AdminClient::send).
///
/// The functions of this module's submodules make calls that are typed, such as [`flags::get`](super::flags::get). What they
/// do not know is called by method and path: [`Call::get`] and its like, whose answer is JSON, or what [`Call::answering`]
/// takes it for.
///
/// A write is given an `Idempotency-Key` when it is made. Sending the same call again, on any node, is the same request: it
/// happens once.
#[derive(Debug)]
pub struct Call<T = Value> {
    pub(super) request: Request,
    answer: PhantomData<fn() -> T>,
}

impl<T> Clone for Call<T> {
    fn clone(&self) -> Self {
        Self { request: self.request.clone(), answer: PhantomData }
    }
}

/// What a call sends.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    pub body: Option<Value>,
    /// Where it goes only if something is so, or wants to be well founded.
    terms: Vec<(HeaderName, String)>,
    /// Whether it changes something.
    pub writes: bool,
    /// Under what it does that once. `None` of a read.
    pub key: Option<String>,
    /// Whether its body could be written as JSON. Told when it is sent, so that making a call does not fail.
    has_good_body: bool,
}

/// Calls by method and path. Of the path each segment is given by itself and may hold any character: it is encoded.
impl Call<Value> {
    /// A read.
    pub fn get<S: AsRef<str>>(path: impl IntoIterator<Item = S>) -> Self {
        Self::new(Method::GET, path)
    }

    /// A read that has a body, such as an evaluation: repeating it changes nothing.
    pub fn ask<S: AsRef<str>>(path: impl IntoIterator<Item = S>, body: impl Serialize) -> Self {
        Self::new(Method::POST, path).with_body(body)
    }

    /// A write by `POST`, under an `Idempotency-Key` of its own.
    pub fn post<S: AsRef<str>>(path: impl IntoIterator<Item = S>, body: impl Serialize) -> Self {
        Self::write(Method::POST, path).with_body(body)
    }

    /// A write by `PUT`.
    pub fn put<S: AsRef<str>>(path: impl IntoIterator<Item = S>, body: impl Serialize) -> Self {
        Self::write(Method::PUT, path).with_body(body)
    }

    /// A write by `PATCH`.
    pub fn patch<S: AsRef<str>>(path: impl IntoIterator<Item = S>, body: impl Serialize) -> Self {
        Self::write(Method::PATCH, path).with_body(body)
    }

    /// A write by `DELETE`, which says why in its query.
    pub fn delete<S: AsRef<str>>(path: impl IntoIterator<Item = S>, why: impl Into<Why>) -> Self {
        let Why { reason, ticket } = why.into();
        Self::write(Method::DELETE, path).query("reason", Some(reason)).query("ticket", ticket)
    }

    fn write<S: AsRef<str>>(method: Method, path: impl IntoIterator<Item = S>) -> Self {
        let mut call = Self::new(method, path);
        call.request.writes = true;
        let mut random = [0; 16];
        // A system that gives none is told of when the call is sent, unless it was given a key until then.
        call.request.key =
            getrandom::fill(&mut random).ok().map(|()| format!("client-{}", hex::encode(random)));
        call
    }

    fn new<S: AsRef<str>>(method: Method, path: impl IntoIterator<Item = S>) -> Self {
        let request = Request {
            method,
            path: path.into_iter().map(|segment| segment.as_ref().to_owned()).collect(),
            query: Vec::new(),
            body: None,
            terms: Vec::new(),
            writes: false,
            key: None,
            has_good_body: true,
        };
        Self { request, answer: PhantomData }
    }

    fn with_body(mut self, body: impl Serialize) -> Self {
        match serde_json::to_value(body) {
            Ok(body) => self.request.body = Some(body),
            Err(_) => return self.without_good_body(),
        }
        self
    }

    /// The same call, which is refused when it is sent: what was to be its body can't be written as JSON.
    pub(super) fn without_good_body(mut self) -> Self {
        self.request.has_good_body = false;
        self
    }
}

impl<T> Call<T> {
    /// The same call, its answer read as another type.
    pub fn answering<U>(self) -> Call<U> {
        Call { request: self.request, answer: PhantomData }
    }

    /// Adds a query parameter, if there is a value for it.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        if let Some(value) = value {
            self.request.query.push((name, value.into()));
        }
        self
    }

    /// The same read of the newest state that there is, whichever node answers: a quorum confirms it, or it fails.
    #[must_use]
    pub fn confirmed(self) -> Self {
        self.on(CONSISTENCY, "linearizable".to_owned())
    }

    /// The same read of a state that is not older: read your writes, from any node.
    #[must_use]
    pub fn not_older_than(self, revision: RevisionToken) -> Self {
        self.on(MIN_REVISION, revision.to_string())
    }

    /// The same `PUT`, `PATCH` or `DELETE` of an object that is still at this revision: the one that
    /// [`Answer::etag`](super::Answer::etag) gave. Else it is a conflict.
    #[must_use]
    pub fn if_at(self, revision: RevisionToken) -> Self {
        self.on(IF_MATCH, format!("\"{revision}\""))
    }

    /// The same `PUT` of an object that does not exist yet. Else it is a conflict.
    #[must_use]
    pub fn if_absent(self) -> Self {
        self.on(IF_NONE_MATCH, "*".to_owned())
    }

    /// The same write under this `Idempotency-Key`, of 1 to 128 printable ASCII characters: one that a later run makes again,
    /// so that what it does happens once. A read has none.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        if self.request.writes {
            self.request.key = Some(key.into());
        }
        self
    }

    /// The JSON that it sends.
    pub fn body(&self) -> Option<&Value> {
        self.request.body.as_ref()
    }

    /// The write's `Idempotency-Key`: with it, [`requests::get`](super::requests::get) tells what became of it.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.request.key.as_deref()
    }

    fn on(mut self, header: HeaderName, value: String) -> Self {
        self.request.terms.push((header, value));
        self
    }
}

impl Request {
    /// Where it goes on a node.
    pub fn url(&self, endpoint: &Url) -> Result<Url, AdminError> {
        let mut url = endpoint.clone();
        {
            let mut segments = url.path_segments_mut().map_err(|()| {
                AdminError::invalid(
                    format!("{endpoint} is no endpoint"),
                    "give one like http://10.0.0.1:7401",
                )
            })?;
            segments.pop_if_empty();
            for segment in &self.path {
                // A path segment of dots would silently name another route.
                if segment.is_empty() || segment == "." || segment == ".." {
                    let message = format!("{segment:?} is no key");
                    return Err(AdminError::invalid(message, "give 1 to 256 characters"));
                }
                segments.push(segment);
            }
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }

    /// Its own headers.
    pub fn headers(&self) -> Result<HeaderMap, AdminError> {
        if !self.has_good_body {
            return Err(AdminError::invalid(
                "the body can't be written as JSON",
                "give one whose maps have texts as keys",
            ));
        }
        if self.writes && self.key.is_none() {
            let message = "the operating system gave no random bytes for an idempotency key";
            return Err(AdminError::invalid(message, "give the call one by `with_key`"));
        }
        let mut headers = HeaderMap::new();
        let own = self.key.iter().map(|key| (IDEMPOTENCY_KEY, key));
        for (name, value) in own.chain(self.terms.iter().map(|(name, value)| (name.clone(), value))) {
            let value = HeaderValue::from_str(value).map_err(|_| {
                AdminError::invalid(
                    format!("{value:?} can't be sent as {name}"),
                    "give 1 to 128 printable ASCII characters",
                )
            })?;
            headers.insert(name, value);
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::AdminErrorKind;

    #[test]
    fn a_key_is_one_segment_of_the_path_whatever_it_holds() {
        let endpoint = Url::parse("http://h:1/").expect("a URL");
        let url = |key: &str| Call::get(["flags", key]).request.url(&endpoint).map(|url| url.to_string());
        assert_eq!(url("a/b?c#d%e ü").expect("a URL"), "http://h:1/flags/a%2Fb%3Fc%23d%25e%20%C3%BC");
        for bad in ["", ".", ".."] {
            assert_eq!(url(bad).expect_err(bad).kind(), AdminErrorKind::Invalid);
        }
    }

    #[test]
    fn a_write_is_one_request_however_often_it_is_sent() {
        let write = || Call::post(["changes"], json!({}));
        let call = write();
        assert!(call.idempotency_key().is_some());
        assert_eq!(call.clone().idempotency_key(), call.idempotency_key());
        assert_ne!(write().idempotency_key(), call.idempotency_key());
        assert_eq!(Call::get(["flags"]).idempotency_key(), None);
        assert_eq!(Call::ask(["explain"], json!({})).idempotency_key(), None);
    }

    #[test]
    fn what_can_not_be_sent_is_told_when_it_is() {
        let unwritable = std::collections::BTreeMap::from([(vec![1], 2)]);
        for call in [Call::post(["changes"], unwritable), Call::post(["changes"], json!({})).with_key("a\nb")]
        {
            let error = call.request.headers().expect_err("invalid");
            assert_eq!(error.kind(), AdminErrorKind::Invalid, "{error}");
        }
    }
}
