//! Two of three are gone for good: the survivor goes on alone, as the runbook says.

use std::time::{Duration, Instant};

use flagraft_tests::{
    audit,
    catalog::{PROJECT, counter, put, switch},
    cluster::Setup,
    load::Writers,
    runbook::{Runbook, Shell},
    settings::{measured, rng, rounds},
    wait,
};
use serde_json::{Value, json};

mod common;
use common::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn the_survivor_of_a_lost_quorum_goes_on_as_the_runbook_says() {
    let turns = rounds(2, 10);
    let mut rng = rng();
    let runbook = Runbook::read("lost-quorum");
    let mut slowest = Duration::ZERO;
    for _ in 0..turns {
        let mut shop = Shop::open(Setup::of(3), &[counter("probe", 7, false), switch("gate", true)]).await;
        let writers = Writers::start(&shop.cluster, 3, None).await;
        let some = rng.u64(20..80);
        wait::until_true("the load to run", Duration::from_secs(30), || async {
            writers.acknowledged() > some
        })
        .await;
        // All stop in the middle of it, and two of the folders are lost.
        shop.cluster.kill_all();
        let begun = Instant::now();
        let acknowledged = writers.acknowledged();
        let mut shell = Shell::new([
            ("FLAGRAFT_ADMIN_TOKEN", shop.cluster.admin_token().to_owned()),
            ("FLAGRAFT_OPERATOR", "ann".to_owned()),
        ]);
        // Any two: the one that has most may be among them. What it alone had is lost then.
        let survivor = rng.u64(1..=3);
        let folder = |id: u64| shop.cluster.data(id).display().to_string();
        shell.set("FLAGRAFT_ENDPOINTS", shop.cluster.anonymous(survivor).base());
        let inspected: Vec<Value> = (1..=3)
            .map(|id| {
                shell.set("DATA", folder(id));
                let [look] = runbook.commands("Choose the survivor that has most") else {
                    panic!("one block")
                };
                shell.run(look);
                serde_json::from_str(&shell.run(&format!("{} --output json", look.trim_end()))).expect("JSON")
            })
            .collect();
        let before = &inspected[usize::try_from(survivor - 1).expect("small")];
        assert_eq!(before["node"], json!(survivor));
        shell.set("DATA", folder(survivor));
        go_on_alone(&runbook, &mut shell);
        // "Start the survivor".
        shop.cluster.restart(survivor).await;
        let seen: Vec<String> =
            runbook.commands("See that it is there").iter().map(|commands| shell.run(commands)).collect();
        let took = begun.elapsed();
        slowest = slowest.max(took);
        let seen = seen.join("\n");
        assert!(seen.contains("system.recover") && seen.contains("INC-8"), "{seen}");

        let node = shop.cluster.admin(survivor);
        let status = shop.cluster.status(survivor).await.body;
        assert_ne!(status["cluster"], before["cluster"]);
        assert_ne!(status["history"], before["history"]);
        assert_eq!(status["members"].as_array().map(Vec::len), Some(1), "{status}");
        let records = audit::records(&node).await;
        let recovery =
            records.iter().find(|record| record["operations"][0]["operation"]["op"] == "system.recover");
        let recovery = recovery.expect("it is recorded");
        assert_eq!(recovery["revision_before"], before["revision"], "every entry of its log was kept");
        let from = &recovery["operations"][0]["operation"]["from"];
        assert_eq!(
            (&from["last"], &from["committed"], &from["history"]),
            (&before["last"], &before["committed"], &before["history"])
        );
        // What lies in its log is there once; only what others acknowledged behind its back may be missing.
        let accepted = audit::accepted_by_reason(&records);
        let written = writers.finish().await;
        let last = before["revision"].as_u64().expect("a revision");
        for (reason, revision) in written.acknowledged.iter().filter(|(_, revision)| *revision <= last) {
            assert_eq!(accepted.get(reason), Some(&1), "{reason}, acknowledged at revision {revision}");
        }
        assert!(acknowledged > 0);
        // It serves: critical flags too, with the tokens of before, and takes writes.
        assert_eq!(shop.reader(survivor).evaluate("gate", &json!({})).ok().await.value(), &json!(true));
        node.change(PROJECT, "it lives", vec![put(&counter("probe", 8, false))]).ok().await;
        let token = format!("{}.1", before["history"].as_str().expect("a history"));
        let old = node.get("/api/v1/projects").header("Flagraft-Min-Revision", &token).answer().await;
        assert_eq!(old.status, 412, "{old:?}");
        // And it comes back as what it is now.
        shop.cluster.kill(survivor);
        shop.cluster.restart(survivor).await;
        assert_eq!(shop.cluster.status(survivor).await.body["history"], status["history"]);
    }
    measured(
        "lost quorum drill: turns, well, slowest (ms)",
        format!("{turns}, {turns}, {}", slowest.as_millis()),
    );
}

