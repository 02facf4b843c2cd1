//! Bugs around `apply`, which itself has none: it is given another proposal, or its record is stored otherwise.

use std::{borrow::Cow, collections::HashMap, fmt::Write as _};

use flagraft_core::{
    operation::Operation,
    proposal::{Body, Change, Proposal},
    record::RecordBytes,
    state::State,
};

use super::{Canary, is_planted};
use crate::clock::wall_ms;

/// Of how many records one is rewritten.
const REWRITTEN_ONE_IN: u64 = 50;

/// Makes of the entry at `index` what a node with a bug would apply in its place.
pub(crate) fn misread(proposal: &mut Proposal, state: &State, index: u64) {
    if is_planted(Canary::ApplyTwice) && is_repeated(proposal, state)
        || is_planted(Canary::ForgetRequests) && proposal.request.client_given
    {
        // No request has had this id, and none will. It is the same on all nodes.
        _ = write!(proposal.request.id, " at {index}");
    }
    // Clusters are founded, and members let in, as they should be: a cluster that never begins to serve shows nothing.
    let Body::Change(change) = &mut proposal.body else { return };
    if !writes_flags(change) {
        return;
    }
    if is_planted(Canary::OrderByHash) {
        let operations: HashMap<usize, Operation> = change.operations.drain(..).enumerate().collect();
        change.operations = operations.into_values().collect();
    }
    if is_planted(Canary::ClockInApply) {
        proposal.proposed_at_ms = wall_ms();
    }
}

/// The bytes that a node with a bug stores of a record.
pub(crate) fn stored(record: &RecordBytes) -> Cow<'_, [u8]> {
    if is_planted(Canary::RewriteRecord)
        && record.sequence % REWRITTEN_ONE_IN == REWRITTEN_ONE_IN - 1
        && let Ok(text) = std::str::from_utf8(&record.bytes)
        && text.contains(r#""outcome":"accepted""#)
    {
        return Cow::Owned(text.replacen(r#""reason":""#, r#""reason":"not "#, 1).into_bytes());
    }
    Cow::Borrowed(&record.bytes)
}

fn is_repeated(proposal: &Proposal, state: &State) -> bool {
    proposal.request.client_given && state.request(&proposal.scoped_request_id()).is_some()
}

/// Whether it is a change that clients make all the time.
fn writes_flags(change: &Change) -> bool {
    change.operations.iter().all(|operation| matches!(operation, Operation::FlagPut(_)))
}
