//! A checkpoint with signatures that were checked: who of the cluster's nodes stands by it.

use std::collections::{BTreeMap, BTreeSet};

use flagraft_core::{
    audit_key::AuditKey,
    checkpoint::Checkpoint,
    note::{Note, TrustedKeys, VerifierKey},
    state::State,
};

/// A checkpoint and the nodes that signed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// The note, with the signatures of the nodes and no others: what nobody checked is not handed on.
    pub note: Note,
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The nodes whose signatures are under it.
    pub signers: BTreeSet<u64>,
}

/// Why a note is not a checkpoint that members signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotSigned {
    /// It is no note, or no checkpoint's.
    Malformed(String),
    /// It is of another cluster's log.
    OtherCluster,
    /// A signature in the name of a key of this cluster is not that key's.
    Forged(String),
}

impl std::fmt::Display for NotSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) | Self::Forged(why) => f.write_str(why),
            Self::OtherCluster => f.write_str("the checkpoint is of another cluster"),
        }
    }
}

impl SignedCheckpoint {
    /// Reads a note and checks its signatures by the keys that a state lists.
    pub(super) fn of(note: &[u8], state: &State) -> Result<Self, NotSigned> {
        let note = Note::from_bytes(note).map_err(|error| NotSigned::Malformed(error.to_string()))?;
        let checkpoint: Checkpoint =
            note.text().parse().map_err(|error| NotSigned::Malformed(format!("{error}")))?;
        if state.cluster_id() != Some(checkpoint.origin.cluster) {
            return Err(NotSigned::OtherCluster);
        }
        let (note, signers) = SigningKeys::of(state, checkpoint.size).verify(&note)?;
        Ok(Self { note, checkpoint, signers })
    }

    /// Whether a majority of the nodes that sign in this state stands by it, with keys that are active there.
    pub(super) fn is_of_majority_now(&self, state: &State) -> bool {
        let keys = SigningKeys::of(state, state.sequence());
        keys.verify(&self.note).is_ok_and(|(_, signers)| keys.is_majority(&signers))
    }

    /// Who signed it, for people.
    pub(super) fn named_signers(&self) -> String {
        self.signers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
    }
}

/// The keys with which the nodes of a cluster sign checkpoints of one size.
pub(super) struct SigningKeys {
    trusted: TrustedKeys,
    by_name: BTreeMap<String, u64>,
}

impl SigningKeys {
    /// Those that the log of this size lists as active.
    pub(super) fn of(state: &State, size: u64) -> Self {
        let mut keys: Vec<VerifierKey> = Vec::new();
        let mut by_name = BTreeMap::new();
        let Some(cluster) = state.cluster_id() else {
            return Self { trusted: TrustedKeys::default(), by_name };
        };
        for (node, of_node) in state.audit_keys() {
            let is_active =
                |key: &&AuditKey| key.added < size && key.retired.is_none_or(|retired| retired >= size);
            for key in of_node.keys.iter().filter(is_active) {
                if let Some(key) = key.public_key.verifier(cluster, node) {
                    by_name.insert(key.name().to_owned(), node);
                    keys.push(key);
                }
            }
        }
        // The state lists no key twice.
        Self { trusted: TrustedKeys::new(keys).unwrap_or_default(), by_name }
    }

    /// How many nodes sign.
    pub(super) fn nodes(&self) -> usize {
        self.by_name.len()
    }

    /// Whether these nodes are more than half of those that sign.
    pub(super) fn is_majority(&self, signers: &BTreeSet<u64>) -> bool {
        signers.len() * 2 > self.nodes()
    }

    /// The note with the signatures of these keys only, all of them good, and the nodes whose keys those are.
    fn verify(&self, note: &Note) -> Result<(Note, BTreeSet<u64>), NotSigned> {
        let note = note.signed_by(&self.trusted).map_err(|error| NotSigned::Forged(error.to_string()))?;
        let signers = note.signatures().iter().filter_map(|by| self.by_name.get(&by.name).copied()).collect();
        Ok((note, signers))
    }
}
