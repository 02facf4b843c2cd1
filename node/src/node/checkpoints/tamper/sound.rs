//! The folder of a member of three, before anybody tampers with it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use flagraft_core::{
    audit_key::AuditPublicKey,
    checkpoint::{Checkpoint, Origin},
    identity::{ClusterId, History},
    merkle::Frontier,
    note::{Note, Signer, TrustedKeys, VerifierKey, node_key_name},
    proposal::{Actor, Body, Change, Proposal, RequestId},
    record::{Record, row_leaf_hash},
};
use prometheus::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::super::{CheckpointMetrics, Cosigner, CosignerParts};
use crate::{
    node::failure::{Failure, StartError},
    peer::PeerClient,
    raft::{RaftTuning, Replica, testing},
    reads::Reads,
    storage::{GROUP, Storage},
};

const CLUSTER: ClusterId = ClusterId(0xc1);
const HISTORY: History = History(0xfeed_0000_0000_0001);
pub(super) const VOTERS: [u64; 3] = [1, 2, 3];

/// Records after which the node was stopped and started again; what was written since the last time is in the write-ahead
/// log. All sign a checkpoint at each but the last.
const STOPS: [u64; 3] = [700, 1_400, 1_600];
/// Records of the last checkpoint that all signed, and that this node and a witness have.
pub(super) const SIGNED: u64 = STOPS[1];
/// Records of the folder's log. Those from [`SIGNED`] on the others sign in the next round.
pub(super) const SIZE: u64 = STOPS[2];
/// Records that the cluster writes while the node is down.
const MISSED: u64 = 350;

/// The folder, which is never opened itself, and what is known elsewhere.
pub(super) struct Sound {
    dir: TempDir,
    /// The log as all others have it.
    pub(super) rows: Vec<Vec<u8>>,
    /// What brings a member from [`SIZE`] records to as many as there are rows.
    pub(super) missed: Vec<Proposal>,
    /// [`Storage::fingerprint`].
    pub(super) fingerprint: u32,
}

impl Sound {
    pub(super) async fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut proposals: Vec<Proposal> =
            (0..SIZE + MISSED).map(|number| proposal(number, &mut random)).collect();
        let missed = proposals.split_off(usize::try_from(SIZE).expect("small"));
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("audit_key"), format!("{}\n", hex::encode(secret(1)))).expect("writes");
        let mut sound = Self { dir, rows: Vec::new(), missed, fingerprint: 0 };
        let mut written = 0;
        for stop in STOPS {
            let storage = testing::open(sound.dir.path());
            storage.set_cluster_id(CLUSTER).await.expect("joined");
            let next =
                &proposals[usize::try_from(written).expect("small")..usize::try_from(stop).expect("small")];
            testing::grow(&storage, &VOTERS, written + 1, next).await;
            written = stop;
            sound.rows = testing::rows(&storage);
            assert_eq!(
                sound.rows.len(),
                usize::try_from(stop).expect("small"),
                "each proposal makes a record"
            );
            if stop < SIZE {
                sound.sign(&storage, stop).await;
            }
        }
        let copy = sound.copy();
        let storage = testing::open(copy.path());
        sound.fingerprint = storage.fingerprint().expect("reads");
        testing::grow(&storage, &VOTERS, SIZE + 1, &sound.missed).await;
        sound.rows = testing::rows(&storage);
        sound
    }

    /// All sign a checkpoint, and the node keeps it.
    async fn sign(&self, storage: &Arc<Storage>, size: u64) {
        let Member { replica, cosigner, reads } = Member::start(storage).await.expect("sound");
        let own = cosigner.sign(size, super::NO_PATIENCE).await.expect("signed");
        let note = self.signed(size, &VOTERS);
        assert_eq!((own.text(), own.signatures()), (note.text(), &note.signatures()[..1]));
        cosigner.take(note.to_string().as_bytes(), super::NO_PATIENCE, &reads).await.expect("taken");
        replica.shutdown().await;
    }

    /// What these nodes sign of the log's beginning.
    pub(super) fn signed(&self, size: u64, nodes: &[u64]) -> Note {
        signed(&checkpoint(&self.rows[..usize::try_from(size).expect("small")]), nodes)
    }

    /// A copy of the folder. Sorted tables are never written again, so a link will do.
    pub(super) fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().expect("a folder");
        for file in self.files() {
            let (from, to) = (self.dir.path().join(&file), copy.path().join(&file));
            fs::create_dir_all(to.parent().expect("a folder")).expect("made");
            match file.extension().is_some_and(|end| end == "sst") {
                true => fs::hard_link(from, to).expect("links"),
                false => drop(fs::copy(from, to).expect("copies")),
            }
        }
        copy
    }

    /// The folder's files, by their paths in it, without RocksDB's diary.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for folder in ["", "db", "snapshots"] {
            let Ok(entries) = fs::read_dir(self.dir.path().join(folder)) else { continue };
            for entry in entries {
                let entry = entry.expect("lists");
                let name = Path::new(folder).join(entry.file_name());
                let is_file = entry.file_type().expect("a kind").is_file();
                if is_file && !name.to_string_lossy().contains("LOG") && !name.ends_with("LOCK") {
                    files.push(name);
                }
            }
        }
        files.sort();
        files
    }

    pub(super) fn read(&self, file: &Path) -> Vec<u8> {
        fs::read(self.dir.path().join(file)).expect("reads")
    }
}

