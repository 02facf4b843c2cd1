//! What the Raft cores of two nodes say to each other: frozen structs, and their conversions.

use bincode::{Decode, Encode};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::{
    codec::CodecError,
    types::{SnapshotMeta, TypeConfig},
    wire::{EntryV1, LogIdV1, StoredMembershipV1, VoteV1},
};

/// A message from one Raft core to another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RaftMessage {
    /// Entries to append, or none: a heartbeat.
    Append(AppendV1),
    /// A candidate asks for a vote.
    Vote(VoteRequestV1),
    /// A node asks whether it would get a vote, before it disturbs anybody with a new term.
    PreVote(VoteRequestV1),
    /// A leader hands over.
    Transfer(TransferV1),
    /// A leader announces a snapshot, and asks how much of the audit log is there already.
    SnapshotOffer(SnapshotOfferV1),
    /// A piece of the announced snapshot.
    SnapshotChunk(SnapshotChunkV1),
    /// All pieces are sent: check them and install the snapshot.
    SnapshotInstall(SnapshotInstallV1),
    /// A leader announces a snapshot by what it holds, and asks how much of that is there already.
    SnapshotOfferV2(SnapshotOfferV2),
    /// Audit records that the announced snapshot counts.
    AuditRecords(AuditRecordsV1),
    /// A piece of the announced snapshot's catalog.
    CatalogPiece(CatalogPieceV1),
    /// Everything is there: check it and install the snapshot.
    SnapshotInstallV2(SnapshotInstallV2),
}

impl RaftMessage {
    /// Whether it brings the receiver, whose log ends at `last_log`, what is new there and may be large. Votes do not, nor
    /// do Raft's own entries: without the first of a term a new leader could confirm no read, and with a change of the
    /// membership a member whose disk is full is replaced. A new leader also repeats what is there already, to find out
    /// how far that is.
    pub(crate) fn needs_room(&self, last_log: Option<u64>) -> bool {
        match self {
            Self::Append(append) => {
                append.entries.iter().any(|entry| entry.is_proposal() && Some(entry.log_id.index) > last_log)
            }
            Self::Vote(_) | Self::PreVote(_) | Self::Transfer(_) => false,
            Self::SnapshotOffer(_)
            | Self::SnapshotChunk(_)
            | Self::SnapshotInstall(_)
            | Self::SnapshotOfferV2(_)
            | Self::AuditRecords(_)
            | Self::CatalogPiece(_)
            | Self::SnapshotInstallV2(_) => true,
        }
    }
}

/// The answer to a [`RaftMessage`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RaftReply {
    /// To [`RaftMessage::Append`].
    Append(AppendReplyV1),
    /// To [`RaftMessage::Vote`] and [`RaftMessage::PreVote`].
    Vote(VoteReplyV1),
    /// To [`RaftMessage::Transfer`].
    Transfer(TransferReplyV1),
    /// To [`RaftMessage::SnapshotOffer`]: how many audit records are there.
    SnapshotOffer {
        /// The sequence of the first record that is missing.
        audit_size: u64,
    },
    /// To [`RaftMessage::SnapshotChunk`]: how much of this part has arrived.
    SnapshotChunk {
        /// The offset that the next piece must have.
        offset: u64,
    },
    /// To [`RaftMessage::SnapshotInstall`].
    SnapshotInstall {
        /// The receiver's vote; the leader steps down if it is newer.
        vote: VoteV1,
    },
    /// To [`RaftMessage::SnapshotOfferV2`]: how much is there.
    SnapshotOfferV2 {
        /// The sequence of the first record that is missing.
        audit_size: u64,
        /// The offset of the first byte of the catalog file that is missing.
        catalog_bytes: u64,
    },
    /// To [`RaftMessage::AuditRecords`].
    AuditRecords {
        /// The sequence of the first record that is missing now.
        audit_size: u64,
    },
    /// To [`RaftMessage::CatalogPiece`].
    CatalogPiece {
        /// The offset of the first byte that is missing now.
        catalog_bytes: u64,
    },
}

/// Entries for a follower's log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AppendV1 {
    vote: VoteV1,
    previous: Option<LogIdV1>,
    entries: Vec<EntryV1>,
    committed: Option<LogIdV1>,
}

/// What came of an append.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum AppendReplyV1 {
    /// All entries are on the follower's disk.
    Success,
    /// Those up to this one are.
    PartialSuccess(Option<LogIdV1>),
    /// The follower lacks the entry before, or has another one.
    Conflict,
    /// The follower has seen a newer vote.
    HigherVote(VoteV1),
}

