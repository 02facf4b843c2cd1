//! The leader has checkpoints signed, and sends round what a majority signed alike.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use flagraft_core::{note::Note, state::State};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::{
    cosigner::{Cosigner, Unsigned},
    registration::Registration,
    signed::{SignedCheckpoint, SigningKeys},
};
use crate::{
    config::CheckpointConfig,
    node::submit::Writes,
    peer::{CosignReply, PeerClient},
    raft::{RaftRole, Replica},
    reads::Reads,
};

/// What a [`Checkpointer`] works with.
pub(crate) struct CheckpointerParts {
    pub(crate) node_id: u64,
    pub(crate) cosigner: Arc<Cosigner>,
    pub(crate) replica: Replica,
    pub(crate) peers: PeerClient,
    pub(crate) reads: Arc<Reads>,
    pub(crate) writes: Arc<Writes>,
    pub(crate) config: CheckpointConfig,
}

/// Makes this node's key known and, while it leads, has checkpoints signed.
pub(crate) struct Checkpointer {
    parts: CheckpointerParts,
    /// When the last round began, and of which size it was.
    last: (Instant, u64),
    registration: Registration,
    /// What was said last of a round that came to nothing.
    said: Option<String>,
}

impl Checkpointer {
    pub(crate) fn new(parts: CheckpointerParts) -> Self {
        let (cosigner, writes) = (Arc::clone(&parts.cosigner), Arc::clone(&parts.writes));
        let registration = Registration::new(parts.node_id, cosigner, writes);
        Self { parts, last: (Instant::now(), 0), registration, said: None }
    }

    /// Goes on until it is dropped. An interval of zero turns it off.
    pub(crate) async fn run(mut self) {
        if self.parts.config.interval.is_zero() {
            return;
        }
        loop {
            tokio::time::sleep(self.parts.config.poll).await;
            let published = self.parts.replica.published();
            self.registration.look(&published.state, Instant::now()).await;
            if self.parts.replica.status().role == RaftRole::Leader {
                self.lead().await;
            }
        }
    }

    /// One look at whether a checkpoint is due; and if there is nothing new, the newest goes round again, for members
    /// that have come back.
    async fn lead(&mut self) {
        let config = &self.parts.config;
        let size = self.parts.replica.published().state.sequence();
        let newest = self.parts.cosigner.newest();
        let (at, attempted) = self.last;
        let done = newest.as_ref().map_or(0, |newest| newest.checkpoint.size);
        let waited = at.elapsed() >= config.interval;
        let many = size.saturating_sub(done.max(attempted)) >= config.records;
        if !waited && !many {
            return;
        }
        self.last = (Instant::now(), size);
        match newest {
            Some(newest) if newest.checkpoint.size >= size => self.send_round(&newest).await,
            _ => self.round(size).await,
        }
    }

    /// Has the log's first `size` records signed: by all members, for those that do not vote have keys too, and count.
    async fn round(&mut self, size: u64) {
        let CheckpointerParts { node_id, cosigner, replica, peers, reads, config, .. } = &self.parts;
        let others: Vec<u64> = replica.status().members.into_keys().filter(|id| id != node_id).collect();
        let asked = others.iter().map(async |id| (*id, peers.cosign(*id, size, config.timeout).await));
        let (own, answers) = tokio::join!(cosigner.sign(size, config.timeout), join_all(asked));
        let state = replica.published().state.clone();
        let mut tally = Tally::default();
        match own {
            Ok(note) => tally.add(*node_id, size, note.to_string().as_bytes(), &state),
            Err(why) => tally.refused(*node_id, &why),
        }
        for (id, answer) in answers {
            match answer {
                Ok(CosignReply::Signed { note }) => tally.add(id, size, &note, &state),
                Ok(CosignReply::Behind { size }) => tally.refused(id, &Unsigned::Behind { size }),
                Ok(CosignReply::Refused { why }) => tally.refused(id, &why),
                Err(error) => tally.refused(id, &error),
            }
        }
        let keys = SigningKeys::of(&state, size);
        match tally.majority(&keys) {
            Some(note) => {
                self.said = None;
                let note = note.to_string();
                if let Err(why) = cosigner.take(note.as_bytes(), config.timeout, reads).await {
                    tracing::warn!(size, "a checkpoint of the audit log is not taken here: {why}");
                }
                if let Ok(signed) = SignedCheckpoint::of(note.as_bytes(), &state) {
                    self.send_round(&signed).await;
                }
            }
            // Before any node's key is listed there is nothing to be signed.
            None if keys.nodes() == 0 => {}
            None => {
                let said = tally.said();
                if self.said.as_ref() != Some(&said) {
                    tracing::warn!(size, "no majority signs the same checkpoint of the audit log: {said}");
                    self.said = Some(said);
                }
            }
        }
    }

    /// Sends a checkpoint to all members.
    async fn send_round(&self, signed: &SignedCheckpoint) {
        let CheckpointerParts { node_id, replica, peers, config, .. } = &self.parts;
        let note = signed.note.to_string().into_bytes();
        let others: Vec<u64> = replica.status().members.keys().copied().filter(|id| id != node_id).collect();
        let sent = others.iter().map(async |id| {
            match peers.checkpoint(*id, note.clone(), config.timeout).await {
                Ok(None) => {}
                Ok(Some(why)) => tracing::info!(to = id, "a member does not take a checkpoint: {why}"),
                // A member that is away gets the next one.
                Err(error) => tracing::debug!(to = id, %error, "a checkpoint did not arrive"),
            }
        });
        join_all(sent).await;
    }
}

