//! The state digest: one 256-bit number that two nodes compare to learn whether they hold the same state.
//!
//! It is the sum, modulo 2^256, of the SHA-256 of every row. A sum can be kept up to date row by row, in any
//! order, so a change costs its own rows and not the whole catalog. It detects divergence and damage; proof
//! against a forger is the audit tree's work ([`crate::merkle`]), not the digest's.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The digest of a set of rows. Equal sets have equal digests, whatever order they were written in.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest([u64; 4]);

impl Digest {
    /// Counts a row in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut carry = false;
        for (limb, term) in self.0.iter_mut().zip(row_hash(key, value)) {
            let (sum, over) = limb.overflowing_add(term);
            let (sum, over_by_carry) = sum.overflowing_add(u64::from(carry));
            *limb = sum;
            carry = over || over_by_carry;
        }
    }

    /// Counts a row out again.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        let mut borrow = false;
        for (limb, term) in self.0.iter_mut().zip(row_hash(key, value)) {
            let (difference, under) = limb.overflowing_sub(term);
            let (difference, under_by_borrow) = difference.overflowing_sub(u64::from(borrow));
            *limb = difference;
            borrow = under || under_by_borrow;
        }
    }

    /// Reads the form that `Display` writes: 64 hexadecimal digits. `None` when it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 32] = hex::decode(text).ok()?.try_into().ok()?;
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().rev().zip(bytes.chunks_exact(8)) {
            *limb = u64::from_be_bytes(chunk.try_into().ok()?);
        }
        Some(Self(limbs))
    }
}

/// SHA-256 of one row as four limbs, the least significant first. The key's length goes in front, so that no
/// two different rows feed the hash the same bytes.
fn row_hash(key: &[u8], value: &[u8]) -> [u64; 4] {
    let mut hasher = Sha256::new();
    hasher.update(u64::try_from(key.len()).unwrap_or(u64::MAX).to_be_bytes());
    hasher.update(key);
    hasher.update(value);
    let hash: [u8; 32] = hasher.finalize().into();
    let mut limbs = [0; 4];
    for (limb, chunk) in limbs.iter_mut().rev().zip(hash.chunks_exact(8)) {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(chunk);
        *limb = u64::from_be_bytes(bytes);
    }
    limbs
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().rev().try_for_each(|limb| write!(f, "{limb:016x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let mut forward = Digest::default();
        let mut backward = Digest::default();
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            (0..200u32).map(|n| (n.to_be_bytes().to_vec(), vec![1; 3])).collect();
        for (key, value) in &rows {
            forward.add(key, value);
        }
        for (key, value) in rows.iter().rev() {
            backward.add(key, value);
        }
        assert_eq!(forward, backward);
        assert_ne!(forward, Digest::default());
        for (key, value) in &rows {
            forward.remove(key, value);
        }
        assert_eq!(forward, Digest::default());
    }

    #[test]
    fn moving_a_byte_between_key_and_value_changes_it() {
        let (mut one, mut other) = (Digest::default(), Digest::default());
        one.add(b"ab", b"c");
        other.add(b"a", b"bc");
        assert_ne!(one, other);
    }

    #[test]
    fn frozen_text_form_round_trips() {
        let mut digest = Digest::default();
        digest.add(b"key", b"value");
        // The digest of one row is its SHA-256: 8 bytes of key length, the key, the value.
        assert_eq!(digest.to_string(), "038cf63109a3e1d5dba1ce00338986757171c1b40d50cab41168b147273b8902");
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        assert_eq!(Digest::parse("abc"), None);
    }
}
