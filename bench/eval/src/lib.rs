//! What the two programs of this crate share.

/// A catalog made the only way there is, by applying operations.
#[path = "../../../core/tests/common/mod.rs"]
pub mod catalog;
