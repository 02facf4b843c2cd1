//! What a stream carries: the definitions of one environment of a project, and how they change.
//!
//! Two sides: [`encode`] makes the documents of a [`crate::state::State`], on a node; a client makes of them what it
//! evaluates. A *snapshot* is the environment at one revision. A *change* is what one revision did to it, and says which
//! revision touched the environment before, so that a gap shows. A *progress* says how far the stream is.
//!
//! The documents hold what evaluation in the environment sees, and no more: the live flags without the fields that are for
//! people, and the segments that those flags ask, with the environment's own lists and conditions in place of the
//! segment's. So they are the same as long as the revision that last touched the environment is: it names them.
//!
//! Their bytes are the same on every node: fields stand in a fixed order, flags and segments in the order of their keys,
//! members in theirs. Nothing here reads how the state came to be what it is.

mod affected;
pub mod encode;
mod read;
pub mod replica;
pub mod wire;

pub use self::{
    read::FeedError,
    replica::{Replica, ReplicaError},
};

/// The version of the documents. A client that meets a higher one, or a kind of edit that it does not know, can't follow
/// and must be upgraded.
pub const FORMAT: u32 = 1;
