//! The public keys that nodes sign checkpoints of the audit log with: which node has which, since when, and until when.
//!
//! The private halves are in the nodes' data folders and nowhere else. A key that was retired stays listed, for what it
//! has signed is still to be verified.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    base64_bytes,
    identity::ClusterId,
    invalid::Invalid,
    limits::{AUDIT_KEYS_ACTIVE_MAX, AUDIT_KEYS_MAX},
    note::{VerifierKey, node_key_name},
};

/// An Ed25519 public key: in JSON the Base64 of its 32 bytes, with padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditPublicKey(pub [u8; 32]);

impl AuditPublicKey {
    /// Reads the text form.
    ///
    /// # Errors
    /// When it is no key's.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        base64_bytes::parse(text).map(Self).ok_or_else(|| {
            Invalid::here("a public key is the Base64 of 32 bytes, as `flagraft audit keys` prints it")
        })
    }

    /// The key by which notes are verified that the node signs with this one. `None` for what is no point of the curve,
    /// which nothing was ever signed with.
    pub fn verifier(&self, cluster: ClusterId, node: u64) -> Option<VerifierKey> {
        VerifierKey::new(node_key_name(cluster, node), &self.0).ok()
    }
}

impl fmt::Display for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditPublicKey({self})")
    }
}

impl Serialize for AuditPublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditPublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

/// The keys of one node, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditKeys {
    /// Its keys.
    pub keys: Vec<AuditKey>,
    /// The revision that changed them last.
    pub revision: u64,
}

/// A key of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditKey {
    /// The key.
    pub public_key: AuditPublicKey,
    /// The sequence of the record that added it.
    pub added: u64,
    /// The sequence of the record that retired it. `None`: the node may sign with it.
    pub retired: Option<u64>,
}

impl AuditKey {
    /// Whether the node may sign with it.
    pub fn is_active(&self) -> bool {
        self.retired.is_none()
    }
}

/// Why a node's keys can't be changed so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// It was retired, and is not taken again.
    Retired,
    /// The node has as many active ones as it may have.
    TooManyActive,
    /// The node has had as many as are listed of one.
    TooMany,
    /// It is no key of the node.
    Unknown,
    /// The node has no other active one.
    Last,
}

impl AuditKeys {
    /// The key, if it is one of the node's.
    pub fn get(&self, key: &AuditPublicKey) -> Option<&AuditKey> {
        self.keys.iter().find(|known| known.public_key == *key)
    }

    /// The keys that the node may sign with.
    pub fn active(&self) -> impl Iterator<Item = &AuditKey> {
        self.keys.iter().filter(|key| key.is_active())
    }

    /// Adds a key by the record at `sequence`. One that is active already stays as it is.
    pub(crate) fn add(&mut self, key: AuditPublicKey, sequence: u64) -> Result<(), KeyFault> {
        match self.get(&key) {
            Some(known) if known.is_active() => Ok(()),
            Some(_) => Err(KeyFault::Retired),
            None if self.active().count() >= AUDIT_KEYS_ACTIVE_MAX => Err(KeyFault::TooManyActive),
            None if self.keys.len() >= AUDIT_KEYS_MAX => Err(KeyFault::TooMany),
            None => {
                self.keys.push(AuditKey { public_key: key, added: sequence, retired: None });
                Ok(())
            }
        }
    }

    /// Retires a key by the record at `sequence`. One that is retired already stays as it is.
    pub(crate) fn retire(&mut self, key: &AuditPublicKey, sequence: u64) -> Result<(), KeyFault> {
        let active = self.active().count();
        let known = self.keys.iter_mut().find(|known| known.public_key == *key).ok_or(KeyFault::Unknown)?;
        if known.is_active() {
            if active < 2 {
                return Err(KeyFault::Last);
            }
            known.retired = Some(sequence);
        }
        Ok(())
    }

    /// Retires all keys by the record at `sequence`: the node was removed.
    pub(crate) fn retire_all(&mut self, sequence: u64) {
        self.keys.iter_mut().filter(|key| key.is_active()).for_each(|key| key.retired = Some(sequence));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_as_it_is_written() {
        let key = AuditPublicKey([7; 32]);
        assert_eq!(key.to_string(), "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=");
        assert_eq!(AuditPublicKey::parse(&key.to_string()), Ok(key));
        for wrong in ["", "BwcH", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc", "!"] {
            assert!(AuditPublicKey::parse(wrong).is_err(), "{wrong}");
        }
    }
}
