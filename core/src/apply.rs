//! `apply`: the one way in which the state changes.
//!
//! Total and pure: the same state and proposal give the same outcome on every node, for ever. Each entry is judged
//! against the state that all entries before it made, whoever proposed it and whatever was checked before.

mod accounts;
mod again;
mod audit_keys;
mod authority;
mod configurations;
mod draft;
mod flags;
mod members;
mod references;
mod retention;
mod segments;
mod signature;
mod signing_keys;
mod system;
mod tenancy;
mod tokens;

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    account::{Access, Evaluations},
    canonical::Canonical,
    identity::{History, LogPosition},
    limits::{REQUESTS_MINTED_REMEMBERED_MAX, REQUESTS_REMEMBERED_MAX},
    operation::Operation,
    proposal::{Body, BodyTexts, Change, Denials, Proposal},
    record::{
        RECORD_VERSION, RECORD_VERSION_2, Record, RecordBytes, RecordKind, RecordOutcome, RecordTouches,
        RecordedOperation,
    },
    rejection::Rejection,
    reply::{Outcome, Reply},
    retention::SequenceRange,
    rows::{Row, RowId},
    state::{RememberedRequest, State},
};

use accounts::{Judged, note_access, note_evaluations};
use authority::Authority;

pub(crate) use again::{Done, perform_again};
use draft::{BeforeAfter, Draft};
use signature::Signed;

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
    /// The records that are removed from the audit log by it. To be replaced, in the same batch, by what stands for a
    /// removed record: see [`crate::record::tombstone`].
    pub removed: Vec<SequenceRange>,
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

    if let Some(first) = state.remembered(&scoped_id, now_ms) {
        return if first.body_sha256 == body_sha256 {
            without_record(state, first.reply(proposal.request.id.clone()))
        } else {
            refused(state, proposal, Rejection::IdempotencyMismatch)
        };
    }

    let mut next = state.clone();
    let mut rows = BTreeSet::new();
    forget_requests(state, &mut next, &mut rows, now_ms);
    // What reports are told from each other by is kept of their reporters.
    let is_report = proposal.body.is_report();
    let room = if is_report {
        false
    } else if proposal.request.client_given {
        next.requests.len() < REQUESTS_REMEMBERED_MAX
    } else {
        next.requests.len() < REQUESTS_REMEMBERED_MAX
            && next.requests.minted() < REQUESTS_MINTED_REMEMBERED_MAX
    };
    if proposal.request.client_given && !room && !is_report {
        return refused(state, proposal, Rejection::TooManyRequests);
    }

    let sequence = state.sequence();
    let revision_before = state.revision();
    let mut signature = None;
    let judged = match &proposal.body {
        Body::Change(change) => admit(&next, proposal, change, &texts, now_ms).and_then(|admitted| {
            // What is refused for something else keeps it: it says who asked.
            signature = admitted.signed.as_ref().map(|signed| signed.recorded.clone());
            judge(&next, proposal, change, admitted, now_ms).map(Judged::noted)
        }),
        Body::Denials(denials) => note_denials(&next, denials).map(Judged::noted),
        Body::Evaluations(evaluations) => note_evaluations(&next, proposal, evaluations, now_ms),
        Body::Access(access) => note_access(&next, proposal, access, now_ms),
    };
    let (verdict, outcome) = match judged {
        Ok(Judged::Repeated(sequence)) => {
            let outcome = Outcome::Unchanged { revision: revision_before, sequence };
            return without_record(
                state,
                Reply {
                    request_id: proposal.request.id.clone(),
                    outcome,
                    replayed: true,
                    promotes_critical: false,
                },
            );
        }
        Ok(Judged::Noted(mut verdict)) => {
            next = std::mem::take(&mut verdict.state);
            rows.append(&mut verdict.rows);
            let revision = next.revision();
            let outcome = if revision == revision_before {
                Outcome::Unchanged { revision, sequence }
            } else {
                Outcome::Accepted { revision, sequence }
            };
            (*verdict, outcome)
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
        Body::Evaluations(evaluations) => {
            ("evaluations that were counted".to_owned(), None, Some(evaluations.project.clone()))
        }
        Body::Access(_) => ("reads that were counted".to_owned(), None, None),
    };
    let is_of_version_2 = signature.is_some() || verdict.evaluations.is_some() || verdict.access.is_some();
    let record = Record {
        version: if is_of_version_2 { RECORD_VERSION_2 } else { RECORD_VERSION },
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
        signature,
        revision_before,
        revision_after: next.revision(),
        operations,
        denials: verdict.denials,
        evaluations: verdict.evaluations,
        access: verdict.access,
        outcome: match (&outcome, &proposal.body) {
            (Outcome::Rejected { .. } | Outcome::Refused { .. }, _) => RecordOutcome::Rejected,
            (_, Body::Denials(_) | Body::Evaluations(_) | Body::Access(_)) => RecordOutcome::Noted,
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
    Applied { state: next, writes, record: Some(record), removed: verdict.removed, reply }
}

fn refused(state: &State, proposal: &Proposal, rejection: Rejection) -> Applied {
    let (request_id, outcome) = (proposal.request.id.clone(), Outcome::Refused { rejection });
    without_record(state, Reply { request_id, outcome, replayed: false, promotes_critical: false })
}

fn without_record(state: &State, reply: Reply) -> Applied {
    Applied { state: state.clone(), writes: Vec::new(), record: None, removed: Vec::new(), reply }
}

fn forget_requests(state: &State, next: &mut State, rows: &mut BTreeSet<RowId>, now_ms: i64) {
    for _ in 0..FORGOTTEN_PER_ENTRY {
        let Some(id) = next.requests.oldest_over(|request| state.is_over(request, now_ms)) else { break };
        next.requests.remove(&id);
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
    evaluations: Option<Evaluations>,
    access: Option<Access>,
    /// The records that go from the audit log.
    removed: Vec<SequenceRange>,
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
            evaluations: None,
            access: None,
            removed: Vec::new(),
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

/// With what right a change is asked for.
struct Admitted {
    authority: Authority,
    signed: Option<Signed>,
}

/// Judges who asks for a change, and whether the cluster knows what is asked.
fn admit(
    state: &State,
    proposal: &Proposal,
    change: &Change,
    operations: &[Canonical],
    now_ms: i64,
) -> Result<Admitted, Rejection> {
    match change.operations.first() {
        Some(Operation::SystemBootstrap(_) | Operation::SystemRestore(_)) => {
            system::require_unfounded(state)?;
        }
        _ => require_founded(state)?,
    }
    proposal.body.check_cluster_version(proposal.signature.as_ref(), state.cluster_version())?;
    let authority = Authority::of(state, &proposal.actor, now_ms)?;
    let signed = signature::check(state, &authority, proposal, change, operations, now_ms)?;
    Ok(Admitted { authority, signed })
}

/// Judges a change: its operations one after the other, then what concerns it as a whole.
fn judge(
    state: &State,
    proposal: &Proposal,
    change: &Change,
    admitted: Admitted,
    now_ms: i64,
) -> Result<Verdict, Rejection> {
    let Admitted { authority, signed } = admitted;
    if let Some(project) = &change.project {
        authority.sees(state, project, &change.operations)?;
    }
    change.validate().map_err(Rejection::invalid)?;

    let mut draft = Draft::new(state, proposal, change, signed.map(|signed| signed.by), now_ms);
    for (index, operation) in change.operations.iter().enumerate() {
        let in_place = |rejection: Rejection| rejection.under(index).under("operations");
        draft.perform(&authority, operation).map_err(in_place)?;
    }
    draft.check_policies(state, change)?;
    Ok(draft.finish(state, change))
}
