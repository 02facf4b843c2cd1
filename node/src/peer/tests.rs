//! Messages keep their bytes, and a node answers only who may ask.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use bincode::{Decode, Encode};
use flagraft_core::identity::ClusterId;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{
    CLAIM, MESSAGE_BYTES_MAX, PATH,
    auth::PeerSecret,
    client::{PeerClient, PeerError, PeerOptions},
    envelope::claim,
    message::{
        CosignReply, Found, FoundReply, HandOverReply, HeaderV1, HelloReply, Join, JoinReply, ReadIndexReply,
        Refusal, RefusalCode, ReplyV1, RequestV1,
    },
    server::{PeerHandler, router},
};
use crate::raft::{
    NodeMeta, RaftMessage, RaftReply, VersionRange,
    codec::{self, Kind},
};

const CLUSTER: ClusterId = ClusterId(0xC0FFEE);
const SOON: Duration = Duration::from_secs(10);

/// A handler that says yes to nearly everything, and never answers to "hang".
struct Agreeable;

impl PeerHandler for Agreeable {
    async fn raft(&self, _from: u64, _message: RaftMessage) -> Result<RaftReply, Refusal> {
        Ok(RaftReply::SnapshotChunk { offset: 7 })
    }

    async fn hello(&self, from: u64) -> Result<HelloReply, Refusal> {
        let meta = NodeMeta { zone: format!("asked by {from}"), ..NodeMeta::default() };
        Ok(HelloReply { cluster_id: Some(CLUSTER), meta, wall_clock_ms: -5 })
    }

    async fn found(&self, _from: u64, found: Found) -> Result<FoundReply, Refusal> {
        Ok(if found.cluster_id == CLUSTER { FoundReply::Joined } else { FoundReply::KnowsAnother(CLUSTER) })
    }

    async fn forward(&self, _from: u64, mut body: Vec<u8>, _deadline: Duration) -> Result<Vec<u8>, Refusal> {
        if body == b"hang" {
            std::future::pending::<()>().await;
        }
        body.reverse();
        Ok(body)
    }

    async fn read_index(&self, _from: u64) -> Result<ReadIndexReply, Refusal> {
        Ok(ReadIndexReply::Confirmed { index: 12 })
    }

    async fn await_published(&self, _from: u64, index: u64, _deadline: Duration) -> Result<bool, Refusal> {
        Ok(index < 100)
    }

    async fn status(&self, _from: u64) -> Result<Vec<u8>, Refusal> {
        Err(Refusal::new(RefusalCode::Unavailable, "not today"))
    }

    async fn join(&self, _from: u64, uid: String, join: Join) -> Result<JoinReply, Refusal> {
        Ok(JoinReply::Refused { why: format!("{uid} {}", join.token) })
    }

    fn removed(&self, from: u64) -> Option<String> {
        (from == 6).then(|| "node 6 was removed".to_owned())
    }

    fn advise_wiped(&self, from: u64) -> Option<String> {
        Some(format!("call node {from} another name"))
    }
}

fn uid(node: u64) -> String {
    format!("{node:032x}")
}

/// The options of a member in good standing.
fn member(node_id: u64) -> PeerOptions {
    PeerOptions {
        node_id,
        uid: uid(node_id),
        cluster_id: Some(CLUSTER),
        group: 1,
        secret: Some(PeerSecret::new(vec![5; 32]).expect("long enough")),
        peers: BTreeMap::new(),
        versions: VersionRange { min: 1, max: 1 },
    }
}

