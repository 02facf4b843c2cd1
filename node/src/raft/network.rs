//! How openraft reaches the other members: each of its calls is a message over the authenticated peer transport.

use std::{future::Future, io, sync::Arc, time::Duration};

use openraft::{
    OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2, StorageError,
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
    message::{RaftMessage, RaftReply, SnapshotChunkV1, SnapshotInstallV1, SnapshotOfferV1, SnapshotPart},
    snapshot::{SnapshotData, blocking},
    transfer::Pieces,
    types::{NodeMeta, TypeConfig},
};
use crate::{
    peer::{PeerClient, PeerError},
    storage::Storage,
};

/// How long the receiver may take for one piece of a snapshot. The whole may take much longer, as long as it goes on.
const CHUNK_DEADLINE: Duration = Duration::from_secs(15);

/// Makes the connections that openraft asks for.
pub(crate) struct NetworkFactory {
    pub(super) node_id: u64,
    pub(super) peers: PeerClient,
    pub(super) storage: Arc<Storage>,
}

/// The connection to one member.
pub(crate) struct Network {
    node_id: u64,
    target: u64,
    peers: PeerClient,
    storage: Arc<Storage>,
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
        let SnapshotData { catalog, catalog_bytes, audit_size, audit: _ } = snapshot.snapshot;
        let transfer = random_id().map_err(read_failure)?;
        let offer = SnapshotOfferV1 { transfer, meta: (&snapshot.meta).into(), catalog_bytes, audit_size };
        let present = self
            .call(RPCTypes::InstallSnapshot, RaftMessage::SnapshotOffer(offer), CHUNK_DEADLINE, |reply| {
                match reply {
                    RaftReply::SnapshotOffer { audit_size } => Some(audit_size),
                    _ => None,
                }
            })
            .await?;
        let missing = Pieces::of_audit(Arc::clone(&self.storage), present.min(audit_size), audit_size);
        let catalog_sha256 =
            self.send_part(transfer, SnapshotPart::Catalog, Pieces::of_catalog(catalog)).await?;
        let audit_sha256 = self.send_part(transfer, SnapshotPart::Audit, missing).await?;

        let install = SnapshotInstallV1 { transfer, vote: (&vote).into(), catalog_sha256, audit_sha256 };
        let vote = self
            .call(RPCTypes::InstallSnapshot, RaftMessage::SnapshotInstall(install), deadline, |reply| {
                match reply {
                    RaftReply::SnapshotInstall { vote } => Some(vote),
                    _ => None,
                }
            })
            .await?;
        Ok(SnapshotResponse::new(vote.into()))
    }

    /// Sends all pieces of one part, one after the other. Returns its hash.
    async fn send_part(
        &self,
        transfer: u64,
        part: SnapshotPart,
        mut pieces: Pieces,
    ) -> Result<[u8; 32], StreamingError<TypeConfig>> {
        loop {
            let (rest, piece) = blocking(move || {
                let piece = pieces.next()?;
                Ok((pieces, piece))
            })
            .await
            .map_err(read_failure)?;
            pieces = rest;
            let Some((offset, bytes)) = piece else { return Ok(pieces.sha256()) };
            let end = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            let message = RaftMessage::SnapshotChunk(SnapshotChunkV1 { transfer, part, offset, bytes });
            self.call(RPCTypes::InstallSnapshot, message, CHUNK_DEADLINE, |reply| match reply {
                RaftReply::SnapshotChunk { offset } if offset == end => Some(()),
                _ => None,
            })
            .await?;
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(RPCTypes::AppendEntries, RaftMessage::Append(rpc.into()), option.hard_ttl(), |reply| {
            match reply {
                RaftReply::Append(reply) => Some(reply.into()),
                _ => None,
            }
        })
        .await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(RPCTypes::Vote, RaftMessage::Vote(rpc.into()), option.hard_ttl(), vote_reply).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(RPCTypes::Vote, RaftMessage::PreVote(rpc.into()), option.hard_ttl(), vote_reply).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let message = RaftMessage::Transfer(request.into());
        self.call(RPCTypes::TransferLeader, message, option.hard_ttl(), |reply| match reply {
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

fn vote_reply(reply: RaftReply) -> Option<VoteResponse<TypeConfig>> {
    match reply {
        RaftReply::Vote(reply) => Some(reply.into()),
        _ => None,
    }
}

/// This node can't read what it must send: its disk is at fault, not the network.
fn read_failure(error: io::Error) -> StreamingError<TypeConfig> {
    StorageError::read_snapshot(None, BoxedErrorSource::from_error(&error)).into()
}

fn random_id() -> Result<u64, io::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u64::from_be_bytes(bytes))
}
