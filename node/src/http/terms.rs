//! What a read asks for, from its headers: at least which revision, how fresh a state, within which time.

use std::time::{Duration, Instant};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, request::Parts},
};
use flagraft_core::identity::RevisionToken;

use super::{
    App,
    consistency::{CONSISTENCY, View, await_revision, confirmed, recent},
    error::ApiError,
};

/// `<history>.<revision>` that must be published before the answer is made.
pub(super) const MIN_REVISION: HeaderName = HeaderName::from_static("flagraft-min-revision");
/// How old the state may be that the answer is made from, in milliseconds.
pub(super) const MAX_AGE: HeaderName = HeaderName::from_static("flagraft-max-age-ms");
/// How long the request may wait, in milliseconds.
pub(super) const DEADLINE: HeaderName = HeaderName::from_static("flagraft-deadline-ms");

/// What a read asks for.
#[derive(Clone, Debug)]
pub(super) struct ReadTerms {
    pub(super) min_revision: Option<RevisionToken>,
    pub(super) freshness: Freshness,
    pub(super) deadline_at: Instant,
}

/// How fresh the state must be that a read is answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// What the node has, however old.
    Any,
    /// Known to have been current at most this long ago, in milliseconds.
    Within(u64),
    /// Confirmed after the request came in.
    Linearizable,
}

impl Freshness {
    /// Whether a state of this age is too old. One whose age is not known is too old for every bound.
    pub(super) fn is_missed_by(self, age_ms: Option<u64>) -> bool {
        match self {
            Self::Any => false,
            Self::Within(max_ms) => age_ms.is_none_or(|age_ms| age_ms > max_ms),
            Self::Linearizable => true,
        }
    }

    fn asked_for(headers: &HeaderMap) -> Result<Self, ApiError> {
        let is_linearizable = match text(headers, &CONSISTENCY)? {
            None | Some("local") => false,
            Some("linearizable") => true,
            Some(_) => return Err(ApiError::header("Flagraft-Consistency", "is `linearizable` or `local`")),
        };
        let within = text(headers, &MAX_AGE)?.map(|text| {
            text.parse().map_err(|_| ApiError::header("Flagraft-Max-Age-Ms", "is a number of milliseconds"))
        });
        Ok(match (is_linearizable, within.transpose()?) {
            (true, _) => Self::Linearizable,
            (false, Some(max_ms)) => Self::Within(max_ms),
            (false, None) => Self::Any,
        })
    }
}

impl FromRequestParts<App> for ReadTerms {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let headers = &parts.headers;
        let limits = &app.options.read_deadline;
        // Most requests have no word on it, and then four names need not be looked for.
        if !headers.keys().any(|name| name.as_str().starts_with("flagraft-")) {
            let deadline_at = Instant::now() + limits.default;
            return Ok(Self { min_revision: None, freshness: Freshness::Any, deadline_at });
        }
        Ok(Self {
            min_revision: min_revision(headers)?,
            freshness: Freshness::asked_for(headers)?,
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
        match self.freshness {
            Freshness::Any => Ok(View::local(app)),
            Freshness::Within(_) => recent(app, self.freshness, self.left()).await,
            Freshness::Linearizable => confirmed(app, self.left()).await,
        }
    }
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
    use axum::http::HeaderValue;

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
        let twice = headers(&[("flagraft-max-age-ms", "7"), ("flagraft-max-age-ms", "8")]);
        assert!(Freshness::asked_for(&twice).expect_err("twice").message.contains("given twice"));
    }

    #[test]
    fn freshness_is_asked_for_by_an_age_or_by_name_and_the_stricter_one_counts() {
        let of = |pairs: &[(&'static str, &'static str)]| Freshness::asked_for(&headers(pairs));
        for (pairs, expected) in [
            (vec![], Freshness::Any),
            (vec![("flagraft-consistency", "local")], Freshness::Any),
            (vec![("flagraft-max-age-ms", "250")], Freshness::Within(250)),
            (vec![("flagraft-consistency", "local"), ("flagraft-max-age-ms", "0")], Freshness::Within(0)),
            (
                vec![("flagraft-consistency", "linearizable"), ("flagraft-max-age-ms", "250")],
                Freshness::Linearizable,
            ),
        ] {
            assert_eq!(of(&pairs).expect("well-formed"), expected, "{pairs:?}");
        }
        for wrong in ["-1", "1.5", "soon", "", "18446744073709551616"] {
            assert!(of(&[("flagraft-max-age-ms", wrong)]).is_err(), "{wrong}");
        }
        assert!(of(&[("flagraft-consistency", "strong")]).is_err());
    }

    #[test]
    fn an_age_that_is_not_known_misses_every_bound() {
        assert!(!Freshness::Any.is_missed_by(None));
        assert!(Freshness::Within(u64::MAX).is_missed_by(None));
        assert!(!Freshness::Within(7).is_missed_by(Some(7)));
        assert!(Freshness::Within(7).is_missed_by(Some(8)));
        assert!(Freshness::Linearizable.is_missed_by(Some(0)));
    }
}
