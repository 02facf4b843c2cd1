//! Answers other members.

use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use flagraft_core::identity::ClusterId;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{
    CLAIM, MESSAGE_BYTES_MAX, PATH,
    auth::{AuthError, Direction},
    client::PeerClient,
    directory::Directory,
    envelope,
    message::{
        CosignReply, Found, FoundReply, HandOverReply, HeaderV1, HelloReply, Join, JoinReply, ReadIndexReply,
        Refusal, RefusalCode, ReplyV1, RequestV1,
    },
};
use crate::raft::{RaftMessage, RaftReply};

/// What a node does for its peers. Who asks, and that it may, has been checked.
pub trait PeerHandler: Send + Sync + 'static {
    /// A message for this node's Raft.
    fn raft(
        &self,
        from: u64,
        message: RaftMessage,
    ) -> impl Future<Output = Result<RaftReply, Refusal>> + Send;

    /// Who are you?
    fn hello(&self, from: u64) -> impl Future<Output = Result<HelloReply, Refusal>> + Send;

    /// You belong to this cluster. When it answers [`FoundReply::Joined`], that must be durable.
    fn found(&self, from: u64, found: Found) -> impl Future<Output = Result<FoundReply, Refusal>> + Send;

    /// Do this in my stead, within `deadline`. A refusal means that nothing was done.
    fn forward(
        &self,
        from: u64,
        body: Vec<u8>,
        deadline: Duration,
    ) -> impl Future<Output = Result<Vec<u8>, Refusal>> + Send;

    /// Which index must a read wait for? The confirmation must begin after this call did.
    fn read_index(&self, from: u64) -> impl Future<Output = Result<ReadIndexReply, Refusal>> + Send;

    /// Tell me once the entry at `index` is published, or that it was not within `deadline`.
    fn await_published(
        &self,
        from: u64,
        index: u64,
        deadline: Duration,
    ) -> impl Future<Output = Result<bool, Refusal>> + Send;

    /// How are you?
    fn status(&self, from: u64) -> impl Future<Output = Result<Vec<u8>, Refusal>> + Send;

    /// Take me in, or know me by another address or place. `uid` is the sender's data folder.
    fn join(
        &self,
        from: u64,
        uid: String,
        join: Join,
    ) -> impl Future<Output = Result<JoinReply, Refusal>> + Send {
        let _ = (from, uid, join);
        async { Err(Refusal::new(RefusalCode::Unavailable, "nobody is taken in here")) }
    }

    /// Let `next` lead, as the audit record at `sequence` says.
    fn hand_over(
        &self,
        from: u64,
        next: u64,
        sequence: u64,
    ) -> impl Future<Output = Result<HandOverReply, Refusal>> + Send {
        let _ = (from, next, sequence);
        async { Err(Refusal::new(RefusalCode::Unavailable, "leadership is not handed over here")) }
    }

    /// Sign your audit log's first `size` records.
    fn cosign(&self, from: u64, size: u64) -> impl Future<Output = Result<CosignReply, Refusal>> + Send {
        let _ = (from, size);
        async { Err(Refusal::new(RefusalCode::Unavailable, "nothing is signed here")) }
    }

    /// This is what a majority signed of the audit log. `Some`: why it is not taken.
    fn checkpoint(
        &self,
        from: u64,
        note: Vec<u8>,
    ) -> impl Future<Output = Result<Option<String>, Refusal>> + Send {
        let _ = (from, note);
        async { Err(Refusal::new(RefusalCode::Unavailable, "nothing is signed here")) }
    }

    /// Why nothing is done for this node any more, if it was removed from the cluster.
    fn removed(&self, from: u64) -> Option<String> {
        let _ = from;
        None
    }

    /// What a person is told whose node came back with another data folder than its id has.
    fn advise_wiped(&self, from: u64) -> Option<String> {
        let _ = from;
        None
    }
}

/// The routes of the peer listener. It takes messages for the node that `client` speaks for.
pub fn router<H: PeerHandler>(client: &PeerClient, handler: Arc<H>) -> Router {
    let server = Server {
        directory: Arc::clone(&client.directory),
        handler,
        complained: Mutex::new(None),
        receiving: Semaphore::new(RECEIVING_KIB_MAX as usize),
    };
    Router::new().route(PATH, post(receive::<H>)).with_state(Arc::new(server))
}

/// A misconfigured member tries again several times a second; once in this long says it well enough.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Kibibytes of messages that are being received, all together; what comes beyond it waits.
const RECEIVING_KIB_MAX: u32 = 128 * 1024;

/// How long a message may take to arrive, the wait for room included.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);

struct Server<H> {
    directory: Arc<Directory>,
    handler: Arc<H>,
    /// A permit for each kibibyte of [`RECEIVING_KIB_MAX`].
    receiving: Semaphore,
    /// When a refusal was last logged.
    complained: Mutex<Option<Instant>>,
}

