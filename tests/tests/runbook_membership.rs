//! `docs/runbooks/membership.md`, word for word, against a cluster of real processes.

use std::time::Duration;

use flagraft_tests::{
    catalog::switch,
    cluster::{Cluster, Setup},
    runbook::{Runbook, Running, Shell},
    wait,
};
use serde_json::Value;

mod common;
use common::shop::Shop;

const PATIENCE: Duration = Duration::from_secs(60);

/// A machine with an empty folder and free addresses for the node `new`, beside the members that live.
fn machine(cluster: &Cluster, new: u64) -> Shell {
    let folder = cluster.folder().join(format!("machine-{new}"));
    std::fs::create_dir_all(&folder).expect("the folder is new");
    let mut shell = Shell::new(&folder);
    let living = cluster.living();
    let endpoints: Vec<String> = living.iter().map(|id| cluster.anonymous(*id).base().to_owned()).collect();
    let members: Vec<String> =
        living.iter().map(|id| format!("{id}={}", cluster.peer_address(*id))).collect();
    shell
        .set("FLAGRAFT_ENDPOINTS", endpoints.join(","))
        .set("FLAGRAFT_ADMIN_TOKEN", cluster.admin_token())
        .set("NEW", new)
        .set("MEMBERS", members.join(","))
        .set("DATA", "data")
        .set("LISTEN", flagraft_tests::ports::free())
        .set("PEER_LISTEN", flagraft_tests::ports::free())
        .set("PEER_SECRET", cluster.folder().join("peer-secret").display())
        .set("REASON", "a test of the runbook")
        .set("TICKET", "OPS-7");
    shell
}

/// The roles of all members by id, as a founder that lives sees them.
async fn roles(cluster: &Cluster) -> Vec<(u64, String)> {
    let status = cluster.status(cluster.living()[0]).await.body;
    let role = |member: &Value| {
        (member["id"].as_u64().expect("an id"), member["role"].as_str().expect("a role").to_owned())
    };
    status["members"].as_array().expect("members").iter().map(role).collect()
}

async fn voters(cluster: &Cluster) -> Vec<u64> {
    roles(cluster).await.into_iter().filter(|(_, role)| role == "voter").map(|(id, _)| id).collect()
}

async fn told_that_it_was_removed(mut node: Running) {
    let status = node.ended(PATIENCE).await;
    assert_eq!(status.code(), Some(1), "{}", node.log());
    assert!(node.log().contains("was removed from the cluster"), "{}", node.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_does_what_the_runbook_says() {
    let runbook = Runbook::read("docs/runbooks/membership.md");
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let cluster = &mut shop.cluster;
    let shell = machine(cluster, 4);
    let shown = shell.run(runbook.under("Look first")[0]).await;
    assert!(shown.stdout.contains("node 1") || shown.stdout.contains("leads"), "{shown:?}");

    let [add, serve, promote] = runbook.under("Add a member")[..] else { panic!("three steps") };
    shell.run(add).await;
    let fourth = shell.start(serve, "node.log");
    shell.run(promote).await;
    assert_eq!(voters(cluster).await, [1, 2, 3, 4]);

    let shell = machine(cluster, 5);
    let [add, serve, promote] = runbook.under("Add a learner, and let it vote later")[..] else {
        panic!("three steps")
    };
    shell.run(add).await;
    let fifth = shell.start(serve, "node.log");
    wait::until("the learner to be there", PATIENCE, || async {
        let roles = roles(cluster).await;
        if roles.contains(&(5, "learner".to_owned())) { Ok(()) } else { Err(format!("{roles:?}")) }
    })
    .await;
    shell.run(promote).await;
    assert_eq!(voters(cluster).await, [1, 2, 3, 4, 5]);

    let leader = cluster.leader_of_any().await;
    shell.run(runbook.under("Take work off a member")[0]).await;
    assert_ne!(cluster.leader_of_any().await, leader);

    let mut shell = machine(cluster, 6);
    let remove = runbook.under("Remove a member")[0];
    shell.set("OLD", 5);
    shell.run(remove).await;
    told_that_it_was_removed(fifth).await;
    assert_eq!(voters(cluster).await, [1, 2, 3, 4]);
    shell.set("OLD", 4);
    shell.run(remove).await;
    told_that_it_was_removed(fourth).await;
    assert_eq!(voters(cluster).await, [1, 2, 3]);

    // A machine loses its disk, comes back empty, is refused, and is replaced.
    cluster.kill(3);
    cluster.wipe(3);
    cluster.launch(3);
    let status = cluster.ended(3, PATIENCE).await;
    assert_eq!(status.code(), Some(1));
    assert!(cluster.log(3).contains("flagraft cluster replace 3 --with 6 "), "{}", cluster.log(3));
    let mut shell = machine(cluster, 6);
    shell.set("OLD", 3);
    let [replace, serve] = runbook.under("Replace a dead machine, or one that lost its disk")[..] else {
        panic!("two steps")
    };
    let mut replacing = shell.start(replace, "replace.log");
    let token = cluster.folder().join("machine-6/join-token");
    wait::until_true("the join token", PATIENCE, || async { token.exists() }).await;
    let _sixth = shell.start(serve, "node.log");
    let status = replacing.ended(PATIENCE).await;
    assert!(status.success(), "{}", replacing.log());
    assert_eq!(voters(cluster).await, [1, 2, 6]);
    runbook.assert_all_ran();
}
