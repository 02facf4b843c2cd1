//! How streams are counted.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector};

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The receiver went away, or its connection did.
    Gone,
    /// Its token was revoked, has expired, or may not see the environment any more.
    Token,
    /// The receiver took so little that what came after is forgotten here.
    Slow,
    /// The environment was deleted.
    Deleted,
    /// This node stops.
    Stopping,
    /// What it would say could not be made; the log says why.
    Failed,
}

impl Ended {
    const ALL: [Self; 6] = [Self::Gone, Self::Token, Self::Slow, Self::Deleted, Self::Stopping, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Token => "token",
            Self::Slow => "slow",
            Self::Deleted => "deleted",
            Self::Stopping => "stopping",
            Self::Failed => "failed",
        }
    }
}

/// Counters and gauges of the streams of a node. Clones share their counts.
#[derive(Clone, Debug)]
pub struct FeedMetrics {
    open: IntGaugeVec,
    events: IntCounterVec,
    ended: IntCounterVec,
    /// Times that streams got a fresh snapshot because a revision was missed.
    pub(super) leaps: IntGauge,
    pub(super) kept_bytes: IntGauge,
}

impl FeedMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauge = |name: &str, help: &str| registered(registry, IntGauge::new(name, help)?);
        let open = Opts::new("flagraft_streams_open", "Streams that are open, by what they carry.");
        let metrics = Self {
            open: registered(registry, IntGaugeVec::new(open, &["kind"])?)?,
            events: counters(
                "flagraft_stream_events_total",
                "Events given to streams, by what they carry and the kind of event.",
                &["kind", "event"],
            )?,
            ended: counters(
                "flagraft_streams_ended_total",
                "Streams that ended, by what they carried and why.",
                &["kind", "why"],
            )?,
            leaps: gauge(
                "flagraft_stream_leaps",
                "Times that all streams began anew with a snapshot: a revision was not heard singly.",
            )?,
            kept_bytes: gauge(
                "flagraft_stream_kept_bytes",
                "Bytes of changes that are kept for streams that resume or lag.",
            )?,
        };
        // What has not happened yet is 0, and not absent.
        for kind in StreamKind::ALL {
            metrics.open.with_label_values(&[kind.label()]).set(0);
            for why in Ended::ALL {
                metrics.ended.with_label_values(&[kind.label(), why.label()]).reset();
            }
        }
        Ok(metrics)
    }

    /// Counts an event that is given to a stream.
    pub(crate) fn sent(&self, kind: StreamKind, event: &'static str) {
        self.events.with_label_values(&[kind.label(), event]).inc();
    }

    pub(super) fn opened(&self, kind: StreamKind) {
        self.open.with_label_values(&[kind.label()]).inc();
    }

    pub(super) fn ended(&self, kind: StreamKind, why: Ended) {
        self.open.with_label_values(&[kind.label()]).dec();
        self.ended.with_label_values(&[kind.label(), why.label()]).inc();
    }
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// Definitions, for server-side clients.
    Definitions,
    /// OFREP's notices that something has changed.
    Notices,
}

impl StreamKind {
    const ALL: [Self; 2] = [Self::Definitions, Self::Notices];

    fn label(self) -> &'static str {
        match self {
            Self::Definitions => "definitions",
            Self::Notices => "ofrep",
        }
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
