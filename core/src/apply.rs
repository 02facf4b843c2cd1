//! `apply`: the one way in which the state changes.
//!
//! Total and pure: the same state and proposal give the same outcome on every node, for ever. Each entry is judged
//! against the state that all entries before it made, whoever proposed it and whatever was checked before.

mod audit_keys;
mod authority;
mod configurations;
mod draft;
mod flags;
mod members;
mod references;
mod segments;
mod system;
mod tenancy;
mod tokens;

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    canonical::Canonical,
    identity::{History, LogPosition},
    limits::{REQUESTS_MINTED_REMEMBERED_MAX, REQUESTS_REMEMBERED_MAX, REQUESTS_REMEMBERED_MS},
    operation::Operation,
    proposal::{Body, BodyTexts, Change, Denials, Proposal},
    record::{
        RECORD_VERSION, Record, RecordBytes, RecordKind, RecordOutcome, RecordTouches, RecordedOperation,
    },
    rejection::Rejection,
    reply::{Outcome, Reply},
    rows::{Row, RowId},
    state::{RememberedRequest, State},
};

use draft::{BeforeAfter, Draft};

/// What an entry made of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The state after the entry.
    pub state: State,
    /// The rows in which it differs from the state before. To be written in one batch with the record.
    pub writes: Vec<Row>,
    /// The audit record; `None` for an entry that another one with the same request id had decided, and for one
    /// that is refused without a record.
    pub record: Option<RecordBytes>,
    /// The answer.
    pub reply: Reply,
}

/// How many remembered requests one entry forgets at most, so that no entry pays for many.
const FORGOTTEN_PER_ENTRY: usize = 64;

/// Judges a proposal against the state and says what becomes of it. See [`Rejection`] for the order in which faults
/// are found.
pub fn apply(state: &State, proposal: &Proposal, at: LogPosition) -> Applied {
    let now_ms = proposal.proposed_at_ms.max(state.last_at_ms());
    let scoped_id = proposal.scoped_request_id();
    let BodyTexts { sha256, operations: texts } = proposal.body.texts();
    let body_sha256 = proposal.asks_sha256.unwrap_or(sha256);
    let forgotten_before_ms = now_ms.saturating_sub(REQUESTS_REMEMBERED_MS);

    if let Some(first) = state.remembered(&scoped_id, now_ms) {
        return if first.body_sha256 == body_sha256 {
            without_record(state, first.reply(proposal.request.id.clone()))
        } else {
            refused(state, proposal, Rejection::IdempotencyMismatch)
        };
    }

    let mut next = state.clone();
    let mut rows = BTreeSet::new();
    forget_requests(&mut next, &mut rows, forgotten_before_ms);
    let room = if proposal.request.client_given {
        next.requests.len() < REQUESTS_REMEMBERED_MAX
    } else {
        next.requests.len() < REQUESTS_REMEMBERED_MAX
            && next.requests.minted() < REQUESTS_MINTED_REMEMBERED_MAX
    };
    if proposal.request.client_given && !room {
        return refused(state, proposal, Rejection::TooManyRequests);
    }

    let sequence = state.sequence();
    let revision_before = state.revision();
    let judged = match &proposal.body {
        Body::Change(change) => judge(&next, proposal, change, now_ms),
        Body::Denials(denials) => note_denials(&next, denials),
    };
    let (verdict, outcome) = match judged {
        Ok(mut verdict) => {
            next = std::mem::take(&mut verdict.state);
            rows.append(&mut verdict.rows);
            let revision = next.revision();
            let outcome = if revision == revision_before {
                Outcome::Unchanged { revision, sequence }
            } else {
                Outcome::Accepted { revision, sequence }
            };
            (verdict, outcome)
        }
        // A catalog from a backup keeps nothing of what it refuses until it has a history: one more record, or a remembered
        // request, and it would not be what the backup says any more.
        Err(rejection) if state.is_restored() => return refused(state, proposal, rejection),
        Err(rejection) => {
            (Verdict::of_rejection(&rejection, texts.len(), &next), Outcome::Rejected { rejection, sequence })
        }
    };

    if room {
        let id: Arc<str> = scoped_id.into();
        // A row of this id may linger past its time: it is replaced, in the table's order too.
        next.requests.remove(&id);
        let request = RememberedRequest {
            body_sha256,
            at_ms: now_ms,
            sequence,
            client_given: proposal.request.client_given,
            token: proposal.actor.token.clone(),
            outcome: outcome.clone(),
        };
        next.requests.insert(id.clone(), Arc::new(request));
        rows.insert(RowId::Request(id));
    }
    next.meta.last_at_ms = now_ms;

    let mut writes = Vec::new();
    for id in rows {
        let (key, before, after) = (id.key(), state.row(&id), next.row(&id));
        if before == after {
            continue;
        }
        if let Some(before) = &before {
            next.meta.digest.remove(&key, before);
        }
        if let Some(after) = &after {
            next.meta.digest.add(&key, after);
        }
        writes.push(Row { key, value: after });
    }

    let operations = texts.into_iter().zip(verdict.before_after);
    let operations = operations
        .map(|(operation, (before, after))| RecordedOperation { operation, before, after })
        .collect();
    let (reason, ticket, project) = match &proposal.body {
        Body::Change(change) => (change.reason.clone(), change.ticket.clone(), change.project.clone()),
        Body::Denials(_) => ("requests without a good token".to_owned(), None, None),
    };
    let record = Record {
        version: RECORD_VERSION,
        // Only the entry that founds the cluster is accepted before there is a history, and it brings one.
        history: next.history().unwrap_or(History(0)),
        group: proposal.group,
        sequence,
        time_ms: now_ms,
        proposed_at_ms: proposal.proposed_at_ms,
        node: proposal.node,
        term: at.term,
        index: at.index,
        request_id: proposal.request.id.clone(),
        kind: verdict.kind,
        actor: proposal.actor.clone(),
        project,
        touches: verdict.touches,
        reason,
        ticket,
        caused_by: proposal.caused_by.clone(),
        reverts: None,
        approvals: Vec::new(),
        signature: None,
        revision_before,
        revision_after: next.revision(),
        operations,
        denials: verdict.denials,
        outcome: match (&outcome, &proposal.body) {
            (Outcome::Rejected { .. } | Outcome::Refused { .. }, _) => RecordOutcome::Rejected,
            (_, Body::Denials(_)) => RecordOutcome::Noted,
            (Outcome::Accepted { .. }, _) => RecordOutcome::Accepted,
            (Outcome::Unchanged { .. }, _) => RecordOutcome::Unchanged,
        },
        rejection: outcome.rejection().cloned(),
        digest: next.meta.digest.to_string(),
        salt: proposal.salt,
    }
    .to_bytes();
    next.meta.audit.push_hash(record.leaf);
    writes.push(next.meta_row());

    let reply = Reply {
        request_id: proposal.request.id.clone(),
        outcome,
        replayed: false,
        promotes_critical: verdict.promotes_critical,
    };
    Applied { state: next, writes, record: Some(record), reply }
}

