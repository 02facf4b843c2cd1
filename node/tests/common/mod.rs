//! A cluster in this process: real nodes on loopback, each with its own folder and free ports.

#![allow(dead_code, reason = "each test uses a part of this")]

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use flagraft_core::{
    identity::RevisionToken,
    proposal::{Change, RequestId},
    reply::Outcome,
    token::Secret,
};
use flagraft_node::{
    config::{BootstrapConfig, CheckpointConfig, NodeConfig, PeerConfig},
    node::{Node, Submission, SubmitError, Submitted, mint_request_id},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything may take before the test gives up on it. Far more than it does take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The usual deadline of a write.
pub const WRITE: Duration = Duration::from_secs(2);

pub struct Cluster {
    dir: TempDir,
    addresses: BTreeMap<u64, SocketAddr>,
    /// The ports, held until the nodes take them over, so that nobody else does.
    listeners: BTreeMap<u64, TcpListener>,
    nodes: BTreeMap<u64, Arc<Node>>,
}

impl Cluster {
    /// A cluster of `size` nodes with ids from 1, founded by the first and ready to write.
    pub async fn found(size: u64) -> Self {
        let mut cluster = Self::prepare(size);
        for id in 1..=size {
            cluster.start(id, id == 1).await;
        }
        cluster
            .until("all nodes to be ready", |cluster| {
                cluster.nodes().all(|node| node.reads().readiness().ready)
            })
            .await;
        cluster
    }

    /// Folders and addresses, and nothing that runs.
    pub fn prepare(size: u64) -> Self {
        // For whoever looks into a failure, with RUST_LOG. The first test of the process sets it up.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let dir = tempfile::tempdir().expect("a folder");
        let secret = dir.path().join("peer-secret");
        fs::write(&secret, "p".repeat(48)).expect("written");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("made private");
        let listeners: BTreeMap<u64, TcpListener> =
            (1..=size).map(|id| (id, listen("127.0.0.1:0"))).collect();
        let address = |listener: &TcpListener| listener.local_addr().expect("it is bound");
        let addresses = listeners.iter().map(|(id, listener)| (*id, address(listener))).collect();
        Self { dir, addresses, listeners, nodes: BTreeMap::new() }
    }

    pub fn folder(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("node-{id}"))
    }

    pub fn config(&self, id: u64, bootstrap: bool) -> NodeConfig {
        let peers = PeerConfig {
            listen: self.addresses[&id],
            members: self.addresses.iter().map(|(id, address)| (*id, address.to_string())).collect(),
            secret_file: Some(self.dir.path().join("peer-secret")),
            insecure: false,
        };
        NodeConfig {
            bootstrap: bootstrap.then(|| BootstrapConfig { token_file: self.dir.path().join("owner-token") }),
            // The nodes' keys would be changes of their own, at any time.
            checkpoints: CheckpointConfig { interval: Duration::ZERO, ..CheckpointConfig::default() },
            ..NodeConfig::new(id, self.folder(id), peers)
        }
    }

    /// Starts a node, again or for the first time.
    pub async fn start(&mut self, id: u64, bootstrap: bool) -> Arc<Node> {
        let node = self.launch(self.config(id, bootstrap)).await;
        self.nodes.insert(id, Arc::clone(&node));
        node
    }

    /// Starts a node that the cluster does not count.
    pub async fn launch(&mut self, config: NodeConfig) -> Arc<Node> {
        let held = self.listeners.remove(&config.node_id);
        let listener = held.unwrap_or_else(|| listen(config.peers.listen));
        Node::start_on(config, listener).await.expect("started")
    }

    /// Stops a node as it stops on request.
    pub async fn stop(&mut self, id: u64) {
        self.nodes.remove(&id).expect("it runs").close().await;
    }

    pub fn node(&self, id: u64) -> &Arc<Node> {
        &self.nodes[&id]
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// The leader that all running nodes agree on.
    pub async fn leader(&self) -> u64 {
        self.until("the nodes to agree on a leader", |cluster| cluster.agreed_leader().is_some()).await;
        self.agreed_leader().expect("they agreed a moment ago")
    }

    fn agreed_leader(&self) -> Option<u64> {
        let mut leaders = self.nodes().map(|node| node.raft_status().leader);
        let first = leaders.next().flatten().filter(|leader| self.nodes.contains_key(leader));
        first.filter(|_| leaders.all(|leader| leader == first))
    }

    /// A running node that does not lead.
    pub async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        *self.nodes.keys().find(|id| **id != leader).expect("there are several")
    }

    pub async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !condition(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }

    pub fn owner(&self) -> Secret {
        let text = fs::read_to_string(self.dir.path().join("owner-token")).expect("made at bootstrap");
        Secret::parse(text.trim()).expect("a token")
    }

    pub fn submission(&self, project: Option<&str>, operations: Value) -> Submission {
        self.submission_as(self.owner(), project, operations)
    }

    pub fn submission_as(&self, secret: Secret, project: Option<&str>, operations: Value) -> Submission {
        let change = Change {
            project: project.map(|key| key.parse().expect("a key")),
            operations: serde_json::from_value(operations).expect("operations"),
            reason: "a test".to_owned(),
            ticket: None,
            expect_revision: None,
        };
        Submission::change(secret, change, mint_request_id())
    }

    pub async fn write(
        &self,
        node: u64,
        project: Option<&str>,
        operations: Value,
    ) -> Result<Submitted, SubmitError> {
        self.node(node).submit(self.submission(project, operations), WRITE).await
    }

    /// Creates the project `shop` with the environment `production`, through the node.
    pub async fn create_shop(&self, node: u64) -> RevisionToken {
        let operations = json!([
            {"op": "project.put", "project": {"key": "shop"}},
            {"op": "environment.put", "environment": {"key": "production"}},
        ]);
        self.accepted(node, self.write(node, Some("shop"), operations).await)
    }

    /// The revision that an accepted write made.
    pub fn accepted(&self, node: u64, submitted: Result<Submitted, SubmitError>) -> RevisionToken {
        let submitted = submitted.expect("answered");
        match submitted.reply.outcome {
            Outcome::Accepted { revision, .. } => {
                let history = self.node(node).published().state.history().expect("founded");
                RevisionToken { history, revision }
            }
            other => panic!("not accepted: {other:?}"),
        }
    }
}

/// An operation that puts a boolean flag.
pub fn flag(key: &str, critical: bool) -> Value {
    let mut flag = json!({
        "key": key, "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "environments": {"production": {"enabled": true, "default": {"variant": "on"}}},
    });
    if critical {
        flag["critical"] = json!(true);
        flag["safe_variant"] = json!("off");
    }
    json!([{"op": "flag.put", "flag": flag}])
}

pub fn with_key(submission: Submission, key: &str) -> Submission {
    Submission { request: RequestId { id: key.to_owned(), client_given: true }, ..submission }
}

fn listen(address: impl ToSocketAddrs) -> TcpListener {
    TcpListener::bind(address).expect("a free port")
}
