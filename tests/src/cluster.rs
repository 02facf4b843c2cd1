//! A cluster of real nodes in a temporary folder.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
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

use crate::{
    api::{Answer, Api},
    catalog::Caller,
    disk::{Disk, DiskSpec},
    links::Links,
    metrics::Metrics,
    ports,
    process::Process,
    settings, wait,
};

/// How long a cluster may take to be founded and ready. Generous: a busy machine must not fail a test that is about
/// something else.
const FOUNDED_WITHIN: Duration = Duration::from_secs(60);
/// How long a node may take to be ready again, or a cluster to agree.
const SETTLED_WITHIN: Duration = Duration::from_secs(30);
/// How often to found a cluster anew when another program took a port in between.
const TRIES: usize = 3;

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Setup {
    members: u64,
    links: bool,
    disks: Option<DiskSpec>,
    args: Vec<String>,
    backup: Option<PathBuf>,
}

impl Setup {
    /// This many members, with default settings.
    pub fn of(members: u64) -> Self {
        Self { members, links: false, disks: None, args: Vec::new(), backup: None }
    }

    /// With a proxy on every link between members.
    #[must_use]
    pub fn with_links(mut self) -> Self {
        self.links = true;
        self
    }

    /// With every node's data folder on a disk of its own. Ask [`Disk::here`] first.
    #[must_use]
    pub fn with_disks(mut self, spec: DiskSpec) -> Self {
        self.disks = Some(spec);
        self
    }

    /// With this option of `flagraft serve` on every node.
    #[must_use]
    pub fn with_arg(mut self, name: &str, value: impl ToString) -> Self {
        self.args.extend([name.to_owned(), value.to_string()]);
        self
    }

    /// On the catalog and audit log of this backup.
    #[must_use]
    pub fn on_backup(mut self, backup: impl Into<PathBuf>) -> Self {
        self.backup = Some(backup.into());
        self
    }

    /// Starts it and waits until every node is ready.
    ///
    /// # Panics
    /// It did not get ready; the end of each node's log is printed.
    pub async fn start(self) -> Cluster {
        for _ in 1..TRIES {
            let cluster = self.launch();
            match cluster.founded().await {
                Ok(cluster) => return cluster,
                // Another program took a port between its choice and its use.
                Err(cluster) if cluster.lost_a_port() => {}
                Err(mut cluster) => {
                    cluster.keep_and_print();
                    panic!("the cluster was not ready within {FOUNDED_WITHIN:?}");
                }
            }
        }
        panic!("another program took one of the chosen ports {TRIES} times");
    }

    /// Starts it without waiting for anything. The first owner's token is not known then: [`Cluster::learn_admin`].
    pub fn launch_only(self) -> Cluster {
        self.launch()
    }

    fn launch(&self) -> Cluster {
        let mut cluster = self.clone().prepare();
        cluster.launch_all();
        cluster
    }

