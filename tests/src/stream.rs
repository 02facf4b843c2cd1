//! A stream of events, as a client reads it.

use std::time::Duration;

use reqwest::Response;
use serde_json::Value;

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What kind of event it is.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its data.
    pub data: Value,
}

impl Event {
    /// The revision that its id names.
    ///
    /// # Panics
    /// It names none.
    pub fn revision(&self) -> u64 {
        let revision = self.id.split_once('.').and_then(|(_, revision)| revision.parse().ok());
        revision.unwrap_or_else(|| panic!("the id names no revision: {self:?}"))
    }
}

/// A stream that is being read.
#[derive(Debug)]
pub struct Stream {
    response: Response,
    buffer: Vec<u8>,
}

impl Stream {
    pub(crate) fn of(response: Response) -> Self {
        assert_eq!(response.status().as_u16(), 200, "{response:?}");
        Self { response, buffer: Vec::new() }
    }

    /// The next event; `None` once the stream has ended, well or not.
    ///
    /// # Panics
    /// None comes in time.
    pub async fn next(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("an event, or the end of the stream")
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let text = String::from_utf8(self.buffer.drain(..end + 2).collect()).expect("UTF-8");
                if let Some(event) = parsed(&text) {
                    return Some(event);
                }
                continue;
            }
            match self.response.chunk().await {
                Ok(Some(piece)) => self.buffer.extend_from_slice(&piece),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next event that is no progress.
    ///
    /// # Panics
    /// The stream ends before.
    pub async fn news(&mut self) -> Event {
        loop {
            let event = self.next().await.expect("the stream goes on");
            if event.kind != "progress" {
                return event;
            }
        }
    }
}

/// `None` for a comment.
fn parsed(text: &str) -> Option<Event> {
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        lines.next().map(str::to_owned)
    };
    let data = field("data")?;
    let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
    Some(Event { kind: field("event")?, id: field("id")?, data })
}
