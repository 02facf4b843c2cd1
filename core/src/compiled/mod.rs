//! Evaluation: `(revision, context) -> result`, the same on every node and in every client, for ever.
//!
//! A [`CompiledEnvironment`] is what evaluation reads: one environment of a project, at one revision, with everything
//! worked out that does not depend on whoever asks. Lists are sets, versions, times and networks are parsed, regular
//! expressions are built, seeds are hashed. A change compiles what it changed and shares the rest, and readers get the
//! new environment by a swapped pointer.
//!
//! Evaluation borrows from the environment and from the context. It takes no lock, reads no clock and, but for what is
//! stated in [`CompiledEnvironment::evaluate`], allocates nothing. It has one way through a flag, which [`explain`] watches.

mod attribute;
mod catalog;
mod changes;
mod comparison;
mod condition;
mod environment;
mod evaluation;
pub mod explain;
mod flag;
mod hash;
mod memo;
mod patterns;
mod project;
mod segment;
mod shared;
mod table;
#[cfg(test)]
mod tests;
mod trace;
mod values;

pub(crate) use self::hash::name_hash;
pub use self::{attribute::AttributeName, catalog::CompiledCatalog, environment::CompiledEnvironment};
