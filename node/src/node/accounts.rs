//! Reports: what this node counted, written to the audit log once an interval, each under a number of its own.
//!
//! A report is sent until the log has it, in order, so that the log can tell a repeated one by its number alone. While
//! one can't be recorded nothing more is taken from the counters: they go on counting, in bounded memory, and the next
//! report covers a longer time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use flagraft_core::{
    account::{Access, Evaluations, Folded, Report, node_reporter, parts},
    identity::BootId,
    proposal::{Body, RequestId},
    state::State,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::submit::{Credentials, Submission, Writes};
use crate::{
    accounts::{AccountMetrics, Accounts, Taken},
    clock::wall_ms,
    config::AccountConfig,
    raft::Replica,
    random::random,
};

/// The cluster version that has reports.
const NEEDS_VERSION: u32 = 2;

/// Writes the records.
pub(super) struct Accountant {
    accounts: Arc<Accounts>,
    writes: Arc<Writes>,
    replica: Replica,
    config: AccountConfig,
    metrics: AccountMetrics,
    node_id: u64,
    reporter: Arc<str>,
    boot: BootId,
    /// The number of the next report.
    number: u64,
    /// The start of what is being counted, in milliseconds since 1970 UTC.
    from_ms: i64,
    /// Reports that the log may not have, in the order of their numbers.
    pending: VecDeque<Body>,
}

/// What an accountant works with.
pub(super) struct AccountantParts {
    pub(super) node_id: u64,
    pub(super) accounts: Arc<Accounts>,
    pub(super) writes: Arc<Writes>,
    pub(super) replica: Replica,
    pub(super) config: AccountConfig,
    pub(super) metrics: AccountMetrics,
}

impl Accountant {
    pub(super) fn new(parts: AccountantParts) -> Self {
        let AccountantParts { node_id, accounts, writes, replica, config, metrics } = parts;
        Self {
            accounts,
            writes,
            replica,
            config,
            metrics,
            node_id,
            reporter: node_reporter(node_id),
            boot: BootId(u64::from_be_bytes(random())),
            number: 1,
            from_ms: wall_ms(),
            pending: VecDeque::new(),
        }
    }

