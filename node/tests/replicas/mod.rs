//! Members of a cluster within one process: real disks, real peer listeners on free ports, no HTTP.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use flagraft_core::{
    identity::ClusterId,
    proposal::{Actor, Body, Denials, Proposal, RequestId},
};
use flagraft_node::{
    peer::{
        Found, FoundReply, HelloReply, PeerClient, PeerHandler, PeerOptions, PeerSecret, ReadIndexReply,
        Refusal, RefusalCode, server,
    },
    raft::{
        NodeMeta, ProposeError, RaftMessage, RaftReply, RaftRole, RaftTuning, ReadIndexError, Replica,
        ReplicaOptions, TransferMetrics, VersionRange,
    },
    storage::{FatalHook, GROUP, Storage, StorageMetrics, StorageOptions},
};
use tempfile::TempDir;
use tokio::{net::TcpListener, task::JoinHandle};

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often a test looks whether it has.
const POLL: Duration = Duration::from_millis(10);

const CLUSTER: ClusterId = ClusterId(0xF1A6);

/// One member's folder and address, which outlive its process.
pub struct Home {
    pub id: u64,
    pub dir: PathBuf,
    pub addr: SocketAddr,
    pub fail_sync_after: Option<u64>,
}

/// A member that runs.
pub struct Member {
    pub replica: Replica,
    pub storage: Arc<Storage>,
    /// What the fatal hook was told.
    pub fatal: Arc<Mutex<Vec<String>>>,
    listener: JoinHandle<()>,
}

/// A cluster: the homes of all members, and those that run.
pub struct Cluster {
    pub homes: BTreeMap<u64, Home>,
    pub members: BTreeMap<u64, Member>,
    pub tuning: RaftTuning,
    _dir: TempDir,
}

struct Handler(Replica);

impl PeerHandler for Handler {
    async fn raft(&self, _from: u64, message: RaftMessage) -> Result<RaftReply, Refusal> {
        Ok(self.0.handle_raft(message).await?)
    }

    async fn hello(&self, _from: u64) -> Result<HelloReply, Refusal> {
        Err(Refusal::new(RefusalCode::Unavailable, "not in this test"))
    }

    async fn found(&self, _from: u64, _found: Found) -> Result<FoundReply, Refusal> {
        Err(Refusal::new(RefusalCode::Unavailable, "not in this test"))
    }

    async fn forward(&self, _from: u64, _body: Vec<u8>, _deadline: Duration) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::new(RefusalCode::Unavailable, "not in this test"))
    }

    async fn read_index(&self, _from: u64) -> Result<ReadIndexReply, Refusal> {
        Ok(match self.0.read_index().await {
            Ok(index) => ReadIndexReply::Confirmed { index },
            Err(ReadIndexError::NotLeader { leader }) => ReadIndexReply::NotLeader { leader },
            Err(error) => ReadIndexReply::Unavailable { why: error.to_string() },
        })
    }

    async fn await_published(&self, _from: u64, index: u64, deadline: Duration) -> Result<bool, Refusal> {
        Ok(tokio::time::timeout(deadline, self.0.await_published(index)).await.is_ok())
    }

    async fn status(&self, _from: u64) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::new(RefusalCode::Unavailable, "not in this test"))
    }
}

