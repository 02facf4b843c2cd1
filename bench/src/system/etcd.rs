//! etcd: three nodes with their defaults, and clients that put by gRPC.

use std::{path::Path, process::Command};

use flagraft_bench_common::{
    failure::Failure,
    process::{Folder, Server, free_ports},
};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::{
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{Cluster, NODES, Write, await_ready, http as plain};
use crate::load::Client;

/// Clients that share one HTTP/2 connection. gRPC's clients do, and it costs etcd fewer system calls than a
/// connection each; but a single connection is handled by one goroutine, which becomes what limits it.
const CLIENTS_PER_CONNECTION: usize = 8;

/// A running etcd cluster.
#[derive(Debug)]
pub struct EtcdCluster {
    // Before the folder, so that nobody writes when that goes.
    servers: Vec<Server>,
    ports: Vec<u16>,
    _folder: Folder,
}

impl EtcdCluster {
    /// Starts three nodes of `binary` with their data under `folder`, and waits until they have a leader.
    pub async fn start(binary: &Path, folder: Folder) -> Result<Self, Failure> {
        let ports = free_ports(2 * NODES)?;
        let (client_ports, peer_ports) = ports.split_at(NODES);
        let names: Vec<String> = (1..=NODES).map(|n| format!("node-{n}")).collect();
        let members: Vec<String> = names
            .iter()
            .zip(peer_ports)
            .map(|(name, port)| format!("{name}=http://127.0.0.1:{port}"))
            .collect();
        let members = members.join(",");
        let mut servers = Vec::new();
        for ((name, client), peer) in names.iter().zip(client_ports).zip(peer_ports) {
            let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let mut command = Command::new(binary);
            command
                // Whatever the caller's own environment says of another etcd.
                .env_clear()
                .args(["--name", name])
                .arg("--data-dir")
                .arg(folder.path().join(name))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &members, "--initial-cluster-state", "new"])
                .args(["--logger", "zap", "--log-level", "warn"]);
            servers.push(Server::start(&mut command, folder.path().join(format!("{name}.log")))?);
        }
        let mut cluster = Self { servers, ports: client_ports.to_vec(), _folder: folder };
        let ports = cluster.ports.clone();
        await_ready("etcd", &mut cluster.servers, async || leader(&ports).await).await?;
        Ok(cluster)
    }
}

impl Cluster for EtcdCluster {
    type Writer = Putter;

    async fn leader(&self) -> Result<usize, Failure> {
        leader(&self.ports).await
    }

    async fn writers(&self, node: usize, count: usize, write: Write) -> Result<Vec<Putter>, Failure> {
        let mut writers = Vec::new();
        let mut shared = channel(self.ports[node]).await?;
        for client in 0..count {
            if client > 0 && client % CLIENTS_PER_CONNECTION == 0 {
                shared = channel(self.ports[node]).await?;
            }
            writers.push(Putter {
                grpc: Grpc::new(shared.clone()),
                key: format!("/bench/flag-{client:04}").into_bytes(),
                value: vec![b'.'; write.value_bytes],
                turn: 0,
            });
        }
        Ok(writers)
    }

    async fn syncs(&self, node: usize) -> Result<u64, Failure> {
        let text = plain::get(self.ports[node], "/metrics", "").await?;
        plain::metric(&text, "etcd_disk_wal_fsync_duration_seconds_count")
    }

    fn servers(&self) -> &[Server] {
        &self.servers
    }
}

/// A client that puts one key again and again, each time with another value.
#[derive(Debug)]
pub struct Putter {
    grpc: Grpc<Channel>,
    key: Vec<u8>,
    value: Vec<u8>,
    turn: u64,
}

impl Client for Putter {
    async fn request(&mut self) -> Result<(), Failure> {
        self.turn += 1;
        let turn = self.turn.to_string();
        self.value[..turn.len()].copy_from_slice(turn.as_bytes());
        let put = PutRequest { key: self.key.clone(), value: self.value.clone() };
        let _: PutResponse = call(&mut self.grpc, "/etcdserverpb.KV/Put", put).await?;
        Ok(())
    }
}

async fn channel(port: u16) -> Result<Channel, Failure> {
    let endpoint = Endpoint::try_from(format!("http://127.0.0.1:{port}"))?.tcp_nodelay(true);
    Ok(endpoint.connect().await?)
}

/// The node that leads, as all nodes see it.
async fn leader(ports: &[u16]) -> Result<usize, Failure> {
    let mut members = Vec::new();
    let mut leaders = Vec::new();
    for port in ports {
        let mut grpc = Grpc::new(channel(*port).await?);
        let status: StatusResponse =
            call(&mut grpc, "/etcdserverpb.Maintenance/Status", StatusRequest {}).await?;
        members.push(status.header.map(|header| header.member_id).unwrap_or_default());
        leaders.push(status.leader);
    }
    let agreed = leaders.iter().all(|leader| Some(leader) == leaders.first() && *leader != 0);
    let leading = members.iter().position(|member| agreed && Some(member) == leaders.first());
    leading.ok_or_else(|| Failure("the nodes do not agree on a leader".to_owned()))
}

async fn call<Q, A>(grpc: &mut Grpc<Channel>, path: &'static str, request: Q) -> Result<A, Failure>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    grpc.ready().await?;
    let codec: ProstCodec<Q, A> = ProstCodec::default();
    let answer = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await?;
    Ok(answer.into_inner())
}

// What is needed of etcd's `rpc.proto`: fields that are left out are skipped when decoded.

#[derive(Clone, PartialEq, Eq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Eq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}
