//! The keys that nodes sign checkpoints of the audit log with.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use flagraft_core::{
    audit_key::{AuditKey, AuditPublicKey},
    identity::ClusterId,
    operation::{AuditKeyAdd, AuditKeyRetire, Operation},
    token::Role,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    App,
    auth::Admin,
    error::ApiError,
    extract::Json,
    proofs::require_everything,
    shorthand::{bodies, without_operation},
    terms::ReadTerms,
    write::{Draft, WriteTerms, submit},
};

bodies! {
    /// Why a node takes a new key.
    RotateAuditKey {}
    /// A key and why it is retired.
    RetireAuditKey {
        node: u64,
        public_key: AuditPublicKey
    }
}

pub(super) async fn list(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    view.answer(|state| {
        caller.still_good(state)?;
        require_everything(&app, &caller)?;
        let Some(cluster) = state.cluster_id() else {
            return Err(ApiError::unavailable("this node belongs to no cluster yet; ask again once it does"));
        };
        let items = state.audit_keys().flat_map(|(node, keys)| keys.keys.iter().map(move |key| (node, key)));
        let items: Vec<Value> = items.map(|(node, key)| show(cluster, node, key)).collect();
        Ok(axum::Json(json!({"items": items})).into_response())
    })
}

/// A key, with the text by which a reader of checkpoints trusts it.
fn show(cluster: ClusterId, node: u64, key: &AuditKey) -> Value {
    json!({
        "node": node,
        "public_key": key.public_key,
        "vkey": vkey(cluster, node, &key.public_key),
        "added": key.added,
        "retired": key.retired,
    })
}

/// A key's text for readers of checkpoints.
fn vkey(cluster: ClusterId, node: u64, key: &AuditPublicKey) -> Option<String> {
    key.verifier(cluster, node).map(|key| key.to_string())
}

/// The node that is asked makes one more key and signs with all that it has, until the old ones are retired.
pub(super) async fn rotate(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Json(body): Json<RotateAuditKey>,
) -> Result<Response, ApiError> {
    terms.unconditional()?;
    // Said before a file is written; `apply` says the same.
    if !caller.token.spec.allows_everywhere(Role::Owner) {
        app.node.metrics().denied("forbidden");
        return Err(ApiError::forbidden("this needs a token with the role owner on every project"));
    }
    let node = app.node.id();
    let public_key =
        app.node.make_audit_key().await.map_err(|error| ApiError::internal("making a key", error))?;
    let add = Operation::AuditKeyAdd(AuditKeyAdd { node, public_key, if_revision: None });
    // The key is minted here, so it is not what makes two requests the same.
    let asks = json!({"rotate_audit_key": node, "reason": body.reason, "ticket": body.ticket});
    let asks_sha256 = Some(Sha256::digest(asks.to_string()).into());
    let draft = Draft { operations: vec![add], asks_sha256, ..Draft::nothing(body.why()) };
    let written = submit(&app, &caller, &terms, draft).await.map_err(without_operation)?;
    // Of an earlier request the key is in the list, and the one of this request is not used.
    let public_key = (!written.replayed).then_some(public_key);
    let cluster = app.node.published().state.cluster_id();
    Ok(written.answer(StatusCode::CREATED, |written| {
        let mut answer = json!(written);
        answer["node"] = node.into();
        answer["public_key"] = json!(public_key);
        answer["vkey"] = json!(cluster.zip(public_key).and_then(|(cluster, key)| vkey(cluster, node, &key)));
        answer
    }))
}

pub(super) async fn retire(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Json(body): Json<RetireAuditKey>,
) -> Result<Response, ApiError> {
    terms.unconditional()?;
    let RetireAuditKey { node, public_key, .. } = body;
    let retire = Operation::AuditKeyRetire(AuditKeyRetire { node, public_key, if_revision: None });
    let draft = Draft { operations: vec![retire], ..Draft::nothing(body.why()) };
    let written = submit(&app, &caller, &terms, draft).await.map_err(without_operation)?;
    Ok(written.answer(StatusCode::OK, |written| json!(written)))
}
