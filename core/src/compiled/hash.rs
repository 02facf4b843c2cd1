//! The hash that names are looked up by.

use std::hash::{BuildHasher as _, Hasher as _};

/// The hash of a name. Nothing that anybody sees depends on it: it only finds what is equal to the name. The names in
/// the tables are those that writers of the catalog chose, so that a fixed hash, which they could make collide, lets
/// nobody do more harm than they may do anyway.
pub(crate) fn name_hash(name: &str) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
    hasher.write(name.as_bytes());
    hasher.finish()
}
