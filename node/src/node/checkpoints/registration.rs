//! A node makes its key known: it adds it to the state, as the cluster's actor, where the state has none of it.

use std::{sync::Arc, time::Duration};

use flagraft_core::{
    audit_key::AuditPublicKey,
    operation::{AuditKeyAdd, Operation},
    proposal::{Body, Change},
    state::State,
};

use super::cosigner::Cosigner;
use crate::node::submit::{Credentials, Submission, Writes, mint_request_id};

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The key that is to be added, where the cluster takes one and has none of this node.
pub(super) fn missing_key(state: &State, node_id: u64, own: &[AuditPublicKey]) -> Option<AuditPublicKey> {
    let takes = state.history().is_some()
        && state.cluster_version() >= 2
        && state.seat(node_id).is_some_and(|seat| seat.occupant.is_some() && !seat.is_removed());
    if !takes {
        return None;
    }
    let listed = state.audit_keys_of(node_id);
    let known = |key: &AuditPublicKey| listed.and_then(|keys| keys.get(key));
    if own.iter().any(|key| known(key).is_some_and(|key| key.is_active())) {
        return None;
    }
    own.iter().rfind(|key| known(key).is_none()).copied()
}

/// Adds this node's key, if it is missing. `false`: it was tried in vain.
pub(super) async fn register(node_id: u64, state: &State, cosigner: &Arc<Cosigner>, writes: &Writes) -> bool {
    let Some(public_key) = missing_key(state, node_id, &cosigner.public_keys()) else { return true };
    let add = AuditKeyAdd { node: node_id, public_key, if_revision: None };
    let change = Change {
        project: None,
        operations: vec![Operation::AuditKeyAdd(add)],
        reason: format!("node {node_id} signs checkpoints of the audit log with this key"),
        ticket: None,
        expect_revision: None,
    };
    let credentials = Credentials::Member(node_id);
    let submission = Submission::new(credentials, Body::Change(change), mint_request_id());
    match writes.submit(&submission, TIMEOUT).await {
        Ok(submitted) => match submitted.reply.outcome.rejection() {
            None => true,
            Some(rejection) => {
                tracing::warn!(%rejection, "this node's audit key is not taken");
                false
            }
        },
        Err(error) => {
            tracing::debug!(%error, "this node's audit key is not listed yet");
            false
        }
    }
}
