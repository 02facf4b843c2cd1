//! An open stream: when it has something to say, when it has to end, and its bytes.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    http::{
        HeaderName, HeaderValue,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flagraft_core::token::{Token, TokenId, TokenKind};
use futures_util::stream;
use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, interval};

use crate::{
    clock::wall_ms,
    feed::{Ended, Follower, NoRoom, OpenStream, Place, StreamKind},
    http::{App, auth, error::ApiError},
};

/// How often it is seen whether the token of a stream is still good: one that was revoked, or has expired, ends it within
/// a second.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// How long whoever has too many streams is to wait before the next attempt.
const TOKEN_PAUSE: Duration = Duration::from_secs(10);

/// Bytes that are given without another look at the token, at most.
const PIECE_MAX: usize = 64 << 10;

/// Not to be held back by a proxy until there is more of it.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What has happened to a stream that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Turn {
    /// The environment may have changed.
    Changed,
    /// Nothing; it is time to look around.
    Checked,
    /// It is time to show that it goes on: see [`Session::beats`].
    Heartbeat,
}

/// An open stream, whatever it carries.
pub(in crate::http) struct Session {
    pub(in crate::http) app: App,
    pub(in crate::http) place: Place,
    pub(in crate::http) follower: Follower,
    open: OpenStream,
    token: TokenId,
    checks: Interval,
    heartbeat_at: Instant,
}

impl Session {
    /// Opens a stream, if there is room for one more.
    pub(in crate::http) fn open(
        app: &App,
        kind: StreamKind,
        token: &Token,
        place: Place,
        follower: Follower,
    ) -> Result<Self, ApiError> {
        let open = app.node.feed().open(kind, token).map_err(|no_room| match no_room {
            NoRoom::Stopping | NoRoom::Streams | NoRoom::Notices => {
                ApiError::unavailable(no_room.to_string())
            }
            NoRoom::Token => {
                app.node.metrics().rate_limited("client_token_streams");
                ApiError::too_many_requests(no_room.to_string(), TOKEN_PAUSE)
            }
        })?;
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        checks.reset();
        let token = Arc::clone(&token.spec.id);
        let heartbeat_at = Instant::now() + app.node.config().streams.heartbeat;
        Ok(Self { app: app.clone(), place, follower, open, token, checks, heartbeat_at })
    }

    /// It has shown now that it goes on.
    pub(in crate::http) fn beats(&mut self) {
        self.heartbeat_at = Instant::now() + self.app.node.config().streams.heartbeat;
    }

    /// Counts an event that is given to it.
    pub(in crate::http) fn sent(&mut self, event: &'static str) {
        self.open.sent(event);
    }

    /// Waits until there may be something to say; says why it ends where it does.
    pub(in crate::http) async fn turn(&mut self) -> Result<Turn, Ended> {
        let turn = tokio::select! {
            biased;
            () = self.open.closing() => return Err(Ended::Stopping),
            // Before what may come again and again.
            () = tokio::time::sleep_until(self.heartbeat_at) => Turn::Heartbeat,
            () = self.follower.woken() => Turn::Changed,
            _ = self.checks.tick() => Turn::Checked,
        };
        // Before anything more is told, however soon after it that is.
        if !self.is_still_allowed() {
            return Err(Ended::Token);
        }
        Ok(turn)
    }

    /// Whether the token would still be let in.
    fn is_still_allowed(&self) -> bool {
        let published = self.app.node.published();
        let Some(token) = published.state.token(&self.token) else { return false };
        if token.check(wall_ms()).is_err() {
            return false;
        }
        let (project, environment) = &self.place;
        match token.spec.kind {
            TokenKind::Admin => {
                auth::reads_rules(token, project, environment) && !auth::is_too_old_for_admins(&self.app)
            }
            // Each evaluates in one environment, for as long as that is there.
            TokenKind::Service | TokenKind::Client => token.spec.evaluates() == Some((project, environment)),
        }
    }
}

/// What a stream says.
pub(in crate::http) trait Speaks: Send + 'static {
    fn session(&mut self) -> &mut Session;

    /// The next bytes, once there are any; why it ends where it does.
    fn next(&mut self) -> impl Future<Output = Result<Vec<Bytes>, Ended>> + Send;
}

/// The answer that a stream is. `first` is sent at once.
pub(in crate::http) fn answer<S: Speaks>(stream: S, first: Vec<Bytes>) -> Response {
    let pieces = stream::unfold((stream, VecDeque::from(first)), |(mut stream, mut waiting)| async move {
        loop {
            if let Some(mut piece) = waiting.pop_front() {
                // Whoever reads slowly is not given for minutes what was made ready in a moment.
                if !stream.session().is_still_allowed() {
                    stream.session().open.ends(Ended::Token);
                    return None;
                }
                if piece.len() > PIECE_MAX {
                    waiting.push_front(piece.split_off(PIECE_MAX));
                }
                return Some((Ok::<_, Infallible>(piece), (stream, waiting)));
            }
            match stream.next().await {
                Ok(pieces) => waiting.extend(pieces),
                Err(why) => {
                    stream.session().open.ends(why);
                    return None;
                }
            }
        }
    });
    with_headers(Body::from_stream(pieces))
}

/// The answer to `HEAD`.
pub(in crate::http) fn answer_to_head() -> Response {
    with_headers(Body::empty())
}

fn with_headers(body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}
