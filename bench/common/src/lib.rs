//! What all benchmarks share: flags, failures, figures, and what they ran on.

pub mod failure;
pub mod flags;
pub mod machine;
pub mod process;
pub mod statistics;
