//! How openraft reaches the other members: each of its calls is a message over the authenticated peer transport.

use std::{future::Future, io, sync::Arc, time::Duration};

use openraft::{
    EntryPayload, OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2, StorageError,
    alias::{SnapshotOf, VoteOf},
    errors::{ErrorSource, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    impls::BoxedErrorSource,
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};

use super::{
    message::{RaftMessage, RaftReply},
    outgoing::{Outgoing, PIECE_BYTES, SendError, Wire},
    runtime::ANSWER_PATIENCE,
    snapshot::SnapshotData,
    transfer_metrics::TransferMetrics,
    types::{NodeMeta, TypeConfig},
};
use crate::{
    peer::{PeerClient, PeerError},
    storage::Storage,
};

/// What a link carries at least: 1 MB/s.
const APPEND_BYTES_PER_MICROSECOND: u64 = 1;

/// Makes the connections that openraft asks for.
pub(crate) struct NetworkFactory {
    pub(super) node_id: u64,
    pub(super) peers: PeerClient,
    pub(super) storage: Arc<Storage>,
    pub(super) transfers: TransferMetrics,
    /// See [`super::RaftTuning::append_timeout_ms`].
    pub(super) append_timeout: Duration,
}

/// The connection to one member.
pub(crate) struct Network {
    node_id: u64,
    target: u64,
    peers: PeerClient,
    storage: Arc<Storage>,
    transfers: TransferMetrics,
    append_timeout: Duration,
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, node: &NodeMeta) -> Network {
        // A leader writes to a member before the change that adds it is committed, or published anywhere.
        self.peers.learn(target, node);
        Network {
            node_id: self.node_id,
            target,
            peers: self.peers.clone(),
            storage: Arc::clone(&self.storage),
            transfers: self.transfers.clone(),
            append_timeout: self.append_timeout,
        }
    }
}

impl Network {
    async fn call<T>(
        &self,
        action: RPCTypes,
        message: RaftMessage,
        deadline: Duration,
        expected: impl FnOnce(RaftReply) -> Option<T>,
    ) -> Result<T, RPCError<TypeConfig>> {
        match self.peers.raft(self.target, message, deadline).await {
            Ok(reply) => expected(reply).ok_or_else(|| {
                Unreachable::from_string(format!("node {} answered something else", self.target)).into()
            }),
            Err(PeerError::Timeout) => {
                Err(Timeout { action, id: self.node_id, target: self.target, timeout: deadline }.into())
            }
            // All others as "unreachable", so that openraft pauses before it tries again.
            Err(error) => Err(Unreachable::from_string(error).into()),
        }
    }

    async fn send_snapshot(
        &self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        deadline: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Stored(catalog) = snapshot.snapshot else {
            // openraft sends what the state machine calls its current snapshot, and that is a file.
            return Err(read_failure(&io::Error::other("a snapshot that is not on this node's disk")));
        };
        let outgoing = Outgoing {
            wire: self,
            storage: &self.storage,
            metrics: &self.transfers,
            catalog,
            piece_bytes: PIECE_BYTES,
        };
        let sent = outgoing.send((&vote).into(), deadline).await;
        self.transfers.send_ended(sent.is_ok());
        match sent {
            Ok(vote) => {
                tracing::info!(
                    node = self.target,
                    entry = snapshot.meta.last_log_id.map(|id| id.index),
                    "a snapshot has arrived"
                );
                Ok(SnapshotResponse::new(vote.into()))
            }
            Err(SendError::Wire(error)) => Err(error.into()),
            Err(SendError::Answer(what)) => Err(Unreachable::from_string(what).into()),
            Err(SendError::Disk(error)) => Err(read_failure(&error)),
        }
    }
}

impl Wire for Network {
    type Error = RPCError<TypeConfig>;

    async fn call(&self, message: RaftMessage, deadline: Duration) -> Result<RaftReply, Self::Error> {
        Network::call(self, RPCTypes::InstallSnapshot, message, deadline, Some).await
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        // openraft grants the time until the next heartbeat: on a slow link no append would ever be answered.
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let deadline = self.append_timeout + transfer_time(&rpc);
        self.call(RPCTypes::AppendEntries, RaftMessage::Append(rpc.into()), deadline, |reply| match reply {
            RaftReply::Append(reply) => Some(reply.into()),
            _ => None,
        })
        .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(RPCTypes::Vote, RaftMessage::Vote(rpc.into()), patience(&option), vote_reply).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(RPCTypes::Vote, RaftMessage::PreVote(rpc.into()), patience(&option), vote_reply).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let message = RaftMessage::Transfer(request.into());
        self.call(RPCTypes::TransferLeader, message, patience(&option), |reply| match reply {
            RaftReply::Transfer(reply) => Some(reply.into()),
            _ => None,
        })
        .await
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<TypeConfig>,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot, option.hard_ttl()) => sent,
        }
    }
}

/// How long an answer that is not an append's is waited for: as long as openraft does on [`super::runtime`].
fn patience(option: &RPCOption) -> Duration {
    option.hard_ttl().max(ANSWER_PATIENCE)
}

/// The time that the bytes of an append are granted.
fn transfer_time(append: &AppendEntriesRequest<TypeConfig>) -> Duration {
    let bytes = append.entries.iter().map(|entry| match &entry.payload {
        EntryPayload::Normal(command) => command.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    });
    Duration::from_micros(
        u64::try_from(bytes.sum::<usize>()).unwrap_or(u64::MAX) / APPEND_BYTES_PER_MICROSECOND,
    )
}

fn vote_reply(reply: RaftReply) -> Option<VoteResponse<TypeConfig>> {
    match reply {
        RaftReply::Vote(reply) => Some(reply.into()),
        _ => None,
    }
}

/// This node can't read what it must send: its disk is at fault, not the network.
fn read_failure(error: &io::Error) -> StreamingError<TypeConfig> {
    StorageError::read_snapshot(None, BoxedErrorSource::from_error(error)).into()
}
