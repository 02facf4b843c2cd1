//! Writes: every route that changes something builds a [`Draft`] and hands it to [`submit`]. There is no other way.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::FromRequestParts,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{IF_MATCH, IF_NONE_MATCH},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use flagraft_core::{
    identity::RevisionToken,
    key::ProjectKey,
    operation::Operation,
    proposal::{Cause, Change, RequestId},
    rejection::Rejection,
    reply::{Outcome, Reply},
    signing::ChangeSignature,
};
use serde::{Deserialize, Serialize};

use super::{
    App,
    auth::{Caller, cause_of, denied},
    consistency::{Consistency, Stamp, View},
    error::{ApiError, REQUEST_ID},
    terms::{MAX_AGE, deadline, min_revision, text},
};
use crate::{
    clock::ceil_ms,
    node::{NotEntered, Submission, SubmitError, Submitted, mint_request_id},
};

/// Makes a repeated request the same request.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest `Idempotency-Key`, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// What a write says in its headers.
#[derive(Clone, Debug)]
pub(super) struct WriteTerms {
    pub(super) request: RequestId,
    condition: Option<Condition>,
    deadline_at: Instant,
}

/// What the written object has to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// `If-None-Match: *`: it does not exist.
    Absent,
    /// `If-Match`: it is at this revision.
    At(RevisionToken),
}

impl FromRequestParts<App> for WriteTerms {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let headers = &parts.headers;
        if headers.contains_key(MAX_AGE) {
            return Err(ApiError::header("Flagraft-Max-Age-Ms", "is for reads; leave it out of a write"));
        }
        // A write is judged by the newest state there is, so only another history can be too little.
        if let Some(minimum) = min_revision(headers)?
            && app.node.published().state.history().is_some_and(|history| history != minimum.history)
        {
            return Err(ApiError::revision_mismatch(
                "Flagraft-Min-Revision names another history than this catalog; read again and decide anew",
            ));
        }
        let limits = &app.options.write_deadline;
        Ok(Self {
            request: request_id(headers)?,
            condition: condition(headers)?,
            deadline_at: Instant::now() + deadline(headers, limits.default, limits.max)?,
        })
    }
}

impl WriteTerms {
    /// What is left of the time the write may take.
    pub(super) fn left(&self) -> Duration {
        self.deadline_at.saturating_duration_since(Instant::now())
    }

    /// The revision that the written object must have, from `If-Match` (its ETag) or `If-None-Match: *` (0).
    pub(super) fn if_revision(&self, view: &View) -> Result<Option<u64>, ApiError> {
        match self.condition {
            None => Ok(None),
            Some(Condition::Absent) => Ok(Some(0)),
            Some(Condition::At(token)) if Some(token.history) == view.stamp.history => {
                Ok(Some(token.revision))
            }
            Some(Condition::At(_)) => Err(ApiError::revision_mismatch(
                "If-Match names a revision of another history than this catalog; read the object again",
            )
            .request_id(&self.request.id)
            .stamped(&view.stamp)),
        }
    }

    /// Refuses a condition on a request that could not honour it.
    pub(super) fn unconditional(&self) -> Result<(), ApiError> {
        match self.condition {
            None => Ok(()),
            Some(_) => Err(ApiError::invalid(
                "If-Match and If-None-Match are honoured by PUT, PATCH and DELETE; here use `if_revision` of an \
                 operation, or `expect_revision`",
            )),
        }
    }
}

/// Why a change is made: part of every write's body.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    pub(super) reason: String,
    #[serde(default)]
    pub(super) ticket: Option<String>,
}

/// A change to be submitted.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) project: Option<ProjectKey>,
    pub(super) operations: Vec<Operation>,
    /// [`Submission::asks_sha256`].
    pub(super) asks_sha256: Option<[u8; 32]>,
    pub(super) signature: Option<ChangeSignature>,
    pub(super) why: Why,
    pub(super) expect_revision: Option<u64>,
    pub(super) caused_by: Option<Cause>,
    pub(super) dry_run: bool,
}

impl Draft {
    /// One operation on a project.
    pub(super) fn one(project: ProjectKey, operation: Operation, why: Why) -> Self {
        Self { project: Some(project), ..Self::global(operation, why) }
    }

    /// One operation on what belongs to no project.
    pub(super) fn global(operation: Operation, why: Why) -> Self {
        Self { operations: vec![operation], ..Self::nothing(why) }
    }

    /// No operation yet, on what belongs to no project.
    pub(super) fn nothing(why: Why) -> Self {
        Self {
            project: None,
            operations: Vec::new(),
            asks_sha256: None,
            signature: None,
            why,
            expect_revision: None,
            caused_by: None,
            dry_run: false,
        }
    }
}

/// The answer to an accepted write.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Written {
    /// The catalog's revision after the change.
    pub(super) revision: u64,
    /// The sequence of its audit record.
    pub(super) sequence: u64,
    /// The request's id.
    pub(super) request_id: String,
    /// `accepted`, or `unchanged` when everything was so already.
    pub(super) outcome: &'static str,
    /// Whether an earlier request with this id did it.
    pub(super) replayed: bool,
    /// Whether nothing was done but to say what would happen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) dry_run: bool,
    /// After a flag became critical: members that may not know it yet, and so may answer it unconfirmed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) not_yet_on: Vec<u64>,
    #[serde(skip)]
    stamp: Option<Stamp>,
}

