//! What is signed: all that the author of a change says, as bytes that two programs make alike.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::key::SigningKeyId;
use crate::{
    canonical::{self, Canonical},
    identity::History,
    key::ProjectKey,
    proposal::Cause,
    token::TokenId,
};

/// What a statement begins with: no other bytes that a key signs do.
pub const STATEMENT_DOMAIN: &str = "flagraft change v1\n";

/// The author's signature, as a proposal carries it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSignature {
    /// The key that signed.
    pub key: SigningKeyId,
    /// When, by the author's clock, in milliseconds since 1970 UTC.
    pub signed_at_ms: i64,
    /// The signature over the [`Statement`].
    pub signature: SignatureBytes,
}

/// An Ed25519 signature, in JSON as Base64 (RFC 4648, section 4) of its 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SignatureBytes(#[serde(with = "crate::base64_bytes")] pub [u8; 64]);

impl fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignatureBytes({})", hex::encode(self.0))
    }
}

/// What the author of a change says. Frozen: a field more or less is another version of it, under another
/// [`STATEMENT_DOMAIN`].
#[derive(Clone, Debug, Serialize)]
pub struct Statement<'a> {
    /// The history that is to be changed.
    pub history: History,
    /// The token that the change is asked for with. Requests are remembered by token and id.
    pub token: &'a TokenId,
    /// The request's id: the author's `Idempotency-Key`.
    pub request_id: &'a str,
    /// The key that signs: whose it is says who the author is.
    pub key: &'a SigningKeyId,
    /// When, by the author's clock, in milliseconds since 1970 UTC.
    pub signed_at_ms: i64,
    /// The project.
    pub project: Option<&'a ProjectKey>,
    /// The operations with every field that they have, but without the hashes of secrets: as a record keeps them.
    pub operations: &'a [Canonical],
    /// Why.
    pub reason: &'a str,
    /// The ticket.
    pub ticket: Option<&'a str>,
    /// The revision that nothing the change writes may be newer than.
    pub expect_revision: Option<u64>,
    /// What caused it.
    pub caused_by: Option<&'a Cause>,
}

impl Statement<'_> {
    /// The bytes that are signed: [`STATEMENT_DOMAIN`] and the statement as canonical JSON, with every field.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, integers and texts that are JSON: nothing in it can fail to serialize.
        let json = canonical::to_string(self).unwrap_or_default();
        [STATEMENT_DOMAIN.as_bytes(), json.as_bytes()].concat()
    }
}
