//! What a read asks for, what state it is given, and how the answer says which state that was.
//!
//! Invariant: an answer is made from one published state, the one that [`View`] holds; whatever had to be waited for
//! was waited for before that state was loaded.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use flagraft_core::{
    compiled::CompiledEnvironment,
    identity::{History, RevisionToken},
    key::{EnvironmentKey, ProjectKey},
    state::State,
};

use super::{App, error::ApiError};
use crate::{
    clock::ceil_ms,
    raft::Published,
    reads::{Confirmation, RevisionUnavailable, Unconfirmed},
};

/// `<history>.<revision>` that must be published before the answer is made.
pub(super) const MIN_REVISION: HeaderName = HeaderName::from_static("flagraft-min-revision");
/// How old the answer may be. Not served yet, so refused.
pub(super) const MAX_AGE: HeaderName = HeaderName::from_static("flagraft-max-age-ms");
/// In requests `linearizable` or `local`; in answers what was given.
pub(super) const CONSISTENCY: HeaderName = HeaderName::from_static("flagraft-consistency");
/// How long the request may wait, in milliseconds.
pub(super) const DEADLINE: HeaderName = HeaderName::from_static("flagraft-deadline-ms");
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

/// What a read asks for, from its headers.
#[derive(Clone, Debug)]
pub(super) struct ReadTerms {
    pub(super) min_revision: Option<RevisionToken>,
    pub(super) linearizable: bool,
    pub(super) deadline_at: Instant,
}

impl FromRequestParts<App> for ReadTerms {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let headers = &parts.headers;
        let limits = &app.options.read_deadline;
        // Most requests have no word on it, and then four names need not be looked for.
        if !headers.keys().any(|name| name.as_str().starts_with("flagraft-")) {
            let deadline_at = Instant::now() + limits.default;
            return Ok(Self { min_revision: None, linearizable: false, deadline_at });
        }
        refuse_max_age(headers)?;
        let linearizable = match text(headers, &CONSISTENCY)? {
            None => false,
            Some("linearizable") => true,
            Some("local") => false,
            Some(_) => return Err(ApiError::header("Flagraft-Consistency", "is `linearizable` or `local`")),
        };
        Ok(Self {
            min_revision: min_revision(headers)?,
            linearizable,
            deadline_at: Instant::now() + deadline(headers, limits.default, limits.max)?,
        })
    }
}

impl ReadTerms {
    /// What is left of the time the read may take.
    pub(super) fn left(&self) -> Duration {
        self.deadline_at.saturating_duration_since(Instant::now())
    }

    /// Waits for the revisions that the request asks for.
    pub(super) async fn arrive(&self, app: &App) -> Result<(), ApiError> {
        match self.min_revision {
            None => Ok(()),
            Some(wanted) => Box::pin(await_revision(app, wanted, self.left())).await,
        }
    }

    /// The state to answer a catalog read from.
    pub(super) async fn view(&self, app: &App) -> Result<View, ApiError> {
        self.arrive(app).await?;
        if self.linearizable { confirmed(app, self.left()).await } else { Ok(View::local(app)) }
    }
}

/// Waits until a revision is published here: 412 for another history, 503 when it does not come in time.
pub(super) async fn await_revision(
    app: &App,
    wanted: RevisionToken,
    within: Duration,
) -> Result<(), ApiError> {
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

/// An ignored bound would be a lie.
pub(super) fn refuse_max_age(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.contains_key(MAX_AGE) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "unsupported",
            "Flagraft-Max-Age-Ms is not supported by this version; leave it out and look at Flagraft-Age-Ms, or ask \
             for Flagraft-Consistency: linearizable",
        ));
    }
    Ok(())
}

/// The revision that a request asks for at least.
pub(super) fn min_revision(headers: &HeaderMap) -> Result<Option<RevisionToken>, ApiError> {
    text(headers, &MIN_REVISION)?
        .map(|text| {
            text.parse()
                .map_err(|invalid| ApiError::header("Flagraft-Min-Revision", format!("is wrong: {invalid}")))
        })
        .transpose()
}

/// The deadline that a request asks for, or the usual one.
pub(super) fn deadline(headers: &HeaderMap, usual: Duration, max: Duration) -> Result<Duration, ApiError> {
    let Some(text) = text(headers, &DEADLINE)? else { return Ok(usual) };
    let max_ms = max.as_millis();
    match text.parse::<u64>() {
        Ok(ms) if ms > 0 && u128::from(ms) <= max_ms => Ok(Duration::from_millis(ms)),
        _ => Err(ApiError::header(
            "Flagraft-Deadline-Ms",
            format!("is a number of milliseconds from 1 to {max_ms}"),
        )),
    }
}

/// A header's text. Two headers of one name, and bytes that are no text, are refused.
pub(super) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match value.to_str() {
            Ok(text) => Ok(Some(text.trim())),
            Err(_) => Err(ApiError::header(name, "holds bytes that are no printable ASCII")),
        },
        (Some(_), Some(_)) => Err(ApiError::header(name, "is given twice; give it once")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn deadlines_are_numbers_within_bounds() {
        let (usual, max) = (Duration::from_millis(500), Duration::from_secs(5));
        let of = |value| deadline(&headers(&[("flagraft-deadline-ms", value)]), usual, max);
        assert_eq!(deadline(&HeaderMap::new(), usual, max).expect("usual"), usual);
        assert_eq!(of("5000").expect("the most"), max);
        for wrong in ["0", "5001", "-1", "1.5", "soon", ""] {
            assert!(of(wrong).expect_err(wrong).message.contains("from 1 to 5000"));
        }
    }

    #[test]
    fn a_header_given_twice_is_refused() {
        let twice = headers(&[("flagraft-min-revision", "a"), ("flagraft-min-revision", "b")]);
        assert!(min_revision(&twice).expect_err("twice").message.contains("given twice"));
        assert!(min_revision(&headers(&[("flagraft-min-revision", "7")])).is_err());
        assert!(refuse_max_age(&headers(&[("flagraft-max-age-ms", "7")])).is_err());
    }

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
