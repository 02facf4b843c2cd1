//! A node makes its key known: it adds it to the state, as the cluster's actor, where the state has none of it.

use std::{sync::Arc, time::Duration};

use flagraft_core::{
    audit_key::AuditPublicKey,
    identity::ClusterId,
    operation::{AuditKeyAdd, Operation},
    proposal::{Body, Change},
    rejection::Rejection,
    reply::Outcome,
    state::State,
};
use tokio::time::Instant;

use super::cosigner::Cosigner;
use crate::node::submit::{Credentials, Submission, Writes, mint_request_id};

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The pause after an attempt that left nothing in the log.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause after the first rejection. Each is a record of the log, so the pause doubles with each more.
const REJECTED_PAUSE: Duration = Duration::from_secs(60);
/// It doubles up to this.
const REJECTED_PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Adds this node's key where it is missing.
pub(super) struct Registration {
    node_id: u64,
    cosigner: Arc<Cosigner>,
    writes: Arc<Writes>,
    held: Option<Held>,
}

/// The last attempt, which came to nothing.
struct Held {
    asked: Asked,
    /// When the same may be asked again.
    until: Instant,
    /// How often the same was rejected.
    rejections: u32,
}

/// What was asked for, and what an owner can change so that the answer may be another one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Asked {
    public_key: AuditPublicKey,
    cluster: Option<ClusterId>,
    /// The revision of what the state has of the node's keys.
    keys: Option<u64>,
}

/// What became of an attempt.
enum Attempt {
    Added,
    /// It is in the log that it was not.
    Rejected(Rejection),
    /// It is not in the log.
    InVain,
}

impl Registration {
    pub(super) fn new(node_id: u64, cosigner: Arc<Cosigner>, writes: Arc<Writes>) -> Self {
        Self { node_id, cosigner, writes, held: None }
    }

    /// Adds this node's key, if it is missing and it is time to try.
    pub(super) async fn look(&mut self, state: &State, now: Instant) {
        let node_id = self.node_id;
        let Some(public_key) = missing_key(state, node_id, &self.cosigner.public_keys()) else {
            self.held = None;
            return;
        };
        let keys = state.audit_keys_of(node_id).map(|keys| keys.revision);
        let asked = Asked { public_key, cluster: state.cluster_id(), keys };
        let before = self.held.as_ref().filter(|held| held.asked == asked);
        if before.is_some_and(|held| now < held.until) {
            return;
        }
        let rejections = before.map_or(0, |held| held.rejections);
        self.held = match self.add(public_key).await {
            Attempt::Added => None,
            Attempt::InVain => Some(Held { asked, until: now + PAUSE, rejections }),
            Attempt::Rejected(rejection) => {
                if rejections == 0 {
                    tracing::warn!(
                        "this node's audit key is not taken, so it signs no checkpoint of the audit log: {rejection}. It is \
                         tried again when the keys of node {node_id} change, and else ever more rarely"
                    );
                }
                let rejections = rejections.saturating_add(1);
                Some(Held { asked, until: now + pause_after(rejections), rejections })
            }
        };
    }

    async fn add(&self, public_key: AuditPublicKey) -> Attempt {
        let node = self.node_id;
        let add = AuditKeyAdd { node, public_key, if_revision: None };
        let change = Change {
            project: None,
            operations: vec![Operation::AuditKeyAdd(add)],
            reason: format!("node {node} signs checkpoints of the audit log with this key"),
            ticket: None,
            expect_revision: None,
        };
        let submission = Submission::new(Credentials::Member(node), Body::Change(change), mint_request_id());
        match self.writes.submit(&submission, TIMEOUT).await.map(|submitted| submitted.reply.outcome) {
            Ok(Outcome::Accepted { .. } | Outcome::Unchanged { .. }) => Attempt::Added,
            Ok(Outcome::Rejected { rejection, .. }) => Attempt::Rejected(rejection),
            Ok(Outcome::Refused { rejection }) => {
                tracing::debug!(%rejection, "this node's audit key is not taken yet");
                Attempt::InVain
            }
            Err(error) => {
                tracing::debug!(%error, "this node's audit key is not listed yet");
                Attempt::InVain
            }
        }
    }
}

/// The key that is to be added, where the cluster takes one and has none of this node.
fn missing_key(state: &State, node_id: u64, own: &[AuditPublicKey]) -> Option<AuditPublicKey> {
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

/// How long the same is not asked again that was rejected so often.
fn pause_after(rejections: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(rejections.saturating_sub(1));
    REJECTED_PAUSE.saturating_mul(doubled).min(REJECTED_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejected_key_is_tried_ever_more_rarely() {
        let minutes: Vec<u64> = (1..=12).map(|times| pause_after(times).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 1_440]);
        assert_eq!(pause_after(u32::MAX), REJECTED_PAUSE_MAX);
    }
}
