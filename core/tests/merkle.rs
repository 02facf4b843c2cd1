//! The tree and its proofs, compared with the definition and with another implementation (`tlog_tiles`).

use flagraft_core::merkle::{
    Frontier, Hash, consistency_proof, empty_root, inclusion_proof, leaf_hash, node_hash, root_at,
    verify_consistency, verify_inclusion,
};
use proptest::prelude::*;
use tlog_tiles::tlog;

/// The definition of RFC 6962, taken literally.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

/// `PATH(index, leaves)` of RFC 6962, taken literally.
fn naive_inclusion(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut proof, beside) = if index < left.len() {
        (naive_inclusion(index, left), right)
    } else {
        (naive_inclusion(index - left.len(), right), left)
    };
    proof.push(naive_root(beside));
    proof
}

/// `SUBPROOF(first, leaves, whole)` of RFC 6962, taken literally.
fn naive_consistency(first: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
    if first == leaves.len() {
        return if whole { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut proof, beside) = if first <= left.len() {
        (naive_consistency(first, left, whole), right)
    } else {
        (naive_consistency(first - left.len(), right, false), left)
    };
    proof.push(naive_root(beside));
    proof
}

/// A log of which every perfect subtree is kept, and the same for the other implementation.
struct Log {
    leaves: Vec<Hash>,
    /// By level and index.
    subtrees: Vec<Vec<Hash>>,
    theirs: Theirs,
}

#[derive(Default)]
struct Theirs(Vec<tlog::Hash>);

impl tlog::HashReader for Theirs {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes.iter().map(|index| self.0[usize::try_from(*index).expect("small")]).collect())
    }
}

impl Log {
    fn new(size: u64) -> Self {
        let mut theirs = Theirs::default();
        let mut leaves = Vec::new();
        for n in 0..size {
            let leaf = leaf_hash(&n.to_be_bytes());
            leaves.push(leaf);
            let hashes = tlog::stored_hashes_for_record_hash(n, tlog::Hash(leaf), &theirs).expect("hashes");
            theirs.0.extend(hashes);
        }
        let mut subtrees = vec![leaves.clone()];
        while let Some(level) = subtrees.last().filter(|level| level.len() > 1) {
            subtrees.push(level.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect());
        }
        Self { leaves, subtrees, theirs }
    }

    /// Nothing but what the log holds is ever asked for: anything else panics.
    fn subtree(&self, level: u8, index: u64) -> Result<Hash, String> {
        let index = usize::try_from(index).expect("small");
        Ok(self.subtrees[usize::from(level)][index])
    }

    fn leaf(&self, index: u64) -> &Hash {
        &self.leaves[usize::try_from(index).expect("small")]
    }

    fn root(&self, size: u64) -> Hash {
        root_at(size, |level, index| self.subtree(level, index)).expect("root")
    }

    fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        inclusion_proof(index, size, |level, index| self.subtree(level, index)).expect("proof")
    }

    fn consistency(&self, first: u64, second: u64) -> Option<Vec<Hash>> {
        consistency_proof(first, second, |level, index| self.subtree(level, index)).expect("proof")
    }

    /// Theirs is the same, and both accept it.
    fn compare_inclusion(&self, index: u64, size: u64) {
        let proof = self.inclusion(index, size).expect("a leaf of the log");
        let their_proof = tlog::prove_record(size, index, &self.theirs).expect("proof");
        assert_eq!(proof, ours(&their_proof), "leaf {index} of {size}");
        let root = self.root(size);
        assert!(verify_inclusion(self.leaf(index), index, size, &proof, &root), "leaf {index} of {size}");
        tlog::check_record(&their_proof, size, tlog::Hash(root), index, tlog::Hash(*self.leaf(index)))
            .expect("good");
    }

    fn compare_consistency(&self, first: u64, second: u64) {
        let proof = self.consistency(first, second).expect("a shorter log");
        let their_proof = tlog::prove_tree(second, first, &self.theirs).expect("proof");
        assert_eq!(proof, ours(&their_proof), "{first} in {second}");
        let (first_root, second_root) = (self.root(first), self.root(second));
        assert!(verify_consistency(first, &first_root, second, &second_root, &proof), "{first} in {second}");
        tlog::check_tree(&their_proof, second, tlog::Hash(second_root), first, tlog::Hash(first_root))
            .expect("good");
    }
}