/// A candidate's request.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoteRequestV1 {
    vote: VoteV1,
    last_log_id: Option<LogIdV1>,
    leadership_transfer: bool,
}

/// A voter's answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoteReplyV1 {
    vote: VoteV1,
    granted: bool,
    last_log_id: Option<LogIdV1>,
}

/// A leader's request to take over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct TransferV1 {
    from_leader: VoteV1,
    to: u64,
    last_log_id: Option<LogIdV1>,
}

/// What came of a request to take over.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum TransferReplyV1 {
    /// The receiver stands for election.
    Accepted,
    /// The receiver has seen another vote.
    VoteChanged {
        /// The vote of the leader that asked.
        expected: VoteV1,
        /// The receiver's.
        actual: VoteV1,
    },
    /// The receiver's disk is not there yet.
    LogNotFlushed {
        /// What the leader asked for.
        expected: Option<LogIdV1>,
        /// What the receiver has.
        actual: Option<LogIdV1>,
    },
}

/// What a snapshot covers, and how much of it there is to send.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotOfferV1 {
    /// Names this transfer in the messages that follow. A new transfer replaces an unfinished one.
    pub transfer: u64,
    /// What the snapshot covers.
    pub meta: SnapshotMetaV1,
    /// Bytes of the catalog file.
    pub catalog_bytes: u64,
    /// How many audit records the catalog counts.
    pub audit_size: u64,
}

/// What a snapshot covers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotMetaV1 {
    /// The last entry whose effect is in it.
    pub last_log_id: Option<LogIdV1>,
    /// The membership in force at that entry.
    pub membership: StoredMembershipV1,
}

/// The two parts of a snapshot on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SnapshotPart {
    /// The catalog file, whole.
    Catalog,
    /// The audit records that the receiver lacks: sequence u64, length u32, bytes; big-endian.
    Audit,
}

/// A piece of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotChunkV1 {
    /// The transfer it belongs to.
    pub transfer: u64,
    /// The part it belongs to.
    pub part: SnapshotPart,
    /// Where in the part it belongs.
    pub offset: u64,
    /// The piece.
    pub bytes: Vec<u8>,
}

/// The end of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotInstallV1 {
    /// The transfer.
    pub transfer: u64,
    /// The leader's vote.
    pub vote: VoteV1,
    /// SHA-256 of the catalog part.
    pub catalog_sha256: [u8; 32],
    /// SHA-256 of the audit part.
    pub audit_sha256: [u8; 32],
}

/// A snapshot by what it holds. The same catalog has the same hash on every member, and audit records are the same
/// everywhere; so what one leader has sent need not be sent again by the next.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotOfferV2 {
    /// What the snapshot covers.
    pub meta: SnapshotMetaV1,
    /// Bytes of the catalog file.
    pub catalog_bytes: u64,
    /// The SHA-256 that the catalog file ends in.
    pub catalog_sha256: [u8; 32],
    /// How many audit records the catalog counts.
    pub audit_size: u64,
}

/// Consecutive audit records.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AuditRecordsV1 {
    /// The sequence of the first.
    pub first: u64,
    /// Their bytes.
    pub records: Vec<Vec<u8>>,
}

/// A piece of a catalog file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct CatalogPieceV1 {
    /// The SHA-256 of the file.
    pub catalog_sha256: [u8; 32],
    /// Where in the file it belongs.
    pub offset: u64,
    /// The piece.
    pub bytes: Vec<u8>,
}

/// The end of a transfer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotInstallV2 {
    /// The SHA-256 of the catalog file.
    pub catalog_sha256: [u8; 32],
    /// The leader's vote.
    pub vote: VoteV1,
}

