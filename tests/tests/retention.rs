//! Retention: what is old enough goes on every node alike, what is held stays, and everything that proves the log goes on
//! proving it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
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
        .with_arg("--audit-retention-interval-ms", 300)
        .with_arg("--accounts-interval-ms", 200)
        .with_arg("--snapshot-after-entries", 40)
        .with_arg("--keep-entries", 10);
    let mut cluster = setup.prepare();
    for id in cluster.ids() {
        cluster.set_env(id, CLOCK, Some(THREE_DAYS_AGO));
    }
    cluster.launch_all();
    for id in cluster.ids() {
        cluster.ready(id).await;
    }
    cluster.learn_admin();
    Shop::of(cluster, &[counter("probe", 7, false)]).await
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
        let put = json!({"op": "flag.put", "flag": counter("probe", count, false)});
        node.change(PROJECT, "a change", vec![put]).ok().await;
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
    let checkpoint = Cli::of(cluster).run(&["audit", "checkpoint"]).await.expect_exit(0);
    fs::write(&witnessed, checkpoint.stdout).expect("written");

    // Three days pass at once. Node 3 is away while records are removed.
    cluster.kill_all();
    for id in cluster.ids() {
        cluster.set_env(id, CLOCK, None);
    }
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
    cli.run(&["audit", "retention", "set", "rejected=1", "access=2", "-r", "our policy"])
        .await
        .expect_exit(0);
    let going: BTreeSet<u64> = of_kind(&before, "access")
        .into_iter()
        .chain(rejected.iter().copied())
        .filter(|sequence| *sequence != rejected[2])
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
    for count in 100..220 {
        let put = json!({"op": "flag.put", "flag": counter("probe", count, false)});
        cluster.admin(1).change(PROJECT, "a change", vec![put]).ok().await;
    }
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
