//! The signature in an audit record, and whoever checks it long after: from records alone.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    SIGNED_WITHIN_MS,
    key::{PublicKey, SigningKeyId, SigningKeySpec},
    statement::{SignatureBytes, Statement},
};
use crate::{
    canonical::Canonical,
    record::{Record, RecordOutcome},
    token::TokenActor,
};

/// The author's signature in a record. It was good when the record was made: a change that was refused for its signature
/// has a record without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSignature {
    /// The key that signed.
    pub key: SigningKeyId,
    /// Its public half.
    pub public_key: PublicKey,
    /// When, by the author's clock, in milliseconds since 1970 UTC.
    pub signed_at_ms: i64,
    /// What the change expected no object to be newer than: what a record says nowhere else.
    pub expect_revision: Option<u64>,
    /// The signature.
    pub signature: SignatureBytes,
}

/// Whose signature a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The key.
    pub key: SigningKeyId,
    /// Who the record says signed: the actor of its token.
    pub actor: TokenActor,
    /// The sequence of the record that registered the key for this actor. `None`: it is not among the records that
    /// [`KnownKeys`] was shown, so that the key is this actor's stands on the record's word alone.
    pub registered: Option<u64>,
}

/// What is wrong with the signature of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The signature is not one of the record's public key over what the record says.
    NotSigned,
    /// The record holds another public key than the one that its id is of, or that was registered under it.
    OtherKey,
    /// The key was registered for somebody else.
    OtherActor(TokenActor),
    /// The key was revoked by an earlier record, the one with this sequence.
    Revoked(u64),
    /// The record's time is too far from that of the signature.
    OutOfTime,
    /// The record has no token: nothing of the cluster itself is signed.
    NoToken,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSigned => f.write_str("the signature is not one over what the record says"),
            Self::OtherKey => f.write_str("the public key is not the one of the record's key id"),
            Self::OtherActor(actor) => {
                write!(f, "the key was registered for {}, not for the record's actor", actor.id)
            }
            Self::Revoked(sequence) => write!(f, "the key was revoked before, by record {sequence}"),
            Self::OutOfTime => f.write_str("the signature was made too long before the record, or after it"),
            Self::NoToken => f.write_str("the record is the cluster's own, which signs nothing"),
        }
    }
}

impl std::error::Error for Fault {}

/// The signing keys that a run of records registered and revoked. Show it every record, in order.
#[derive(Clone, Debug, Default)]
pub struct KnownKeys {
    keys: BTreeMap<SigningKeyId, KnownKey>,
}

#[derive(Clone, Debug)]
struct KnownKey {
    spec: SigningKeySpec,
    registered: u64,
    revoked: Option<u64>,
}

impl KnownKeys {
    /// Takes note of what a record did to signing keys. Check the record's own signature first: a change may revoke the
    /// key that it is signed with.
    pub fn observe(&mut self, record: &Record) {
        if record.outcome != RecordOutcome::Accepted {
            return;
        }
        for recorded in &record.operations {
            let field = |name: &str| recorded.operation.get(name);
            match (field("op").and_then(Value::as_str), field("signing_key")) {
                (Some("signing_key.put"), Some(key)) => {
                    if let Ok(spec) = serde_json::from_value::<SigningKeySpec>(key.clone()) {
                        let known = KnownKey { spec, registered: record.sequence, revoked: None };
                        self.keys.entry(known.spec.id.clone()).or_insert(known);
                    }
                }
                (Some("signing_key.revoke"), Some(Value::String(id))) => {
                    if let Some(known) = self.keys.get_mut(id.as_str()) {
                        known.revoked.get_or_insert(record.sequence);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Checks the signature of a record against the keys that the records before it registered. `Ok(None)`: it has none.
///
/// What it says of the change's author needs the record to be in the log as it is: that is for whoever checks its hash.
///
/// # Errors
/// [`Fault`]: the record is not one that an honest node wrote.
pub fn verify_signature(record: &Record, keys: &KnownKeys) -> Result<Option<Signer>, Fault> {
    let Some(signed) = &record.signature else { return Ok(None) };
    let token = record.actor.token.as_ref().ok_or(Fault::NoToken)?;
    if super::signing_key_id(&signed.public_key) != signed.key {
        return Err(Fault::OtherKey);
    }
    let actor = TokenActor { actor_type: record.actor.actor_type, id: record.actor.id.clone() };
    let known = keys.keys.get(&signed.key);
    if let Some(known) = known {
        if known.spec.public_key != signed.public_key {
            return Err(Fault::OtherKey);
        }
        if known.spec.actor != actor {
            return Err(Fault::OtherActor(known.spec.actor.clone()));
        }
        if let Some(revoked) = known.revoked {
            return Err(Fault::Revoked(revoked));
        }
    }
    if record.time_ms.abs_diff(signed.signed_at_ms) > SIGNED_WITHIN_MS.unsigned_abs() {
        return Err(Fault::OutOfTime);
    }
    let operations: Vec<Canonical> =
        record.operations.iter().map(|recorded| Canonical::from(recorded.operation.clone())).collect();
    let statement = Statement {
        history: record.history,
        token,
        request_id: &record.request_id,
        key: &signed.key,
        signed_at_ms: signed.signed_at_ms,
        project: record.project.as_ref(),
        operations: &operations,
        reason: &record.reason,
        ticket: record.ticket.as_deref(),
        expect_revision: signed.expect_revision,
        caused_by: record.caused_by.as_ref(),
    };
    if !signed.public_key.verifies(&statement.to_bytes(), &signed.signature) {
        return Err(Fault::NotSigned);
    }
    Ok(Some(Signer { key: signed.key.clone(), actor, registered: known.map(|known| known.registered) }))
}
