//! Asking one node.

use std::{future::Future, time::Duration};

use flagraft_core::identity::{History, RevisionToken};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{
        ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
        RETRY_AFTER,
    },
    redirect::Policy,
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    builder::StartError,
    fault::Fault,
    place::{Place, TokenInfo},
    settings::Settings,
};

const HISTORY: HeaderName = HeaderName::from_static("flagraft-history");
const AGE: HeaderName = HeaderName::from_static("flagraft-age-ms");
const DEADLINE: HeaderName = HeaderName::from_static("flagraft-deadline-ms");
const CONSISTENCY: HeaderName = HeaderName::from_static("flagraft-consistency");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// The largest of the small answers.
const SMALL_BYTES_MAX: usize = 1024 * 1024;

/// Asks nodes, with a token.
#[derive(Debug)]
pub(crate) struct Transport {
    http: reqwest::Client,
    /// Marked as sensitive: it is in no log.
    authorization: HeaderValue,
    request_timeout: Duration,
    definitions_timeout: Duration,
    definitions_bytes_max: usize,
}

/// What a node says of the state that its answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// The history, and the revision that last touched the environment.
    pub definitions: RevisionToken,
    /// A bound on how long ago that state was known to be current, counted from the answer back.
    pub age_ms: Option<u64>,
}

/// The definitions.
#[derive(Debug)]
pub(crate) enum Definitions {
    /// They are what they were.
    Unchanged(Stamp),
    /// They are others, and on their way.
    Fresh(DefinitionsBody, Stamp),
}

/// What became of a report.
#[derive(Debug)]
pub(crate) enum Reported {
    /// The log has it; `repeated`: it had it before.
    Taken { repeated: bool },
    /// The log never will.
    Refused { status: u16, message: String },
}

/// What a node says of a report that it took.
#[derive(Deserialize)]
struct Taken {
    #[serde(rename = "sequence")]
    _sequence: u64,
    repeated: bool,
}

/// What it says of any request that it refused.
#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    code: String,
    message: String,
}

/// The text of definitions, still to be read.
#[derive(Debug)]
pub(crate) struct DefinitionsBody(Response);

