//! Checkpoints of the audit log: what the members sign, so that nobody can rewrite the log of one of them unseen.
//!
//! The way of a checkpoint: the leader's [`Checkpointer`] asks every member for its own signed checkpoint of one size;
//! [`Cosigner::sign`] gives it, if the log is still the one that the member signed last. What a majority signed alike
//! goes to all members, and [`Cosigner::take`] holds it against the member's own log: a member that differs stops.
//!
//! Nothing here holds up a read or a write.

mod cosigner;
mod keys;
mod last_signed;
mod leader;
mod metrics;
mod own_log;
mod registration;
mod signed;
#[cfg(test)]
mod tests;

pub use self::{cosigner::CheckpointReport, signed::SignedCheckpoint};
pub(crate) use self::{
    cosigner::{Cosigner, CosignerParts, Unsigned},
    leader::{Checkpointer, CheckpointerParts},
    metrics::CheckpointMetrics,
};
