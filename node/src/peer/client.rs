//! Asks other members.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bytes::BytesMut;
use flagraft_core::identity::ClusterId;
use tokio::sync::watch;

use super::{
    CLAIM, MESSAGE_BYTES_MAX, PATH,
    auth::{Direction, PeerSecret},
    directory::Directory,
    envelope,
    message::{
        CosignReply, Found, FoundReply, HandOverReply, HelloReply, Join, JoinReply, ReadIndexReply, Refusal,
        RefusalCode, ReplyV1, RequestV1,
    },
    millis,
};
use crate::{
    raft::{NodeMeta, RaftMessage, RaftReply, VersionRange},
    random::random,
};

/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How to make a [`PeerClient`].
#[derive(Clone, Debug)]
pub struct PeerOptions {
    /// This node's id.
    pub node_id: u64,
    /// This node's data folder: 32 hexadecimal digits.
    pub uid: String,
    /// The cluster it belongs to, if it does already.
    pub cluster_id: Option<ClusterId>,
    /// The Raft group: [`crate::storage::GROUP`].
    pub group: u32,
    /// What all members share. `None` leaves the peer traffic open to anybody who reaches it.
    pub secret: Option<PeerSecret>,
    /// The members that the configuration names: id to `host:port`. May include this node.
    pub peers: BTreeMap<u64, String>,
    /// The versions this node speaks.
    pub versions: VersionRange,
}

/// Why a member gave no answer, and what that says about whether it did what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Not asked: there is no address for it.
    #[error("node {0} has no known address")]
    UnknownPeer(u64),
    /// Not asked: it can't be reached, or the request can't be encoded.
    #[error("the peer could not be reached: {0}")]
    NotSent(String),
    /// Perhaps asked: the connection broke.
    #[error("the connection to the peer broke: {0}")]
    Lost(String),
    /// Perhaps asked: no answer came in time.
    #[error("the peer did not answer in time")]
    Timeout,
    /// Asked, and it did nothing.
    #[error("the peer refused: {}", .0.message)]
    Refused(Refusal),
    /// Perhaps asked: what came back is not an answer to this request from that node.
    #[error("the peer's answer can't be trusted: {0}")]
    BadReply(String),
}

impl PeerError {
    /// Whether the peer surely did not act on the request.
    pub fn surely_not_delivered(&self) -> bool {
        match self {
            Self::UnknownPeer(_) | Self::NotSent(_) | Self::Refused(_) => true,
            Self::Lost(_) | Self::Timeout | Self::BadReply(_) => false,
        }
    }
}

/// This node's way to the others. Clones share connections and the address book.
#[derive(Clone)]
pub struct PeerClient {
    pub(super) directory: Arc<Directory>,
    http: reqwest::Client,
}

impl fmt::Debug for PeerClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerClient").field("node_id", &self.directory.node_id).finish_non_exhaustive()
    }
}

