//! Disks that fail otherwise than by a power cut: a sync fails once and then succeeds; the disk fills up, slowly or at
//! once; it turns read-only. A node acknowledges nothing that is not on the disk, reads what it has, and comes back when
//! there is room.

use std::time::{Duration, Instant};

use flagraft_tests::{
    api::{Answer, Consistency},
    audit,
    catalog::{ENVIRONMENT, PROJECT, SAFE_COUNT, counter, put, switch},
    cluster::{Cluster, Setup},
    disk::{Disk, DiskSpec},
    load::{Readers, Writers},
    process::FATAL_EXIT_CODE,
    settings::measured,
    wait,
};
use serde_json::{Value, json};

mod common;
use common::shop::Shop;

const MIB: u64 = 1024 * 1024;
const DISK: DiskSpec = DiskSpec::of_mib(384);
/// What the nodes of these tests keep free, and what the tests leave them when they fill a disk: so little that they
/// propose nothing, and that they take nothing.
const RESERVE: u64 = 64 * MIB;
const LOW: u64 = 48 * MIB;
const FULL: u64 = 16 * MIB;
/// The age at which the nodes of these tests stop to be ready.
const READY_AGE: Duration = Duration::from_secs(3);
/// Within this a node notices that its disk is full, or has room again.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);
/// Within this a node is back once there is room.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

fn with_reserve(bytes: u64) -> Setup {
    Setup::of(3)
        .with_disks(DISK)
        .with_arg("--disk-reserve-bytes", bytes)
        .with_arg("--ready-max-age-ms", READY_AGE.as_millis())
}

async fn shop(setup: Setup) -> Shop {
    Shop::open(setup, &[switch("banner", false), counter("gate", 7, true), counter("probe", 0, false)]).await
}

/// What a node's disk lets it do, as another node is told.
async fn disk_state(cluster: &Cluster, asked: u64, of: u64) -> String {
    let status = cluster.status(asked).await.body;
    let members = status["members"].as_array().cloned().unwrap_or_default();
    let member = members.iter().find(|member| member["id"] == of);
    member.and_then(|member| member["disk"]["state"].as_str()).unwrap_or("unknown").to_owned()
}

async fn until_disk_is(cluster: &Cluster, asked: u64, of: u64, wanted: &str, limit: Duration) {
    wait::until(&format!("the disk of node {of} to be {wanted}"), limit, || async {
        match disk_state(cluster, asked, of).await {
            state if state == wanted => Ok(()),
            state => Err(format!("node {asked} says that it is {state}")),
        }
    })
    .await;
}

async fn term(cluster: &Cluster, id: u64) -> u64 {
    cluster.status(id).await.body["term"].as_u64().expect("a term")
}

async fn metric(cluster: &Cluster, id: u64, name: &str) -> String {
    let text = cluster.admin(id).get("/metrics").ok().await.body;
    let lines = text.as_str().expect("text").lines().map(str::to_owned).collect::<Vec<_>>();
    let line = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no metric {name}")).to_owned()
}

fn write(shop: &Shop, id: u64, count: u64) -> flagraft_tests::api::Call {
    let operations = vec![put(&counter("probe", count, false))];
    shop.cluster.admin(id).change(PROJECT, &format!("probe is {count}"), operations)
}

/// An ordinary read, which a living node always answers.
async fn read(shop: &Shop, id: u64) -> Answer {
    let answer = shop.reader(id).evaluate("banner", &json!({"targetingKey": "anyone"})).ok().await;
    assert_eq!((answer.consistency(), answer.value()), (Consistency::Local, &json!(true)), "{answer:?}");
    answer
}

