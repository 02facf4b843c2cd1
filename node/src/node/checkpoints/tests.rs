//! Members that sign, and what becomes of one whose log is not the others', or who is lied to.

use std::{
    collections::BTreeMap,
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flagraft_core::{
    audit_key::AuditPublicKey,
    checkpoint::Checkpoint,
    identity::ClusterId,
    merkle::{consistency_proof, root_at, verify_consistency},
    note::{Note, Signer},
    operation::{AuditKeyAdd, MemberInvite, Operation},
    proposal::{Body, Change, Denials},
    record::{row_leaf_hash, tombstone},
    reply::Outcome,
    seat::{JoinToken, SeatRole},
    token::Secret,
};
use futures_util::FutureExt as _;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{SignedCheckpoint, Unsigned, keys::KeyFile, registration::Registration};
use crate::{
    config::{BootstrapConfig, JoinConfig, NodeConfig, PeerConfig},
    node::{Credentials, Node, Submission, mint_request_id},
    raft::testing,
    storage::MetaKey,
};

/// Whatever is waited for comes within this.
const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    nodes: BTreeMap<u64, Arc<Node>>,
    addresses: BTreeMap<u64, SocketAddr>,
    /// How many of them founded it; the others join.
    founders: u64,
    /// How often checkpoints are made; zero for never.
    interval: Duration,
    folder: TempDir,
}

impl Cluster {
    /// Three members, all of whose keys are listed.
    async fn start() -> Self {
        Self::of(3).await
    }

    /// So many founders, all of whose keys are listed.
    async fn of(founders: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listeners: BTreeMap<u64, TcpListener> =
            (1..=founders).map(|id| (id, TcpListener::bind("127.0.0.1:0").expect("a free port"))).collect();
        let addresses = listeners
            .iter()
            .map(|(id, listener)| (*id, listener.local_addr().expect("its address")))
            .collect();
        let interval = Duration::from_millis(200);
        let mut cluster = Self { nodes: BTreeMap::new(), addresses, founders, interval, folder };
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
        let place = |(id, address): (&u64, &SocketAddr)| (*id, address.to_string());
        let founders: BTreeMap<u64, String> =
            self.addresses.iter().map(place).take_while(|(id, _)| *id <= self.founders).collect();
        let joins = id > self.founders;
        let peers = match joins {
            true => PeerConfig::alone(id, self.addresses[&id]),
            false => PeerConfig {
                listen: self.addresses[&id],
                members: founders.clone(),
                secret_file: None,
                insecure: false,
            },
        };
        let mut config = NodeConfig::new(id, self.data(id), peers);
        config.bootstrap = (id == 1).then(|| BootstrapConfig { token_file: self.owner_file() });
        config.join = joins.then(|| JoinConfig { members: founders, token_file: self.join_file(id) });
        config.checkpoints.interval = self.interval;
        config.checkpoints.poll = Duration::from_millis(20);
        config
    }

    fn owner_file(&self) -> PathBuf {
        self.folder.path().join("owner-token")
    }