    /// Makes its folders and chooses its ports, and starts nothing.
    pub fn prepare(self) -> Cluster {
        let folder = TempDir::with_prefix("flagraft-test-").expect("a temporary folder");
        let secret = folder.path().join("peer-secret");
        // What it holds is of no importance here, but its length is.
        fs::write(&secret, "0123456789abcdef".repeat(4)).expect("the folder is new");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        let links = self.links.then(Links::default);
        let places: BTreeMap<u64, (SocketAddr, SocketAddr)> =
            (1..=self.members).map(|id| (id, (ports::free(), ports::free()))).collect();
        let peers: Vec<String> = places
            .iter()
            .map(|(id, (_, peer))| {
                let reached_at = links.as_ref().map_or(*peer, |links| {
                    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
                    let address = proxy.local_addr().expect("it is bound");
                    links.stand_before(*id, proxy, *peer);
                    address
                });
                format!("{id}={reached_at}")
            })
            .collect();
        let token_file = folder.path().join("bootstrap-token");
        let nodes = places
            .iter()
            .map(|(id, (http, peer))| {
                let place = folder.path().join(format!("node-{id}"));
                fs::create_dir(&place).expect("the folder is new");
                let disk = self.disks.map(|spec| Disk::new(&place.join("disk"), spec));
                let data = disk.as_ref().map_or_else(|| place.clone(), Disk::root).join("data");
                let mut args: Vec<String> =
                    ["serve", "--node-id", &id.to_string()].map(str::to_owned).to_vec();
                for (name, value) in [
                    ("--data", data.display().to_string()),
                    ("--listen", http.to_string()),
                    ("--peer-listen", peer.to_string()),
                    ("--public-url", format!("http://{http}")),
                    ("--peers", peers.join(",")),
                    ("--peer-secret-file", secret.display().to_string()),
                ] {
                    args.extend([name.to_owned(), value]);
                }
                if *id == 1 {
                    args.extend(["--bootstrap", "--bootstrap-token-file"].map(str::to_owned));
                    args.push(token_file.display().to_string());
                }
                args.extend(self.args.iter().cloned());
                let process = Process::new(format!("node {id}"), args, place.join("log"));
                let api = Api::new(format!("http://{http}"));
                Node { process, api, peer: *peer, epoch: Arc::default(), data, disk }
            })
            .collect();
        let extra_args = self.args.clone();
        let cluster = Cluster { nodes, links, admin: String::new(), extra_args, folder };
        if let Some(backup) = &self.backup {
            restore(backup, cluster.data(1));
        }
        cluster
    }
}

/// Restores a backup into a folder, as an operator would.
fn restore(backup: &Path, data: &Path) {
    let restored = std::process::Command::new(settings::binary())
        .arg("restore")
        .arg(backup)
        .arg("--data")
        .arg(data)
        .args(["--operator", "the tests", "--reason", "a restore for a test"])
        .output()
        .expect("the binary starts");
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
}

#[derive(Debug)]
struct Node {
    process: Process,
    api: Api,
    /// Where it listens for its peers.
    peer: SocketAddr,
    /// Even while the node serves, odd while it does not; see [`Liveness`].
    epoch: Arc<AtomicU64>,
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

/// What a node says of the catalog and the audit log; equal on all nodes that applied the same entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The catalog's revision.
    pub revision: u64,
    /// The state's digest.
    pub digest: String,
    /// The number of audit records.
    pub audit_size: u64,
    /// The root of the audit log's tree.
    pub audit_root: String,
}