/// Waits until a node is not ready any more, and asserts that its answers had grown as old as that by then.
async fn until_too_old(shop: &Shop, id: u64) {
    wait::until("/readyz to fall", READY_AGE * 4, || async {
        let ready = shop.cluster.anonymous(id).get("/readyz").answer().await;
        if ready.status == 503 { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await;
    let age = Duration::from_millis(read(shop, id).await.age_ms().expect("it is known"));
    assert!(age >= READY_AGE, "it is not ready, though its state was current {age:?} ago");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_fails_once_ends_the_node_although_the_next_would_succeed() {
    if !Disk::here("a sync that fails once and then succeeds") {
        return;
    }
    let on_shelf = DiskSpec::of_mib(512).on_shelf_of_mib(384);
    let mut shop = shop(Setup::of(1).with_disks(on_shelf).with_arg("--disk-reserve-bytes", 0)).await;
    for count in 1..=20 {
        write(&shop, 1, count).ok().await;
    }
    shop.cluster.disk(1).narrow_shelf();
    let mut acknowledged = 20;
    for count in 21..=200 {
        match write(&shop, 1, count).send().await {
            Ok(answer) if answer.is_success() => {
                assert_eq!(acknowledged + 1, count, "acknowledged after a write that was not");
                acknowledged = count;
            }
            Ok(answer) => assert!(answer.status >= 500, "{answer:?}"),
            Err(_) => {}
        }
    }
    assert!(acknowledged < 200, "invalid run: no sync failed");
    let status = shop.cluster.ended(1, Duration::from_secs(10)).await;
    assert_eq!(status.code(), Some(FATAL_EXIT_CODE), "{status}");
    assert!(
        shop.cluster.log(1).contains("syncing the write-ahead log failed"),
        "its log does not say why it ended"
    );

    shop.cluster.disk(1).widen_shelf(384);
    shop.cluster.restart(1).await;
    write(&shop, 1, 1_000).ok().await;
    // What the system remembers and the disk never got counts for nothing.
    shop.cluster.kill(1);
    shop.cluster.disk(1).read_anew();
    shop.cluster.restart(1).await;
    let accepted = audit::accepted_by_reason(&audit::records(&shop.cluster.admin(1)).await);
    for count in (1..=acknowledged).chain([1_000]) {
        assert_eq!(accepted.get(&format!("probe is {count}")), Some(&1), "acknowledged and lost");
    }
    measured(
        "a sync that fails once: writes acknowledged on a narrow shelf before it, after it",
        format!("{}, 0", acknowledged - 20),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_is_full_lags_and_costs_the_others_nothing() {
    if !Disk::here("a follower's full disk") {
        return;
    }
    let shop = shop(with_reserve(RESERVE)).await;
    let leader = shop.cluster.leader().await;
    let follower = shop.cluster.follower().await;
    let readers = Readers::start(&shop.cluster, &shop.token, "banner", &json!(true));
    let writers = Writers::start(&shop.cluster, 3, None).await;
    let before = term(&shop.cluster, leader).await;

    shop.cluster.disk(follower).fill(FULL);
    until_disk_is(&shop.cluster, leader, follower, "full", NOTICED_WITHIN).await;
    until_too_old(&shop, follower).await;
    // Long enough for several elections, had there been occasion for one.
    let revision = shop.cluster.fingerprint(follower).await.revision;
    writers.beyond(writers.acknowledged() + 100, HEALED_WITHIN).await;
    assert_eq!(shop.cluster.fingerprint(follower).await.revision, revision, "it took entries");
    assert_eq!((shop.cluster.leader().await, term(&shop.cluster, leader).await), (leader, before));
    let critical = shop.reader(follower).evaluate("gate", &json!({})).ok().await;
    assert_eq!(
        (critical.consistency(), critical.value()),
        (Consistency::SafeVariant, &json!(SAFE_COUNT)),
        "it lags, so it can't be sure: {critical:?}"
    );
    let verbose = shop.cluster.admin(follower).get("/readyz?verbose").answer().await;
    assert!(verbose.body.to_string().contains("the disk is full"), "{verbose:?}");
    assert_eq!(metric(&shop.cluster, follower, "flagraft_disk_full").await, "2");
    assert_eq!(metric(&shop.cluster, leader, "flagraft_disk_full").await, "0");
    let free: u64 =
        metric(&shop.cluster, follower, "flagraft_disk_free_bytes").await.parse().expect("a number");
    assert!(free < RESERVE / 2, "{free}");

    shop.cluster.disk(follower).free();
    let freed = Instant::now();
    wait::until("the follower to be ready", HEALED_WITHIN, || async {
        let ready = shop.cluster.anonymous(follower).get("/readyz").answer().await;
        if ready.status == 200 { Ok(()) } else { Err(format!("{ready:?}")) }
    })
    .await;
    let healed = freed.elapsed();
    let written = writers.finish().await;
    assert_eq!(written.unknown, Vec::<String>::new(), "a full follower cost writes");
    let failures = readers.finish().await;
    assert!(failures.is_empty(), "ordinary reads failed: {failures:#?}");
    let print = shop.cluster.agreed().await;
    assert_eq!(audit::each_once(&shop.cluster.admin(follower), &written).await, print.audit_size);
    measured(
        "a follower's disk full: writes acknowledged meanwhile, of which lost; ready again after (ms)",
        format!("{}, 0; {}", written.acknowledged.len(), healed.as_millis()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_full_hands_over_once() {
    if !Disk::here("a leader's full disk") {
        return;
    }
    let shop = shop(with_reserve(RESERVE)).await;
    let leader = shop.cluster.leader().await;
    let before = term(&shop.cluster, leader).await;
    let writers = Writers::start(&shop.cluster, 3, None).await;
    shop.cluster.disk(leader).fill(LOW);
    let filled = Instant::now();
    wait::until("another member to lead", NOTICED_WITHIN, || async {
        match shop.cluster.leader().await {
            other if other != leader => Ok(()),
            _ => Err("the one without room leads"),
        }
    })
    .await;
    let handed_over = filled.elapsed();
    let go_on = || async {
        writers.beyond(writers.acknowledged() + 200, HEALED_WITHIN).await;
    };
    go_on().await;
    // What is low still follows; what is full does not.
    assert_eq!(disk_state(&shop.cluster, leader, leader).await, "low");
    let ready = shop.cluster.anonymous(leader).get("/readyz").answer().await;
    assert_eq!(ready.status, 200, "{ready:?}");
    shop.cluster.disk(leader).fill(FULL);
    until_too_old(&shop, leader).await;
    go_on().await;
    let next = shop.cluster.leader().await;
    assert_eq!(term(&shop.cluster, next).await, before + 1, "leadership went to and fro");

    shop.cluster.disk(leader).free();
    wait::until_true("the disk to have room", HEALED_WITHIN, || async {
        disk_state(&shop.cluster, next, leader).await == "ok"
    })
    .await;
    let written = writers.finish().await;
    assert_eq!(written.unknown, Vec::<String>::new(), "the handover cost writes");
    let print = shop.cluster.agreed().await;
    assert_eq!(audit::each_once(&shop.cluster.admin(leader), &written).await, print.audit_size);
    measured("the leader's disk full: another member led after (ms)", handed_over.as_millis());
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_disks_are_full_writes_are_refused_and_reads_go_on() {
    if !Disk::here("the full disks of all nodes") {
        return;
    }
    let mut shop = shop(with_reserve(RESERVE)).await;
    let readers = Readers::start(&shop.cluster, &shop.token, "banner", &json!(true));
    for id in shop.cluster.ids() {
        shop.cluster.disk(id).fill(FULL);
    }
    for id in shop.cluster.ids() {
        until_disk_is(&shop.cluster, id, id, "full", NOTICED_WITHIN).await;
    }
    for id in shop.cluster.ids() {
        refused_for_its_disk(&shop, id).await;
    }
    let dry = json!({"reason": "try", "dry_run": true, "operations": [put(&counter("probe", 1, false))]});
    shop.cluster.admin(1).post(&format!("/api/v1/projects/{PROJECT}/changes"), &dry).ok().await;
    // Nothing new comes, and the quorum says so: what there is is current.
    for id in shop.cluster.ids() {
        read(&shop, id).await;
        shop.sure(id, "gate").await;
        assert_eq!(shop.cluster.anonymous(id).get("/readyz").answer().await.status, 200);
    }
    // Nor does it take room to elect a leader that can confirm reads.
    let leader = shop.cluster.leader().await;
    shop.cluster.kill(leader);
    for id in shop.cluster.living() {
        shop.sure(id, "gate").await;
    }
    shop.cluster.restart(leader).await;
    refused_for_its_disk(&shop, leader).await;

    for id in shop.cluster.ids() {
        shop.cluster.disk(id).free();
    }
    let freed = Instant::now();
    wait::until("writes to be taken", HEALED_WITHIN, || async {
        let answer = write(&shop, 1, 1_000).answer().await;
        if answer.is_success() { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let healed = freed.elapsed();
    let failures = readers.finish().await;
    assert!(failures.is_empty(), "ordinary reads failed: {failures:#?}");
    shop.cluster.agreed().await;
    let accepted = audit::accepted_by_reason(&audit::records(&shop.cluster.admin(1)).await);
    for id in shop.cluster.ids() {
        assert_eq!(accepted.get(&format!("probe is {}", 100 + id)), None, "refused, and it took effect");
    }
    measured("all disks full: writes taken again after (ms)", healed.as_millis());
}

/// Every change is refused through a node, and soon for the reason that the disks are full: a leader that a busy machine
/// has kept from its followers for a moment says that first, and promises as well that nothing was changed.
async fn refused_for_its_disk(shop: &Shop, id: u64) {
    let answer = wait::until("a change to be refused for the full disks", NOTICED_WITHIN, || async {
        let answer = write(shop, id, 100 + id).answer().await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        match answer.error_code() {
            Some("disk_full") => Ok(answer),
            Some("unavailable") => Err(format!("{answer:?}")),
            _ => panic!("a change is refused for another reason: {answer:?}"),
        }
    })
    .await;
    let message = answer.error_message().unwrap_or_default();
    assert!(message.contains("the disk of node") && message.contains("make room"), "{message}");
}

/// Changes of nearly the greatest size, until a node's disk refuses one. Gives how many were acknowledged.
async fn flood(shop: &Shop, through: u64, node: u64) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for turn in 0..200_u64 {
        let reason = format!("flood {turn}");
        let text = format!("{turn:04}").repeat(15_000);
        let flags = (0..12).map(|flag| {
            put(&json!({
                "key": format!("flood-{flag}"), "type": "string", "off_variant": "off",
                "variants": {"on": text, "off": ""},
                "environments": {ENVIRONMENT: {"enabled": true, "default": {"variant": "on"}}},
            }))
        });
        let change = shop.cluster.admin(through).change(PROJECT, &reason, flags.collect());
        let answer = change.idempotent(&reason).send().await;
        if answer.is_ok_and(|answer| answer.is_success()) {
            acknowledged.push(reason);
        }
        if disk_state(&shop.cluster, through, node).await == "refusing" {
            return acknowledged;
        }
    }
    panic!("invalid run: {} large changes found room on a full disk", acknowledged.len());
}

/// No reserve, so that a write finds no room: what happens too when another program fills the disk at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_finds_no_room_reads_on_and_starts_anew_when_there_is() {
    if !Disk::here("a write that finds no room") {
        return;
    }
    let mut shop = shop(with_reserve(0)).await;
    let leader = shop.cluster.leader().await;
    let other = shop.cluster.follower().await;
    let pid = shop.cluster.pid(leader);
    let readers = Readers::start(&shop.cluster, &shop.token, "banner", &json!(true));
    shop.cluster.disk(leader).fill(0);
    let acknowledged = flood(&shop, other, leader).await;

    // The others go on; this one reads what it has, for as long as that is young enough.
    wait::until("the others to take writes", HEALED_WITHIN, || async {
        let answer = write(&shop, other, 1).answer().await;
        if answer.is_success() { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    read(&shop, leader).await;
    // While it still asks who leads it says that it is unavailable.
    wait::until("the node to say that its disk is full", HEALED_WITHIN, || async {
        let refused = write(&shop, leader, 2).answer().await;
        assert_eq!(refused.status, 503, "{refused:?}");
        if refused.error_code() == Some("disk_full") { Ok(()) } else { Err(format!("{refused:?}")) }
    })
    .await;
    assert_eq!(metric(&shop.cluster, leader, "flagraft_disk_full").await, "3");
    until_too_old(&shop, leader).await;
    // It is back before its clients notice more than a restart.
    let failures = readers.finish().await;
    assert!(failures.is_empty(), "ordinary reads failed: {failures:#?}");

    shop.cluster.disk(leader).free();
    let freed = Instant::now();
    until_disk_is(&shop.cluster, other, leader, "ok", HEALED_WITHIN).await;
    shop.cluster.ready(leader).await;
    let healed = freed.elapsed();
    assert_eq!(shop.cluster.pid(leader), pid, "it is the same process to whoever watches it");
    assert!(shop.cluster.log(leader).contains("this node starts anew"));
    shop.cluster.agreed().await;
    let accepted = audit::accepted_by_reason(&audit::records(&shop.cluster.admin(leader)).await);
    for reason in &acknowledged {
        assert_eq!(accepted.get(reason), Some(&1), "acknowledged and lost: {reason}");
    }
    assert_eq!(accepted.get("probe is 2"), None, "refused, and it took effect");
    let stopped = shop.cluster.terminate(leader, Duration::from_secs(20)).await;
    assert!(stopped.success(), "{stopped}");
    measured(
        "a write that finds no room: large writes acknowledged, of which lost; ready again after (ms)",
        format!("{}, 0; {}", acknowledged.len(), healed.as_millis()),
    );
}

/// Waits until a node that was started once has synced all of its log, so that no sync is under way on an idle cluster:
/// one that fails would end the process.
async fn until_synced(cluster: &Cluster, id: u64) {
    wait::until("the log to be synced", NOTICED_WITHIN, || async {
        let figure = async |name: &str| metric(cluster, id, name).await.parse::<f64>().expect("a number");
        let synced = figure("flagraft_storage_sync_entries_sum").await;
        let last = figure(r#"flagraft_raft_index{which="last_log"}"#).await;
        if synced > last { Ok(()) } else { Err(format!("{synced} entries synced, the last is {last}")) }
    })
    .await;
}

/// Raft's core and the state machine each wait in a write to such a disk, on a thread of the runtime, and on a machine with two
/// processors the runtime had no other: the node answered nothing, not even whether it lived, until its disk went on.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_disk_does_nothing_goes_on_reading() {
    /// Writes that the others do meanwhile.
    const WITHOUT_IT: u64 = 30;
    if !Disk::here("a follower's frozen disk") {
        return;
    }
    let shop = shop(with_reserve(RESERVE)).await;
    let follower = shop.cluster.follower().await;
    let writers = Writers::start(&shop.cluster, 3, None).await;
    writers.beyond(50, HEALED_WITHIN).await;
    let revision = shop.cluster.fingerprint(follower).await.revision;
    let frozen = shop.cluster.disk(follower).freeze();
    let begun = Instant::now();
    let readers = Readers::start(&shop.cluster, &shop.token, "banner", &json!(true));
    // Each write through it waits in vain for its effect there, so there are few.
    writers.beyond(writers.acknowledged() + WITHOUT_IT, HEALED_WITHIN).await;
    until_too_old(&shop, follower).await;
    let behind = shop.cluster.fingerprint(follower).await.revision;
    let lasted = begun.elapsed();
    drop(frozen);
    let failures = readers.finish().await;
    assert!(failures.is_empty(), "ordinary reads failed: {failures:#?}");
    assert!(behind < revision + WITHOUT_IT, "invalid run: it was not held up, from {revision} to {behind}");
    let written = writers.finish().await;
    let print = shop.cluster.agreed().await;
    assert_eq!(audit::each_once(&shop.cluster.admin(follower), &written).await, print.audit_size);
    measured(
        "a follower's disk frozen: for (ms), ordinary reads that failed",
        format!("{}, 0", lasted.as_millis()),
    );
}

/// As the system does it when it finds the file system damaged. Only unmounting ends that, so a person has to.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_turns_read_only_reads_on_until_it_is_stopped() {
    if !Disk::here("a disk turned read-only") {
        return;
    }
    let mut shop = shop(with_reserve(RESERVE)).await;
    let leader = shop.cluster.leader().await;
    let other = shop.cluster.follower().await;
    write(&shop, other, 1).ok().await;
    until_synced(&shop.cluster, leader).await;
    shop.cluster.disk(leader).turn_read_only();
    // Whether this one took effect is not known to whoever is asked by then; it is not said to have.
    if let Ok(answer) = write(&shop, leader, 2).send().await {
        assert!(answer.status >= 500, "acknowledged by a node that could not write it: {answer:?}");
    }
    until_disk_is(&shop.cluster, other, leader, "refusing", NOTICED_WITHIN).await;
    read(&shop, leader).await;
    until_too_old(&shop, leader).await;
    wait::until("the others to take writes", HEALED_WITHIN, || async {
        let answer = write(&shop, other, 3).answer().await;
        if answer.is_success() { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let verbose: Value = shop.cluster.admin(leader).get("/readyz?verbose").answer().await.body;
    assert!(verbose.to_string().contains("the disk refused a write"), "{verbose}");

    let stopped = shop.cluster.terminate(leader, Duration::from_secs(20)).await;
    assert!(stopped.success(), "{stopped}");
    shop.cluster.disk(leader).repair();
    shop.cluster.restart(leader).await;
    shop.cluster.agreed().await;
    let accepted = audit::accepted_by_reason(&audit::records(&shop.cluster.admin(leader)).await);
    for count in [1, 3] {
        assert_eq!(accepted.get(&format!("probe is {count}")), Some(&1), "acknowledged and lost");
    }
}
