//! For tests: a node that answers what a test says, and remembers what it was asked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    http::{Request, Response},
    routing::any,
};
use serde_json::Value;
use tokio::net::TcpListener;

/// What a fake node was asked.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub uri: String,
    /// The headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub key: Option<String>,
    pub authorization: Option<String>,
    pub body: String,
}

/// A node that answers what the test says, and remembers what it was asked.
pub struct Fake {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    /// `answer` is given the number of the request, from 0: status, a header (`name: value`, or the value of Retry-After)
    /// and body.
    pub async fn node(answer: impl Fn(usize) -> (u16, &'static str, String) + Send + Sync + 'static) -> Self {
        Self::answering(move |number| {
            let (status, retry_after, body) = answer(number);
            let mut response = Response::builder().status(status);
            if body.starts_with('{') {
                response = response.header("content-type", "application/json");
            }
            if !retry_after.is_empty() {
                response = response.header("retry-after", retry_after);
            }
            response.body(body).expect("a response")
        })
        .await
    }

    /// The same, with all of the response.
    pub async fn answering(answer: impl Fn(usize) -> Response<String> + Send + Sync + 'static) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (answer, log) = (Arc::new(answer), Arc::clone(&seen));
        let handler = move |request: Request<axum::body::Body>| {
            let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
            async move {
                let (parts, body) = request.into_parts();
                let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
                let text = |value: &axum::http::HeaderValue| value.to_str().expect("text").to_owned();
                let headers: BTreeMap<String, String> =
                    parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
                let header = |name: &str| headers.get(name).cloned();
                let number = {
                    let mut log = log.lock().expect("no test panics while it holds it");
                    log.push(Seen {
                        method: parts.method.to_string(),
                        uri: parts.uri.to_string(),
                        key: header("idempotency-key"),
                        authorization: header("authorization"),
                        body: String::from_utf8_lossy(&body).into_owned(),
                        headers,
                    });
                    log.len() - 1
                };
                answer(number)
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = at(listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(any(handler))).await });
        Self { url, seen }
    }

    /// A node that says the same each time.
    pub async fn saying(status: u16, body: Value) -> Self {
        Self::node(move |_| (status, "", body.to_string())).await
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics while it holds it").clone()
    }
}

/// The URL of an address.
pub fn at(address: SocketAddr) -> String {
    format!("http://{address}/")
}
