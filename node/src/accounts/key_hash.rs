//! The hash of a targeting key: what tells persons apart in the audit log without naming them.

use std::fmt;

use flagraft_core::{
    account::KeyHash,
    identity::ClusterId,
    key::{EnvironmentKey, ProjectKey},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::peer::PeerSecret;

/// What the key of an environment is derived for. Frozen: another one would give every person another hash.
const LABEL: &[u8] = b"flagraft targeting key v1";

/// Hashes the targeting keys of one environment, with a key that is the same on every node and stored on none: it is
/// derived from the peer secret, the cluster's identity and the names of project and environment.
///
/// Without a peer secret the key is derived from the others alone, which are no secrets: then whoever can read the audit
/// log can find out by trial whom a hash stands for.
#[derive(Clone)]
pub struct KeyHasher(Hmac<Sha256>);

impl KeyHasher {
    /// The hasher of an environment.
    pub fn new(
        secret: Option<&PeerSecret>,
        cluster: ClusterId,
        project: &ProjectKey,
        environment: &EnvironmentKey,
    ) -> Self {
        let mut derived = keyed(secret.map_or(&[][..], PeerSecret::bytes));
        derived.update(LABEL);
        // Neither a cluster's id nor a key holds a zero byte.
        derived.update(format!("\0{cluster}\0{project}\0{environment}").as_bytes());
        Self(keyed(&derived.finalize().into_bytes()))
    }

    /// The hash of a targeting key.
    pub fn hash(&self, targeting_key: &str) -> KeyHash {
        let mut mac = self.0.clone();
        mac.update(targeting_key.as_bytes());
        let whole = mac.finalize().into_bytes();
        KeyHash(std::array::from_fn(|place| whole[place]))
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(..)")
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
    Hmac::<Sha256>::new_from_slice(key).expect("any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values were computed apart, with Python's `hmac`.
    #[test]
    fn a_key_s_hash_is_frozen_and_differs_by_all_that_the_key_is_derived_from() {
        let secret = |byte: u8| PeerSecret::new(vec![byte; 32]).expect("long enough");
        let project = |key: &str| ProjectKey::new(key).expect("a key");
        let environment = |key: &str| EnvironmentKey::new(key).expect("a key");
        let hash = |secret: Option<&PeerSecret>, cluster: u128, p: &str, e: &str| {
            let hasher = KeyHasher::new(secret, ClusterId(cluster), &project(p), &environment(e));
            hex::encode(hasher.hash("user-1").0)
        };
        let with = hash(Some(&secret(b's')), 0xab, "shop", "production");
        assert_eq!(with, WITH_A_SECRET);
        assert_eq!(hash(None, 0xab, "shop", "production"), WITHOUT);
        for other in [
            hash(Some(&secret(b't')), 0xab, "shop", "production"),
            hash(Some(&secret(b's')), 0xac, "shop", "production"),
            hash(Some(&secret(b's')), 0xab, "shop2", "production"),
            hash(Some(&secret(b's')), 0xab, "shop", "dev"),
        ] {
            assert_ne!(other, with);
        }
    }

    const WITH_A_SECRET: &str = "1577ca72eb86afce232fb8fbe6b43e11";
    const WITHOUT: &str = "b6b61f5a1f5d6a4dff706cc4fd1eb6de";
}
