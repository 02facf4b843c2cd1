//! The seal under every message: what kind of authentication it has, and the MAC.
//!
//! ```text
//! body | auth kind u8 | MAC (32 bytes, kind 1 only)
//! ```

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of a shared secret, at least.
pub const SECRET_BYTES_MIN: usize = 32;

const MAC_BYTES: usize = 32;

/// The auth kinds. The numbers are frozen; 2 is kept for mutual TLS.
const NONE: u8 = 0;
const HMAC_SHA256: u8 = 1;

/// What a MAC is for. A request's can't pass for a reply's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Request,
    Reply,
    /// Of the length of a request that follows.
    Claim,
}

impl Direction {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Request => b"flagraft peer request v1",
            Self::Reply => b"flagraft peer reply v1",
            Self::Claim => b"flagraft peer claim v1",
        }
    }
}

/// The secret that all members of a cluster share.
#[derive(Clone)]
pub struct PeerSecret(Vec<u8>);

/// A secret is too short to protect anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the peer secret has {0} bytes; it needs at least {SECRET_BYTES_MIN}, e.g. from: openssl rand -hex 32"
)]
pub struct WeakSecret(pub usize);

impl PeerSecret {
    /// A secret of these bytes.
    ///
    /// # Errors
    /// When there are fewer than [`SECRET_BYTES_MIN`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, WeakSecret> {
        if bytes.len() < SECRET_BYTES_MIN { Err(WeakSecret(bytes.len())) } else { Ok(Self(bytes)) }
    }

    /// What is derived from it besides: see [`crate::accounts::KeyHasher`].
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn mac(&self, direction: Direction, sealed: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("any length");
        mac.update(direction.label());
        mac.update(sealed);
        mac
    }
}

impl fmt::Debug for PeerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerSecret(..)")
    }
}

/// Why a seal was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthError {
    /// It is cut off, or of an unknown kind.
    #[error("the message has no seal of a known kind")]
    Malformed,
    /// This node has a secret and the message does not use it.
    #[error("the message is not authenticated, and this node has a peer secret")]
    Missing,
    /// The message uses a secret and this node has none.
    #[error("the message is authenticated, and this node has no peer secret to check it with")]
    Unexpected,
    /// The secrets differ, or the message was changed.
    #[error("the message's authentication is wrong: do all members have the same peer secret?")]
    Wrong,
}

/// Seals a body in place.
pub(super) fn seal(secret: Option<&PeerSecret>, direction: Direction, body: &mut Vec<u8>) {
    match secret {
        None => body.push(NONE),
        Some(secret) => {
            body.push(HMAC_SHA256);
            let mac = secret.mac(direction, body).finalize().into_bytes();
            body.extend_from_slice(&mac);
        }
    }
}

/// Checks the seal of a message and returns the body.
pub(super) fn open<'a>(
    secret: Option<&PeerSecret>,
    direction: Direction,
    message: &'a [u8],
) -> Result<&'a [u8], AuthError> {
    // The kind stands before the MAC, so where it is depends on which kind this node accepts.
    let unauthenticated = || message.split_last().filter(|(kind, _)| **kind == NONE).map(|(_, body)| body);
    let authenticated = || {
        let (sealed, mac) = message.split_last_chunk::<MAC_BYTES>()?;
        let (kind, body) = sealed.split_last()?;
        (*kind == HMAC_SHA256).then_some((sealed, body, mac))
    };
    match secret {
        None if authenticated().is_some() && unauthenticated().is_none() => Err(AuthError::Unexpected),
        None => unauthenticated().ok_or(AuthError::Malformed),
        Some(secret) => match authenticated() {
            Some((sealed, body, mac)) => {
                secret.mac(direction, sealed).verify_slice(mac).map_err(|_| AuthError::Wrong)?;
                Ok(body)
            }
            None if unauthenticated().is_some() => Err(AuthError::Missing),
            None => Err(AuthError::Malformed),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(byte: u8) -> PeerSecret {
        PeerSecret::new(vec![byte; SECRET_BYTES_MIN]).expect("long enough")
    }

    fn sealed(secret: Option<&PeerSecret>, direction: Direction) -> Vec<u8> {
        let mut message = b"a message".to_vec();
        seal(secret, direction, &mut message);
        message
    }

    #[test]
    fn only_the_same_secret_and_direction_open_a_seal() {
        let (ours, theirs) = (secret(1), secret(2));
        let request = sealed(Some(&ours), Direction::Request);
        assert_eq!(open(Some(&ours), Direction::Request, &request), Ok(b"a message".as_slice()));
        assert_eq!(open(Some(&theirs), Direction::Request, &request), Err(AuthError::Wrong));
        assert_eq!(open(Some(&ours), Direction::Reply, &request), Err(AuthError::Wrong));
        assert_eq!(open(None, Direction::Request, &request), Err(AuthError::Unexpected));

        let open_message = sealed(None, Direction::Request);
        assert_eq!(open(None, Direction::Request, &open_message), Ok(b"a message".as_slice()));
        assert_eq!(open(Some(&ours), Direction::Request, &open_message), Err(AuthError::Missing));
    }

    #[test]
    fn no_bit_can_be_changed_and_no_byte_cut_off() {
        let secret = secret(1);
        let message = sealed(Some(&secret), Direction::Request);
        for at in 0..message.len() {
            let mut changed = message.clone();
            changed[at] ^= 1;
            assert!(open(Some(&secret), Direction::Request, &changed).is_err(), "byte {at}");
            assert!(open(Some(&secret), Direction::Request, &message[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn the_seal_is_frozen() {
        let message = sealed(Some(&secret(7)), Direction::Request);
        assert_eq!(hex::encode(&message[..10]), "61206d65737361676501");
        assert_eq!(
            hex::encode(&message[10..]),
            "4f527009ce6c0b72cf49bce0bbe3a24bbbdc0b023ff933e3eb7922195f03d0ee"
        );
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_printed() {
        assert_eq!(PeerSecret::new(vec![0; 31]).expect_err("too short"), WeakSecret(31));
        assert_eq!(format!("{:?}", secret(9)), "PeerSecret(..)");
    }
}