/// What the members made of one size.
#[derive(Default)]
struct Tally {
    /// By the text of the checkpoint: the note of all that signed it, and who those are.
    notes: BTreeMap<String, (Note, BTreeSet<u64>)>,
    refused: BTreeMap<u64, String>,
}

impl Tally {
    /// Counts what a node signed. What it does not sign itself is not taken from it.
    fn add(&mut self, node: u64, size: u64, note: &[u8], state: &State) {
        match SignedCheckpoint::of(note, state) {
            Ok(signed) if signed.checkpoint.size == size && signed.signers.contains(&node) => {
                let text = signed.note.text().to_owned();
                match self.notes.get_mut(&text) {
                    // There is room for as many as sign.
                    Some((merged, signers)) => {
                        if merged.merge(&signed.note).is_ok() {
                            signers.insert(node);
                        }
                    }
                    None => drop(self.notes.insert(text, (signed.note, BTreeSet::from([node])))),
                }
            }
            Ok(_) => {
                self.refused(node, &"what it signed is of another size, or by no key of it that is listed")
            }
            Err(error) => self.refused(node, &error),
        }
    }

    fn refused(&mut self, node: u64, why: &impl std::fmt::Display) {
        self.refused.insert(node, why.to_string());
    }

    /// The note that more than half of the nodes signed.
    fn majority(&self, keys: &SigningKeys) -> Option<&Note> {
        self.notes.values().find(|(_, signers)| keys.is_majority(signers)).map(|(note, _)| note)
    }

    /// Who signed what and who did not, for people.
    fn said(&self) -> String {
        let signed = self.notes.values().map(|(note, signers)| {
            let root = note.text().lines().nth(2).unwrap_or_default();
            let signers: Vec<String> = signers.iter().map(u64::to_string).collect();
            format!("root {root} by node {}", signers.join(", "))
        });
        let refused = self.refused.iter().map(|(node, why)| format!("node {node} does not sign: {why}"));
        signed.chain(refused).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use flagraft_core::{
        apply::apply,
        audit_key::AuditPublicKey,
        checkpoint::{Checkpoint, Origin},
        identity::LogPosition,
        note::{SIGNATURES_MAX, Signature, Signer, node_key_name},
        proposal::{Actor, Body, Proposal},
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::raft::testing;

    fn secret(node: u64) -> [u8; 32] {
        [u8::try_from(node).expect("small"); 32]
    }

    fn signer(state: &State, node: u64) -> Signer {
        let cluster = state.cluster_id().expect("founded");
        Signer::new(node_key_name(cluster, node), &secret(node)).expect("a name")
    }

    /// A cluster whose nodes have a key each.
    fn state(nodes: u64) -> State {
        let member =
            |id: u64| json!({"uid": format!("{id:032x}"), "peer_address": "127.0.0.1:1", "voter": true});
        let members: serde_json::Map<String, Value> =
            (1..=nodes).map(|id| (id.to_string(), member(id))).collect();
        let bootstrap = json!({"op": "system.bootstrap", "cluster": "0".repeat(32), "history": "0".repeat(16),
                               "cluster_version": 2, "members": members});
        let key = |node: u64| {
            let key = *Signer::new("key", &secret(node)).expect("a name").verifier().public_key();
            json!({"op": "system.audit_key.add", "node": node, "public_key": AuditPublicKey(key)})
        };
        let founding = (1, bootstrap);
        let all = std::iter::once(founding).chain((1..=nodes).map(|node| (node, key(node))));
        all.zip(1..).fold(State::empty(), |state, ((node, operation), index)| {
            let change = json!({"project": null, "operations": [operation], "reason": "test"});
            let body = Body::Change(serde_json::from_value(change).expect("a change"));
            let proposal = Proposal { body, actor: Actor::system(node), ..testing::proposal(index) };
            let applied = apply(&state, &proposal, LogPosition { term: 1, index });
            assert_eq!(applied.reply.outcome.rejection(), None);
            applied.state
        })
    }

    /// What one member put under its note beside its own signature was merged unread: with 98 lines of nobody's there was
    /// no room for the third node's, and a line in the name of a key that a witness trusts spoiled the note for that.
    #[test]
    fn what_nobody_checked_is_not_handed_on() {
        let state = state(3);
        let origin = Origin {
            cluster: state.cluster_id().expect("founded"),
            history: state.history().expect("founded"),
            group: 1,
        };
        let size = state.sequence();
        let checkpoint = Checkpoint { origin, size, root: state.audit_root(), time_ms: 7 };
        let by = |nodes: &[u64]| {
            let mut note = Note::new(checkpoint.to_string()).expect("a text");
            nodes.iter().for_each(|node| note.sign(&signer(&state, *node)).expect("room"));
            note
        };
        let junk = (1..u8::try_from(SIGNATURES_MAX).expect("small")).map(|n| Signature {
            name: node_key_name(origin.cluster, 1),
            key_id: [n; 4],
            bytes: vec![n; 64],
        });
        let padded: String =
            std::iter::once(by(&[1]).to_string()).chain(junk.map(|line| line.to_string())).collect();
        let mut tally = Tally::default();
        tally.add(1, size, padded.as_bytes(), &state);
        for node in [2, 3] {
            tally.add(node, size, by(&[node]).to_string().as_bytes(), &state);
        }
        assert_eq!(tally.said().matches("does not sign").count(), 0, "{}", tally.said());
        assert_eq!(tally.majority(&SigningKeys::of(&state, size)), Some(&by(&[1, 2, 3])));
    }
}
