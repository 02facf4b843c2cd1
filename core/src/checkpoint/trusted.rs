//! Whether enough of the nodes that a reader trusts signed a checkpoint.

use std::{collections::BTreeSet, fmt};

use super::{Checkpoint, CheckpointError};
use crate::{
    identity::ClusterId,
    note::{Note, NoteError, TrustedKeys, VerifierKey, is_node_of},
};

/// A checkpoint that enough nodes signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedCheckpoint {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note.
    pub note: Note,
    /// The names of the nodes that signed it, each once, in the order of their first signatures.
    pub signers: Vec<String>,
    /// How many had to.
    pub quorum: usize,
}

/// Why a note is not believed to be a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotBelieved {
    /// It is not a signed note, or a trusted key's signature is forged.
    Note(NoteError),
    /// What was signed is not a checkpoint.
    Checkpoint(CheckpointError),
    /// Too few of the trusted nodes signed it.
    Quorum {
        /// How many did.
        signed: usize,
        /// How many have to.
        needed: usize,
    },
}

impl fmt::Display for NotBelieved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Note(error) => write!(f, "the checkpoint: {error}"),
            Self::Checkpoint(error) => write!(f, "what was signed is not a checkpoint: {error}"),
            Self::Quorum { signed, needed } => write!(
                f,
                "{signed} of the trusted nodes signed the checkpoint, and {needed} have to: somebody else made it, or the \
                 keys that you trust are not those of the cluster's nodes"
            ),
        }
    }
}

impl std::error::Error for NotBelieved {}

impl TrustedCheckpoint {
    /// Reads a checkpoint that `quorum` of the trusted nodes signed; without a number, more than half of them.
    ///
    /// Nodes are counted, and not keys: one that is changing its key has two, and could make itself more. Only those of the
    /// cluster whose log it is: keys of several clusters may be in one list.
    ///
    /// # Errors
    /// When it is no checkpoint, or too few signed it.
    pub fn read(note: &str, trusted: &TrustedKeys, quorum: Option<usize>) -> Result<Self, NotBelieved> {
        let note: Note = note.parse().map_err(NotBelieved::Note)?;
        let signed = note.signers(trusted).map_err(NotBelieved::Note)?;
        let checkpoint: Checkpoint = note.text().parse().map_err(NotBelieved::Checkpoint)?;
        let cluster = checkpoint.origin.cluster;
        let mut signers: Vec<String> = Vec::new();
        for name in signed.iter().map(|key| key.name()).filter(|name| is_node_of(name, cluster)) {
            if !signers.iter().any(|there| there == name) {
                signers.push(name.to_owned());
            }
        }
        let needed = quorum.unwrap_or_else(|| majority(trusted, cluster));
        if signers.len() < needed {
            return Err(NotBelieved::Quorum { signed: signers.len(), needed });
        }
        Ok(Self { checkpoint, note, signers, quorum: needed })
    }
}

/// How many of the trusted nodes of a cluster are more than half: 1 where there are none, so that without keys nothing is
/// believed.
fn majority(trusted: &TrustedKeys, cluster: ClusterId) -> usize {
    let names = trusted.keys().iter().map(VerifierKey::name).filter(|name| is_node_of(name, cluster));
    let nodes: BTreeSet<&str> = names.collect();
    (nodes.len() / 2).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::Origin,
        identity::History,
        merkle::leaf_hash,
        note::{Signer, node_key_name},
    };

    const CLUSTER: ClusterId = ClusterId(1);

    /// A key of a node.
    fn key(cluster: ClusterId, node: u64, secret: u8) -> Signer {
        Signer::new(node_key_name(cluster, node), &[secret; 32]).expect("a name")
    }

    fn trusted(keys: &[&Signer]) -> TrustedKeys {
        TrustedKeys::new(keys.iter().map(|key| key.verifier().clone()).collect()).expect("keys")
    }

    fn read(
        signed: &[&Signer],
        trust: &[&Signer],
        quorum: Option<usize>,
    ) -> Result<Vec<String>, NotBelieved> {
        let origin = Origin { cluster: CLUSTER, history: History(1), group: 1 };
        let checkpoint = Checkpoint { origin, size: 1, root: leaf_hash(b"{}"), time_ms: 5 };
        let mut note = Note::new(checkpoint.to_string()).expect("a text");
        signed.iter().for_each(|key| note.sign(key).expect("room"));
        TrustedCheckpoint::read(&note.to_string(), &trusted(trust), quorum).map(|read| read.signers)
    }

    #[test]
    fn a_node_with_many_keys_counts_once() {
        let (a, b, c) = (key(CLUSTER, 1, 1), key(CLUSTER, 2, 2), key(CLUSTER, 3, 3));
        let more: Vec<Signer> = (11..14).map(|secret| key(CLUSTER, 1, secret)).collect();
        let alone: Vec<&Signer> = std::iter::once(&a).chain(&more).collect();
        let all = [&alone[..], &[&b, &c]].concat();
        assert_eq!(read(&alone, &all, None), Err(NotBelieved::Quorum { signed: 1, needed: 2 }));
        assert_eq!(read(&[&a, &b], &all, None).map(|signers| signers.len()), Ok(2));
        // Keys that nobody signs with any more make nobody's vote count for less.
        assert_eq!(read(&[&more[0], &c], &all, None).map(|signers| signers.len()), Ok(2));
        assert_eq!(read(&alone, &all, Some(2)), Err(NotBelieved::Quorum { signed: 1, needed: 2 }));
        assert!(read(&alone, &all, Some(1)).is_ok());
    }

    #[test]
    fn nodes_of_another_cluster_have_no_say() {
        let (a, b, c) = (key(CLUSTER, 1, 1), key(CLUSTER, 2, 2), key(CLUSTER, 3, 3));
        let others: Vec<Signer> =
            (1..=3).map(|node| key(ClusterId(2), node, u8::try_from(20 + node).expect("small"))).collect();
        let all: Vec<&Signer> = [&a, &b, &c].into_iter().chain(&others).collect();
        let foreign: Vec<&Signer> = others.iter().collect();
        assert_eq!(read(&foreign, &all, None), Err(NotBelieved::Quorum { signed: 0, needed: 2 }));
        assert_eq!(read(&foreign, &foreign, None), Err(NotBelieved::Quorum { signed: 0, needed: 1 }));
        assert!(read(&[&a, &c], &all, None).is_ok(), "two of the three that are this cluster's");
        let stranger = Signer::new("flagraft", &[9; 32]).expect("a name");
        assert_eq!(read(&[&stranger], &[&stranger], None), Err(NotBelieved::Quorum { signed: 0, needed: 1 }));
    }
}
