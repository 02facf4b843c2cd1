//! Flagraft: nodes with their defaults, and clients that write flags by the public HTTP API.

use std::{cell::Cell, fs, path::Path, process::Command, time::Duration};

use flagraft_bench_common::{
    failure::Failure,
    process::{Folder, Server, free_ports},
};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{
    Cluster, Freshness, Write, WriteKind, await_ready,
    http::{self, Connection},
};
use crate::load::Client;

/// More turns than any client takes.
const TURNS: u64 = 10_000_000;
const PROJECT: &str = "/api/v1/projects/bench";

/// A running Flagraft cluster.
#[derive(Debug)]
pub struct FlagraftCluster {
    // Before the folder, so that nobody writes when that goes.
    servers: Vec<Server>,
    ports: Vec<u16>,
    authorization: String,
    /// The first turn of the next client.
    turn: Cell<u64>,
    _folder: Folder,
}

impl FlagraftCluster {
    /// Starts so many nodes of `binary` with their data under `folder`, and waits until they are ready.
    pub async fn start(binary: &Path, folder: Folder, nodes: usize) -> Result<Self, Failure> {
        let ports = free_ports(2 * nodes)?;
        let (http_ports, peer_ports) = ports.split_at(nodes);
        let members: Vec<String> =
            peer_ports.iter().zip(1..).map(|(port, n)| format!("{n}=127.0.0.1:{port}")).collect();
        let token_file = folder.path().join("bootstrap-token");
        let secret_file = folder.path().join("peer-secret");
        // Good enough to authenticate on loopback for some seconds, and as long as a real one.
        fs::write(&secret_file, "0123456789abcdef".repeat(4))?;
        let mut servers = Vec::new();
        for ((n, http), peer) in (1..).zip(http_ports).zip(peer_ports) {
            let mut command = Command::new(binary);
            command
                // Whatever the caller's own environment says of another cluster.
                .env_clear()
                .args(["serve", "--node-id", &n.to_string()])
                .arg("--data")
                .arg(folder.path().join(format!("node-{n}")))
                .args([
                    "--listen",
                    &format!("127.0.0.1:{http}"),
                    "--peer-listen",
                    &format!("127.0.0.1:{peer}"),
                ])
                .args(["--peers", &members.join(",")])
                .arg("--peer-secret-file")
                .arg(&secret_file);
            if n == 1 {
                command.arg("--bootstrap").arg("--bootstrap-token-file").arg(&token_file);
            }
            servers.push(Server::start(&mut command, folder.path().join(format!("node-{n}.log")))?);
        }
        let ports = http_ports.to_vec();
        await_ready("Flagraft", &mut servers, async || {
            for port in &ports {
                http::get(*port, "/readyz", "").await?;
            }
            Ok(())
        })
        .await?;
        let token = fs::read_to_string(&token_file)?;
        Ok(Self {
            servers,
            ports,
            authorization: format!("Bearer {}", token.trim()),
            turn: Cell::new(0),
            _folder: folder,
        })
    }

    /// Where a node answers.
    pub fn port(&self, node: usize) -> u16 {
        self.ports[node]
    }

    /// Makes the project that the writers write in.
    pub async fn make_project(&self) -> Result<(), Failure> {
        let operations = json!([
            {"op": "project.put", "project": {"key": "bench", "name": "Benchmark"}},
            {"op": "environment.put", "environment": {"key": "production", "name": "Production"}},
        ]);
        self.change("bench", operations).await
    }

    /// Makes a change in a project.
    pub async fn change(&self, project: &str, operations: Value) -> Result<(), Failure> {
        let body = json!({"reason": "benchmark", "operations": operations});
        self.post(&format!("/api/v1/projects/{project}/changes"), &body).await?;
        Ok(())
    }

    /// Makes a token. Gives the `Authorization` of whoever has it.
    pub async fn make_token(&self, token: Value) -> Result<String, Failure> {
        let made = self.post("/api/v1/tokens", &json!({"reason": "benchmark", "token": token})).await?;
        let made: Value = serde_json::from_slice(&made)?;
        let secret = made["secret"]
            .as_str()
            .ok_or_else(|| Failure("a token was made without its secret".to_owned()))?;
        Ok(format!("Bearer {secret}"))
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Bytes, Failure> {
        let mut connection = Connection::open(self.ports[0]).await?;
        connection.request("POST", path, &self.authorization, body.to_string()).await
    }
}

impl Cluster for FlagraftCluster {
    type Writer = FlagWriter;
    type Reader = FlagReader;

    async fn leader(&self) -> Result<usize, Failure> {
        let answer = http::get(self.ports[0], "/api/v1/cluster", &self.authorization).await?;
        let cluster: Value = serde_json::from_slice(&answer)?;
        let leader = cluster["leader"].as_u64().and_then(|id| usize::try_from(id).ok()?.checked_sub(1));
        leader.ok_or_else(|| Failure("the nodes have no leader".to_owned()))
    }

    async fn writers(&self, node: usize, count: usize, write: Write) -> Result<Vec<FlagWriter>, Failure> {
        let mut writers = Vec::new();
        for client in 0..count {
            let mut writer = FlagWriter {
                connection: Connection::open(self.ports[node]).await?,
                authorization: self.authorization.clone(),
                key: format!("flag-{client:04}"),
                value_bytes: write.value_bytes,
                // Others than those of every client before, so that what it writes first is a change too.
                turn: self.turn.replace(self.turn.get() + TURNS),
                kind: WriteKind::Put,
            };
            if write.kind == WriteKind::Switch {
                // What is turned off has to be there, and on.
                writer.request().await?;
                (writer.kind, writer.turn) = (WriteKind::Switch, 0);
            }
            writers.push(writer);
        }
        Ok(writers)
    }

