//! The frozen structs inside envelopes, and their conversions from and to openraft's types.
//!
//! Fields are encoded by position: never reorder, insert or remove one. A change is a new struct.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use openraft::{EntryPayload, vote::RaftLeaderId};

use super::{
    codec::{self, CodecError, Kind},
    floor::Synced,
    types::{
        Command, Entry, LeaderId, LogId, MemberRole, Membership, NodeMeta, StoredMembership, VersionRange,
        Vote,
    },
};

/// A vote: who stands in which term, and whether a quorum granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoteV1 {
    /// The term.
    pub term: u64,
    /// The candidate.
    pub node_id: u64,
    /// Whether a quorum granted it, which makes the candidate the leader.
    pub committed: bool,
}

/// An entry's identity: the leader that proposed it, and its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct LogIdV1 {
    /// The leader's term.
    pub term: u64,
    /// The leader.
    pub node_id: u64,
    /// The index.
    pub index: u64,
}

/// A member as the membership describes it: [`NodeMeta`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeMetaV1 {
    peer_addr: String,
    public_addr: String,
    uid: String,
    zone: String,
    region: String,
    labels: BTreeMap<String, String>,
    learner: bool,
    version_min: u32,
    version_max: u32,
}

/// What was surely on the disk: the vote, and the last entry of the log or of what stands for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FloorV1 {
    vote: Option<VoteV1>,
    last: Option<LogIdV1>,
}

/// Who votes, in one set or in the two of a change under way, and who the members are.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MembershipV1 {
    voters: Vec<BTreeSet<u64>>,
    members: BTreeMap<u64, NodeMetaV1>,
}

/// A membership and where in the log it stands.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct StoredMembershipV1 {
    log_id: Option<LogIdV1>,
    membership: MembershipV1,
}

/// A log entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EntryV1 {
    /// Its identity.
    pub log_id: LogIdV1,
    payload: PayloadV1,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
enum PayloadV1 {
    /// What a new leader starts its term with.
    Blank,
    /// A proposal's JSON.
    Proposal(Vec<u8>),
    Membership(MembershipV1),
}

