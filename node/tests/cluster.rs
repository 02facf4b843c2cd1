//! Three nodes in one process: they found a cluster, write and read through any of them, lose members and get them
//! back.

mod common;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use common::{Cluster, WRITE, flag, with_key};
use ed25519_dalek::{Signer as _, SigningKey as Pair};
use flagraft_core::{
    canonical::Canonical,
    identity::ClusterId,
    operation::Operation,
    proposal::Body,
    record::Record,
    rejection::Rejection,
    reply::Outcome,
    signing::{ChangeSignature, PublicKey, SignatureBytes, Statement, signing_key_id},
    token::{Secret, TokenFault, TokenKind},
};
use flagraft_node::{
    backup::{Header, Words, stage},
    config::JoinConfig,
    node::{MemberState, Node, NotEntered, Submission, SubmitError},
    peer::{Found, PeerClient, PeerError, PeerOptions, PeerSecret, RefusalCode},
    raft::VersionRange,
    reads::Unconfirmed,
    storage::{GROUP, Storage, StorageMetrics, StorageOptions},
};
use futures_util::{FutureExt as _, TryStreamExt as _};
use serde_json::json;
use tokio::sync::Semaphore;

const READ: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_through_one_node_is_read_through_any_other() {
    let cluster = Cluster::found(3).await;
    let follower = cluster.follower().await;
    let shop = cluster.create_shop(follower).await;
    assert_eq!(shop.revision, 2, "the founding was the first");
    assert!(
        cluster.node(follower).published().state.project("shop").is_some(),
        "published where it was written"
    );

    // A confirmed read sees it everywhere, without knowing the revision.
    for node in cluster.nodes() {
        let confirmation = node.reads().confirm(READ).await.expect("confirmed");
        assert!(confirmation.published.state.project("shop").is_some(), "node {}", node.id());
    }
    // So does one that names the revision.
    let written = cluster.write(1, Some("shop"), flag("checkout", false)).await;
    let revision = cluster.accepted(1, written);
    for node in cluster.nodes() {
        let published = node.reads().await_revision(revision, READ).await.expect("published");
        assert!(published.state.revision() >= revision.revision);
        assert!(node.reads().age_ms().is_some_and(|age_ms| age_ms < 1_000));
    }

    // All agree, and say so to whoever asks any of them.
    for node in cluster.nodes() {
        let status = node.cluster_status().await;
        assert_eq!(status.members.len(), 3);
        assert_eq!(status.leader, Some(cluster.leader().await));
        for member in &status.members {
            assert_ne!(member.state, MemberState::Unreachable);
            let at_same_index = member.index == status.index;
            assert!(!at_same_index || member.digest.as_ref() == Some(&status.digest), "{status:#?}");
            assert!(!at_same_index || member.audit.as_ref() == Some(&status.audit), "{status:#?}");
        }
    }
    let records = cluster.node(follower).audit_page(0, 100).await.expect("read");
    assert_eq!(records.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_flag_written_through_one_node_is_never_stale_on_another() {
    let cluster = Cluster::found(3).await;
    cluster.create_shop(1).await;
    let submitted = cluster.write(2, Some("shop"), flag("kill", true)).await.expect("answered");
    assert_eq!(submitted.not_yet_on, [0_u64; 0], "all members know that it is critical now");
    for round in 0..100_u64 {
        let (writer, reader) = (round % 3 + 1, (round + 1) % 3 + 1);
        let operation = if round % 2 == 0 { "flag.disable" } else { "flag.enable" };
        let operations = json!([{"op": operation, "flag": "kill", "environment": "production"}]);
        let revision = cluster.accepted(writer, cluster.write(writer, Some("shop"), operations).await);
        let confirmation = cluster.node(reader).reads().confirm(READ).await.expect("confirmed");
        assert!(confirmation.published.state.revision() >= revision.revision, "stale in round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_that_come_together_share_rounds() {
    let cluster = Cluster::found(3).await;
    let node = cluster.node(cluster.follower().await);
    let before = node.reads().rounds();
    let reads = (0..500).map(|_| async { node.reads().confirm(READ).await.map(drop) });
    for read in futures_util::future::join_all(reads).await {
        read.expect("confirmed");
    }
    let rounds = node.reads().rounds() - before;
    assert!(rounds <= 20, "{rounds} rounds for 500 reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_change_however_often_it_is_sent() {
    let cluster = Cluster::found(3).await;
    cluster.create_shop(1).await;
    let first = with_key(cluster.submission(Some("shop"), flag("checkout", false)), "once");
    let mut outcomes = Vec::new();
    for id in [1, 2, 3] {
        outcomes.push(cluster.node(id).submit(first.clone(), WRITE).await.expect("answered").reply);
    }
    assert!(!outcomes[0].replayed && outcomes[1].replayed && outcomes[2].replayed);
    assert!(outcomes.iter().all(|reply| reply.outcome == outcomes[0].outcome));
    let other = with_key(cluster.submission(Some("shop"), flag("search", false)), "once");
    let reply = cluster.node(2).submit(other, WRITE).await.expect("answered").reply;
    assert_eq!(reply.outcome, Outcome::Refused { rejection: Rejection::IdempotencyMismatch });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_checks_credentials_again_and_a_dry_run_changes_nothing() {
    let cluster = Cluster::found(3).await;
    let follower = cluster.follower().await;
    cluster.create_shop(follower).await;
    let stranger = Secret::new(TokenKind::Admin, [9; 32]);
    let forged = cluster.submission_as(stranger, Some("shop"), flag("checkout", false));
    for id in [1, 2, 3] {
        let refused = cluster.node(id).submit(forged.clone(), WRITE).await;
        assert_eq!(refused, Err(SubmitError::Unauthenticated(TokenFault::Unknown)), "through node {id}");
    }

    let before = cluster.node(follower).published().state.sequence();
    let foreseen = Submission { dry_run: true, ..cluster.submission(Some("shop"), flag("checkout", false)) };
    let answer = cluster.node(follower).submit(foreseen, WRITE).await.expect("answered");
    assert!(matches!(answer.reply.outcome, Outcome::Accepted { revision: 3, .. }), "{answer:?}");
    let confirmation = cluster.node(follower).reads().confirm(READ).await.expect("confirmed");
    assert_eq!(confirmation.published.state.sequence(), before);
}

/// The node that takes a signed change hands the signature on, and the leader is the one that checks it.
#[tokio::test(flavor = "multi_thread")]
async fn a_signature_is_forwarded_with_its_change() {
    let cluster = Cluster::found(3).await;
    let follower = cluster.follower().await;
    cluster.create_shop(follower).await;
    let pair = Pair::from_bytes(&[7; 32]);
    let public_key = PublicKey(pair.verifying_key().to_bytes());
    let (state, owner) = (cluster.node(follower).published().state.clone(), cluster.owner());
    let token = state.token_by_secret(&owner.sha256()).expect("the owner's").spec.clone();
    let key = signing_key_id(&public_key);
    let put = json!([{"op": "signing_key.put", "signing_key": {
        "id": key, "actor": token.actor, "name": "test", "public_key": public_key}}]);
    cluster.accepted(follower, cluster.write(follower, None, put).await);

    let mut submission = with_key(cluster.submission(Some("shop"), flag("checkout", false)), "signed");
    let Body::Change(change) = &submission.body else { panic!("a change") };
    let operations: Vec<Canonical> = change.operations.iter().map(Operation::without_secrets).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let signed_at_ms = i64::try_from(now.as_millis()).expect("a time");
    let statement = Statement {
        history: state.history().expect("founded"),
        token: &token.id,
        request_id: "signed",
        key: &key,
        signed_at_ms,
        project: change.project.as_ref(),
        operations: &operations,
        reason: &change.reason,
        ticket: None,
        expect_revision: None,
        caused_by: None,
    };
    let signature = SignatureBytes(pair.sign(&statement.to_bytes()).to_bytes());
    submission.signature = Some(ChangeSignature { key, signed_at_ms, signature });
    // Under another id it is none, and so it was looked at.
    let moved = with_key(submission.clone(), "moved");
    let reply = cluster.node(follower).submit(moved, WRITE).await.expect("answered").reply;
    assert!(matches!(reply.outcome, Outcome::Rejected { rejection: Rejection::BadSignature { .. }, .. }));
    let answer = cluster.node(follower).submit(submission, WRITE).await.expect("answered");
    let Outcome::Accepted { sequence, .. } = answer.reply.outcome else { panic!("{answer:?}") };
    let rows = cluster.node(follower).audit_page(sequence, 1).await.expect("read");
    let record: Record = serde_json::from_slice(&rows[0].bytes).expect("a record");
    assert_eq!(record.signature.map(|kept| kept.signature), Some(signature));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejections_beyond_ten_a_second_are_not_recorded() {
    let cluster = Cluster::found(1).await;
    let sequence = || cluster.node(1).published().state.sequence();
    let before = sequence();
    let begun = Instant::now();
    let mut limited = 0;
    let mut recorded = 0;
    for _ in 0..40 {
        // There is no such project.
        match cluster.write(1, Some("shop"), flag("checkout", false)).await {
            Ok(submitted) => {
                assert!(matches!(submitted.reply.outcome, Outcome::Rejected { .. }));
                recorded += 1;
            }
            Err(SubmitError::TooManyRejections) => limited += 1,
            Err(error) => panic!("{error}"),
        }
    }
    // Ten at once, and ten for each second that has gone by.
    let most = 11 + begun.elapsed().as_millis() / 100;
    assert!(
        u128::from(recorded) <= most && limited > 0,
        "{recorded} recorded and {limited} limited in {:?}",
        begun.elapsed()
    );
    assert_eq!(sequence() - before, recorded);
    // Good changes of the same token go on.
    cluster.create_shop(1).await;
}

/// Writes under way took the room of the rejections: a client with ten good writes under way was told 429 for its first
/// mistake, and each of its good ones was judged twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_rejection_is_told_whatever_else_is_under_way() {
    let cluster = Cluster::found(1).await;
    cluster.create_shop(1).await;
    let good = (0..100).map(|n| cluster.write(1, Some("shop"), flag(&format!("flag-{n}"), false)));
    let wrong = async {
        let missing = json!([{"op": "flag.enable", "flag": "nowhere", "environment": "production"}]);
        cluster.write(1, Some("shop"), missing).await
    };
    let (good, wrong) = tokio::join!(futures_util::future::join_all(good), wrong);
    for written in good {
        cluster.accepted(1, written);
    }
    let outcome = wrong.expect("answered").reply.outcome;
    assert!(
        matches!(&outcome, Outcome::Rejected { rejection: Rejection::NotFound { .. }, .. }),
        "{outcome:?}"
    );
}

/// A repeated request waits for the members only where the first one may have made a flag critical.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_waits_for_the_members_only_for_a_critical_flag() {
    let mut cluster = Cluster::found(3).await;
    cluster.create_shop(1).await;
    let ordinary = with_key(cluster.submission(Some("shop"), flag("ordinary", false)), "ordinary");
    let critical = with_key(cluster.submission(Some("shop"), flag("kill", true)), "critical");
    let away = cluster.follower().await;
    for submission in [&ordinary, &critical] {
        let submitted = cluster.node(1).submit(submission.clone(), WRITE).await.expect("answered");
        assert_eq!(submitted.not_yet_on, [0_u64; 0]);
    }
    cluster.stop(away).await;
    let leader = cluster.leader().await;
    let again = async |submission: &Submission| {
        let submitted = cluster.node(leader).submit(submission.clone(), WRITE).await.expect("answered");
        assert!(submitted.reply.replayed);
        submitted.not_yet_on
    };
    assert_eq!(again(&ordinary).await, [0_u64; 0], "it concerns nobody whether a member knows");
    assert_eq!(again(&critical).await, [away]);
}

/// A leader whose clock is off stamps records wrongly, and ends tokens at the wrong time.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_clock_is_off_hands_over() {
    let mut cluster = Cluster::prepare(3);
    let mut nodes = Vec::new();
    for id in [1, 2, 3] {
        let mut config = cluster.config(id, id == 1);
        config.waits.clock_interval = Duration::from_millis(100);
        // The founder's, which leads at first.
        config.clock.ahead_ms = if id == 1 { 60_000 } else { 0 };
        nodes.push(cluster.launch(config).await);
    }
    let leader = || {
        let leaders: Vec<_> = nodes.iter().map(|node| node.raft_status().leader).collect();
        leaders[0].filter(|first| leaders.iter().all(|leader| *leader == Some(*first)))
    };
    cluster
        .until("another one to lead", |_| {
            nodes.iter().all(|node| node.reads().readiness().ready) && leader().is_some_and(|id| id != 1)
        })
        .await;
    let status = nodes[1].cluster_status().await;
    assert_eq!(status.members.len(), 3, "{status:?}");
}

/// A leader that could not make sure that it is current called a token unknown, which may have been made meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_quorum_calls_no_token_unknown() {
    let mut cluster = Cluster::found(3).await;
    cluster.create_shop(1).await;
    let leader = cluster.leader().await;
    for id in [1, 2, 3].into_iter().filter(|id| *id != leader) {
        cluster.stop(id).await;
    }
    let stranger = Secret::new(TokenKind::Admin, [9; 32]);
    let submission = cluster.submission_as(stranger, Some("shop"), flag("checkout", false));
    // At once, while it still counts as in touch with its quorum.
    let refused = cluster.node(leader).submit(submission, WRITE).await;
    assert!(matches!(refused, Err(SubmitError::NotEntered { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_hands_over_and_finds_its_way_back() {
    let mut cluster = Cluster::found(3).await;
    cluster.create_shop(1).await;
    let leader = cluster.leader().await;
    let term = cluster.node(leader).raft_status().term;
    cluster.stop(leader).await;

    // Another one leads already: no election had to be waited for.
    let follower = cluster.follower().await;
    let status = cluster.node(follower).raft_status();
    assert!(status.term > term && status.leader.is_some_and(|id| id != leader), "{status:?}");
    let submitted = cluster.write(follower, Some("shop"), flag("kill", true)).await.expect("answered");
    assert!(submitted.published_here);
    assert_eq!(submitted.not_yet_on, [leader], "the one that is away can't know of the critical flag");

    let node = cluster.start(leader, true).await;
    cluster.until("the node to be ready again", |_| node.reads().readiness().ready).await;
    let confirmation = node.reads().confirm(READ).await.expect("confirmed");
    assert!(confirmation.published.state.revision() >= 3);
    let history = confirmation.published.state.history();
    assert_eq!(history, cluster.node(follower).published().state.history(), "nothing was founded anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_writes_end_by_their_deadline_and_critical_reads_at_once() {
    let mut cluster = Cluster::found(3).await;
    let shop = cluster.create_shop(1).await;
    let leader = cluster.leader().await;
    // The leader itself stays: it is the one that a write could be left hanging in.
    let others: Vec<u64> = [1, 2, 3].into_iter().filter(|id| *id != leader).collect();
    for id in &others {
        cluster.stop(*id).await;
    }
    let survivor = cluster.node(leader);
    // It proposes for as long as it has heard from a quorum within 500 ms, which it has a moment later than what its age counts from.
    cluster
        .until("the leader to notice", |_| survivor.reads().age_ms().is_some_and(|age_ms| age_ms > 1_000))
        .await;

    let begun = Instant::now();
    let refused = cluster.write(leader, Some("shop"), flag("checkout", false)).await;
    assert!(
        matches!(
            refused,
            Err(SubmitError::NotEntered { why: NotEntered::NoQuorum | NotEntered::NoLeader, .. })
        ),
        "{refused:?}"
    );
    assert!(begun.elapsed() < WRITE + Duration::from_millis(200), "{:?}", begun.elapsed());

    let begun = Instant::now();
    assert!(survivor.reads().confirm(READ).await.is_err());
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(survivor.reads().confirm(READ).await.expect_err("no quorum"), Unconfirmed::Suspect);
    assert!(begun.elapsed() < Duration::from_millis(50), "{:?}", begun.elapsed());
    // What is published stays readable, and says how old it is.
    assert!(survivor.published().state.revision() >= shop.revision);
    let status = survivor.cluster_status().await;
    let unreachable = status.members.iter().filter(|member| member.state == MemberState::Unreachable);
    assert_eq!(unreachable.map(|member| member.id).collect::<Vec<_>>(), others);

    cluster.start(others[0], false).await;
    cluster.until("confirmed reads", |_| cluster.nodes().all(|node| node.reads().readiness().ready)).await;
    let written = cluster.write(leader, Some("shop"), flag("checkout", false)).await;
    cluster.accepted(leader, written);
    cluster.node(leader).reads().confirm(READ).await.expect("confirmed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_with_an_empty_folder_is_refused() {
    let mut cluster = Cluster::found(3).await;
    cluster.create_shop(1).await;
    cluster.stop(3).await;
    fs::remove_dir_all(cluster.folder(3)).expect("removed");
    let wiped = cluster.start(3, false).await;
    let failure = tokio::time::timeout(Duration::from_secs(20), wiped.failed()).await.expect("it gives up");
    assert!(failure.to_string().contains("another data folder"), "{failure}");
    assert!(!wiped.reads().readiness().ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cluster_is_founded_with_a_peer_that_has_one() {
    let mut cluster = Cluster::prepare(2);
    // Node 2 founds a cluster of its own.
    let mut alone = cluster.config(2, true);
    alone.peers.members.remove(&1);
    let other = cluster.launch(alone).await;
    cluster.until("the other cluster", |_| other.published().state.history().is_some()).await;

    let founder = cluster.start(1, true).await;
    let failure = tokio::time::timeout(Duration::from_secs(20), founder.failed()).await.expect("it gives up");
    assert!(failure.to_string().contains("belongs to cluster"), "{failure}");
    assert!(founder.published().state.history().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_become_one_record() {
    let mut cluster = Cluster::prepare(1);
    let mut config = cluster.config(1, true);
    config.writes.denials_interval = Duration::from_millis(50);
    let node = cluster.launch(config).await;
    cluster.until("the founding", |_| node.published().state.history().is_some()).await;
    let before = node.published().state.sequence();
    for _ in 0..1_000 {
        node.count_denial();
    }
    cluster.until("the record", |_| node.published().state.sequence() > before).await;
    // A second batch may catch what was counted after the first was taken.
    let records = node.audit_page(before, 10).await.expect("read");
    assert!(records.len() <= 2);
    let counted: u64 = records
        .iter()
        .map(|row| {
            let record: serde_json::Value = serde_json::from_slice(&row.bytes).expect("JSON");
            assert_eq!(record["kind"], "denied");
            record["denials"]["count"].as_u64().expect("a number")
        })
        .sum();
    assert!((1..=1_000).contains(&counted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_node_that_the_cluster_does_not_know_gives_up() {
    let mut cluster = Cluster::found(1).await;
    let mut config = cluster.config(1, false);
    // It names the cluster's node as its peer, and nobody there ever heard of it.
    config.node_id = 7;
    config.data_dir = cluster.folder(7);
    config.peers.listen.set_port(0);
    config.peers.members.insert(7, "127.0.0.1:0".to_owned());
    config.waits.join_grace = Duration::from_millis(200);
    config.waits.question_pause = Duration::from_millis(20);
    let node = cluster.launch(config).await;
    let failure = tokio::time::timeout(Duration::from_secs(20), node.failed()).await.expect("it gives up");
    assert!(failure.to_string().contains("does not know this node"), "{failure}");
}

/// A client that sends no `Idempotency-Key` must not be told "unknown" because a node was restarted in good order.
#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_while_the_leader_hands_over() {
    let mut cluster = Cluster::found(3).await;
    cluster.create_shop(1).await;
    let leader = cluster.leader().await;
    let follower = cluster.follower().await;
    let node = Arc::clone(cluster.node(follower));
    let submissions: Vec<_> =
        (0..400).map(|n| cluster.submission(Some("shop"), flag(&format!("flag-{n}"), false))).collect();
    let (tell, mut written) = tokio::sync::mpsc::unbounded_channel();
    let writing = tokio::spawn(async move {
        for submission in submissions {
            tell.send(node.submit(submission, WRITE).await).expect("the test listens");
        }
    });
    let first = written.recv().await.expect("the first write");
    first.expect("answered");
    cluster.stop(leader).await;
    writing.await.expect("no panic");
    let mut count = 1;
    while let Some(submitted) = written.recv().await {
        cluster.accepted(follower, submitted);
        count += 1;
    }
    assert_eq!(count, 400);
    assert_eq!(cluster.node(follower).published().state.revision(), 402, "each exactly once");
}

/// The founder crashed after it had told its peers of the cluster and before Raft was initialized.
#[tokio::test(flavor = "multi_thread")]
async fn a_founding_that_was_cut_short_goes_on() {
    let mut cluster = Cluster::prepare(3);
    let begun = begin_founding(&cluster).await;
    let mut peers = Vec::new();
    for id in [2, 3] {
        let mut config = cluster.config(id, false);
        config.waits.join_grace = Duration::from_millis(1);
        config.waits.question_pause = Duration::from_millis(5);
        peers.push(cluster.launch(config).await);
    }
    let founder = cluster.start(1, true).await;
    peers.push(founder);
    cluster.until("the founding", |_| peers.iter().all(|node| node.reads().readiness().ready)).await;
    assert!(peers.iter().all(|node| node.published().state.cluster_id() == Some(begun)));
    assert!(peers.iter().all(|node| node.failed().now_or_never().is_none()));
}

/// Folders as a founding leaves them that told all nodes of the cluster and came no further.
async fn begin_founding(cluster: &Cluster) -> ClusterId {
    let begun = ClusterId(0xf1a6);
    for id in [1, 2, 3] {
        let metrics = StorageMetrics::register(&prometheus::Registry::new()).expect("registered");
        let storage =
            Storage::open(StorageOptions::new(cluster.folder(id), id, metrics)).expect("a new folder");
        storage.set_cluster_id(begun).await.expect("kept");
    }
    begun
}

/// Restores a backup of a shop into the folder of node 1.
async fn stage_backup(cluster: &Cluster) -> Header {
    let shop = Cluster::found(1).await;
    shop.create_shop(1).await;
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("it is free");
    let started = shop.node(1).backup(shop.node(1).published(), Duration::from_secs(30), permit);
    let (header, stream) = started.expect("founded");
    let backup = stream.try_collect::<Vec<_>>().await.expect("whole").concat();
    let words = Words { operator: "ann".to_owned(), reason: "a drill".to_owned(), ticket: None };
    stage(backup.as_slice(), &cluster.folder(1), words, |_| ()).expect("staged");
    header
}

/// The founder on a backup was cut short after it had told its peers, and then one of those is started with --bootstrap
/// too: an empty catalog under the same cluster id, beside the one that was backed up, would be two histories at once.
#[tokio::test(flavor = "multi_thread")]
async fn no_second_founder_founds_beside_a_restore() {
    let mut cluster = Cluster::prepare(3);
    let header = stage_backup(&cluster).await;
    let begun = begin_founding(&cluster).await;
    let mut second = cluster.config(2, true);
    second.waits.question_pause = Duration::from_millis(1);
    let mut nodes = vec![cluster.launch(second).await, cluster.start(3, false).await];
    nodes.push(cluster.start(1, true).await);
    cluster.until("the founding", |_| nodes.iter().all(|node| node.reads().readiness().ready)).await;
    for node in &nodes {
        let published = node.published();
        assert_eq!(published.state.cluster_id(), Some(begun));
        assert_eq!(published.state.revision(), header.revision + 1, "the backup, and the restore");
        assert_eq!(published.state.sequence(), header.audit_size + 1);
        assert!(node.failed().now_or_never().is_none());
    }
}

/// A member was told of its cluster, and was down while the others founded it. It comes back with --bootstrap.
#[tokio::test(flavor = "multi_thread")]
async fn who_missed_the_founding_founds_nothing() {
    let mut cluster = Cluster::prepare(3);
    let header = stage_backup(&cluster).await;
    let begun = begin_founding(&cluster).await;
    let missed = tempfile::tempdir().expect("a folder");
    copy(&cluster.folder(2), missed.path());
    for id in [2, 3, 1] {
        cluster.start(id, id == 1).await;
    }
    cluster.until("the founding", |cluster| cluster.nodes().all(|node| node.reads().readiness().ready)).await;
    cluster.stop(2).await;
    cluster.until("the backup to go", |cluster| !cluster.folder(1).join("restore").exists()).await;
    // After another start nothing on node 1 says any more who founded.
    cluster.stop(1).await;
    cluster.start(1, true).await;
    // Neither gives it the word that a founder waits for.
    let peers = peer_client_of_2(&cluster, begun);
    for id in [1, 3] {
        let answer = peers.found(id, Found { cluster_id: begun }, WRITE).await;
        let refused =
            matches!(&answer, Err(PeerError::Refused(refusal)) if refusal.code == RefusalCode::Unavailable);
        assert!(refused, "node {id}: {answer:?}");
    }
    fs::remove_dir_all(cluster.folder(2)).expect("removed");
    copy(missed.path(), &cluster.folder(2));
    let mut config = cluster.config(2, true);
    config.waits.question_pause = Duration::from_millis(1);
    let late = cluster.launch(config).await;
    cluster.until("it to be taken in", |_| late.reads().readiness().ready).await;
    assert_eq!(late.published().state.cluster_id(), Some(begun));
    assert_eq!(late.published().state.revision(), header.revision + 1, "the backup, and the restore");
    assert!(late.failed().now_or_never().is_none());
}

/// Whoever gives --join wants another cluster, and would leave the backup behind unseen.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_join_beside_a_backup_that_waits() {
    let cluster = Cluster::prepare(2);
    stage_backup(&cluster).await;
    let mut config = cluster.config(1, false);
    let members = config.peers.members.clone();
    config.join = Some(JoinConfig { members, token_file: cluster.folder(1).join("no-token") });
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let error = Node::start_on(config, listener).await.err().expect("refused").to_string();
    assert!(error.contains("--join") && error.contains("--bootstrap in place of"), "{error}");
    assert!(cluster.folder(1).join("restore").join("backup").is_file(), "it still waits");
}

/// What nobody has restored is not thrown away.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_the_catalog_was_not_founded_on_is_left() {
    let mut cluster = Cluster::prepare(1);
    stage_backup(&cluster).await;
    let (waiting, away) = (cluster.folder(1).join("restore"), tempfile::tempdir().expect("a folder"));
    copy(&waiting, away.path());
    fs::remove_dir_all(&waiting).expect("removed");
    cluster.start(1, true).await;
    cluster.until("the founding", |cluster| cluster.node(1).reads().readiness().ready).await;
    cluster.stop(1).await;
    copy(away.path(), &waiting);
    for bootstrap in [true, false] {
        // By the time that it has elected itself it has long looked after the backup.
        let node = cluster.start(1, bootstrap).await;
        cluster.until("it to be ready", |cluster| cluster.node(1).reads().readiness().ready).await;
        assert!(node.failed().now_or_never().is_none());
        drop(node);
        cluster.stop(1).await;
        assert!(waiting.join("backup").is_file(), "it is left");
    }
}

/// A client that speaks for node 2.
fn peer_client_of_2(cluster: &Cluster, cluster_id: ClusterId) -> PeerClient {
    let members = cluster.node(3).raft_status().members;
    let config = cluster.config(2, false);
    let secret = fs::read(config.peers.secret_file.expect("there is one")).expect("reads");
    let options = PeerOptions {
        node_id: 2,
        uid: members[&2].meta.uid.clone(),
        cluster_id: Some(cluster_id),
        group: GROUP,
        secret: Some(PeerSecret::new(secret).expect("long enough")),
        peers: config.peers.members,
        versions: VersionRange::OURS,
    };
    PeerClient::new(options).expect("a client")
}

/// Copies what is in a folder.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("lists");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("known").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("copied")),
        }
    }
}