    fn join_file(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("join-token-{id}"))
    }

    /// Takes in one more member, which does not vote.
    async fn add_learner(&mut self) -> u64 {
        let id = self.addresses.keys().max().expect("members") + 1;
        let token = JoinToken::new([7; 32]);
        fs::write(self.join_file(id), token.expose()).expect("written");
        let invite = MemberInvite {
            node_id: id,
            role: SeatRole::Learner,
            secret_sha256: token.sha256(),
            expires_in_ms: 600_000,
            if_revision: None,
        };
        self.change(Operation::MemberInvite(invite)).await;
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        self.addresses.insert(id, listener.local_addr().expect("its address"));
        let node = Node::start_on(self.config(id), listener).await.expect("a node");
        self.nodes.insert(id, node);
        id
    }

    /// A change by the owner.
    async fn change(&self, operation: Operation) {
        let owner = fs::read_to_string(self.owner_file()).expect("the owner's token");
        let change = Change {
            project: None,
            operations: vec![operation],
            reason: "test".to_owned(),
            ticket: None,
            expect_revision: None,
        };
        let owner = Secret::parse(owner.trim()).expect("a token");
        let submission = Submission::change(owner, change, mint_request_id());
        let submitted = self.any().submit(submission, PATIENCE).await.expect("an answer");
        assert!(matches!(submitted.reply.outcome, Outcome::Accepted { .. }), "{submitted:?}");
    }

    /// A checkpoint of at least `size` records that all who live have signed and have.
    async fn agree(&self, size: u64) -> Arc<SignedCheckpoint> {
        eventually("a checkpoint that all have signed and all have", || {
            let newest: Option<Vec<_>> = self.nodes.values().map(|node| node.checkpoint()).collect();
            let newest = newest?;
            let first = newest.first()?;
            let same = newest.iter().all(|of| of.note.text() == first.note.text());
            let all = first.signers.iter().eq(self.nodes.keys());
            (same && first.checkpoint.size >= size && all).then(|| Arc::clone(first))
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

    /// What a node signs with: its secret keys, as whoever reads its disk has them.
    fn signer(&self, id: u64) -> Signer {
        let cluster = self.any().published().state.cluster_id().expect("founded");
        let keys = KeyFile::open(&self.data(id)).expect("its keys");
        keys.signers(cluster, id).pop().expect("one")
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
    let refused = node.cosigner.take(one.as_bytes(), PATIENCE, node.reads()).await.expect_err("one of three");
    assert!(refused.contains("no majority"), "{refused}");
    let forged = text.replacen("time ", "time 1", 1);
    let refused =
        node.cosigner.take(forged.as_bytes(), PATIENCE, node.reads()).await.expect_err("another text");
    assert!(refused.contains("is not good"), "{refused}");
    let keys = node.published().state.audit_keys().count();
    assert_eq!(keys, 3);
}

/// A checkpoint in the words of these signers.
fn signed(checkpoint: Checkpoint, signers: &[Signer]) -> Note {
    let mut note = Note::new(checkpoint.to_string()).expect("a text");
    signers.iter().for_each(|signer| note.sign(signer).expect("room"));
    note
}

/// The first node whose key was listed was a majority of one until the second came. Whoever had that key could sign that
/// the log of then was another one, and every other node stopped and did not start again.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_key_alone_stops_nobody() {
    let mut cluster = Cluster::start().await;
    let newest = cluster.agree(1).await;
    let state = cluster.any().published().state.clone();
    let mut added: Vec<(u64, u64)> =
        state.audit_keys().map(|(node, keys)| (keys.keys[0].added, node)).collect();
    added.sort_unstable();
    let [(_, first), (second_at, _), _] = added[..] else { panic!("three keys: {added:?}") };
    // A log of so many records lists the first key and no other.
    let lie = Checkpoint { size: second_at, root: [9; 32], ..newest.checkpoint };
    let lie = signed(lie, &[cluster.signer(first)]).to_string();
    let victims: Vec<u64> = (1..=3).filter(|id| *id != first).collect();
    for id in &victims {
        let node = &cluster.nodes[id];
        let refused = node.cosigner.take(lie.as_bytes(), PATIENCE, node.reads()).await.expect_err("a lie");
        assert!(refused.contains("takes none of fewer"), "{refused}");
    }

    // Nor does it stop one that has no checkpoint yet, or has forgotten it: today the others sign too.
    cluster.interval = Duration::ZERO;
    for id in 1..=3 {
        cluster.stop(id).await;
        let storage = testing::open_as(&cluster.data(id), id);
        let mut batch = storage.batch();
        batch.meta(MetaKey::AuditCheckpoint, None);
        batch.commit().expect("writes");
        storage.sync().await.expect("synced");
    }
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    cluster.fill(newest.checkpoint.size + 5).await;
    for id in &victims {
        let node = &cluster.nodes[id];
        assert!(node.checkpoint().is_none());
        let refused = node.cosigner.take(lie.as_bytes(), PATIENCE, node.reads()).await.expect_err("a lie");
        assert!(refused.contains("No majority of the nodes that sign now"), "{refused}");
        assert!(node.failed().now_or_never().is_none(), "it goes on");
        let kept = node.storage().meta(MetaKey::AuditCheckpoint).expect("reads");
        assert_eq!(kept, None, "and keeps nothing that would hold it up at the next start");
    }
}

/// Members that do not vote add their keys and count, but were never asked to sign: beside one voter, or with one voter
/// of three away, no checkpoint came any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_vote_signs() {
    for founders in [1, 3] {
        let mut cluster = Cluster::of(founders).await;
        let learner = cluster.add_learner().await;
        let newest = cluster.agree(1).await;
        assert!(newest.signers.contains(&learner), "{founders} voters");
        let is_voter = cluster.any().raft_status().members[&learner].voter;
        assert!(!is_voter);
        if founders == 3 {
            cluster.stop(2).await;
        }
        cluster.fill(newest.checkpoint.size + 5).await;
        let newest = cluster.agree(newest.checkpoint.size + 5).await;
        assert_eq!(newest.signers.len(), cluster.nodes.len(), "{founders} voters");
    }
}

/// A node whose key file is a copy of another node's asked for the same each second, and each time was a record more.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_rejected_is_not_asked_for_each_second() {
    let mut cluster = Cluster::start().await;
    cluster.interval = Duration::ZERO;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    fs::copy(cluster.data(1).join("audit_key"), cluster.data(2).join("audit_key")).expect("copied");
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    cluster.leader().await;
    let node = Arc::clone(&cluster.nodes[&2]);
    let rejected = async || {
        let rows = node.audit_page(0, 1_000).await.expect("reads");
        let text = |bytes| String::from_utf8(bytes).expect("JSON");
        rows.into_iter().filter(|row| text(row.bytes.clone()).contains("remove the file audit_key")).count()
    };
    let mut registration = Registration::new(2, Arc::clone(&node.cosigner), Arc::clone(&node.writes));
    let begun = Instant::now();
    let state = || node.published().state.clone();
    // Looks from the moment when it is due until so many are recorded. Says when that was.
    let mut due = async |from: u64, times: usize| {
        let trying = async {
            for second in from.. {
                registration.look(&state(), begun + Duration::from_secs(second)).await;
                if rejected().await >= times {
                    // It is not tried before the pause is over: one more would be counted below.
                    let quiet = Duration::from_secs(second + 30);
                    registration.look(&state(), begun + quiet).await;
                    return second;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            unreachable!("a node has many seconds")
        };
        let second = tokio::time::timeout(PATIENCE, trying).await.expect("it tries again");
        assert_eq!(rejected().await, times);
        second
    };
    let first = due(0, 1).await;
    let second = due(first + 60, 2).await;
    let third = due(second + 120, 3).await;
    // Somebody has done something about the keys of this node, so it does not wait four minutes.
    let add = AuditKeyAdd { node: 2, public_key: AuditPublicKey([7; 32]), if_revision: None };
    cluster.change(Operation::AuditKeyAdd(add)).await;
    let seen = || node.published().state.audit_keys_of(2).filter(|keys| keys.keys.len() == 2).map(drop);
    eventually("the other key", seen).await;
    due(third + 31, 4).await;
}

/// Retention may remove the last record of the newest checkpoint: what is left is its leaf, and that is enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_whose_last_record_was_removed_stays_good() {
    let mut cluster = Cluster::of(1).await;
    cluster.fill(20).await;
    let newest = cluster.agree(20).await;
    let (size, note) = (newest.checkpoint.size, newest.note.to_string());
    cluster.interval = Duration::ZERO;
    cluster.stop(1).await;
    let storage = testing::open_as(&cluster.data(1), 1);
    let row = storage.audit_range(size - 1, 1).expect("reads").remove(0);
    let mut batch = storage.batch();
    batch.record(size - 1, &tombstone(&row_leaf_hash(&row.bytes).expect("a record")));
    batch.commit().expect("writes");
    storage.sync().await.expect("synced");
    drop(storage);

    let node = cluster.restart(1).await;
    eventually("a leader", || node.raft_status().leader).await;
    assert_eq!(node.checkpoint().expect("kept").checkpoint, newest.checkpoint);
    node.cosigner.take(note.as_bytes(), PATIENCE, node.reads()).await.expect("it is this log's");
    // It is signed again by whoever knows what the record said.
    let again = node.cosigner.sign(size, PATIENCE).await.expect("signed");
    assert_eq!(again.text(), newest.note.text());
    let lie = signed(Checkpoint { root: [9; 32], ..newest.checkpoint }, &[cluster.signer(1)]).to_string();
    drop(node);
    cluster.stop(1).await;
    let storage = testing::open_as(&cluster.data(1), 1);
    let mut batch = storage.batch();
    batch.meta(MetaKey::AuditCheckpoint, None);
    batch.commit().expect("writes");
    drop(storage);
    let node = cluster.restart(1).await;
    eventually("a leader", || node.raft_status().leader).await;
    let unknown = node.cosigner.sign(size, PATIENCE).await;
    assert_eq!(unknown, Err(Unsigned::Removed { size }), "what the record said is not known here any more");
    // Another root is another log all the same.
    let refused = node.cosigner.take(lie.as_bytes(), PATIENCE, node.reads()).await.expect_err("another root");
    assert!(refused.contains("differs") && refused.contains("removed by retention"), "{refused}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), &to).expect("copied")),
        }
    }
}

