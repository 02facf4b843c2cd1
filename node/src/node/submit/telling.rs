//! After a flag became critical: waiting until the other members know that they have to confirm it.

use std::{sync::Arc, time::Duration};

use flagraft_core::reply::{Outcome, Reply};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use serde::Deserialize;
use tokio::time::Instant;

use super::lead::before_way_back;
use crate::{
    peer::PeerClient,
    raft::Replica,
    storage::{AuditRow, Storage},
};

/// Whichever node answers a write can wait for the others: what it publishes holds the change.
pub(super) struct Telling {
    pub(super) node_id: u64,
    pub(super) replica: Replica,
    pub(super) peers: PeerClient,
    pub(super) storage: Arc<Storage>,
    /// What is left of a deadline for the way back of the answer.
    pub(super) answer_reserve: Duration,
}

/// What of a record tells whether the change may have made a flag critical.
#[derive(Deserialize)]
struct Head {
    touches: Touches,
}

#[derive(Deserialize)]
struct Touches {
    critical: bool,
}

impl Telling {
    /// If a flag became critical by the change that the reply is about: the members that did not publish it by the
    /// deadline.
    pub(super) async fn not_yet_on(&self, reply: &Reply, deadline: Instant) -> Vec<u64> {
        let Outcome::Accepted { sequence, .. } = reply.outcome else { return Vec::new() };
        let promotes = reply.promotes_critical || (reply.replayed && self.may_have_promoted(sequence).await);
        if !promotes {
            return Vec::new();
        }
        let patience = before_way_back(deadline, self.answer_reserve);
        let Some(position) = self.replica.published().position else { return Vec::new() };
        let members = self.replica.status().members.into_keys();
        let mut waits: FuturesUnordered<_> = members
            .filter(|id| *id != self.node_id)
            .map(|id| async move {
                (id, self.peers.await_published(id, position.index, patience).await == Ok(true))
            })
            .collect();
        let mut not_yet_on = Vec::new();
        while let Some((id, published)) = waits.next().await {
            if !published {
                not_yet_on.push(id);
            }
        }
        not_yet_on.sort_unstable();
        not_yet_on
    }

    /// Whether an earlier change may have made a flag critical: whether it touched one that is. A record that is not
    /// here yet, or can't be read, says nothing, so it may.
    async fn may_have_promoted(&self, sequence: u64) -> bool {
        let storage = Arc::clone(&self.storage);
        let read = tokio::task::spawn_blocking(move || storage.audit_range(sequence, 1)).await;
        let Ok(Ok(rows)) = read else { return true };
        rows.first().is_none_or(may_promote)
    }
}

fn may_promote(record: &AuditRow) -> bool {
    serde_json::from_slice::<Head>(&record.bytes).map_or(true, |head| head.touches.critical)
}
