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

#[cfg(test)]
mod tests {
    use flagraft_core::state::State;
    use serde_json::json;

    use super::*;
    use crate::{config::TravelConfig, raft::testing::open};

    const PUT_MS: i64 = 1_000_000;
    const SINCE: Duration = Duration::from_secs(60);

    /// A state with an edge, of which record 7 is the last part.
    fn state(revision: u64) -> State {
        let edge = json!({
            "catalog": {"revision": revision, "history": "0".repeat(16), "sequence": 3, "time_ms": 0, "sha256": "00".repeat(32), "parts": 2},
            "records": [5, 7],
        });
        let row = (vec![0x28], [b"\x01", edge.to_string().as_bytes()].concat());
        State::from_rows(State::empty().rows().chain([row])).expect("rows of a state")
    }

    #[tokio::test]
    async fn changes_go_once_nothing_is_found_against_their_catalog_and_others_could_look_too() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let storage = open(dir.path());
        let part = json!({
            "kind": "system", "time_ms": PUT_MS, "revision_before": 6, "revision_after": 7,
            "operations": [{"operation": {"op": "audit.catalog.put"}}],
        });
        storage.alter_record(7, part.to_string().as_bytes());
        let traveller = Traveller::open(&storage, TravelConfig::default()).expect("opens");
        let metrics = EdgeMetrics::register(&Registry::new()).expect("fresh registry");
        let mut watch = EdgeWatch { storage, traveller, metrics, checked: None };
        let state = state(12);
        let edge = state.edge().expect("there").clone();
        let settled_ms = PUT_MS + 60_000;
        let passed =
            async |watch: &EdgeWatch, now_ms| watch.passed(&state, now_ms, SINCE).await.expect("reads");
        assert_eq!(watch.passed(&State::empty(), settled_ms, SINCE).await, Ok(0), "there is none");
        assert_eq!(passed(&watch, settled_ms).await, 0, "not looked at");
        for (check, revision) in [(EdgeCheck::Same, 12), (EdgeCheck::Unknown, 12), (EdgeCheck::Other, 0)] {
            watch.checked = Some((edge.clone(), check));
            assert_eq!(passed(&watch, settled_ms - 1).await, 0, "too soon");
            assert_eq!(passed(&watch, settled_ms).await, revision, "{check:?}");
        }
        watch.checked = Some((self::state(11).edge().expect("there").clone(), EdgeCheck::Same));
        assert_eq!(passed(&watch, settled_ms).await, 0, "another edge was looked at");
    }
}