/// A kept checkpoint that could not be read was taken for none, and nothing was held against the log any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_kept_checkpoint_that_is_damaged_is_said_to_be() {
    let mut cluster = Cluster::of(1).await;
    let newest = cluster.agree(1).await;
    let kept = newest.note.to_string();
    let stranger = || Signer::new("stranger", &[1; 32]).expect("a name");
    let mut elsewhere = newest.checkpoint;
    elsewhere.origin.cluster = ClusterId(9);
    cluster.interval = Duration::ZERO;
    cluster.stop(1).await;
    for (note, said) in [
        (kept.replacen("time ", "tims ", 1), Some("a checkpoint's fourth line")),
        (kept.replacen("time ", "time 1", 1), Some("is not good")),
        (signed(newest.checkpoint, &[stranger()]).to_string(), Some("no majority of the nodes stands by it")),
        // Of the cluster that this one was recovered from.
        (signed(elsewhere, &[stranger()]).to_string(), None),
    ] {
        // A folder of its own: one that did not start may keep its own open until the process ends.
        let folder = tempfile::tempdir().expect("a folder");
        copy(&cluster.data(1), folder.path());
        let storage = testing::open_as(folder.path(), 1);
        storage.put_meta(MetaKey::AuditCheckpoint, note.as_bytes()).expect("writes");
        storage.sync().await.expect("synced");
        drop(storage);
        let mut config = cluster.config(1);
        config.data_dir = folder.path().to_owned();
        match (Node::start(config).await, said) {
            (Err(error), Some(said)) => {
                let error = error.to_string();
                assert!(error.contains("that this node kept is damaged") && error.contains(said), "{error}");
            }
            (Ok(node), None) => {
                assert!(node.checkpoint().is_none());
                node.close().await;
            }
            (started, _) => panic!("{said:?}: {:?}", started.map(drop)),
        }
    }
}
