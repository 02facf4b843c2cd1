//! The keys that sign notes, and their text forms.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

use crate::{hexadecimal, identity::ClusterId};

/// The algorithm's byte in the text form of a key: Ed25519.
const ED25519: u8 = 1;
/// Bytes of a key's name.
const NAME_BYTES_MAX: usize = 256;

/// The name of the key with which a node of a cluster signs.
pub fn node_key_name(cluster: ClusterId, node: u64) -> String {
    format!("flagraft/{cluster}/node-{node}")
}

/// Whether a key of this name is that of a node of the cluster.
pub fn is_node_of(name: &str, cluster: ClusterId) -> bool {
    let node = name.strip_prefix("flagraft/").and_then(|rest| rest.strip_prefix(&cluster.to_string()));
    let node: Option<u64> = node.and_then(|rest| rest.strip_prefix("/node-")?.parse().ok());
    // Exactly the name, so that one node has one: a number may be written in several ways.
    node.is_some_and(|node| node_key_name(cluster, node) == name)
}

/// A public key with its name: what a reader of notes trusts. Text form: `<name>+<key id>+<base64 of 0x01 and the key>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    key: VerifyingKey,
}

/// Why a key is no good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// It has not the form of a key.
    Form,
    /// Its name is empty, too long, or has white space, a control character or `+` in it.
    Name,
    /// It is for another algorithm.
    Algorithm,
    /// It is not a public key of Ed25519, or one with which anything is signed.
    Key,
    /// Its id is not that of this name and key.
    Id,
    /// The same key is given twice.
    Twice(String),
    /// A line of a list of keys is no key.
    Line {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        error: Box<KeyError>,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => f.write_str(
                "a key is <name>+<8 lower-case hexadecimal digits>+<base64>, as `flagraft audit keys` prints it; copy it whole",
            ),
            Self::Name => write!(
                f,
                "a key's name has 1 to {NAME_BYTES_MAX} bytes, and no white space, control character or +"
            ),
            Self::Algorithm => f.write_str("the key is not an Ed25519 key; no other kind signs checkpoints"),
            Self::Key => f.write_str("the key's bytes are not an Ed25519 public key; copy it again from its source"),
            Self::Id => f.write_str("the key's id does not belong to its name and bytes; copy it again from its source"),
            Self::Twice(name) => write!(f, "the key {name} is there twice; remove one"),
            Self::Line { line, error } => write!(f, "line {line}: {error}"),
        }
    }
}

impl std::error::Error for KeyError {}

impl VerifierKey {
    /// The key of this name.
    ///
    /// # Errors
    /// When the name or the key is not one.
    pub fn new(name: impl Into<String>, public_key: &[u8; 32]) -> Result<Self, KeyError> {
        let name = name.into();
        if !is_name(&name) {
            return Err(KeyError::Name);
        }
        let key = VerifyingKey::from_bytes(public_key).map_err(|_| KeyError::Key)?;
        if key.is_weak() {
            return Err(KeyError::Key);
        }
        Ok(Self { id: key_id(&name, public_key), name, key })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id: the first four bytes of the SHA-256 of its name and bytes. It tells keys of one name apart.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The public key.
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Whether this is this key's signature of the message. Strict: what some implementations accept and others do not is
    /// refused.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id), STANDARD.encode(typed(self.key.as_bytes())))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifierKey({self})")
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        // A name has no `+`, base64 may have some.
        let (name, rest) = text.split_once('+').ok_or(KeyError::Form)?;
        let (id, bytes) = rest.split_once('+').ok_or(KeyError::Form)?;
        let mut stated = [0; 4];
        hex::decode_to_slice(id, &mut stated)
            .ok()
            .filter(|()| hexadecimal::is_lower(id, 8))
            .ok_or(KeyError::Form)?;
        let bytes = STANDARD.decode(bytes).map_err(|_| KeyError::Form)?;
        let (algorithm, public_key) = bytes.split_first().ok_or(KeyError::Form)?;
        if *algorithm != ED25519 {
            return Err(KeyError::Algorithm);
        }
        let key = Self::new(name, public_key.try_into().map_err(|_| KeyError::Key)?)?;
        if key.id == stated { Ok(key) } else { Err(KeyError::Id) }
    }
}

/// A secret key with its name: what signs notes. Its bytes are wiped when it is dropped.
pub struct Signer {
    key: SigningKey,
    verifier: VerifierKey,
}

impl Signer {
    /// The key of this name that 32 secret random bytes make.
    ///
    /// # Errors
    /// When the name is not one.
    pub fn new(name: impl Into<String>, secret: &[u8; 32]) -> Result<Self, KeyError> {
        let key = SigningKey::from_bytes(secret);
        let verifier = VerifierKey::new(name, key.verifying_key().as_bytes())?;
        Ok(Self { key, verifier })
    }

    /// The public key of it.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.verifier)
    }
}

/// The keys that a reader of notes trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedKeys(Vec<VerifierKey>);

impl TrustedKeys {
    /// These keys.
    ///
    /// # Errors
    /// When one is there twice: that is a slip, and hides what is missing.
    pub fn new(keys: Vec<VerifierKey>) -> Result<Self, KeyError> {
        let mut trusted = Self::default();
        keys.into_iter().try_for_each(|key| trusted.add(key))?;
        Ok(trusted)
    }

    /// Reads the text form of a list: one key a line; empty lines, and those that begin with `#`, say nothing.
    ///
    /// # Errors
    /// When a line is no key, or the key of a line before.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut trusted = Self::default();
        for (line, number) in text.lines().map(str::trim).zip(1_usize..) {
            if !line.is_empty() && !line.starts_with('#') {
                line.parse()
                    .and_then(|key| trusted.add(key))
                    .map_err(|error| KeyError::Line { line: number, error: Box::new(error) })?;
            }
        }
        Ok(trusted)
    }

    fn add(&mut self, key: VerifierKey) -> Result<(), KeyError> {
        if self.0.iter().any(|there| there.public_key() == key.public_key()) {
            return Err(KeyError::Twice(key.name));
        }
        self.0.push(key);
        Ok(())
    }

    /// The keys, in the order in which they were given.
    pub fn keys(&self) -> &[VerifierKey] {
        &self.0
    }

    /// The key of this name and id.
    pub fn find(&self, name: &str, id: [u8; 4]) -> Option<&VerifierKey> {
        self.0.iter().find(|key| key.name == name && key.id == id)
    }
}

/// Whether a key may have this name.
pub(super) fn is_name(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(odd)
}

/// `SHA-256(name || 0x0A || 0x01 || key)`, its first four bytes.
fn key_id(name: &str, public_key: &[u8; 32]) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update(b"\n")
        .chain_update(typed(public_key))
        .finalize()
        .into();
    let [a, b, c, d, ..] = hash;
    [a, b, c, d]
}

/// The algorithm's byte and the key.
fn typed(public_key: &[u8; 32]) -> [u8; 33] {
    let mut bytes = [ED25519; 33];
    bytes.iter_mut().skip(1).zip(public_key).for_each(|(to, from)| *to = *from);
    bytes
}
