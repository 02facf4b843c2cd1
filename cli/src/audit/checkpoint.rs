//! Checkpoints of the audit log, fetched and verified here: what a node says of its log is not taken on its word.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flagraft_client::admin::Call;
use flagraft_core::{
    checkpoint::Checkpoint,
    merkle::Hash,
    note::{Note, TrustedKeys},
};
use serde_json::Value;

use crate::{
    failure::{Exit, Failure},
    session::Session,
};

/// A checkpoint and whose signatures under it are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The note.
    pub note: Note,
    /// The names of the trusted keys that signed it.
    pub signers: Vec<String>,
}

/// What was to be equal is not.
pub fn failed(message: impl Into<String>) -> Failure {
    Failure::new(Exit::VerificationFailed, message)
}

/// Verifies a signed note by keys that the reader trusts: more than half of them have to have signed it.
pub fn verify(text: &str, trusted: &TrustedKeys) -> Result<Verified, Failure> {
    let note: Note = text.parse().map_err(|error| failed(format!("the checkpoint is none: {error}")))?;
    let checkpoint: Checkpoint =
        note.text().parse().map_err(|error| failed(format!("the checkpoint is none: {error}")))?;
    let signers = note.signers(trusted).map_err(|error| failed(error.to_string()))?;
    let signers: Vec<String> = signers.into_iter().map(|key| key.name().to_owned()).collect();
    if signers.len() < trusted.majority() {
        return Err(failed(format!(
            "{} of the {} trusted keys signed the checkpoint of {} records, and {} have to",
            signers.len(),
            trusted.keys().len(),
            checkpoint.size,
            trusted.majority()
        ))
        .next("if keys were rotated, compare `flagraft audit keys` with the file of --trust, and put that right"));
    }
    Ok(Verified { checkpoint, note, signers })
}

/// The newest checkpoint that the node asked has, as it came.
pub async fn newest(session: &Session) -> Result<String, Failure> {
    Ok(session.client.send(&Call::get(["api", "v1", "audit", "checkpoint"])).await?.text().to_owned())
}

/// The keys in a file, one a line.
pub fn trusted(path: &Path) -> Result<TrustedKeys, Failure> {
    let wrong = |why: String| Failure::usage(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let keys = TrustedKeys::parse(&text).map_err(|error| wrong(error.to_string()))?;
    if keys.keys().is_empty() {
        return Err(wrong("it holds no key".to_owned()).next("fill it with: flagraft audit keys > FILE"));
    }
    Ok(keys)
}

/// The keys that the cluster itself lists as active: good for a look, but no proof against the cluster.
pub async fn listed(session: &Session) -> Result<TrustedKeys, Failure> {
    let lines = super::keys::active(session).await?.join("\n");
    TrustedKeys::parse(&lines).map_err(|error| failed(format!("the node lists a key that is none: {error}")))
}

/// The hashes of a proof.
pub fn hashes(proof: &Value) -> Result<Vec<Hash>, Failure> {
    proof["proof"].as_array().ok_or_else(no_proof)?.iter().map(hash).collect()
}

/// A hash of a proof.
pub fn hash(text: &Value) -> Result<Hash, Failure> {
    let bytes = text.as_str().and_then(|text| STANDARD.decode(text).ok());
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(no_proof)
}

fn no_proof() -> Failure {
    Failure::new(Exit::Other, "the node's answer is no proof; is this a Flagraft node?")
}
