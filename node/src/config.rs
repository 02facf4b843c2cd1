//! Every setting of a node, with its meaning, flag and default. The command line is parsed elsewhere, once; each
//! setting's environment variable is its flag in capitals behind `FLAGRAFT_` (`--node-id`: `FLAGRAFT_NODE_ID`).

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{clock::WallClock, connections::Limits, raft::RaftTuning};

/// All settings of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The node's id in its cluster, from 1. `--node-id`, required.
    pub node_id: u64,
    /// The node's folder; made when missing. `--data`, required.
    pub data_dir: PathBuf,
    /// What clients talk to.
    pub http: HttpConfig,
    /// What other members talk to.
    pub peers: PeerConfig,
    /// Found a new cluster with the configured peers, once. `--bootstrap`, default none. Ignored, with a line in
    /// the log, when the folder belongs to a cluster already.
    pub bootstrap: Option<BootstrapConfig>,
    /// Ask the members of a cluster that runs to be taken in, once. `--join`, default none. Ignored, with a line in the
    /// log, when the folder belongs to a cluster already; refused where a backup waits in it.
    pub join: Option<JoinConfig>,
    /// Where the node stands.
    pub placement: Placement,
    /// How long peers are waited for.
    pub waits: PeerWaits,
    /// How reads are confirmed.
    pub reads: ReadConfig,
    /// How writes are taken.
    pub writes: WriteConfig,
    /// How checkpoints of the audit log are made.
    pub checkpoints: CheckpointConfig,
    /// How evaluations and reads are accounted for.
    pub accounts: AccountConfig,
    /// How audit records are removed whose time is over.
    pub retention: RetentionConfig,
    /// How much of the disk is kept free.
    pub disk: DiskConfig,
    /// The wall clock that this node stamps records with and tells the others. No flag, default the machine's.
    pub clock: WallClock,
    /// How many connections there may be, and how long one may be silent.
    pub connections: ConnectionConfig,
    /// How many streams there may be, and what is kept for them.
    pub streams: StreamConfig,
    /// How it looks into the past.
    pub travel: TravelConfig,
    /// How the node stops.
    pub shutdown: ShutdownConfig,
    /// The timing of Raft.
    pub raft: RaftTuning,
}

impl NodeConfig {
    /// The defaults for a node with this id, folder and peer settings, listening on loopback with a free port.
    pub fn new(node_id: u64, data_dir: impl Into<PathBuf>, peers: PeerConfig) -> Self {
        Self {
            node_id,
            data_dir: data_dir.into(),
            http: HttpConfig::default(),
            peers,
            bootstrap: None,
            join: None,
            placement: Placement::default(),
            waits: PeerWaits::default(),
            reads: ReadConfig::default(),
            writes: WriteConfig::default(),
            checkpoints: CheckpointConfig::default(),
            accounts: AccountConfig::default(),
            retention: RetentionConfig::default(),
            disk: DiskConfig::default(),
            clock: WallClock::default(),
            connections: ConnectionConfig::default(),
            streams: StreamConfig::default(),
            travel: TravelConfig::default(),
            shutdown: ShutdownConfig::default(),
            raft: RaftTuning::default(),
        }
    }

