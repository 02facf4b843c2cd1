//! What is counted of the counting.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// The metrics of reports. Clones share their counts.
#[derive(Clone, Debug)]
pub(crate) struct AccountMetrics {
    reports: IntCounterVec,
    folded: IntCounterVec,
    lost: IntCounterVec,
    unlisted: IntCounter,
}

impl AccountMetrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let unlisted = IntCounter::new(
            "flagraft_account_unlisted_evaluations_total",
            "Evaluations of flags that ask for each one, which were only counted: beyond the ceiling.",
        )?;
        registry.register(Box::new(unlisted.clone()))?;
        Ok(Self {
            reports: counters(
                "flagraft_account_reports_total",
                "Reports for the audit log, by kind and by what became of the attempt to record one.",
                &["kind", "result"],
            )?,
            folded: counters(
                "flagraft_account_folded_total",
                "Evaluations and reads that reports count without telling them apart.",
                &["kind"],
            )?,
            lost: counters(
                "flagraft_account_lost_total",
                "Evaluations and reads that were counted, and whose report the log did not take.",
                &["kind"],
            )?,
            unlisted,
        })
    }

    /// Counts an attempt to record a report: `recorded`, `held_up`, `refused`.
    pub(crate) fn attempted(&self, kind: &'static str, result: &'static str) {
        self.reports.with_label_values(&[kind, result]).inc();
    }

    pub(crate) fn folded(&self, kind: &'static str, count: u64) {
        self.folded.with_label_values(&[kind]).inc_by(count);
    }

    pub(crate) fn lost(&self, kind: &'static str, count: u64) {
        self.lost.with_label_values(&[kind]).inc_by(count);
    }

    pub(crate) fn unlisted(&self, count: u64) {
        self.unlisted.inc_by(count);
    }
}