impl Cluster {
    /// Founds a cluster of the nodes 1 to `size` and waits for its leader.
    pub async fn found(size: u64, tuning: RaftTuning) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut homes = BTreeMap::new();
        let mut listeners = BTreeMap::new();
        for id in 1..=size {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let addr = listener.local_addr().expect("bound");
            listeners.insert(id, listener);
            homes.insert(id, Home { id, dir: dir.path().join(id.to_string()), addr, fail_sync_after: None });
        }
        let mut cluster = Self { homes, members: BTreeMap::new(), tuning, _dir: dir };
        for (id, listener) in listeners {
            let member = cluster.run(id, listener).await;
            cluster.members.insert(id, member);
        }
        let founders = cluster
            .homes
            .values()
            .map(|home| {
                let uid = cluster.members[&home.id].storage.identity().member_uid;
                (home.id, NodeMeta { peer_addr: home.addr.to_string(), uid, ..NodeMeta::default() })
            })
            .collect();
        cluster.members[&1].replica.initialize(founders).await.expect("a new cluster");
        cluster.leader().await;
        cluster
    }

    async fn run(&self, id: u64, listener: TcpListener) -> Member {
        let home = &self.homes[&id];
        let fatal = Arc::new(Mutex::new(Vec::new()));
        let hook: FatalHook = {
            let fatal = Arc::clone(&fatal);
            Arc::new(move |why| fatal.lock().expect("unpoisoned").push(why.to_owned()))
        };
        let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("fresh registry");
        let options = StorageOptions {
            dir: home.dir.clone(),
            node_id: id,
            fatal: hook,
            metrics,
            fail_sync_after: home.fail_sync_after,
        };
        let storage = Storage::open(options).expect("the folder opens");
        if home.fail_sync_after.is_none() {
            storage.set_cluster_id(CLUSTER).await.expect("joins");
        }
        let peers = PeerClient::new(PeerOptions {
            node_id: id,
            uid: storage.identity().member_uid,
            cluster_id: Some(CLUSTER),
            group: GROUP,
            secret: Some(PeerSecret::new(vec![3; 32]).expect("long enough")),
            peers: self.homes.iter().map(|(id, home)| (*id, home.addr.to_string())).collect(),
            versions: VersionRange::OURS,
        })
        .expect("a client");
        let options = ReplicaOptions {
            node_id: id,
            storage: Arc::clone(&storage),
            peers: peers.clone(),
            tuning: self.tuning.clone(),
            transfers: TransferMetrics::register(&prometheus::Registry::new()).expect("fresh registry"),
        };
        let replica = Replica::open(options).await.expect("a sound folder");
        let app = server::router(&peers, Arc::new(Handler(replica.clone())));
        let listener = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Member { replica, storage, fatal, listener }
    }

    /// Stops a member. Its folder and its port stay its own.
    pub async fn stop(&mut self, id: u64) {
        let Member { replica, storage, listener, .. } = self.members.remove(&id).expect("it runs");
        listener.abort();
        drop(listener.await);
        replica.shutdown().await;
        drop(replica);
        // RocksDB's lock goes with the last handle, which a task of openraft's may hold a moment longer.
        let alone = async {
            while Arc::strong_count(&storage) > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, alone).await.expect("everybody lets go of the storage");
    }

    /// Starts a stopped member again.
    pub async fn start(&mut self, id: u64) {
        let listener = TcpListener::bind(self.homes[&id].addr).await.expect("its port is free again");
        let member = self.run(id, listener).await;
        self.members.insert(id, member);
    }

    /// The member that leads, once all that run agree on it.
    pub async fn leader(&self) -> u64 {
        let agreed = async {
            loop {
                let leaders: Vec<_> =
                    self.members.values().map(|member| member.replica.status().leader).collect();
                if let Some(Some(leader)) = leaders.first()
                    && leaders.iter().all(|other| *other == Some(*leader))
                    && self.members.get(leader).is_some_and(|m| m.replica.status().role == RaftRole::Leader)
                {
                    return *leader;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, agreed).await.expect("a leader")
    }

    /// Makes the proposals of these numbers, all at a time, and waits until each is applied.
    ///
    /// As a caller does, it makes one whose outcome is unknown again under its request id, and to the leader of then: one
    /// that loses its quorum, or that the membership just committed has left out, leads no longer.
    pub async fn write(&self, numbers: std::ops::Range<u64>) {
        let write = async |number| {
            loop {
                let replica = &self.members[&self.leader().await].replica;
                match replica.propose(&proposal(number)).await {
                    Err(ProposeError::NotLeader { .. } | ProposeError::OutcomeUnknown) => {
                        tokio::time::sleep(POLL).await;
                    }
                    other => break other.expect("accepted"),
                }
            }
        };
        let writes = futures_util::future::join_all(numbers.map(write));
        tokio::time::timeout(PATIENCE, writes).await.expect("written in time");
    }

    /// Waits until it is so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let reached = async {
            while !is_so(self) {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("in vain: {what}"));
    }

    /// The index that the leader confirms, whoever leads by then.
    async fn confirmed_index(&self) -> u64 {
        loop {
            match self.members[&self.leader().await].replica.read_index().await {
                Err(ReadIndexError::NotLeader { .. }) => tokio::time::sleep(POLL).await,
                other => return other.expect("a quorum"),
            }
        }
    }

    /// Waits until all members that run have published the leader's last entry, and checks that they are the same.
    pub async fn assert_same(&self) {
        let index = tokio::time::timeout(PATIENCE, self.confirmed_index()).await.expect("confirmed in time");
        let mut seen = Vec::new();
        for (id, member) in &self.members {
            tokio::time::timeout(PATIENCE, member.replica.await_published(index))
                .await
                .unwrap_or_else(|_| panic!("node {id} does not catch up: {:?}", member.replica.status()));
            let published = member.replica.published();
            let records = member.storage.audit_range(0, usize::MAX).expect("reads");
            seen.push((published.position, published.state.digest(), published.state.audit_root(), records));
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "the members differ");
    }
}

/// A proposal that takes an audit record and no authority.
pub fn proposal(number: u64) -> Proposal {
    Proposal {
        group: GROUP,
        request: RequestId { id: format!("request-{number}"), client_given: false },
        body: Body::Denials(Denials { node: 1, from_ms: 0, to_ms: 60_000, count: number + 1 }),
        asks_sha256: None,
        signature: None,
        actor: Actor::system(1),
        caused_by: None,
        proposed_at_ms: 1_700_000_000_000,
        salt: [7; 16],
        node: 1,
    }
}