    /// Reports once every interval, and once more when told to stop.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut due = Instant::now() + self.config.interval;
        loop {
            let retry = Instant::now() + self.config.retry_pause;
            let next = if self.pending.is_empty() { due } else { due.min(retry) };
            // A sender that is gone says the same as one that says stop.
            if timeout_at(next, stopped.wait_for(|stopped| *stopped)).await.is_ok() {
                return self.finish().await;
            }
            if self.stops_while_sending(&mut stopped).await {
                return self.finish().await;
            }
            if Instant::now() >= due {
                due = Instant::now() + self.config.interval;
                if self.pending.is_empty() {
                    self.take(false);
                    if self.stops_while_sending(&mut stopped).await {
                        return self.finish().await;
                    }
                }
            }
        }
    }

    /// Sends what is pending. A stop does not wait for a report that is held up: the last ones have a time of their own, in
    /// which it is sent again.
    async fn stops_while_sending(&mut self, stopped: &mut watch::Receiver<bool>) -> bool {
        tokio::select! {
            () = self.send(self.config.timeout) => false,
            _ = stopped.wait_for(|stopped| *stopped) => true,
        }
    }

    /// The last reports of this life.
    async fn finish(mut self) {
        let deadline = Instant::now() + self.config.last_timeout;
        self.take(true);
        self.send(deadline.saturating_duration_since(Instant::now())).await;
        for body in self.pending.drain(..) {
            let (kind, count) = counts(&body);
            self.metrics.lost(kind, count);
            tracing::warn!(kind, count, "this node stops, and what it counted could not be recorded");
        }
    }

    /// Makes reports of what was counted.
    fn take(&mut self, ends: bool) {
        let to_ms = wall_ms().max(self.from_ms);
        let taken = self.accounts.take();
        let from_ms = std::mem::replace(&mut self.from_ms, to_ms);
        if !has_reports(&self.replica.published().state) {
            return;
        }
        let first = self.pending.len();
        self.add_reports(taken, from_ms, to_ms);
        if !ends {
            return;
        }
        if self.pending.len() == first && self.number > 1 {
            // Nothing to count, but to be said: that this life ended in order.
            let report = self.next_report(from_ms, to_ms);
            self.pending.push_back(Body::Access(Access {
                report,
                entries: Vec::new(),
                other: Folded::default(),
            }));
        }
        match self.pending.back_mut() {
            Some(Body::Evaluations(evaluations)) => evaluations.report.ends = true,
            Some(Body::Access(access)) => access.report.ends = true,
            Some(Body::Change(_) | Body::Denials(_)) | None => {}
        }
    }

    fn add_reports(&mut self, taken: Taken, from_ms: i64, to_ms: i64) {
        let Taken { places, reads, reads_beyond } = taken;
        for (place, counted) in places {
            let mut whole = Evaluations {
                report: self.next_report(from_ms, to_ms),
                self_reported: false,
                project: place.project,
                environment: place.environment,
                entries: counted.entries(),
                other: counted.other(),
                full: Vec::new(),
                full_exceeded: counted.exceeded(),
            };
            if let Some(exceeded) = &whole.full_exceeded {
                self.metrics.unlisted(exceeded.flags.iter().map(|flag| flag.count).sum());
            }
            whole = whole.folded();
            self.metrics.folded("evaluations", whole.other.count);
            let lists = parts(counted.listed());
            let (project, environment) = (whole.project.clone(), whole.environment.clone());
            self.pending.push_back(Body::Evaluations(whole));
            for full in lists {
                let report = self.next_report(from_ms, to_ms);
                self.pending.push_back(Body::Evaluations(Evaluations {
                    report,
                    self_reported: false,
                    project: project.clone(),
                    environment: environment.clone(),
                    entries: Vec::new(),
                    other: Folded::default(),
                    full,
                    full_exceeded: None,
                }));
            }
        }
        if !reads.is_empty() || reads_beyond > 0 {
            let other = Folded { entries: 0, count: reads_beyond };
            let access = Access { report: self.next_report(from_ms, to_ms), entries: reads, other }.folded();
            self.metrics.folded("access", access.other.count);
            self.pending.push_back(Body::Access(access));
        }
    }

    fn next_report(&mut self, from_ms: i64, to_ms: i64) -> Report {
        let number = self.number;
        self.number += 1;
        Report {
            reporter: Arc::clone(&self.reporter),
            boot: self.boot,
            number,
            from_ms,
            to_ms,
            ends: false,
            missing: None,
            unfinished: None,
        }
    }

    /// Sends what is pending, in order, until one is not recorded.
    async fn send(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        while let Some(body) = self.pending.front() {
            let (kind, count) = counts(body);
            let submission = self.submission(body);
            let left = deadline.saturating_duration_since(Instant::now());
            let result = match self.writes.submit(&submission, left).await {
                Ok(submitted) => match submitted.reply.outcome.rejection() {
                    None => "recorded",
                    Some(rejection) => {
                        tracing::error!(kind, count, %rejection, "the log refuses a report of this node");
                        "refused"
                    }
                },
                Err(error) if error.is_final() => {
                    tracing::error!(kind, count, %error, "a report of this node can't be recorded");
                    "refused"
                }
                Err(error) => {
                    tracing::debug!(kind, count, %error, "a report is not recorded yet");
                    self.metrics.attempted(kind, "held_up");
                    return;
                }
            };
            self.metrics.attempted(kind, result);
            if result == "refused" {
                self.metrics.lost(kind, count);
            }
            self.pending.pop_front();
        }
    }

    fn submission(&self, body: &Body) -> Submission {
        let number = match body {
            Body::Evaluations(Evaluations { report, .. }) | Body::Access(Access { report, .. }) => {
                report.number
            }
            Body::Change(_) | Body::Denials(_) => 0,
        };
        // Given and not minted: it may be sent again, for the log knows it by its number.
        let request =
            RequestId { id: format!("{}-{}-{number}", self.reporter, self.boot), client_given: true };
        Submission::new(Credentials::Member(self.node_id), body.clone(), request)
    }
}

/// Whether the cluster takes reports: it was founded, and all its members know them.
fn has_reports(state: &State) -> bool {
    state.history().is_some() && state.cluster_version() >= NEEDS_VERSION
}

/// A report's kind, and how much it counts.
fn counts(body: &Body) -> (&'static str, u64) {
    match body {
        Body::Evaluations(evaluations) => ("evaluations", evaluations.total()),
        Body::Access(access) => ("access", access.total()),
        Body::Change(_) | Body::Denials(_) => ("none", 0),
    }
}