    /// Checks what can be checked without starting.
    ///
    /// # Errors
    /// Names the first setting that makes no sense, and what to do about it.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.node_id == 0 {
            return Err(ConfigError("--node-id must be 1 or more".to_owned()));
        }
        let peers = &self.peers;
        if !peers.members.contains_key(&self.node_id) {
            return Err(ConfigError(format!(
                "--peers names no address for node {0} itself; add {0}=HOST:PORT as the others reach it",
                self.node_id
            )));
        }
        if let Some(join) = &self.join {
            if self.bootstrap.is_some() {
                return Err(ConfigError(
                    "--bootstrap founds a cluster and --join comes into one that runs; give one of them"
                        .to_owned(),
                ));
            }
            if !join.members.keys().any(|id| *id != self.node_id) {
                return Err(ConfigError(format!(
                    "--join names no member but node {} itself; give those that run, as 1=HOST:PORT,2=HOST:PORT",
                    self.node_id
                )));
            }
        }
        if peers.secret_file.is_none() && !peers.insecure && !peers.listen.ip().is_loopback() {
            return Err(ConfigError(format!(
                "the peer listener {} is reachable from other machines, so --peer-secret-file is required; \
                 make one with: head -c 32 /dev/urandom | base64 > FILE (--insecure-peers does without, on a \
                 network that nobody else can reach)",
                peers.listen
            )));
        }
        if self.checkpoints.records == 0 {
            return Err(ConfigError("--checkpoint-records must be above 0".to_owned()));
        }
        if self.connections.clients_max == 0 {
            return Err(ConfigError("--connections-max must be above 0".to_owned()));
        }
        let reads = &self.reads;
        if reads.deadline > reads.deadline_max {
            return Err(ConfigError("--read-deadline-ms is above --read-deadline-max-ms".to_owned()));
        }
        let positive = [
            ("--stream-heartbeat-ms", self.streams.heartbeat),
            ("--read-deadline-ms", reads.deadline),
            ("--read-try-timeout-ms", reads.try_timeout),
            ("--age-refresh-ms", reads.refresh_interval),
            ("--ready-max-age-ms", reads.ready_max_age),
            ("--write-deadline-ms", self.writes.deadline),
        ];
        match positive.iter().find(|(_, value)| value.is_zero()) {
            Some((name, _)) => Err(ConfigError(format!("{name} must be above 0"))),
            None => Ok(()),
        }
    }
}

/// A setting that makes no sense, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What clients talk to.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where the public listener binds. `--listen`, default `127.0.0.1:7401`; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The address that clients reach this node by, for the list of members. `--public-url`, default
    /// `http://` and the address of the listener; empty where that is all addresses of the machine.
    pub public_url: Option<String>,
    /// A second listener with `/metrics`, `/livez` and `/readyz` only, without tokens. `--metrics-listen`, default none.
    pub metrics_listen: Option<SocketAddr>,
    /// The web origins that browsers may call from; `*` is any. `--cors-origin`, repeatable, default none.
    pub cors_origins: Vec<String>,
    /// Greatest body of a request in bytes; beyond it 413. `--body-max-bytes`, default 1 MiB, which is also the
    /// greatest entry of the log.
    pub body_max_bytes: usize,
}

impl HttpConfig {
    /// The address that clients are told. May be empty.
    pub fn public_address(&self) -> String {
        match &self.public_url {
            Some(url) => url.clone(),
            None if self.listen.ip().is_unspecified() => String::new(),
            None => format!("http://{}", self.listen),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: None,
            metrics_listen: None,
            cors_origins: Vec::new(),
            body_max_bytes: 1024 * 1024,
        }
    }
}

/// What other members talk to.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Where the peer listener binds. `--peer-listen`, required.
    pub listen: SocketAddr,
    /// The members to found or find a cluster with, this node included: id to `HOST:PORT`. `--peers
    /// 1=host:port,2=host:port`, required. Once the node belongs to a cluster, its replicated membership counts.
    pub members: BTreeMap<u64, String>,
    /// The file with the secret that all members share, of at least 256 bits. `--peer-secret-file`, default none.
    pub secret_file: Option<PathBuf>,
    /// Let a listener that other machines reach go without a secret. `--insecure-peers`, default off.
    pub insecure: bool,
}

impl PeerConfig {
    /// A node without peers, on loopback: a cluster of its own.
    pub fn alone(node_id: u64, listen: SocketAddr) -> Self {
        let members = BTreeMap::from([(node_id, listen.to_string())]);
        Self { listen, members, secret_file: None, insecure: false }
    }

    /// Reads the value of `--peers`: `1=host:port,2=host:port`.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse_members(text: &str) -> Result<BTreeMap<u64, String>, ConfigError> {
        parse_members("--peers", text)
    }
}

