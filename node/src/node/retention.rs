//! Retention of the audit log: the leader names the records whose time is over, and every member removes those.
//!
//! The rule says for how many days records of a kind are kept. A record goes once that many whole days, counted from the
//! beginning of a day in UTC, have passed since its record time, unless a hold keeps it. What goes is proposed in portions, each
//! as an entry of the log that names sequences: no member decides by its own clock. `apply` holds each against the rule and the
//! holds as they are at that entry, and whatever the leader overlooked is picked anew.
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
    operation::{AuditRemove, Operation},
    proposal::{Body, Change},
    record::RecordKind,
    retention::{HeldStretches, Retention, SequenceRange, cutoff_ms},
};

use self::pick::{Picked, Wanted, pick};
use super::submit::{Credentials, Submission, Writes, mint_request_id};
use crate::{
    audit::renew_summaries,
    clock::WallClock,
    config::RetentionConfig,
    raft::{RaftRole, Replica},
    storage::{Storage, StorageError},
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
    pub(super) config: RetentionConfig,
}

/// How far the log was looked at, by a rule and under holds: under others all is looked at anew.
#[derive(Debug, Default)]
struct Progress {
    rule: u64,
    held: HeldStretches,
    /// Of the kinds that are kept for so many days: where to go on.
    next: BTreeMap<u32, u64>,
}

/// Has records removed while this node leads, and clears up after removals.
pub(super) struct Remover {
    parts: RemoverParts,
    /// When the last round began; `None`: there was none since this node leads.
    last: Option<Instant>,
    progress: Progress,
}

impl Remover {
    pub(super) fn new(parts: RemoverParts) -> Self {
        Self { parts, last: None, progress: Progress::default() }
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
        let mut removed = 0_u64;
        for (days, kinds) in by_days {
            loop {
                let published = self.parts.replica.published();
                let state = &published.state;
                let held = HeldStretches::of(state.holds().map(|hold| &hold.spec));
                if state.retention() != rule {
                    return Err("the rule was changed meanwhile".to_owned());
                }
                if (self.progress.rule, &self.progress.held) != (rule.revision, &held) {
                    self.progress =
                        Progress { rule: rule.revision, held: held.clone(), next: BTreeMap::new() };
                }
                let from = self.progress.next.get(&days).copied().unwrap_or(0);
                let wanted = Wanted {
                    kinds: kinds.clone(),
                    before_ms: cutoff_ms(now_ms, days),
                    held,
                    limit: AUDIT_REMOVED_MAX,
                };
                let picked = self.pick(from, state.sequence(), wanted.clone()).await?;
                let records: u64 = picked.ranges.iter().map(SequenceRange::count).sum();
                if records > 0 {
                    self.remove(&rule, wanted.before_ms, picked.ranges, records).await?;
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

    async fn pick(&self, from: u64, end: u64, wanted: Wanted) -> Result<Picked, String> {
        let storage = Arc::clone(&self.parts.storage);
        let picked = tokio::task::spawn_blocking(move || pick(&storage, from, end, &wanted));
        picked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn remove(
        &self,
        rule: &Retention,
        before_ms: i64,
        ranges: Vec<SequenceRange>,
        records: u64,
    ) -> Result<(), String> {
        let operation =
            AuditRemove { ranges, records, before_ms, edge: None, if_revision: Some(rule.revision) };
        let change = Change {
            project: None,
            operations: vec![Operation::AuditRemove(operation)],
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
