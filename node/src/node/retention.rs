//! Retention of the audit log: the leader names the records whose time is over, and every member removes those.
//!
//! The rule says for how many days records of a kind are kept. A record goes once that many whole days, counted from the
//! beginning of a day in UTC, have passed since its record time, unless a hold keeps it. What goes is proposed in portions, each
//! as an entry of the log that names sequences: no member decides by its own clock. `apply` holds each against the rule and the
//! holds as they are at that entry, and whatever the leader overlooked is picked anew.
//!
//! Before changes go, the leader puts the catalog into the log that they made: the edge. Changes go in a later round, so that every
//! member has had time to make the same catalog of its own records, and to say so where it can't.
//!
//! Every member, once it has removed records, has the database write its files anew, so that their bytes are gone.

mod edge;
mod pick;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use flagraft_core::{
    limits::{AUDIT_REMOVED_MAX, EDGE_PART_BYTES_MAX},
    operation::{AuditCatalogPut, AuditRemove, Operation},
    proposal::{Body, Change},
    record::RecordKind,
    retention::{HeldStretches, Retention, SequenceRange, cutoff_ms},
    state::State,
};

pub(super) use self::edge::EdgeMetrics;
use self::{
    edge::EdgeWatch,
    pick::{Picked, Sought, Wanted, pick, seek},
};
use super::submit::{Credentials, Submission, Writes, mint_request_id};
use crate::{
    audit::renew_summaries,
    clock::WallClock,
    config::RetentionConfig,
    raft::{RaftRole, Replica},
    storage::{Storage, StorageError},
    travel::Traveller,
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
    pub(super) metrics: EdgeMetrics,
    pub(super) config: RetentionConfig,
}

/// How far the log was looked at, by a rule, under holds and up to an edge: under others all is looked at anew.
#[derive(Debug, Default)]
struct Progress {
    rule: u64,
    held: HeldStretches,
    /// The revision up to which changes may go.
    changes_upto: u64,
    /// Of the kinds that are kept for so many days: where to go on.
    next: BTreeMap<u32, u64>,
    /// Where to go on looking for what the edge has to pass.
    next_sought: u64,
}

/// Has records removed while this node leads, and clears up after removals.
pub(super) struct Remover {
    parts: RemoverParts,
    /// When the last round began; `None`: there was none since this node leads.
    last: Option<Instant>,
    progress: Progress,
    edge: EdgeWatch,
}

impl Remover {
    pub(super) fn new(parts: RemoverParts) -> Self {
        let edge = EdgeWatch {
            storage: Arc::clone(&parts.storage),
            traveller: Arc::clone(&parts.traveller),
            metrics: parts.metrics.clone(),
            checked: None,
        };
        Self { parts, last: None, progress: Progress::default(), edge }
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
            let state = self.parts.replica.published().state.clone();
            if let Err(error) = self.edge.look(state).await {
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
                tracing::warn!("removing audit records whose time is over is put off: {why}");
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
        // Half of it: the next round begins a whole one after this did, and the last part comes a moment after that.
        let settled = self.parts.config.interval / 2;
        let state = self.parts.replica.published().state.clone();
        let changes_upto = self.edge.passed(&state, now_ms, settled).await?;
        let mut removed = 0_u64;
        for (days, kinds) in by_days {
            loop {
                let state = self.under(&rule, changes_upto)?;
                let from = self.progress.next.get(&days).copied().unwrap_or(0);
                let wanted = Wanted {
                    kinds: kinds.clone(),
                    before_ms: cutoff_ms(now_ms, days),
                    changes_upto,
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
        // Last: what goes by the edge of before must not wait for another one.
        match rule.keep_days.change {
            Some(days) => self.move_edge(&rule, now_ms, days, changes_upto).await,
            None => Ok(()),
        }
    }

    /// The newest state, if this rule is in force in it. Under other holds, or where changes may go up to another edge, all is
    /// looked at anew.
    fn under(&mut self, rule: &Retention, changes_upto: u64) -> Result<State, String> {
        let state = self.parts.replica.published().state.clone();
        if state.retention() != *rule {
            return Err("the rule was changed meanwhile".to_owned());
        }
        let held = state.held();
        let Progress { rule: last_rule, held: last_held, changes_upto: last_upto, .. } = &self.progress;
        if (*last_rule, last_held, *last_upto) != (rule.revision, &held, changes_upto) {
            self.progress = Progress { rule: rule.revision, held, changes_upto, ..Progress::default() };
        }
        Ok(state)
    }

    /// Puts the catalog into the log that stands for all changes that are old enough, if any of them is to go that the edge
    /// has not passed.
    async fn move_edge(
        &mut self,
        rule: &Retention,
        now_ms: i64,
        days: u32,
        changes_upto: u64,
    ) -> Result<(), String> {
        let state = self.under(rule, changes_upto)?;
        let passed = state.edge().map_or(0, |edge| edge.catalog.sequence.saturating_add(1));
        let (from, end) = (self.progress.next_sought.max(passed), state.sequence());
        let (storage, held) = (Arc::clone(&self.parts.storage), self.progress.held.clone());
        let before_ms = cutoff_ms(now_ms, days);
        let much_older_ms = cutoff_ms(now_ms, days.saturating_mul(2));
        let (is_found, next) = blocking(move || {
            let sought =
                Sought { changes_before_ms: before_ms, catalogs_before_ms: much_older_ms, held: &held };
            seek(&storage, from, end, &sought)
        })
        .await?;
        self.progress.next_sought = next;
        if !is_found {
            return Ok(());
        }
        let (traveller, published) = (Arc::clone(&self.parts.traveller), state.clone());
        let made = blocking(move || traveller.make_edge(&published, before_ms, EDGE_PART_BYTES_MAX)).await?;
        // What was put of it before, by whoever led, is not put again.
        let begun = state.next_edge().filter(|next| next.catalog == made.catalog);
        let there = begun.map_or(0, |next| next.records.len());
        for (part, content) in (0..).zip(made.parts).skip(there) {
            self.under(rule, changes_upto)?;
            let put =
                AuditCatalogPut { catalog: made.catalog, part, content, if_revision: Some(rule.revision) };
            self.submit(rule, Operation::AuditCatalogPut(put)).await?;
        }
        let revision = made.catalog.revision;
        tracing::info!(revision, "the catalog that stands for older changes is in the audit log");
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

/// What comes of work that waits for the disk.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}
