//! What reads a stream: its events, as a client parses them.

use std::time::Duration;

use axum::{body::BodyDataStream, http::Method, response::Response};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::super::harness::Api;

/// How long an event may take on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) const STREAM: &str = "/api/v1/projects/shop/environments/production/stream";
pub(super) const DEFINITIONS: &str = "/api/v1/projects/shop/environments/production/definitions";

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) data: Value,
}

impl Event {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            lines.next().map(str::to_owned)
        };
        let data = field("data")?;
        assert!(text.lines().count() <= 3, "an event is three lines: {text}");
        let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
        Some(Self { kind: field("event")?, id: field("id")?, data })
    }

    pub(super) fn revision(&self) -> u64 {
        self.data["revision"].as_u64().unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// A stream that is being read.
pub(super) struct Reader {
    pub(super) head: axum::http::response::Parts,
    body: BodyDataStream,
    buffer: String,
    /// The id of the event that was read last.
    pub(super) last: Option<String>,
    /// Comments that were read.
    pub(super) comments: usize,
}

impl Reader {
    pub(super) fn of(response: Response) -> Self {
        let (head, body) = response.into_parts();
        let body = body.into_data_stream();
        Self { head, body, buffer: String::new(), last: None, comments: 0 }
    }

    /// The next event; `None` when the stream has ended.
    pub(super) async fn next(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("an event, or the end")
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let event = event.to_owned();
                self.buffer = rest.to_owned();
                match Event::parse(&event) {
                    Some(event) => {
                        self.last = Some(event.id.clone());
                        return Some(event);
                    }
                    None => self.comments += 1,
                }
                continue;
            }
            let piece = self.body.next().await?.expect("bodies do not fail");
            self.buffer.push_str(std::str::from_utf8(&piece).expect("UTF-8"));
        }
    }

    /// The next bytes, as they come.
    pub(super) async fn piece(&mut self) -> String {
        let piece = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("more");
        let piece = piece.expect("it goes on").expect("bodies do not fail");
        String::from_utf8(piece.to_vec()).expect("UTF-8")
    }

    /// The next event, if it is of this kind.
    pub(super) async fn expect(&mut self, kind: &str) -> Event {
        let event = self.next().await.unwrap_or_else(|| panic!("the stream has ended before {kind}"));
        assert_eq!(event.kind, kind, "{event:?}");
        event
    }

    /// The next change. What only says how far the stream is is passed over.
    pub(super) async fn change(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.kind != "progress" {
                assert_eq!(event.kind, "change", "{event:?}");
                return event;
            }
        }
    }

    /// Reads to the end.
    pub(super) async fn rest(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

impl Api {
    /// A stream of the shop's production environment, after the event `last`.
    pub(super) async fn stream(&self, token: &str, last: Option<&str>) -> Reader {
        let mut call = self.call(Method::GET, STREAM).token(token);
        if let Some(last) = last {
            call = call.header("last-event-id", last);
        }
        let response = call.open().await;
        assert_eq!(response.status().as_u16(), 200);
        Reader::of(response)
    }

    /// Turns a flag of the shop on or off, in an environment; the revision that did.
    pub(super) async fn switch(&self, flag: &str, environment: &str, on: bool) -> u64 {
        let op = if on { "flag.enable" } else { "flag.disable" };
        let operation = json!({"op": op, "flag": flag, "environment": environment});
        let changed = self.change(json!({"reason": "r", "operations": [operation]})).await;
        changed["revision"].as_u64().expect("a revision")
    }
}
