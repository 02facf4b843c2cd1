//! What a cluster is to be like, and its start.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use tempfile::TempDir;

use super::{Cluster, FOUNDED_WITHIN, Node};
use crate::{
    api::Api,
    clock::Clock,
    disk::{Disk, DiskSpec},
    links::Links,
    ports,
    process::Program,
    settings,
};

/// How often to found a cluster anew when another program took a port in between.
const TRIES: usize = 3;

/// How often nodes make checkpoints of the audit log.
const CHECKPOINTS: &str = "--checkpoint-interval-ms";

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Setup {
    members: u64,
    links: bool,
    disks: Option<DiskSpec>,
    clocks: bool,
    program: Program,
    backup: Option<PathBuf>,
}

impl Setup {
    /// This many members, with default settings; but that they make no checkpoints, for each node's key would be a change
    /// that comes at any time: see [`Setup::with_checkpoints`].
    pub fn of(members: u64) -> Self {
        let args = [CHECKPOINTS, "0"].map(str::to_owned).to_vec();
        let program = Program { binary: settings::binary(), args, envs: Vec::new() };
        Self { members, links: false, disks: None, clocks: false, program, backup: None }
    }

    /// With a checkpoint of the audit log soon after every record.
    #[must_use]
    pub fn with_checkpoints(mut self) -> Self {
        let args = &mut self.program.args;
        let at = args.iter().position(|arg| arg == CHECKPOINTS).expect("it is set");
        "300".clone_into(&mut args[at + 1]);
        self
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

    /// With a wall clock of its own for every node, which is right at first: see [`Cluster::set_clock`]. Ask
    /// [`clock::why_not_here`](crate::clock::why_not_here) first.
    #[must_use]
    pub fn with_clocks(mut self) -> Self {
        self.clocks = true;
        self
    }

    /// With this option of `flagraft serve` on every node.
    #[must_use]
    pub fn with_arg(mut self, name: &str, value: impl ToString) -> Self {
        self.program.args.extend([name.to_owned(), value.to_string()]);
        self
    }

    /// With this variable of the environment of every node, also of those that join later.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: &str) -> Self {
        self.program.envs.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this bug planted in every node.
    #[must_use]
    pub fn with_canary(mut self, canary: &str) -> Self {
        self.program.binary = settings::canary_binary();
        self.with_env("FLAGRAFT_CANARY", canary)
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
                let mut process = self.program.process(format!("node {id}"), args, place.join("log"));
                let clock = self.clocks.then(|| Clock::new(&place));
                for (name, value) in clock.iter().flat_map(Clock::envs) {
                    process.set_env(&name, Some(&value));
                }
                let api = Api::new(format!("http://{http}"));
                Node { process, api, peer: *peer, epoch: Arc::default(), clock, data, disk }
            })
            .collect();
        let program = self.program.clone();
        let cluster = Cluster { nodes, links, admin: String::new(), program, folder };
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
