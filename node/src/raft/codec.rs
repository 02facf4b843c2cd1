//! The encoding of everything this crate writes to disk or sends to a peer: an envelope around a frozen struct.
//!
//! ```text
//! magic u8 | envelope version u8 | kind u16 | kind's version u16 | length u32 | payload | CRC-32C u32
//! ```
//!
//! Numbers are big-endian; the checksum covers all that precedes it. The payload is a struct of `wire`, encoded
//! by bincode: little-endian variable-length integers, fields by position. Such a struct is frozen once released:
//! a change is a new struct under a new version, and the old one decodes for ever. openraft's own types never go
//! through an encoder, because their shape is theirs to change; what the domain proposes is JSON inside.

use bincode::{Decode, Encode};

/// The first byte of every envelope.
const MAGIC: u8 = 0xF1;
/// The layout of the envelope itself.
const ENVELOPE_VERSION: u8 = 1;
/// Bytes before the payload.
pub const HEADER_BYTES: usize = 10;
const CHECKSUM_BYTES: usize = 4;
/// No payload is longer, so that a damaged length can't ask for all memory.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What an envelope holds. The numbers are frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A Raft log entry.
    Entry = 1,
    /// A Raft vote.
    Vote = 2,
    /// A Raft log id.
    LogId = 3,
    /// A membership and where in the log it stands.
    Membership = 4,
    /// The header of a catalog snapshot.
    Snapshot = 5,
    /// What was surely on the disk.
    Floor = 6,
    /// The head of a message between peers.
    PeerHeader = 16,
    /// What a peer asks.
    PeerRequest = 17,
    /// What a peer answers.
    PeerReply = 18,
    /// The header of a backup.
    Backup = 32,
}

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Fewer bytes than the envelope says, or more.
    #[error("an envelope of {found} bytes where {expected} were expected")]
    Length {
        /// What the header says, or the least there must be.
        expected: usize,
        /// What is there.
        found: usize,
    },
    /// The first byte is wrong.
    #[error("no envelope: it starts with {0:#04x}")]
    Magic(u8),
    /// The envelope is of a layout that this version does not know.
    #[error("envelope version {0} is unknown to this version of flagraft")]
    EnvelopeVersion(u8),
    /// Another kind than the place calls for, or an unknown one.
    #[error("an envelope of kind {found} where kind {expected} belongs")]
    Kind {
        /// What the place calls for.
        expected: u16,
        /// What is there.
        found: u16,
    },
    /// The kind is of a version that this program does not know.
    #[error("version {version} of kind {kind} is unknown to this version of flagraft")]
    KindVersion {
        /// The kind.
        kind: u16,
        /// Its version.
        version: u16,
    },
    /// The bytes were changed.
    #[error("the checksum does not match")]
    Checksum,
    /// The payload is not what its kind and version promise.
    #[error("the payload does not decode: {0}")]
    Payload(String),
    /// The payload is too long to be written.
    #[error("a payload of {0} bytes is over the limit of {PAYLOAD_BYTES_MAX}")]
    TooLong(usize),
}

fn bincode_config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<PAYLOAD_BYTES_MAX>()
}

/// Encodes `value` as `kind`, version 1: the only version any kind has so far.
///
/// # Errors
/// When the value is longer than an envelope may be.
pub fn encode(kind: Kind, value: &impl Encode) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![0; HEADER_BYTES];
    bincode::encode_into_std_write(value, &mut bytes, bincode_config())
        .map_err(|error| CodecError::Payload(error.to_string()))?;
    let payload = bytes.len() - HEADER_BYTES;
    let length = u32::try_from(payload)
        .ok()
        .filter(|_| payload <= PAYLOAD_BYTES_MAX)
        .ok_or(CodecError::TooLong(payload))?;
    bytes[0] = MAGIC;
    bytes[1] = ENVELOPE_VERSION;
    bytes[2..4].copy_from_slice(&(kind as u16).to_be_bytes());
    bytes[4..6].copy_from_slice(&1u16.to_be_bytes());
    bytes[6..10].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&checksum.to_be_bytes());
    Ok(bytes)
}

/// Decodes an envelope of `kind` that fills `bytes` exactly.
///
/// # Errors
/// When it does not, or is damaged, or of a kind or version that this program does not know.
pub fn decode<T: Decode<()>>(kind: Kind, bytes: &[u8]) -> Result<T, CodecError> {
    let (value, rest) = decode_first(kind, bytes)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(CodecError::Length { expected: bytes.len() - rest.len(), found: bytes.len() })
    }
}

/// How many bytes the envelope has that starts with `bytes`, of which there need to be [`HEADER_BYTES`].
///
/// # Errors
/// When there are fewer, or they start no envelope that this program knows.
pub fn envelope_bytes(bytes: &[u8]) -> Result<usize, CodecError> {
    let [magic, envelope, _, _, _, _, l0, l1, l2, l3] = *bytes
        .first_chunk::<HEADER_BYTES>()
        .ok_or(CodecError::Length { expected: HEADER_BYTES + CHECKSUM_BYTES, found: bytes.len() })?;
    if magic != MAGIC {
        return Err(CodecError::Magic(magic));
    }
    if envelope != ENVELOPE_VERSION {
        return Err(CodecError::EnvelopeVersion(envelope));
    }
    let length = usize::try_from(u32::from_be_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    if length > PAYLOAD_BYTES_MAX {
        return Err(CodecError::TooLong(length));
    }
    Ok(HEADER_BYTES + length + CHECKSUM_BYTES)
}

/// Decodes an envelope of `kind` from the front of `bytes`, and returns what follows it.
///
/// # Errors
/// As [`decode`].
pub fn decode_first<T: Decode<()>>(kind: Kind, bytes: &[u8]) -> Result<(T, &[u8]), CodecError> {
    let too_short = |expected| CodecError::Length { expected, found: bytes.len() };
    let end = envelope_bytes(bytes)? - CHECKSUM_BYTES;
    let [_, _, k0, k1, v0, v1, ..] =
        *bytes.first_chunk::<HEADER_BYTES>().ok_or_else(|| too_short(HEADER_BYTES + CHECKSUM_BYTES))?;
    let checksum: &[u8; CHECKSUM_BYTES] =
        bytes.get(end..).and_then(<[u8]>::first_chunk).ok_or_else(|| too_short(end + CHECKSUM_BYTES))?;
    if crc32c::crc32c(&bytes[..end]) != u32::from_be_bytes(*checksum) {
        return Err(CodecError::Checksum);
    }
    // Only now: a damaged kind should be reported as damage.
    let found = u16::from_be_bytes([k0, k1]);
    if found != kind as u16 {
        return Err(CodecError::Kind { expected: kind as u16, found });
    }
    let version = u16::from_be_bytes([v0, v1]);
    if version != 1 {
        return Err(CodecError::KindVersion { kind: found, version });
    }
    let payload = &bytes[HEADER_BYTES..end];
    let (value, used) = bincode::decode_from_slice(payload, bincode_config())
        .map_err(|error| CodecError::Payload(error.to_string()))?;
    if used != payload.len() {
        return Err(CodecError::Payload(format!("{} bytes are left over", payload.len() - used)));
    }
    Ok((value, &bytes[end + CHECKSUM_BYTES..]))
}

impl From<CodecError> for std::io::Error {
    fn from(error: CodecError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}
