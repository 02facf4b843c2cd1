//! What a node counts, in the form Prometheus reads. One registry per node, so that several nodes in one process
//! (tests) do not mix. Every label has a fixed, small set of values: none comes from a request.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

use crate::disk::{DiskReport, DiskState};

/// The state of Raft and of the reads at one moment, as gauges show it. Filled in when metrics are asked for.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// `leader`, `follower`, `candidate`, `learner` or `stopped`.
    pub role: &'static str,
    /// Raft's term.
    pub term: u64,
    /// The last log index that was purged here: it and those before it are in a snapshot only. 0: none was.
    pub purged_index: u64,
    /// The last log index of this node.
    pub last_log_index: u64,
    /// The index that is committed as far as this node knows.
    pub committed_index: u64,
    /// The index that is applied here.
    pub applied_index: u64,
    /// The index that reads here see.
    pub published_index: u64,
    /// The catalog's revision that reads here see.
    pub revision: u64,
    /// The next sequence of the audit log.
    pub audit_size: u64,
    /// How long ago the published state was surely current, in milliseconds; `None`: not known yet.
    pub age_ms: Option<u64>,
    /// Rounds of read confirmation begun since the start.
    pub read_rounds: u64,
    /// Whether critical reads are answered unconfirmed at once, since one missed its deadline.
    pub read_suspect: bool,
    /// Whether `/readyz` says so.
    pub ready: bool,
    /// The disk that the data folder lies on.
    pub disk: DiskReport,
}

const ROLES: [&str; 5] = ["leader", "follower", "candidate", "learner", "stopped"];

/// A node's metrics. Cheap to clone; clones share their counts.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    evaluations: IntCounterVec,
    evaluation_failures: IntCounterVec,
    evaluation_seconds: Histogram,
    safe_variants: IntCounter,
    http_seconds: HistogramVec,
    http_in_flight: IntGauge,
    confirmations: HistogramVec,
    writes: HistogramVec,
    forwarded_writes: IntCounterVec,
    denied: IntCounterVec,
    rate_limited: IntCounterVec,
    role: IntGaugeVec,
    indexes: IntGaugeVec,
    lag: IntGauge,
    term: IntGauge,
    revision: IntGauge,
    audit_size: IntGauge,
    age_ms: IntGauge,
    read_rounds: IntGauge,
    read_suspect: IntGauge,
    ready: IntGauge,
    disk_free: IntGauge,
    disk_full: IntGauge,
}

