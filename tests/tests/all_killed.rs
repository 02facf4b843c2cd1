//! All nodes are killed at once while clients write: nothing that was acknowledged is lost. And a node whose disk
//! fails to sync ends, and acknowledges nothing after.

use std::time::Duration;

use flagraft_tests::{
    audit,
    catalog::{PROJECT, counter, put},
    cluster::Setup,
    load::Writers,
    settings::{measured, rng, rounds},
};

mod common;
use common::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_all_nodes_are_killed_at_once() {
    let turns = rounds(3, 20);
    let mut rng = rng();
    let mut shop = Shop::open(Setup::of(3), &[counter("probe", 0, false)]).await;
    let writers = Writers::start(&shop.cluster, 3, None).await;
    for _ in 0..turns {
        let before = writers.acknowledged();
        let some = rng.u64(3..30);
        writers.beyond(before + some, Duration::from_secs(30)).await;
        shop.cluster.kill_all();
        let acknowledged = writers.acknowledged();
        for id in shop.cluster.ids() {
            shop.cluster.launch(id);
        }
        for id in shop.cluster.ids() {
            shop.cluster.ready(id).await;
        }
        writers.beyond(acknowledged, Duration::from_secs(30)).await;
    }
    let written = writers.finish().await;
    let print = shop.cluster.agreed().await;
    for id in shop.cluster.ids() {
        assert_eq!(audit::each_once(&shop.cluster.admin(id), &written).await, print.audit_size);
    }
    measured(
        "all nodes killed at once: turns, writes acknowledged, of which lost",
        format!("{turns}, {}, 0", written.acknowledged.len()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_sync_ends_and_acknowledges_nothing_after() {
    // Enough syncs to found the cluster and to write a little; the test finds out which write meets the failure.
    let mut shop = Shop::open(Setup::of(1), &[counter("probe", 0, false)]).await;
    shop.cluster.terminate(1, Duration::from_secs(20)).await;
    shop.cluster.set_env(1, "FLAGRAFT_FAIL_SYNC_AFTER", Some("20"));
    shop.cluster.restart(1).await;
    let node = shop.cluster.admin(1);
    let mut acknowledged = 0;
    for count in 1..=100 {
        let change =
            node.change(PROJECT, &format!("probe is {count}"), vec![put(&counter("probe", count, false))]);
        match change.send().await {
            Ok(answer) if answer.is_success() => {
                assert_eq!(acknowledged + 1, count, "acknowledged after a write that was not");
                acknowledged = count;
            }
            // No answer, or one that says that it is unknown: never a success.
            Ok(answer) => assert!(answer.status >= 500, "{answer:?}"),
            Err(_) => {}
        }
    }
    assert!(
        (1..100).contains(&acknowledged),
        "the sync did not fail among the writes: {acknowledged} were acknowledged"
    );
    let status = shop.cluster.ended(1, Duration::from_secs(10)).await;
    assert!(!status.success(), "a node whose disk failed must not look as if it had stopped well: {status}");
    let log = shop.cluster.log(1).to_lowercase();
    assert!(log.contains("sync"), "its log does not say why it ended");

    shop.cluster.set_env(1, "FLAGRAFT_FAIL_SYNC_AFTER", None);
    shop.cluster.restart(1).await;
    let accepted = audit::accepted_by_reason(&audit::records(&shop.cluster.admin(1)).await);
    for count in 1..=acknowledged {
        assert_eq!(accepted.get(&format!("probe is {count}")), Some(&1), "acknowledged and lost");
    }
    measured("a failing sync: writes acknowledged before it, after it", format!("{acknowledged}, 0"));
}
