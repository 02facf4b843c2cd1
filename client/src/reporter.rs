//! Telling the cluster what was evaluated here, for its audit log: once an interval, and once more at the end.
//!
//! A report is sent until a node says that the log has it, and only then the next one; so the log can tell by its number
//! alone one that comes twice. Nothing of this is waited for by an evaluation.

use std::time::Duration;

use flagraft_core::identity::BootId;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout_at},
};

use crate::{
    books::Books, endpoints::Pause, fault::Fault, hedge::first_good, observer::Request, shared::Shared,
    tally::Tally, transport::Reported,
};

/// The shortest interval, so that a client that is set to none has something else to do too.
const EVERY_MIN: Duration = Duration::from_millis(10);
/// The longest: far below what one report may count.
const EVERY_MAX: Duration = Duration::from_secs(60 * 60);

/// Reports until it is stopped, and once more then.
pub(crate) async fn run(shared: &Shared, tally: &Tally, mut stop: watch::Receiver<bool>) {
    let mut reporter = Reporter::new(shared, tally);
    loop {
        // What is given up here is only an answer that is waited for: the report is sent again.
        let goes_on = tokio::select! {
            goes_on = reporter.turn() => goes_on,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        if !goes_on {
            tracing::warn!("this token may not report evaluations; use a service token, or turn reports off");
            tally.close();
            return reporter.gather();
        }
    }
    reporter.finish().await;
}

struct Reporter<'s> {
    shared: &'s Shared,
    tally: &'s Tally,
    books: Books,
    every: Duration,
    pause: Pause,
    /// When the next report is to be made.
    due: Instant,
    /// When what could not be sent is to be sent again.
    retry_at: Instant,
    /// Attempts since one did well.
    failures: u32,
}

/// What became of the reports that were to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// There is none left.
    All,
    /// No node took the first one.
    NotYet,
    /// None of this token's is ever taken.
    Never,
}

impl<'s> Reporter<'s> {
    fn new(shared: &'s Shared, tally: &'s Tally) -> Self {
        let settings = &shared.settings;
        let every = settings.report_every.clamp(EVERY_MIN, EVERY_MAX);
        let boot = BootId(fastrand::u64(..));
        Self {
            books: Books::new(settings.instance.as_deref(), boot, &*shared.clock),
            shared,
            tally,
            every,
            pause: Pause { min: settings.backoff_min, max: settings.backoff_max },
            due: Instant::now() + spread(every),
            retry_at: Instant::now(),
            failures: 0,
        }
    }

    /// Waits until there is something to do, and does it; says whether there may be more.
    async fn turn(&mut self) -> bool {
        let is_settled = self.books.first().is_none();
        sleep_until(if is_settled { self.due } else { self.due.min(self.retry_at) }).await;
        if Instant::now() >= self.due {
            self.due = Instant::now() + spread(self.every);
            self.gather();
            if is_settled || self.books.is_long(&*self.shared.clock, self.every * 2) {
                self.books.close(&*self.shared.clock, false);
            }
        }
        if Instant::now() < self.retry_at {
            return true;
        }
        // One node after the other: each has its time, and the log one report to look at.
        match self.send(self.shared.settings.request_timeout).await {
            Sent::All => self.failures = 0,
            Sent::NotYet => {
                self.retry_at = Instant::now() + self.pause.after(self.failures);
                self.failures = self.failures.saturating_add(1);
            }
            Sent::Never => return false,
        }
        true
    }

    /// Takes what was counted into the books, also while nothing can be sent: counters hold flags, books only their names.
    fn gather(&mut self) {
        if let Some(held) = self.shared.held.load().as_ref() {
            self.books.add(self.tally.take(held.replica.environment().key()));
        }
    }

    /// The last report of this life.
    async fn finish(mut self) {
        self.tally.close();
        self.gather();
        self.books.close(&*self.shared.clock, true);
        let deadline = Instant::now() + self.shared.settings.last_report_within;
        let sending = async {
            // There is no time to wait for a node that says nothing.
            while self.send(self.shared.settings.hedge_after).await == Sent::NotYet {
                sleep(self.pause.after(self.failures)).await;
                self.failures = self.failures.saturating_add(1);
            }
        };
        let _ = timeout_at(deadline, sending).await;
        if self.books.first().is_some() {
            let count = self.books.pending_total();
            tracing::warn!(count, "the client ends, and no node took its last report of evaluations");
        }
    }

    /// Sends what is pending, in order. Another node is asked too when one has not answered after a while.
    async fn send(&mut self, hedge_after: Duration) -> Sent {
        while let Some(report) = self.books.first() {
            let (number, count) = (report.number, report.total());
            // That has no way to fail: its keys are texts, its numbers whole.
            let body = serde_json::to_vec(report).unwrap_or_default();
            let order = self.shared.endpoints.report_order();
            let ask = async |endpoint| self.ask(endpoint, body.clone()).await;
            match first_good(order, hedge_after, ask).await {
                Ok(Some(Reported::Taken { repeated })) => {
                    tracing::debug!(number, count, repeated, "a report of evaluations is in the log");
                }
                Ok(Some(Reported::Refused { status, message })) => {
                    tracing::warn!(
                        number,
                        count,
                        status,
                        message,
                        "the cluster refuses a report of evaluations; it is dropped"
                    );
                }
                Ok(None) => return Sent::Never,
                Err(_) => return Sent::NotYet,
            }
            self.books.settle_first();
        }
        Sent::All
    }

    /// Sends a report to a node; `None` where the token is none that reports.
    async fn ask(&self, endpoint: usize, body: Vec<u8>) -> Result<Option<Reported>, Fault> {
        let shared = self.shared;
        let known = shared.known(endpoint).await?;
        if !known.reports {
            return Ok(None);
        }
        let node = shared.endpoints.url(endpoint).ok_or(Fault::Unreachable)?;
        let asked = shared.transport.report(node, &known.place, body);
        let answered = shared.watched(endpoint, Request::Report, asked).await;
        match &answered {
            Ok(_) => shared.endpoints.succeeded(endpoint),
            Err(fault) => shared.endpoints.report_failed(endpoint, fault),
        }
        answered.map(Some)
    }
}

/// About so long: not all clients at once.
fn spread(every: Duration) -> Duration {
    every.mul_f64(0.9 + 0.2 * fastrand::f64())
}