impl Written {
    /// Answers with `status` and the body that `body` makes of this.
    pub(super) fn answer(
        self,
        status: StatusCode,
        body: impl FnOnce(&Self) -> serde_json::Value,
    ) -> Response {
        let mut response = (status, Json(body(&self))).into_response();
        self.decorate(response.headers_mut());
        response
    }

    fn decorate(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            headers.insert(REQUEST_ID, id);
        }
        if let Some(stamp) = &self.stamp {
            stamp.write(headers);
        }
    }
}

impl IntoResponse for Written {
    fn into_response(self) -> Response {
        let mut response = Json(&self).into_response();
        self.decorate(response.headers_mut());
        response
    }
}

/// Submits a change as the caller: **the** write.
pub(super) async fn submit(
    app: &App,
    caller: &Caller,
    terms: &WriteTerms,
    draft: Draft,
) -> Result<Written, ApiError> {
    let begun = Instant::now();
    let dry_run = draft.dry_run;
    let change = Change {
        project: draft.project,
        operations: draft.operations,
        reason: draft.why.reason,
        ticket: draft.why.ticket,
        expect_revision: draft.expect_revision,
    };
    let identified = |error: ApiError| error.request_id(&terms.request.id);
    // What is wrong in itself is refused here already, where the fault can be pointed at: a change that is nested too
    // deep could not even be forwarded.
    let checked = change.validate().and_then(|()| change.validate_operations());
    checked.map_err(|invalid| identified(ApiError::body(invalid)))?;
    if draft.signature.is_some() && !terms.request.client_given {
        let error = ApiError::header(
            "Idempotency-Key",
            "is needed for a signed change: it is the request id that the signature covers",
        );
        return Err(identified(error));
    }
    let submission = Submission {
        asks_sha256: draft.asks_sha256,
        signature: draft.signature,
        caused_by: draft.caused_by,
        dry_run,
        ..Submission::change(caller.secret.clone(), change, terms.request.clone())
    };
    let submitted = app.node.submit(submission, terms.left()).await;
    answered(app, terms, begun, dry_run, submitted)
}

/// Answers a request that was decided before, by what it came to then.
pub(super) async fn again(app: &App, terms: &WriteTerms, first: Reply) -> Result<Written, ApiError> {
    let begun = Instant::now();
    let submitted = app.node.repeat(first, terms.left()).await;
    answered(app, terms, begun, false, Ok(submitted))
}

fn answered(
    app: &App,
    terms: &WriteTerms,
    begun: Instant,
    dry_run: bool,
    submitted: Result<Submitted, SubmitError>,
) -> Result<Written, ApiError> {
    if let Err(SubmitError::Unauthenticated(fault)) = &submitted {
        // This node had taken the token for good. The log knows nothing of it: what it refuses has a record.
        denied(app, *fault);
    }
    let (outcome, answer) = match submitted {
        Ok(Submitted { reply, not_yet_on, .. }) => match reply.outcome {
            Outcome::Accepted { revision, sequence } => {
                ("accepted", Ok((revision, sequence, "accepted", reply.replayed, not_yet_on)))
            }
            Outcome::Unchanged { revision, sequence } => {
                ("unchanged", Ok((revision, sequence, "unchanged", reply.replayed, not_yet_on)))
            }
            Outcome::Rejected { rejection, .. } => {
                if let Rejection::Unauthenticated { fault } = rejection {
                    app.node.metrics().denied(cause_of(fault));
                }
                ("rejected", Err(ApiError::rejected(&rejection)))
            }
            Outcome::Refused { rejection } => ("refused", Err(ApiError::rejected(&rejection))),
        },
        Err(error) => {
            let outcome = outcome_of(&error);
            (outcome, Err(not_submitted(&terms.request.id, error)))
        }
    };
    app.node.metrics().write_finished(outcome, begun.elapsed());
    let now = View::local(app).stamp;
    let (revision, sequence, outcome, replayed, not_yet_on) = answer.map_err(|error: ApiError| {
        match error.status {
            StatusCode::FORBIDDEN => app.node.metrics().denied("forbidden"),
            StatusCode::TOO_MANY_REQUESTS => app.node.metrics().rate_limited(if outcome == "limited" {
                "rejections"
            } else {
                "idempotency_keys"
            }),
            _ => {}
        }
        error.request_id(&terms.request.id).stamped(&now)
    })?;
    let stamp = if dry_run || replayed {
        // A dry run did nothing, so there is no state with its revision; what an earlier request did may be long ago,
        // and the state that this answer is about is the one that is published here.
        now
    } else {
        // The quorum that accepted the change was asked after the request began.
        let age_ms = Some(ceil_ms(begun.elapsed()));
        Stamp { revision, age_ms, consistency: Consistency::Linearizable, ..now }
    };
    let request_id = terms.request.id.clone();
    Ok(Written { revision, sequence, request_id, outcome, replayed, dry_run, not_yet_on, stamp: Some(stamp) })
}

