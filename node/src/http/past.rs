//! Reads of what was: which revision or time is asked for, who may ask, and how the answer says when that was.
//!
//! What was is in the audit log and comes from there; so whoever asks needs what reading the log of the project needs,
//! the role reader on the project as a whole. A project that was deleted, and another one made under its key, are one
//! project to the log.

use std::sync::Arc;

use axum::{
    http::{HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use flagraft_core::{identity::RevisionToken, invalid::Invalid, project::Project};
use serde::{Deserialize, Serialize};

use super::{
    App,
    audit::recorded_project,
    auth::Caller,
    consistency::{Consistency, Stamp, View},
    error::ApiError,
    time::{parse_rfc3339, rfc3339},
};
use crate::{
    clock::wall_ms,
    travel::{TravelError, Travelled, When},
};

/// When the revision was made that an answer about the past is from.
const TIME: HeaderName = HeaderName::from_static("flagraft-time");

/// `?at_revision=` or `?at=`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Past {
    /// A revision, or `<history>.<revision>`.
    pub(super) at_revision: Option<String>,
    /// An RFC 3339 time.
    pub(super) at: Option<String>,
}

/// A page of a list, now or then.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PastPage {
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
    pub(super) at_revision: Option<String>,
    pub(super) at: Option<String>,
}

impl Past {
    /// Which catalog is asked for; `None`: the present one.
    pub(super) fn when(&self) -> Result<Option<When>, ApiError> {
        match (&self.at_revision, &self.at) {
            (Some(_), Some(_)) => {
                Err(ApiError::invalid("at_revision and at are two ways to say when; give one of them"))
            }
            (Some(text), None) => revision(text).map(Some),
            (None, Some(text)) => {
                let at_ms =
                    parse_rfc3339(text).map_err(|invalid| ApiError::invalid(format!("at: {invalid}")))?;
                Ok(Some(When::Time(at_ms)))
            }
            (None, None) => Ok(None),
        }
    }
}

fn revision(text: &str) -> Result<When, ApiError> {
    if let Ok(number) = text.parse() {
        return Ok(When::Revision(number));
    }
    let token: Result<RevisionToken, Invalid> = text.parse();
    token.map(When::Token).map_err(|_| {
        ApiError::invalid(format!("at_revision is a revision or <history>.<revision>, not {text:?}"))
    })
}

/// When something was.
#[derive(Clone, Debug, Serialize)]
pub(super) struct At {
    history: String,
    revision: u64,
    time: String,
}

/// A project as it was.
pub(super) struct Then {
    travelled: Arc<Travelled>,
    project: String,
    stamp: Stamp,
}

impl Then {
    /// Looks at a project as it was, for who may. `view` says what is known now.
    pub(super) async fn of(
        app: &App,
        caller: &Caller,
        view: &View,
        project: &str,
        when: When,
    ) -> Result<Self, ApiError> {
        let stamped = |error: ApiError| error.stamped(&view.stamp);
        caller.still_good(view.state()).map_err(stamped)?;
        let project = recorded_project(caller, project).map_err(stamped)?.to_string();
        if let When::Time(time_ms) = when
            && time_ms > wall_ms().max(view.state().last_at_ms())
        {
            let message = format!("{} has still to come; give a time that has passed", rfc3339(time_ms));
            return Err(stamped(ApiError::invalid(message)));
        }
        let travelled = app.node.traveller().travel(view.state().clone(), when).await;
        let travelled = travelled.map_err(|error| stamped(refusal(error)))?;
        let moment = travelled.moment();
        let stamp = Stamp {
            revision: moment.revision,
            history: Some(moment.history),
            age_ms: None,
            consistency: Consistency::Local,
            node: app.node.id(),
        };
        Ok(Self { travelled, project, stamp })
    }

    pub(super) fn revision(&self) -> u64 {
        self.travelled.moment().revision
    }

    pub(super) fn travelled(&self) -> &Travelled {
        &self.travelled
    }

    pub(super) fn at(&self) -> At {
        let moment = self.travelled.moment();
        At { history: moment.history.to_string(), revision: moment.revision, time: rfc3339(moment.time_ms) }
    }

    /// What is said of an object that was not there then.
    pub(super) fn missing(&self, mut error: ApiError) -> ApiError {
        let At { revision, time, .. } = self.at();
        error.message = format!("{}; this was asked of revision {revision}, of {time}", error.message);
        error
    }

    /// Answers from the project as it was, whether well or not.
    pub(super) fn answer<T: IntoResponse>(
        &self,
        answer: impl FnOnce(&Project) -> Result<T, ApiError>,
    ) -> Result<Response, ApiError> {
        let project = self.travelled.project(&self.project);
        let project = project.ok_or_else(|| self.missing(ApiError::not_found("project", &self.project)));
        let answered = project.and_then(answer).map_err(|error| error.stamped(&self.stamp))?;
        let mut response = self.stamp.answer(answered);
        let time = HeaderValue::from_str(&self.at().time);
        response.headers_mut().extend(time.map(|time| (TIME, time)));
        Ok(response)
    }
}

/// What an answer is when there is no catalog of then.
pub(super) fn refusal(error: TravelError) -> ApiError {
    match error {
        TravelError::Ahead { newest, .. } => ApiError::invalid(format!(
            "{error}; if it was made a moment ago, ask for Flagraft-Consistency: linearizable"
        ))
        .detail("newest_revision", newest),
        TravelError::OtherHistory { .. } => ApiError::revision_mismatch(format!(
            "{error}; it was lost when the cluster was restored or recovered, or is of another cluster"
        )),
        TravelError::Gone { oldest } => ApiError::gone(format!(
            "{error}; from there on, the oldest revision that can be told is {oldest}"
        ))
        .detail("oldest_revision", oldest),
        TravelError::Busy => ApiError::unavailable(format!("{error}; ask again, or another node")),
        TravelError::TooSlow(_) => {
            ApiError::unavailable(format!("{error}; ask again: it goes on from where it came to"))
        }
        TravelError::Log(error) => ApiError::internal("looking into the past", error),
    }
}

#[cfg(test)]
mod tests {
    use flagraft_core::identity::History;

    use super::*;

    #[test]
    fn when_is_a_revision_or_a_time() {
        let when = |at_revision: Option<&str>, at: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Past { at_revision: owned(at_revision), at: owned(at) }.when()
        };
        assert_eq!(when(None, None).expect("the present"), None);
        assert_eq!(when(Some("7"), None).expect("a revision"), Some(When::Revision(7)));
        let token = RevisionToken { history: History(0xab), revision: 7 };
        assert_eq!(when(Some("00000000000000ab.7"), None).expect("a token"), Some(When::Token(token)));
        assert_eq!(when(None, Some("1970-01-01T00:00:01Z")).expect("a time"), Some(When::Time(1_000)));
        for (at_revision, at) in [
            (Some("7"), Some("1970-01-01T00:00:01Z")),
            (Some("-1"), None),
            (Some("7.7"), None),
            (Some(""), None),
            (None, Some("yesterday")),
        ] {
            assert_eq!(when(at_revision, at).expect_err("refused").status.as_u16(), 400);
        }
    }
}
