//! What members say to each other. The structs that are encoded are frozen; `decode` knows every version there was.

use bincode::{Decode, Encode};
use flagraft_core::identity::ClusterId;

use crate::raft::{NodeMeta, NodeMetaV1, RaftMessage, RaftReply};

/// The head of every message.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct HeaderV1 {
    /// The sender's cluster, once it has one.
    pub cluster: Option<u128>,
    /// The Raft group the message is about.
    pub group: u32,
    pub from: u64,
    pub to: u64,
    /// The sender's data folder.
    pub uid: String,
    pub version_min: u32,
    pub version_max: u32,
    /// Random in a request; in a reply, the request's.
    pub nonce: [u8; 16],
}

/// What a member asks of another. Variants are numbered by position: new ones go last.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum RequestV1 {
    Raft(RaftMessage),
    Hello,
    Found { cluster: u128 },
    Forward { body: Vec<u8>, deadline_ms: u64 },
    ReadIndex { nonce: u64 },
    AwaitPublished { index: u64, deadline_ms: u64 },
    Status,
    Join { token: String, meta: NodeMetaV1 },
    HandOver { to: u64, sequence: u64 },
    Cosign { size: u64 },
    Checkpoint { note: Vec<u8> },
}

impl RequestV1 {
    /// Whether the message may come from or go to a node that has no cluster yet.
    pub fn needs_no_cluster(&self) -> bool {
        matches!(self, Self::Hello | Self::Found { .. } | Self::Join { .. })
    }
}

/// What a member answers. Variants are numbered by position: new ones go last.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum ReplyV1 {
    Refused(RefusalV1),
    Raft(RaftReply),
    Hello(HelloReplyV1),
    Found(FoundReplyV1),
    Forward {
        body: Vec<u8>,
    },
    ReadIndex {
        nonce: u64,
        reply: ReadIndexReplyV1,
    },
    AwaitPublished {
        reached: bool,
    },
    Status {
        body: Vec<u8>,
    },
    Join(JoinReplyV1),
    HandOver(HandOverReplyV1),
    Cosign(CosignReplyV1),
    /// Why it was not taken; `None`: it was.
    Checkpoint {
        why_not: Option<String>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct RefusalV1 {
    code: u16,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct HelloReplyV1 {
    cluster: Option<u128>,
    meta: NodeMetaV1,
    wall_clock_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum FoundReplyV1 {
    Joined,
    KnowsAnother { cluster: u128 },
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum ReadIndexReplyV1 {
    Confirmed { index: u64 },
    NotLeader { leader: Option<u64> },
    Unavailable { why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum JoinReplyV1 {
    Admitted { cluster: u128 },
    NotLeader { leader: Option<(u64, String)> },
    Refused { why: String },
    Unavailable { why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum HandOverReplyV1 {
    Leads { leader: u64 },
    Refused { why: String },
    Unavailable { why: String },
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) enum CosignReplyV1 {
    Signed { note: Vec<u8> },
    Behind { size: u64 },
    Refused { why: String },
}

/// A member's answer to "who are you?". Its id and its data folder are checked with every message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloReply {
    /// The cluster it belongs to, if any.
    pub cluster_id: Option<ClusterId>,
    /// How it wants to be known.
    pub meta: NodeMeta,
    /// Its wall clock: milliseconds since 1970, UTC.
    pub wall_clock_ms: i64,
}

/// Tells a member which cluster it belongs to from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The cluster.
    pub cluster_id: ClusterId,
}

/// A member's answer to [`Found`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundReply {
    /// It belongs to that cluster now, or did already.
    Joined,
    /// It belongs to another, and stays with it.
    KnowsAnother(ClusterId),
}

/// The leader's answer to a follower that wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadIndexReply {
    /// A quorum confirmed that it led. A read that has seen the entry at `index` is current.
    Confirmed {
        /// The index to wait for.
        index: u64,
    },
    /// It does not lead.
    NotLeader {
        /// Who might.
        leader: Option<u64>,
    },
    /// It can't be sure.
    Unavailable {
        /// For people.
        why: String,
    },
}

/// A node asks to be taken in, or a member to be known by another address or place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The secret of its join token. A member needs none.
    pub token: String,
    /// How it wants to be known.
    pub meta: NodeMeta,
}

/// The answer to [`Join`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinReply {
    /// It is a member, and is known as it wants to be.
    Admitted {
        /// The cluster it belongs to now.
        cluster_id: ClusterId,
    },
    /// The node that was asked does not lead.
    NotLeader {
        /// Who might, and where it is reached.
        leader: Option<(u64, String)>,
    },
    /// It is not taken in. To ask again makes no difference.
    Refused {
        /// For people.
        why: String,
    },
    /// It was not taken in yet. Ask again.
    Unavailable {
        /// For people.
        why: String,
    },
}

/// The answer to a request to let another member lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandOverReply {
    /// Another member leads now.
    Leads {
        /// Which.
        leader: u64,
    },
    /// It is not done: the log does not say so, or not to this leader.
    Refused {
        /// For people.
        why: String,
    },
    /// It may have been done or not.
    Unavailable {
        /// For people.
        why: String,
    },
}

/// A member's answer to "sign your audit log up to this size".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CosignReply {
    /// Its own checkpoint, signed.
    Signed {
        /// A signed note.
        note: Vec<u8>,
    },
    /// It does not publish as many records yet.
    Behind {
        /// How many it publishes.
        size: u64,
    },
    /// It does not sign.
    Refused {
        /// For people.
        why: String,
    },
}

