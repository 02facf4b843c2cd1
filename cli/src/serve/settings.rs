//! The settings of a node: each with its flag, its variable and its default.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use flagraft_node::{
    clock::WallClock,
    config::{
        AccountConfig, BootstrapConfig, CheckpointConfig, ConfigError, ConnectionConfig, DiskConfig,
        HttpConfig, JoinConfig, NodeConfig, PeerConfig, Placement, ReadConfig, RetentionConfig,
        ShutdownConfig, StreamConfig, TravelConfig, WriteConfig,
    },
    raft::RaftTuning,
};

use super::LogFormat;
use crate::failure::Failure;

/// The file with the first owner's token, in the data folder, if no other is named.
const BOOTSTRAP_TOKEN_FILE: &str = "bootstrap-token";

/// A node's settings.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// One node on loopback with demo data, its tokens printed: the smallest start. Nothing is kept without
    /// --data
    #[arg(long, conflicts_with_all = ["peers", "peer_listen", "bootstrap", "join", "public_url"])]
    pub dev: bool,
    /// The node's id in its cluster, from 1
    #[arg(long, env = "FLAGRAFT_NODE_ID", required_unless_present = "dev", value_name = "ID")]
    node_id: Option<u64>,
    /// The node's folder; made when missing
    #[arg(long, env = "FLAGRAFT_DATA", required_unless_present = "dev", value_name = "DIR")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    listening: Listening,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    reads: Reads,
    #[command(flatten)]
    writes: Writes,
    #[command(flatten)]
    checkpoints: Checkpoints,
    #[command(flatten)]
    log: Log,
    #[command(flatten)]
    disk: Disk,
    #[command(flatten)]
    stopping: Stopping,
    #[command(flatten)]
    pub observing: Observing,
}

/// Where a node is reached.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Listening")]
struct Listening {
    /// Where clients reach it. Default: 127.0.0.1:7401, where the other commands look for a node
    #[arg(
        long,
        env = "FLAGRAFT_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:7401",
        hide_default_value = true
    )]
    listen: SocketAddr,
    /// How clients name it, for the list of members. Default: http:// and --listen
    #[arg(long, env = "FLAGRAFT_PUBLIC_URL", value_name = "URL")]
    public_url: Option<String>,
    /// A second listener with /metrics, /livez and /readyz only, without tokens. Default: none
    #[arg(long, env = "FLAGRAFT_METRICS_LISTEN", value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// Web origins that browsers may call from, separated by commas; * is any. Default: none
    #[arg(long = "cors-origin", env = "FLAGRAFT_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    cors_origins: Vec<String>,
    /// Connections of clients at once; beyond it new ones wait
    #[arg(long, env = "FLAGRAFT_CONNECTIONS_MAX", value_name = "COUNT", default_value_t = 10_000)]
    connections_max: usize,
    /// Streams open at once, at most half of the connections; beyond it 503
    #[arg(long, env = "FLAGRAFT_STREAMS_MAX", value_name = "COUNT", default_value_t = 5_000)]
    streams_max: usize,
    /// How many of them may be streams of notices, for web pages; beyond it 503. Default: half of --streams-max
    #[arg(long, env = "FLAGRAFT_NOTICE_STREAMS_MAX", value_name = "COUNT")]
    notice_streams_max: Option<usize>,
    /// Streams of one client token; beyond it 429
    #[arg(long, env = "FLAGRAFT_CLIENT_TOKEN_STREAMS_MAX", value_name = "COUNT", default_value_t = 1_000)]
    client_token_streams_max: usize,
    /// How often a stream says how far it is
    #[arg(long, env = "FLAGRAFT_STREAM_HEARTBEAT_MS", value_name = "MS", default_value_t = 5_000)]
    stream_heartbeat_ms: u64,
    /// Greatest body of a request in bytes; beyond it 413
    #[arg(long, env = "FLAGRAFT_BODY_MAX_BYTES", value_name = "BYTES", default_value_t = 1024 * 1024)]
    body_max_bytes: usize,
}

