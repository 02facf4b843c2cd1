//! The systems that are measured, over loopback, fsync as they come.

mod etcd;
mod flagraft;
mod http;

use std::{future::Future, time::Duration};

use flagraft_bench_common::{failure::Failure, process::Server};

pub use self::{
    etcd::{EtcdCluster, etcd_version},
    flagraft::FlagraftCluster,
    http::Connection,
};
use crate::load::Client;

/// Nodes of the clusters that are compared.
pub const NODES: usize = 3;

/// How long a cluster may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What a client writes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// How it changes what is there. etcd knows only one way.
    pub kind: WriteKind,
    /// How large the value is: etcd's value, the JSON of Flagraft's flag.
    pub value_bytes: usize,
}

/// How a write changes a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WriteKind {
    /// The whole flag is put, with another description.
    Put,
    /// The flag is turned off, or on again.
    Switch,
}

/// How fresh the answer is that a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Freshness {
    /// Confirmed by a majority after the read began: a critical flag of Flagraft, a get of etcd as it is by itself.
    Linearizable,
    /// What the node has: any other flag of Flagraft, a `serializable` get of etcd.
    Local,
}

/// A running cluster. It is ended and its data deleted when this is dropped.
pub trait Cluster: Sized {
    /// What writes to it.
    type Writer: Client + 'static;
    /// What reads from it.
    type Reader: Client + 'static;

    /// The node that leads, from 0.
    fn leader(&self) -> impl Future<Output = Result<usize, Failure>>;

    /// `count` clients of one node, each of which writes an object of its own.
    fn writers(
        &self,
        node: usize,
        count: usize,
        write: Write,
    ) -> impl Future<Output = Result<Vec<Self::Writer>, Failure>>;

    /// `count` clients of one node, all of which read one object.
    fn readers(
        &self,
        node: usize,
        count: usize,
        freshness: Freshness,
    ) -> impl Future<Output = Result<Vec<Self::Reader>, Failure>>;

    /// How many rounds of confirmation a node has begun since it started, where it tells.
    fn rounds(&self, node: usize) -> impl Future<Output = Result<Option<u64>, Failure>>;

    /// How often a node has synced its write-ahead log since it started.
    fn syncs(&self, node: usize) -> impl Future<Output = Result<u64, Failure>>;

    /// The nodes' processes.
    fn servers(&self) -> &[Server];

    /// CPU time that all nodes have used so far.
    fn cpu(&self) -> Result<Duration, Failure> {
        self.servers().iter().map(Server::cpu).sum()
    }
}

/// Calls `ready` until it is, for as long as all servers live.
pub async fn await_ready<T>(
    what: &str,
    servers: &mut [Server],
    mut ready: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let until = tokio::time::Instant::now() + READY_WITHIN;
    loop {
        let why = match ready().await {
            Ok(found) => return Ok(found),
            Err(why) => why,
        };
        servers.iter_mut().try_for_each(Server::require_alive)?;
        if tokio::time::Instant::now() >= until {
            return Err(Failure(format!("{what} was not ready within {READY_WITHIN:?}: {why}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
