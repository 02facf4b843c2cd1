//! What can go wrong with the disk.

use std::{io, path::PathBuf};

/// A failure of the storage. None of them is survivable in place: the caller stops the node.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// RocksDB failed.
    #[error("the database failed: {0}")]
    Database(rocksdb::Error),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Something was read that nobody can have written: the disk is damaged or was edited.
    #[error(
        "the data is corrupt: {0}. A node never runs on data it can't trust. The other members still have it all: keep \
         this folder for a look at it, and bring the node back with an empty one as a new member \
         (docs/runbooks/damaged-disk.md)"
    )]
    Corrupt(String),
    /// The folder belongs to another node, another cluster or another version.
    #[error("{0}")]
    Identity(String),
    /// Another process has the folder open.
    #[error("the data folder {0} is in use by another process; stop the node that runs on it first")]
    InUse(PathBuf),
    /// There is no data folder of a node.
    #[error("{0} is no data folder of a node; name the folder that the node was started with as --data")]
    Missing(PathBuf),
    /// An earlier sync failed; nothing is acknowledged any more.
    #[error("the disk failed earlier: {0}")]
    Failed(String),
    /// No randomness to be had from the operating system.
    #[error("no random bytes from the operating system: {0}")]
    Random(String),
}

impl StorageError {
    /// Shorthand for [`StorageError::Corrupt`].
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(what.into())
    }

    /// What was found, in a text that quotes a [`StorageError::Corrupt`]: whatever passes through Raft is text by then.
    pub(super) fn corruption_in(text: &str) -> Option<&str> {
        let (_, found) = text.split_once("the data is corrupt: ")?;
        Some(found.split_once(". A node never runs on data").map_or(found, |(found, _)| found))
    }

    /// A [`StorageError::File`] for this path, as `map_err` wants it.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

impl From<rocksdb::Error> for StorageError {
    fn from(error: rocksdb::Error) -> Self {
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Self::Corrupt(error.into_string()),
            _ => Self::Database(error),
        }
    }
}

impl From<StorageError> for io::Error {
    fn from(error: StorageError) -> Self {
        Self::other(error)
    }
}