/// The other members, and where this one stands among them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
struct Cluster {
    /// Where other members reach it
    #[arg(long, env = "FLAGRAFT_PEER_LISTEN", value_name = "ADDRESS", required_unless_present = "dev")]
    peer_listen: Option<SocketAddr>,
    /// All members, this one included: 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT. A node that joins needs none
    #[arg(
        long,
        env = "FLAGRAFT_PEERS",
        value_name = "MEMBERS",
        required_unless_present_any = ["dev", "join"]
    )]
    peers: Option<String>,
    /// How other members name this one, HOST:PORT, where --peers does not say. Default: --peer-listen
    #[arg(long, env = "FLAGRAFT_PEER_ADDRESS", value_name = "ADDRESS", conflicts_with = "dev")]
    peer_address: Option<String>,
    /// Come into the cluster of these members, 1=HOST:PORT,2=HOST:PORT; ignored once the folder belongs to a cluster.
    /// Default: off
    #[arg(
        long,
        env = "FLAGRAFT_JOIN",
        value_name = "MEMBERS",
        conflicts_with = "bootstrap",
        requires = "join_token_file"
    )]
    join: Option<String>,
    /// The file with the join token that `flagraft cluster add` gave; not read any more once the node was taken in.
    /// Default: none
    #[arg(long, env = "FLAGRAFT_JOIN_TOKEN_FILE", value_name = "FILE")]
    join_token_file: Option<PathBuf>,
    /// The file with the secret of at least 256 bits that all members share. Default: none, on loopback only
    #[arg(long, env = "FLAGRAFT_PEER_SECRET_FILE", value_name = "FILE")]
    peer_secret_file: Option<PathBuf>,
    /// Do without a secret although other machines reach --peer-listen. Default: off
    #[arg(long, env = "FLAGRAFT_INSECURE_PEERS")]
    insecure_peers: bool,
    /// Found a new cluster with these peers; ignored once the folder belongs to a cluster. Default: off
    #[arg(long, env = "FLAGRAFT_BOOTSTRAP")]
    bootstrap: bool,
    /// The file with the first owner's admin token, made when missing. Default: bootstrap-token in --data
    #[arg(long, env = "FLAGRAFT_BOOTSTRAP_TOKEN_FILE", value_name = "FILE")]
    bootstrap_token_file: Option<PathBuf>,
    /// The node's zone, shown in the list of members. Default: empty
    #[arg(long, env = "FLAGRAFT_ZONE", default_value = "", hide_default_value = true)]
    zone: String,
    /// The node's region, which evaluation contexts have as `region` where a token does not say. Default:
    /// empty
    #[arg(long, env = "FLAGRAFT_REGION", default_value = "", hide_default_value = true)]
    region: String,
    /// Labels of the node, KEY=VALUE, separated by commas. Default: none
    #[arg(long = "label", env = "FLAGRAFT_LABEL", value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Vec<String>,
}

/// How reads are confirmed.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Reads")]
struct Reads {
    /// How long a critical read waits for its confirmation when the request does not say
    #[arg(long, env = "FLAGRAFT_READ_DEADLINE_MS", value_name = "MS", default_value_t = 500)]
    read_deadline_ms: u64,
    /// The longest wait that a request may ask for
    #[arg(long, env = "FLAGRAFT_READ_DEADLINE_MAX_MS", value_name = "MS", default_value_t = 5_000)]
    read_deadline_max_ms: u64,
    /// How long one attempt at a confirmation may take before the leader is looked up anew
    #[arg(long, env = "FLAGRAFT_READ_TRY_TIMEOUT_MS", value_name = "MS", default_value_t = 400)]
    read_try_timeout_ms: u64,
    /// How often the age is refreshed when no read did it
    #[arg(long, env = "FLAGRAFT_AGE_REFRESH_MS", value_name = "MS", default_value_t = 250)]
    age_refresh_ms: u64,
    /// The age above which the node says that it is not ready
    #[arg(long, env = "FLAGRAFT_READY_MAX_AGE_MS", value_name = "MS", default_value_t = 10_000)]
    ready_max_age_ms: u64,
}

/// How writes are taken.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Writes")]
struct Writes {
    /// How long a write may take
    #[arg(long, env = "FLAGRAFT_WRITE_DEADLINE_MS", value_name = "MS", default_value_t = 2_000)]
    write_deadline_ms: u64,
    /// Writes that may be under way at once; beyond it 503
    #[arg(long, env = "FLAGRAFT_WRITES_MAX", value_name = "COUNT", default_value_t = 4_096)]
    writes_max: usize,
    /// Rejections recorded in the audit log per token and second; beyond it 429
    #[arg(long, env = "FLAGRAFT_RECORDED_REJECTIONS_PER_SECOND", value_name = "COUNT", default_value_t = 10)]
    recorded_rejections_per_second: u32,
    /// How often what was counted of evaluations and reads becomes audit records: so much of it a crash may lose
    #[arg(
        long,
        env = "FLAGRAFT_ACCOUNTS_INTERVAL_MS",
        value_name = "MS",
        default_value_t = 60_000,
        value_parser = clap::value_parser!(u64).range(100..)
    )]
    accounts_interval_ms: u64,
}