    async fn readers(
        &self,
        node: usize,
        count: usize,
        freshness: Freshness,
    ) -> Result<Vec<FlagReader>, Failure> {
        let flag = |key: &str, critical: bool| {
            json!({"op": "flag.put", "flag": {
                "key": key, "type": "boolean", "variants": {"off": false, "on": true}, "critical": critical, "safe_variant": "off",
                "environments": {"production": {"enabled": true, "default": {"variant": "on"}}}}})
        };
        self.change("bench", json!([flag("critical", true), flag("ordinary", false)])).await?;
        let grants = json!([{"role": "reader", "project": "bench", "environments": ["production"]}]);
        let token = self.make_token(json!({"name": "reader", "kind": "service", "grants": grants})).await?;
        let key = match freshness {
            Freshness::Linearizable => "critical",
            Freshness::Local => "ordinary",
        };
        let mut readers = Vec::new();
        for _ in 0..count {
            let mut reader = FlagReader {
                connection: Connection::open(self.ports[node]).await?,
                authorization: token.clone(),
                path: format!("/ofrep/v1/evaluate/flags/{key}"),
                freshness,
            };
            // What was just made may not be everywhere yet, and a node answers the first read of it otherwise.
            reader.settle().await?;
            readers.push(reader);
        }
        Ok(readers)
    }

    async fn rounds(&self, node: usize) -> Result<Option<u64>, Failure> {
        let text = http::get(self.ports[node], "/metrics", &self.authorization).await?;
        http::metric(&text, "flagraft_read_index_rounds").map(Some)
    }

    async fn syncs(&self, node: usize) -> Result<u64, Failure> {
        let text = http::get(self.ports[node], "/metrics", &self.authorization).await?;
        http::metric(&text, "flagraft_storage_sync_entries_count")
    }

    fn servers(&self) -> &[Server] {
        &self.servers
    }
}

/// A client that changes one flag again and again.
#[derive(Debug)]
pub struct FlagWriter {
    connection: Connection,
    authorization: String,
    key: String,
    value_bytes: usize,
    turn: u64,
    kind: WriteKind,
}

impl Client for FlagWriter {
    async fn request(&mut self) -> Result<(), Failure> {
        self.turn += 1;
        let flag = format!("{PROJECT}/flags/{}", self.key);
        let (method, path, body) = match self.kind {
            WriteKind::Put => ("PUT", flag, body(&self.key, self.turn, self.value_bytes)),
            WriteKind::Switch => {
                let switch = if self.turn % 2 == 1 { "disable" } else { "enable" };
                ("POST", format!("{flag}/environments/production/{switch}"), Bytes::from_static(REASON))
            }
        };
        let answer = self.connection.request(method, &path, &self.authorization, body).await?;
        // `unchanged` would be a write that wrote nothing.
        if answer.windows(ACCEPTED.len()).any(|window| window == ACCEPTED) {
            Ok(())
        } else {
            Err(Failure(format!("a write was answered: {}", String::from_utf8_lossy(&answer))))
        }
    }
}

/// A client that evaluates one flag again and again.
#[derive(Debug)]
pub struct FlagReader {
    connection: Connection,
    authorization: String,
    path: String,
    freshness: Freshness,
}

impl FlagReader {
    /// Reads until the answer is one of the kind that is measured.
    async fn settle(&mut self) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + SETTLED_WITHIN;
        while let Err(why) = self.request().await {
            if tokio::time::Instant::now() >= until {
                return Err(why);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

impl Client for FlagReader {
    async fn request(&mut self) -> Result<(), Failure> {
        let body = Bytes::from_static(br#"{"context":{"targetingKey":"user-1"}}"#);
        let (headers, body) = self.connection.exchange("POST", &self.path, &self.authorization, body).await?;
        let expected = match self.freshness {
            Freshness::Linearizable => "linearizable",
            Freshness::Local => "local",
        };
        // A safe variant is quick to give, and not what is measured.
        if headers.get("flagraft-consistency").is_some_and(|given| given == expected) {
            Ok(())
        } else {
            Err(Failure(format!("a read was answered otherwise: {}", String::from_utf8_lossy(&body))))
        }
    }
}

const SETTLED_WITHIN: Duration = Duration::from_secs(5);

const REASON: &[u8] = br#"{"reason":"benchmark"}"#;
const ACCEPTED: &[u8] = br#""outcome":"accepted""#;

/// A request to put the flag, whose JSON has `bytes` bytes.
fn body(key: &str, turn: u64, bytes: usize) -> Bytes {
    let flag = |description: &str| {
        format!(
            r#"{{"key":"{key}","name":"Benchmark","type":"boolean","description":"{description}","owner":"bench","variants":{{"off":false,"on":true}},"off_variant":"off","environments":{{"production":{{"enabled":true,"default":{{"variant":"on"}}}}}}}}"#
        )
    };
    let fixed = flag("").len();
    let description = format!("{turn:.<width$}", width = bytes.saturating_sub(fixed));
    format!(r#"{{"reason":"benchmark","flag":{}}}"#, flag(&description)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_has_the_size_that_is_asked_for() {
        let request: Value = serde_json::from_slice(&body("flag-0001", 12, 400)).expect("JSON");
        let fields = request["flag"].as_object().expect("a flag");
        assert_eq!(fields["description"].as_str().map(|text| &text[..3]), Some("12."));
        assert_eq!(request["flag"].to_string().len(), 400);
    }
}