/// Reads `1=host:port,2=host:port`, the value of `setting`.
fn parse_members(setting: &str, text: &str) -> Result<BTreeMap<u64, String>, ConfigError> {
    let mut members = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let member = part.split_once('=').and_then(|(id, address)| {
            let id = id.trim().parse::<u64>().ok().filter(|id| *id > 0)?;
            let (host, port) = address.trim().rsplit_once(':')?;
            (!host.is_empty() && port.parse::<u16>().is_ok()).then(|| (id, address.trim().to_owned()))
        });
        let Some((id, address)) = member else {
            return Err(ConfigError(format!(
                "{setting}: {part:?} is not ID=HOST:PORT, as in 1=127.0.0.1:7501"
            )));
        };
        if members.values().any(|other| *other == address) {
            return Err(ConfigError(format!("{setting}: two members have the address {address}")));
        }
        if members.insert(id, address).is_some() {
            return Err(ConfigError(format!("{setting}: node {id} is named twice")));
        }
    }
    Ok(members)
}

/// How a new node comes into a cluster that runs.
#[derive(Clone, Debug)]
pub struct JoinConfig {
    /// The members to ask. `--join 1=host:port,2=host:port`. Once the node is a member, the membership counts.
    pub members: BTreeMap<u64, String>,
    /// The file with the join token that `flagraft cluster add` gave. `--join-token-file`. Not read any more once the
    /// node was taken in.
    pub token_file: PathBuf,
}

impl JoinConfig {
    /// Reads the value of `--join`.
    ///
    /// # Errors
    /// Says which part is wrong.
    pub fn parse_members(text: &str) -> Result<BTreeMap<u64, String>, ConfigError> {
        parse_members("--join", text)
    }
}

/// How a cluster is founded.
#[derive(Clone, Debug)]
pub struct BootstrapConfig {
    /// The file with the first owner's admin token; made with mode 0600 when missing. `--bootstrap-token-file`,
    /// default `bootstrap-token` in the data folder.
    pub token_file: PathBuf,
}

/// Where a node stands. Told to other members and to clients that prefer what is near.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    /// `--zone`, default empty.
    pub zone: String,
    /// `--region`, default empty. Added to evaluation contexts as `region` where a token does not.
    pub region: String,
    /// `--label KEY=VALUE`, repeatable, default none.
    pub labels: BTreeMap<String, String>,
}

/// How long a node waits for its peers, outside of Raft. None of these has a flag.
#[derive(Clone, Debug)]
pub struct PeerWaits {
    /// For an answer while a cluster is founded or found. Default 2 s.
    pub question_timeout: Duration,
    /// Between two rounds of such questions. Default 250 ms.
    pub question_pause: Duration,
    /// For a cluster that the peers know to take this node in; then the node gives up. While a cluster is founded
    /// that takes milliseconds. Default 30 s.
    pub join_grace: Duration,
    /// For one attempt to write the first entry of a new cluster. Default 5 s.
    pub first_entry_timeout: Duration,
    /// For a member to say how it does. Default 500 ms.
    pub status_timeout: Duration,
    /// For an entry to be published here, when another member waits for that; its own deadline is usually shorter.
    /// Default 30 s.
    pub await_published_max: Duration,
    /// Between two comparisons of the members' wall clocks. Default 10 s.
    pub clock_interval: Duration,
    /// For messages of peers that are being answered when the node stops. Default 1 s.
    pub drain_timeout: Duration,
}

impl Default for PeerWaits {
    fn default() -> Self {
        Self {
            question_timeout: Duration::from_secs(2),
            question_pause: Duration::from_millis(250),
            join_grace: Duration::from_secs(30),
            first_entry_timeout: Duration::from_secs(5),
            status_timeout: Duration::from_millis(500),
            await_published_max: Duration::from_secs(30),
            clock_interval: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(1),
        }
    }
}

