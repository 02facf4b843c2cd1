//! Following the stream of one node until it ends.

use std::time::Duration;

use flagraft_core::{
    feed::{FORMAT, FeedError, wire::Progress},
    identity::RevisionToken,
};
use tokio::time::Instant;

use crate::{
    changes::Changed,
    fault::Fault,
    observer::Request,
    shared::{Known, Shared},
    snapshot,
    sse::{Event, Parser, Unreadable},
};

/// A node that misses so many heartbeats is gone.
const HEARTBEATS_MISSED_MAX: u32 = 3;

/// How a stream ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What came before that.
    pub heard: Heard,
    /// Why it ended.
    pub fault: Fault,
    /// Whether what the node sent does not fit what is held: only a fresh snapshot helps.
    pub needs_snapshot: bool,
}

/// What came of a stream that could be taken in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    /// Anything.
    pub any: bool,
    /// A change.
    pub change: bool,
}

/// Takes in what a node streams, until that ends.
pub(crate) async fn follow(shared: &Shared, endpoint: usize) -> Ended {
    let mut heard = Heard::default();
    match take_all(shared, endpoint, &mut heard).await {
        Ok(never) => match never {},
        Err(fault) => {
            let needs_snapshot = matches!(fault, Fault::Feed(_));
            Ended { heard, fault, needs_snapshot }
        }
    }
}

async fn take_all(
    shared: &Shared,
    endpoint: usize,
    heard: &mut Heard,
) -> Result<std::convert::Infallible, Fault> {
    let known = shared.known(endpoint).await?;
    let node = shared.endpoints.url(endpoint).ok_or(Fault::Unreachable)?;
    let after = shared.followed().and_then(|held| held.revision());
    let opening = shared.transport.stream(node, &known.place, after);
    let mut stream = shared.watched(endpoint, Request::Stream, opening).await?;
    let silence_max = shared.settings.heartbeat.saturating_mul(HEARTBEATS_MISSED_MAX);
    let mut parser = Parser::new(shared.settings.definitions_bytes_max);
    let mut event_at = Instant::now();
    loop {
        // The first bytes come at once; what is silent from the beginning sits behind a buffer.
        let patience = if heard.any { silence_max } else { silence_max.min(shared.settings.request_timeout) };
        let bytes = stream.more(patience).await?.ok_or(Fault::BrokenOff)?;
        let events = parser.push(bytes.as_ref()).map_err(|unreadable| match unreadable {
            Unreadable::TooLarge => Fault::TooLarge(shared.settings.definitions_bytes_max),
            Unreadable::NotText => Fault::Garbage("it is no text"),
        })?;
        if events.is_empty() && event_at.elapsed() > long(shared, silence_max) {
            // Bytes come, and never become an event.
            return Err(Fault::Silent);
        }
        for event in events {
            event_at = Instant::now();
            let is_change = event.name == "change";
            take(shared, &known, event).await?;
            heard.change |= is_change;
            if !std::mem::replace(&mut heard.any, true) {
                shared.endpoints.succeeded(endpoint);
            }
        }
    }
}

/// How long an event may take to come whole.
fn long(shared: &Shared, silence_max: Duration) -> Duration {
    silence_max.max(shared.settings.definitions_timeout)
}

async fn take(shared: &Shared, known: &Known, event: Event) -> Result<(), Fault> {
    match event.name.as_str() {
        "snapshot" => {
            let at = position(&event)?;
            let bytes = event.data.len();
            // The id names the state's revision; which one touched the environment the document itself says.
            let copy = snapshot::read(event.data, at, known).await?;
            if shared
                .held
                .load()
                .as_ref()
                .is_some_and(|held| held.history.is_some_and(|held| held != at.history))
            {
                // Whether a quorum stands behind it the stream does not say; the definitions do.
                return Err(FeedError::Malformed("the stream is of another history").into());
            }
            let definitions = RevisionToken { revision: copy.replica.environment_revision(), ..at };
            shared.admits(definitions, None)?;
            shared.install(copy, bytes);
            shared.unprobed.notify_one();
            Ok(())
        }
        "change" => {
            let held = follows(shared, &event)?;
            let mut replica = held.replica.clone();
            let changed = replica.apply(&event.data)?;
            shared.put(held.followed_by(replica), Changed::Flags(changed.into()), event.data.len());
            Ok(())
        }
        "progress" => {
            let held = follows(shared, &event)?;
            let progress: Progress = serde_json::from_str(&event.data)
                .map_err(|_| FeedError::Malformed("a progress has the fields of its format"))?;
            if progress.format > FORMAT {
                return Err(FeedError::Newer(format!("format {} of the progress", progress.format)).into());
            }
            let mut replica = held.replica.clone();
            replica.progress(&progress)?;
            if replica.revision() != held.replica.revision() {
                shared.put(held.followed_by(replica), Changed::Flags([].into()), event.data.len());
            }
            Ok(())
        }
        // An event that a later version sends besides: what it must not be missed for has a format of its own.
        _ => Ok(()),
    }
}

fn position(event: &Event) -> Result<RevisionToken, Fault> {
    event.id.parse().map_err(|_| Fault::Feed(FeedError::Malformed("an event's id is <history>.<revision>")))
}

/// The copy that an event goes on from.
fn follows(shared: &Shared, event: &Event) -> Result<std::sync::Arc<crate::held::Held>, Fault> {
    let at = position(event)?;
    let held = shared.followed().filter(|held| held.history == Some(at.history));
    held.ok_or(Fault::Feed(FeedError::Malformed("it goes on from definitions that are not held")))
}