/// Why a member did not do what it was asked. It did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Why a member refused, for programs. The numbers are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RefusalCode {
    /// The sender belongs to another cluster.
    WrongCluster = 1,
    /// The message is about a group that is not here.
    WrongGroup = 2,
    /// The message is for another node.
    WrongReceiver = 3,
    /// The sender's id belongs to another data folder.
    WrongUid = 4,
    /// One of the two has no cluster yet.
    NoCluster = 5,
    /// There is no version that both speak.
    Unsupported = 6,
    /// The message can't be understood.
    Malformed = 7,
    /// The receiver is stopping or has stopped.
    Stopped = 8,
    /// The receiver can't do it now.
    Unavailable = 9,
    /// The sender was removed from the cluster.
    Removed = 10,
    /// The receiver's disk has no room for it.
    NoRoom = 20,
    /// A code of a newer version.
    Unknown = 0,
}

impl RefusalCode {
    fn from_number(number: u16) -> Self {
        use RefusalCode::{
            Malformed, NoCluster, NoRoom, Removed, Stopped, Unavailable, Unknown, Unsupported, WrongCluster,
            WrongGroup, WrongReceiver, WrongUid,
        };
        let all = [
            WrongCluster,
            WrongGroup,
            WrongReceiver,
            WrongUid,
            NoCluster,
            Unsupported,
            Malformed,
            Stopped,
            Unavailable,
            Removed,
            NoRoom,
        ];
        all.into_iter().find(|code| *code as u16 == number).unwrap_or(Unknown)
    }
}

impl From<Refusal> for RefusalV1 {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code as u16, message: refusal.message }
    }
}

impl From<RefusalV1> for Refusal {
    fn from(refusal: RefusalV1) -> Self {
        Self { code: RefusalCode::from_number(refusal.code), message: refusal.message }
    }
}

impl From<HelloReply> for HelloReplyV1 {
    fn from(reply: HelloReply) -> Self {
        Self {
            cluster: reply.cluster_id.map(|id| id.0),
            meta: (&reply.meta).into(),
            wall_clock_ms: reply.wall_clock_ms,
        }
    }
}

impl From<HelloReplyV1> for HelloReply {
    fn from(reply: HelloReplyV1) -> Self {
        Self {
            cluster_id: reply.cluster.map(ClusterId),
            meta: reply.meta.into(),
            wall_clock_ms: reply.wall_clock_ms,
        }
    }
}