/// How reads are confirmed.
#[derive(Clone, Debug)]
pub struct ReadConfig {
    /// How long a critical read waits for its confirmation when the request does not say. One that had this long
    /// and was not confirmed makes the node answer at once, without waiting, until a confirmation succeeds again.
    /// `--read-deadline-ms`, default 500 ms.
    pub deadline: Duration,
    /// The longest wait a request may ask for. `--read-deadline-max-ms`, default 5 s.
    pub deadline_max: Duration,
    /// How long one attempt at a read index may be without an answer before another is made beside it, for which the
    /// leader is looked up anew. `--read-try-timeout-ms`, default 400 ms. A change of leader ends all attempts.
    pub try_timeout: Duration,
    /// The pause after an attempt that failed. A change of leader ends it earlier. Default 20 ms.
    pub retry_pause: Duration,
    /// Reads that may wait for a confirmation at once; beyond it they are unconfirmed. Default 10,000.
    pub waiting_max: usize,
    /// How often the age is refreshed when no read did it. `--age-refresh-ms`, default 250 ms.
    pub refresh_interval: Duration,
    /// The age above which the node says that it is not ready. `--ready-max-age-ms`, default 10 s.
    pub ready_max_age: Duration,
}

impl Default for ReadConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(500),
            deadline_max: Duration::from_secs(5),
            try_timeout: Duration::from_millis(400),
            retry_pause: Duration::from_millis(20),
            waiting_max: 10_000,
            refresh_interval: Duration::from_millis(250),
            ready_max_age: Duration::from_secs(10),
        }
    }
}

/// How writes are taken.
#[derive(Clone, Debug)]
pub struct WriteConfig {
    /// How long a write may take, waits for other members included. `--write-deadline-ms`, default 2 s.
    pub deadline: Duration,
    /// Writes that may be under way at once on one node, forwarded ones included; beyond it 503.
    /// `--writes-max`, default 4,096.
    pub in_flight_max: usize,
    /// A leader that heard from its quorum this recently proposes at once; otherwise it first makes sure that it
    /// still leads, so that a write without a quorum is refused rather than left hanging. Default 500 ms.
    pub quorum_fresh: Duration,
    /// How long a leader waits for that. Default 500 ms.
    pub quorum_check_timeout: Duration,
    /// The pause before a write that found no leader tries again. A change of leader ends it earlier. Default 25 ms.
    pub retry_pause: Duration,
    /// What the hop back from the leader is granted of a forwarded write's deadline. Default 100 ms.
    pub answer_reserve: Duration,
    /// What a leader grants a forwarded write at most, whatever its deadline. Default 30 s.
    pub forwarded_deadline_max: Duration,
    /// Rejections recorded in the audit log per token and second; beyond it they are answered 429 and counted
    /// in the metrics only. `--recorded-rejections-per-second`, default 10.
    pub recorded_rejections_per_second: u32,
    /// How often refused credentials are counted into one audit record. Default 60 s.
    pub denials_interval: Duration,
    /// How long one attempt to write that record may take. Default 5 s; 1 s for the last one, when the node stops.
    pub denials_timeout: Duration,
}

impl Default for WriteConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(2),
            in_flight_max: 4_096,
            quorum_fresh: Duration::from_millis(500),
            quorum_check_timeout: Duration::from_millis(500),
            retry_pause: Duration::from_millis(25),
            answer_reserve: Duration::from_millis(100),
            forwarded_deadline_max: Duration::from_secs(30),
            recorded_rejections_per_second: 10,
            denials_interval: Duration::from_secs(60),
            denials_timeout: Duration::from_secs(5),
        }
    }
}

/// How checkpoints of the audit log are made: what the members sign of it.
#[derive(Clone, Debug)]
pub struct CheckpointConfig {
    /// How long new records wait for a checkpoint at most. With 0 the node makes none and adds no key of its own; it signs
    /// what others make, if it has one. `--checkpoint-interval-ms`, default 10 s.
    pub interval: Duration,
    /// New records that make one sooner. `--checkpoint-records`, default 1,000.
    pub records: u64,
    /// How long a member may take to sign one, and to take one that others signed. Default 2 s.
    pub timeout: Duration,
    /// How often a leader looks whether one is due. Default 250 ms.
    pub poll: Duration,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            records: 1_000,
            timeout: Duration::from_secs(2),
            poll: Duration::from_millis(250),
        }
    }
}

