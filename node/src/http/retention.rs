//! What the audit log keeps: for how long records of each kind, and what is under a legal hold.

use axum::{extract::State, response::Response};
use flagraft_core::{
    key::HoldId,
    operation::{AuditHoldDelete, AuditHoldPut, AuditRetentionPut, Operation},
    record::RecordKind,
    retention::{Edge, Hold, HoldSpec, KeepDays},
};
use serde_json::{Map, Value, json};

use super::{
    App,
    auth::Admin,
    consistency::View,
    error::ApiError,
    extract::{Json, Path, Query},
    proofs::require_everything,
    shorthand::{bodies, named, submit_one, with_etag},
    terms::ReadTerms,
    time::{parse_rfc3339, rfc3339},
    write::{Draft, Why, WriteTerms},
};

bodies! {
    /// For how long records are kept, and why.
    PutAuditRetention { keep_days: KeepDays }
    /// What is held, and why: the reason is the hold's own too. The stretch is given by sequences or by times.
    PutAuditHold {
        #[serde(default)]
        from: Option<u64>,
        #[serde(default)]
        to: Option<u64>,
        #[serde(default)]
        since: Option<String>,
        #[serde(default)]
        until: Option<String>
    }
}

pub(super) async fn get(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    view.answer(|state| {
        caller.still_good(state)?;
        require_everything(&app, &caller)?;
        let rule = state.retention();
        let keep_days: Map<String, Value> = RecordKind::ALL
            .into_iter()
            .map(|kind| (kind.name().to_owned(), json!(rule.keep_days.of(kind))))
            .collect();
        let holds: Vec<Value> = state.holds().map(|hold| show(hold)).collect();
        let retention = json!({
            "keep_days": keep_days, "revision": rule.revision, "holds": holds, "edge": state.edge().map(show_edge),
        });
        Ok(with_etag(&view, rule.revision, retention))
    })
}

fn show_edge(edge: &Edge) -> Value {
    let Edge { catalog, records } = edge;
    json!({
        "revision": catalog.revision, "history": catalog.history, "time": rfc3339(catalog.time_ms),
        "sequence": catalog.sequence, "sha256": hex::encode(catalog.sha256), "records": records,
    })
}

fn show(hold: &Hold) -> Value {
    let HoldSpec { id, reason, from, to } = &hold.spec;
    json!({
        "id": id, "reason": reason, "from": from, "to": to, "created_at": rfc3339(hold.created_at_ms),
        "revision": hold.revision,
    })
}

/// Replaces the rule: kinds that it does not name are kept for ever.
pub(super) async fn put(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Json(body): Json<PutAuditRetention>,
) -> Result<Response, ApiError> {
    let why = body.why();
    let if_revision = terms.if_revision(&View::local(&app))?;
    let operation =
        Operation::AuditRetentionPut(AuditRetentionPut { keep_days: body.keep_days, if_revision });
    let draft = Draft::global(operation, why);
    submit_one(&app, &caller, &terms, draft, &[("keep_days", "keep_days")], false).await
}

/// Puts a hold on a stretch of the log, or on another one. A hold is put whatever else is under way: it counts from its
/// entry in the log on.
pub(super) async fn put_hold(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(id): Path<String>,
    Json(body): Json<PutAuditHold>,
) -> Result<Response, ApiError> {
    let id: HoldId = named("hold", &id)?;
    let why = body.why();
    let if_revision = terms.if_revision(&View::local(&app))?;
    let (from, to) = stretch(&app, &body).await?;
    let hold = HoldSpec { id, reason: why.reason.clone(), from, to };
    let draft = Draft::global(Operation::AuditHoldPut(AuditHoldPut { hold, if_revision }), why);
    let fields = [("hold/reason", "reason"), ("hold/from", "from"), ("hold/to", "to")];
    submit_one(&app, &caller, &terms, draft, &fields, true).await
}

/// The sequences that a hold is of. Times are turned into them here and now, for what is held must be told without reading
/// the records: which one is the first that is not older than a time never changes once there is one.
async fn stretch(app: &App, body: &PutAuditHold) -> Result<(u64, Option<u64>), ApiError> {
    let size = app.node.published().state.sequence();
    let at = async |name: &str, text: &str| {
        let time_ms = parse_rfc3339(text)
            .map_err(|invalid| ApiError::invalid(format!("{name}: {}", invalid.message)))?;
        app.node
            .first_audit_record_since(0..size, time_ms)
            .await
            .map_err(|error| ApiError::internal("looking for a time in the audit log", error))
    };
    let from = match (body.from, &body.since) {
        (Some(from), None) => from,
        (None, Some(since)) => at("since", since).await?,
        (None, None) => {
            return Err(ApiError::invalid("say where the hold begins, with `from` or with `since`"));
        }
        (Some(_), Some(_)) => return Err(ApiError::invalid("give one of `from` and `since`")),
    };
    let to = match (body.to, &body.until) {
        (to, None) => to,
        (None, Some(until)) => match at("until", until).await? {
            // Nobody knows yet which records will be from before that time.
            end if end >= size => {
                return Err(ApiError::invalid(
                    "no record is that young yet; leave `until` out to hold all that comes, and put the hold again when \
                     that time is past",
                ));
            }
            end => Some(end),
        },
        (Some(_), Some(_)) => return Err(ApiError::invalid("give one of `to` and `until`")),
    };
    Ok((from, to))
}

pub(super) async fn delete_hold(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(id): Path<String>,
    Query(why): Query<Why>,
) -> Result<Response, ApiError> {
    let hold: HoldId = named("hold", &id)?;
    let if_revision = terms.if_revision(&View::local(&app))?;
    let operation = Operation::AuditHoldDelete(AuditHoldDelete { hold, if_revision });
    submit_one(&app, &caller, &terms, Draft::global(operation, why), &[], false).await
}
