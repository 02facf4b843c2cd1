//! Checkpoints (C2SP tlog-checkpoint): the text that the members of a cluster sign, which says what the audit log is up to
//! a size.
//!
//! ```text
//! flagraft/<cluster id>/<history>/<group>
//! <size>
//! <base64 of the root>
//! time <record time of the last record, in milliseconds since 1970 UTC>
//! ```

mod trusted;

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    base64_bytes,
    identity::{ClusterId, History},
    merkle::{Hash, empty_root},
};

pub use self::trusted::{NotBelieved, TrustedCheckpoint};

/// Which log a checkpoint is of. Text form: `flagraft/<cluster id>/<history>/<group>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cluster.
    pub cluster: ClusterId,
    /// The history that the last record is of: a restore or a forced recovery begins another log.
    pub history: History,
    /// The Raft group.
    pub group: u32,
}

/// What the audit log is, up to a size. Text form: that of the module's description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log it is of.
    pub origin: Origin,
    /// How many records the log has.
    pub size: u64,
    /// The root of its tree.
    pub root: Hash,
    /// The record time of the last record, in milliseconds since 1970 UTC; 0 for a log without records.
    pub time_ms: i64,
}

/// Why a text is not an origin or a checkpoint: which line of it is not as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// The first, its origin.
    Origin,
    /// The second, its size.
    Size,
    /// The third, its root.
    Root,
    /// The fourth, its time.
    Time,
    /// One that is missing, not ended, or too many.
    Lines,
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Origin => "an origin is flagraft/<cluster id>/<history>/<group>",
            Self::Size => "a checkpoint's second line is the log's size, in decimal digits",
            Self::Root => {
                "a checkpoint's third line is the log's root: 32 bytes in base64, those of no log for size 0"
            }
            Self::Time => "a checkpoint's fourth line is `time` and milliseconds since 1970 UTC",
            Self::Lines => "a checkpoint has four lines: its origin, size, root and time",
        })
    }
}

impl std::error::Error for CheckpointError {}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, history, group } = self;
        write!(f, "flagraft/{cluster}/{history}/{group}")
    }
}

impl FromStr for Origin {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(CheckpointError::Origin);
        if next()? != "flagraft" {
            return Err(CheckpointError::Origin);
        }
        let cluster = next()?.parse().map_err(|_| CheckpointError::Origin)?;
        let history = next()?.parse().map_err(|_| CheckpointError::Origin)?;
        let group = canonical(next()?).ok_or(CheckpointError::Origin)?;
        match parts.next() {
            None => Ok(Self { cluster, history, group }),
            Some(_) => Err(CheckpointError::Origin),
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, size, root, time_ms } = self;
        writeln!(f, "{origin}\n{size}\n{}\ntime {time_ms}", STANDARD.encode(root))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Reads exactly what `Display` writes: one checkpoint has one text.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let lines = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let mut lines = lines.split('\n');
        let mut next = || lines.next().ok_or(CheckpointError::Lines);
        let origin = next()?.parse()?;
        let size = canonical(next()?).ok_or(CheckpointError::Size)?;
        let root = base64_bytes::parse(next()?).ok_or(CheckpointError::Root)?;
        if size == 0 && root != empty_root() {
            return Err(CheckpointError::Root);
        }
        let time_ms = next()?.strip_prefix("time ").and_then(canonical).ok_or(CheckpointError::Time)?;
        match lines.next() {
            None => Ok(Self { origin, size, root, time_ms }),
            Some(_) => Err(CheckpointError::Lines),
        }
    }
}

/// The number that this is the one decimal form of.
fn canonical<N: FromStr + fmt::Display>(text: &str) -> Option<N> {
    let number: N = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
