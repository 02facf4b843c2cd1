//! Reports of what was counted: each is recorded once, and what is missing of them shows.

use crate::{
    account::{Access, Evaluations, Missing, Report, Unfinished},
    key::{EnvironmentKey, ProjectKey},
    proposal::Proposal,
    record::RecordKind,
    rejection::Rejection,
    reporters::KnownReporter,
    rows::RowId,
    state::State,
    token::{TokenId, TokenKind, TokenSpec},
};

use super::{Verdict, authority::Authority, require_founded};

/// What becomes of a report.
pub(super) enum Judged {
    /// It is recorded.
    Noted(Box<Verdict>),
    /// The log has it: this is the sequence of the reporter's last record.
    Repeated(u64),
}

impl Judged {
    pub fn noted(verdict: Verdict) -> Self {
        Self::Noted(Box::new(verdict))
    }
}

/// Judges a count of evaluations: a node's of those that it made, or one of whoever holds a service token, of those that
/// it made itself in the token's environment.
pub(super) fn note_evaluations(
    state: &State,
    proposal: &Proposal,
    evaluations: &Evaluations,
    now_ms: i64,
) -> Result<Judged, Rejection> {
    match reporting(state, proposal, &evaluations.report, now_ms)? {
        None if evaluations.self_reported => Err(not_granted("a node counts what it evaluates itself")),
        None => Ok(()),
        Some(token) => {
            require_own(&token, evaluations)?;
            let of_others = |given: &TokenId| *given != token.id;
            let mut given = evaluations.entries.iter().map(|entry| &entry.token);
            let mut listed = evaluations.full.iter().map(|one| &one.token);
            if given.any(of_others) || listed.any(of_others) {
                return Err(not_granted("a report of this token counts what was evaluated with it"));
            }
            Ok(())
        }
    }?;
    evaluations.validate().map_err(Rejection::invalid)?;
    Ok(taken(state, &evaluations.report, RecordKind::Evaluations, |report, verdict| {
        verdict.evaluations = Some(Evaluations { report, ..evaluations.clone() });
    }))
}

/// Judges a node's count of reads.
pub(super) fn note_access(
    state: &State,
    proposal: &Proposal,
    access: &Access,
    now_ms: i64,
) -> Result<Judged, Rejection> {
    if reporting(state, proposal, &access.report, now_ms)?.is_some() {
        return Err(not_granted("only nodes count who reads"));
    }
    access.validate().map_err(Rejection::invalid)?;
    Ok(taken(state, &access.report, RecordKind::Access, |report, verdict| {
        verdict.access = Some(Access { report, ..access.clone() });
    }))
}

/// The token of whoever reports under its own name; `None`: a node.
fn reporting(
    state: &State,
    proposal: &Proposal,
    report: &Report,
    now_ms: i64,
) -> Result<Option<TokenSpec>, Rejection> {
    require_founded(state)?;
    proposal.body.check_cluster_version(None, state.cluster_version())?;
    let not_its_own = || Err(not_granted("a report is made under the name of whoever reports"));
    match Authority::of(state, &proposal.actor, now_ms)? {
        Authority::System if *report.reporter == *proposal.actor.id => Ok(None),
        Authority::Token(token) => {
            let rest = report.reporter.strip_prefix("client/").and_then(|rest| rest.strip_prefix(&*token.id));
            match rest.and_then(|rest| rest.strip_prefix('/')) {
                Some(instance) => {
                    crate::account::client_reporter(&token.id, instance)
                        .map_err(|invalid| Rejection::invalid(invalid.under("reporter").under("report")))?;
                    Ok(Some(token))
                }
                None => not_its_own(),
            }
        }
        Authority::System => not_its_own(),
    }
}

/// Requires that a token reports what it may evaluate, and says that it does so itself.
fn require_own(token: &TokenSpec, evaluations: &Evaluations) -> Result<(), Rejection> {
    let own: Option<(&ProjectKey, &EnvironmentKey)> = token.evaluates();
    let is_own = own == Some((&evaluations.project, &evaluations.environment));
    if token.kind != TokenKind::Service || !is_own {
        return Err(not_granted("a service token reports what was evaluated in its own environment"));
    }
    if !evaluations.self_reported {
        return Err(not_granted("what a token reports is self-reported"));
    }
    Ok(())
}

fn not_granted(message: &str) -> Rejection {
    Rejection::Forbidden { path: String::new(), message: message.to_owned() }
}

/// Takes a report, unless the log has it. `keep` puts what it counts into the verdict, with what is missing before it.
fn taken(
    state: &State,
    report: &Report,
    kind: RecordKind,
    keep: impl FnOnce(Report, &mut Verdict),
) -> Judged {
    let known = state.reporters.get(&report.reporter);
    let last = known.and_then(|known| known.last_of(report.boot));
    if let Some(known) = known.filter(|_| last.is_some_and(|last| report.number <= last)) {
        return Judged::Repeated(known.sequence);
    }
    let missing = Missing { from: last.unwrap_or(0).saturating_add(1), to: report.number.saturating_sub(1) };
    // Of a life that begins: how the one before it ended.
    let crashed = known.filter(|known| last.is_none() && !known.ended);
    let report = Report {
        missing: Some(missing).filter(|missing| missing.from <= missing.to),
        unfinished: crashed.map(|known| Unfinished { boot: known.boot, number: known.number }),
        ..report.clone()
    };
    let mut verdict = Verdict::note(kind, state);
    let sequence = state.sequence();
    let heard = match known {
        Some(known) => known.with(&report, sequence),
        None => KnownReporter::new(&report, sequence),
    };
    verdict.state.reporters.insert(report.reporter.clone(), heard);
    verdict.rows.insert(RowId::Reporter(report.reporter.clone()));
    verdict.rows.extend(verdict.state.reporters.make_room(&report.reporter).map(RowId::Reporter));
    keep(report, &mut verdict);
    Judged::noted(verdict)
}
