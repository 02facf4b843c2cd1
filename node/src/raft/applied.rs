//! How far the state has applied the log, tied to that state.
//!
//! The position and the state's rows lie in two column families. A batch writes both or neither, but what becomes of a
//! family later is told by RocksDB's manifest, family by family: one whose end is lost gives back a state of earlier, or
//! none at all, beside a position of today. So the position is kept with a hash of the state it is of.

use std::io;

use flagraft_core::state::State;
use sha2::{Digest as _, Sha256};

use super::{types::LogId, wire::encode_log_id};
use crate::storage::{Batch, MetaKey, Storage, StorageError};

/// Puts into a batch that the state of the batch is the one after the entry `last`.
pub(super) fn put(batch: &mut Batch<'_>, last: Option<&LogId>, state: &State) -> Result<(), io::Error> {
    let position = last.map(encode_log_id).transpose()?;
    batch.meta(MetaKey::LastApplied, position.as_deref());
    batch.meta(MetaKey::AppliedState, last.map(|_| hash(state)).as_ref().map(<[u8; 32]>::as_slice));
    Ok(())
}

/// Refuses a state that is another than the one that was kept with the position `last`.
///
/// # Errors
/// [`StorageError::Corrupt`].
pub(super) fn check(storage: &Storage, last: Option<LogId>, state: &State) -> Result<(), io::Error> {
    let Some(last) = last else { return Ok(()) };
    if storage.meta(MetaKey::AppliedState)?.as_deref() == Some(hash(state).as_slice()) {
        return Ok(());
    }
    Err(StorageError::corrupt(format!(
        "the state at revision {} with {} audit records is not the one that was kept at entry {last}: the database has \
         given back one of them older than the other",
        state.revision(),
        state.sequence()
    ))
    .into())
}

/// Of all that tells two states of one log apart.
fn hash(state: &State) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(state.digest().to_string());
    hash.update(state.audit_root());
    hash.update(state.sequence().to_be_bytes());
    hash.update(state.revision().to_be_bytes());
    hash.update(state.history().map_or(0, |history| history.0).to_be_bytes());
    hash.finalize().into()
}