async fn serve(app: Router, addr: &str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(addr).await.expect("a port");
    let addr = listener.local_addr().expect("bound");
    (addr, tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") }))
}

/// Node 2 as `options` say, and where it listens.
async fn node_2(options: PeerOptions) -> SocketAddr {
    let client = PeerClient::new(options).expect("a client");
    client.learn(1, &NodeMeta { uid: uid(1), ..NodeMeta::default() });
    serve(router(&client, Arc::new(Agreeable)), "127.0.0.1:0").await.0
}

/// A client as `options` say, for which node 2 is at `addr`.
fn client_to(addr: SocketAddr, mut options: PeerOptions) -> PeerClient {
    options.peers = BTreeMap::from([(2, addr.to_string())]);
    PeerClient::new(options).expect("a client")
}

fn refused(result: Result<Vec<u8>, PeerError>) -> RefusalCode {
    match result {
        Err(PeerError::Refused(refusal)) => refusal.code,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_member_is_answered() {
    let client = client_to(node_2(member(2)).await, member(1));
    let hello = client.hello(2, SOON).await.expect("answers");
    assert_eq!(
        (hello.cluster_id, hello.meta.zone.as_str(), hello.wall_clock_ms),
        (Some(CLUSTER), "asked by 1", -5)
    );
    assert_eq!(client.found(2, Found { cluster_id: CLUSTER }, SOON).await, Ok(FoundReply::Joined));
    let other = Found { cluster_id: ClusterId(1) };
    assert_eq!(client.found(2, other, SOON).await, Ok(FoundReply::KnowsAnother(CLUSTER)));
    assert_eq!(client.forward(2, b"abc".to_vec(), SOON).await, Ok(b"cba".to_vec()));
    let large = vec![1; 8 * 1024 * 1024];
    assert_eq!(client.forward(2, large.clone(), SOON).await, Ok(large), "far above axum's own limit");
    assert_eq!(client.read_index(2, SOON).await, Ok(ReadIndexReply::Confirmed { index: 12 }));
    assert_eq!(client.await_published(2, 5, SOON).await, Ok(true));
    assert_eq!(client.await_published(2, 500, SOON).await, Ok(false));
    assert_eq!(refused(client.status(2, SOON).await), RefusalCode::Unavailable);
    assert_eq!(client.peers().len(), 1);
}

#[tokio::test]
async fn a_node_that_does_not_fit_is_refused_by_name() {
    let addr = node_2(member(2)).await;
    let ask = async |options: PeerOptions| client_to(addr, options).forward(2, Vec::new(), SOON).await;

    let cluster = PeerOptions { cluster_id: Some(ClusterId(1)), ..member(1) };
    assert_eq!(refused(ask(cluster).await), RefusalCode::WrongCluster);
    let none = PeerOptions { cluster_id: None, ..member(1) };
    assert_eq!(refused(ask(none.clone()).await), RefusalCode::NoCluster);
    let group = PeerOptions { group: 2, ..member(1) };
    assert_eq!(refused(ask(group).await), RefusalCode::WrongGroup);
    let newer = PeerOptions { versions: VersionRange { min: 2, max: 3 }, ..member(1) };
    assert_eq!(refused(ask(newer).await), RefusalCode::Unsupported);
    let wiped = PeerOptions { uid: uid(99), ..member(1) };
    assert_eq!(refused(ask(wiped.clone()).await), RefusalCode::WrongUid);
    let impostor = PeerOptions { node_id: 1, uid: uid(3), ..member(3) };
    assert_eq!(refused(ask(impostor).await), RefusalCode::WrongUid);

    // What comes before a cluster may come from a node without one, but not from another data folder.
    assert!(client_to(addr, none).hello(2, SOON).await.is_ok());
    assert!(matches!(client_to(addr, wiped).hello(2, SOON).await, Err(PeerError::Refused(_))));
}

#[tokio::test]
async fn a_message_for_another_node_is_refused() {
    let addr = node_2(member(2)).await;
    let mut options = member(1);
    options.peers = BTreeMap::from([(3, addr.to_string())]);
    let client = PeerClient::new(options).expect("a client");
    assert_eq!(refused(client.forward(3, Vec::new(), SOON).await), RefusalCode::WrongReceiver);
}

#[tokio::test]
async fn a_node_without_cluster_takes_only_what_comes_before_one() {
    let addr = node_2(PeerOptions { cluster_id: None, ..member(2) }).await;
    let client = client_to(addr, member(1));
    assert!(client.hello(2, SOON).await.is_ok());
    assert!(client.found(2, Found { cluster_id: CLUSTER }, SOON).await.is_ok());
    assert_eq!(refused(client.forward(2, Vec::new(), SOON).await), RefusalCode::NoCluster);
}

#[tokio::test]
async fn another_secret_or_none_is_refused() {
    let addr = node_2(member(2)).await;
    for secret in [Some(PeerSecret::new(vec![6; 32]).expect("long enough")), None] {
        let client = client_to(addr, PeerOptions { secret, ..member(1) });
        let answer = client.hello(2, SOON).await;
        assert!(matches!(&answer, Err(PeerError::BadReply(why)) if why.contains("401")), "{answer:?}");
    }
    let open = node_2(PeerOptions { secret: None, ..member(2) }).await;
    assert!(client_to(open, member(1)).hello(2, SOON).await.is_err(), "nor is a reply without the secret");
    assert!(client_to(open, PeerOptions { secret: None, ..member(1) }).hello(2, SOON).await.is_ok());
}

#[tokio::test]
async fn a_reply_from_the_wrong_node_is_not_trusted() {
    let client = client_to(node_2(member(2)).await, member(1));
    // As far as this node knows, node 2 has another data folder.
    client.learn(2, &NodeMeta { uid: uid(77), ..NodeMeta::default() });
    assert!(matches!(client.forward(2, Vec::new(), SOON).await, Err(PeerError::BadReply(_))));
}

/// Passes the first request on and gives its reply to every later one too.
async fn replaying_proxy(target: SocketAddr) -> SocketAddr {
    type Recorded = Arc<Mutex<Option<Bytes>>>;
    async fn replay(
        State((target, recorded)): State<(SocketAddr, Recorded)>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Bytes {
        if let Some(reply) = recorded.lock().expect("unpoisoned").clone() {
            return reply;
        }
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = http.post(format!("http://{target}{PATH}")).header(CLAIM, &headers[CLAIM]).body(body);
        let reply = request.send().await.expect("passes on");
        let reply = reply.bytes().await.expect("a body");
        *recorded.lock().expect("unpoisoned") = Some(reply.clone());
        reply
    }
    let app = Router::new().route(PATH, post(replay)).with_state((target, Recorded::default()));
    serve(app, "127.0.0.1:0").await.0
}

#[tokio::test]
async fn a_replayed_reply_is_not_trusted() {
    let proxy = replaying_proxy(node_2(member(2)).await).await;
    let client = client_to(proxy, member(1));
    assert_eq!(client.read_index(2, SOON).await, Ok(ReadIndexReply::Confirmed { index: 12 }));
    let replayed = client.read_index(2, SOON).await;
    assert!(
        matches!(&replayed, Err(PeerError::BadReply(why)) if why.contains("another request")),
        "an old read index is a stale read: {replayed:?}"
    );
}

#[tokio::test]
async fn a_dead_peer_is_surely_not_asked_and_a_silent_one_perhaps() {
    let client = client_to(node_2(member(2)).await, member(1));
    assert_eq!(client.hello(9, SOON).await, Err(PeerError::UnknownPeer(9)));
    let silent = client.forward(2, b"hang".to_vec(), Duration::from_millis(50)).await;
    assert_eq!(silent, Err(PeerError::Timeout));
    assert!(!PeerError::Timeout.surely_not_delivered());

    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("bound");
    let answer = client_to(closed, member(1)).hello(2, SOON).await.expect_err("nobody listens");
    assert!(matches!(answer, PeerError::NotSent(_)) && answer.surely_not_delivered(), "{answer:?}");
}

#[tokio::test]
async fn garbage_and_excess_are_refused() {
    let addr = node_2(member(2)).await;
    let ours = PeerClient::new(member(1)).expect("a client");
    let claim = |length| claim(&ours.directory, [1; 16], length);
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    for (claim, length, status) in [
        (claim(0), 0, 401),
        (claim(100), 100, 401),
        (claim(99), 100, 400),
        (claim(MESSAGE_BYTES_MAX + 1), 100, 413),
        ("00".repeat(57), 100, 401),
        ("not hexadecimal".to_owned(), 100, 401),
    ] {
        let request =
            http.post(format!("http://{addr}{PATH}")).header(CLAIM, claim.as_str()).body(vec![1; length]);
        let answer = request.send().await.expect("answers");
        assert_eq!(answer.status().as_u16(), status, "{claim}");
    }
}

/// The status of the answer to a request whose body never comes.
async fn status_before_the_body(addr: SocketAddr, claim: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(addr).await.expect("it listens");
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 60000000\r\n{claim}\r\n");
    stream.write_all(head.as_bytes()).await.expect("open");
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_millis(500), stream.read_exact(&mut answer)).await;
    read.ok()?.expect("an answer");
    std::str::from_utf8(&answer).ok()?.rsplit(' ').next()?.parse().ok()
}

/// Whoever reaches the listener could make a node hold 64 MiB for each of any number of connections.
#[tokio::test]
async fn a_body_is_waited_for_only_from_whoever_claims_it() {
    let addr = node_2(member(2)).await;
    assert_eq!(status_before_the_body(addr, "").await, Some(401));
    let stranger = PeerOptions { secret: Some(PeerSecret::new(vec![6; 32]).expect("long")), ..member(1) };
    for (options, expected) in [(stranger, Some(401)), (member(1), None)] {
        let client = PeerClient::new(options).expect("a client");
        let claim = format!("{CLAIM}: {}\r\n", claim(&client.directory, [1; 16], 60_000_000));
        assert_eq!(status_before_the_body(addr, &claim).await, expected);
    }
    // A member that is in no hurry keeps no other one from being answered.
    client_to(addr, member(1)).hello(2, SOON).await.expect("answers");
}

#[test]
fn the_claim_is_frozen() {
    let client = PeerClient::new(PeerOptions { secret: None, ..member(1) }).expect("a client");
    assert_eq!(claim(&client.directory, [7; 16], 258), format!("{}000000000000010200", "07".repeat(16)));
}

#[tokio::test]
async fn a_node_without_a_cluster_may_ask_to_join_and_a_removed_one_is_told_so() {
    let addr = node_2(member(2)).await;
    let newcomer = client_to(addr, PeerOptions { cluster_id: None, ..member(4) });
    let join = Join { token: "fr_join_x".to_owned(), meta: NodeMeta::default() };
    let reply = newcomer.join(2, &join, SOON).await.expect("answers");
    assert_eq!(reply, JoinReply::Refused { why: format!("{} fr_join_x", uid(4)) });

    let removed = client_to(addr, member(6));
    assert_eq!(*removed.watch_removed().borrow(), None);
    let refusal = removed.forward(2, b"abc".to_vec(), SOON).await;
    assert_eq!(refused(refusal), RefusalCode::Removed);
    assert_eq!(removed.watch_removed().borrow().as_deref(), Some("node 6 was removed"));
    // Another cluster's word is none.
    let stranger = client_to(addr, PeerOptions { cluster_id: None, ..member(6) });
    assert!(matches!(stranger.hello(2, SOON).await, Err(PeerError::Refused(_))));
    assert_eq!(*stranger.watch_removed().borrow(), None);

    // Whoever comes back with another data folder is told what to do.
    let wiped = client_to(addr, PeerOptions { uid: uid(99), ..member(1) });
    match wiped.hello(2, SOON).await {
        Err(PeerError::Refused(refusal)) => {
            assert_eq!(refusal.code, RefusalCode::WrongUid);
            assert!(refusal.message.contains("call node 1 another name"), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
}

/// A founder lost its disk, and nobody that its configuration names lives any more. Those that do still send to it.
#[tokio::test]
async fn a_node_without_a_cluster_notes_who_takes_it_for_a_member() {
    let server = PeerClient::new(PeerOptions { cluster_id: None, ..member(2) }).expect("a client");
    let (addr, _running) = serve(router(&server, Arc::new(Agreeable)), "127.0.0.1:0").await;
    let sender = client_to(addr, member(5));
    sender.hello(2, SOON).await.expect("that says nothing");
    assert_eq!(server.claimed_by(), None);
    assert_eq!(refused(sender.forward(2, b"abc".to_vec(), SOON).await), RefusalCode::NoCluster);
    assert_eq!(server.claimed_by(), Some((5, CLUSTER)));
}

#[test]
fn what_a_membership_says_wins_over_an_introduction_and_is_forgotten_with_the_member() {
    let client = PeerClient::new(member(1)).expect("a client");
    client.introduce(2, "introduced:1".to_owned());
    assert_eq!(client.address(2).as_deref(), Some("introduced:1"));
    client.learn(2, &NodeMeta { peer_addr: "member:1".to_owned(), ..NodeMeta::default() });
    assert_eq!(client.address(2).as_deref(), Some("member:1"));
    client.keep_members(|id| id != 2);
    assert_eq!(client.address(2).as_deref(), Some("introduced:1"));
    assert_eq!(client.peers().len(), 0, "nobody to ask for the time");
}

#[tokio::test]
async fn a_restarted_peer_is_reached_again_at_once() {
    let server = PeerClient::new(member(2)).expect("a client");
    let (addr, running) = serve(router(&server, Arc::new(Agreeable)), "127.0.0.1:0").await;
    let client = client_to(addr, member(1));
    client.hello(2, SOON).await.expect("answers");
    running.abort();
    drop(running.await);
    let (_, _running) = serve(router(&server, Arc::new(Agreeable)), &addr.to_string()).await;

    let restarted = Instant::now();
    // The pooled connection may be found dead; the one after it is new.
    let mut attempts = 1;
    while client.hello(2, SOON).await.is_err() {
        attempts += 1;
        assert!(attempts < 4, "still the dead connection");
    }
    assert!(restarted.elapsed() < Duration::from_secs(2), "{:?}", restarted.elapsed());
}

/// One line for each message: its name and its bytes in hexadecimal.
const GOLDEN: &str = include_str!("golden/messages.txt");

fn check<T: Encode + Decode<()> + PartialEq + std::fmt::Debug>(name: &str, kind: Kind, message: &T) {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let golden = line.unwrap_or_else(|| panic!("no golden bytes for {name}"));
    let bytes = codec::encode(kind, message).expect("encodes");
    assert_eq!(hex::encode(&bytes), golden, "{name}: what is released is frozen");
    let decoded: T = codec::decode(kind, &hex::decode(golden).expect("hexadecimal")).expect("decodes");
    assert_eq!(&decoded, message, "{name}");
    for at in 0..bytes.len() {
        assert!(codec::decode::<T>(kind, &bytes[..at]).is_err(), "{name} cut at {at}");
    }
}

#[test]
fn golden_bytes_of_the_messages() {
    let header = HeaderV1 {
        cluster: Some(CLUSTER.0),
        group: 1,
        from: 1,
        to: 2,
        uid: uid(1),
        version_min: 1,
        version_max: 3,
        nonce: [9; 16],
    };
    check("header", Kind::PeerHeader, &header);
    check("header-without-cluster", Kind::PeerHeader, &HeaderV1 { cluster: None, ..header });
    for (name, request) in [
        ("hello", RequestV1::Hello),
        ("found", RequestV1::Found { cluster: CLUSTER.0 }),
        ("forward", RequestV1::Forward { body: b"{}".to_vec(), deadline_ms: 2_000 }),
        ("read-index", RequestV1::ReadIndex { nonce: 300 }),
        ("await-published", RequestV1::AwaitPublished { index: 70_000, deadline_ms: 250 }),
        ("status", RequestV1::Status),
        ("join", RequestV1::Join { token: "fr_join_x".to_owned(), meta: (&NodeMeta::default()).into() }),
        ("hand-over", RequestV1::HandOver { to: 3, sequence: 70_000 }),
        ("cosign", RequestV1::Cosign { size: 70_000 }),
        ("checkpoint", RequestV1::Checkpoint { note: b"note".to_vec() }),
    ] {
        check(name, Kind::PeerRequest, &request);
    }
    let hello = HelloReply { cluster_id: None, meta: NodeMeta::default(), wall_clock_ms: 1_700_000_000_000 };
    for (name, reply) in [
        ("refused", ReplyV1::Refused(Refusal::new(RefusalCode::WrongUid, "no").into())),
        ("hello-reply", ReplyV1::Hello(hello.into())),
        ("found-reply", ReplyV1::Found(FoundReply::Joined.into())),
        ("found-reply-another", ReplyV1::Found(FoundReply::KnowsAnother(CLUSTER).into())),
        ("forward-reply", ReplyV1::Forward { body: b"{}".to_vec() }),
        (
            "read-index-reply",
            ReplyV1::ReadIndex { nonce: 300, reply: ReadIndexReply::Confirmed { index: 12 }.into() },
        ),
        (
            "read-index-reply-elsewhere",
            ReplyV1::ReadIndex { nonce: 1, reply: ReadIndexReply::NotLeader { leader: Some(3) }.into() },
        ),
        (
            "read-index-reply-unsure",
            ReplyV1::ReadIndex {
                nonce: 1,
                reply: ReadIndexReply::Unavailable { why: "x".to_owned() }.into(),
            },
        ),
        ("await-published-reply", ReplyV1::AwaitPublished { reached: true }),
        ("status-reply", ReplyV1::Status { body: b"{}".to_vec() }),
        ("join-reply", ReplyV1::Join(JoinReply::Admitted { cluster_id: CLUSTER }.into())),
        (
            "join-reply-elsewhere",
            ReplyV1::Join(JoinReply::NotLeader { leader: Some((2, "b:2".to_owned())) }.into()),
        ),
        ("join-reply-refused", ReplyV1::Join(JoinReply::Refused { why: "x".to_owned() }.into())),
        ("join-reply-unsure", ReplyV1::Join(JoinReply::Unavailable { why: "x".to_owned() }.into())),
        ("hand-over-reply", ReplyV1::HandOver(HandOverReply::Leads { leader: 3 }.into())),
        ("hand-over-reply-refused", ReplyV1::HandOver(HandOverReply::Refused { why: "x".to_owned() }.into())),
        (
            "hand-over-reply-unsure",
            ReplyV1::HandOver(HandOverReply::Unavailable { why: "x".to_owned() }.into()),
        ),
        ("cosign-reply", ReplyV1::Cosign(CosignReply::Signed { note: b"note".to_vec() }.into())),
        ("cosign-reply-behind", ReplyV1::Cosign(CosignReply::Behind { size: 300 }.into())),
        ("cosign-reply-refused", ReplyV1::Cosign(CosignReply::Refused { why: "x".to_owned() }.into())),
        ("checkpoint-reply", ReplyV1::Checkpoint { why_not: None }),
        ("checkpoint-reply-why", ReplyV1::Checkpoint { why_not: Some("x".to_owned()) }),
        ("refused-removed", ReplyV1::Refused(Refusal::new(RefusalCode::Removed, "no").into())),
        ("refused-no-room", ReplyV1::Refused(Refusal::new(RefusalCode::NoRoom, "no").into())),
    ] {
        check(name, Kind::PeerReply, &reply);
    }
}
