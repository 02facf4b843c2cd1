//! A cluster of real nodes in a temporary folder.

mod agreement;
mod life;
mod setup;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::{agreement::Fingerprint, setup::Setup};
use crate::{
    api::{Answer, Api},
    catalog::Caller,
    clock::Clock,
    disk::Disk,
    links::Links,
    metrics::Metrics,
    ports,
    process::{Process, Program},
    wait,
};

/// How long a cluster may take to be founded and ready. Generous: a busy machine must not fail a test that is about
/// something else.
const FOUNDED_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may take to be ready again, or a cluster to agree.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Node {
    process: Process,
    api: Api,
    /// Where it listens for its peers.
    peer: SocketAddr,
    /// Even while the node serves, odd while it does not; see [`Liveness`].
    epoch: Arc<AtomicU64>,
    /// Its own wall clock, if it does not go by the machine's.
    clock: Option<Clock>,
    data: PathBuf,
    // After the process, which uses it.
    disk: Option<Disk>,
}

/// Tells a load whether a node lives, so that only failures of living nodes are held against them.
#[derive(Clone, Debug)]
pub struct Liveness(Arc<AtomicU64>);

impl Liveness {
    /// A token for the present life of the node; `None` while it does not serve.
    pub fn life(&self) -> Option<u64> {
        Some(self.0.load(Ordering::SeqCst)).filter(|epoch| epoch % 2 == 0)
    }

    /// Whether the node has served without a break since `life` was asked for.
    pub fn lasted(&self, life: u64) -> bool {
        self.life() == Some(life)
    }
}

/// Nodes that run until this is dropped. If the test panics, the ends of their logs are printed and their folder stays.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    links: Option<Links>,
    admin: String,
    program: Program,
    // After the nodes, whose disks are mounted in it.
    folder: TempDir,
}

impl Cluster {
    /// Three nodes with default settings, all ready.
    pub async fn of_three() -> Self {
        Setup::of(3).start().await
    }

    async fn founded(mut self) -> Result<Self, Self> {
        let end = tokio::time::Instant::now() + FOUNDED_WITHIN;
        loop {
            if self.nodes.iter_mut().any(|node| !node.process.is_alive()) || tokio::time::Instant::now() > end
            {
                return Err(self);
            }
            let mut ready = true;
            for node in &self.nodes {
                ready &= node.api.get("/readyz").send().await.is_ok_and(|answer| answer.status == 200);
            }
            if ready {
                break;
            }
            wait::pace(Duration::from_millis(20)).await;
        }
        self.learn_admin();
        Ok(self)
    }

    /// Starts all nodes, without waiting for them.
    pub fn launch_all(&mut self) {
        for id in self.ids() {
            self.spawn(id);
        }
    }

    /// Learns the first owner's token, once the cluster is founded.
    ///
    /// # Panics
    /// There is none yet.
    pub fn learn_admin(&mut self) {
        let file = self.folder.path().join("bootstrap-token");
        let token = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.admin = token.trim().to_owned();
    }

    fn lost_a_port(&self) -> bool {
        self.nodes.iter().any(|node| node.process.log().to_lowercase().contains("in use"))
    }

    fn keep_and_print(&mut self) {
        self.folder.disable_cleanup(true);
        for node in &self.nodes {
            println!("--- the end of {}\n{}", node.process.log_path().display(), node.process.log_end(40));
        }
    }

