//! Refused credentials: counted, and written to the audit log as one record per node and interval, so that an attack
//! leaves a trace of bounded size.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flagraft_core::proposal::{Body, Denials, RequestId};
use tokio::{sync::watch, time::timeout};

use super::submit::{Credentials, Submission, Writes};
use crate::{clock::wall_ms, config::WriteConfig, raft::Replica};

/// How long the attempt to write the last record may take, when the node stops.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests refused since the last record.
#[derive(Debug, Default)]
pub(super) struct DenialCount(AtomicU64);

impl DenialCount {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// Writes the records.
pub(super) struct Reporter {
    node_id: u64,
    count: Arc<DenialCount>,
    writes: Arc<Writes>,
    replica: Replica,
    /// The start of what is being counted, in milliseconds since 1970 UTC.
    from_ms: i64,
    /// A record on its way. It is sent again under its id until the log has it: nothing is counted twice.
    pending: Option<Denials>,
}

impl Reporter {
    pub(super) fn new(node_id: u64, count: Arc<DenialCount>, writes: Arc<Writes>, replica: Replica) -> Self {
        Self { node_id, count, writes, replica, from_ms: wall_ms(), pending: None }
    }

    /// Reports once every interval, and once more when told to stop.
    pub(super) async fn run(mut self, config: WriteConfig, mut stopped: watch::Receiver<bool>) {
        loop {
            // A sender that is gone says the same as one that says stop.
            if timeout(config.denials_interval, stopped.wait_for(|stopped| *stopped)).await.is_ok() {
                return self.report(LAST_TIMEOUT).await;
            }
            self.report(config.denials_timeout).await;
        }
    }

    async fn report(&mut self, patience: Duration) {
        if self.replica.published().state.history().is_none() {
            return;
        }
        let to_ms = wall_ms().max(self.from_ms);
        let Some(denials) = self.pending.clone().or_else(|| self.counted(to_ms)) else {
            self.from_ms = to_ms;
            return;
        };
        // Given and not minted: such an id is always remembered, so it may be sent again.
        let request =
            RequestId { id: format!("denials-{}-{}", denials.node, denials.from_ms), client_given: true };
        let credentials = Credentials::Member(self.node_id);
        let submission = Submission::new(credentials, Body::Denials(denials.clone()), request);
        match self.writes.submit(&submission, patience).await {
            Ok(_) => self.pending = None,
            Err(error) => {
                tracing::debug!(%error, count = denials.count, "the count of refused requests is not recorded yet");
                self.pending = Some(denials);
            }
        }
    }

    fn counted(&mut self, to_ms: i64) -> Option<Denials> {
        let count = self.count.take();
        let from_ms = std::mem::replace(&mut self.from_ms, to_ms);
        (count > 0).then_some(Denials { node: self.node_id, from_ms, to_ms, count })
    }
}
