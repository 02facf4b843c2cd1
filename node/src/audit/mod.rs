//! Reading the audit log: which records are asked for, and how to find them without reading all.
//!
//! What a record is about are its terms ([`term`]). A filter ([`filter`]) wants some of them. Of every complete block of
//! [`BLOCK`] records a summary ([`summary`]) keeps which terms there are, so that a search ([`search`]) passes over blocks
//! in which nothing can match. Summaries are derived and written behind ([`indexer`]): where one is missing or no good, the
//! block is read.
//!
//! An export ([`export`]) is a stretch of the log with what proves it: see docs/audit.md.

mod export;
mod filter;
mod indexer;
mod search;
mod summary;
mod term;

pub(crate) use self::{
    export::{Export, removed_since, write},
    filter::Filter,
    indexer::{Indexer, renew_summaries},
    search::{Budget, Found, Order, Search, first_since, last_time},
    term::Term,
};

/// Records of a block: as many as a tile of the tree has hashes.
pub(crate) const BLOCK: u64 = 256;