fn ours(theirs: &[tlog::Hash]) -> Vec<Hash> {
    theirs.iter().map(|hash| hash.0).collect()
}

const SIZE: u64 = 300;

#[test]
fn every_root_and_proof_up_to_300_leaves() {
    let log = Log::new(SIZE);
    let mut frontier = Frontier::default();
    for size in 0..=SIZE {
        let leaves = &log.leaves[..usize::try_from(size).expect("small")];
        let root = log.root(size);
        assert_eq!(root, naive_root(leaves), "size {size}");
        assert_eq!(root, frontier.root(), "size {size}");
        assert_eq!(root, tlog::tree_hash(size, &log.theirs).expect("hash").0, "size {size}");
        for smaller in 0..size {
            log.compare_inclusion(smaller, size);
        }
        for first in 1..=size {
            log.compare_consistency(first, size);
        }
        if size < SIZE {
            frontier.push_hash(*log.leaf(size));
        }
    }
}

#[test]
fn every_proof_is_the_one_of_the_definition() {
    let log = Log::new(70);
    for size in 0..=70 {
        let leaves = &log.leaves[..size];
        let size = u64::try_from(size).expect("small");
        for smaller in 0..leaves.len() {
            let at = u64::try_from(smaller).expect("small");
            assert_eq!(
                log.inclusion(at, size),
                Some(naive_inclusion(smaller, leaves)),
                "leaf {at} of {size}"
            );
            if smaller > 0 {
                let naive = naive_consistency(smaller, leaves, true);
                assert_eq!(log.consistency(at, size), Some(naive), "{at} in {size}");
            }
        }
    }
}

#[test]
fn what_is_not_in_the_log_has_no_proof() {
    let log = Log::new(8);
    assert_eq!(log.inclusion(8, 8), None);
    assert_eq!(log.inclusion(0, 0), None);
    assert_eq!(log.consistency(9, 8), None);
    assert_eq!(log.consistency(0, 8), Some(Vec::new()));
    assert_eq!(log.consistency(8, 8), Some(Vec::new()));
    let failing = |_, _| Err("the disk is gone");
    assert_eq!(inclusion_proof(1, 8, failing), Err("the disk is gone"));
    assert_eq!(consistency_proof(3, 8, failing), Err("the disk is gone"));
    assert_eq!(root_at(8, failing), Err("the disk is gone"));
}

#[test]
fn consistency_at_the_edges() {
    let log = Log::new(8);
    let (empty, root) = (empty_root(), log.root(8));
    assert!(verify_consistency(0, &empty, 8, &root, &[]));
    assert!(verify_consistency(0, &empty, 0, &empty, &[]));
    assert!(verify_consistency(8, &root, 8, &root, &[]));
    assert!(!verify_consistency(0, &root, 8, &root, &[]), "the root of an empty log is known");
    assert!(!verify_consistency(0, &root, 0, &root, &[]));
    assert!(!verify_consistency(0, &empty, 8, &root, &[root]));
    assert!(!verify_consistency(8, &root, 8, &root, &[root]));
    assert!(!verify_consistency(8, &root, 8, &log.root(7), &[]));
    assert!(!verify_consistency(8, &root, 4, &log.root(4), &[]));
    assert!(!verify_consistency(3, &log.root(3), 8, &root, &[]));
    assert!(!verify_inclusion(&root, 0, 0, &[], &root));
    assert!(!verify_inclusion(log.leaf(0), 8, 8, &log.inclusion(0, 8).expect("proof"), &root));
}

