//! Retention of the audit log: the leader names the records whose time is over, and every member removes those.
//!
//! The rule says for how many days records of a kind are kept. A record goes once that many whole days, counted from the
//! beginning of a day in UTC, have passed since its record time, unless a hold keeps it. What goes is proposed in portions, each
//! as an entry of the log that names sequences: no member decides by its own clock. `apply` holds each against the rule and the
//! holds as they are at that entry, and whatever the leader overlooked is picked anew.
//!
//! Before changes go, the leader puts the catalog into the log that they made: the edge. Changes go one round later, so that every
//! member has had time to make the same catalog of its own records, and to say so where it can't.
//!
//! Every member, once it has removed records, has the database write its files anew, so that their bytes are gone.

mod pick;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use flagraft_core::{
    limits::AUDIT_REMOVED_MAX,
    operation::{AuditCatalogPut, AuditRemove, Operation},
    proposal::{Body, Change},
    record::RecordKind,
    retention::{Edge, HeldStretches, Retention, SequenceRange, cutoff_ms},
    state::State,
};

use self::pick::{Picked, Wanted, pick, seek_change};
use super::submit::{Credentials, Submission, Writes, mint_request_id};
use crate::{
    audit::renew_summaries,
    clock::WallClock,
    config::RetentionConfig,
    raft::{RaftRole, Replica},
    storage::{Storage, StorageError},
    travel::{EdgeCheck, TravelError, Traveller},
};

/// How long one portion may take to be removed.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks whether there are files to write anew.
const POLL: Duration = Duration::from_secs(5);

/// What a [`Remover`] works with.
pub(super) struct RemoverParts {
    pub(super) node_id: u64,
    pub(super) storage: Arc<Storage>,
    pub(super) replica: Replica,
    pub(super) writes: Arc<Writes>,
    pub(super) clock: WallClock,
    pub(super) traveller: Arc<Traveller>,
    pub(super) config: RetentionConfig,
}

/// How far the log was looked at, by a rule and under holds: under others all is looked at anew.
#[derive(Debug, Default)]
struct Progress {
    rule: u64,
    held: HeldStretches,
    /// Of the kinds that are kept for so many days: where to go on.
    next: BTreeMap<u32, u64>,
    /// Where to go on looking for changes that the edge has to pass.
    next_change: u64,
}

/// Has records removed while this node leads, and clears up after removals.
pub(super) struct Remover {
    parts: RemoverParts,
    /// When the last round began; `None`: there was none since this node leads.
    last: Option<Instant>,
    progress: Progress,
    /// The edge that was held against this node's own records last.
    checked: Option<Edge>,
}

impl Remover {
    pub(super) fn new(parts: RemoverParts) -> Self {
        Self { parts, last: None, progress: Progress::default(), checked: None }
    }

    /// Goes on until it is dropped. An interval of zero turns the removal off.
    pub(super) async fn run(mut self) {
        let interval = self.parts.config.interval;
        let poll = if interval.is_zero() { POLL } else { POLL.min(interval) };
        loop {
            tokio::time::sleep(poll).await;
            if let Err(error) = self.clear_up().await {
                tracing::warn!(%error, "the files of removed audit records could not be written anew; it is tried again");
            }
            if let Err(error) = self.check_edge().await {
                tracing::warn!(%error, "the catalog of the edge could not be held against this node's records; it is tried again");
            }
            if interval.is_zero() || self.parts.replica.status().role != RaftRole::Leader {
                self.last = None;
                continue;
            }
            if self.last.is_some_and(|last| last.elapsed() < interval) {
                continue;
            }
            self.last = Some(Instant::now());
            if let Err(why) = self.round().await {
                tracing::info!("removing audit records whose time is over is put off: {why}");
            }
        }
    }

    /// Names all that is old enough, portion by portion: first those of the kinds that are kept for the fewest days.
    async fn round(&mut self) -> Result<(), String> {
        let rule = self.parts.replica.published().state.retention();
        let mut by_days: BTreeMap<u32, Vec<RecordKind>> = BTreeMap::new();
        for (kind, days) in rule.keep_days.rules() {
            by_days.entry(days).or_default().push(kind);
        }
        let now_ms = self.parts.clock.now_ms();
        if let Some(days) = rule.keep_days.change
            && self.move_edge(&rule, cutoff_ms(now_ms, days)).await?
        {
            return Ok(());
        }
        let mut removed = 0_u64;
        for (days, kinds) in by_days {
            loop {
                let state = self.under(&rule)?;
                let from = self.progress.next.get(&days).copied().unwrap_or(0);
                let wanted = Wanted {
                    kinds: kinds.clone(),
                    before_ms: cutoff_ms(now_ms, days),
                    changes_upto: revision_of(state.edge()),
                    held: self.progress.held.clone(),
                    limit: AUDIT_REMOVED_MAX,
                };
                let before_ms = wanted.before_ms;
                let picked = self.pick(from, state.sequence(), wanted).await?;
                let records: u64 = picked.ranges.iter().map(SequenceRange::count).sum();
                if records > 0 {
                    let if_revision = Some(rule.revision);
                    let ranges = picked.ranges;
                    let remove = AuditRemove { ranges, records, before_ms, if_revision };
                    self.submit(&rule, Operation::AuditRemove(remove)).await?;
                    removed = removed.saturating_add(records);
                }
                // Only now: what was not removed is looked at once more.
                self.progress.next.insert(days, picked.next);
                if picked.is_done {
                    break;
                }
            }
        }
        if removed > 0 {
            tracing::info!(removed, "audit records whose time is over were removed");
        }
        Ok(())
    }