    fn node(&self, id: u64) -> &Node {
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1)).expect("ids start from 1");
        self.nodes.get(index).unwrap_or_else(|| panic!("there is no node {id}"))
    }

    fn node_mut(&mut self, id: u64) -> &mut Node {
        let index = usize::try_from(id).ok().and_then(|id| id.checked_sub(1)).expect("ids start from 1");
        self.nodes.get_mut(index).unwrap_or_else(|| panic!("there is no node {id}"))
    }

    /// The ids of all nodes, from 1.
    pub fn ids(&self) -> Vec<u64> {
        (1..).take(self.nodes.len()).collect()
    }

    /// The ids of the nodes that serve: neither dead nor paused.
    pub fn living(&self) -> Vec<u64> {
        self.ids().into_iter().filter(|id| self.liveness(*id).life().is_some()).collect()
    }

    /// Whether a node serves, for a load that runs beside the test.
    pub fn liveness(&self, id: u64) -> Liveness {
        Liveness(self.node(id).epoch.clone())
    }

    /// The links between the members.
    ///
    /// # Panics
    /// The cluster was set up without.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("this cluster was set up without links: Setup::with_links")
    }

    /// A node, with the first owner's token.
    pub fn admin(&self, id: u64) -> Api {
        self.node(id).api.with_token(&self.admin)
    }

    /// A node, with the first owner's token, for each node.
    pub fn admins(&self) -> Vec<Api> {
        self.ids().into_iter().map(|id| self.admin(id)).collect()
    }

    /// A node, without a token.
    pub fn anonymous(&self, id: u64) -> Api {
        self.node(id).api.clone()
    }

    /// A node, with this token.
    pub fn with_token(&self, id: u64, secret: &str) -> Api {
        self.node(id).api.with_token(secret)
    }

    /// The addresses of all nodes, as `FLAGRAFT_ENDPOINTS` takes them.
    pub fn endpoints(&self) -> String {
        self.nodes.iter().map(|node| node.api.base()).collect::<Vec<_>>().join(",")
    }

    /// The secret of the first owner's token.
    pub fn admin_token(&self) -> &str {
        &self.admin
    }

    /// A folder that lives as long as the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a token and gives its id and secret.
    ///
    /// # Panics
    /// The cluster refuses.
    pub async fn create_token(&self, caller: &Caller) -> (String, String) {
        let answer = self.any_admin().post("/api/v1/tokens", &caller.request()).ok().await;
        let text = |at: &str| {
            let text = answer.body.pointer(at).and_then(Value::as_str);
            text.unwrap_or_else(|| panic!("no {at}: {answer:?}")).to_owned()
        };
        (text("/token/id"), text("/secret"))
    }

    fn any_admin(&self) -> Api {
        let id = self.living().first().copied().expect("a node lives");
        self.admin(id)
    }

    // --- members that come and go ---

    /// Prepares a node that is to join through `members` with the token in `token_file`, and gives its id: the next one.
    /// It is not started.
    pub fn newcomer(&mut self, members: &[u64], token_file: &Path) -> u64 {
        let id = u64::try_from(self.nodes.len()).expect("a few") + 1;
        let place = self.folder.path().join(format!("node-{id}"));
        fs::create_dir(&place).expect("the folder is new");
        let (http, peer) = (ports::free(), ports::free());
        let join: Vec<String> =
            members.iter().map(|member| format!("{member}={}", self.node(*member).peer)).collect();
        let mut args: Vec<String> = ["serve", "--node-id", &id.to_string()].map(str::to_owned).to_vec();
        for (name, value) in [
            ("--data", place.join("data").display().to_string()),
            ("--listen", http.to_string()),
            ("--peer-listen", peer.to_string()),
            ("--public-url", format!("http://{http}")),
            ("--join", join.join(",")),
            ("--join-token-file", token_file.display().to_string()),
            ("--peer-secret-file", self.folder.path().join("peer-secret").display().to_string()),
        ] {
            args.extend([name.to_owned(), value]);
        }
        let process = self.program.process(format!("node {id}"), args, place.join("log"));
        let epoch = Arc::new(AtomicU64::new(1));
        let api = Api::new(format!("http://{http}"));
        self.nodes.push(Node {
            process,
            api,
            peer,
            epoch,
            clock: None,
            data: place.join("data"),
            disk: None,
        });
        id
    }

    /// Where a node listens for its peers.
    pub fn peer_address(&self, id: u64) -> SocketAddr {
        self.node(id).peer
    }

    /// The arguments that a node is started with, to be changed.
    pub fn args_mut(&mut self, id: u64) -> &mut Vec<String> {
        self.node_mut(id).process.args_mut()
    }

    /// From now on a load holds nothing against the node: it is about to be removed, or to end by itself.
    pub fn leaves(&mut self, id: u64) {
        self.gone(id);
    }

    /// Deletes the data folder of a dead node.
    pub fn wipe(&mut self, id: u64) {
        assert!(!self.node_mut(id).process.is_alive(), "node {id} runs");
        let data = self.folder.path().join(format!("node-{id}")).join("data");
        fs::remove_dir_all(&data).unwrap_or_else(|error| panic!("{}: {error}", data.display()));
    }

    /// Whether a node's process runs.
    pub fn runs(&mut self, id: u64) -> bool {
        self.node_mut(id).process.is_alive()
    }

    /// How a node's process ended, if it did by itself since it was started.
    pub fn exit(&mut self, id: u64) -> Option<ExitStatus> {
        self.node_mut(id).process.exit()
    }

    /// The disk that a node's data folder lies on.
    ///
    /// # Panics
    /// The cluster was set up without.
    pub fn disk(&self, id: u64) -> &Disk {
        self.node(id).disk.as_ref().expect("this cluster was set up without disks: Setup::with_disks")
    }

    /// Sets a node's wall clock this many seconds ahead of the machine's, while it runs or before it is started.
    ///
    /// # Panics
    /// The cluster was set up without.
    pub fn set_clock(&self, id: u64, ahead_s: i64) {
        let clock = self.node(id).clock.as_ref();
        clock.expect("this cluster was set up without clocks: Setup::with_clocks").set(ahead_s);
    }

    /// A node's data folder.
    pub fn data(&self, id: u64) -> &Path {
        &self.node(id).data
    }

    /// The process that a node is.
    ///
    /// # Panics
    /// It does not run.
    pub fn pid(&self, id: u64) -> u32 {
        self.node(id).process.pid().unwrap_or_else(|| panic!("node {id} does not run"))
    }

    /// What a node counts.
    pub async fn metrics(&self, id: u64) -> Metrics {
        Metrics::of(&self.admin(id)).await
    }

    /// What a node has logged.
    pub fn log(&self, id: u64) -> String {
        self.node(id).process.log()
    }

    /// Makes a project with environments through any living node.
    pub async fn create_project(&self, project: &str, environments: &[&str]) -> Answer {
        let mut operations = vec![json!({"op": "project.put", "project": {"key": project, "name": project}})];
        operations.extend(environments.iter().enumerate().map(|(order, key)| {
            json!({"op": "environment.put", "environment": {"key": key, "name": key, "order": order}})
        }));
        self.any_admin().change(project, "a project for a test", operations).ok().await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_and_print();
        }
    }
}
