//! The keys that changes are signed with: their public halves, and whose they are.

use std::{fmt, sync::Arc};

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::statement::SignatureBytes;
use crate::{
    hexadecimal,
    invalid::Invalid,
    token::{ActorType, TokenActor, check_named},
};

/// A signing key's id: `key_` and the first 32 hexadecimal digits of the SHA-256 of the public key. So whoever holds the
/// key knows its id, a key has one id only, and one that was revoked does not come back under another.
pub type SigningKeyId = Arc<str>;

/// The bytes of the hash that an id is made of.
const ID_BYTES: usize = 16;

/// The id of the key.
pub fn signing_key_id(public_key: &PublicKey) -> SigningKeyId {
    let hash: [u8; 32] = Sha256::digest(public_key.0).into();
    format!("key_{}", hex::encode(hash.get(..ID_BYTES).unwrap_or_default())).into()
}

/// Checks the shape of a signing key's id.
///
/// # Errors
/// [`Invalid`], with an empty path.
pub fn check_signing_key_id(id: &str) -> Result<(), Invalid> {
    let digits = id.strip_prefix("key_");
    if digits.is_some_and(|digits| hexadecimal::is_lower(digits, ID_BYTES.saturating_mul(2))) {
        Ok(())
    } else {
        Err(Invalid::here("a signing key's id is key_ and 32 lower-case hexadecimal digits"))
    }
}

/// An Ed25519 public key, in JSON as Base64 (RFC 4648, section 4) of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(#[serde(with = "crate::base64_bytes")] pub [u8; 32]);

impl PublicKey {
    /// Checks that it is one: a point of the curve, in its one encoding, and none of the few under which a signature
    /// proves nothing.
    fn validate(&self) -> Result<(), Invalid> {
        let key = VerifyingKey::from_bytes(&self.0).ok().filter(|key| !key.is_weak());
        key.filter(|key| key.to_edwards().compress().to_bytes() == self.0).map(drop).ok_or_else(|| {
            Invalid::here("this is no Ed25519 public key; give the one of `flagraft signing-key generate`")
        })
    }

    /// Whether the signature is this key's over these bytes. Strict: there is one signature that passes for each that
    /// the key's holder makes, and no key for which anything passes.
    pub fn verifies(&self, bytes: &[u8], signature: &SignatureBytes) -> bool {
        let signature = Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(bytes, &signature).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.0))
    }
}

/// A signing key as it is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKeySpec {
    /// Its id: [`signing_key_id`] of the public key.
    pub id: SigningKeyId,
    /// The person or program that holds the private half: whose changes it signs.
    pub actor: TokenActor,
    /// A name for people.
    pub name: String,
    /// The public half.
    pub public_key: PublicKey,
}

impl SigningKeySpec {
    /// Checks what needs no state.
    ///
    /// # Errors
    /// [`Invalid`] with the path to the first fault.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.public_key.validate().map_err(|invalid| invalid.under("public_key"))?;
        let id = signing_key_id(&self.public_key);
        if self.id != id {
            return Err(Invalid::new(
                "/id",
                format!(
                    "the id of this public key is {id}; say the same, or leave it out where that is allowed"
                ),
            ));
        }
        check_named(&self.name, &self.actor)?;
        if self.actor.actor_type == ActorType::System {
            return Err(Invalid::new(
                "/actor/type",
                "a key signs for a user or a service; system is the cluster itself, which signs no changes",
            ));
        }
        Ok(())
    }
}

/// A signing key as it is kept: for ever, so that its id is never another key's, and what it signed can be checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    /// As it was registered.
    pub spec: SigningKeySpec,
    /// The revision that changed it last.
    pub revision: u64,
    /// When it was registered, in milliseconds since 1970 UTC.
    pub created_at_ms: i64,
    /// When it was revoked.
    pub revoked_at_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey as Pair;

    use super::*;

    fn spec() -> SigningKeySpec {
        let public_key = PublicKey(Pair::from_bytes(&[7; 32]).verifying_key().to_bytes());
        SigningKeySpec {
            id: signing_key_id(&public_key),
            actor: TokenActor { actor_type: ActorType::User, id: "ann".to_owned() },
            name: "Ann's laptop".to_owned(),
            public_key,
        }
    }

    #[test]
    fn an_id_is_its_keys() {
        let spec = spec();
        assert_eq!(&*spec.id, "key_fe812c12f3ab4ce6ac5db69ac352f906");
        assert!(spec.validate().is_ok() && check_signing_key_id(&spec.id).is_ok());
        for wrong in
            ["", "key_", "key_FE812c12f3ab4ce6ac5db69ac352f906", &spec.id[4..], &format!("{}0", spec.id)]
        {
            assert!(check_signing_key_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_key_is_not_registered() {
        let fault = |change: fn(&mut SigningKeySpec)| {
            let mut spec = spec();
            change(&mut spec);
            spec.validate().expect_err("refused").path
        };
        assert_eq!(fault(|spec| spec.id = "key_00000000000000000000000000000000".into()), "/id");
        assert_eq!(fault(|spec| spec.name.clear()), "/name");
        assert_eq!(fault(|spec| spec.actor.id = "a\nb".to_owned()), "/actor/id");
        assert_eq!(fault(|spec| spec.actor.actor_type = ActorType::System), "/actor/type");
        // The neutral element, for which a signature of nobody passes; no point at all; and a second encoding of a point,
        // its y not reduced.
        let neutral = std::array::from_fn(|at| u8::from(at == 0));
        let no_point = std::array::from_fn(|at| if at == 0 { 2 } else { 0 });
        let not_reduced = std::array::from_fn(|at| match at {
            0 => 0xf0,
            31 => 0x7f,
            _ => 0xff,
        });
        for bytes in [neutral, no_point, not_reduced] {
            let mut spec = SigningKeySpec { public_key: PublicKey(bytes), ..spec() };
            spec.id = signing_key_id(&spec.public_key);
            assert_eq!(spec.validate().expect_err("refused").path, "/public_key", "{bytes:?}");
        }
    }

    #[test]
    fn a_public_key_has_one_text() {
        let text = serde_json::to_string(&spec().public_key).expect("JSON");
        assert_eq!(text.len(), 46);
        assert_eq!(serde_json::from_str::<PublicKey>(&text).expect("read again"), spec().public_key);
        let unpadded = text.replace('=', "");
        for wrong in
            [unpadded.as_str(), "\"\"", "7", "\"AAAA\"", "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\""]
        {
            assert!(serde_json::from_str::<PublicKey>(wrong).is_err(), "{wrong}");
        }
    }
}
