//! The audit log's Merkle tree (RFC 6962 and RFC 9162, section 2.1): its hashes, its growth, what it proves, and the
//! tiles that it is kept in.
//!
//! A *perfect subtree* is named by `(level, index)`: it covers the `2^level` leaves from `index * 2^level` on. The root of
//! a perfect subtree never changes once its leaves are there, so those roots are all that a proof, or the root of an
//! earlier size, is made of.

mod cover;
mod frontier;
mod proof;
pub mod tile;

use sha2::{Digest as _, Sha256};

pub use self::{
    cover::cover,
    frontier::{Frontier, Misaligned},
    proof::{consistency_proof, inclusion_proof, root_at, verify_consistency, verify_inclusion},
};

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// The hash of a leaf: `SHA-256(0x00 || bytes)`.
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// The hash of an inner node: `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of a log without leaves: the hash of nothing, as RFC 6962 has it.
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}