/// How audit records are removed whose time is over.
#[derive(Clone, Debug)]
pub struct RetentionConfig {
    /// How often a leader looks for them. With 0 it removes none. `--audit-retention-interval-ms`, default 1 h.
    pub interval: Duration,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { interval: Duration::from_secs(60 * 60) }
    }
}

/// How evaluations and reads are accounted for in the audit log.
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// How often what was counted becomes records: so much of it a crash may lose. `--accounts-interval-ms`, default 60 s.
    pub interval: Duration,
    /// How long one attempt to write the records may take. Default 5 s.
    pub timeout: Duration,
    /// How long after an attempt that failed the next one is made. Default 1 s.
    pub retry_pause: Duration,
    /// How long the attempt to write the last records may take, when the node stops. Default 1 s.
    pub last_timeout: Duration,
}

impl Default for AccountConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(5),
            retry_pause: Duration::from_secs(1),
            last_timeout: Duration::from_secs(1),
        }
    }
}

/// How much of the disk is kept free.
#[derive(Clone, Debug)]
pub struct DiskConfig {
    /// Bytes that must be free on the disk of the data folder for the node to propose changes. Below half of it the node
    /// takes no changes of others either; it goes on reading and voting. Either ends once an eighth more is free. What
    /// is reserved is for the database's own work: flushes, compactions, snapshots.
    /// `--disk-reserve-bytes`, default 256 MiB; 0 turns it off.
    pub reserve_bytes: u64,
    /// How often the disk is looked at, and a leader asks the others for the state of theirs. Default 500 ms.
    pub check_interval: Duration,
    /// How long after an attempt to hand over leadership, because the disk is full, another one is made. Default 2 s.
    pub handover_pause: Duration,
}

impl Default for DiskConfig {
    fn default() -> Self {
        Self {
            reserve_bytes: 256 * 1024 * 1024,
            check_interval: Duration::from_millis(500),
            handover_pause: Duration::from_secs(2),
        }
    }
}

/// How many connections there may be, and how long one may be silent. A process that may open few files takes fewer:
/// half of them at most are for clients, a quarter for peers.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// Connections of clients at once; beyond it new ones wait until one is closed. `--connections-max`, default
    /// 10,000.
    pub clients_max: usize,
    /// Connections of other members at once: each of their forwarded writes under way has one. Default 5,120.
    pub peers_max: usize,
    /// Connections to the listener of `--metrics-listen` at once. Default 100.
    pub metrics_max: usize,
    /// How long a new connection may take until its first byte. Default 10 s.
    pub silence_max: Duration,
    /// How long a connection may take from one answer to the end of the next request's head. Longer than members and
    /// most clients keep idle connections. Default 75 s.
    pub idle_max: Duration,
    /// How long a connection may take nothing of what is to be written to it. Default 60 s.
    pub stall_max: Duration,
}

impl ConnectionConfig {
    /// The limits of a listener with so many connections.
    pub(crate) fn limits(&self, connections_max: usize) -> Limits {
        Limits {
            connections_max,
            silence_max: self.silence_max,
            idle_max: self.idle_max,
            stall_max: self.stall_max,
        }
    }
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            clients_max: 10_000,
            peers_max: 5_120,
            metrics_max: 100,
            silence_max: Duration::from_secs(10),
            idle_max: Duration::from_secs(75),
            stall_max: Duration::from_secs(60),
        }
    }
}

/// How many streams there may be, and what is kept for them. Those with no flag bound the memory that streams cost.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Streams open at once, at most half of the connections that clients may have; beyond it 503. `--streams-max`, default
    /// 5,000.
    pub streams_max: usize,
    /// How many of them may carry notices for web pages and OFREP's providers; beyond it 503. What is left is for
    /// definitions alone, however many pages there are. `None`: half. `--notice-streams-max`.
    pub notices_max: Option<usize>,
    /// Streams of one client token on this node; beyond it 429. One token serves all browsers of a site, and whoever
    /// reads a page has it. `--client-token-streams-max`, default 1,000.
    pub client_token_max: usize,
    /// How often a stream says how far it is when nothing else is said. `--stream-heartbeat-ms`, default 5 s.
    pub heartbeat: Duration,
    /// Changes kept for streams that resume or lag, of all environments together. Default 10,000.
    pub changes_max: usize,
    /// Bytes of these changes. Default 64 MiB.
    pub changes_bytes_max: usize,
    /// Bytes of snapshots kept for the next stream that begins with one. Default 256 MiB.
    pub snapshots_bytes_max: usize,
}

