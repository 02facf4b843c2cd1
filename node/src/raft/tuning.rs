//! Raft's times and limits.

use openraft::{Config, ConfigError, SnapshotPolicy};

/// Raft's times and limits. The defaults suit one data centre or neighbouring zones, and take a cluster to a new
/// leader about two seconds after it lost the old one. All members of a cluster should have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaftTuning {
    /// How often a leader lets its followers know that it lives, in milliseconds. Over a link that takes longer than
    /// that, the next time it does so is once the last one is answered. Default: 150.
    pub heartbeat_interval_ms: u64,
    /// How long an append may take, network and remote disk included, beside the time that its bytes are granted; then
    /// it is sent again over another connection. Each one that arrives makes its receiver wait for this leader, so this
    /// has to be longer than a follower waits, which is twice `election_timeout_max_ms`: a leader that hears no answer
    /// must not keep others from being elected. Milliseconds. Default: 3,000.
    pub append_timeout_ms: u64,
    /// How long a follower waits for its leader before it stands for election, at least, in milliseconds.
    /// Default: 600.
    pub election_timeout_min_ms: u64,
    /// ... and at most. Default: 1,200.
    pub election_timeout_max_ms: u64,
    /// A leader that reaches no quorum falls silent for this long, then tries again for as long, in turn, so that
    /// members that reach each other can elect another. Milliseconds, at least twice `election_timeout_max_ms`.
    /// Default: 2,400.
    pub quorum_loss_probe_interval_ms: u64,
    /// How long installing a received snapshot may take, in milliseconds. Default: 300,000.
    pub install_snapshot_timeout_ms: u64,
    /// Entries sent in one append, at most. Default: 256.
    pub append_entries_max: u64,
    /// Bytes of entries after which an append takes no more. Default: 4 MiB.
    pub append_bytes_max: usize,
    /// A snapshot is built once this many entries have been added since the last. `--snapshot-after-entries`, default
    /// 100,000.
    pub snapshot_after_entries: u64,
    /// Entries kept although a snapshot covers them, so that a short absence costs no snapshot. `--keep-entries`,
    /// default 100,000.
    pub keep_entries: u64,
    /// Bytes of log beyond which a snapshot is built and older entries go, whatever the counts above say.
    /// Default: 256 MiB.
    pub log_bytes_max: u64,
    /// A member this many entries behind is sent a snapshot instead of entries. Default: 200,000.
    pub snapshot_lag_entries: u64,
    /// Entries purged at a time, at least. Default: 256.
    pub purge_batch_entries: u64,
    /// The pauses between attempts to reach a member that can't be reached, in openraft's notation.
    /// Default: `100ms 200ms ...400ms`.
    pub reconnect_pauses: String,
}

impl Default for RaftTuning {
    fn default() -> Self {
        Self {
            heartbeat_interval_ms: 150,
            append_timeout_ms: 3_000,
            election_timeout_min_ms: 600,
            election_timeout_max_ms: 1_200,
            quorum_loss_probe_interval_ms: 2_400,
            install_snapshot_timeout_ms: 300_000,
            append_entries_max: 256,
            append_bytes_max: 4 * 1024 * 1024,
            snapshot_after_entries: 100_000,
            keep_entries: 100_000,
            log_bytes_max: 256 * 1024 * 1024,
            snapshot_lag_entries: 200_000,
            purge_batch_entries: 256,
            reconnect_pauses: "100ms 200ms ...400ms".to_owned(),
        }
    }
}

impl RaftTuning {
    /// openraft's configuration.
    pub(super) fn config(&self) -> Result<Config, ConfigError> {
        Config {
            cluster_name: "flagraft".to_owned(),
            heartbeat_interval: self.heartbeat_interval_ms,
            election_timeout_min: self.election_timeout_min_ms,
            election_timeout_max: self.election_timeout_max_ms,
            quorum_loss_probe_interval: Some(self.quorum_loss_probe_interval_ms),
            install_snapshot_timeout: self.install_snapshot_timeout_ms,
            max_payload_entries: self.append_entries_max,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_after_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            replication_lag_threshold: self.snapshot_lag_entries,
            purge_batch_size: self.purge_batch_entries,
            backoff: self.reconnect_pauses.clone(),
            // Without a vote round before the election, a node that comes back from a partition would depose a
            // leader that everybody else is content with.
            enable_pre_vote: Some(true),
            // A leader that restarts has forgotten what it promised: it must be elected again.
            enable_leader_restore: Some(false),
            ..Config::default()
        }
        .validate()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::runtime::ANSWER_PATIENCE, *};

    #[test]
    fn the_defaults_are_valid() {
        let config = RaftTuning::default().config().expect("valid");
        assert_eq!(config.enable_pre_vote, Some(true));
        assert_eq!(config.enable_leader_restore, Some(false));
    }

    #[test]
    fn a_leader_that_hears_no_answer_is_silent_for_longer_than_its_followers_wait() {
        let tuning = RaftTuning::default();
        assert!(tuning.append_timeout_ms > 2 * tuning.election_timeout_max_ms);
        assert!(ANSWER_PATIENCE <= Duration::from_millis(tuning.election_timeout_max_ms));
    }
}