/// An old member that comes back is refused by the cluster's id, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_member_is_refused_by_the_recovered_cluster() {
    let mut shop = Shop::open(Setup::of(3), &[counter("probe", 7, false)]).await;
    recovered(&mut shop, 1).await;
    let before = shop.cluster.status(1).await.body;
    shop.cluster.launch(2);
    wait::until("node 1 to refuse node 2", Duration::from_secs(20), || async {
        let log = shop.cluster.log(1);
        if log.contains("a message from a peer is refused") { Ok(()) } else { Err("it did not yet") }
    })
    .await;
    for count in 0..5 {
        shop.count(1, "probe", count, false).await;
    }
    let after = shop.cluster.status(1).await.body;
    assert_eq!((&after["history"], &after["term"]), (&before["history"], &before["term"]), "undisturbed");
    assert_eq!(after["members"].as_array().map(Vec::len), Some(1));
    // The old member leads nobody either: it has no quorum.
    let lonely =
        shop.cluster.admin(2).change(PROJECT, "r", vec![put(&counter("probe", 9, false))]).answer().await;
    assert_eq!(lonely.status, 503, "{lonely:?}");
}

/// The command does nothing without the right words, on a folder that is open, or one that is none.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recovered_by_mistake() {
    let mut shop = Shop::open(Setup::of(1), &[counter("probe", 7, false)]).await;
    let data = shop.cluster.data(1).display().to_string();
    let shell = Shell::new([("DATA", data), ("FLAGRAFT_OPERATOR", "ann".to_owned())]);
    let say = |words: &str| {
        let output = shell.try_run(&format!("flagraft recover --data \"$DATA\" --reason r {words}"));
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), said)
    };
    let (exit, said) = say("");
    assert_eq!(exit, Some(4), "{said}");
    assert!(said.contains("in use") && said.contains("stop the node"), "{said}");

    shop.cluster.kill(1);
    let (exit, said) = say("");
    assert_eq!(exit, Some(2), "{said}");
    let wanted = said.lines().find_map(|line| line.trim().strip_prefix("--i-accept-data-loss "));
    let wanted = wanted.unwrap_or_else(|| panic!("it does not say which words: {said}"));
    assert!(wanted.contains("node 1") && wanted.contains("lost"), "{wanted}");
    let (exit, said) = say("--i-accept-data-loss yes");
    assert_eq!(exit, Some(2), "{said}");
    let before = shell.run("flagraft recover --inspect --data \"$DATA\"");
    let (exit, said) = say(&format!("--i-accept-data-loss {wanted} --operator ''"));
    assert_eq!(exit, Some(2), "{said}");
    assert_eq!(shell.run("flagraft recover --inspect --data \"$DATA\""), before, "nothing was changed");

    let none = shell.try_run("flagraft recover --inspect --data /tmp");
    assert_eq!(none.status.code(), Some(2));
    shop.cluster.restart(1).await;
    let records = audit::records(&shop.cluster.admin(1)).await;
    assert!(records.iter().all(|record| record["operations"][0]["operation"]["op"] != "system.recover"));
}

/// The steps that recover: what the first says is to be said is said in the second.
fn go_on_alone(runbook: &Runbook, shell: &mut Shell) {
    let [ask] = runbook.commands("Read what is lost") else { panic!("one block") };
    let output = shell.try_run(ask);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let words = said.lines().find_map(|line| line.trim().strip_prefix("--i-accept-data-loss "));
    let words = words.unwrap_or_else(|| panic!("it does not say which words: {said}"));
    shell.set("WORDS", words.trim_matches('"'));
    let [recover] = runbook.commands("Let it go on alone") else { panic!("one block") };
    shell.run(recover);
}

/// Kills all, and recovers on the folder of one.
async fn recovered(shop: &mut Shop, survivor: u64) {
    shop.cluster.kill_all();
    let mut shell = Shell::new([
        ("DATA", shop.cluster.data(survivor).display().to_string()),
        ("FLAGRAFT_OPERATOR", "ann".to_owned()),
    ]);
    go_on_alone(&Runbook::read("lost-quorum"), &mut shell);
    shop.cluster.restart(survivor).await;
}