/// The tests of certificate-transparency's `merkletree`: eight leaves, their root, and proofs that were published for them.
#[test]
fn certificate_transparency_vectors() {
    let leaves: Vec<Hash> =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
            .iter()
            .map(|leaf| leaf_hash(&hex::decode(leaf).expect("hexadecimal")))
            .collect();
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    for (size, root) in (1..).zip(roots) {
        assert_eq!(hex::encode(naive_root(&leaves[..size])), root);
    }
    let read = |level: u8, index: u64| {
        let first = usize::try_from(index << level).expect("small");
        Ok::<_, ()>(naive_root(&leaves[first..first + (1 << level)]))
    };
    let proof = inclusion_proof(5, 8, read).expect("read").expect("proof");
    assert_eq!(
        proof.iter().map(hex::encode).collect::<Vec<_>>(),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    let proof = consistency_proof(6, 8, read).expect("read").expect("proof");
    assert_eq!(
        proof.iter().map(hex::encode).collect::<Vec<_>>(),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

fn arbitrary_sizes() -> impl Strategy<Value = (u64, u64)> {
    (1..5_000_u64).prop_flat_map(|size| (0..size, Just(size)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn bigger_logs((smaller, size) in arbitrary_sizes()) {
        let log = Log::new(size);
        log.compare_inclusion(smaller, size);
        log.compare_consistency(smaller + 1, size);
        prop_assert_eq!(log.root(size), naive_root(&log.leaves));
    }

    #[test]
    fn an_altered_proof_proves_nothing(
        (smaller, size) in (2..400_u64).prop_flat_map(|size| (1..size, Just(size))),
        at in any::<prop::sample::Index>(),
        bit in 0..256_usize,
        how in 0..6,
    ) {
        let log = Log::new(size);
        let alter = |proof: &mut Vec<Hash>| match how {
            0 if !proof.is_empty() => {
                let at = at.index(proof.len());
                proof[at][bit / 8] ^= 1 << (bit % 8);
            }
            1 if !proof.is_empty() => { proof.remove(at.index(proof.len())); }
            2 if proof.len() > 1 => { let at = at.index(proof.len() - 1); proof.swap(at, at + 1); }
            3 => proof.insert(at.index(proof.len() + 1), [0x5a; 32]),
            4 => proof.push(log.root(size)),
            _ => { proof.insert(0, *log.leaf(0)); }
        };
        let (root, smaller_root) = (log.root(size), log.root(smaller));
        let mut inclusion = log.inclusion(smaller, size).expect("proof");
        let good = inclusion.clone();
        alter(&mut inclusion);
        prop_assert!(!verify_inclusion(log.leaf(smaller), smaller, size, &inclusion, &root));
        prop_assert!(!verify_inclusion(log.leaf(smaller), smaller - 1, size, &good, &root));
        prop_assert!(!verify_inclusion(log.leaf(smaller - 1), smaller, size, &good, &root));
        let mut consistency = log.consistency(smaller, size).expect("proof");
        let good = consistency.clone();
        alter(&mut consistency);
        prop_assert!(!verify_consistency(smaller, &smaller_root, size, &root, &consistency));
        prop_assert!(!verify_consistency(smaller, &log.root(smaller - 1), size, &root, &good));
        prop_assert!(!verify_consistency(smaller, &smaller_root, size, &smaller_root, &good));
    }

    /// Nothing that comes from outside makes a verifier panic or go on for ever.
    #[test]
    fn any_input_is_answered(
        first in any::<u64>(),
        second in any::<u64>(),
        proof in prop::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        prop_assert!(!verify_inclusion(&[1; 32], first, second, &proof, &[2; 32]));
        prop_assert!(!verify_consistency(first, &[1; 32], second, &[2; 32], &proof));
        let read = |level: u8, index: u64| {
            assert!(level < 64 && index.checked_mul(1 << level).is_some());
            Ok::<_, ()>([0; 32])
        };
        prop_assert!(inclusion_proof(first, second, read).is_ok_and(|proof| proof.is_some() == (first < second)));
        prop_assert!(consistency_proof(first, second, read).is_ok_and(|proof| proof.is_some() == (first <= second)));
        prop_assert!(root_at(first, read).is_ok());
    }
}
