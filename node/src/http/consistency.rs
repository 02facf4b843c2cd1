//! What state a read is given, and how the answer says which state that was. What it asks for: [`super::terms`].
//!
//! Invariant: an answer is made from one published state, the one that [`View`] holds; whatever had to be waited for
//! was waited for before that state was loaded.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use flagraft_core::{
    compiled::CompiledEnvironment,
    identity::{History, RevisionToken},
    key::{EnvironmentKey, ProjectKey},
    state::State,
};

use super::{App, error::ApiError, terms::Freshness};
use crate::{
    canary::{self, Canary},
    clock::ceil_ms,
    raft::Published,
    reads::{Confirmation, RevisionUnavailable, Unconfirmed},
};

/// In requests `linearizable` or `local`; in answers what was given.
pub(super) const CONSISTENCY: HeaderName = HeaderName::from_static("flagraft-consistency");
/// The revision that the answer was made from.
pub(super) const REVISION: HeaderName = HeaderName::from_static("flagraft-revision");
/// The history that the revision counts in.
pub(super) const HISTORY: HeaderName = HeaderName::from_static("flagraft-history");
/// A bound on how long ago that state was current, in milliseconds; `null` while that is not known.
pub(super) const AGE: HeaderName = HeaderName::from_static("flagraft-age-ms");
/// The node that answered.
pub(super) const NODE: HeaderName = HeaderName::from_static("flagraft-node");

/// The consistency of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consistency {
    /// The state of the node asked, as old as the age says.
    Local,
    /// Current at some moment after the request came in: a quorum confirmed it.
    Linearizable,
    /// Nobody confirmed it: critical flags have their safe variants.
    SafeVariant,
}

impl Consistency {
    pub(super) const ALL: [Self; 3] = [Self::Local, Self::Linearizable, Self::SafeVariant];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Linearizable => "linearizable",
            Self::SafeVariant => "safe-variant",
        }
    }
}

/// Which state an answer was made from: the `Flagraft-*` headers.
#[derive(Clone, Debug)]
pub(super) struct Stamp {
    pub(super) revision: u64,
    pub(super) history: Option<History>,
    pub(super) age_ms: Option<u64>,
    pub(super) consistency: Consistency,
    pub(super) node: u64,
}

impl Stamp {
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.insert(REVISION, HeaderValue::from(self.revision));
        let history = self.history.and_then(|history| HeaderValue::from_str(&history.to_string()).ok());
        headers.insert(HISTORY, history.unwrap_or_else(null));
        headers.insert(AGE, self.age_ms.map_or_else(null, HeaderValue::from));
        headers.insert(CONSISTENCY, HeaderValue::from_static(self.consistency.as_str()));
        headers.insert(NODE, HeaderValue::from(self.node));
    }

    /// The ETag of an object at a revision: `"<history>.<revision>"`.
    pub(super) fn etag(&self, revision: u64) -> HeaderValue {
        let history = self.history.unwrap_or(History(0));
        HeaderValue::from_str(&format!("\"{}\"", RevisionToken { history, revision }))
            .unwrap_or_else(|_| null())
    }

    pub(super) fn answer(&self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        self.write(response.headers_mut());
        response
    }
}

fn null() -> HeaderValue {
    HeaderValue::from_static("null")
}

/// Waits until a revision is published here: 412 for another history, 503 when it does not come in time.
pub(super) async fn await_revision(
    app: &App,
    wanted: RevisionToken,
    within: Duration,
) -> Result<(), ApiError> {
    if canary::is_planted(Canary::IgnoreMinRevision) {
        return Ok(());
    }
    match app.node.reads().await_revision(wanted, within).await {
        Ok(_) => Ok(()),
        Err(error @ RevisionUnavailable::OtherHistory) => Err(ApiError::revision_mismatch(format!(
            "{error}; read without a minimum revision and go on from there"
        ))
        .stamped(&View::local(app).stamp)),
        Err(error @ RevisionUnavailable::NotYet { .. }) => Err(ApiError::unavailable(format!(
            "{error}; ask again, with a longer Flagraft-Deadline-Ms, or another node"
        ))
        .stamped(&View::local(app).stamp)),
    }
}

/// A state that a quorum confirmed, or 503.
pub(super) async fn confirmed(app: &App, within: Duration) -> Result<View, ApiError> {
    View::confirmed(app, within).await.map_err(|unconfirmed| {
        ApiError::unavailable(format!("{unconfirmed}, which this answer needs; ask again, or another node"))
            .stamped(&View::local(app).stamp)
    })
}

