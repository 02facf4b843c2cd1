//! The audit log as a file that proves itself: what `flagraft audit export` writes, and what anybody can check with nothing
//! but the file and the keys that they trust. `docs/audit.md` describes the format for people.
//!
//! A file accounts for every leaf of the log up to its checkpoint: with the record, or with the hash of a subtree that was
//! left out. So what was left out is known, and what is there can't be altered.

mod block;
mod csv;
mod fault;
mod line;
mod removals;
mod summary;
mod verify;
mod witnessed;
mod write;

pub use self::{
    fault::Fault,
    line::{Header, Why},
    summary::{Skipped, Summary},
    verify::{NoTrust, Verifier},
    witnessed::{Witnessed, WitnessedError},
    write::Writer,
};

/// The version of the format.
pub const FORMAT: u32 = 1;
/// Bytes of one line, its end included. A reader need not hold more.
pub const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Records that one line of hashes is for, at most.
pub const BLOCK_RECORDS: u64 = 256;

/// In which form the lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Each line is JSON.
    Ndjson,
    /// Records are rows of a table (RFC 4180) with their JSON in the last column; other lines begin with `#`.
    Csv,
}