impl From<FoundReply> for FoundReplyV1 {
    fn from(reply: FoundReply) -> Self {
        match reply {
            FoundReply::Joined => Self::Joined,
            FoundReply::KnowsAnother(ClusterId(cluster)) => Self::KnowsAnother { cluster },
        }
    }
}

impl From<FoundReplyV1> for FoundReply {
    fn from(reply: FoundReplyV1) -> Self {
        match reply {
            FoundReplyV1::Joined => Self::Joined,
            FoundReplyV1::KnowsAnother { cluster } => Self::KnowsAnother(ClusterId(cluster)),
        }
    }
}

impl From<ReadIndexReply> for ReadIndexReplyV1 {
    fn from(reply: ReadIndexReply) -> Self {
        match reply {
            ReadIndexReply::Confirmed { index } => Self::Confirmed { index },
            ReadIndexReply::NotLeader { leader } => Self::NotLeader { leader },
            ReadIndexReply::Unavailable { why } => Self::Unavailable { why },
        }
    }
}

impl From<ReadIndexReplyV1> for ReadIndexReply {
    fn from(reply: ReadIndexReplyV1) -> Self {
        match reply {
            ReadIndexReplyV1::Confirmed { index } => Self::Confirmed { index },
            ReadIndexReplyV1::NotLeader { leader } => Self::NotLeader { leader },
            ReadIndexReplyV1::Unavailable { why } => Self::Unavailable { why },
        }
    }
}

impl From<JoinReply> for JoinReplyV1 {
    fn from(reply: JoinReply) -> Self {
        match reply {
            JoinReply::Admitted { cluster_id } => Self::Admitted { cluster: cluster_id.0 },
            JoinReply::NotLeader { leader } => Self::NotLeader { leader },
            JoinReply::Refused { why } => Self::Refused { why },
            JoinReply::Unavailable { why } => Self::Unavailable { why },
        }
    }
}

impl From<JoinReplyV1> for JoinReply {
    fn from(reply: JoinReplyV1) -> Self {
        match reply {
            JoinReplyV1::Admitted { cluster } => Self::Admitted { cluster_id: ClusterId(cluster) },
            JoinReplyV1::NotLeader { leader } => Self::NotLeader { leader },
            JoinReplyV1::Refused { why } => Self::Refused { why },
            JoinReplyV1::Unavailable { why } => Self::Unavailable { why },
        }
    }
}

impl From<HandOverReply> for HandOverReplyV1 {
    fn from(reply: HandOverReply) -> Self {
        match reply {
            HandOverReply::Leads { leader } => Self::Leads { leader },
            HandOverReply::Refused { why } => Self::Refused { why },
            HandOverReply::Unavailable { why } => Self::Unavailable { why },
        }
    }
}

impl From<HandOverReplyV1> for HandOverReply {
    fn from(reply: HandOverReplyV1) -> Self {
        match reply {
            HandOverReplyV1::Leads { leader } => Self::Leads { leader },
            HandOverReplyV1::Refused { why } => Self::Refused { why },
            HandOverReplyV1::Unavailable { why } => Self::Unavailable { why },
        }
    }
}

impl From<CosignReply> for CosignReplyV1 {
    fn from(reply: CosignReply) -> Self {
        match reply {
            CosignReply::Signed { note } => Self::Signed { note },
            CosignReply::Behind { size } => Self::Behind { size },
            CosignReply::Refused { why } => Self::Refused { why },
        }
    }
}

impl From<CosignReplyV1> for CosignReply {
    fn from(reply: CosignReplyV1) -> Self {
        match reply {
            CosignReplyV1::Signed { note } => Self::Signed { note },
            CosignReplyV1::Behind { size } => Self::Behind { size },
            CosignReplyV1::Refused { why } => Self::Refused { why },
        }
    }
}