impl Metrics {
    /// Makes the metrics and their registry.
    ///
    /// # Errors
    /// When two metrics have one name: a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let make = Make(Registry::new());
        let fast = prometheus::exponential_buckets(0.000_01, 2.0, 16)?;
        let slow = prometheus::exponential_buckets(0.000_25, 2.0, 16)?;
        Ok(Self {
            evaluations: make.counters(
                "flagraft_evaluations_total",
                "Flags evaluated, by reason and consistency.",
                &["reason", "consistency"],
            )?,
            evaluation_failures: make.counters(
                "flagraft_evaluation_failures_total",
                "OFREP requests answered with an error, by its code.",
                &["code"],
            )?,
            evaluation_seconds: make.histogram(
                "flagraft_evaluation_seconds",
                "How long the evaluation itself took, in seconds: one flag, or all of a bulk request.",
                fast,
            )?,
            safe_variants: make.counter(
                "flagraft_safe_variant_answers_total",
                "Critical flags answered with their safe variant because nobody confirmed the state in time.",
            )?,
            http_seconds: make.histograms(
                "flagraft_http_request_seconds",
                "How long requests took, in seconds, by route and class of status.",
                &["route", "method", "status"],
                slow.clone(),
            )?,
            http_in_flight: make.gauge("flagraft_http_requests_in_flight", "Requests under way.")?,
            confirmations: make.histograms(
                "flagraft_read_confirmation_seconds",
                "How long reads waited for their read index, in seconds, by result.",
                &["result"],
                slow.clone(),
            )?,
            writes: make.histograms(
                "flagraft_write_seconds",
                "How long writes took, in seconds, by outcome.",
                &["outcome"],
                slow,
            )?,
            forwarded_writes: make.counters(
                "flagraft_forwarded_writes_total",
                "Writes sent on to the leader, by whether it answered.",
                &["result"],
            )?,
            denied: make.counters(
                "flagraft_denied_total",
                "Requests refused for want of a good token or of a grant, by cause.",
                &["cause"],
            )?,
            rate_limited: make.counters(
                "flagraft_rate_limited_total",
                "Requests answered 429, by what was limited.",
                &["limit"],
            )?,
            role: make.gauges("flagraft_raft_role", "1 for the role this node has in Raft.", &["role"])?,
            indexes: make.gauges(
                "flagraft_raft_index",
                "Log indexes: the last one that was purged, the last one, committed, applied and published ones.",
                &["which"],
            )?,
            lag: make.gauge(
                "flagraft_raft_lag_entries",
                "Entries that are committed, as far as this node knows, and not published here yet.",
            )?,
            term: make.gauge("flagraft_raft_term", "Raft's term.")?,
            revision: make.gauge("flagraft_revision", "The catalog's revision that reads here see.")?,
            audit_size: make
                .gauge("flagraft_audit_records", "Records in the audit log that reads here see.")?,
            age_ms: make.gauge(
                "flagraft_age_milliseconds",
                "How long ago the published state was surely current; -1 while that is not known.",
            )?,
            read_rounds: make.gauge(
                "flagraft_read_index_rounds",
                "Rounds of read confirmation begun since the start; one round confirms all reads that wait for it.",
            )?,
            read_suspect: make.gauge(
                "flagraft_read_suspect",
                "1 while critical flags have their safe variants at once, because nobody confirms reads.",
            )?,
            ready: make.gauge("flagraft_ready", "1 while /readyz says so.")?,
            disk_free: make.gauge(
                "flagraft_disk_free_bytes",
                "Bytes that are free on the disk of the data folder; -1 while that is not known.",
            )?,
            disk_full: make.gauge(
                "flagraft_disk_full",
                "What this node's disk lets it do: 0 all, 1 propose no changes, 2 take no changes, 3 write nothing.",
            )?,
            registry: make.0,
        })
    }

    /// Where other parts of the node register metrics of their own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where evaluated flags are counted. `reason` is one of OpenFeature's reasons, `consistency` one of ours.
    pub fn evaluations(&self, reason: &'static str, consistency: &'static str) -> IntCounter {
        self.evaluations.with_label_values(&[reason, consistency])
    }

    /// Counts an evaluation request that failed, by OFREP's error code.
    pub fn evaluation_failed(&self, code: &'static str) {
        self.evaluation_failures.with_label_values(&[code]).inc();
    }

    /// Notes how long the evaluation of one request took.
    pub fn evaluation_took(&self, took: Duration) {
        self.evaluation_seconds.observe(took.as_secs_f64());
    }

    /// Counts safe variants given because a confirmation did not come in time.
    pub fn safe_variants_given(&self, count: u64) {
        self.safe_variants.inc_by(count);
    }

    /// Notes a finished request. `route` is a template of the router's table, never a path that was sent.
    pub fn request_finished(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        let class = match status {
            0..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.http_seconds.with_label_values(&[route, method, class]).observe(took.as_secs_f64());
    }

    /// Requests under way: raise it, and lower it again.
    pub fn in_flight(&self) -> &IntGauge {
        &self.http_in_flight
    }

    /// Notes how long a read waited for its confirmation, and whether it got it.
    pub fn confirmation(&self, confirmed: bool, took: Duration) {
        let result = if confirmed { "confirmed" } else { "unconfirmed" };
        self.confirmations.with_label_values(&[result]).observe(took.as_secs_f64());
    }

    /// Notes a write: its outcome (a fixed word) and how long it took.
    pub fn write_finished(&self, outcome: &'static str, took: Duration) {
        self.writes.with_label_values(&[outcome]).observe(took.as_secs_f64());
    }

    /// Counts a write that was sent on to the leader.
    pub fn forwarded(&self, answered: bool) {
        let result = if answered { "answered" } else { "failed" };
        self.forwarded_writes.with_label_values(&[result]).inc();
    }

    /// Counts a refusal: `missing`, `malformed`, `unknown`, `revoked`, `expired`, `forbidden`, `not_visible`, `age`.
    pub fn denied(&self, cause: &'static str) {
        self.denied.with_label_values(&[cause]).inc();
    }

    /// Counts a 429: `client_token`, `rejections`, `idempotency_keys`.
    pub fn rate_limited(&self, limit: &'static str) {
        self.rate_limited.with_label_values(&[limit]).inc();
    }

    /// The text that Prometheus reads, with the gauges as `now` has them.
    ///
    /// # Errors
    /// When a registered metric can't be written as text.
    pub fn render(&self, now: &Snapshot) -> Result<Vec<u8>, prometheus::Error> {
        for role in ROLES {
            self.role.with_label_values(&[role]).set(i64::from(role == now.role));
        }
        for (which, index) in [
            ("purged", now.purged_index),
            ("last_log", now.last_log_index),
            ("committed", now.committed_index),
            ("applied", now.applied_index),
            ("published", now.published_index),
        ] {
            self.indexes.with_label_values(&[which]).set(gauge(index));
        }
        self.lag.set(gauge(now.committed_index.saturating_sub(now.published_index)));
        self.term.set(gauge(now.term));
        self.revision.set(gauge(now.revision));
        self.audit_size.set(gauge(now.audit_size));
        self.age_ms.set(now.age_ms.map_or(-1, gauge));
        self.read_rounds.set(gauge(now.read_rounds));
        self.read_suspect.set(i64::from(now.read_suspect));
        self.ready.set(i64::from(now.ready));
        self.disk_free.set(now.disk.free_bytes.map_or(-1, gauge));
        self.disk_full.set(match now.disk.state {
            DiskState::Ok => 0,
            DiskState::Low => 1,
            DiskState::Full => 2,
            DiskState::Refusing => 3,
        });
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Makes metrics and registers them.
struct Make(Registry);

impl Make {
    fn registered<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, prometheus::Error> {
        self.0.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        self.registered(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
        self.registered(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Result<Histogram, prometheus::Error> {
        self.registered(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: Vec<f64>,
    ) -> Result<HistogramVec, prometheus::Error> {
        self.registered(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_rendered() {
        let metrics = Metrics::new().expect("distinct names");
        metrics.evaluations("STATIC", "local").inc();
        metrics.safe_variants_given(2);
        metrics.request_finished("/livez", "GET", 200, Duration::from_millis(1));
        let now = Snapshot {
            role: "leader",
            term: 3,
            committed_index: 9,
            published_index: 7,
            ..Snapshot::default()
        };
        let text = String::from_utf8(metrics.render(&now).expect("text")).expect("UTF-8");
        for line in [
            r#"flagraft_evaluations_total{consistency="local",reason="STATIC"} 1"#,
            "flagraft_safe_variant_answers_total 2",
            r#"flagraft_http_request_seconds_count{method="GET",route="/livez",status="2xx"} 1"#,
            r#"flagraft_raft_role{role="leader"} 1"#,
            r#"flagraft_raft_role{role="follower"} 0"#,
            "flagraft_raft_lag_entries 2",
            "flagraft_age_milliseconds -1",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
