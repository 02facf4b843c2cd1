//! The members' audit logs are one log, at every size, whatever is killed; and a witness elsewhere sees it if they are not.

use std::{fs, path::PathBuf, time::Duration};

use flagraft_tests::{
    catalog::{counter, switch},
    cluster::{Cluster, Setup},
    load::Writers,
    settings::{measured, rng, rounds},
    wait,
};
use serde_json::Value;

mod common;
use common::{cli::Cli, export, shop::Shop};

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the newest checkpoint of every node has at least this many records and the signatures of all three.
async fn signed_by_all(cluster: &Cluster, size: u64) {
    wait::until("a checkpoint that all sign", PATIENCE, || async {
        let status = cluster.status(cluster.living()[0]).await.body;
        let members = status["members"].as_array().expect("members").clone();
        let is_signed = |member: &Value| {
            let checkpoint = &member["checkpoint"];
            checkpoint["size"].as_u64() >= Some(size)
                && checkpoint["signers"].as_array().map(Vec::len) == Some(3)
        };
        if members.iter().all(is_signed) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
}

/// The root of a node's log when it had this many records.
async fn root(cluster: &Cluster, id: u64, size: u64) -> String {
    let proof = cluster.admin(id).get(&format!("/api/v1/audit/proof?from={size}&to={size}")).ok().await;
    proof.body["from_root"].as_str().expect("a root").to_owned()
}

/// The file of trusted keys, those of three nodes.
async fn trust(cluster: &Cluster) -> PathBuf {
    let file = export::trust(cluster).await;
    let keys = fs::read_to_string(&file).expect("it was made");
    assert_eq!(keys.lines().count(), 3, "{keys}");
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn all_members_have_one_log_at_every_size_whatever_is_killed() {
    let turns = rounds(4, 40);
    let mut rng = rng();
    let mut shop = Shop::open(Setup::of(3).with_checkpoints(), &[counter("probe", 0, false)]).await;
    signed_by_all(&shop.cluster, 1).await;
    let (trust, state) = (trust(&shop.cluster).await, shop.cluster.folder().join("witness"));
    let (trust, state) = (trust.display().to_string(), state.display().to_string());
    let witness = ["audit", "witness", "--once", "--state", &state, "--trust", &trust, "--output", "json"];
    let writers = Writers::start(&shop.cluster, 3, None).await;
    let mut seen = 0;
    for _ in 0..turns {
        let before = writers.acknowledged();
        let some = rng.u64(40..120);
        writers.beyond(before + some, PATIENCE).await;
        let victim = rng.u64(1..=3);
        shop.cluster.kill(victim);
        let acknowledged = writers.acknowledged();
        writers.beyond(acknowledged + 5, PATIENCE).await;
        shop.cluster.restart(victim).await;
        // The witness finds nothing wrong, and sees the log grow.
        let size = Cli::of(&shop.cluster).run(&witness).await.expect_exit(0).json()["size"].as_u64();
        let size = size.expect("a size");
        assert!(size >= seen, "{size} after {seen}");
        seen = size;
    }
    drop(writers.finish().await);
    let print = shop.cluster.agreed().await;
    signed_by_all(&shop.cluster, print.audit_size).await;
    let mut compared = 0;
    for size in (100..=print.audit_size).step_by(100).chain([print.audit_size]) {
        let first = root(&shop.cluster, 1, size).await;
        for id in [2, 3] {
            assert_eq!(root(&shop.cluster, id, size).await, first, "node {id} at {size} records");
        }
        compared += 1;
    }
    // Each record, by the command line that believes no node.
    for sequence in [0, print.audit_size / 2, print.audit_size - 1] {
        let sequence = sequence.to_string();
        let ran = Cli::of(&shop.cluster)
            .run(&["audit", "proof", &sequence, "--trust", &trust])
            .await
            .expect_exit(0);
        assert!(ran.stdout.contains("is in the audit log of"), "{ran:?}");
    }
    measured(
        "equal roots on three nodes: sizes compared, kills, records",
        format!("{compared}, {turns}, {}", print.audit_size),
    );
}

/// A cluster that was restored from a backup has a log of its own: whoever puts it in the place of the old one is seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_witness_that_meets_a_restored_log_shouts() {
    let shop = Shop::open(Setup::of(3).with_checkpoints(), &[switch("gate", true)]).await;
    let old = &shop.cluster;
    signed_by_all(old, old.agreed().await.audit_size).await;
    let (trust, state) = (trust(old).await, old.folder().join("witness"));
    let (trust, state) = (trust.display().to_string(), state.display().to_string());
    let witness = ["audit", "witness", "--once", "--state", &state, "--trust", &trust, "--output", "json"];
    let first = Cli::of(old).run(&witness).await.expect_exit(0).json();

    let backup = old.folder().join("backup");
    Cli::of(old).run(&["backup", "--to", &backup.display().to_string()]).await.expect_exit(0);
    let new = Setup::of(3).with_checkpoints().on_backup(&backup).start().await;
    signed_by_all(&new, first["size"].as_u64().expect("a size")).await;
    // The new cluster's nodes have keys of their own, which this witness does not trust.
    let ran = Cli::of(&new).run(&witness).await.expect_exit(8);
    let error: Value = serde_json::from_str(&ran.stderr).expect("JSON on standard error");
    assert_eq!(error["error"]["code"], "verification_failed", "{error}");
    assert!(ran.stderr.contains("0 of the trusted nodes signed the checkpoint"), "{ran:?}");
    // Whoever gives it those as well is still told that it is another log.
    let keys = Cli::of(&new).run(&["audit", "keys"]).await.expect_exit(0).stdout;
    fs::write(&trust, keys).expect("written");
    let ran = Cli::of(&new).run(&witness).await.expect_exit(8);
    assert!(ran.stderr.contains("is another one"), "{ran:?}");
    // The old cluster is as it was, but for a witness that trusts other keys now.
    let ran = Cli::of(old).run(&witness).await.expect_exit(8);
    assert!(ran.stderr.contains("0 of the trusted nodes signed the checkpoint"), "{ran:?}");
}
