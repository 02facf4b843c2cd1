//! The definitions of an environment, for clients that evaluate by themselves: once, or as a stream that goes on.
//!
//! Invariant: a stream gives every change of its environment once, whole and in order, after a snapshot or after the
//! revision that it was asked to go on from; or it ends.

mod session;

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
        header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG},
    },
    response::{IntoResponse as _, Response},
};
use flagraft_core::{
    feed::{FORMAT, wire::Progress},
    identity::RevisionToken,
};
use futures_util::stream;

pub(super) use self::session::{Session, Speaks, Turn, answer, answer_to_head};
use super::{
    App,
    auth::{Caller, Reader},
    consistency::View,
    error::ApiError,
    extract::Path,
    ofrep::etag::{candidates, matches},
    shorthand::InProject,
    terms::{ReadTerms, text},
};
use crate::{
    feed::{Change, Ended, NoSnapshot, Place, StreamKind, Taken, frame},
    reads::RevisionUnavailable,
};

/// Where a stream goes on from.
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The environment that the caller may read the definitions of, and the revision that last touched it.
fn visible(app: &App, caller: &Caller, view: &View, at: &InProject) -> Result<(Place, u64), ApiError> {
    let project = caller.project(app, view.state(), &at.project)?;
    let stored = project.environments.get(at.environment.as_str());
    match stored.filter(|stored| caller.reads_rules(project.key(), &stored.spec.key)) {
        Some(stored) => Ok(((project.key().clone(), stored.spec.key.clone()), stored.touched_revision)),
        None => Err(ApiError::not_found("environment", &at.environment)),
    }
}

