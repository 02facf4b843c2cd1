//! Reports of programs that evaluate in their own process: what they counted, marked as their own word.

use std::time::Instant;

use axum::{Json as Answer, extract::State, http::StatusCode, response::IntoResponse};
use flagraft_core::{
    account::{Evaluations, Folded, OwnReport},
    invalid::Invalid,
    limits::REPORT_SPAN_MS_MAX,
    proposal::{Body, RequestId},
    reply::Outcome,
};
use serde::Serialize;

use super::{
    App,
    auth::Service,
    error::ApiError,
    extract::{Json, Path},
    shorthand::InProject,
    write::{WriteTerms, not_submitted},
};
use crate::{
    clock::wall_ms,
    node::{Credentials, Submission},
};

/// How far a reporter's clock may be ahead of this node's, in milliseconds.
const AHEAD_MS_MAX: i64 = 10 * 60 * 1_000;

/// What became of a report.
#[derive(Clone, Debug, Serialize)]
struct Taken {
    /// The sequence of its record; of one that was recorded before, that of the reporter's newest.
    sequence: u64,
    /// Whether the log had it already: nothing was counted again.
    repeated: bool,
    /// What found no room in the record singly.
    other: Folded,
}

/// Records a report.
pub(super) async fn post(
    Service(caller): Service,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(counted): Json<OwnReport>,
) -> Result<impl IntoResponse, ApiError> {
    let token = &caller.token.spec;
    let own =
        token.evaluates().filter(|own| (own.0.as_str(), own.1.as_str()) == (&*at.project, &*at.environment));
    let Some((project, environment)) = own else {
        return Err(ApiError::not_found("environment", &at.environment));
    };
    check_times(&counted, wall_ms()).map_err(ApiError::body)?;
    let request = RequestId { id: format!("report-{}-{}", counted.boot, counted.number), client_given: true };
    let evaluations = counted.of_token(&token.id, project, environment).map_err(ApiError::body)?;
    let other = evaluations.other;
    // By how much it makes the log grow, which keeps it: a token that got about must not fill the disks.
    app.report_rate.take_weighed(&token.id, kibibytes(&evaluations), Instant::now()).map_err(|wait| {
        app.node.metrics().rate_limited("reports");
        ApiError::too_many_requests("this token reports too much; report once a minute and instance", wait)
    })?;
    let credentials = Credentials::Token(caller.secret.clone());
    let submission = Submission::new(credentials, Body::Evaluations(evaluations), request);
    let request_id = submission.request.id.clone();
    let submitted = app.node.submit(submission, terms.left()).await;
    let reply = match submitted {
        Ok(submitted) => submitted.reply,
        Err(error) => return Err(not_submitted(&request_id, error)),
    };
    match reply.outcome {
        Outcome::Accepted { sequence, .. } | Outcome::Unchanged { sequence, .. } => {
            Ok((StatusCode::OK, Answer(Taken { sequence, repeated: reply.replayed, other })))
        }
        Outcome::Rejected { rejection, .. } | Outcome::Refused { rejection } => {
            Err(ApiError::rejected(&rejection))
        }
    }
}

/// What a report weighs, in KiB of the log: 1 for the record around it, and its own.
fn kibibytes(evaluations: &Evaluations) -> u32 {
    let bytes = serde_json::to_vec(evaluations).map_or(0, |bytes| bytes.len());
    u32::try_from(bytes / 1_024).unwrap_or(u32::MAX).saturating_add(1)
}

/// Checks what only a node can: it has a clock.
fn check_times(counted: &OwnReport, now_ms: i64) -> Result<(), Invalid> {
    let span_ms = counted.to_ms.saturating_sub(counted.from_ms);
    if !(0..=REPORT_SPAN_MS_MAX).contains(&span_ms) {
        return Err(Invalid::new("/to_ms", "a report counts the time from from_ms to to_ms, a day at most"));
    }
    if counted.number == 0 {
        return Err(Invalid::new("/number", "reports are numbered from 1"));
    }
    if counted.to_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
        return Err(Invalid::new("/to_ms", "this is in the future; set the clock of the program right"));
    }
    Ok(())
}