/// What the members sign of the audit log, and what goes from it.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Audit log")]
struct Checkpoints {
    /// How long new audit records wait for a checkpoint at most; with 0 the node makes none
    #[arg(long, env = "FLAGRAFT_CHECKPOINT_INTERVAL_MS", value_name = "MS", default_value_t = 10_000)]
    checkpoint_interval_ms: u64,
    /// New audit records that make one sooner
    #[arg(long, env = "FLAGRAFT_CHECKPOINT_RECORDS", value_name = "COUNT", default_value_t = 1_000)]
    checkpoint_records: u64,
    /// How often a leader looks for audit records whose time is over; with 0 it removes none
    #[arg(
        long,
        env = "FLAGRAFT_AUDIT_RETENTION_INTERVAL_MS",
        value_name = "MS",
        default_value_t = 3_600_000
    )]
    audit_retention_interval_ms: u64,
}

/// How much of Raft's log is kept.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
struct Log {
    /// Entries after which the node makes a snapshot of its catalog
    #[arg(long, env = "FLAGRAFT_SNAPSHOT_AFTER_ENTRIES", value_name = "COUNT", default_value_t = 100_000)]
    snapshot_after_entries: u64,
    /// Entries kept although a snapshot covers them, so that a member that was away for a short time needs none
    #[arg(long, env = "FLAGRAFT_KEEP_ENTRIES", value_name = "COUNT", default_value_t = 100_000)]
    keep_entries: u64,
}

/// How much of the disk is kept free, and how much is used for what can be made anew.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Disk")]
struct Disk {
    /// Bytes that must be free on the disk of --data for new changes to be taken; 0 turns it off
    #[arg(
        long,
        env = "FLAGRAFT_DISK_RESERVE_BYTES",
        value_name = "BYTES",
        default_value_t = DiskConfig::default().reserve_bytes
    )]
    disk_reserve_bytes: u64,
    /// Bytes of catalogs of earlier revisions to keep, which make it faster to say what was; beyond it every second one
    /// goes
    #[arg(
        long,
        env = "FLAGRAFT_KEPT_CATALOGS_BYTES_MAX",
        value_name = "BYTES",
        default_value_t = TravelConfig::default().bytes_max
    )]
    kept_catalogs_bytes_max: u64,
}

/// How the node stops.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Stopping")]
struct Stopping {
    /// How long /readyz fails before the listener closes, so that load balancers notice
    #[arg(long, env = "FLAGRAFT_DRAIN_DELAY_MS", value_name = "MS", default_value_t = 0)]
    drain_delay_ms: u64,
    /// How long requests under way may take to end
    #[arg(long, env = "FLAGRAFT_DRAIN_TIMEOUT_MS", value_name = "MS", default_value_t = 5_000)]
    drain_timeout_ms: u64,
    /// How long a leader waits until another member leads
    #[arg(long, env = "FLAGRAFT_HANDOVER_TIMEOUT_MS", value_name = "MS", default_value_t = 3_000)]
    handover_timeout_ms: u64,
}

/// What the node says of itself.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Observing")]
pub struct Observing {
    /// How log lines are written; the variable FLAGRAFT_LOG says which, such as info,flagraft_node=debug
    #[arg(long, env = "FLAGRAFT_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
}

impl ServeArgs {
    /// The settings of a member of a cluster.
    pub fn config(&self) -> Result<NodeConfig, Failure> {
        let Cluster { peer_listen, peers, peer_address, join, join_token_file, .. } = &self.cluster;
        // clap has made sure of all three.
        let (Some(node_id), Some(data), Some(peer_listen)) = (self.node_id, &self.data, peer_listen) else {
            return Err(Failure::usage("--node-id, --data and --peer-listen are required"));
        };
        let usage = |e: ConfigError| Failure::usage(e.to_string());
        let mut members = peers.as_deref().map(PeerConfig::parse_members).transpose().map_err(usage)?;
        let named = peer_address.clone().or_else(|| join.is_some().then(|| peer_listen.to_string()));
        if let Some(own) = named {
            members.get_or_insert_default().entry(node_id).or_insert(own);
        }
        let peers = PeerConfig {
            listen: *peer_listen,
            members: members.unwrap_or_default(),
            secret_file: self.cluster.peer_secret_file.clone(),
            insecure: self.cluster.insecure_peers,
        };
        let mut config = self.around(NodeConfig::new(node_id, data, peers))?;
        if self.cluster.bootstrap {
            let named = self.cluster.bootstrap_token_file.clone();
            let token_file = named.unwrap_or_else(|| config.data_dir.join(BOOTSTRAP_TOKEN_FILE));
            config.bootstrap = Some(BootstrapConfig { token_file });
        }
        if let (Some(join), Some(token_file)) = (join, join_token_file) {
            let members = JoinConfig::parse_members(join).map_err(usage)?;
            config.join = Some(JoinConfig { members, token_file: token_file.clone() });
        }
        Ok(config)
    }