/// The word for a write that has no answer of the log, in the metrics.
fn outcome_of(error: &SubmitError) -> &'static str {
    match error {
        SubmitError::Unauthenticated(_) => "unauthenticated",
        SubmitError::Invalid(_) | SubmitError::TooLarge(_) => "invalid",
        SubmitError::TooManyRejections => "limited",
        SubmitError::NotEntered { .. } => "not_entered",
        SubmitError::OutcomeUnknown => "unknown",
    }
}

/// What a write says that has no answer of the log.
pub(super) fn not_submitted(request_id: &str, error: SubmitError) -> ApiError {
    let message = error.to_string();
    match error {
        SubmitError::Unauthenticated(fault) => ApiError::token(fault),
        SubmitError::Invalid(invalid) => ApiError::body(invalid),
        SubmitError::TooLarge(invalid) => {
            let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "change_too_large", invalid.message);
            error.at(invalid.path)
        }
        SubmitError::TooManyRejections => ApiError::too_many_requests(message, Duration::from_secs(1)),
        SubmitError::NotEntered { why, retry_after } => {
            let what = match why {
                NotEntered::NoLeader | NotEntered::NoQuorum => {
                    "send it again in a moment, or to another node"
                }
                NotEntered::Overloaded => "send it again, more slowly",
                NotEntered::Stopping => "send it to another node",
                NotEntered::NoRoom { .. } => "make room there, or a larger disk, and send it again",
                NotEntered::ClockSkew => "set the clocks of the nodes right, or send it to the leader itself",
                NotEntered::NotUnderstood => {
                    "send it to the leader itself, and bring all nodes to one version"
                }
            };
            let message = format!("{message}; {what}");
            let error = match why {
                NotEntered::NoRoom { node } => ApiError::disk_full(message).detail("node", node),
                _ => ApiError::unavailable(message),
            };
            error.retry_after(retry_after)
        }
        SubmitError::OutcomeUnknown => ApiError::outcome_unknown(request_id),
    }
}

fn request_id(headers: &HeaderMap) -> Result<RequestId, ApiError> {
    let Some(key) = text(headers, &IDEMPOTENCY_KEY)? else { return Ok(mint_request_id()) };
    let printable = key.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX || !printable {
        return Err(ApiError::header(
            "Idempotency-Key",
            format!("has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} printable ASCII characters; a UUID is a good one"),
        ));
    }
    Ok(RequestId { id: key.to_owned(), client_given: true })
}

fn condition(headers: &HeaderMap) -> Result<Option<Condition>, ApiError> {
    match (text(headers, &IF_MATCH)?, text(headers, &IF_NONE_MATCH)?) {
        (None, None) => Ok(None),
        (None, Some("*")) => Ok(Some(Condition::Absent)),
        (None, Some(_)) => {
            Err(ApiError::header("If-None-Match", "can only be * here: write it if it does not exist"))
        }
        (Some(etag), None) => {
            let wrong =
                || ApiError::header("If-Match", "is the ETag of one read, as in \"<history>.<revision>\"");
            let token: RevisionToken = etag.trim_matches('"').parse().map_err(|_| wrong())?;
            // No object has revision 0, which elsewhere means that there is none.
            NonZeroU64::new(token.revision).ok_or_else(wrong)?;
            Ok(Some(Condition::At(token)))
        }
        (Some(_), Some(_)) => Err(ApiError::invalid("give If-Match or If-None-Match, not both")),
    }
}

#[cfg(test)]
mod tests {
    use flagraft_core::identity::History;

    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).expect("a header"));
        headers
    }

    #[test]
    fn idempotency_keys() {
        let minted = request_id(&HeaderMap::new()).expect("minted");
        assert!(!minted.client_given && minted.id.starts_with("req_"));
        let given = request_id(&with(IDEMPOTENCY_KEY, "order 66")).expect("given");
        assert_eq!(given, RequestId { id: "order 66".into(), client_given: true });
        for wrong in ["", &"k".repeat(129), "a\tb"] {
            assert_eq!(request_id(&with(IDEMPOTENCY_KEY, wrong)).expect_err(wrong).status.as_u16(), 400);
        }
    }

    #[test]
    fn conditions() {
        let token = RevisionToken { history: History(0xab), revision: 7 };
        for etag in ["\"00000000000000ab.7\"", "00000000000000ab.7"] {
            assert_eq!(condition(&with(IF_MATCH, etag)).expect(etag), Some(Condition::At(token)));
        }
        assert_eq!(condition(&with(IF_NONE_MATCH, "*")).expect("absent"), Some(Condition::Absent));
        for wrong in ["*", "7", "W/\"00000000000000ab.7\"", "00000000000000ab.0"] {
            assert_eq!(condition(&with(IF_MATCH, wrong)).expect_err(wrong).status.as_u16(), 400);
        }
        assert!(condition(&with(IF_NONE_MATCH, "\"00000000000000ab.7\"")).is_err());
    }
}
