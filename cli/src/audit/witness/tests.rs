//! A witness against logs that go on, shrink, fork, and lie about who signed them.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Parser as _;
use flagraft_core::{
    checkpoint::Origin,
    identity::{ClusterId, History},
    merkle::{Frontier, Hash, consistency_proof, leaf_hash},
    note::{Signer, node_key_name},
};
use serde_json::json;

use super::*;
use crate::Arguments;

const CLUSTER: ClusterId = ClusterId(7);

fn signer(node: u64) -> Signer {
    let secret = [u8::try_from(node).expect("small"); 32];
    Signer::new(node_key_name(CLUSTER, node), &secret).expect("a key")
}

/// What a node serves: a log, as far as it is there, and what is signed of it.
#[derive(Clone)]
struct Log {
    leaves: Vec<Hash>,
    signed: u64,
    signers: Vec<u64>,
    history: u64,
}

impl Log {
    fn of(leaves: u64) -> Self {
        let leaves = (0..leaves).map(|n| leaf_hash(&n.to_be_bytes())).collect::<Vec<_>>();
        Self { signed: leaves.len() as u64, leaves, signers: vec![1, 2], history: 1 }
    }

    fn subtree(&self, level: u8, index: u64) -> Hash {
        let mut tree = Frontier::default();
        let from = usize::try_from(index << level).expect("small");
        self.leaves[from..from + (1 << level)].iter().for_each(|leaf| tree.push_hash(*leaf));
        tree.root()
    }

    fn note(&self) -> String {
        let mut tree = Frontier::default();
        let signed = usize::try_from(self.signed).expect("small");
        self.leaves[..signed].iter().for_each(|leaf| tree.push_hash(*leaf));
        let origin = Origin { cluster: CLUSTER, history: History(self.history), group: 1 };
        let checkpoint = Checkpoint { origin, size: self.signed, root: tree.root(), time_ms: 5 };
        let mut note = Note::new(checkpoint.to_string()).expect("a note");
        self.signers.iter().for_each(|node| note.sign(&signer(*node)).expect("signed"));
        note.to_string()
    }
}

#[derive(serde::Deserialize)]
struct Range {
    from: u64,
    to: u64,
}

async fn prove(State(log): State<Arc<Mutex<Log>>>, Query(range): Query<Range>) -> Response {
    let log = log.lock().expect("unpoisoned").clone();
    if range.to > log.leaves.len() as u64 {
        let error = json!({"error": {"code": "invalid", "message": "the audit log has fewer records"}});
        return (StatusCode::BAD_REQUEST, axum::Json(error)).into_response();
    }
    let made = consistency_proof(range.from, range.to, |level, index| Ok::<_, ()>(log.subtree(level, index)));
    let proof: Vec<String> =
        made.expect("reads").expect("a range").iter().map(|h| STANDARD.encode(h)).collect();
    axum::Json(json!({"proof": proof})).into_response()
}

/// A node with this log, and a witness of it.
struct Watched {
    log: Arc<Mutex<Log>>,
    folder: tempfile::TempDir,
    url: String,
}

impl Watched {
    async fn start(log: Log) -> Self {
        let log = Arc::new(Mutex::new(log));
        let router = Router::new()
            .route(
                "/api/v1/audit/checkpoint",
                get(async |State(log): State<Arc<Mutex<Log>>>| log.lock().expect("unpoisoned").note()),
            )
            .route("/api/v1/audit/proof", get(prove))
            .with_state(Arc::clone(&log));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        let folder = tempfile::tempdir().expect("a folder");
        let keys: String = (1..=3).map(|node| format!("{}\n", signer(node).verifier())).collect();
        fs::write(folder.path().join("trust"), keys).expect("written");
        fs::write(folder.path().join("token"), "fr_adm_test").expect("written");
        Self { log, folder, url }
    }

    fn serves(&self, log: Log) {
        *self.log.lock().expect("unpoisoned") = log;
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// One run of the command.
    async fn look(&self) -> Result<(), Failure> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let (trust, token, state) = (path("trust"), path("token"), path("state"));
        let line = ["flagraft", "audit", "witness", "--once", "--state", &state, "--trust", &trust];
        let options = ["--endpoint", &self.url, "--token-file", &token];
        let arguments = Arguments::try_parse_from(line.iter().chain(&options)).expect("a command line");
        crate::ask(arguments.command, &arguments.global).await
    }

    /// What it shouts, and that it remembers what it had seen before.
    async fn shouts(&self, what: &str) {
        let before = fs::read(self.state()).expect("kept");
        let failure = self.look().await.expect_err(what);
        assert_eq!(failure.exit, Exit::VerificationFailed, "{failure}");
        assert!(failure.to_string().contains(what), "{failure}");
        assert_eq!(fs::read(self.state()).expect("kept"), before, "{what}");
    }
}

#[tokio::test]
async fn a_log_that_goes_on_is_followed() {
    let node = Watched::start(Log::of(5)).await;
    for size in [5, 5, 6, 300, 301] {
        node.serves(Log::of(size));
        node.look().await.expect("good");
        let kept = fs::read_to_string(node.state()).expect("kept");
        assert_eq!(kept, Log::of(size).note());
    }
    // Another node, which has not heard of the newest one.
    node.serves(Log { signed: 17, ..Log::of(301) });
    node.look().await.expect("an earlier one of the same log");
    assert_eq!(fs::read_to_string(node.state()).expect("kept"), Log::of(301).note());
}

#[tokio::test]
async fn a_fork_is_shouted() {
    let node = Watched::start(Log::of(40)).await;
    node.look().await.expect("good");
    for size in [40, 41, 39] {
        let mut forked = Log::of(size.max(40));
        forked.signed = size;
        forked.leaves[3] = leaf_hash(b"rewritten");
        node.serves(forked);
        node.shouts("was rewritten").await;
    }
    // A restored log is another one, even if it begins alike.
    node.serves(Log { history: 2, ..Log::of(50) });
    node.shouts("is another one").await;
    node.serves(Log::of(50));
    node.look().await.expect("the log itself is still there");
}

#[tokio::test]
async fn a_log_that_shrinks_is_shouted() {
    let node = Watched::start(Log::of(40)).await;
    node.look().await.expect("good");
    node.serves(Log::of(20));
    node.shouts("has shrunk").await;
}

#[tokio::test]
async fn signatures_that_are_not_good_or_too_few_are_shouted() {
    let node = Watched::start(Log::of(40)).await;
    node.look().await.expect("good");
    node.serves(Log { signers: vec![1], ..Log::of(41) });
    node.shouts("1 of the trusted nodes signed the checkpoint, and 2 have to").await;
    node.serves(Log { signers: vec![1, 9], ..Log::of(41) });
    node.shouts("1 of the trusted nodes signed the checkpoint, and 2 have to").await;
    let kept = fs::read_to_string(node.state()).expect("kept");
    fs::write(node.state(), kept.replacen("flagraft/", "flagrift/", 1)).expect("written");
    node.serves(Log::of(41));
    node.shouts("somebody has altered it").await;
}