    /// The settings of one node alone in this folder.
    pub fn dev_config(&self, data: PathBuf) -> Result<NodeConfig, Failure> {
        let node_id = self.node_id.unwrap_or(1);
        let peers = PeerConfig::alone(node_id, SocketAddr::from(([127, 0, 0, 1], 0)));
        let token_file = data.join(BOOTSTRAP_TOKEN_FILE);
        let mut config = self.around(NodeConfig::new(node_id, data, peers))?;
        if !config.http.listen.ip().is_loopback() {
            return Err(Failure::usage("--dev prints its tokens, so it listens on loopback only")
                .next("leave --listen out, or start a real node"));
        }
        config.bootstrap = Some(BootstrapConfig { token_file });
        Ok(config)
    }

    /// Everything but the way into a cluster.
    fn around(&self, base: NodeConfig) -> Result<NodeConfig, Failure> {
        let ms = Duration::from_millis;
        let mut labels = BTreeMap::new();
        for label in &self.cluster.labels {
            let (name, value) = crate::input::pair("--label", label)?;
            labels.insert(name.to_owned(), value.to_owned());
        }
        let (listening, reads, writes, stopping) =
            (&self.listening, &self.reads, &self.writes, &self.stopping);
        Ok(NodeConfig {
            http: HttpConfig {
                listen: listening.listen,
                public_url: listening.public_url.clone(),
                metrics_listen: listening.metrics_listen,
                cors_origins: listening.cors_origins.clone(),
                body_max_bytes: listening.body_max_bytes,
            },
            connections: ConnectionConfig { clients_max: listening.connections_max, ..base.connections },
            streams: StreamConfig {
                streams_max: listening.streams_max,
                notices_max: listening.notice_streams_max,
                client_token_max: listening.client_token_streams_max,
                heartbeat: ms(listening.stream_heartbeat_ms),
                ..base.streams
            },
            placement: Placement {
                zone: self.cluster.zone.clone(),
                region: self.cluster.region.clone(),
                labels,
            },
            reads: ReadConfig {
                deadline: ms(reads.read_deadline_ms),
                deadline_max: ms(reads.read_deadline_max_ms),
                try_timeout: ms(reads.read_try_timeout_ms),
                refresh_interval: ms(reads.age_refresh_ms),
                ready_max_age: ms(reads.ready_max_age_ms),
                ..base.reads
            },
            writes: WriteConfig {
                deadline: ms(writes.write_deadline_ms),
                in_flight_max: writes.writes_max,
                recorded_rejections_per_second: writes.recorded_rejections_per_second,
                ..base.writes
            },
            checkpoints: CheckpointConfig {
                interval: ms(self.checkpoints.checkpoint_interval_ms),
                records: self.checkpoints.checkpoint_records,
                ..base.checkpoints
            },
            clock: WallClock::of_the_process(),
            retention: RetentionConfig { interval: ms(self.checkpoints.audit_retention_interval_ms) },
            accounts: AccountConfig { interval: ms(writes.accounts_interval_ms), ..base.accounts },
            raft: RaftTuning {
                snapshot_after_entries: self.log.snapshot_after_entries,
                keep_entries: self.log.keep_entries,
                ..base.raft
            },
            disk: DiskConfig { reserve_bytes: self.disk.disk_reserve_bytes, ..base.disk },
            travel: TravelConfig { bytes_max: self.disk.kept_catalogs_bytes_max, ..base.travel },
            shutdown: ShutdownConfig {
                drain_delay: ms(stopping.drain_delay_ms),
                drain_timeout: ms(stopping.drain_timeout_ms),
                handover_timeout: ms(stopping.handover_timeout_ms),
            },
            ..base
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn parse(line: &str) -> Result<ServeArgs, clap::Error> {
        Line::try_parse_from(["serve"].into_iter().chain(line.split_whitespace())).map(|line| line.args)
    }

    const MEMBER: &str = "--node-id 1 --data d --peer-listen 127.0.0.1:7501 --peers 1=127.0.0.1:7501";

    /// The defaults that the help shows are the ones that the node documents.
    #[test]
    fn defaults_are_those_of_the_node() {
        let config = parse(MEMBER).expect("parsed").config().expect("a config");
        let node = NodeConfig::new(1, "d", PeerConfig::alone(1, SocketAddr::from(([127, 0, 0, 1], 7501))));
        let node = NodeConfig { http: HttpConfig { listen: config.http.listen, ..node.http }, ..node };
        assert_eq!(format!("{config:?}"), format!("{node:?}"));
        assert_eq!(config.validate(), Ok(()));
    }

    #[test]
    fn a_member_needs_its_four_settings_and_a_dev_node_none() {
        for missing in ["--node-id 1", "--data d", "--peer-listen 127.0.0.1:7501", "--peers 1=127.0.0.1:7501"]
        {
            assert!(parse(&MEMBER.replace(missing, "")).is_err(), "{missing}");
        }
        let dev = parse("--dev").expect("parsed").dev_config(PathBuf::from("d")).expect("a config");
        assert!(dev.bootstrap.is_some() && dev.http.listen.ip().is_loopback());
        assert_eq!(dev.validate(), Ok(()));
        assert!(parse("--dev --listen 0.0.0.0:1").expect("parsed").dev_config(PathBuf::from("d")).is_err());
        assert!(parse("--dev --peers 1=a:1").is_err());
    }

    #[test]
    fn a_node_that_joins_needs_no_list_of_all_members() {
        let line = "--node-id 4 --data d --peer-listen 127.0.0.1:7504 --join 1=a:7501,2=b:7502";
        assert!(parse(line).is_err(), "without a token it can't");
        let line = format!("{line} --join-token-file t");
        let config = parse(&line).expect("parsed").config().expect("a config");
        assert_eq!(config.peers.members.get(&4).map(String::as_str), Some("127.0.0.1:7504"));
        assert_eq!(config.peers.members.len(), 1);
        let join = config.join.as_ref().expect("it joins");
        assert_eq!((join.members.len(), join.token_file.clone()), (2, PathBuf::from("t")));
        assert_eq!(config.validate(), Ok(()));
        let named =
            parse(&format!("{line} --peer-address four:7504")).expect("parsed").config().expect("a config");
        assert_eq!(named.peers.members.get(&4).map(String::as_str), Some("four:7504"));
        assert!(parse(&format!("{line} --bootstrap")).is_err());
        let itself = line.replace("1=a:7501,2=b:7502", "4=a:7501");
        assert!(parse(&itself).expect("parsed").config().expect("a config").validate().is_err());
        assert!(parse(&line.replace("1=a:7501", "a:7501")).expect("parsed").config().is_err());
    }

    #[test]
    fn what_is_given_arrives() {
        let line = format!(
            "{MEMBER} --disk-reserve-bytes 14 --bootstrap --region eu --label rack=7,row=2 --cors-origin https://a.example,https://b.example \
             --read-deadline-ms 7 --writes-max 9 --drain-delay-ms 11 --snapshot-after-entries 12 --keep-entries 13 \
             --checkpoint-interval-ms 19 --checkpoint-records 20 --audit-retention-interval-ms 21 --streams-max 15 --stream-heartbeat-ms 16 --notice-streams-max 17 --client-token-streams-max 18"
        );
        let config = parse(&line).expect("parsed").config().expect("a config");
        assert_eq!(config.bootstrap.expect("founding").token_file, PathBuf::from("d/bootstrap-token"));
        assert_eq!(config.placement.labels.get("row").map(String::as_str), Some("2"));
        assert_eq!((config.http.cors_origins.len(), config.writes.in_flight_max), (2, 9));
        assert_eq!(config.reads.deadline, Duration::from_millis(7));
        assert_eq!(config.shutdown.drain_delay, Duration::from_millis(11));
        assert_eq!((config.raft.snapshot_after_entries, config.raft.keep_entries), (12, 13));
        assert_eq!(config.disk.reserve_bytes, 14);
        let checkpoints = config.checkpoints;
        assert_eq!((checkpoints.interval, checkpoints.records), (Duration::from_millis(19), 20));
        assert_eq!(config.retention.interval, Duration::from_millis(21));
        assert_eq!((config.streams.streams_max, config.streams.heartbeat), (15, Duration::from_millis(16)));
        assert_eq!((config.streams.notices_max, config.streams.client_token_max), (Some(17), 18));
        assert!(parse(&MEMBER.replace("1=127", "0=127")).expect("parsed").config().is_err(), "no node 0");
    }
}
