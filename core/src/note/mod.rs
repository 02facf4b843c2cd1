//! Signed notes (C2SP signed-note): a text and, under it, the signatures of those who stand by it.
//!
//! ```text
//! The text, of one or more lines.
//!
//! — name base64(key id || signature)
//! — another-name base64(key id || signature)
//! ```
//!
//! Everyone can read a note; whom to believe the reader brings along, as [`TrustedKeys`]. Signatures of keys that the reader
//! does not know mean nothing to it, for or against.

mod key;
mod signed;

pub use self::{
    key::{KeyError, Signer, TrustedKeys, VerifierKey, is_node_of, node_key_name},
    signed::{Note, NoteError, Signature},
};

/// Bytes of a note, all signatures included.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Signatures of a note.
pub const SIGNATURES_MAX: usize = 100;
