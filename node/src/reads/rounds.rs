//! Rounds over Raft: a leader asks its quorum; everybody else asks the leader.

use std::time::Duration;

use super::gate::Rounds;
use crate::{
    leadership::{known_leader, leader_change},
    peer::{PeerClient, ReadIndexReply},
    raft::Replica,
};

pub(super) struct ReplicaRounds {
    node_id: u64,
    replica: Replica,
    peers: PeerClient,
    answer_timeout: Duration,
}

impl ReplicaRounds {
    pub(super) fn new(node_id: u64, replica: Replica, peers: PeerClient, answer_timeout: Duration) -> Self {
        Self { node_id, replica, peers, answer_timeout }
    }
}

impl Rounds for ReplicaRounds {
    async fn read_index(&self) -> Option<u64> {
        // Whoever is taken for the leader proves it by this very round, or fails.
        match known_leader(&self.replica)? {
            leader if leader == self.node_id => self.replica.read_index().await.ok(),
            leader => match self.peers.read_index(leader, self.answer_timeout).await {
                Ok(ReadIndexReply::Confirmed { index }) => Some(index),
                Ok(ReadIndexReply::NotLeader { .. } | ReadIndexReply::Unavailable { .. }) | Err(_) => None,
            },
        }
    }

    async fn published(&self, index: u64) {
        self.replica.await_published(index).await;
    }

    async fn leader_change(&self) {
        leader_change(&self.replica).await;
    }
}

/// Test only: a cluster that is at what this node publishes, whenever it is asked.
#[cfg(test)]
pub(super) struct InTouch;

#[cfg(test)]
impl Rounds for InTouch {
    async fn read_index(&self) -> Option<u64> {
        Some(0)
    }

    async fn published(&self, _index: u64) {}

    async fn leader_change(&self) {
        std::future::pending().await
    }
}
