//! What the storage counts.

use prometheus::{Histogram, HistogramOpts, Registry};

/// Histograms of the write-ahead log's syncs. Clones share their counts.
#[derive(Clone, Debug)]
pub struct StorageMetrics {
    pub(super) sync_seconds: Histogram,
    pub(super) sync_entries: Histogram,
}

impl StorageMetrics {
    /// Creates the histograms and registers them.
    ///
    /// # Errors
    /// When the registry already has metrics of these names.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            sync_seconds: Histogram::with_opts(
                HistogramOpts::new(
                    "flagraft_storage_sync_seconds",
                    "How long one sync of the write-ahead log took, in seconds.",
                )
                .buckets(prometheus::exponential_buckets(0.000_1, 2.0, 16)?),
            )?,
            sync_entries: Histogram::with_opts(
                HistogramOpts::new(
                    "flagraft_storage_sync_entries",
                    "How many log entries one sync of the write-ahead log made durable.",
                )
                .buckets(prometheus::exponential_buckets(1.0, 2.0, 13)?),
            )?,
        };
        registry.register(Box::new(metrics.sync_seconds.clone()))?;
        registry.register(Box::new(metrics.sync_entries.clone()))?;
        Ok(metrics)
    }

    /// Histograms that nobody reads: for work on a folder that no node runs on.
    ///
    /// # Errors
    /// As [`StorageMetrics::register`].
    pub fn detached() -> Result<Self, prometheus::Error> {
        Self::register(&Registry::new())
    }
}
