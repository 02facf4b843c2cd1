//! How snapshots on their way are counted, on both sides.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, core::Collector};

use super::types::SnapshotProgress;

/// Counters and gauges of the transfers of snapshots. Clones share their counts.
#[derive(Clone, Debug)]
pub struct TransferMetrics {
    /// Bytes sent, of records and catalogs.
    pub(super) sent_bytes: IntCounter,
    sends: IntCounterVec,
    /// Bytes received, of records and catalogs.
    pub(super) received_bytes: IntCounter,
    /// Audit records received, repeated ones included.
    pub(super) received_records: IntCounter,
    /// Snapshots announced here of which a part was here already.
    pub(super) resumed: IntCounter,
    /// Times that what had arrived was thrown away, because it was not what was announced.
    pub(super) discarded: IntCounter,
    receiving: IntGaugeVec,
}

impl TransferMetrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// When the registry already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            sent_bytes: registered(
                registry,
                IntCounter::new(
                    "flagraft_snapshot_sent_bytes_total",
                    "Bytes of snapshots sent to other members: audit records and catalogs.",
                )?,
            )?,
            sends: registered(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "flagraft_snapshot_sends_total",
                        "Attempts to send a snapshot to another member, by how they ended.",
                    ),
                    &["result"],
                )?,
            )?,
            received_bytes: registered(
                registry,
                IntCounter::new(
                    "flagraft_snapshot_received_bytes_total",
                    "Bytes of snapshots received from other members: audit records and catalogs.",
                )?,
            )?,
            received_records: registered(
                registry,
                IntCounter::new(
                    "flagraft_snapshot_received_records_total",
                    "Audit records received with snapshots; one that came twice counts twice.",
                )?,
            )?,
            resumed: registered(
                registry,
                IntCounter::new(
                    "flagraft_snapshot_resumed_total",
                    "Snapshots announced here of which an earlier transfer had brought a part already.",
                )?,
            )?,
            discarded: registered(
                registry,
                IntCounter::new(
                    "flagraft_snapshot_discarded_total",
                    "Times that parts of a received snapshot were thrown away, because they were not what was announced.",
                )?,
            )?,
            receiving: registered(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "flagraft_snapshot_receiving",
                        "How much of the snapshot that is on its way to this node is here, and how much there is; 0 when none is.",
                    ),
                    &["what", "which"],
                )?,
            )?,
        })
    }

    /// Counts an attempt to send a snapshot.
    pub(super) fn send_ended(&self, arrived: bool) {
        self.sends.with_label_values(&[if arrived { "installed" } else { "broken" }]).inc();
    }

    /// Shows how far the snapshot that is on its way is; `None`: there is none.
    pub(super) fn show(&self, progress: Option<&SnapshotProgress>) {
        let none = SnapshotProgress::default();
        let SnapshotProgress { received_records, total_records, received_bytes, total_bytes } =
            *progress.unwrap_or(&none);
        for (what, which, value) in [
            ("records", "received", received_records),
            ("records", "total", total_records),
            ("catalog_bytes", "received", received_bytes),
            ("catalog_bytes", "total", total_bytes),
        ] {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            self.receiving.with_label_values(&[what, which]).set(value);
        }
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
