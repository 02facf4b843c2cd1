//! What a backup says of itself.

use bincode::{Decode, Encode};
use flagraft_core::{
    identity::{ClusterId, History, LogPosition},
    operation::RestoredFrom,
};

use super::HEADER_BYTES_MAX;
use crate::raft::codec::{self, CodecError, Kind};

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The Raft group.
    pub group: u32,
    /// The cluster that it was made of.
    pub cluster: ClusterId,
    /// The history that its revision counts in.
    pub history: History,
    /// The last entry whose effect is in it.
    pub position: LogPosition,
    /// The revision.
    pub revision: u64,
    /// The cluster version.
    pub cluster_version: u32,
    /// How many audit records there are.
    pub audit_size: u64,
    /// The root of their Merkle tree.
    pub audit_root: [u8; 32],
    /// The state's digest: 64 hexadecimal digits.
    pub digest: String,
    /// The node that made it.
    pub node: u64,
    /// When, in milliseconds since 1970 UTC, by that node's clock.
    pub made_at_ms: i64,
    /// The version of the program that made it.
    pub program: String,
}

impl Header {
    /// What the record of a restore says of the backup.
    pub fn origin(&self) -> RestoredFrom {
        RestoredFrom {
            cluster: self.cluster,
            history: self.history,
            revision: self.revision,
            digest: self.digest.clone(),
            audit_size: self.audit_size,
            audit_root: self.audit_root,
            made_at_ms: self.made_at_ms,
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let bytes = codec::encode(Kind::Backup, &HeaderV1::from(self))?;
        if bytes.len() > HEADER_BYTES_MAX { Err(CodecError::TooLong(bytes.len())) } else { Ok(bytes) }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode::<HeaderV1>(Kind::Backup, bytes).map(Into::into)
    }
}

/// The header as it is written. Frozen: a change is a new struct under a new version.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct HeaderV1 {
    group: u32,
    cluster: u128,
    history: u64,
    term: u64,
    index: u64,
    revision: u64,
    cluster_version: u32,
    audit_size: u64,
    audit_root: [u8; 32],
    digest: String,
    node: u64,
    made_at_ms: i64,
    program: String,
}

impl From<&Header> for HeaderV1 {
    fn from(header: &Header) -> Self {
        let Header {
            group,
            cluster: ClusterId(cluster),
            history: History(history),
            position: LogPosition { term, index },
            revision,
            cluster_version,
            audit_size,
            audit_root,
            digest,
            node,
            made_at_ms,
            program,
        } = header.clone();
        Self {
            group,
            cluster,
            history,
            term,
            index,
            revision,
            cluster_version,
            audit_size,
            audit_root,
            digest,
            node,
            made_at_ms,
            program,
        }
    }
}

impl From<HeaderV1> for Header {
    fn from(header: HeaderV1) -> Self {
        let HeaderV1 {
            group,
            cluster,
            history,
            term,
            index,
            revision,
            cluster_version,
            audit_size,
            audit_root,
            digest,
            node,
            made_at_ms,
            program,
        } = header;
        Self {
            group,
            cluster: ClusterId(cluster),
            history: History(history),
            position: LogPosition { term, index },
            revision,
            cluster_version,
            audit_size,
            audit_root,
            digest,
            node,
            made_at_ms,
            program,
        }
    }
}