impl PeerClient {
    /// A client of these options.
    ///
    /// # Errors
    /// When the HTTP client can't be set up.
    pub fn new(options: PeerOptions) -> Result<Self, PeerError> {
        let http = reqwest::Client::builder()
            // Members reach each other directly or not at all.
            .no_proxy()
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| PeerError::NotSent(reasons(&error)))?;
        Ok(Self { directory: Arc::new(Directory::new(options)), http })
    }

    /// From now on this node belongs to `cluster_id`, and says so in every message.
    pub fn set_cluster_id(&self, cluster_id: ClusterId) {
        self.directory.set_cluster_id(cluster_id);
    }

    /// The other nodes that have an address: configured, or members.
    pub fn peers(&self) -> BTreeMap<u64, String> {
        self.directory.others()
    }

    /// Takes over what the membership says about a member: its address, and which data folder it has.
    pub fn learn(&self, node_id: u64, meta: &NodeMeta) {
        self.directory.learn(node_id, meta);
    }

    /// Forgets the address and the data folder of whoever is no member any more.
    pub(crate) fn keep_members(&self, is_member: impl Fn(u64) -> bool) {
        self.directory.keep_members(is_member);
    }

    /// Takes over where a node is said to be, until a membership says it.
    pub fn introduce(&self, node_id: u64, address: String) {
        self.directory.introduce(node_id, address);
    }

    /// Where a node is reached, as far as that is known.
    pub fn address(&self, node_id: u64) -> Option<String> {
        self.directory.address(node_id)
    }

    /// Which node spoke to this one as to a member of its cluster, while this one had none.
    pub fn claimed_by(&self) -> Option<(u64, ClusterId)> {
        self.directory.claimed_by()
    }

    /// Follows whether a member has said that this node was removed from the cluster, and in which words.
    pub fn watch_removed(&self) -> watch::Receiver<Option<String>> {
        self.directory.watch_removed()
    }

    /// Take me in, or know me by another address or place. Also from a node that has no cluster yet.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn join(&self, to: u64, join: &Join, deadline: Duration) -> Result<JoinReply, PeerError> {
        let request = RequestV1::Join { token: join.token.clone(), meta: (&join.meta).into() };
        match self.call(to, request, deadline).await? {
            ReplyV1::Join(reply) => Ok(reply.into()),
            _ => Err(another_answer()),
        }
    }

    /// Let `next` lead, as the audit record at `sequence` says.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn hand_over(
        &self,
        to: u64,
        next: u64,
        sequence: u64,
        deadline: Duration,
    ) -> Result<HandOverReply, PeerError> {
        match self.call(to, RequestV1::HandOver { to: next, sequence }, deadline).await? {
            ReplyV1::HandOver(reply) => Ok(reply.into()),
            _ => Err(another_answer()),
        }
    }

    /// Who are you? Also for a node that has no cluster yet.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn hello(&self, to: u64, deadline: Duration) -> Result<HelloReply, PeerError> {
        match self.call(to, RequestV1::Hello, deadline).await? {
            ReplyV1::Hello(reply) => Ok(reply.into()),
            _ => Err(another_answer()),
        }
    }

    /// You belong to this cluster. Also for a node that has none yet.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn found(&self, to: u64, found: Found, deadline: Duration) -> Result<FoundReply, PeerError> {
        match self.call(to, RequestV1::Found { cluster: found.cluster_id.0 }, deadline).await? {
            ReplyV1::Found(reply) => Ok(reply.into()),
            _ => Err(another_answer()),
        }
    }

    /// Do this in my stead. What the bodies mean is between the two nodes' writers.
    ///
    /// # Errors
    /// See [`PeerError`]; [`PeerError::surely_not_delivered`] tells whether it may have been done.
    pub async fn forward(&self, to: u64, body: Vec<u8>, deadline: Duration) -> Result<Vec<u8>, PeerError> {
        let request = RequestV1::Forward { body, deadline_ms: millis(deadline) };
        match self.call(to, request, deadline).await? {
            ReplyV1::Forward { body } => Ok(body),
            _ => Err(another_answer()),
        }
    }

    /// Which index must a read wait for?
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn read_index(&self, to: u64, deadline: Duration) -> Result<ReadIndexReply, PeerError> {
        let sent = u64::from_be_bytes(random());
        match self.call(to, RequestV1::ReadIndex { nonce: sent }, deadline).await? {
            // The transport binds replies to requests already. This protects a read from the handler behind it too:
            // an answer from a queue, computed before this request arrived, would be a stale read.
            ReplyV1::ReadIndex { nonce, reply } if nonce == sent => Ok(reply.into()),
            ReplyV1::ReadIndex { .. } => {
                Err(PeerError::BadReply("a read index for an earlier request".to_owned()))
            }
            _ => Err(another_answer()),
        }
    }

    /// Tell me once the entry at `index` is published with you. `false`: not within the deadline.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn await_published(&self, to: u64, index: u64, deadline: Duration) -> Result<bool, PeerError> {
        let request = RequestV1::AwaitPublished { index, deadline_ms: millis(deadline) };
        match self.call(to, request, deadline).await {
            Ok(ReplyV1::AwaitPublished { reached }) => Ok(reached),
            Ok(_) => Err(another_answer()),
            Err(PeerError::Timeout) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sign your audit log's first `size` records.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn cosign(&self, to: u64, size: u64, deadline: Duration) -> Result<CosignReply, PeerError> {
        match self.call(to, RequestV1::Cosign { size }, deadline).await? {
            ReplyV1::Cosign(reply) => Ok(reply.into()),
            _ => Err(another_answer()),
        }
    }

    /// This is what a majority signed of the audit log. Says why it is not taken, if it is not.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn checkpoint(
        &self,
        to: u64,
        note: Vec<u8>,
        deadline: Duration,
    ) -> Result<Option<String>, PeerError> {
        match self.call(to, RequestV1::Checkpoint { note }, deadline).await? {
            ReplyV1::Checkpoint { why_not } => Ok(why_not),
            _ => Err(another_answer()),
        }
    }

    /// How are you? What the body means is between the two nodes' status pages.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn status(&self, to: u64, deadline: Duration) -> Result<Vec<u8>, PeerError> {
        match self.call(to, RequestV1::Status, deadline).await? {
            ReplyV1::Status { body } => Ok(body),
            _ => Err(another_answer()),
        }
    }

    /// A message from this node's Raft to that one's.
    pub(crate) async fn raft(
        &self,
        to: u64,
        message: RaftMessage,
        deadline: Duration,
    ) -> Result<RaftReply, PeerError> {
        match self.call(to, RequestV1::Raft(message), deadline).await? {
            ReplyV1::Raft(reply) => Ok(reply),
            _ => Err(another_answer()),
        }
    }

    async fn call(&self, to: u64, request: RequestV1, deadline: Duration) -> Result<ReplyV1, PeerError> {
        let address = self.directory.address(to).ok_or(PeerError::UnknownPeer(to))?;
        let nonce = random();
        let header = envelope::header(&self.directory, to, nonce);
        let bytes = envelope::pack(&self.directory, Direction::Request, &header, &request)
            .map_err(|error| PeerError::NotSent(error.to_string()))?;
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(PeerError::NotSent(format!("a message of {} bytes is too long", bytes.len())));
        }
        let claim = envelope::claim(&self.directory, nonce, bytes.len());
        let answer = tokio::time::timeout(deadline, self.post(&address, &claim, bytes))
            .await
            .map_err(|_| PeerError::Timeout)??;
        self.reply(to, nonce, request.needs_no_cluster(), &answer)
    }

    async fn post(&self, address: &str, claim: &str, bytes: Vec<u8>) -> Result<BytesMut, PeerError> {
        let request = self.http.post(format!("http://{address}{PATH}")).header(CLAIM, claim).body(bytes);
        let mut response = request.send().await.map_err(|error| {
            if error.is_connect() || error.is_builder() {
                PeerError::NotSent(reasons(&error))
            } else {
                PeerError::Lost(reasons(&error))
            }
        })?;
        let status = response.status();
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| PeerError::Lost(reasons(&error)))? {
            if body.len() + chunk.len() > MESSAGE_BYTES_MAX {
                return Err(PeerError::BadReply("it is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body);
        }
        // Not authenticated, so it says nothing about what the peer did or did not do.
        let text = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
        Err(PeerError::BadReply(format!("HTTP {}: {text}", status.as_u16())))
    }

    fn reply(
        &self,
        to: u64,
        nonce: [u8; 16],
        needs_no_cluster: bool,
        bytes: &[u8],
    ) -> Result<ReplyV1, PeerError> {
        let untrusted = |why: String| PeerError::BadReply(why);
        let (header, rest) = envelope::unpack(&self.directory, Direction::Reply, bytes)
            .map_err(|error| untrusted(error.to_string()))?;
        if header.nonce != nonce {
            return Err(untrusted("it answers another request".to_owned()));
        }
        let reply =
            envelope::message(Direction::Reply, rest).map_err(|error| untrusted(error.to_string()))?;
        // A refusal explains why the two nodes don't fit together, so it need not pass the checks that failed.
        if let ReplyV1::Refused(refusal) = reply {
            let refusal = Refusal::from(refusal);
            let is_ours =
                header.cluster.is_some() && header.cluster == self.directory.cluster_id().map(|id| id.0);
            if refusal.code == RefusalCode::Removed && is_ours {
                self.directory.set_removed(refusal.message.clone());
            }
            return Err(PeerError::Refused(refusal));
        }
        if header.from != to {
            return Err(untrusted(format!("node {} answered where node {to} was asked", header.from)));
        }
        envelope::check(&self.directory, &header, needs_no_cluster)
            .map_err(|refusal| untrusted(refusal.message))?;
        Ok(reply)
    }
}

fn another_answer() -> PeerError {
    PeerError::BadReply("it answers something else".to_owned())
}

/// An error with what caused it: reqwest keeps the telling part ("connection refused") for the last.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