/// A state that is fresh enough: this node's, else a confirmed one, else 503.
pub(super) async fn recent(app: &App, freshness: Freshness, within: Duration) -> Result<View, ApiError> {
    let fresh_enough = || Some(View::local(app)).filter(|view| view.is_as_fresh_as(freshness));
    if let Some(view) = fresh_enough() {
        return Ok(view);
    }
    match Box::pin(View::confirmed(app, within)).await {
        Ok(view) => Ok(view),
        // It may have become young enough by a round that another read waited for.
        Err(_) => fresh_enough().ok_or_else(|| too_old(&View::local(app).stamp)),
    }
}

/// The refusal of a read for which the state is too old.
pub(super) fn too_old(stamp: &Stamp) -> ApiError {
    let age = match stamp.age_ms {
        Some(age_ms) => format!("was last known to be current {age_ms} ms ago"),
        None => "is not known to be current since this node started".to_owned(),
    };
    let message = format!(
        "what this node has {age}, which is longer than the request allows, and no quorum confirmed it in time; ask \
         again, or another node, or allow a greater Flagraft-Max-Age-Ms"
    );
    ApiError::unavailable(message).stamped(stamp)
}

/// One published state and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct View {
    published: Arc<Published>,
    pub(super) stamp: Stamp,
}

impl View {
    /// What this node has, however old it is.
    pub(super) fn local(app: &App) -> Self {
        let (published, age_ms) = app.node.reads().local();
        Self::new(app, published, age_ms, Consistency::Local)
    }

    /// What a quorum confirms to be current.
    pub(super) async fn confirmed(app: &App, within: Duration) -> Result<Self, Unconfirmed> {
        Self::of_confirmation(app, app.node.reads().confirm(within)).await
    }

    /// The same for a write, which waits out an election also where a read is answered at once.
    pub(super) async fn confirmed_patiently(app: &App, within: Duration) -> Result<Self, Unconfirmed> {
        Self::of_confirmation(app, app.node.reads().confirm_patiently(within)).await
    }

    async fn of_confirmation(
        app: &App,
        confirming: impl Future<Output = Result<Confirmation, Unconfirmed>>,
    ) -> Result<Self, Unconfirmed> {
        let begun = Instant::now();
        let confirmation = confirming.await;
        app.node.metrics().confirmation(confirmation.is_ok(), begun.elapsed());
        let confirmation = confirmation?;
        let age_ms = Some(ceil_ms(confirmation.fresh_as_of.elapsed()));
        Ok(Self::new(app, confirmation.published, age_ms, Consistency::Linearizable))
    }

    fn new(app: &App, published: Arc<Published>, age_ms: Option<u64>, consistency: Consistency) -> Self {
        let (revision, history) = (published.state.revision(), published.state.history());
        let stamp = Stamp { revision, history, age_ms, consistency, node: app.node.id() };
        Self { published, stamp }
    }

    /// Whether a quorum confirmed it after the request came in.
    pub(super) fn is_confirmed(&self) -> bool {
        self.stamp.consistency == Consistency::Linearizable
    }

    /// Whether it is as fresh as a request asks for. A confirmed one always is.
    pub(super) fn is_as_fresh_as(&self, freshness: Freshness) -> bool {
        self.is_confirmed() || !freshness.is_missed_by(self.stamp.age_ms)
    }

    pub(super) fn state(&self) -> &State {
        &self.published.state
    }

    /// The environment, compiled for evaluation.
    pub(super) fn environment(
        &self,
        project: &ProjectKey,
        environment: &EnvironmentKey,
    ) -> Option<&CompiledEnvironment> {
        self.published.catalog.environment(project, environment).map(AsRef::as_ref)
    }

    pub(super) fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Answers from this state, whether well or not: every answer says which state it is about.
    pub(super) fn answer<T: IntoResponse>(
        &self,
        answer: impl FnOnce(&State) -> Result<T, ApiError>,
    ) -> Result<Response, ApiError> {
        match answer(self.state()) {
            Ok(answer) => Ok(self.stamp.answer(answer)),
            Err(error) => Err(error.stamped(&self.stamp)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_writes_all_headers_and_says_null_for_what_is_not_known() {
        let stamp = Stamp {
            revision: 42,
            history: Some(History(0xab)),
            age_ms: None,
            consistency: Consistency::SafeVariant,
            node: 2,
        };
        let mut written = HeaderMap::new();
        stamp.write(&mut written);
        for (name, value) in [
            (REVISION, "42"),
            (HISTORY, "00000000000000ab"),
            (AGE, "null"),
            (CONSISTENCY, "safe-variant"),
            (NODE, "2"),
        ] {
            assert_eq!(written[&name], value, "{name}");
        }
        assert_eq!(stamp.etag(7), "\"00000000000000ab.7\"");
    }
}
