//! Checkpoints of the audit log, fetched and verified here: what a node says of its log is not taken on its word.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flagraft_client::admin::Call;
use flagraft_core::{
    checkpoint::{NotBelieved, TrustedCheckpoint},
    merkle::Hash,
    note::TrustedKeys,
};
use serde_json::Value;

use crate::{
    failure::{Exit, Failure},
    session::Session,
};

/// What was to be equal is not.
pub fn failed(message: impl Into<String>) -> Failure {
    Failure::new(Exit::VerificationFailed, message)
}

/// Verifies a signed note by keys that the reader trusts: more than half of the nodes that they are of have to have signed it.
pub fn verify(text: &str, trusted: &TrustedKeys) -> Result<TrustedCheckpoint, Failure> {
    TrustedCheckpoint::read(text, trusted, None).map_err(|error| {
        let next = "if keys were rotated, compare `flagraft audit keys` with the file of --trust, and put that right";
        let failure = failed(error.to_string());
        if matches!(error, NotBelieved::Quorum { .. }) { failure.next(next) } else { failure }
    })
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
