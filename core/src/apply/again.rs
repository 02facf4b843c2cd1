//! What an accepted change did, done once more: how the catalog of an earlier revision is made of the audit log.
//!
//! The operations are performed by the very code that performed them first. Who asked had the right to it then, and the
//! policies were kept; that is not judged again, for what it was judged by, the tokens, is not in the audit log.

use crate::{key::ProjectKey, operation::Operation, rejection::Rejection, state::State};

use super::{authority::Authority, draft::Draft};

/// What was done.
pub(crate) struct Done<'a> {
    /// The project whose objects the operations name.
    pub project: Option<ProjectKey>,
    /// The operations on the catalog. Those on tokens and on the cluster are left out.
    pub operations: &'a [Operation],
    /// The id of who did it.
    pub author: String,
    /// Record time.
    pub at_ms: i64,
}

/// Performs the operations of one accepted change, which takes the next revision.
///
/// # Errors
/// When one is rejected: then this is not the state that the change was made on.
pub(crate) fn perform_again(state: &State, done: Done<'_>) -> Result<State, Rejection> {
    let Done { project, operations, author, at_ms } = done;
    let mut draft = Draft::begin(state, project, author, at_ms);
    for operation in operations {
        draft.perform(&Authority::System, operation)?;
    }
    // It was accepted, so it took one, be it by an operation that is left out.
    draft.take_revision();
    Ok(draft.state)
}
