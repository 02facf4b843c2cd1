//! Members come and go while the cluster is at work: from three to five and back, with nodes killed in between; a
//! machine that lost its disk is refused, and another one takes its place; and commands that come together do no harm.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::Answer,
    audit,
    catalog::{put, switch},
    cluster::{Cluster, Setup},
    load::{Readers, Writers, Written},
    settings::{measured, rng, rounds},
    wait,
};
use reqwest::Method;
use serde_json::{Value, json};

mod common;
use common::{cli::Cli, shop::Shop};

const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a request to one living node after another until one gives an answer that is not "try again".
async fn insist(cluster: &Cluster, method: &Method, path: &str, body: Option<&Value>) -> Answer {
    let key = format!("insist-{}", fastrand::u64(..));
    wait::until(&format!("an answer to {method} {path}"), PATIENCE, || async {
        let mut seen = String::new();
        for id in cluster.living() {
            let mut call = cluster.admin(id).call(method.clone(), path).idempotent(&key);
            if let Some(body) = body {
                call = call.json(body);
            }
            match call.send().await {
                Ok(answer) if answer.status < 500 && answer.status != 429 => return Ok(answer),
                Ok(answer) => seen = format!("{answer:?}"),
                Err(error) => seen = error.to_string(),
            }
        }
        Err(seen)
    })
    .await
}

