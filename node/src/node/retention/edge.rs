//! What this node knows of the edge: whether its own records make the catalog that stands for them, and from when on those
//! may go.

use std::{sync::Arc, time::Duration};

use flagraft_core::{record::Age, retention::Edge, state::State};
use prometheus::{IntCounterVec, Opts, Registry};

use super::blocking;
use crate::{
    storage::Storage,
    travel::{EdgeCheck, TravelError, Traveller},
};

/// What is counted of edges.
#[derive(Clone)]
pub(crate) struct EdgeMetrics {
    checks: IntCounterVec,
}

impl EdgeMetrics {
    /// # Errors
    /// When the name is taken.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let checks = IntCounterVec::new(
            Opts::new(
                "flagraft_audit_edge_checks_total",
                "Catalogs that stand for removed changes which this node held against its own records, by result: same, other or \
                 unknown.",
            ),
            &["result"],
        )?;
        registry.register(Box::new(checks.clone()))?;
        Ok(Self { checks })
    }

    fn count(&self, check: EdgeCheck) {
        let result = match check {
            EdgeCheck::Same => "same",
            EdgeCheck::Other => "other",
            EdgeCheck::Unknown => "unknown",
        };
        self.checks.with_label_values(&[result]).inc();
    }
}

/// Watches the edge.
pub(super) struct EdgeWatch {
    pub(super) storage: Arc<Storage>,
    pub(super) traveller: Arc<Traveller>,
    pub(super) metrics: EdgeMetrics,
    /// The edge that was looked at last, and what came of it.
    pub(super) checked: Option<(Edge, EdgeCheck)>,
}

impl EdgeWatch {
    /// Makes the catalog of a new edge of this node's own records too, before they go, and tells where it is another one.
    /// Catalogs of before the edge are forgotten.
    pub(super) async fn look(&mut self, state: State) -> Result<(), String> {
        let Some(edge) = state.edge().cloned() else { return Ok(()) };
        if self.result_for(&edge).is_none() {
            let (traveller, new) = (Arc::clone(&self.traveller), edge.clone());
            let before = self.checked.as_ref().map(|(edge, _)| edge.clone());
            let check = blocking(move || traveller.check_edge(&state, &new, before.as_ref())).await?;
            self.metrics.count(check);
            tell(check, edge.catalog.revision);
            self.checked = Some((edge.clone(), check));
        }
        // Again and again: who was under way still keeps a catalog of before it. Where the log has another one, what is kept
        // says something against that.
        if self.result_for(&edge) != Some(EdgeCheck::Other) {
            let traveller = Arc::clone(&self.traveller);
            blocking(move || {
                traveller.forget_before(&edge);
                Ok::<_, TravelError>(())
            })
            .await?;
        }
        Ok(())
    }

    fn result_for(&self, edge: &Edge) -> Option<EdgeCheck> {
        self.checked.as_ref().filter(|(checked, _)| checked == edge).map(|(_, check)| *check)
    }

    /// The revision up to which changes may go: that of the edge, once this node has found nothing against it, and it has been in
    /// the log for so long that the others could look at it too. 0 until then.
    pub(super) async fn passed(&self, state: &State, now_ms: i64, since: Duration) -> Result<u64, String> {
        let Some(edge) = state.edge() else { return Ok(0) };
        if !matches!(self.result_for(edge), Some(EdgeCheck::Same | EdgeCheck::Unknown)) {
            return Ok(0);
        }
        let (storage, last) = (Arc::clone(&self.storage), edge.records.last().copied().unwrap_or(0));
        let rows = blocking(move || storage.audit_rows(&[last], usize::MAX)).await?;
        let put_ms = rows.first().and_then(|row| Age::read(row)).map(|age| age.time_ms);
        let since_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let is_settled = put_ms.is_some_and(|put_ms| now_ms.saturating_sub(put_ms) >= since_ms);
        Ok(if is_settled { edge.catalog.revision } else { 0 })
    }
}

fn tell(check: EdgeCheck, revision: u64) {
    match check {
        EdgeCheck::Same => {
            tracing::info!(revision, "this node's records make the catalog that is to stand for them")
        }
        EdgeCheck::Unknown => {
            tracing::info!(revision, "this node has not all records that the catalog in the log stands for");
        }
        EdgeCheck::Other => tracing::error!(
            revision,
            "this node's audit records make another catalog than the one in the log that is to stand for them: put a hold on the \
             log now, export it from each node, and compare"
        ),
    }
}
