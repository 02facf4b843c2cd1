//! Questions to nodes, each put until it has the answer that is wanted.

use std::time::Duration;

use crate::{api::Api, metrics::Metrics, wait};

/// How often a node is asked.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a node may take to answer, before it is asked again.
pub(super) const SAID_WITHIN: Duration = Duration::from_millis(800);

/// Asks these nodes in turn what they count, until `wanted` finds what it looks for.
pub(super) async fn metrics_until<T>(nodes: &[Api], wanted: impl Fn(&Metrics) -> Option<T>) -> T {
    loop {
        for node in nodes {
            let said = Metrics::said_by(node, SAID_WITHIN).await;
            if let Some(found) = said.and_then(|metrics| wanted(&metrics)) {
                return found;
            }
        }
        wait::pace(PAUSE).await;
    }
}

/// Asks a node until it is ready.
pub(super) async fn ready(node: Api) {
    let is_ready = async || {
        let said = node.get("/readyz").within(SAID_WITHIN).send().await;
        said.is_ok_and(|answer| answer.status == 200)
    };
    while !is_ready().await {
        wait::pace(PAUSE).await;
    }
}

/// An entry of a node's log, by what it is to the node: `last_log`, `committed` and so on.
pub(super) fn raft_index(metrics: &Metrics, which: &str) -> u64 {
    metrics.get(&format!("flagraft_raft_index{{which=\"{which}\"}}"))
}