impl From<&Vote> for VoteV1 {
    fn from(vote: &Vote) -> Self {
        Self { term: vote.leader_id.term, node_id: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<VoteV1> for Vote {
    fn from(vote: VoteV1) -> Self {
        Self { leader_id: LeaderId::new(vote.term, vote.node_id), committed: vote.committed }
    }
}

impl From<&LogId> for LogIdV1 {
    fn from(id: &LogId) -> Self {
        Self { term: id.leader_id.term, node_id: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdV1> for LogId {
    fn from(id: LogIdV1) -> Self {
        Self { leader_id: LeaderId::new(id.term, id.node_id), index: id.index }
    }
}

impl From<&NodeMeta> for NodeMetaV1 {
    fn from(meta: &NodeMeta) -> Self {
        let NodeMeta { peer_addr, public_addr, uid, zone, region, labels, role, versions } = meta.clone();
        Self {
            peer_addr,
            public_addr,
            uid,
            zone,
            region,
            labels,
            learner: role == MemberRole::Learner,
            version_min: versions.min,
            version_max: versions.max,
        }
    }
}

impl From<NodeMetaV1> for NodeMeta {
    fn from(meta: NodeMetaV1) -> Self {
        let NodeMetaV1 {
            peer_addr,
            public_addr,
            uid,
            zone,
            region,
            labels,
            learner,
            version_min,
            version_max,
        } = meta;
        Self {
            peer_addr,
            public_addr,
            uid,
            zone,
            region,
            labels,
            role: if learner { MemberRole::Learner } else { MemberRole::Voter },
            versions: VersionRange { min: version_min, max: version_max },
        }
    }
}

impl From<&Membership> for MembershipV1 {
    fn from(membership: &Membership) -> Self {
        Self {
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, meta)| (*id, meta.into())).collect(),
        }
    }
}

impl TryFrom<MembershipV1> for Membership {
    type Error = CodecError;

    fn try_from(membership: MembershipV1) -> Result<Self, CodecError> {
        let MembershipV1 { voters, members } = membership;
        let members: BTreeMap<u64, NodeMeta> =
            members.into_iter().map(|(id, meta)| (id, meta.into())).collect();
        Self::new(voters, members).map_err(|error| CodecError::Payload(error.to_string()))
    }
}

impl From<&StoredMembership> for StoredMembershipV1 {
    fn from(stored: &StoredMembership) -> Self {
        Self { log_id: stored.log_id().as_ref().map(Into::into), membership: stored.membership().into() }
    }
}

impl TryFrom<StoredMembershipV1> for StoredMembership {
    type Error = CodecError;

    fn try_from(stored: StoredMembershipV1) -> Result<Self, CodecError> {
        Ok(Self::new(stored.log_id.map(Into::into), stored.membership.try_into()?))
    }
}

impl From<Entry> for EntryV1 {
    fn from(entry: Entry) -> Self {
        let payload = match entry.payload {
            EntryPayload::Blank => PayloadV1::Blank,
            EntryPayload::Normal(Command(json)) => PayloadV1::Proposal(json),
            EntryPayload::Membership(membership) => PayloadV1::Membership((&membership).into()),
        };
        Self { log_id: (&entry.log_id).into(), payload }
    }
}

impl EntryV1 {
    /// Whether it carries a proposal. Raft's own entries are few and small.
    pub(super) fn is_proposal(&self) -> bool {
        matches!(self.payload, PayloadV1::Proposal(_))
    }

    /// openraft's entry. A method, for a `TryFrom` here would overlap with the standard library's.
    pub(super) fn into_entry(self) -> Result<Entry, CodecError> {
        let payload = match self.payload {
            PayloadV1::Blank => EntryPayload::Blank,
            PayloadV1::Proposal(json) => EntryPayload::Normal(Command(json)),
            PayloadV1::Membership(membership) => EntryPayload::Membership(membership.try_into()?),
        };
        Ok(Entry { log_id: self.log_id.into(), payload })
    }
}

/// Encodes an entry for the log.
pub(super) fn encode_entry(entry: Entry) -> Result<Vec<u8>, CodecError> {
    codec::encode(Kind::Entry, &EntryV1::from(entry))
}

/// Decodes an entry from the log.
pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, CodecError> {
    codec::decode::<EntryV1>(Kind::Entry, bytes)?.into_entry()
}

/// Encodes a vote for the disk.
pub(super) fn encode_vote(vote: &Vote) -> Result<Vec<u8>, CodecError> {
    codec::encode(Kind::Vote, &VoteV1::from(vote))
}

/// Decodes a vote from the disk.
pub(super) fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    codec::decode::<VoteV1>(Kind::Vote, bytes).map(Into::into)
}

/// Encodes a log id for the disk.
pub(super) fn encode_log_id(id: &LogId) -> Result<Vec<u8>, CodecError> {
    codec::encode(Kind::LogId, &LogIdV1::from(id))
}

/// Decodes a log id from the disk.
pub(super) fn decode_log_id(bytes: &[u8]) -> Result<LogId, CodecError> {
    codec::decode::<LogIdV1>(Kind::LogId, bytes).map(Into::into)
}

/// Encodes a membership for the disk.
pub(super) fn encode_membership(membership: &StoredMembership) -> Result<Vec<u8>, CodecError> {
    codec::encode(Kind::Membership, &StoredMembershipV1::from(membership))
}

/// Decodes a membership from the disk.
pub(super) fn decode_membership(bytes: &[u8]) -> Result<StoredMembership, CodecError> {
    codec::decode::<StoredMembershipV1>(Kind::Membership, bytes)?.try_into()
}

/// Encodes a floor for its file.
pub(super) fn encode_floor(synced: &Synced) -> Result<Vec<u8>, CodecError> {
    let floor =
        FloorV1 { vote: synced.vote.as_ref().map(Into::into), last: synced.last.as_ref().map(Into::into) };
    codec::encode(Kind::Floor, &floor)
}

/// Decodes a floor from its file.
pub(super) fn decode_floor(bytes: &[u8]) -> Result<Synced, CodecError> {
    let FloorV1 { vote, last } = codec::decode(Kind::Floor, bytes)?;
    Ok(Synced { vote: vote.map(Into::into), last: last.map(Into::into) })
}