/// Invites the next node and prepares it; it is not started. Gives its id.
async fn invite(cluster: &mut Cluster, role: &str) -> u64 {
    let next = cluster.ids().len() + 1;
    let body = json!({"node_id": next, "role": role, "reason": "a node of a test"});
    let answer = insist(cluster, &Method::POST, "/api/v1/cluster/members", Some(&body)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let token = cluster.folder().join(format!("join-token-{next}"));
    fs::write(&token, answer.body["join_token"].as_str().expect("shown once")).expect("written");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let living = cluster.living();
    cluster.newcomer(&living, &token)
}

/// Removes a member, whoever has to be asked; waits for nothing.
async fn remove(cluster: &Cluster, id: u64) -> Answer {
    insist(cluster, &Method::DELETE, &format!("/api/v1/cluster/members/{id}?reason=enough"), None).await
}

/// The process of a node that was removed, or is refused, ends by itself and says why.
async fn ends_saying(cluster: &mut Cluster, id: u64, why: &str) {
    let status = cluster.ended(id, PATIENCE).await;
    assert_eq!(status.code(), Some(1), "node {id}: {status}");
    assert!(cluster.log(id).contains(why), "node {id} does not say {why:?}: {}", cluster.log(id));
}

async fn goes_on(writers: &Writers) {
    writers.beyond(writers.acknowledged() + 5, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_become_five_and_three_again_under_load_and_kills() {
    let turns = rounds(2, 20);
    let mut rng = rng();
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let mut reads = 0;
    let mut all = Written::default();
    let mut slowest = Duration::ZERO;
    for turn in 1..=turns {
        let begun = Instant::now();
        let cluster = &mut shop.cluster;
        let founders = cluster.settled().await;
        assert_eq!(founders.len(), 3, "{founders:?}");
        let nodes: Vec<_> = founders.iter().map(|id| cluster.admin(*id)).collect();
        let mut writers = Writers::start_on(&format!("turn-{turn}"), &nodes, 3, Some(7)).await;
        let mut parts = Vec::new();
        let readers = Readers::start(cluster, &shop.token, "banner", &json!(true));
        goes_on(&writers).await;

        // Two nodes are invited, and the leader is killed while they are taken in.
        let (first, second) = (invite(cluster, "voter").await, invite(cluster, "voter").await);
        cluster.launch(first);
        cluster.launch(second);
        wait::pace(Duration::from_millis(rng.u64(0..1_000))).await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        goes_on(&writers).await;
        cluster.restart(leader).await;
        cluster.ready(first).await;
        cluster.ready(second).await;
        let five = cluster.settled().await;
        assert_eq!(five.len(), 5, "{five:?}");
        goes_on(&writers).await;
        // From now on the clients know all five: two of them will go, and a third be dead for a while.
        let nodes: Vec<_> = five.iter().map(|id| cluster.admin(*id)).collect();
        let on_five = Writers::start_on(&format!("turn-{turn}-of-five"), &nodes, 3, Some(7)).await;
        parts.push(std::mem::replace(&mut writers, on_five).finish().await);

        // One of the five goes, whichever, while another one is dead.
        let mut order = five.clone();
        rng.shuffle(&mut order);
        let (dead, leaving) = (order[0], order[1]);
        cluster.kill(dead);
        cluster.leaves(leaving);
        let answer = remove(cluster, leaving).await;
        assert!(answer.is_success(), "{answer:?}");
        ends_saying(cluster, leaving, "was removed from the cluster").await;
        cluster.restart(dead).await;
        goes_on(&writers).await;

        // And the one that leads goes, and is killed in the middle of that, or another one is.
        cluster.settled().await;
        let leader = cluster.leader().await;
        cluster.leaves(leader);
        let answer = remove(cluster, leader).await;
        assert!(answer.is_success(), "{answer:?}");
        wait::pace(Duration::from_millis(rng.u64(0..200))).await;
        let now_leads = cluster.leader().await;
        cluster.kill(now_leads);
        goes_on(&writers).await;
        cluster.restart(now_leads).await;
        ends_saying(cluster, leader, "was removed from the cluster").await;
        let three = cluster.settled().await;
        assert_eq!(three.len(), 3, "{three:?}");
        assert!(!three.contains(&leader) && !three.contains(&leaving), "{three:?}");

        parts.push(writers.finish().await);
        reads += readers.answered();
        let failures = readers.finish().await;
        assert!(failures.is_empty(), "{} reads failed on living nodes: {failures:#?}", failures.len());
        for written in parts {
            audit::each_once(&cluster.admin(three[0]), &written).await;
            all.acknowledged.extend(written.acknowledged);
            all.unknown.extend(written.unknown);
        }
        slowest = slowest.max(begun.elapsed());
    }
    shop.cluster.agreed().await;
    let living = shop.cluster.living();
    audit::each_once(&shop.cluster.admin(living[0]), &all).await;
    measured(
        "3 -> 5 -> 3 with kills: turns, slowest turn in ms, writes acknowledged, never acknowledged, reads, failed reads",
        format!(
            "{turns}, {}, {}, {}, {reads}, 0",
            slowest.as_millis(),
            all.acknowledged.len(),
            all.unknown.len()
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_learner_follows_under_load_and_votes_only_when_it_is_told_to() {
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let cluster = &mut shop.cluster;
    let writers = Writers::start(cluster, 3, Some(7)).await;
    let learner = invite(cluster, "learner").await;
    cluster.launch(learner);
    cluster.ready(learner).await;
    let readers = Readers::start(cluster, &shop.token, "banner", &json!(true));
    goes_on(&writers).await;
    assert_eq!(cluster.settled().await, [1, 2, 3]);
    let member = |status: &Value| status["members"].as_array().expect("members")[3].clone();
    let status = cluster.status(learner).await.body;
    assert_eq!((&member(&status)["role"], &member(&status)["state"]), (&json!("learner"), &json!("learner")));

    // It does not count: with it and one voter dead, writes go on; and it catches up when it is back.
    cluster.kill(learner);
    let follower = cluster.follower().await;
    cluster.kill(follower);
    goes_on(&writers).await;
    cluster.restart(learner).await;
    cluster.restart(follower).await;
    goes_on(&writers).await;
    assert_eq!(cluster.settled().await, [1, 2, 3], "a restart makes no voter");

    let path = format!("/api/v1/cluster/members/{learner}/promote");
    let body = json!({"reason": "it is needed", "ticket": "OPS-1"});
    let answer = insist(cluster, &Method::POST, &path, Some(&body)).await;
    assert!(answer.is_success(), "{answer:?}");
    assert_eq!(cluster.settled().await, [1, 2, 3, learner]);
    let again = insist(cluster, &Method::POST, &path, Some(&body)).await;
    assert_eq!(
        (again.status, &again.body["outcome"], &again.body["done"]),
        (200, &json!("unchanged"), &json!(true))
    );

    let written = writers.finish().await;
    let failures = readers.finish().await;
    assert!(failures.is_empty(), "{failures:#?}");
    audit::each_once(&cluster.admin(1), &written).await;
    cluster.agreed().await;
    // Who, when and why is in the log.
    let records = audit::records(&cluster.admin(1)).await;
    let promotions =
        records.iter().filter(|record| record["ticket"] == "OPS-1" && record["outcome"] == "accepted");
    let promotions: Vec<_> = promotions.collect();
    assert_eq!(promotions.len(), 1);
    assert_eq!(promotions[0]["kind"], "system");
    assert_eq!(promotions[0]["operations"][0]["operation"]["op"], "system.member.promote");
}

/// A machine lost its disk. Its node does not come in under its old id; the message names the command that puts a new
/// one in its place, and that one command does it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_node_is_refused_and_replaced_by_the_command_that_it_names() {
    let turns = rounds(2, 20);
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let cluster = &mut shop.cluster;
    let mut rng = rng();
    let mut refused = 0;
    let mut slowest = Duration::ZERO;
    for turn in 1..=turns {
        let members = cluster.settled().await;
        let lost = *rng.choice(&members).expect("three");
        let writers = {
            let others: Vec<_> =
                members.iter().filter(|id| **id != lost).map(|id| cluster.admin(*id)).collect();
            Writers::start_on(&format!("wiped-{turn}"), &others, 2, None).await
        };
        goes_on(&writers).await;
        cluster.kill(lost);
        cluster.wipe(lost);
        // It may be the founder, with --bootstrap: no second cluster is founded beside the one that lives either.
        cluster.launch(lost);
        let next = cluster.ids().len() + 1;
        ends_saying(cluster, lost, &format!("flagraft cluster replace {lost} --with ")).await;
        refused += 1;
        goes_on(&writers).await;

        let begun = Instant::now();
        let token = cluster.folder().join(format!("join-token-{next}"));
        let living = cluster.living();
        let new = cluster.newcomer(&living, &token);
        let cli = Cli::of_living(cluster);
        let (lost_id, new_id, token_file) = (lost.to_string(), new.to_string(), token.display().to_string());
        let command = [
            "cluster",
            "replace",
            &lost_id,
            "--with",
            &new_id,
            "--join-token-file",
            &token_file,
            "--reason",
            "its disk is lost",
            "--output",
            "json",
        ];
        let replacing = async { cli.run(&command).await };
        let starting = async {
            wait::until_true("the join token", PATIENCE, || async { PathBuf::from(&token_file).exists() })
                .await;
            cluster.launch(new);
        };
        let (ran, ()) = tokio::join!(replacing, starting);
        let ran = ran.expect_exit(0);
        assert_eq!(ran.json()["done"], true, "{ran:?}");
        slowest = slowest.max(begun.elapsed());
        cluster.ready(new).await;
        // Once more, as somebody who did not see the end of it would: it changes nothing.
        cli.run(&command).await.expect_exit(0);
        let voters = cluster.settled().await;
        assert!(voters.contains(&new) && !voters.contains(&lost) && voters.len() == 3, "{voters:?}");
        let written = writers.finish().await;
        audit::each_once(&cluster.admin(new), &written).await;
    }
    cluster.agreed().await;
    measured(
        "wiped nodes: refused under the old id, replaced, slowest replacement in ms",
        format!("{refused}, {turns}, {}", slowest.as_millis()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_removed_that_would_lose_the_quorum() {
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let cluster = &mut shop.cluster;
    let follower = cluster.follower().await;
    cluster.kill(follower);
    let living = cluster.living();
    for id in &living {
        let answer = remove(cluster, *id).await;
        assert_eq!((answer.status, &answer.body["error"]["code"]), (409, &json!("quorum")), "{answer:?}");
        assert!(answer.error_message().expect("why").contains("1 of 2"), "{answer:?}");
    }
    // The dead one may go, and then the next, down to the last.
    assert!(remove(cluster, follower).await.is_success());
    assert_eq!(cluster.settled().await, living);
    let leader = cluster.leader().await;
    let other = *living.iter().find(|id| **id != leader).expect("two");
    cluster.leaves(leader);
    assert!(remove(cluster, leader).await.is_success());
    ends_saying(cluster, leader, "was removed").await;
    assert_eq!(cluster.settled().await, [other]);
    let answer = remove(cluster, other).await;
    assert_eq!((answer.status, &answer.body["error"]["code"]), (409, &json!("in_use")), "{answer:?}");
    assert!(remove(cluster, follower).await.is_success(), "what is gone already is no error");
    shop.change(other, "one voter is a quorum of one", vec![put(&switch("banner", true))]).await;
}

/// The removed node that is started again is told so, and takes nobody's time.
#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_that_comes_back_is_told_so_and_disturbs_nobody() {
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let cluster = &mut shop.cluster;
    let removed = cluster.follower().await;
    cluster.kill(removed);
    assert!(remove(cluster, removed).await.is_success());
    let two = cluster.settled().await;
    let before = cluster.status(two[0]).await.body;
    cluster.launch(removed);
    ends_saying(cluster, removed, &format!("node {removed} was removed from the cluster")).await;
    let after = cluster.status(two[0]).await.body;
    assert_eq!(
        (&before["term"], &before["leader"]),
        (&after["term"], &after["leader"]),
        "no election was held"
    );
    // Nor does it help to wipe its folder.
    cluster.wipe(removed);
    cluster.launch(removed);
    ends_saying(cluster, removed, "was removed from the cluster").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_come_together_do_no_harm() {
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let cluster = &mut shop.cluster;
    let writers = Writers::start(cluster, 2, None).await;
    let learners = [invite(cluster, "learner").await, invite(cluster, "learner").await];
    for id in learners {
        cluster.launch(id);
        cluster.ready(id).await;
    }
    // All at once, each through every node, with leadership handed about.
    let leader = cluster.leader().await;
    let goes = [1, 2, 3].into_iter().find(|id| *id != leader).expect("three");
    cluster.leaves(goes);
    let mut requests = tokio::task::JoinSet::new();
    for id in cluster.living() {
        let node = cluster.admin(id);
        for (method, path, body) in [
            (Method::POST, "/api/v1/cluster/members/4/promote".to_owned(), Some(json!({"reason": "r"}))),
            (Method::POST, "/api/v1/cluster/members/5/promote".to_owned(), Some(json!({"reason": "r"}))),
            (Method::DELETE, format!("/api/v1/cluster/members/{goes}?reason=r"), None),
            (Method::POST, "/api/v1/cluster/leader".to_owned(), Some(json!({"reason": "r"}))),
        ] {
            let node = node.clone();
            requests.spawn(async move {
                let mut call = node.call(method, &path);
                if let Some(body) = &body {
                    call = call.json(body);
                }
                (path, call.send().await)
            });
        }
    }
    while let Some(done) = requests.join_next().await {
        let (path, answer) = done.expect("no panic");
        // A leader that hands over refuses for a moment; nothing else is wrong with any of them.
        if let Ok(answer) = answer {
            assert!(answer.is_success() || [409, 503, 504].contains(&answer.status), "{path}: {answer:?}");
        }
    }
    // What was unsure is asked for again.
    for id in learners {
        let path = format!("/api/v1/cluster/members/{id}/promote");
        assert!(insist(cluster, &Method::POST, &path, Some(&json!({"reason": "r"}))).await.is_success());
    }
    assert!(remove(cluster, goes).await.is_success());
    ends_saying(cluster, goes, "was removed").await;
    let voters = cluster.settled().await;
    let expected: Vec<u64> = (1..=5).filter(|id| *id != goes).collect();
    assert_eq!(voters, expected);
    goes_on(&writers).await;
    let written = writers.finish().await;
    audit::each_once(&cluster.admin(expected[0]), &written).await;
    cluster.agreed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_whom_it_is_given() {
    let shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let cluster = &shop.cluster;
    for _ in 0..5 {
        let leader = cluster.leader().await;
        let to = leader % 3 + 1;
        let body = json!({"reason": "maintenance", "to": to});
        let answer = insist(cluster, &Method::POST, "/api/v1/cluster/leader", Some(&body)).await;
        assert_eq!((answer.status, &answer.body["leader"]), (200, &json!(to)), "{answer:?}");
        assert_eq!(cluster.leader().await, to);
    }
    let body = json!({"reason": "maintenance", "to": 9});
    let answer = insist(cluster, &Method::POST, "/api/v1/cluster/leader", Some(&body)).await;
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.error_message().expect("why").contains("does not vote"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_members_stand_is_shown_and_follows_a_restart() {
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let cluster = &mut shop.cluster;
    let id = cluster.follower().await;
    let shown = |status: &Value| {
        let members = status["members"].as_array().expect("members").clone();
        let member = members.into_iter().find(|member| member["id"] == id).expect("it is a member");
        json!([member["zone"], member["region"], member["labels"]])
    };
    assert_eq!(shown(&cluster.status(1).await.body), json!(["", "", {}]));
    cluster.kill(id);
    let place = ["--zone", "b", "--region", "eu", "--label", "rack=7"].map(str::to_owned);
    cluster.args_mut(id).extend(place);
    cluster.restart(id).await;
    for other in cluster.ids() {
        wait::until("the member's new place", PATIENCE, || async {
            let seen = shown(&cluster.status(other).await.body);
            if seen == json!(["b", "eu", {"rack": "7"}]) { Ok(()) } else { Err(seen.to_string()) }
        })
        .await;
    }
    let table = Cli::of(cluster).run(&["cluster", "status"]).await.expect_exit(0);
    assert!(table.stdout.contains("b,eu,rack=7"), "{table:?}");
    assert_eq!(cluster.settled().await, [1, 2, 3]);
}

/// A token is good once: whoever copies it comes too late, and one that was made anew makes the old one void.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_lets_one_node_in() {
    let mut shop = Shop::open(Setup::of(1), &[switch("banner", false)]).await;
    let cluster = &mut shop.cluster;
    let first = invite(cluster, "learner").await;
    let token = fs::read_to_string(cluster.folder().join(format!("join-token-{first}"))).expect("read");
    // The same id once more: another token, and the first is void.
    let body = json!({"node_id": first, "role": "learner", "reason": "the first was lost"});
    let second = insist(cluster, &Method::POST, "/api/v1/cluster/members", Some(&body)).await;
    assert_eq!(second.status, 201, "{second:?}");
    cluster.launch(first);
    ends_saying(cluster, first, "the one that was made last").await;
    let path = cluster.folder().join(format!("join-token-{first}"));
    fs::write(&path, second.body["join_token"].as_str().expect("shown once")).expect("written");
    assert_ne!(fs::read_to_string(&path).expect("read"), token);
    cluster.restart(first).await;
    // Its token is used up, and its file may go: a restart asks for neither.
    fs::remove_file(&path).expect("removed");
    cluster.kill(first);
    cluster.restart(first).await;
    // The same token under another folder is too late.
    fs::write(&path, second.body["join_token"].as_str().expect("shown once")).expect("written");
    cluster.kill(first);
    cluster.wipe(first);
    cluster.launch(first);
    ends_saying(cluster, first, "another data folder").await;
}
