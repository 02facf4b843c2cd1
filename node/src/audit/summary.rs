//! Summaries of blocks: which terms the records of a block have.
//!
//! ```text
//! version u8 | root of the block's subtree, 32 bytes | hashes of terms, sorted, u32 each | CRC-32C of that, u32
//! ```
//!
//! A summary may name more terms than a block has, for two terms may share a hash, and a record may be removed; never
//! fewer.

use std::{collections::BTreeSet, ops::ControlFlow};

use flagraft_core::{
    merkle::{Frontier, Hash, tile::LEVELS},
    record::{is_removed, row_leaf_hash},
};

use super::{BLOCK, filter::Wanted, term::Told};
use crate::{
    raft::AuditTree,
    storage::{Storage, StorageError},
};

/// The version of the format, and of which terms a record has: a summary of another one is made anew.
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 33;
const CHECKSUM_BYTES: usize = 4;

/// What is kept of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// The root of the perfect subtree over the block's records: which records it is of.
    pub(super) root: Hash,
    /// Sorted.
    terms: Vec<u32>,
}

impl Summary {
    /// The summary that is kept of a complete block, if it is surely of the records that this tree has there.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) fn kept(
        storage: &Storage,
        tree: &mut AuditTree,
        block: u64,
    ) -> Result<Option<Self>, StorageError> {
        if block >= tree.size() / BLOCK {
            return Ok(None);
        }
        let kept = storage.audit_summary(block)?.and_then(|bytes| Self::decode(&bytes));
        let Some(summary) = kept else { return Ok(None) };
        Ok((tree.subtree(LEVELS, block)? == summary.root).then_some(summary))
    }

    /// The summary of a complete block, from its rows. `None` where a record can't be read: nobody could say
    /// what it is about.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) fn of_block(storage: &Storage, block: u64) -> Result<Option<Self>, StorageError> {
        let (from, to) = (block * BLOCK, (block + 1).saturating_mul(BLOCK));
        let mut made = Some(Making::default());
        storage.scan_audit::<StorageError>(from, |sequence, row| {
            if sequence >= to {
                return Ok(ControlFlow::Break(()));
            }
            made = made.take().and_then(|making| making.with(row));
            Ok(if made.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(made.map(Making::finish))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 4 * self.terms.len() + CHECKSUM_BYTES);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.root);
        bytes.extend(self.terms.iter().flat_map(|hash| hash.to_be_bytes()));
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    /// Reads a summary. `None` where it is damaged, or of another version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        let (version, rest) = covered.split_first()?;
        let (root, terms) = rest.split_first_chunk::<32>()?;
        if *version != VERSION || crc32c::crc32c(covered) != u32::from_be_bytes(*checksum) {
            return None;
        }
        let terms = terms.chunks(4).map(|hash| hash.try_into().map(u32::from_be_bytes));
        Some(Self { root: *root, terms: terms.collect::<Result<_, _>>().ok()? })
    }

    /// Whether the block may have a record that is wanted.
    pub(super) fn may_hold(&self, wanted: &Wanted) -> bool {
        let has = |hash: &u32| self.terms.binary_search(hash).is_ok();
        wanted.0.iter().all(|group| group.iter().any(has))
    }
}

/// A summary in the making: one row at a time, for a record may be of several mebibytes.
#[derive(Default)]
struct Making {
    tree: Frontier,
    terms: BTreeSet<u32>,
}

impl Making {
    /// With the next row. `None` where it can't be read.
    fn with(mut self, row: &[u8]) -> Option<Self> {
        self.tree.push_hash(row_leaf_hash(row)?);
        // Of a record that was removed nothing is left to be found.
        if !is_removed(row) {
            let Self { terms, .. } = &mut self;
            Told::read(row)?.terms(true, |term| {
                terms.insert(term.hash());
            })?;
        }
        Some(self)
    }

    fn finish(self) -> Summary {
        Summary { root: self.tree.root(), terms: self.terms.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{
            filter::Filter,
            term::{
                Term,
                tests::{operations, record},
            },
        },
        *,
    };

    #[test]
    fn a_summary_holds_what_its_records_hold_and_no_damaged_one_is_read() {
        let rows: Vec<Vec<u8>> = (0..40)
            .map(|n| {
                let operation = json!({"op": "flag.put", "flag": {"key": format!("flag-{n}"), "environments": {"live": {}}}});
                record(&json!({"sequence": n, "operations": operations(&[operation])}))
            })
            .collect();
        let of = |rows: &[Vec<u8>]| {
            rows.iter().try_fold(Making::default(), |making, row| making.with(row)).map(Making::finish)
        };
        let summary = of(&rows).expect("readable");
        let bytes = summary.encode();
        assert_eq!(Summary::decode(&bytes).as_ref(), Some(&summary));
        let flag = |key: String| Filter::default().any_of([Term::Flag("shop".to_owned(), key)]).wanted();
        for n in 0..40 {
            assert!(summary.may_hold(&flag(format!("flag-{n}"))));
        }
        let unknown = (40..1_040).filter(|n| summary.may_hold(&flag(format!("flag-{n}")))).count();
        assert_eq!(unknown, 0, "32 bits tell a thousand keys from forty");
        assert!(summary.may_hold(&Filter::default().wanted()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(Summary::decode(&damaged), None, "byte {at}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Summary::decode(&bytes[..length]), None, "cut to {length}");
        }
        assert_eq!(of(&[b"{}".to_vec()]), None, "a record that can't be read");
    }
}
