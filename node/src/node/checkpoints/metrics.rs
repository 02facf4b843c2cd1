//! What is counted of checkpoints.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// The metrics. Clones share them.
#[derive(Clone)]
pub(crate) struct CheckpointMetrics {
    /// Records of the newest checkpoint here.
    pub(super) size: IntGauge,
    /// Nodes whose signatures are under it.
    pub(super) signers: IntGauge,
    unsigned: IntCounterVec,
}

impl CheckpointMetrics {
    /// # Errors
    /// When the names are taken.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let size = IntGauge::new(
            "flagraft_audit_checkpoint_size",
            "Records of the newest checkpoint of the audit log that a majority signed.",
        )?;
        let signers = IntGauge::new(
            "flagraft_audit_checkpoint_signers",
            "Nodes whose signatures are under the newest checkpoint.",
        )?;
        let unsigned = IntCounterVec::new(
            Opts::new(
                "flagraft_audit_checkpoint_unsigned_total",
                "Checkpoints that this node was asked to sign and did not, by reason.",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(size.clone()))?;
        registry.register(Box::new(signers.clone()))?;
        registry.register(Box::new(unsigned.clone()))?;
        Ok(Self { size, signers, unsigned })
    }

    /// Counts one that was not signed.
    pub(super) fn unsigned(&self, reason: &'static str) {
        self.unsigned.with_label_values(&[reason]).inc();
    }
}