    /// The newest state, if this rule is in force in it. Under other holds, or with another edge, all is looked at anew.
    fn under(&mut self, rule: &Retention) -> Result<State, String> {
        let state = self.parts.replica.published().state.clone();
        if state.retention() != *rule {
            return Err("the rule was changed meanwhile".to_owned());
        }
        let held = state.held();
        if (self.progress.rule, &self.progress.held) != (rule.revision, &held) {
            self.progress = Progress { rule: rule.revision, held, ..Progress::default() };
        }
        Ok(state)
    }

    /// Puts the catalog into the log that stands for all changes before a time, if any of them is to go that the edge has not
    /// passed. Returns whether it did.
    async fn move_edge(&mut self, rule: &Retention, before_ms: i64) -> Result<bool, String> {
        let state = self.under(rule)?;
        let passed = state.edge().map(|edge| edge.catalog);
        let from = self.progress.next_change.max(passed.map_or(0, |edge| edge.sequence.saturating_add(1)));
        let (storage, held, end) =
            (Arc::clone(&self.parts.storage), self.progress.held.clone(), state.sequence());
        let sought = blocking(move || seek_change(&storage, from, end, before_ms, &held)).await?;
        self.progress.next_change = sought.next;
        if !sought.is_found {
            return Ok(false);
        }
        let traveller = Arc::clone(&self.parts.traveller);
        let made = blocking(move || traveller.make_edge(&state, before_ms)).await?;
        for (part, content) in (0..).zip(made.parts) {
            let put =
                AuditCatalogPut { catalog: made.catalog, part, content, if_revision: Some(rule.revision) };
            self.submit(rule, Operation::AuditCatalogPut(put)).await?;
        }
        let revision = made.catalog.revision;
        tracing::info!(revision, "the catalog that stands for older changes is in the audit log");
        Ok(true)
    }

    /// Makes the catalog of a new edge of this node's own records too, before they go, and tells where it is another one.
    /// Catalogs of before the edge are forgotten.
    async fn check_edge(&mut self) -> Result<(), String> {
        let state = self.parts.replica.published().state.clone();
        let Some(edge) = state.edge().filter(|edge| self.checked.as_ref() != Some(edge)).cloned() else {
            return Ok(());
        };
        let (traveller, before, revision) =
            (Arc::clone(&self.parts.traveller), self.checked.clone(), edge.catalog.revision);
        let (checked, edge) = blocking(move || {
            let checked = traveller.check_edge(&state, &edge, before.as_ref())?;
            // Where it is another one, what is kept here says something against it.
            if checked != EdgeCheck::Other {
                traveller.forget_before(&edge);
            }
            Ok::<_, TravelError>((checked, edge))
        })
        .await?;
        match checked {
            EdgeCheck::Same => tracing::debug!(revision, "this node's records make the catalog of the edge"),
            EdgeCheck::Unknown => {
                tracing::debug!(revision, "this node has not all records that the edge stands for");
            }
            EdgeCheck::Other => tracing::error!(
                revision,
                "this node's audit records make another catalog than the one in the log that is to stand for them: put a hold on the log \
                 now, export it from each node, and compare"
            ),
        }
        self.checked = Some(edge);
        Ok(())
    }

    async fn pick(&self, from: u64, end: u64, wanted: Wanted) -> Result<Picked, String> {
        let storage = Arc::clone(&self.parts.storage);
        blocking(move || pick(&storage, from, end, &wanted)).await
    }

    /// Has the cluster itself do this by a rule.
    async fn submit(&self, rule: &Retention, operation: Operation) -> Result<(), String> {
        let change = Change {
            project: None,
            operations: vec![operation],
            reason: format!("the time is over for which the rule of revision {} keeps them", rule.revision),
            ticket: None,
            expect_revision: None,
        };
        let credentials = Credentials::Member(self.parts.node_id);
        let submission = Submission::new(credentials, Body::Change(change), mint_request_id());
        let submitted =
            self.parts.writes.submit(&submission, TIMEOUT).await.map_err(|error| error.to_string())?;
        match submitted.reply.outcome.rejection() {
            None => Ok(()),
            Some(rejection) => Err(rejection.to_string()),
        }
    }

    /// Has the database write anew what removed records are still in, and makes the summaries of those blocks anew.
    async fn clear_up(&self) -> Result<(), StorageError> {
        let storage = Arc::clone(&self.parts.storage);
        let published = self.parts.replica.published();
        let size = published.state.sequence();
        let work = tokio::task::spawn_blocking(move || {
            let rewritten = storage.compact_removed()?;
            for range in rewritten {
                tracing::debug!(
                    from = range.start,
                    to = range.end,
                    "files with removed audit records are written anew"
                );
                renew_summaries(&storage, range, size)?;
            }
            Ok(())
        });
        work.await.map_err(|error| StorageError::Failed(error.to_string()))?
    }
}

fn revision_of(edge: Option<&Edge>) -> u64 {
    edge.map_or(0, |edge| edge.catalog.revision)
}

/// What comes of work that waits for the disk.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}