fn refused(state: &State, proposal: &Proposal, rejection: Rejection) -> Applied {
    let (request_id, outcome) = (proposal.request.id.clone(), Outcome::Refused { rejection });
    without_record(state, Reply { request_id, outcome, replayed: false, promotes_critical: false })
}

fn without_record(state: &State, reply: Reply) -> Applied {
    Applied { state: state.clone(), writes: Vec::new(), record: None, reply }
}

fn forget_requests(state: &mut State, rows: &mut BTreeSet<RowId>, before_ms: i64) {
    for _ in 0..FORGOTTEN_PER_ENTRY {
        let Some(id) = state.requests.oldest_before(before_ms) else { break };
        state.requests.remove(&id);
        rows.insert(RowId::Request(id));
    }
}

/// What a proposal that is not rejected makes of the state, and what its record says of it.
struct Verdict {
    kind: RecordKind,
    state: State,
    rows: BTreeSet<RowId>,
    touches: RecordTouches,
    /// Of each operation, the written object's value before and after.
    before_after: Vec<BeforeAfter>,
    denials: Option<Denials>,
    promotes_critical: bool,
}

impl Verdict {
    fn note(kind: RecordKind, state: &State) -> Self {
        Self {
            kind,
            state: state.clone(),
            rows: BTreeSet::new(),
            touches: RecordTouches::default(),
            before_after: Vec::new(),
            denials: None,
            promotes_critical: false,
        }
    }

    fn of_rejection(rejection: &Rejection, operations: usize, state: &State) -> Self {
        let kind = match rejection {
            Rejection::Forbidden { .. } | Rejection::Unauthenticated { .. } => RecordKind::Denied,
            _ => RecordKind::Rejected,
        };
        let nothing = (Canonical::null(), Canonical::null());
        Self { before_after: vec![nothing; operations], ..Self::note(kind, state) }
    }
}

fn note_denials(state: &State, denials: &Denials) -> Result<Verdict, Rejection> {
    require_founded(state)?;
    Ok(Verdict { denials: Some(denials.clone()), ..Verdict::note(RecordKind::Denied, state) })
}

fn require_founded(state: &State) -> Result<(), Rejection> {
    match state.founding() {
        Some(_) => Ok(()),
        None => Err(Rejection::Bootstrap {
            message: "the cluster is not founded yet; start one node with --bootstrap".to_owned(),
        }),
    }
}

/// Judges a change: its operations one after the other, then what concerns it as a whole.
fn judge(state: &State, proposal: &Proposal, change: &Change, now_ms: i64) -> Result<Verdict, Rejection> {
    match change.operations.first() {
        Some(Operation::SystemBootstrap(_) | Operation::SystemRestore(_)) => {
            system::require_unfounded(state)?;
        }
        _ => require_founded(state)?,
    }
    let cluster_version = state.cluster_version().max(1);
    let too_new = |operation: &Operation| operation.needs_cluster_version() > cluster_version;
    if let Some((index, operation)) = change.operations.iter().enumerate().find(|(_, o)| too_new(o)) {
        return Err(Rejection::UnsupportedOperation {
            path: format!("/operations/{index}"),
            operation: operation.name().to_owned(),
            needs: operation.needs_cluster_version(),
        });
    }
    let authority = authority::Authority::of(state, &proposal.actor, now_ms)?;
    if let Some(project) = &change.project {
        authority.sees(state, project, &change.operations)?;
    }
    change.validate().map_err(Rejection::invalid)?;

    let mut draft = Draft::new(state, proposal, change, now_ms);
    for (index, operation) in change.operations.iter().enumerate() {
        let in_place = |rejection: Rejection| rejection.under(index).under("operations");
        draft.perform(&authority, operation).map_err(in_place)?;
    }
    draft.check_policies(state, change)?;
    Ok(draft.finish(state, change))
}
