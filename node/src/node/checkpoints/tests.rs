//! Three members that sign, and what becomes of one whose log is not the others'.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use flagraft_core::{
    merkle::{consistency_proof, root_at, verify_consistency},
    proposal::{Body, Denials},
};
use tempfile::TempDir;

use super::{SignedCheckpoint, Unsigned};
use crate::{
    config::{BootstrapConfig, NodeConfig, PeerConfig},
    node::{Credentials, Node, Submission, mint_request_id},
    raft::testing,
    storage::MetaKey,
};

/// Whatever is waited for comes within this.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    nodes: BTreeMap<u64, Arc<Node>>,
    addresses: BTreeMap<u64, SocketAddr>,
    folder: TempDir,
}

impl Cluster {
    /// Three members, all of whose keys are listed.
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listeners: BTreeMap<u64, TcpListener> =
            (1..=3).map(|id| (id, TcpListener::bind("127.0.0.1:0").expect("a free port"))).collect();
        let addresses = listeners
            .iter()
            .map(|(id, listener)| (*id, listener.local_addr().expect("its address")))
            .collect();
        let mut cluster = Self { nodes: BTreeMap::new(), addresses, folder };
        for (id, listener) in listeners {
            let node = Node::start_on(cluster.config(id), listener).await.expect("a node");
            cluster.nodes.insert(id, node);
        }
        cluster.agree(1).await;
        cluster
    }

    fn data(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}"))
    }

    fn config(&self, id: u64) -> NodeConfig {
        let peers = PeerConfig {
            listen: self.addresses[&id],
            members: self.addresses.iter().map(|(id, address)| (*id, address.to_string())).collect(),
            secret_file: None,
            insecure: false,
        };
        let mut config = NodeConfig::new(id, self.data(id), peers);
        config.bootstrap =
            (id == 1).then(|| BootstrapConfig { token_file: self.folder.path().join("owner-token") });
        config.checkpoints.interval = Duration::from_millis(200);
        config.checkpoints.poll = Duration::from_millis(20);
        config
    }

    /// A checkpoint of at least `size` records that all three have signed and all living ones have.
    async fn agree(&self, size: u64) -> Arc<SignedCheckpoint> {
        eventually("a checkpoint that all have signed and all have", || {
            let newest: Option<Vec<_>> = self.nodes.values().map(|node| node.checkpoint()).collect();
            let newest = newest?;
            let first = newest.first()?;
            let same = newest.iter().all(|of| of.note.text() == first.note.text());
            (same && first.checkpoint.size >= size && first.signers.len() == 3).then(|| Arc::clone(first))
        })
        .await
    }

    /// Makes audit records, through any node, until there are `size`.
    async fn fill(&self, size: u64) {
        let mut at = 0;
        while self.any().published().state.sequence() < size {
            at += 1;
            let denials = Denials { node: 1, from_ms: at, to_ms: at + 1, count: 1 };
            let credentials = Credentials::Member(self.any().id());
            let submission = Submission::new(credentials, Body::Denials(denials), mint_request_id());
            self.any().submit(submission, PATIENCE).await.expect("recorded");
        }
    }

    fn any(&self) -> &Arc<Node> {
        self.nodes.values().next().expect("a node lives")
    }

    async fn leader(&self) -> u64 {
        eventually("a leader that all know", || {
            let leaders: Option<Vec<u64>> =
                self.nodes.values().map(|node| node.raft_status().leader).collect();
            let leaders = leaders?;
            leaders.iter().all(|leader| *leader == leaders[0]).then_some(leaders[0])
        })
        .await
    }

    async fn stop(&mut self, id: u64) {
        let node = self.nodes.remove(&id).expect("it runs");
        node.shutdown().await;
        node.close().await;
    }

    async fn restart(&mut self, id: u64) -> Arc<Node> {
        let node = Node::start(self.config(id)).await.expect("a node");
        self.nodes.insert(id, Arc::clone(&node));
        node
    }
}

