//! Signed changes: evidence that the author of a change held a key of his own, which nobody who runs a node does.
//!
//! A person or program makes an Ed25519 key pair, and an owner registers its public half ([`SigningKey`]). A change may
//! then carry a [`ChangeSignature`] over its [`Statement`]: all that its author says. The statement can be made without
//! asking anybody, and made again from the audit record alone ([`verify_signature`]).
//!
//! A signature is good once. It covers the history, the token and the request id, under which the state remembers what
//! became of the request; and the time at which it was made, which may be only so far from the time of the record that
//! the request is still remembered whenever the signature is good: see [`SIGNED_WITHIN_MS`].

mod key;
mod recorded;
mod statement;

pub use self::{
    key::{PublicKey, SigningKey, SigningKeyId, SigningKeySpec, check_signing_key_id, signing_key_id},
    recorded::{Fault, KnownKeys, RecordSignature, Signer, verify_signature},
    statement::{ChangeSignature, STATEMENT_DOMAIN, SignatureBytes, Statement},
};

/// How far the time of a record may be from the time at which its change was signed, either way, in milliseconds.
///
/// A change that was signed at `s` is recorded between `s - W` and `s + W`. Its request id is remembered for
/// [`REQUESTS_REMEMBERED_MS`](crate::limits::REQUESTS_REMEMBERED_MS) after that, so at least until
/// `s - W + REQUESTS_REMEMBERED_MS`. That is later than `s + W`, so there is no time at which the signature is still good
/// and the id forgotten.
pub const SIGNED_WITHIN_MS: i64 = 5 * 60 * 1_000;