/// What of a started member has a say in its audit log.
pub(super) struct Member {
    pub(super) replica: Replica,
    pub(super) cosigner: Arc<Cosigner>,
    /// It is in touch with its cluster, which tells it that nobody's keys changed.
    pub(super) reads: Reads,
}

/// Why a member does not start.
#[derive(Debug)]
pub(super) enum Refused {
    /// Its disk does not fit together.
    Disk(String),
    /// Its log is not the one of the checkpoint that it keeps, or it has no key.
    Cosigner(StartError),
}

impl Member {
    /// Does what a node does when it starts, as far as the audit log goes.
    pub(super) async fn start(storage: &Arc<Storage>) -> Result<Self, Refused> {
        // It reaches nobody: it is not to stand for election in vain.
        let patient = RaftTuning {
            election_timeout_min_ms: 600_000,
            election_timeout_max_ms: 1_200_000,
            quorum_loss_probe_interval_ms: 2_400_000,
            ..RaftTuning::default()
        };
        // A client takes long to make, and none is ever used.
        static PEERS: OnceLock<PeerClient> = OnceLock::new();
        let peers = PEERS.get_or_init(|| testing::nobody(storage)).clone();
        let replica = testing::replica(storage, peers, patient)
            .await
            .map_err(|error| Refused::Disk(error.to_string()))?;
        let (fail, _) = watch::channel::<Option<Failure>>(None);
        let cosigner = Cosigner::open(CosignerParts {
            node_id: 1,
            storage: Arc::clone(storage),
            replica: replica.clone(),
            metrics: CheckpointMetrics::register(&Registry::new()).expect("fresh registry"),
            fail,
        });
        match cosigner.await {
            Ok(cosigner) => {
                let reads = Reads::in_touch(replica.clone(), Arc::clone(storage));
                Ok(Self { replica, cosigner, reads })
            }
            Err(error) => {
                replica.shutdown().await;
                Err(Refused::Cosigner(error))
            }
        }
    }
}

/// The checkpoint of a log.
pub(super) fn checkpoint(rows: &[Vec<u8>]) -> Checkpoint {
    let mut tree = Frontier::default();
    rows.iter().for_each(|row| tree.push_hash(row_leaf_hash(row).expect("a record")));
    let last = record(rows.last().expect("records"));
    Checkpoint {
        origin: Origin { cluster: CLUSTER, history: last.history, group: GROUP },
        size: tree.size(),
        root: tree.root(),
        time_ms: last.time_ms,
    }
}

pub(super) fn signed(checkpoint: &Checkpoint, nodes: &[u64]) -> Note {
    let mut note = Note::new(checkpoint.to_string()).expect("a text");
    nodes.iter().for_each(|node| note.sign(&signer(*node, &secret(*node))).expect("room"));
    note
}

pub(super) fn signer(node: u64, secret: &[u8; 32]) -> Signer {
    Signer::new(node_key_name(CLUSTER, node), secret).expect("a name")
}

pub(super) fn secret(node: u64) -> [u8; 32] {
    [u8::try_from(node).expect("small"); 32]
}

fn key(node: u64) -> VerifierKey {
    signer(node, &secret(node)).verifier().clone()
}

/// The keys of these nodes.
pub(super) fn trusted(nodes: &[u64]) -> TrustedKeys {
    TrustedKeys::new(nodes.iter().map(|node| key(*node)).collect()).expect("keys")
}

pub(super) fn record(row: &[u8]) -> Record {
    serde_json::from_slice(row).expect("a record")
}

/// What makes record `number`: the founding, the nodes' keys, a shop, and from then on changes of its flags and counts of
/// requests without a token.
fn proposal(number: u64, random: &mut fastrand::Rng) -> Proposal {
    let change = |project: Option<&str>, operations: Value| -> Body {
        let change =
            json!({"project": project, "operations": operations, "reason": format!("step {number}")});
        Body::Change(serde_json::from_value(change).expect("a change"))
    };
    let made = testing::change(number);
    let node = if VOTERS.contains(&number) { number } else { 1 };
    let body = match number {
        0 => {
            let member = |node: &u64| {
                (
                    node.to_string(),
                    json!({"peer_address": "127.0.0.1:1", "uid": "0".repeat(32), "voter": true}),
                )
            };
            let members: BTreeMap<String, Value> = VOTERS.iter().map(member).collect();
            change(
                None,
                json!([{"op": "system.bootstrap", "cluster": CLUSTER, "history": HISTORY, "cluster_version": 2,
                        "members": members}]),
            )
        }
        1..=3 => {
            let public_key = AuditPublicKey(*key(number).public_key());
            change(None, json!([{"op": "system.audit_key.add", "node": number, "public_key": public_key}]))
        }
        4 => testing::change(1).body,
        _ if random.u8(..) < 80 => testing::proposal(number).body,
        _ => match made.body {
            Body::Change(change) => Body::Change(Change { reason: format!("step {number}"), ..change }),
            body => body,
        },
    };
    Proposal {
        request: RequestId { id: format!("request-{number}"), client_given: false },
        body,
        actor: Actor::system(node),
        proposed_at_ms: 1_700_000_000_000 + i64::try_from(number).expect("small") * 700,
        salt: random.u128(..).to_be_bytes(),
        ..made
    }
}