async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let seen = async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// The office goes round while checkpoints are made: none is lost, and each goes on from the one before.
#[tokio::test(flavor = "multi_thread")]
async fn all_sign_the_same_whoever_leads() {
    let cluster = Cluster::start().await;
    let mut last = cluster.agree(1).await;
    for round in 1..=3 {
        let leader = cluster.leader().await;
        let next = leader % 3 + 1;
        // While a round may be under way.
        let (_, handed) = tokio::join!(
            cluster.fill(last.checkpoint.size + 5),
            cluster.nodes[&leader].replica.transfer_leadership(Some(next)),
        );
        drop(handed);
        let newest = cluster.agree(last.checkpoint.size + 5).await;
        for node in cluster.nodes.values() {
            let (from, to) = (last.checkpoint, newest.checkpoint);
            let published = node.published();
            let proved = node.audit_tree(&published, move |mut tree| {
                let mut subtree = |level, index| tree.subtree(level, index);
                assert_eq!(root_at(to.size, &mut subtree)?, to.root);
                consistency_proof(from.size, to.size, &mut subtree)
            });
            let proof = proved.await.expect("reads").expect("a proof");
            assert!(verify_consistency(from.size, &from.root, to.size, &to.root, &proof), "round {round}");
        }
        last = newest;
    }
    // What was signed and what is newest outlives the process.
    let mut cluster = cluster;
    let newest = cluster.agree(last.checkpoint.size).await;
    cluster.stop(2).await;
    let node = cluster.restart(2).await;
    assert!(node.checkpoint().is_some_and(|kept| kept.checkpoint.size >= newest.checkpoint.size));
}

/// Whoever can write a node's disk rewrites a record and all that would tell. The node starts; the others know better.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_log_was_forged_is_found_out_by_the_others_and_stops() {
    // With what it signed last in place it signs nothing more; without, it signs what nobody else does.
    for forgets in [false, true] {
        let mut cluster = Cluster::start().await;
        cluster.fill(600).await;
        let before = cluster.agree(600).await;
        // One that does not lead: it has to hear of it.
        let victim = (1..=3).find(|id| *id != before_leader(&cluster)).expect("a follower");
        cluster.stop(victim).await;
        let storage = testing::open_as(&cluster.data(victim), victim);
        testing::forge(&storage, 300, |record| {
            let text = String::from_utf8(record.to_vec()).expect("JSON");
            let forged = text.replace("\"count\":1}", "\"count\":9}");
            assert_ne!(forged, text);
            forged.into_bytes()
        });
        let mut batch = storage.batch();
        batch.meta(MetaKey::AuditCheckpoint, None);
        if forgets {
            batch.meta(MetaKey::AuditSigned, None);
        }
        batch.commit().expect("writes");
        storage.sync().await.expect("synced");
        drop(storage);

        let node = cluster.restart(victim).await;
        let failure = tokio::time::timeout(PATIENCE, node.failed()).await.expect("it is found out");
        let said = failure.to_string();
        assert!(said.contains("this node's audit log differs from its cluster's"), "{said}");
        assert!(said.contains("audit-log-differs.md"), "{said}");
        match node.cosigner.sign(before.checkpoint.size, PATIENCE).await {
            Err(Unsigned::AnotherLog(why)) if !forgets => {
                assert!(why.contains("are not those that this node signed"), "{why}");
                assert_eq!(node.cosigner.report().unsigned, Some(why));
            }
            Ok(note) if forgets => assert_ne!(note.text(), before.note.text()),
            other => panic!("forgets: {forgets}, {other:?}"),
        }
        drop(node);
        // It does not start on this folder again, for what the others signed is kept with it.
        cluster.stop(victim).await;
        let refused = Node::start(cluster.config(victim)).await.map(drop).expect_err("not on this folder");
        assert!(refused.to_string().contains("this node's audit log differs"), "{refused}");
        // The others go on.
        let size = cluster.any().published().state.sequence();
        cluster.fill(size + 1).await;
        let others = eventually("a checkpoint of the two others", || {
            let newest = cluster.any().checkpoint()?;
            (newest.checkpoint.size > size).then_some(newest)
        });
        assert!(!others.await.signers.contains(&victim));
    }
}

fn before_leader(cluster: &Cluster) -> u64 {
    cluster.any().raft_status().leader.expect("a leader")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_nobody_is_no_majority() {
    let cluster = Cluster::start().await;
    let newest = cluster.agree(1).await;
    let node = cluster.any();
    // The note of one signer alone is not taken, whatever it says.
    let text = newest.note.to_string();
    let mut lines: Vec<&str> = text.lines().collect();
    let first = lines.iter().position(|line| line.starts_with('\u{2014}')).expect("a signature");
    lines.truncate(first + 1);
    let one = format!("{}\n", lines.join("\n"));
    let refused = node.cosigner.take(one.as_bytes(), PATIENCE).await.expect_err("one of three");
    assert!(refused.contains("no majority"), "{refused}");
    let forged = text.replacen("time ", "time 1", 1);
    let refused = node.cosigner.take(forged.as_bytes(), PATIENCE).await.expect_err("another text");
    assert!(refused.contains("is not good"), "{refused}");
    let keys = node.published().state.audit_keys().count();
    assert_eq!(keys, 3);
}