impl Transport {
    pub fn new(token: &str, settings: &Settings) -> Result<Self, StartError> {
        let http = reqwest::Client::builder()
            .connect_timeout(settings.connect_timeout)
            // Whoever could redirect a request would be sent the token.
            .redirect(Policy::none())
            .user_agent(concat!("flagraft-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|_| StartError::Tls)?;
        let mut authorization =
            HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| StartError::Token)?;
        authorization.set_sensitive(true);
        Ok(Self {
            http,
            authorization,
            request_timeout: settings.request_timeout,
            definitions_timeout: settings.definitions_timeout,
            definitions_bytes_max: settings.definitions_bytes_max,
        })
    }

    /// What the token is good for.
    pub async fn token(&self, node: &Url) -> Result<TokenInfo, Fault> {
        let request = self.request(Method::GET, node, &["api", "v1", "token"])?;
        self.small(request).await
    }

    /// The head of the definitions, unless they are still these.
    pub async fn definitions(
        &self,
        node: &Url,
        place: &Place,
        held: Option<RevisionToken>,
    ) -> Result<Definitions, Fault> {
        let mut request = self.request(Method::GET, node, &definitions_path(place))?;
        if let Some(held) = held {
            request = request.header(IF_NONE_MATCH, format!("\"{held}\""));
        }
        let response = self.send(request).await?;
        if held.is_some() && response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Definitions::Unchanged(stamp(response.headers())?));
        }
        let response = good(response)?;
        let stamp = stamp(response.headers())?;
        Ok(Definitions::Fresh(DefinitionsBody(response), stamp))
    }

    /// The text of the definitions.
    pub async fn text(&self, definitions: DefinitionsBody) -> Result<String, Fault> {
        let read = self.body(definitions.0, self.definitions_bytes_max);
        let bytes = within(self.definitions_timeout, read).await?;
        String::from_utf8(bytes).map_err(|_| Fault::Garbage("it is no text"))
    }

    /// At which revision the definitions are, and how old that is.
    pub async fn probe(&self, node: &Url, place: &Place) -> Result<Stamp, Fault> {
        let request = self.request(Method::HEAD, node, &definitions_path(place))?;
        stamp(good(self.send(request).await?)?.headers())
    }

    /// The stream of changes after a revision, or from a snapshot on.
    pub async fn stream(
        &self,
        node: &Url,
        place: &Place,
        after: Option<RevisionToken>,
    ) -> Result<EventStream, Fault> {
        let path = ["api", "v1", "projects", &place.project, "environments", &place.environment, "stream"];
        let mut request = self.request(Method::GET, node, &path)?.header(ACCEPT, "text/event-stream");
        if let Some(after) = after {
            request = request.header(LAST_EVENT_ID, after.to_string());
        }
        let response = good(self.send(request).await?)?;
        let content_type = header(response.headers(), &CONTENT_TYPE).unwrap_or_default();
        if !content_type.starts_with("text/event-stream") {
            return Err(Fault::Garbage("it is no event stream"));
        }
        Ok(EventStream(response))
    }

    /// Lets a node evaluate a flag: the status, and the JSON that it answered with.
    pub async fn evaluate(
        &self,
        node: &Url,
        key: &str,
        body: Vec<u8>,
        linearizable: bool,
        deadline: Duration,
    ) -> Result<(StatusCode, Vec<u8>), Fault> {
        let path = ["ofrep", "v1", "evaluate", "flags", key];
        let deadline_ms = deadline.as_millis().clamp(1, 5_000);
        let mut request = self
            .request(Method::POST, node, &path)?
            .header(CONTENT_TYPE, "application/json")
            .header(DEADLINE, deadline_ms.to_string())
            .body(body);
        if linearizable {
            request = request.header(CONSISTENCY, "linearizable");
        }
        let response = self.send(request).await?;
        let status = response.status();
        let response = match status {
            StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => response,
            _ => good(response)?,
        };
        Ok((status, self.body(response, SMALL_BYTES_MAX).await?))
    }

    /// Sends a report of evaluations.
    pub async fn report(&self, node: &Url, place: &Place, body: Vec<u8>) -> Result<Reported, Fault> {
        let path =
            ["api", "v1", "projects", &place.project, "environments", &place.environment, "evaluations"];
        // So that the node says in time that it does not know what became of it.
        let deadline_ms = (self.request_timeout.as_millis() * 4 / 5).clamp(1, 5_000);
        let request = self
            .request(Method::POST, node, &path)?
            .header(CONTENT_TYPE, "application/json")
            .header(DEADLINE, deadline_ms.to_string())
            .body(body);
        let response = self.send(request).await?;
        let status = response.status();
        // Of these none is about the report: another node, or the same one later, may take it.
        let response = match status {
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => {
                return Err(Fault::Busy(retry_after(&response)));
            }
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => good(response)?,
            _ if status.is_client_error() => response,
            _ => good(response)?,
        };
        let bytes = within(self.request_timeout, self.body(response, SMALL_BYTES_MAX)).await?;
        read_report(status, &bytes)
    }

    fn request(&self, method: Method, node: &Url, path: &[&str]) -> Result<RequestBuilder, Fault> {
        let mut url = node.clone();
        url.path_segments_mut()
            .map_err(|()| Fault::Garbage("its address takes no path"))?
            .pop_if_empty()
            .extend(path);
        Ok(self.http.request(method, url).header(AUTHORIZATION, self.authorization.clone()))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Fault> {
        within(self.request_timeout, async { request.send().await.map_err(|error| fault_of(&error)) }).await
    }

    async fn small<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Fault> {
        let response = good(self.send(request).await?)?;
        let bytes = within(self.request_timeout, self.body(response, SMALL_BYTES_MAX)).await?;
        serde_json::from_slice(&bytes).map_err(|_| Fault::Garbage("it is not the JSON of this route"))
    }

    /// A whole body, of which each part comes in time, and which is not too large.
    async fn body(&self, mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Fault> {
        let stated = response.content_length().and_then(|bytes| usize::try_from(bytes).ok());
        if stated.is_some_and(|bytes| bytes > bytes_max) {
            return Err(Fault::TooLarge(bytes_max));
        }
        let mut body = Vec::with_capacity(stated.unwrap_or(0));
        let next = async |response: &mut Response| {
            let chunk = async { response.chunk().await.map_err(|error| fault_of(&error)) };
            within(self.request_timeout, chunk).await
        };
        while let Some(chunk) = next(&mut response).await? {
            if body.len().saturating_add(chunk.len()) > bytes_max {
                return Err(Fault::TooLarge(bytes_max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// The bytes of a stream, as they come.
#[derive(Debug)]
pub(crate) struct EventStream(Response);

impl EventStream {
    /// More of them, if any come in time; `None` at its end.
    pub async fn more(&mut self, in_time: Duration) -> Result<Option<impl AsRef<[u8]> + use<>>, Fault> {
        within(in_time, async { self.0.chunk().await.map_err(|error| fault_of(&error)) }).await
    }
}

fn definitions_path(place: &Place) -> [&str; 7] {
    ["api", "v1", "projects", &place.project, "environments", &place.environment, "definitions"]
}

/// Gives up on what takes too long.
pub(crate) async fn within<T>(
    time: Duration,
    asked: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::time::timeout(time, asked).await.unwrap_or(Err(Fault::Silent))
}

fn fault_of(error: &reqwest::Error) -> Fault {
    if error.is_timeout() {
        Fault::Silent
    } else if error.is_connect() {
        Fault::Unreachable
    } else {
        Fault::BrokenOff
    }
}

fn good(response: Response) -> Result<Response, Fault> {
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Fault::Refused(response.status().as_u16())),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Err(Fault::Busy(retry_after(&response)))
        }
        status => Err(Fault::Status(status.as_u16())),
    }
}

fn retry_after(response: &Response) -> Option<Duration> {
    header(response.headers(), &RETRY_AFTER)?.parse().ok().map(Duration::from_secs)
}

/// Reads what became of a report. A page of somebody else's says nothing of it, and neither does a node that does not know
/// the route.
fn read_report(status: StatusCode, body: &[u8]) -> Result<Reported, Fault> {
    const NO_ANSWER: Fault = Fault::Garbage("it does not say what became of the report");
    if status == StatusCode::OK {
        let Taken { repeated, .. } = serde_json::from_slice(body).map_err(|_| NO_ANSWER)?;
        return Ok(Reported::Taken { repeated });
    }
    let Refusal { error } = serde_json::from_slice(body).map_err(|_| NO_ANSWER)?;
    match error.code.as_str() {
        "no_such_path" | "method_not_allowed" => Err(Fault::Status(status.as_u16())),
        _ => Ok(Reported::Refused { status: status.as_u16(), message: error.message }),
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

fn stamp(headers: &HeaderMap) -> Result<Stamp, Fault> {
    const NO_ETAG: Fault = Fault::Garbage("it has no ETag of history and revision");
    let etag = header(headers, &ETAG).ok_or(NO_ETAG)?;
    let definitions: RevisionToken =
        etag.trim_start_matches("W/").trim_matches('"').parse().map_err(|_| NO_ETAG)?;
    let history = header(headers, &HISTORY).map(str::parse::<History>);
    if history.is_some_and(|history| history != Ok(definitions.history)) {
        return Err(Fault::Garbage("its headers name two histories"));
    }
    let age_ms = header(headers, &AGE).and_then(|age| age.parse().ok());
    Ok(Stamp { definitions, age_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_report_is_read_or_not_known() {
        let read = |status, body: &str| {
            read_report(StatusCode::from_u16(status).expect("a status"), body.as_bytes())
        };
        let taken = r#"{"sequence": 88, "repeated": true, "other": {"entries": 0, "count": 0}}"#;
        assert!(matches!(read(200, taken), Ok(Reported::Taken { repeated: true })));
        let refused =
            r#"{"error": {"code": "invalid", "message": "set the clock", "details": {"path": "/to_ms"}}}"#;
        match read(400, refused) {
            Ok(Reported::Refused { status: 400, message }) => assert_eq!(message, "set the clock"),
            other => panic!("{other:?}"),
        }
        let no_route = refused.replace("invalid", "no_such_path");
        for (status, body) in
            [(200, "<html>"), (200, "{}"), (403, "<html>"), (404, "{}"), (404, no_route.as_str())]
        {
            assert!(read(status, body).is_err(), "{status} {body}");
        }
    }

    #[test]
    fn a_stamp_is_read_whole_or_not_at_all() {
        let headers = |pairs: &[(HeaderName, &'static str)]| {
            let pairs = pairs.iter().cloned();
            stamp(&pairs.map(|(name, value)| (name, HeaderValue::from_static(value))).collect())
        };
        let (etag, history) = ("\"00000000000000ab.7\"", "00000000000000ab");
        let definitions = RevisionToken { history: History(0xab), revision: 7 };
        let good = headers(&[(ETAG, etag), (HISTORY, history), (AGE, "12")]);
        assert_eq!(good, Ok(Stamp { definitions, age_ms: Some(12) }));
        for age in ["null", "-1", "soon", ""] {
            assert_eq!(
                headers(&[(ETAG, etag), (AGE, age)]),
                Ok(Stamp { definitions, age_ms: None }),
                "{age}"
            );
        }
        assert!(headers(&[(HISTORY, history)]).is_err());
        assert!(headers(&[(ETAG, "\"7\"")]).is_err());
        assert!(headers(&[(ETAG, etag), (HISTORY, "00000000000000ac")]).is_err());
    }
}
