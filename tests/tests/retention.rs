//! Retention: what is old enough goes on every node alike, what is held stays, and everything that proves the log goes on
//! proving it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::Path,
    time::Duration,
};

use flagraft_tests::{
    api::Api,
    audit,
    catalog::{ENVIRONMENT, PROJECT, counter},
    cluster::{Cluster, Setup},
    settings::measured,
    wait,
};
use serde_json::{Value, json};

mod common;
use common::{
    cli::Cli,
    export::{self, text, trust, verify},
    shop::Shop,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// Sets a node's clock back, so that what it records is old by the true one.
const CLOCK: &str = "FLAGRAFT_CLOCK_AHEAD_MS";
const THREE_DAYS_AGO: &str = "-259200000";

/// A cluster that lives three days ago, and keeps little of the Raft log.
async fn three_days_ago() -> Shop {
    let setup = Setup::of(3)
        .with_checkpoints()
        .with_env(CLOCK, THREE_DAYS_AGO)
        .with_arg("--audit-retention-interval-ms", 300)
        .with_arg("--accounts-interval-ms", 200)
        .with_arg("--snapshot-after-entries", 40)
        .with_arg("--keep-entries", 10);
    Shop::open(setup, &[counter("probe", 7, false)]).await
}

/// Ends all nodes. They start again at this time.
fn stop_and_set_the_clock(cluster: &mut Cluster, ahead_ms: Option<&str>) {
    cluster.kill_all();
    for id in cluster.ids() {
        cluster.set_env(id, CLOCK, ahead_ms);
    }
}

/// The records that a node lists, by sequence: as their JSON.
async fn listed(node: &Api) -> BTreeMap<u64, String> {
    let by_sequence = |record: &Value| (record["sequence"].as_u64().expect("a number"), record.to_string());
    audit::selected(node, "").await.iter().map(by_sequence).collect()
}

fn of_kind(records: &BTreeMap<u64, String>, kind: &str) -> Vec<u64> {
    let wanted = format!("\"kind\":\"{kind}\"");
    records.iter().filter(|(_, record)| record.contains(&wanted)).map(|(sequence, _)| *sequence).collect()
}

/// Lets the probe count, change by change.
async fn count_to(node: &Api, counts: Range<u64>) {
    for count in counts {
        let put = json!({"op": "flag.put", "flag": counter("probe", count, false)});
        node.change(PROJECT, "a change", vec![put]).ok().await;
    }
}

/// What a node proves of a record: whether it was removed, and its hash.
async fn proved(node: &Api, sequence: u64) -> (bool, String) {
    let proof = node.get(&format!("/api/v1/audit/proof?sequence={sequence}")).ok().await.body;
    let leaf = proof["leaf"].as_str().expect("a hash").to_owned();
    (proof["removed"].as_bool().expect("it is said"), leaf)
}

/// Waits until a majority has signed all that there is now, as every node knows.
async fn signed(cluster: &Cluster) {
    let size = cluster.fingerprint(cluster.living()[0]).await.audit_size;
    export::signed(cluster, size).await;
}

/// What a file says of the log's first `size` records and of what was removed among them: all its lines but the first and the last.
fn body(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("it was made");
    let lines: Vec<&str> = text.lines().collect();
    lines[1..lines.len() - 1].iter().map(|line| (*line).to_owned()).collect()
}

/// Waits until none of these records is left on a node.
async fn gone(node: &Api, sequences: &BTreeSet<u64>) {
    wait::until("old records to be removed", PATIENCE, || async {
        let left: Vec<u64> =
            listed(node).await.into_keys().filter(|sequence| sequences.contains(sequence)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} are left")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_old_goes_everywhere_what_is_held_stays_and_the_log_proves_itself() {
    let mut shop = three_days_ago().await;
    let cluster = &mut shop.cluster;
    let node = cluster.admin(1);
    for count in 0..6 {
        let unknown =
            json!({"op": "flag.disable", "flag": format!("nothing-{count}"), "environment": ENVIRONMENT});
        assert_eq!(node.change(PROJECT, "a mistake", vec![unknown]).answer().await.status, 404);
        count_to(&node, count..count + 1).await;
    }
    wait::until("reads to be accounted for", PATIENCE, || async {
        let records = listed(&node).await;
        if of_kind(&records, "access").len() >= 3 {
            Ok(())
        } else {
            Err(format!("{} records", records.len()))
        }
    })
    .await;
    let before = listed(&node).await;
    let rejected = of_kind(&before, "rejected");
    assert_eq!(rejected.len(), 6);
    let hashes = {
        let mut hashes = BTreeMap::new();
        for sequence in before.keys() {
            hashes.insert(*sequence, proved(&node, *sequence).await);
        }
        hashes
    };
    assert!(hashes.values().all(|(removed, _)| !removed));
    signed(cluster).await;
    let keys = trust(cluster).await;
    let witnessed = cluster.folder().join("witnessed");
    let checkpoint = Cli::of(cluster).run(&["audit", "checkpoint"]).await.expect_exit(0).stdout;
    let size: u64 = checkpoint.lines().nth(1).expect("a size").parse().expect("a number");
    fs::write(&witnessed, checkpoint).expect("written");

    // Three days pass at once. Node 3 is away while records are removed.
    stop_and_set_the_clock(cluster, None);
    cluster.launch(1);
    cluster.launch(2);
    cluster.ready(1).await;
    cluster.ready(2).await;
    let held = rejected[2].to_string();
    let after_held = (rejected[2] + 1).to_string();
    let cli = Cli::of_living(cluster);
    cli.run(&[
        "audit",
        "retention",
        "hold",
        "put",
        "case-7",
        "--from",
        &held,
        "--to",
        &after_held,
        "-r",
        "Case 7",
    ])
    .await
    .expect_exit(0);
    // The last record that was seen stays too: within a stretch that is gone an export has no root to compare.
    let (last, after_last) = ((size - 1).to_string(), size.to_string());
    let put =
        ["audit", "retention", "hold", "put", "seen", "--from", &last, "--to", &after_last, "-r", "seen"];
    cli.run(&put).await.expect_exit(0);
    cli.run(&["audit", "retention", "set", "rejected=1", "access=2", "-r", "our policy"])
        .await
        .expect_exit(0);
    let going: BTreeSet<u64> = of_kind(&before, "access")
        .into_iter()
        .chain(rejected.iter().copied())
        .filter(|sequence| ![rejected[2], size - 1].contains(sequence))
        .collect();
    // Whoever leads is killed in the middle of it, and the other can't go on alone: it comes back, and one of both does.
    let leader = cluster.leader().await;
    cluster.kill(leader);
    cluster.restart(leader).await;
    for id in [1, 2] {
        gone(&cluster.admin(id), &going).await;
        let left = listed(&cluster.admin(id)).await;
        for (sequence, record) in &before {
            let expected = (!going.contains(sequence)).then_some(record);
            assert_eq!(left.get(sequence), expected, "record {sequence} on node {id}");
        }
    }

    // Node 3 comes back after all that.
    count_to(&cluster.admin(1), 100..220).await;
    cluster.restart(3).await;
    gone(&cluster.admin(3), &going).await;
    // Either way it has to have no more than the others: by entries here, mostly; by a snapshot in the tests of the receiver.
    let came = cluster.metrics(3).await.get("flagraft_snapshot_received_records_total");
    measured("a node that was away while records were removed: records that came by a snapshot", came);
    for sequence in before.keys() {
        for id in cluster.ids() {
            let (removed, leaf) = proved(&cluster.admin(id), *sequence).await;
            assert_eq!(removed, going.contains(sequence), "record {sequence} on node {id}");
            assert_eq!(leaf, hashes[sequence].1, "record {sequence} on node {id}");
        }
    }

    // Whoever has the keys and no cluster: the log is the one that was signed before, with holes where records were removed.
    signed(cluster).await;
    let bodies: Vec<Vec<String>> = {
        let mut bodies = Vec::new();
        for id in cluster.ids() {
            let file = export::export(cluster, id, &format!("export-{id}"), &[]).await;
            let seen = ["--witnessed", text(&witnessed)];
            let summary = verify(&file, &keys, &seen).expect_exit(0).json();
            let removed = summary["skipped"]["removed"].as_u64().expect("a number");
            assert!(removed >= going.len() as u64, "{summary}");
            bodies.push(body(&file));
        }
        bodies
    };
    let shortest = bodies.iter().map(Vec::len).min().expect("three");
    assert!(shortest > 20);
    let first_lines: BTreeSet<&[String]> = bodies.iter().map(|lines| &lines[..shortest / 2]).collect();
    assert_eq!(first_lines.len(), 1, "the nodes have the same rows");
    let proof =
        Cli::of(cluster).run(&["audit", "proof", &rejected[0].to_string(), "--trust", text(&keys)]).await;
    assert!(proof.expect_exit(0).stdout.contains("retention removed it"));

    // The past is still there, for changes are kept.
    let path = format!("/api/v1/projects/{PROJECT}/flags/probe");
    let history = cluster.admin(3).get(&format!("{path}/history?limit=500")).ok().await;
    assert!(history.body.to_string().matches("a change").count() >= 126);
    let first = before.values().find(|record| record.contains("\"a change\"")).expect("there were six");
    let first: Value = serde_json::from_str(first).expect("a record");
    let then = cluster.admin(3).get(&format!("{path}?at_revision={}", first["revision_after"])).ok().await;
    assert_eq!(then.body["variants"]["count"], json!(0));

    // A backup brings the holes and the hold back, and the log goes on from there.
    let backup = cluster.folder().join("backup");
    Cli::of(cluster).run(&["backup", "--to", text(&backup)]).await.expect_exit(0);
    let restored = Setup::of(1).on_backup(&backup).start().await;
    let again = listed(&restored.admin(1)).await;
    for (sequence, record) in &before {
        assert_eq!(again.get(sequence), (!going.contains(sequence)).then_some(record), "record {sequence}");
    }
    let kept = restored.admin(1).get("/api/v1/audit/retention").ok().await.body;
    assert_eq!(kept["holds"][0]["id"], "case-7");
    assert_eq!((&kept["keep_days"]["rejected"], &kept["keep_days"]["change"]), (&json!(1), &json!(null)));

    // The hold is lifted, and what it kept goes.
    Cli::of(cluster)
        .run(&["audit", "retention", "hold", "delete", "case-7", "-r", "the case is closed"])
        .await
        .expect_exit(0);
    for id in cluster.ids() {
        gone(&cluster.admin(id), &BTreeSet::from([rejected[2]])).await;
    }
}

const TWO_DAYS_AHEAD: &str = "172800000";

/// What a node says the probe counted at a revision: `Err` with the oldest revision that it can tell.
async fn counted(node: &Api, revision: u64) -> Result<Value, u64> {
    let path = format!("/api/v1/projects/{PROJECT}/flags/probe?at_revision={revision}");
    let answer = node.get(&path).answer().await;
    match answer.status {
        200 => Ok(answer.body["variants"]["count"].clone()),
        410 => Err(answer.body["error"]["details"]["oldest_revision"].as_u64().expect("a revision")),
        other => panic!("{other}: {}", answer.body),
    }
}

/// What the probe had counted after each revision that a change of it made.
fn counts(records: &BTreeMap<u64, String>) -> BTreeMap<u64, Value> {
    let of_probe = |record: &String| {
        let record: Value = serde_json::from_str(record).expect("a record");
        let count = record["operations"][0]["operation"]["flag"]["variants"]["count"].clone();
        let revision = record["revision_after"].as_u64().expect("a revision");
        (record["reason"] == "a change").then_some((revision, count))
    };
    records.values().filter_map(of_probe).collect()
}

/// Waits until the edge is at least at a revision on a node, and returns it.
async fn edge(node: &Api, at_least: u64) -> u64 {
    wait::until("the edge to go on", PATIENCE, || async {
        let retention = node.get("/api/v1/audit/retention").ok().await.body;
        let revision = retention["edge"]["revision"].as_u64().unwrap_or(0);
        if revision >= at_least { Ok(revision) } else { Err(format!("it is at {revision}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_old_go_and_the_past_begins_with_their_catalog() {
    let mut shop = three_days_ago().await;
    let cluster = &mut shop.cluster;
    count_to(&cluster.admin(1), 0..20).await;
    let then = listed(&cluster.admin(1)).await;
    let changes: BTreeSet<u64> = of_kind(&then, "change").into_iter().collect();
    let (last, at_last) =
        counts(&then).last_key_value().map(|(at, count)| (*at, count.clone())).expect("twenty");
    assert_eq!(at_last, json!(19));

    // Three days pass. Node 3 is away while changes are removed, and the leader is killed in the middle of it.
    stop_and_set_the_clock(cluster, None);
    for id in [1, 2] {
        cluster.launch(id);
    }
    for id in [1, 2] {
        cluster.ready(id).await;
    }
    count_to(&cluster.admin(1), 100..110).await;
    let set = ["audit", "retention", "set", "change=1", "-r", "our policy"];
    Cli::of_living(cluster).run(&set).await.expect_exit(0);
    let leader = cluster.leader().await;
    cluster.kill(leader);
    cluster.restart(leader).await;
    for id in [1, 2] {
        gone(&cluster.admin(id), &changes).await;
    }
    count_to(&cluster.admin(1), 110..200).await;
    cluster.restart(3).await;
    gone(&cluster.admin(3), &changes).await;
    let later = counts(&listed(&cluster.admin(1)).await);
    assert_eq!(later.len(), 100, "those of today are kept");
    cluster.agreed().await;

    // Every node tells what was from the edge on, and of before it where the past begins.
    let first_edge = edge(&cluster.admin(1), last).await;
    for id in cluster.ids() {
        let node = cluster.admin(id);
        assert_eq!(edge(&node, last).await, first_edge, "node {id}");
        assert_eq!(counted(&node, first_edge).await, Ok(json!(19)), "node {id}");
        for (revision, count) in later.iter().step_by(9) {
            assert_eq!(counted(&node, *revision).await.as_ref(), Ok(count), "node {id}");
        }
        for revision in [1, last - 5, first_edge - 1] {
            assert_eq!(counted(&node, revision).await, Err(first_edge), "node {id}");
        }
    }
    let path = format!("/api/v1/projects/{PROJECT}/flags/probe/history?limit=500");
    let history = cluster.admin(2).get(&path).ok().await.body.to_string();
    assert_eq!(history.matches("a change").count(), 100);
    let shown = Cli::of(cluster).run(&["audit", "retention", "show"]).await.expect_exit(0);
    assert!(shown.stdout.contains(&format!("revision {first_edge}")), "{}", shown.stdout);

    // Whoever has an export and the keys: the log is whole, with holes that its own records explain.
    signed(cluster).await;
    let keys = trust(cluster).await;
    let file = export::export(cluster, 3, "after-the-edge", &[]).await;
    let summary = verify(&file, &keys, &[]).expect_exit(0).json();
    assert!(summary["skipped"]["removed"].as_u64() >= Some(changes.len() as u64), "{summary}");

    // A restored cluster has the catalog with the log.
    let backup = cluster.folder().join("backup");
    Cli::of(cluster).run(&["backup", "--to", text(&backup)]).await.expect_exit(0);
    let restored = Setup::of(1).on_backup(&backup).start().await;
    assert_eq!(counted(&restored.admin(1), first_edge).await, Ok(json!(19)));
    assert_eq!(counted(&restored.admin(1), first_edge - 1).await, Err(first_edge));

    // Two days later what was new is old: the edge goes on, and the catalog that it had goes with the changes.
    let catalog = catalog_records(&listed(&cluster.admin(1)).await);
    assert!(!catalog.is_empty());
    let (last, at_last) = later.last_key_value().expect("a hundred");
    stop_and_set_the_clock(cluster, Some(TWO_DAYS_AHEAD));
    cluster.launch_all();
    for id in cluster.ids() {
        cluster.ready(id).await;
    }
    for id in cluster.ids() {
        let node = cluster.admin(id);
        gone(&node, &catalog).await;
        let second_edge = edge(&node, *last).await;
        assert_eq!(counted(&node, second_edge).await.as_ref(), Ok(at_last), "node {id}");
        assert_eq!(counted(&node, *last - 1).await, Err(second_edge), "node {id}");
        assert_eq!(counts(&listed(&node).await), BTreeMap::new(), "node {id}");
    }
    count_to(&cluster.admin(1), 7..8).await;
    let newest = counts(&listed(&cluster.admin(1)).await);
    cluster.agreed().await;
    for (revision, count) in &newest {
        assert_eq!(counted(&cluster.admin(2), *revision).await.as_ref(), Ok(count));
    }
    // Whoever had them removed had made the same catalog of its own records before; nobody made another one.
    let mut same = 0;
    for id in cluster.ids() {
        let checks = cluster.metrics(id).await;
        let of =
            |result: &str| checks.get(&format!("flagraft_audit_edge_checks_total{{result=\"{result}\"}}"));
        assert_eq!(of("other"), 0, "node {id}");
        same += of("same");
    }
    assert!(same > 0);
}

/// The records that have a part of a catalog.
fn catalog_records(records: &BTreeMap<u64, String>) -> BTreeSet<u64> {
    let is_one = |record: &&String| record.contains("\"op\":\"audit.catalog.put\"");
    records.iter().filter(|(_, record)| is_one(record)).map(|(sequence, _)| *sequence).collect()
}
