//! Compares the members' wall clocks. Records are stamped with them, and tokens expire by them.
//!
//! A leader whose clock is off hands leadership over to a member whose clock is not. Nothing else follows: no proposal
//! of this version is made because of what time it is.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use prometheus::{IntGauge, Registry};
use tokio::time::Instant;

use crate::{
    clock::WallClock,
    config::PeerWaits,
    peer::PeerClient,
    raft::{RaftRole, RaftStatus, Replica},
};

/// How far a member's clock may be off the members' median before that is reported, in milliseconds.
const OFFSET_MAX_MS: i64 = 5_000;

/// A leader hands over no more often than this because of its clock: each time writes wait for a moment.
const HAND_OVER_INTERVAL: Duration = Duration::from_secs(60);

/// The gauge of this node's offset.
pub(super) fn offset_gauge(registry: &Registry) -> Result<IntGauge, prometheus::Error> {
    let offset = IntGauge::new(
        "flagraft_clock_offset_milliseconds",
        "This node's wall clock minus the median of all members'.",
    )?;
    registry.register(Box::new(offset.clone()))?;
    Ok(offset)
}

/// Compares this node's clock with the others'.
pub(super) struct ClockWatch {
    pub(super) peers: PeerClient,
    pub(super) replica: Replica,
    pub(super) clock: WallClock,
    pub(super) offset: IntGauge,
    pub(super) waits: PeerWaits,
}

impl ClockWatch {
    pub(super) async fn run(self) {
        let mut was_off = false;
        let mut handed_over_at = None;
        loop {
            tokio::time::sleep(self.waits.clock_interval).await;
            let offsets = self.compare().await;
            self.offset.set(offsets.own_ms());
            if offsets.is_off() && !was_off {
                tracing::warn!(
                    offset_ms = offsets.own_ms(),
                    "this node's wall clock differs from the other members'; set it right"
                );
            }
            was_off = offsets.is_off();
            if may_hand_over(handed_over_at, Instant::now())
                && let Some(to) = offsets.successor(&self.replica.status())
            {
                handed_over_at = Some(Instant::now());
                self.hand_over(to).await;
            }
        }
    }

    async fn compare(&self) -> Offsets {
        let asked = self.peers.peers().into_keys().map(async |id| Some((id, self.ahead_ms(id).await?)));
        Offsets { ahead_ms: join_all(asked).await.into_iter().flatten().collect() }
    }

    /// How far a member's clock is ahead of this node's, in milliseconds.
    async fn ahead_ms(&self, id: u64) -> Option<i64> {
        let asked = Instant::now();
        let reply = self.peers.hello(id, self.waits.status_timeout).await.ok()?;
        let way_ms = i64::try_from(asked.elapsed().as_millis() / 2).ok()?;
        Some(reply.wall_clock_ms.saturating_add(way_ms).saturating_sub(self.clock.now_ms()))
    }

    async fn hand_over(&self, to: u64) {
        match self.replica.transfer_leadership(Some(to)).await {
            Ok(()) => tracing::warn!(to, "leadership was handed over, because this node's wall clock is off"),
            Err(error) => {
                tracing::warn!(to, %error, "this node's wall clock is off, and leadership could not be handed over")
            }
        }
    }
}

fn may_hand_over(last: Option<Instant>, now: Instant) -> bool {
    last.is_none_or(|last| now.saturating_duration_since(last) >= HAND_OVER_INTERVAL)
}

/// How far the members that answered are ahead of this node, in milliseconds.
struct Offsets {
    ahead_ms: BTreeMap<u64, i64>,
}

impl Offsets {
    fn median_ms(&self) -> i64 {
        median(self.ahead_ms.values().copied().chain([0]).collect())
    }

    /// How far this node is ahead of the median.
    fn own_ms(&self) -> i64 {
        self.median_ms().saturating_neg()
    }

    fn is_off(&self) -> bool {
        self.own_ms().saturating_abs() > OFFSET_MAX_MS
    }

    /// Who should lead in place of this node: if it leads and its clock is off, the voter whose log is most complete
    /// of those whose clocks are right.
    fn successor(&self, status: &RaftStatus) -> Option<u64> {
        if status.role != RaftRole::Leader || !self.is_off() {
            return None;
        }
        let is_right = |id: &u64| {
            let ahead_ms = self.ahead_ms.get(id)?;
            Some(ahead_ms.saturating_sub(self.median_ms()).saturating_abs() <= OFFSET_MAX_MS)
        };
        let others = status.voters().filter(|id| *id != status.node_id && is_right(id) == Some(true));
        others.max_by_key(|id| status.matched.get(id).copied().flatten())
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
    use super::*;
    use crate::raft::{MemberStatus, NodeMeta};

    #[test]
    fn one_clock_of_three_that_is_off_is_the_one_that_is_blamed() {
        assert_eq!(median(vec![0]), 0);
        assert_eq!(median(vec![0, 9_000, 2]), 2, "the others see one that is ahead, and don't mind");
        assert_eq!(median(vec![0, -9_000, -9_001]), -9_000, "and it sees two that are behind");
        assert_eq!(median(vec![0, 9_000]), 0);
        assert_eq!(median(vec![0, -9_000, 9_000, 1]), 0);
    }

    /// Node 1 of four voters and a learner, which is node 5.
    fn status(role: RaftRole) -> RaftStatus {
        let member = |id: u64| (id, MemberStatus { meta: NodeMeta::default(), voter: id != 5 });
        RaftStatus {
            node_id: 1,
            term: 1,
            leader: Some(1),
            role,
            members: (1..=5).map(member).collect(),
            last_log: Some(9),
            committed: Some(9),
            applied: Some(9),
            published: Some(9),
            snapshot: None,
            purged: None,
            matched: [(2, Some(7)), (3, Some(9)), (4, Some(8)), (5, Some(9))].into(),
            running: true,
        }
    }

    #[test]
    fn a_leader_whose_clock_is_off_hands_over_to_a_voter_whose_clock_is_right() {
        let offsets = |ahead_ms: &[(u64, i64)]| Offsets { ahead_ms: ahead_ms.iter().copied().collect() };
        let off = offsets(&[(2, -6_000), (3, -6_010), (4, -6_020), (5, -6_000)]);
        assert_eq!(off.own_ms(), 6_000);
        assert_eq!(off.successor(&status(RaftRole::Leader)), Some(3), "its log is most complete");
        assert_eq!(off.successor(&status(RaftRole::Follower)), None);
        let right = offsets(&[(2, -4_000), (3, -4_010), (4, 2)]);
        assert_eq!(right.successor(&status(RaftRole::Leader)), None);
        let two_off = offsets(&[(2, -6_000), (3, 6_000), (4, -6_020), (5, -6_000)]);
        assert_eq!(
            two_off.successor(&status(RaftRole::Leader)),
            Some(4),
            "the one of the most complete log is off too"
        );
        let silent = offsets(&[(5, -6_000), (2, -6_001), (7, -6_000)]);
        assert_eq!(silent.successor(&status(RaftRole::Leader)), Some(2), "who says nothing may be off");
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_does_not_go_back_and_forth() {
        let first = Instant::now();
        assert!(may_hand_over(None, first));
        assert!(!may_hand_over(Some(first), first + HAND_OVER_INTERVAL - Duration::from_millis(1)));
        assert!(may_hand_over(Some(first), first + HAND_OVER_INTERVAL));
    }
}
