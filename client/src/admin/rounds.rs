//! Which node is asked, and when the next one is.

use std::{
    future::Future,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use reqwest::{
    Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    answer::{JSON, Received},
    call::Request,
    error::AdminError,
};

/// How long to wait between two rounds over all endpoints. An election takes about a second.
const ROUND_PAUSE: Duration = Duration::from_millis(250);

/// The nodes, asked one after the other until one answers.
#[derive(Debug)]
pub(super) struct Rounds {
    pub http: reqwest::Client,
    pub endpoints: Vec<Url>,
    /// The endpoint that answered last, so that many calls do not stumble over a dead node once each.
    pub first: AtomicUsize,
    /// Marked as sensitive: it is in no log.
    pub authorization: Option<HeaderValue>,
    /// How long one node may take to begin an answer, and how long that may pause.
    pub timeout: Duration,
    /// For how long rounds go on while all that comes back is 503.
    pub retry_for: Duration,
}

/// What is made of an answer that is a success, while another node can still be asked.
pub(super) trait Taken: Sized + Send {
    /// Takes it, or says how it was lost.
    fn take(response: Response) -> impl Future<Output = Result<Self, reqwest::Error>> + Send;
}

/// Read whole.
impl Taken for Received {
    async fn take(response: Response) -> Result<Self, reqwest::Error> {
        Self::of(response).await
    }
}

/// Handed on unread.
impl Taken for Response {
    async fn take(response: Response) -> Result<Self, reqwest::Error> {
        Ok(response)
    }
}

/// What came of asking one node.
enum Attempt<B> {
    /// It did what it was asked for.
    Answered(B),
    /// It said why not.
    Refused(Received),
    /// It said 503: nothing was entered.
    Unavailable(Received),
    /// No connection: nothing was entered.
    Unreachable(String),
    /// The connection broke, or time ran out, after the request may have been read.
    Lost(String),
}

impl Rounds {
    /// Asks until a node answers; any status but 503 is an answer. `at_most` is how long all of it may take, where that is not
    /// the usual time.
    pub async fn answer<B: Taken>(
        &self,
        request: &Request,
        at_most: Option<Duration>,
    ) -> Result<B, AdminError> {
        let give_up = Instant::now() + self.retry_for;
        let mut maybe_entered = false;
        loop {
            let mut unavailable = None;
            let mut faults = Vec::new();
            let first = self.first.load(Ordering::Relaxed);
            let (before, from) = self.endpoints.split_at_checked(first).unwrap_or((&[], &self.endpoints));
            for (offset, endpoint) in from.iter().chain(before).enumerate() {
                match self.attempt(endpoint, request, at_most).await? {
                    Attempt::Answered(answer) => {
                        self.begin_with(first + offset);
                        return Ok(answer);
                    }
                    Attempt::Refused(answer) => {
                        self.begin_with(first + offset);
                        return Err(AdminError::judged(&answer));
                    }
                    Attempt::Unavailable(answer) => unavailable = Some(answer),
                    Attempt::Unreachable(fault) => faults.push(format!("{endpoint} {fault}")),
                    Attempt::Lost(fault) => {
                        maybe_entered |= request.writes;
                        faults.push(format!("{endpoint} {fault}"));
                    }
                }
            }
            let pause = ROUND_PAUSE.min(give_up.saturating_duration_since(Instant::now()));
            if unavailable.is_some() && !pause.is_zero() {
                sleep(pause).await;
                continue;
            }
            return Err(AdminError::exhausted(request, maybe_entered, unavailable.as_ref(), &faults));
        }
    }

    fn begin_with(&self, index: usize) {
        self.first.store(index % self.endpoints.len().max(1), Ordering::Relaxed);
    }

    async fn attempt<B: Taken>(
        &self,
        endpoint: &Url,
        request: &Request,
        at_most: Option<Duration>,
    ) -> Result<Attempt<B>, AdminError> {
        let mut sent =
            self.http.request(request.method.clone(), request.url(endpoint)?).headers(request.headers()?);
        if let Some(authorization) = &self.authorization {
            sent = sent.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = &request.body {
            sent = sent.header(CONTENT_TYPE, JSON).body(body.to_string());
        }
        if let Some(at_most) = at_most {
            sent = sent.timeout(at_most);
        }
        let response = match timeout(self.timeout, sent.send()).await {
            Err(_) => return Ok(Attempt::Lost("did not answer in time".to_owned())),
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_builder() => {
                let message = format!("{endpoint} can't be asked ({})", reason(&error));
                return Err(AdminError::invalid(message, "give an endpoint like http://10.0.0.1:7401"));
            }
            Ok(Err(error)) if error.is_connect() => {
                return Ok(Attempt::Unreachable(format!("can't be reached ({})", reason(&error))));
            }
            Ok(Err(error)) => return Ok(Attempt::Lost(broke_off(&error))),
        };
        let status = response.status();
        if status.is_success() {
            let taken = B::take(response).await;
            return Ok(taken.map_or_else(|error| Attempt::Lost(broke_off(&error)), Attempt::Answered));
        }
        Ok(match Received::of(response).await {
            Err(error) => Attempt::Lost(broke_off(&error)),
            Ok(answer) if status == StatusCode::SERVICE_UNAVAILABLE => Attempt::Unavailable(answer),
            Ok(answer) => Attempt::Refused(answer),
        })
    }
}

/// How an answer was lost.
pub(super) fn broke_off(error: &reqwest::Error) -> String {
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