async fn receive<H: PeerHandler>(State(server): State<Arc<Server<H>>>, request: Request) -> Response {
    let claimed = match server.claimed(request.headers()) {
        Ok(claimed) => claimed,
        Err(error) => {
            server.complain(None, &error);
            return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
        }
    };
    let (body, room) = match timeout(RECEIVE_TIMEOUT, server.whole(request, claimed)).await {
        Ok(Ok(received)) => received,
        Ok(Err(status)) => return status.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let (header, rest) = match envelope::unpack(&server.directory, Direction::Request, &body) {
        Ok(opened) => opened,
        Err(error @ envelope::OpenError::Auth(_)) => {
            server.complain(None, &error);
            return (StatusCode::UNAUTHORIZED, error.to_string()).into_response();
        }
        Err(error @ envelope::OpenError::Codec(_)) => {
            return (StatusCode::BAD_REQUEST, error.to_string()).into_response();
        }
    };
    // What the message says may take its time, and its bytes are the members' own.
    drop(room);
    let reply = server.answer(&header, rest).await.unwrap_or_else(|refusal| {
        server.complain(Some(header.from), &refusal);
        ReplyV1::Refused(refusal.into())
    });
    let head = envelope::header(&server.directory, header.from, header.nonce);
    match envelope::pack(&server.directory, Direction::Reply, &head, &reply) {
        Ok(bytes) => ([(CONTENT_TYPE, "application/octet-stream")], bytes).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl<H: PeerHandler> Server<H> {
    /// How long the message is that a member claims to send.
    fn claimed(&self, headers: &HeaderMap) -> Result<usize, AuthError> {
        let claim = headers.get(CLAIM).ok_or(AuthError::Missing)?;
        envelope::claimed(&self.directory, claim.as_bytes())
    }

    /// The whole body, with the room that it takes.
    async fn whole(
        &self,
        request: Request,
        length: usize,
    ) -> Result<(Bytes, SemaphorePermit<'_>), StatusCode> {
        if length > MESSAGE_BYTES_MAX {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let kib = u32::try_from(length.div_ceil(1024)).map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        let room = self.receiving.acquire_many(kib).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        let bytes =
            axum::body::to_bytes(request.into_body(), length).await.map_err(|_| StatusCode::BAD_REQUEST)?;
        Ok((bytes, room))
    }

    /// Logs why a message was refused, unless that was done a moment ago.
    fn complain(&self, from: Option<u64>, why: &dyn fmt::Display) {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAINT_INTERVAL) {
            *complained = Some(Instant::now());
            tracing::warn!(from, "a message from a peer is refused: {why}");
        }
    }

    /// The refusal of a message that is not from or for whom it should be, with what follows from it.
    fn explained(&self, header: &HeaderV1, refusal: Refusal) -> Refusal {
        match (refusal.code, header.cluster) {
            (RefusalCode::WrongUid, _) => match self.handler.advise_wiped(header.from) {
                Some(advice) => Refusal { message: format!("{}: {advice}", refusal.message), ..refusal },
                None => refusal,
            },
            (RefusalCode::NoCluster, Some(theirs)) if self.directory.cluster_id().is_none() => {
                self.directory.set_claimed_by(header.from, ClusterId(theirs));
                refusal
            }
            _ => refusal,
        }
    }

    async fn answer(&self, header: &HeaderV1, rest: &[u8]) -> Result<ReplyV1, Refusal> {
        let malformed =
            |error: crate::raft::codec::CodecError| Refusal::new(RefusalCode::Malformed, error.to_string());
        let request: RequestV1 = envelope::message(Direction::Request, rest).map_err(malformed)?;
        let (from, handler) = (header.from, &self.handler);
        if let Err(refusal) = envelope::check(&self.directory, header, request.needs_no_cluster()) {
            return Err(self.explained(header, refusal));
        }
        if let Some(why) = handler.removed(from) {
            return Err(Refusal::new(RefusalCode::Removed, why));
        }
        Ok(match request {
            RequestV1::Raft(message) => ReplyV1::Raft(handler.raft(from, message).await?),
            RequestV1::Hello => ReplyV1::Hello(handler.hello(from).await?.into()),
            RequestV1::Found { cluster } => {
                let found = Found { cluster_id: ClusterId(cluster) };
                ReplyV1::Found(handler.found(from, found).await?.into())
            }
            RequestV1::Forward { body, deadline_ms } => {
                let deadline = Duration::from_millis(deadline_ms);
                ReplyV1::Forward { body: handler.forward(from, body, deadline).await? }
            }
            RequestV1::ReadIndex { nonce } => {
                ReplyV1::ReadIndex { nonce, reply: handler.read_index(from).await?.into() }
            }
            RequestV1::AwaitPublished { index, deadline_ms } => {
                let deadline = Duration::from_millis(deadline_ms);
                ReplyV1::AwaitPublished { reached: handler.await_published(from, index, deadline).await? }
            }
            RequestV1::Status => ReplyV1::Status { body: handler.status(from).await? },
            RequestV1::Join { token, meta } => {
                let join = Join { token, meta: meta.into() };
                ReplyV1::Join(handler.join(from, header.uid.clone(), join).await?.into())
            }
            RequestV1::HandOver { to, sequence } => {
                ReplyV1::HandOver(handler.hand_over(from, to, sequence).await?.into())
            }
            RequestV1::Cosign { size } => ReplyV1::Cosign(handler.cosign(from, size).await?.into()),
            RequestV1::Checkpoint { note } => {
                ReplyV1::Checkpoint { why_not: handler.checkpoint(from, note).await? }
            }
        })
    }
}

impl From<crate::raft::RaftRefusal> for Refusal {
    fn from(refusal: crate::raft::RaftRefusal) -> Self {
        let code = match refusal {
            crate::raft::RaftRefusal::Stopped(_) => RefusalCode::Stopped,
            crate::raft::RaftRefusal::Invalid(_) => RefusalCode::Malformed,
        };
        Self::new(code, refusal.to_string())
    }
}
