//! The right edge of the tree: what is needed to let it grow.

use std::fmt;

use super::{Hash, empty_root, leaf_hash, node_hash};

/// The right edge of the tree: the roots of the perfect subtrees that cover the log, the largest first. That
/// is all one needs to append a leaf and to know the root, in space logarithmic in the log's size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Hash>,
}

impl Frontier {
    /// A frontier that was stored earlier. `None` unless there is one subtree for each bit set in `size`.
    pub fn from_parts(size: u64, subtrees: Vec<Hash>) -> Option<Self> {
        (usize::try_from(size.count_ones()).ok()? == subtrees.len()).then_some(Self { size, subtrees })
    }

    /// How many leaves the log has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the perfect subtrees, the largest first.
    pub fn subtrees(&self) -> &[Hash] {
        &self.subtrees
    }

    /// Appends the leaf that is these bytes.
    pub fn push(&mut self, leaf: &[u8]) {
        self.push_hash(leaf_hash(leaf));
    }

    /// Appends the leaf that has this hash.
    pub fn push_hash(&mut self, leaf: Hash) {
        self.join(0, 1, leaf);
    }

    /// Appends the `2^level` leaves of a perfect subtree, of which the root is known.
    ///
    /// # Errors
    /// When the log's size is not a multiple of `2^level`, or would pass the greatest number: then the log stays as it is.
    pub fn push_subtree(&mut self, level: u8, root: Hash) -> Result<(), Misaligned> {
        let misaligned = Misaligned { level, size: self.size };
        let leaves = 1_u64.checked_shl(u32::from(level)).ok_or(misaligned)?;
        if self.size.checked_rem(leaves) != Some(0) || self.size.checked_add(leaves).is_none() {
            return Err(misaligned);
        }
        self.join(u32::from(level), leaves, root);
        Ok(())
    }

    /// Appends a perfect subtree that is aligned.
    fn join(&mut self, level: u32, leaves: u64, root: Hash) {
        let mut hash = root;
        // Each one bit of the size, from that level up to the first zero, is a perfect subtree as large as the one in
        // hand: they join.
        for _ in 0..self.size.checked_shr(level).unwrap_or(0).trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.subtrees.push(hash);
        self.size = self.size.saturating_add(leaves);
    }

    /// The root of the log as it stands: for an empty log the hash of nothing, as RFC 6962 has it.
    pub fn root(&self) -> Hash {
        let mut smallest_first = self.subtrees.iter().rev();
        match smallest_first.next() {
            None => empty_root(),
            Some(smallest) => smallest_first.fold(*smallest, |right, left| node_hash(left, &right)),
        }
    }
}

/// A subtree does not begin where the log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misaligned {
    /// The subtree's level.
    pub level: u8,
    /// The log's size.
    pub size: u64,
}

impl fmt::Display for Misaligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { level, size } = self;
        write!(f, "a subtree of 2^{level} leaves can't begin at leaf {size}")
    }
}

impl std::error::Error for Misaligned {}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::merkle::cover;

    /// The definition of RFC 6962, taken literally.
    fn naive_root(leaves: &[Vec<u8>]) -> Hash {
        match leaves {
            [] => empty_root(),
            [only] => leaf_hash(only),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&naive_root(&leaves[..split]), &naive_root(&leaves[split..]))
            }
        }
    }

    #[test]
    fn agrees_with_the_definition_at_every_size() {
        let leaves: Vec<Vec<u8>> = (0..130u32).map(|n| n.to_string().into_bytes()).collect();
        let mut frontier = Frontier::default();
        for (size, leaf) in leaves.iter().enumerate() {
            assert_eq!(frontier.root(), naive_root(&leaves[..size]), "size {size}");
            frontier.push(leaf);
            let stored = Frontier::from_parts(frontier.size(), frontier.subtrees().to_vec());
            assert_eq!(stored.as_ref(), Some(&frontier));
        }
    }

    #[test]
    fn certificate_transparency_vectors() {
        // The eight leaves and their root as they are used by Certificate Transparency implementations.
        let leaves = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let mut frontier = Frontier::default();
        for leaf in leaves {
            frontier.push(&hex::decode(leaf).expect("hexadecimal literal"));
        }
        assert_eq!(
            hex::encode(frontier.root()),
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        );
    }

    #[test]
    fn a_frontier_of_the_wrong_shape_is_refused() {
        assert_eq!(Frontier::from_parts(3, vec![[0; 32]]), None);
    }

    #[test]
    fn a_subtree_stands_for_its_leaves() {
        let leaves: Vec<Hash> = (0..100_u32).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let whole = |range: Range<usize>| {
            let mut tree = Frontier::default();
            leaves[range].iter().for_each(|leaf| tree.push_hash(*leaf));
            tree
        };
        for middle in 0..100_u64 {
            let mut tree = whole(0..usize::try_from(middle).expect("small"));
            for (level, index) in cover(middle..100) {
                let start = usize::try_from(index << level).expect("small");
                assert_eq!(tree.push_subtree(level, whole(start..start + (1 << level)).root()), Ok(()));
            }
            assert_eq!(tree, whole(0..100), "from {middle}");
        }
    }

    #[test]
    fn a_subtree_that_is_not_aligned_is_refused() {
        let mut tree = Frontier::default();
        assert_eq!(tree.push_subtree(64, [0; 32]), Err(Misaligned { level: 64, size: 0 }));
        tree.push(b"a");
        let before = tree.clone();
        assert_eq!(tree.push_subtree(1, [0; 32]), Err(Misaligned { level: 1, size: 1 }));
        assert_eq!(tree, before);
        let mut full = Frontier::from_parts(1 << 63, vec![[0; 32]]).expect("one subtree");
        assert!(full.push_subtree(63, [0; 32]).is_err());
    }
}
