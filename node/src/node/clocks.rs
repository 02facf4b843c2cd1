//! Compares the members' wall clocks. Records are stamped with them, and tokens expire by them.

use futures_util::future::join_all;
use prometheus::{IntGauge, Registry};
use tokio::time::Instant;

use crate::{clock::wall_ms, config::PeerWaits, peer::PeerClient};

/// How far a member's clock may be off the others' before that is reported, in milliseconds.
const OFFSET_MAX_MS: i64 = 5_000;

/// Compares this node's clock with the others'.
pub(super) struct ClockWatch {
    peers: PeerClient,
    offset: IntGauge,
    waits: PeerWaits,
}

impl ClockWatch {
    pub(super) fn new(
        peers: PeerClient,
        registry: &Registry,
        waits: PeerWaits,
    ) -> Result<Self, prometheus::Error> {
        let offset = IntGauge::new(
            "flagraft_clock_offset_milliseconds",
            "This node's wall clock minus the median of all members'.",
        )?;
        registry.register(Box::new(offset.clone()))?;
        Ok(Self { peers, offset, waits })
    }

    pub(super) async fn run(self) {
        let mut was_off = false;
        loop {
            tokio::time::sleep(self.waits.clock_interval).await;
            let asked = self.peers.peers().into_keys().map(|id| self.ahead_ms(id));
            let others = join_all(asked).await.into_iter().flatten();
            let offset_ms = -median(others.chain([0]).collect());
            self.offset.set(offset_ms);
            let is_off = offset_ms.abs() > OFFSET_MAX_MS;
            if is_off && !was_off {
                tracing::warn!(
                    offset_ms,
                    "this node's wall clock differs from the other members'; set it right"
                );
            }
            was_off = is_off;
        }
    }

    /// How far a member's clock is ahead of this node's, in milliseconds.
    async fn ahead_ms(&self, id: u64) -> Option<i64> {
        let asked = Instant::now();
        let reply = self.peers.hello(id, self.waits.status_timeout).await.ok()?;
        let way_ms = i64::try_from(asked.elapsed().as_millis() / 2).ok()?;
        Some(reply.wall_clock_ms.saturating_add(way_ms).saturating_sub(wall_ms()))
    }
}

/// The middle one; of two middle ones the one nearer to zero, so that of two members neither is blamed in vain.
fn median(mut offsets: Vec<i64>) -> i64 {
    offsets.sort_unstable();
    let upper = offsets.len() / 2;
    let lower = offsets.len().saturating_sub(1) / 2;
    [lower, upper]
        .iter()
        .filter_map(|at| offsets.get(*at))
        .copied()
        .min_by_key(|offset| offset.abs())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn one_clock_of_three_that_is_off_is_the_one_that_is_blamed() {
        assert_eq!(median(vec![0]), 0);
        assert_eq!(median(vec![0, 9_000, 2]), 2, "the others see one that is ahead, and don't mind");
        assert_eq!(median(vec![0, -9_000, -9_001]), -9_000, "and it sees two that are behind");
        assert_eq!(median(vec![0, 9_000]), 0);
    }
}
