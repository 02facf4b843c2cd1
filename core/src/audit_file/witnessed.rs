//! Checkpoints that were seen before: what a log is compared with, so that it can't be another one to somebody else.

use std::{fmt, str::FromStr};

use serde::Deserialize;

use crate::{
    base64_bytes,
    checkpoint::{Checkpoint, CheckpointError},
    merkle::{Hash, verify_consistency},
    note::{Note, NoteError, TrustedKeys},
};

/// A checkpoint that was seen before.
///
/// Text form: the signed note, as a witness keeps it; or, with a proof that the smaller of its log and the file's is the
/// beginning of the other, the JSON `{"checkpoint": "<signed note>", "consistency": ["<base64>", ..]}`. A file needs no proof for a
/// checkpoint whose size falls within its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    checkpoint: Checkpoint,
    note: Note,
    proof: Option<Vec<Hash>>,
}

/// Why a text is not a checkpoint that was seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessedError {
    /// It is neither a note nor the JSON with a note and a proof.
    Form,
    /// The note is not one, or a trusted key's signature is forged.
    Note(NoteError),
    /// What was signed is not a checkpoint.
    Checkpoint(CheckpointError),
    /// None of the trusted keys signed it.
    Unsigned,
}

impl fmt::Display for WitnessedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str(
                "a witnessed checkpoint is a signed note, or {\"checkpoint\": \"<signed note>\", \"consistency\": [\"<base64>\", ..]}",
            ),
            Self::Note(error) => write!(f, "the witnessed checkpoint: {error}"),
            Self::Checkpoint(error) => write!(f, "the witnessed checkpoint: {error}"),
            Self::Unsigned => f.write_str(
                "none of the trusted keys signed the witnessed checkpoint, so it says nothing; trust a key that did",
            ),
        }
    }
}

impl std::error::Error for WitnessedError {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithProof {
    checkpoint: String,
    consistency: Vec<String>,
}

impl FromStr for Witnessed {
    type Err = WitnessedError;

    fn from_str(text: &str) -> Result<Self, WitnessedError> {
        if !text.trim_start().starts_with('{') {
            return Self::new(text.parse().map_err(WitnessedError::Note)?, None);
        }
        let with_proof: WithProof = serde_json::from_str(text).map_err(|_| WitnessedError::Form)?;
        let proof: Option<Vec<Hash>> =
            with_proof.consistency.iter().map(|hash| base64_bytes::parse(hash)).collect();
        let note = with_proof.checkpoint.parse().map_err(WitnessedError::Note)?;
        Self::new(note, Some(proof.ok_or(WitnessedError::Form)?))
    }
}

impl Witnessed {
    /// A checkpoint, and a proof that it is consistent with the file that is to be verified.
    ///
    /// # Errors
    /// When the note is not of a checkpoint.
    pub fn new(note: Note, proof: Option<Vec<Hash>>) -> Result<Self, WitnessedError> {
        let checkpoint = note.text().parse().map_err(WitnessedError::Checkpoint)?;
        Ok(Self { checkpoint, note, proof })
    }

    /// What was signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Whether anybody who is trusted signed it. One is enough: it is held against the log, not for it.
    pub(super) fn check_signed(&self, trusted: &TrustedKeys) -> Result<(), WitnessedError> {
        match self.note.signers(trusted) {
            Ok(signers) if signers.is_empty() => Err(WitnessedError::Unsigned),
            Ok(_) => Ok(()),
            Err(error) => Err(WitnessedError::Note(error)),
        }
    }

    /// Whether its log and the one with this size and root are the same as far as both go. `root_here` is the root that the
    /// latter had at this one's size, where that is known. `None`: nothing tells.
    pub(super) fn agrees(&self, root_here: Option<&Hash>, size: u64, root: &Hash) -> Option<bool> {
        let seen = &self.checkpoint;
        if let Some(root_here) = root_here {
            return Some(seen.root == *root_here);
        }
        let proof = self.proof.as_ref()?;
        Some(if seen.size <= size {
            verify_consistency(seen.size, &seen.root, size, root, proof)
        } else {
            verify_consistency(size, root, seen.size, &seen.root, proof)
        })
    }
}