/// Nodes that run until this is dropped. If the test panics, the ends of their logs are printed and their folder stays.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    links: Option<Links>,
    admin: String,
    /// What every node is started with beside its own addresses.
    extra_args: Vec<String>,
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
        args.extend(self.extra_args.iter().cloned());
        let process = Process::new(format!("node {id}"), args, place.join("log"));
        let epoch = Arc::new(AtomicU64::new(1));
        let api = Api::new(format!("http://{http}"));
        self.nodes.push(Node { process, api, peer, epoch, data: place.join("data"), disk: None });
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

    /// The voters, by a node that answers, once every member is what it is meant to be.
    ///
    /// # Panics
    /// They are not within a minute.
    pub async fn settled(&self) -> Vec<u64> {
        wait::until("every member to be what it is meant to be", FOUNDED_WITHIN, || async {
            let mut seen = Vec::new();
            for id in self.living() {
                let Ok(answer) = self.admin(id).get("/api/v1/cluster").send().await else { continue };
                if answer.body["membership"]["settled"] == true {
                    seen.push(voters(&answer.body));
                } else {
                    return Err(format!("node {id}: {}", answer.body["membership"]));
                }
            }
            // A node that lags may still be settled in what was.
            let all_alike = seen.windows(2).all(|pair| pair[0] == pair[1]);
            match seen.first() {
                Some(voters) if all_alike => Ok(voters.clone()),
                _ => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    // --- faults ---

    fn spawn(&mut self, id: u64) {
        let node = self.node_mut(id);
        node.process.start();
        let pid = node.process.pid().expect("it was started");
        if let Some(links) = &self.links {
            links.learn(id, pid);
        }
    }

    fn gone(&mut self, id: u64) {
        if self.liveness(id).life().is_some() {
            self.node(id).epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn back(&mut self, id: u64) {
        if self.liveness(id).life().is_none() {
            self.node(id).epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: u64) {
        self.kill_together(&[id]);
    }

    /// SIGKILL to all, without a moment between.
    pub fn kill_all(&mut self) {
        self.kill_together(&self.ids());
    }

    /// SIGKILL to these nodes: every signal is sent before the end of any is waited for.
    pub fn kill_together(&mut self, ids: &[u64]) {
        ids.iter().for_each(|id| self.gone(*id));
        ids.iter().for_each(|id| self.node(*id).process.strike());
        ids.iter().for_each(|id| self.node_mut(*id).process.bury());
    }

    /// Takes power from the disks of these nodes at the same moment. Their processes go on, and find out: end them, or
    /// wait for their end, before [`Cluster::power_on`].
    pub fn cut_power(&mut self, ids: &[u64]) {
        let disks: Vec<&Disk> = ids.iter().map(|id| self.disk(*id)).collect();
        Disk::cut_power(&disks);
        ids.iter().for_each(|id| self.gone(*id));
    }

    /// Gives power back to the disk of a dead node.
    ///
    /// # Panics
    /// See [`Disk::power_on`].
    pub fn power_on(&self, id: u64) {
        self.disk(id).power_on();
    }

    /// SIGSTOP.
    pub fn pause(&mut self, id: u64) {
        self.gone(id);
        self.node_mut(id).process.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self, id: u64) {
        self.node_mut(id).process.resume();
        self.back(id);
    }

    /// SIGTERM, and waits for the end of the process. To a load, the node is gone once its end has begun: what it then
    /// still answers is for the test to say.
    pub async fn terminate(&mut self, id: u64, limit: Duration) -> ExitStatus {
        self.gone(id);
        self.node_mut(id).process.terminate(limit).await
    }

    /// Waits until a node ends by itself.
    pub async fn ended(&mut self, id: u64, limit: Duration) -> ExitStatus {
        let status = self.node_mut(id).process.ended(limit).await;
        self.gone(id);
        status
    }

    /// Waits whether a node ends by itself. `None`: it still runs.
    pub async fn ends_within(&mut self, id: u64, limit: Duration) -> Option<ExitStatus> {
        let status = self.node_mut(id).process.ends_within(limit).await?;
        self.gone(id);
        Some(status)
    }

    /// Starts a dead node, without waiting for it.
    pub fn launch(&mut self, id: u64) {
        self.spawn(id);
    }

    /// Sets or takes away a variable of the environment that a node is started with next.
    pub fn set_env(&mut self, id: u64, name: &str, value: Option<&str>) {
        self.node_mut(id).process.set_env(name, value);
    }

    /// Starts a dead node and waits until it is ready.
    pub async fn restart(&mut self, id: u64) {
        self.spawn(id);
        self.ready(id).await;
    }

    /// Waits until a started node is ready.
    ///
    /// # Panics
    /// It is not within half a minute.
    pub async fn ready(&mut self, id: u64) {
        let api = self.anonymous(id);
        wait::until(&format!("node {id} to be ready"), SETTLED_WITHIN, || async {
            match api.get("/readyz").send().await {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("{answer:?}")),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        self.back(id);
    }

    /// Waits until a started node is ready, or has ended by itself: then how.
    ///
    /// # Panics
    /// Neither within half a minute.
    pub async fn ready_or_ended(&mut self, id: u64) -> Option<ExitStatus> {
        let api = self.anonymous(id);
        let end = tokio::time::Instant::now() + SETTLED_WITHIN;
        loop {
            if let Some(status) = self.node_mut(id).process.exit() {
                // It has ended, so this only takes it off the list of children.
                self.ended(id, SETTLED_WITHIN).await;
                return Some(status);
            }
            if api.get("/readyz").send().await.is_ok_and(|answer| answer.status == 200) {
                self.back(id);
                return None;
            }
            assert!(tokio::time::Instant::now() < end, "node {id} neither got ready nor ended");
            wait::pace(Duration::from_millis(20)).await;
        }
    }

    /// The disk that a node's data folder lies on.
    ///
    /// # Panics
    /// The cluster was set up without.
    pub fn disk(&self, id: u64) -> &Disk {
        self.node(id).disk.as_ref().expect("this cluster was set up without disks: Setup::with_disks")
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

    // --- what the cluster says of itself ---

    /// The status of the cluster as a node sees it.
    pub async fn status(&self, id: u64) -> Answer {
        self.admin(id).get("/api/v1/cluster").ok().await
    }

    /// The member that leads, as the living nodes agree.
    ///
    /// # Panics
    /// They do not within half a minute.
    pub async fn leader(&self) -> u64 {
        let living = self.living();
        wait::until("a leader that all living nodes agree on", SETTLED_WITHIN, || async {
            let mut seen = Vec::new();
            for id in &living {
                let leader = match self.admin(*id).get("/api/v1/cluster").send().await {
                    Ok(answer) => answer.body["leader"].as_u64(),
                    Err(_) => None,
                };
                seen.push(leader);
            }
            match seen[0] {
                Some(leader)
                    if living.contains(&leader) && seen.iter().all(|other| *other == Some(leader)) =>
                {
                    Ok(leader)
                }
                _ => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// Whoever leads, as the living nodes agree, also if this harness did not start it.
    ///
    /// # Panics
    /// They do not within half a minute.
    pub async fn leader_of_any(&self) -> u64 {
        wait::until("a leader that all living nodes agree on", SETTLED_WITHIN, || async {
            let mut seen = Vec::new();
            for id in self.living() {
                let answer = self.admin(id).get("/api/v1/cluster").send().await;
                seen.push(answer.ok().and_then(|answer| answer.body["leader"].as_u64()));
            }
            match seen.first() {
                Some(Some(leader)) if seen.iter().all(|other| *other == Some(*leader)) => Ok(*leader),
                _ => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// A living node that does not lead.
    pub async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        self.living().into_iter().find(|id| *id != leader).expect("more than one node lives")
    }

    /// What a node says of its catalog and audit log.
    pub async fn fingerprint(&self, id: u64) -> Fingerprint {
        let answer = self.status(id).await;
        let read = || {
            let text = |at: &str| answer.body.pointer(at).and_then(Value::as_str).map(str::to_owned);
            let number = |at: &str| answer.body.pointer(at).and_then(Value::as_u64);
            Some(Fingerprint {
                revision: number("/revision")?,
                digest: text("/digest")?,
                audit_size: number("/audit/size")?,
                audit_root: text("/audit/root")?,
            })
        };
        read().unwrap_or_else(|| panic!("the status says too little: {answer:?}"))
    }

    /// Waits until all living nodes say the same of catalog and audit log. Nothing may be writing.
    ///
    /// # Panics
    /// They do not within half a minute.
    pub async fn agreed(&self) -> Fingerprint {
        wait::until("equal digests and audit logs on all living nodes", SETTLED_WITHIN, || async {
            let mut seen = Vec::new();
            for id in self.living() {
                seen.push((id, self.fingerprint(id).await));
            }
            match seen.iter().all(|(_, print)| *print == seen[0].1) {
                true => Ok(seen[0].1.clone()),
                false => Err(format!("{seen:?}")),
            }
        })
        .await
    }

    /// Waits until every living node has published `revision`.
    pub async fn published(&self, revision: u64) {
        for id in self.living() {
            wait::until(&format!("revision {revision} on node {id}"), SETTLED_WITHIN, || async {
                let seen = self.status(id).await.body["revision"].clone();
                if seen.as_u64() >= Some(revision) { Ok(()) } else { Err(format!("it is at {seen}")) }
            })
            .await;
        }
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

/// The voters that a status names.
fn voters(status: &Value) -> Vec<u64> {
    let members = status["members"].as_array().expect("members").iter();
    members.filter(|member| member["role"] == "voter").filter_map(|member| member["id"].as_u64()).collect()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_and_print();
        }
    }
}
