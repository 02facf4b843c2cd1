//! Proofs: that a leaf is in the log, and that a log is the beginning of a longer one.
//!
//! They are made from the roots of perfect subtrees, which the caller reads from wherever it keeps them, and verified by
//! the algorithms of RFC 9162, sections 2.1.3.2 and 2.1.4.2.

use std::ops::Range;

use super::{Hash, cover, empty_root, node_hash};

/// The root of the log when it had `size` leaves, from the roots of the perfect subtrees within it.
///
/// # Errors
/// What `subtree` fails with.
pub fn root_at<E>(size: u64, mut subtree: impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    range_root(0..size, &mut subtree)
}

/// The proof that the leaf at `index` is in the log of `size` leaves, the hash nearest to the leaf first. `None` when there
/// is no such leaf.
///
/// # Errors
/// What `subtree` fails with.
pub fn inclusion_proof<E>(
    index: u64,
    size: u64,
    mut subtree: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let mut beside = Vec::new();
    let mut range = 0..size;
    while let Some(middle) = middle(&range) {
        if index < middle {
            beside.push(middle..range.end);
            range = range.start..middle;
        } else {
            beside.push(range.start..middle);
            range = middle..range.end;
        }
    }
    roots_from_the_last(beside, &mut subtree).map(Some)
}

/// The proof that the log of `first` leaves is the beginning of the log of `second` leaves; it is empty when `first` is 0 or
/// `second`. `None` when `first` is greater than `second`.
///
/// # Errors
/// What `subtree` fails with.
pub fn consistency_proof<E>(
    first: u64,
    second: u64,
    mut subtree: impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if first > second {
        return Ok(None);
    }
    if first == 0 || first == second {
        return Ok(Some(Vec::new()));
    }
    let mut parts = Vec::new();
    let mut range = 0..second;
    // Down to the subtree that ends where the first log ends. The whole first log needs no telling: its root is known.
    while range.end != first {
        let Some(middle) = middle(&range) else { break };
        if first <= middle {
            parts.push(middle..range.end);
            range = range.start..middle;
        } else {
            parts.push(range.start..middle);
            range = middle..range.end;
        }
    }
    if range.start > 0 {
        parts.push(range);
    }
    roots_from_the_last(parts, &mut subtree).map(Some)
}

/// Whether `proof` shows that the leaf with this hash is the one at `index` in the log of `size` leaves with this root.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    let Some(mut last) = size.checked_sub(1) else { return false };
    if index > last {
        return false;
    }
    let mut node = index;
    let mut hash = *leaf;
    for beside in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(beside, &hash);
            // The last node of a level without a partner is its own parent.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, beside);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the log of `first` leaves with the root `first_root` is the beginning of the log of `second`
/// leaves with the root `second_root`. An empty log is the beginning of every log.
#[must_use]
pub fn verify_consistency(
    first: u64,
    first_root: &Hash,
    second: u64,
    second_root: &Hash,
    proof: &[Hash],
) -> bool {
    if first > second {
        return false;
    }
    if first == second {
        return proof.is_empty() && first_root == second_root && (first > 0 || *first_root == empty_root());
    }
    let Some(mut node) = first.checked_sub(1) else {
        return proof.is_empty() && *first_root == empty_root();
    };
    let mut last = second.saturating_sub(1);
    // What the first log's last leaf completes on the left is in both logs: begin above it.
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let mut proof = proof.iter();
    // A first log of a power of two is a subtree of the second, and the proof leaves its root out.
    let begin = if first.is_power_of_two() { Some(first_root) } else { proof.next() };
    let Some(begin) = begin else { return false };
    let (mut first_hash, mut second_hash) = (*begin, *begin);
    for beside in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            first_hash = node_hash(beside, &first_hash);
            second_hash = node_hash(beside, &second_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            second_hash = node_hash(&second_hash, beside);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && first_hash == *first_root && second_hash == *second_root
}

/// Where RFC 6962 splits the tree over these leaves: behind the largest power of two of them that is less than all. `None`
/// when there is nothing to split.
fn middle(range: &Range<u64>) -> Option<u64> {
    let leaves = range.end.checked_sub(range.start)?;
    let left = 1_u64.checked_shl(leaves.checked_sub(1)?.checked_ilog2()?)?;
    range.start.checked_add(left)
}

/// The roots of these subtrees, the last one first.
fn roots_from_the_last<E>(
    ranges: Vec<Range<u64>>,
    subtree: &mut impl FnMut(u8, u64) -> Result<Hash, E>,
) -> Result<Vec<Hash>, E> {
    ranges.into_iter().rev().map(|range| range_root(range, subtree)).collect()
}

/// The root of the subtree over these leaves, which begins where one begins.
fn range_root<E>(range: Range<u64>, subtree: &mut impl FnMut(u8, u64) -> Result<Hash, E>) -> Result<Hash, E> {
    let mut roots =
        cover(range).map(|(level, index)| subtree(level, index)).collect::<Result<Vec<_>, E>>()?;
    let Some(smallest) = roots.pop() else { return Ok(empty_root()) };
    Ok(roots.iter().rev().fold(smallest, |right, left| node_hash(left, &right)))
}
