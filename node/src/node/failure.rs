//! Why a node can't start, or can't go on.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{
    backup::StageError,
    config::ConfigError,
    peer::{PeerError, WeakSecret},
    raft,
    storage::StorageError,
};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file that a setting names can't be used.
    #[error("{what} {path}: {why}")]
    File {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The peer secret is too short.
    #[error(transparent)]
    WeakSecret(#[from] WeakSecret),
    /// A listener could not be opened.
    #[error("{setting} {address} can't be listened on: {source}; is another node running there?")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data folder can't be used.
    #[error("the data folder can't be used: {0}")]
    Storage(#[from] StorageError),
    /// A backup was restored into the folder, and can't be used.
    #[error(transparent)]
    Backup(#[from] StageError),
    /// Raft could not start.
    #[error(transparent)]
    Raft(#[from] raft::StartError),
    /// The way to the other members could not be set up.
    #[error("the peer client could not be set up: {0}")]
    Peers(#[from] PeerError),
    /// The system gives this process no more threads.
    #[error("a thread could not be started: {0}; raise the limit of the process's threads")]
    Thread(io::Error),
    /// Two metrics have one name: a mistake in this program.
    #[error("the metrics could not be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why a node that had started can't go on. It has to be stopped and its configuration put right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);
