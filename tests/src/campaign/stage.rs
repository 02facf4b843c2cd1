//! Where a run takes place: a cluster with the flags that the clients use, and the files that say what happened.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flagraft_chaos::{
    history::{FORMAT, Header},
    incidents::Log,
    recorder::Recorder,
    schedule::{
        Settings,
        fault::{Kind, Layer},
        workload::Profile,
    },
};
use tempfile::TempDir;

use super::{
    Order,
    nemesis::snapshot_catch_up::{KEEP, SNAPSHOT_AFTER},
};
use crate::{
    api::Api,
    catalog::{Caller, ENVIRONMENT, PROJECT, counter, put},
    cluster::{Cluster, Setup},
    disk::DiskSpec,
};

/// The disk of each node, where a fault is done to disks.
const DISK: DiskSpec = DiskSpec::of_mib(512);
/// What a node keeps free on it, in bytes: by default it is more than such a disk has.
pub(super) const DISK_RESERVE: u64 = 64 * 1024 * 1024;

/// What the clients and the nemesis share. The cluster is the nemesis's alone.
#[derive(Debug)]
pub struct Stage {
    /// Where all that is known of the run is written. It stays until the run is judged, also if that never happens.
    pub folder: PathBuf,
    /// Notes what clients see, and has the time of the run.
    pub recorder: Arc<Recorder>,
    /// Notes what happens to the nodes.
    pub incidents: Arc<Log>,
    /// Each node, with a token that may write.
    pub writers: Vec<Api>,
    /// Each node, with a token that evaluates.
    pub readers: Vec<Api>,
    /// How often each node was started.
    pub starts: Starts,
    /// The history that every revision belongs to, as its tokens name it.
    pub history: String,
    /// The revision that every node has published.
    pub revision: u64,
    /// The flags.
    pub profile: Profile,
}

impl Stage {
    /// Founds the cluster, and gives every flag the value 0.
    ///
    /// # Panics
    /// It does not start, or the files can't be written.
    pub async fn set(settings: &Settings, order: &Order) -> (Self, Cluster) {
        let Settings { seed, nodes, profile, .. } = settings.clone();
        let folder =
            TempDir::with_prefix_in("flagraft-chaos-", &order.folder).expect("a folder can be made").keep();
        let cluster = setup(settings, order).start().await;
        cluster.create_project(PROJECT, &[ENVIRONMENT]).await;
        let (_, token) = cluster.create_token(&Caller::service(PROJECT, ENVIRONMENT)).await;
        let flags = profile.flags().map(|flag| put(&definition(&flag, 0, &profile))).collect();
        let answer = cluster.admin(1).change(PROJECT, "the flags of a run", flags).ok().await;
        let revision = answer.body["revision"].as_u64().expect("a change has a revision");
        cluster.published(revision).await;
        let history = answer.header("flagraft-history").expect("every answer names it").to_owned();
        let flags = profile.flags().map(|flag| (flag, 0)).collect();
        let header = Header { format: FORMAT, seed, revision, flags };
        let recorder = Recorder::create(&history_file(&folder), &header).expect("the folder is new");
        let incidents = Log::create(&incidents_file(&folder)).expect("the folder is new");
        let readers = cluster.ids().into_iter().map(|id| cluster.with_token(id, &token)).collect();
        let stage = Self {
            folder,
            recorder: Arc::new(recorder),
            incidents: Arc::new(incidents),
            writers: cluster.admins(),
            readers,
            starts: Starts::of(nodes),
            history,
            revision,
            profile,
        };
        (stage, cluster)
    }
}

/// A cluster that all faults which are asked for can be done to.
fn setup(settings: &Settings, order: &Order) -> Setup {
    let asked = |of: fn(Kind) -> bool| settings.kinds.iter().any(|kind| of(*kind));
    let mut setup = Setup::of(settings.nodes).with_links();
    if asked(needs_disk) {
        setup = setup.with_disks(DISK).with_arg("--disk-reserve-bytes", DISK_RESERVE);
    }
    if asked(|kind| kind == Kind::ClockJump) {
        setup = setup.with_clocks();
    }
    if asked(|kind| kind == Kind::SnapshotCatchUp) {
        setup = setup.with_arg("--snapshot-after-entries", SNAPSHOT_AFTER).with_arg("--keep-entries", KEEP);
    }
    if let Some(canary) = &order.canary {
        setup = setup.with_canary(canary);
    }
    setup
}

/// Whether a fault takes a disk of each node's own.
fn needs_disk(kind: Kind) -> bool {
    kind.layers().contains(&Layer::Disk)
}

/// The file of what clients saw.
pub fn history_file(folder: &Path) -> PathBuf {
    folder.join("history.jsonl")
}

/// The file of what happened to the nodes.
pub fn incidents_file(folder: &Path) -> PathBuf {
    folder.join("incidents.jsonl")
}

/// Where a node is in a list of all.
pub fn index(node: u64) -> usize {
    usize::try_from(node - 1).expect("a few nodes")
}

/// A flag with this value.
pub fn definition(flag: &str, value: u64, profile: &Profile) -> serde_json::Value {
    counter(flag, value, profile.is_critical(flag))
}

/// How often each node was started: what a node has seen it may forget when it is started again, and not before.
#[derive(Clone, Debug)]
pub struct Starts(Arc<[AtomicU64]>);

impl Starts {
    fn of(nodes: u64) -> Self {
        Self((0..nodes).map(|_| AtomicU64::new(1)).collect())
    }

    fn count(&self, node: u64) -> &AtomicU64 {
        &self.0[index(node)]
    }

    /// How often this node was started so far.
    pub fn of_node(&self, node: u64) -> u64 {
        self.count(node).load(Ordering::SeqCst)
    }

    /// It is about to be started once more.
    pub fn another(&self, node: u64) {
        self.count(node).fetch_add(1, Ordering::SeqCst);
    }
}