/// The definitions, once.
pub(super) async fn definitions(
    method: Method,
    Reader(caller): Reader,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    let stamped = |error: ApiError| error.stamped(&view.stamp);
    let (place, touched) = visible(&app, &caller, &view, &at).map_err(stamped)?;
    let etag = view.stamp.etag(touched);
    let mut response = if etag.to_str().is_ok_and(|etag| matches(&candidates(&headers), etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else if method == Method::HEAD {
        // A body of no known length, for one of none would say that the definitions have no bytes.
        Body::from_stream(stream::empty::<Result<Bytes, Infallible>>()).into_response()
    } else {
        // What the ETag and the headers name, and nothing newer.
        let made = app.node.feed().snapshot(|| view.published(), &place).await;
        let snapshot = made.map_err(|error| stamped(no_snapshot(error, &at.environment)))?;
        let pieces = snapshot.document();
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let pieces = stream::iter(pieces.map(Ok::<_, Infallible>));
        let mut response = Body::from_stream(pieces).into_response();
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        response
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ETAG, etag);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(view.stamp.answer(response))
}

fn no_snapshot(error: NoSnapshot, environment: &str) -> ApiError {
    match error {
        NoSnapshot::Deleted => ApiError::not_found("environment", environment),
        NoSnapshot::Failed(why) => ApiError::internal("writing the definitions", why),
    }
}

/// The definitions as a stream.
pub(super) async fn stream(
    method: Method,
    Reader(caller): Reader,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let last = last_event_id(&headers)?;
    terms.view(&app).await?;
    let from = match last {
        Some(last) => arrived(&app, &terms, last).await?,
        None => None,
    };
    // Only now: what had to be waited for was waited for.
    let view = View::local(&app);
    let stamped = |error: ApiError| error.stamped(&view.stamp);
    let (place, _) = visible(&app, &caller, &view, &at).map_err(stamped)?;
    if method == Method::HEAD {
        return Ok(view.stamp.answer(answer_to_head()));
    }
    let gone = || stamped(ApiError::not_found("environment", &at.environment));
    // All that was published before is heard of at once: the environment may be that new.
    reached(&app, &view, terms.left()).await?;
    let follower = app.node.feed().follow(&place, from).ok_or_else(gone)?;
    let session = Session::open(&app, StreamKind::Definitions, &caller.token, place, follower);
    let mut definitions = Definitions { session: session.map_err(stamped)? };
    let mut first = definitions.news().await.map_err(|why| match why {
        Ended::Deleted => gone(),
        why => stamped(ApiError::unavailable(format!(
            "the stream could not begin ({why:?}); ask again, or another node"
        ))),
    })?;
    first.extend(definitions.progress());
    Ok(view.stamp.answer(answer(definitions, first)))
}

/// Waits until the state of a view can be followed from; 503 when it can't be within this time.
pub(super) async fn reached(app: &App, view: &View, within: Duration) -> Result<(), ApiError> {
    let reached = app.node.feed().reached(view.stamp.revision, within).await;
    reached.map_err(|error| {
        ApiError::unavailable(format!("{error}; ask again, or another node")).stamped(&view.stamp)
    })
}

/// What a stream is asked to go on from.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<RevisionToken>, ApiError> {
    let Some(text) = text(headers, &LAST_EVENT_ID)? else { return Ok(None) };
    let parsed = text.parse().map_err(|_| {
        ApiError::header("Last-Event-ID", "is the id of an event of this API; leave it out to begin anew")
    });
    parsed.map(Some)
}

/// Waits until this node has published what the receiver has seen: it must never be given an older state. `None` for an id
/// of another history, after which nothing can come here.
async fn arrived(
    app: &App,
    terms: &ReadTerms,
    last: RevisionToken,
) -> Result<Option<RevisionToken>, ApiError> {
    match app.node.reads().await_revision(last, terms.left()).await {
        Ok(_) => {}
        Err(RevisionUnavailable::OtherHistory) => return Ok(None),
        Err(error @ RevisionUnavailable::NotYet { .. }) => {
            return Err(ApiError::unavailable(format!(
                "{error}, which the stream is to go on from; ask again, or another node"
            ))
            .stamped(&View::local(app).stamp));
        }
    }
    Ok(Some(last))
}

/// A stream of definitions.
struct Definitions {
    session: Session,
}

impl Speaks for Definitions {
    fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    async fn next(&mut self) -> Result<Vec<Bytes>, Ended> {
        let turn = self.session.turn().await?;
        if turn == Turn::Checked {
            return Ok(Vec::new());
        }
        let mut pieces = self.news().await?;
        if turn == Turn::Heartbeat {
            pieces.extend(self.progress());
        }
        Ok(pieces)
    }
}

impl Definitions {
    /// The events that came since, or the first of them: what is not given yet is kept for all, and not for this stream.
    async fn news(&mut self) -> Result<Vec<Bytes>, Ended> {
        let session = &mut self.session;
        match session.follower.take() {
            Taken::Changes { changes, .. } => {
                let frame = |change: Change| {
                    session.sent("change");
                    change.frame
                };
                Ok(changes.into_iter().map(frame).collect())
            }
            Taken::Anew => {
                let node = &session.app.node;
                let snapshot = node.feed().snapshot(|| node.published(), &session.place).await;
                let snapshot = snapshot.map_err(|error| match error {
                    NoSnapshot::Deleted => Ended::Deleted,
                    NoSnapshot::Failed(why) => {
                        tracing::error!(%why, "a stream ends, for its snapshot could not be written");
                        Ended::Failed
                    }
                })?;
                session.follower.begin(&snapshot);
                session.sent("snapshot");
                Ok(snapshot.event().into())
            }
            Taken::Lost => Err(Ended::Slow),
            Taken::Deleted => Err(Ended::Deleted),
        }
    }

    /// How far the stream is, to be sent after all that it has seen.
    fn progress(&mut self) -> Option<Bytes> {
        let (id, environment_revision) = self.session.follower.seen()?;
        let age_ms = self.session.app.node.reads().age_ms();
        let progress = Progress { format: FORMAT, revision: id.revision, environment_revision, age_ms };
        let event = frame::event("progress", id, &progress).ok()?;
        self.session.sent("progress");
        self.session.beats();
        Some(event)
    }
}
