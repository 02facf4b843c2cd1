//! Puts a message together, and takes one apart with every check that does not depend on what it says.

use bincode::{Decode, Encode};
use flagraft_core::identity::ClusterId;

use super::{
    auth::{self, AuthError, Direction},
    directory::Directory,
    message::{HeaderV1, Refusal, RefusalCode},
};
use crate::raft::{
    VersionRange,
    codec::{self, CodecError, Kind},
};

/// Why a message could not be taken apart: nothing about it can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// This node's header for a message to `to`.
pub(super) fn header(directory: &Directory, to: u64, nonce: [u8; 16]) -> HeaderV1 {
    HeaderV1 {
        cluster: directory.cluster_id().map(|id| id.0),
        group: directory.group,
        from: directory.node_id,
        to,
        uid: directory.uid.clone(),
        version_min: directory.versions.min,
        version_max: directory.versions.max,
        nonce,
    }
}

/// The bytes of a message.
pub(super) fn pack(
    directory: &Directory,
    direction: Direction,
    header: &HeaderV1,
    message: &impl Encode,
) -> Result<Vec<u8>, CodecError> {
    let mut bytes = codec::encode(Kind::PeerHeader, header)?;
    bytes.extend(codec::encode(kind_of(direction), message)?);
    auth::seal(directory.secret.as_ref(), direction, &mut bytes);
    Ok(bytes)
}

/// A message whose authenticity is checked: its header and its undecoded rest.
pub(super) fn unpack<'a>(
    directory: &Directory,
    direction: Direction,
    bytes: &'a [u8],
) -> Result<(HeaderV1, &'a [u8]), OpenError> {
    let body = auth::open(directory.secret.as_ref(), direction, bytes)?;
    Ok(codec::decode_first(Kind::PeerHeader, body)?)
}

/// The message itself.
pub(super) fn message<T: Decode<()>>(direction: Direction, rest: &[u8]) -> Result<T, CodecError> {
    codec::decode(kind_of(direction), rest)
}

fn kind_of(direction: Direction) -> Kind {
    match direction {
        Direction::Request | Direction::Claim => Kind::PeerRequest,
        Direction::Reply => Kind::PeerReply,
    }
}

/// The claim of a request: its nonce and its length, sealed, in hexadecimal.
pub(super) fn claim(directory: &Directory, nonce: [u8; 16], length: usize) -> String {
    let mut bytes = nonce.to_vec();
    bytes.extend_from_slice(&(length as u64).to_be_bytes());
    auth::seal(directory.secret.as_ref(), Direction::Claim, &mut bytes);
    hex::encode(bytes)
}

/// The length that a claim states.
pub(super) fn claimed(directory: &Directory, claim: &[u8]) -> Result<usize, AuthError> {
    let bytes = hex::decode(claim).map_err(|_| AuthError::Malformed)?;
    let body = auth::open(directory.secret.as_ref(), Direction::Claim, &bytes)?;
    let (nonce, length) = body.split_last_chunk::<8>().ok_or(AuthError::Malformed)?;
    let length = usize::try_from(u64::from_be_bytes(*length)).map_err(|_| AuthError::Malformed)?;
    if nonce.len() == 16 { Ok(length) } else { Err(AuthError::Malformed) }
}

/// Checks whom a message is from and to. `needs_no_cluster`: whether it is of the few that come before a cluster.
pub(super) fn check(directory: &Directory, header: &HeaderV1, needs_no_cluster: bool) -> Result<(), Refusal> {
    let refuse = |code, message: String| Err(Refusal::new(code, message));
    let from = header.from;
    if header.to != directory.node_id {
        return refuse(
            RefusalCode::WrongReceiver,
            format!("the message is for node {} and this is node {}", header.to, directory.node_id),
        );
    }
    if header.group != directory.group {
        return refuse(RefusalCode::WrongGroup, format!("there is no group {} here", header.group));
    }
    let theirs = VersionRange { min: header.version_min, max: header.version_max };
    if !directory.versions.overlaps(theirs) {
        let ours = directory.versions;
        return refuse(
            RefusalCode::Unsupported,
            format!(
                "node {from} speaks versions {}-{} and node {} speaks {}-{}",
                theirs.min, theirs.max, directory.node_id, ours.min, ours.max
            ),
        );
    }
    if !needs_no_cluster {
        match (header.cluster.map(ClusterId), directory.cluster_id()) {
            (Some(theirs), Some(ours)) if theirs == ours => {}
            (Some(theirs), Some(ours)) => {
                return refuse(
                    RefusalCode::WrongCluster,
                    format!("node {from} belongs to cluster {theirs} and this one to {ours}"),
                );
            }
            _ => return refuse(RefusalCode::NoCluster, "one of the two nodes has no cluster yet".to_owned()),
        }
    }
    if !directory.is_known_as(from, &header.uid) {
        return refuse(
            RefusalCode::WrongUid,
            format!(
                "node {from} is a member with another data folder; a node that lost its data comes back under a new id"
            ),
        );
    }
    Ok(())
}
