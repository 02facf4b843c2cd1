//! How a new node comes into a cluster that runs: it asks the members it was told of, until the leader takes it in.
//!
//! And how a member makes itself known anew that comes back with another address, zone or label: by the same request.

use std::{sync::Arc, time::Duration};

use flagraft_core::seat::JoinToken;
use tokio::time::{Instant, sleep};

use super::{failure::Failure, founding::Mention, membership::Steward};
use crate::{
    config::PeerWaits,
    leadership::known_leader,
    peer::{Join, JoinReply, PeerClient, PeerError, RefusalCode},
    raft::{NodeMeta, Replica},
    storage::Storage,
};

/// How long the leader may take to send the first entry after it took this node in. Then it is asked again.
const FIRST_ENTRY_PATIENCE: Duration = Duration::from_secs(10);
/// How long none of the members that were named may answer, while a cluster sends to this node as to a member.
const UNANSWERED_PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to be known anew.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(1);

/// A node that asks to be taken in.
pub(super) struct Joiner {
    pub(super) node_id: u64,
    pub(super) meta: NodeMeta,
    /// The members to ask first.
    pub(super) members: Vec<u64>,
    /// Its token. `None` on a node that was let in before: its data folder is enough.
    pub(super) token: Option<JoinToken>,
    pub(super) storage: Arc<Storage>,
    pub(super) replica: Replica,
    pub(super) peers: PeerClient,
    pub(super) waits: PeerWaits,
}

impl Joiner {
    /// Asks until this node is a member.
    ///
    /// # Errors
    /// When the cluster refuses, or the folder can't keep what it is told: a person has to act.
    pub(super) async fn join(&self) -> Result<(), Failure> {
        let mut mention = Mention::new();
        let mut leader = None;
        let mut answered = Instant::now();
        while !self.replica.is_initialized().await {
            let mut found = Vec::new();
            for id in leader.take().into_iter().chain(self.members.iter().copied()) {
                let asked = self.ask(id).await?;
                if !matches!(asked, Asked::NoAnswer(_)) {
                    answered = Instant::now();
                }
                match asked {
                    Asked::Admitted => {
                        self.await_first_entry().await;
                        found.clear();
                        break;
                    }
                    Asked::Elsewhere(other) => {
                        // Asked first in the next round, which then comes at once.
                        leader = other.filter(|other| *other != id);
                        if leader.is_some() {
                            break;
                        }
                        found.push(format!("node {id}: it knows no leader"));
                    }
                    Asked::NotYet(why) | Asked::NoAnswer(why) => found.push(format!("node {id}: {why}")),
                }
            }
            if let Some((by, cluster)) =
                self.peers.claimed_by().filter(|_| answered.elapsed() > UNANSWERED_PATIENCE)
            {
                return Err(Failure(format!(
                    "none of the members that --join names answers, and node {by} of cluster {cluster} takes this node for \
                     a member. If the folder that node {own} had is lost, put a new member in its place with \
                     `flagraft cluster replace {own} --with {next} --join-token-file TOKEN --reason REASON`; if it is just \
                     joining, start it again with --join naming members that live",
                    own = self.node_id,
                    next = by.max(self.node_id).saturating_add(1),
                )));
            }
            if leader.is_some() {
                sleep(self.waits.question_pause / 8).await;
                continue;
            }
            if !found.is_empty() && mention.is_due() {
                tracing::info!(answers = found.join("; "), "this node waits to be taken in by its cluster");
            }
            sleep(self.waits.question_pause).await;
        }
        tracing::info!("this node is a member of its cluster");
        Ok(())
    }

    async fn ask(&self, id: u64) -> Result<Asked, Failure> {
        let token = self.token.as_ref().map_or_else(String::new, |token| token.expose().to_owned());
        let join = Join { token, meta: self.meta.clone() };
        // The leader asks its quorum, writes an entry, and changes the membership before it answers.
        let patience = self.waits.question_timeout * 5;
        match self.peers.join(id, &join, patience).await {
            Ok(JoinReply::Admitted { cluster_id }) => {
                let kept = self.storage.set_cluster_id(cluster_id).await;
                kept.map_err(|error| Failure(format!("the cluster's id can't be kept: {error}")))?;
                self.peers.set_cluster_id(cluster_id);
                tracing::info!(cluster = %cluster_id, by = id, "this node is taken in");
                Ok(Asked::Admitted)
            }
            Ok(JoinReply::NotLeader { leader }) => {
                if let Some((leader, address)) = &leader {
                    self.peers.introduce(*leader, address.clone());
                }
                Ok(Asked::Elsewhere(leader.map(|(leader, _)| leader)))
            }
            Ok(JoinReply::Refused { why }) => {
                Err(Failure(format!("node {id} does not take in node {}: {why}", self.node_id)))
            }
            Ok(JoinReply::Unavailable { why }) => Ok(Asked::NotYet(why)),
            Err(PeerError::Refused(refusal))
                if matches!(
                    refusal.code,
                    RefusalCode::WrongUid
                        | RefusalCode::Removed
                        | RefusalCode::WrongCluster
                        | RefusalCode::WrongReceiver
                        | RefusalCode::Unsupported
                ) =>
            {
                Err(Failure(format!("node {id} does not take in node {}: {refusal}", self.node_id)))
            }
            Err(error) => Ok(Asked::NoAnswer(error.to_string())),
        }
    }

    async fn await_first_entry(&self) {
        let until = Instant::now() + FIRST_ENTRY_PATIENCE;
        while !self.replica.is_initialized().await && Instant::now() < until {
            sleep(self.waits.question_pause / 8).await;
        }
    }
}

enum Asked {
    Admitted,
    /// Somebody else leads, perhaps this node.
    Elsewhere(Option<u64>),
    NotYet(String),
    /// It can't be reached, or makes no sense.
    NoAnswer(String),
}

/// Makes the membership say of this member what it says of itself: where it is reached and where it stands may be
/// others since it was started anew. Returns once that is so; nothing else waits for it.
pub(super) async fn announce(
    node_id: u64,
    meta: &NodeMeta,
    replica: &Replica,
    peers: &PeerClient,
    steward: &Steward,
    waits: &PeerWaits,
) {
    loop {
        let view = replica.membership();
        match view.members.get(&node_id) {
            Some(known) if *known == (NodeMeta { role: known.role, ..meta.clone() }) => return,
            Some(_) => {}
            // Not a member yet, or not any more: there is nothing to be put right.
            None => {
                sleep(ANNOUNCE_PAUSE).await;
                continue;
            }
        }
        let join = Join { token: String::new(), meta: meta.clone() };
        let reply = match known_leader(replica) {
            None => Err("no leader is known".to_owned()),
            Some(leader) if leader == node_id => Ok(steward.admit(node_id, &meta.uid, join).await),
            Some(leader) => {
                peers.join(leader, &join, waits.question_timeout * 5).await.map_err(|error| error.to_string())
            }
        };
        match reply {
            Ok(JoinReply::Admitted { .. }) => {
                tracing::info!("this node is known by its new address or place")
            }
            reply => tracing::debug!(?reply, "this node is not known by its new address or place yet"),
        }
        sleep(ANNOUNCE_PAUSE).await;
    }
}
