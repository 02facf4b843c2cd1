//! What a node does for its peers. Who asks, and that it may, was checked before.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    checkpoints::{Cosigner, Unsigned},
    cluster::MemberReport,
    membership::{self, Steward},
    room::Room,
    submit::Writes,
};
use crate::{
    clock::WallClock,
    disk::Disk,
    peer::{
        CosignReply, Found, FoundReply, HandOverReply, HelloReply, Join, JoinReply, PeerClient, PeerHandler,
        ReadIndexReply, Refusal, RefusalCode,
    },
    raft::{NodeMeta, RaftMessage, RaftReply, ReadIndexError, Replica},
    reads::Reads,
    storage::{Storage, StorageError},
};

/// The node, as its peers see it.
pub(super) struct Desk {
    pub(super) meta: NodeMeta,
    pub(super) storage: Arc<Storage>,
    pub(super) replica: Replica,
    pub(super) peers: PeerClient,
    pub(super) reads: Arc<Reads>,
    pub(super) writes: Arc<Writes>,
    pub(super) room: Arc<Room>,
    pub(super) disk: Arc<Disk>,
    pub(super) steward: Arc<Steward>,
    pub(super) cosigner: Arc<Cosigner>,
    /// Whether this node was started to join a cluster, so that no other one is founded with it.
    pub(super) joins: bool,
    pub(super) clock: WallClock,
    /// Whether a backup waits in this node's folder, so that no cluster is founded here but on that.
    pub(super) restores: bool,
    /// How long a follower's question for a read index is worth answering.
    pub(super) read_timeout: Duration,
    /// How long a member may let another one wait for an entry.
    pub(super) await_published_max: Duration,
    /// How long a member may wait for this one to have the records of a checkpoint.
    pub(super) checkpoint_timeout: Duration,
}

impl PeerHandler for Desk {
    async fn raft(&self, _from: u64, message: RaftMessage) -> Result<RaftReply, Refusal> {
        self.room.admit(&message, &self.replica)?;
        Ok(self.replica.handle_raft(message).await?)
    }

    async fn hello(&self, _from: u64) -> Result<HelloReply, Refusal> {
        Ok(HelloReply {
            cluster_id: self.storage.identity().cluster_id,
            meta: self.meta.clone(),
            wall_clock_ms: self.clock.now_ms(),
        })
    }

    async fn found(&self, from: u64, found: Found) -> Result<FoundReply, Refusal> {
        match self.storage.identity().cluster_id {
            None if self.joins => {
                let why = "this node was started with --join, to come into a cluster that runs";
                return Err(Refusal::new(RefusalCode::Unavailable, why));
            }
            // Whatever the id: it may have told it to others before it was cut short, and none of them may found under
            // it beside this node, an empty catalog beside the one that was backed up.
            _ if self.restores => {
                let why =
                    "a backup was restored into this node's folder, so this node is the one that founds";
                return Err(Refusal::new(RefusalCode::Unavailable, why));
            }
            Some(ours) if ours != found.cluster_id => return Ok(FoundReply::KnowsAnother(ours)),
            // Whoever missed the founding founds nothing: it is taken in by whichever node leads.
            Some(_) if self.replica.published().state.history().is_some() => {
                let why = "this cluster is founded already, and takes its members in by itself";
                return Err(Refusal::new(RefusalCode::Unavailable, why));
            }
            Some(_) => {}
            None => {
                tracing::info!(cluster = %found.cluster_id, by = from, "this node was found and joins a cluster")
            }
        }
        match self.storage.set_cluster_id(found.cluster_id).await {
            Ok(()) => {
                self.peers.set_cluster_id(found.cluster_id);
                Ok(FoundReply::Joined)
            }
            // Another one was quicker.
            Err(StorageError::Identity(message)) => match self.storage.identity().cluster_id {
                Some(ours) => Ok(FoundReply::KnowsAnother(ours)),
                None => Err(Refusal::new(RefusalCode::Unavailable, message)),
            },
            Err(error) => Err(Refusal::new(RefusalCode::Unavailable, error.to_string())),
        }
    }

    async fn forward(&self, from: u64, body: Vec<u8>, deadline: Duration) -> Result<Vec<u8>, Refusal> {
        Ok(self.writes.take_forwarded(from, &body, deadline).await)
    }

    async fn read_index(&self, _from: u64) -> Result<ReadIndexReply, Refusal> {
        let unavailable = |why: String| Ok(ReadIndexReply::Unavailable { why });
        match timeout(self.read_timeout, self.replica.read_index()).await {
            Ok(Ok(index)) => Ok(ReadIndexReply::Confirmed { index }),
            Ok(Err(ReadIndexError::NotLeader { leader })) => Ok(ReadIndexReply::NotLeader { leader }),
            Ok(Err(error @ (ReadIndexError::NoQuorum | ReadIndexError::Stopped))) => {
                unavailable(error.to_string())
            }
            Err(_) => unavailable("no quorum answered in time".to_owned()),
        }
    }

    async fn await_published(&self, _from: u64, index: u64, deadline: Duration) -> Result<bool, Refusal> {
        let patience = deadline.min(self.await_published_max);
        Ok(timeout(patience, self.replica.await_published(index)).await.is_ok())
    }

    async fn status(&self, _from: u64) -> Result<Vec<u8>, Refusal> {
        let report = MemberReport::of(
            &self.replica,
            &self.reads,
            &self.disk,
            self.steward.waits_for(),
            self.cosigner.report(),
        );
        serde_json::to_vec(&report).map_err(|error| Refusal::new(RefusalCode::Unavailable, error.to_string()))
    }

    async fn join(&self, from: u64, uid: String, join: Join) -> Result<JoinReply, Refusal> {
        Ok(self.steward.admit(from, &uid, join).await)
    }

    async fn hand_over(&self, _from: u64, next: u64, sequence: u64) -> Result<HandOverReply, Refusal> {
        Ok(self.steward.hand_over(next, sequence).await)
    }

    async fn cosign(&self, _from: u64, size: u64) -> Result<CosignReply, Refusal> {
        // Half of the time that the other one waits: to hear that it is not signed is worth more than to hear nothing.
        Ok(match self.cosigner.sign(size, self.checkpoint_timeout / 2).await {
            Ok(note) => CosignReply::Signed { note: note.to_string().into_bytes() },
            Err(Unsigned::Behind { size }) => CosignReply::Behind { size },
            Err(why) => CosignReply::Refused { why: why.to_string() },
        })
    }

    async fn checkpoint(&self, _from: u64, note: Vec<u8>) -> Result<Option<String>, Refusal> {
        Ok(self.cosigner.take(&note, self.checkpoint_timeout / 2, &self.reads).await.err())
    }

    fn removed(&self, from: u64) -> Option<String> {
        membership::removed(&self.replica, from)
    }

    fn advise_wiped(&self, from: u64) -> Option<String> {
        Some(membership::advise_wiped(&self.replica, from))
    }
}
