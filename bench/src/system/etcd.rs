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

use super::{Cluster, Freshness, NODES, Write, await_ready, http as plain};
use crate::load::Client;

/// Clients that share one HTTP/2 connection. gRPC's clients do, and it costs etcd fewer system calls than a
/// connection each; but a single connection is handled by one goroutine, which becomes what limits it.
const CLIENTS_PER_CONNECTION: usize = 8;

/// What is read, and how large its value is: about as large as an evaluation's answer.
const READ_KEY: &[u8] = b"/bench/read";
const READ_BYTES: usize = 200;

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
    type Reader = Getter;

    async fn leader(&self) -> Result<usize, Failure> {
        leader(&self.ports).await
    }

    async fn writers(&self, node: usize, count: usize, write: Write) -> Result<Vec<Putter>, Failure> {
        let clients = channels(self.ports[node], count).await?.into_iter().enumerate();
        let putter = |(client, channel)| Putter {
            grpc: Grpc::new(channel),
            key: format!("/bench/flag-{client:04}").into_bytes(),
            value: vec![b'.'; write.value_bytes],
            turn: 0,
        };
        Ok(clients.map(putter).collect())
    }

    async fn readers(&self, node: usize, count: usize, freshness: Freshness) -> Result<Vec<Getter>, Failure> {
        let mut grpc = Grpc::new(channel(self.ports[node]).await?);
        let put = PutRequest { key: READ_KEY.to_vec(), value: vec![b'.'; READ_BYTES] };
        let _: PutResponse = call(&mut grpc, "/etcdserverpb.KV/Put", put).await?;
        let get = RangeRequest { key: READ_KEY.to_vec(), serializable: freshness == Freshness::Local };
        let clients = channels(self.ports[node], count).await?.into_iter();
        Ok(clients.map(|channel| Getter { grpc: Grpc::new(channel), get: get.clone() }).collect())
    }

    async fn rounds(&self, _: usize) -> Result<Option<u64>, Failure> {
        Ok(None)
    }

    async fn syncs(&self, node: usize) -> Result<u64, Failure> {
        let text = plain::get(self.ports[node], "/metrics", "").await?;
        plain::metric(&text, "etcd_disk_wal_fsync_duration_seconds_count")
    }

    fn servers(&self) -> &[Server] {
        &self.servers
    }
}

/// What a binary says that it is.
pub fn etcd_version(binary: &Path) -> String {
    let version = Command::new(binary).arg("--version").output().map(|output| output.stdout);
    let version = String::from_utf8(version.unwrap_or_default()).unwrap_or_default();
    version.lines().next().unwrap_or("etcd, version unknown").to_owned()
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

/// A client that gets one key again and again.
#[derive(Debug)]
pub struct Getter {
    grpc: Grpc<Channel>,
    get: RangeRequest,
}

impl Client for Getter {
    async fn request(&mut self) -> Result<(), Failure> {
        let got: RangeResponse = call(&mut self.grpc, "/etcdserverpb.KV/Range", self.get.clone()).await?;
        if got.count == 1 { Ok(()) } else { Err(Failure("a get found nothing".to_owned())) }
    }
}

/// A channel for each of so many clients, some of them shared.
async fn channels(port: u16, count: usize) -> Result<Vec<Channel>, Failure> {
    let mut channels = Vec::new();
    let mut shared = channel(port).await?;
    for client in 0..count {
        if client > 0 && client % CLIENTS_PER_CONNECTION == 0 {
            shared = channel(port).await?;
        }
        channels.push(shared.clone());
    }
    Ok(channels)
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
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct RangeResponse {
    #[prost(int64, tag = "4")]
    count: i64,
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