impl StreamConfig {
    /// Streams of notices open at once.
    pub fn notices_max(&self) -> usize {
        self.notices_max.unwrap_or(self.streams_max / 2)
    }
}

impl Default for StreamConfig {
    fn default() -> Self {
        Self {
            streams_max: 5_000,
            notices_max: None,
            client_token_max: 1_000,
            heartbeat: Duration::from_secs(5),
            changes_max: 10_000,
            changes_bytes_max: 64 << 20,
            snapshots_bytes_max: 256 << 20,
        }
    }
}

/// How a node looks into the past.
#[derive(Clone, Debug)]
pub struct TravelConfig {
    /// A catalog is kept every so many revisions, or every so many as it has flags where that is more. Default 1,000. The
    /// same on every node, so there is no flag.
    pub every: u64,
    /// Bytes of kept catalogs on the disk; where there are more, every second one goes. `--kept-catalogs-bytes-max`, default
    /// 1 GiB.
    pub bytes_max: u64,
    /// Looks at once; others wait. Default 2.
    pub at_once: usize,
    /// Catalogs that were asked for last and stay in memory. Default 2: what is compared.
    pub kept_max: usize,
    /// How long a look may take. Default 10 s.
    pub deadline: Duration,
}

impl Default for TravelConfig {
    fn default() -> Self {
        Self { every: 1_000, bytes_max: 1 << 30, at_once: 2, kept_max: 2, deadline: Duration::from_secs(10) }
    }
}

/// How the node stops.
#[derive(Clone, Debug)]
pub struct ShutdownConfig {
    /// How long `/readyz` fails before the listener closes, so that load balancers notice. `--drain-delay-ms`,
    /// default 0.
    pub drain_delay: Duration,
    /// How long requests under way may take to end. `--drain-timeout-ms`, default 5 s.
    pub drain_timeout: Duration,
    /// How long a leader waits until another member leads. `--handover-timeout-ms`, default 3 s.
    pub handover_timeout: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self {
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(5),
            handover_timeout: Duration::from_secs(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_parsed_and_faults_are_named() {
        let members =
            PeerConfig::parse_members("1=127.0.0.1:7501, 2=[::1]:7502,3=node-3:7503").expect("valid");
        assert_eq!(members.get(&2).map(String::as_str), Some("[::1]:7502"));
        assert_eq!(members.len(), 3);
        for (text, said) in [
            ("1=127.0.0.1", "is not ID=HOST:PORT"),
            ("0=a:1", "is not ID=HOST:PORT"),
            ("a:1", "is not ID=HOST:PORT"),
            ("1=a:1,1=b:1", "named twice"),
            ("1=a:1,2=a:1", "two members have the address"),
        ] {
            let error = PeerConfig::parse_members(text).expect_err(text);
            assert!(error.to_string().contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_named() {
        let any = SocketAddr::from(([0, 0, 0, 0], 7501));
        let loopback = SocketAddr::from(([127, 0, 0, 1], 7501));
        let config = |listen| NodeConfig::new(1, "data", PeerConfig::alone(1, listen));
        assert_eq!(config(loopback).validate(), Ok(()));
        let error = config(any).validate().expect_err("no secret");
        assert!(error.to_string().contains("--peer-secret-file"), "{error}");
        let mut slow = config(loopback);
        slow.reads.deadline = Duration::from_secs(6);
        assert!(slow.validate().expect_err("above the most").to_string().contains("--read-deadline-ms"));
        let mut stranger = config(loopback);
        stranger.node_id = 2;
        assert!(stranger.validate().expect_err("no address").to_string().contains("2=HOST:PORT"));
    }
}