impl From<AppendEntriesRequest<TypeConfig>> for AppendV1 {
    fn from(request: AppendEntriesRequest<TypeConfig>) -> Self {
        Self {
            vote: (&request.vote).into(),
            previous: request.prev_log_id.as_ref().map(Into::into),
            entries: request.entries.into_iter().map(Into::into).collect(),
            committed: request.leader_commit.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<AppendV1> for AppendEntriesRequest<TypeConfig> {
    type Error = CodecError;

    fn try_from(message: AppendV1) -> Result<Self, CodecError> {
        Ok(Self {
            vote: message.vote.into(),
            prev_log_id: message.previous.map(Into::into),
            entries: message.entries.into_iter().map(EntryV1::into_entry).collect::<Result<_, _>>()?,
            leader_commit: message.committed.map(Into::into),
        })
    }
}

impl From<AppendEntriesResponse<TypeConfig>> for AppendReplyV1 {
    fn from(response: AppendEntriesResponse<TypeConfig>) -> Self {
        match response {
            AppendEntriesResponse::Success => Self::Success,
            AppendEntriesResponse::PartialSuccess(upto) => {
                Self::PartialSuccess(upto.as_ref().map(Into::into))
            }
            AppendEntriesResponse::Conflict => Self::Conflict,
            AppendEntriesResponse::HigherVote(vote) => Self::HigherVote((&vote).into()),
        }
    }
}

impl From<AppendReplyV1> for AppendEntriesResponse<TypeConfig> {
    fn from(reply: AppendReplyV1) -> Self {
        match reply {
            AppendReplyV1::Success => Self::Success,
            AppendReplyV1::PartialSuccess(upto) => Self::PartialSuccess(upto.map(Into::into)),
            AppendReplyV1::Conflict => Self::Conflict,
            AppendReplyV1::HigherVote(vote) => Self::HigherVote(vote.into()),
        }
    }
}

impl From<VoteRequest<TypeConfig>> for VoteRequestV1 {
    fn from(request: VoteRequest<TypeConfig>) -> Self {
        Self {
            vote: (&request.vote).into(),
            last_log_id: request.last_log_id.as_ref().map(Into::into),
            leadership_transfer: request.leadership_transfer,
        }
    }
}

impl From<VoteRequestV1> for VoteRequest<TypeConfig> {
    fn from(message: VoteRequestV1) -> Self {
        Self {
            leadership_transfer: message.leadership_transfer,
            ..Self::new(message.vote.into(), message.last_log_id.map(Into::into))
        }
    }
}

impl From<VoteResponse<TypeConfig>> for VoteReplyV1 {
    fn from(response: VoteResponse<TypeConfig>) -> Self {
        Self {
            vote: (&response.vote).into(),
            granted: response.vote_granted,
            last_log_id: response.last_log_id.as_ref().map(Into::into),
        }
    }
}

impl From<VoteReplyV1> for VoteResponse<TypeConfig> {
    fn from(reply: VoteReplyV1) -> Self {
        Self {
            vote: reply.vote.into(),
            vote_granted: reply.granted,
            last_log_id: reply.last_log_id.map(Into::into),
        }
    }
}

impl From<TransferLeaderRequest<TypeConfig>> for TransferV1 {
    fn from(request: TransferLeaderRequest<TypeConfig>) -> Self {
        Self {
            from_leader: request.from_leader().into(),
            to: *request.to_node_id(),
            last_log_id: request.last_log_id().map(Into::into),
        }
    }
}

impl From<TransferV1> for TransferLeaderRequest<TypeConfig> {
    fn from(message: TransferV1) -> Self {
        Self::new(message.from_leader.into(), message.to, message.last_log_id.map(Into::into))
    }
}

impl From<TransferLeaderResponse<TypeConfig>> for TransferReplyV1 {
    fn from(response: TransferLeaderResponse<TypeConfig>) -> Self {
        match response {
            Ok(()) => Self::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                Self::VoteChanged { expected: (&expected).into(), actual: (&actual).into() }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => Self::LogNotFlushed {
                expected: expected.as_ref().map(Into::into),
                actual: actual.as_ref().map(Into::into),
            },
        }
    }
}

impl From<TransferReplyV1> for TransferLeaderResponse<TypeConfig> {
    fn from(reply: TransferReplyV1) -> Self {
        match reply {
            TransferReplyV1::Accepted => Ok(()),
            TransferReplyV1::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() })
            }
            TransferReplyV1::LogNotFlushed { expected, actual } => Err(TransferLeaderError::LogNotFlushed {
                expected: expected.map(Into::into),
                actual: actual.map(Into::into),
            }),
        }
    }
}

impl From<&SnapshotMeta> for SnapshotMetaV1 {
    fn from(meta: &SnapshotMeta) -> Self {
        Self {
            last_log_id: meta.last_log_id.as_ref().map(Into::into),
            membership: (&meta.last_membership).into(),
        }
    }
}

impl TryFrom<SnapshotMetaV1> for SnapshotMeta {
    type Error = CodecError;

    fn try_from(meta: SnapshotMetaV1) -> Result<Self, CodecError> {
        Ok(Self {
            last_log_id: meta.last_log_id.map(Into::into),
            last_membership: meta.membership.try_into()?,
        })
    }
}
