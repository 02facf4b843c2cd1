//! Two of three are gone for good: the survivor goes on alone, as the runbook says, and gets company again.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::{Duration, Instant},
};

use flagraft_tests::{
    audit,
    catalog::{PROJECT, counter, put, switch},
    cluster::{Cluster, Setup},
    load::Writers,
    runbook::{Runbook, Running, Shell},
    settings::{binary, measured, rng, rounds},
    wait,
};
use serde_json::{Value, json};

mod common;
use common::shop::Shop;

const RUNBOOK: &str = "docs/runbooks/lost-quorum.md";
/// Ids that the old cluster never used.
const NEW: [u64; 2] = [4, 5];
/// Time enough to stand for election several times.
const SEVERAL_ELECTIONS: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn the_survivor_of_a_lost_quorum_goes_on_as_the_runbook_says() {
    let turns = rounds(2, 10);
    let mut rng = rng();
    let (mut slowest_alone, mut slowest_three) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..turns {
        let runbook = Runbook::read(RUNBOOK);
        let mut shop = Shop::open(Setup::of(3), &[counter("probe", 7, false), switch("gate", true)]).await;
        let writers = Writers::start(&shop.cluster, 3, None).await;
        let some = rng.u64(20..80);
        writers.beyond(some, Duration::from_secs(30)).await;
        // All stop in the middle of it, and two of the folders are lost: any two, so that what the survivor has may
        // not be all that was acknowledged.
        shop.cluster.kill_all();
        let begun = Instant::now();
        let survivor = rng.u64(1..=3);
        let mut shell = shell(&shop.cluster);
        shell.set("FLAGRAFT_ENDPOINTS", shop.cluster.anonymous(survivor).base());
        for id in shop.cluster.ids() {
            shell.set("DATA", shop.cluster.data(id).display());
            shell.run(runbook.under("Choose the survivor that has most")[0]).await;
        }
        let before = inspect(shop.cluster.data(survivor));
        assert_eq!(before["node"], json!(survivor));
        shell.set("DATA", shop.cluster.data(survivor).display());
        go_on_alone(&runbook, &mut shell).await;
        // "Start the survivor".
        shop.cluster.restart(survivor).await;
        let seen = shell.run(runbook.under("See that it is there")[0]).await.stdout;
        slowest_alone = slowest_alone.max(begun.elapsed());
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
        let kept: Vec<_> = written.acknowledged.iter().filter(|(_, revision)| *revision <= last).collect();
        assert!(!kept.is_empty());
        for (reason, revision) in kept {
            assert_eq!(accepted.get(reason), Some(&1), "{reason}, acknowledged at revision {revision}");
        }
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

        let _newcomers = bring_back(&runbook, &shop.cluster, survivor).await;
        slowest_three = slowest_three.max(begun.elapsed());
        let seen = shop.cluster.status(survivor).await.body;
        let voters =
            seen["members"].as_array().into_iter().flatten().filter(|member| member["role"] == "voter");
        assert_eq!(voters.count(), 3, "{seen}");
        // An id of before is not to be had again: old memberships name it.
        let other = survivor % 3 + 1;
        let mut again = machine(&shop.cluster, survivor, other);
        again.set("NEW", other);
        let refused = again.try_run(runbook.under("Bring back the other members")[0]).await;
        assert!(refused.stderr.contains("given away before"), "{refused:?}");
        runbook.assert_all_ran();
    }
    measured(
        "lost quorum drill: turns, well, slowest until the survivor serves, slowest until three vote (ms)",
        format!("{turns}, {turns}, {}, {}", slowest_alone.as_millis(), slowest_three.as_millis()),
    );
}

/// An old member that comes back is refused by the cluster's id, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_member_is_refused_by_the_recovered_cluster() {
    let mut shop = Shop::open(Setup::of(3), &[counter("probe", 7, false)]).await;
    shop.cluster.kill_all();
    let mut shell = shell(&shop.cluster);
    shell.set("DATA", shop.cluster.data(1).display());
    go_on_alone(&Runbook::read(RUNBOOK), &mut shell).await;
    shop.cluster.restart(1).await;
    let before = shop.cluster.status(1).await.body;
    shop.cluster.launch(2);
    wait::until("node 1 to refuse node 2", Duration::from_secs(20), || async {
        let log = shop.cluster.log(1);
        if log.contains("a message from a peer is refused") { Ok(()) } else { Err("it did not yet") }
    })
    .await;
    let term = before["term"].as_u64().expect("a term");
    let (leads, has_term) = (r#"flagraft_raft_role{role="leader"}"#, "flagraft_raft_term");
    let old = shop.cluster.admin(2);
    wait::until("node 2 to say what it is", Duration::from_secs(20), || async {
        match old.get("/metrics").send().await {
            Ok(answer) if answer.body.as_str().is_some_and(|text| text.contains(has_term)) => Ok(()),
            Ok(answer) => Err(format!("{answer:?}")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < SEVERAL_ELECTIONS {
        shop.count(1, "probe", count, false).await;
        count += 1;
        // Had node 1 answered it or sent it anything, it would be in node 1's term, and had it been elected, beyond.
        let seen = shop.cluster.metrics(2).await;
        assert_eq!(seen.get(leads), 0, "node 2 leads");
        assert!(seen.get(has_term) < term, "node 2 is in term {} of {term}", seen.get(has_term));
        wait::pace(Duration::from_millis(20)).await;
    }
    assert!(shop.cluster.metrics(2).await.get(has_term) > 0, "it knows the term that it was in");
    let survivor = shop.cluster.metrics(1).await;
    assert_eq!((survivor.get(leads), survivor.get(has_term)), (1, term), "undisturbed");
    let after = shop.cluster.status(1).await.body;
    assert_eq!((&after["history"], &after["term"]), (&before["history"], &before["term"]), "undisturbed");
    assert_eq!(after["members"].as_array().map(Vec::len), Some(1));
}

/// The command does nothing without the right words, on a folder that is open, or on one that is none.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recovered_by_mistake() {
    let mut shop = Shop::open(Setup::of(1), &[counter("probe", 7, false)]).await;
    let data = shop.cluster.data(1).to_owned();
    let say = |more: &[&str]| {
        let output = recover(&data, &[&["--reason", "r", "--operator", "ann"], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (exit, said) = say(&[]);
    assert_eq!(exit, Some(4), "{said}");
    assert!(said.contains("in use") && said.contains("stop the node"), "{said}");

    shop.cluster.kill(1);
    let (exit, said) = say(&[]);
    assert_eq!(exit, Some(2), "{said}");
    let wanted = words(&said);
    assert!(wanted.contains("node 1") && wanted.contains("lost"), "{wanted}");
    let (exit, said) = say(&["--i-accept-data-loss", "yes"]);
    assert_eq!(exit, Some(2), "{said}");
    let before = inspect(&data);
    let output = recover(&data, &["--reason", " ", "--operator", "ann", "--i-accept-data-loss", &wanted]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(inspect(&data), before, "nothing was changed");

    let none = recover(shop.cluster.folder(), &["--inspect"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    // A folder that a node would not start on is nothing to go on from.
    let (floor, away) = (data.join("floor"), data.join("floor.away"));
    fs::rename(&floor, &away).expect("it is there");
    let damaged = recover(&data, &["--inspect"]);
    assert_eq!(damaged.status.code(), Some(8), "{damaged:?}");
    let said = String::from_utf8_lossy(&damaged.stderr);
    assert!(said.contains("floor is missing") && said.contains("another survivor"), "{said}");
    fs::rename(&away, &floor).expect("it was there");
    shop.cluster.restart(1).await;
    let records = audit::records(&shop.cluster.admin(1)).await;
    assert!(records.iter().all(|record| record["operations"][0]["operation"]["op"] != "system.recover"));
}

/// An operator's shell, with all that the runbook names but the folder.
fn shell(cluster: &Cluster) -> Shell {
    let mut shell = Shell::new(cluster.folder());
    shell.set("FLAGRAFT_ADMIN_TOKEN", cluster.admin_token()).set("FLAGRAFT_OPERATOR", "ann");
    shell
}

/// A new machine, with a folder of its own.
fn machine(cluster: &Cluster, survivor: u64, id: u64) -> Shell {
    let folder = cluster.folder().join(format!("machine-{id}"));
    fs::create_dir_all(&folder).expect("the folder can be made");
    let mut shell = Shell::new(&folder);
    shell
        .set("FLAGRAFT_ENDPOINTS", cluster.anonymous(survivor).base())
        .set("FLAGRAFT_ADMIN_TOKEN", cluster.admin_token())
        .set("NEW", id)
        .set("SURVIVOR", format!("{survivor}={}", cluster.peer_address(survivor)))
        .set("NEW_DATA", folder.join("data").display())
        .set("LISTEN", "127.0.0.1:0")
        .set("PEER_LISTEN", flagraft_tests::ports::free())
        .set("PEER_SECRET", cluster.folder().join("peer-secret").display());
    shell
}

/// The last step of the runbook, for each newcomer.
async fn bring_back(runbook: &Runbook, cluster: &Cluster, survivor: u64) -> Vec<Running> {
    let [add, serve, promote] = runbook.under("Bring back the other members")[..] else {
        panic!("three steps")
    };
    let mut newcomers = Vec::new();
    for id in NEW {
        let shell = machine(cluster, survivor, id);
        shell.run(add).await;
        newcomers.push(shell.start(serve, "node.log"));
        shell.run(promote).await;
    }
    newcomers
}

/// The steps that recover: what the first says is to be said is said in the second.
async fn go_on_alone(runbook: &Runbook, shell: &mut Shell) {
    let asked = shell.try_run(runbook.under("Read what is lost")[0]).await;
    assert_eq!(asked.status.code(), Some(2), "{asked:?}");
    shell.set("WORDS", words(&asked.stderr));
    shell.run(runbook.under("Let it go on alone")[0]).await;
}

/// The words that the command asks for.
fn words(said: &str) -> String {
    let words = said.lines().find_map(|line| line.trim().strip_prefix("--i-accept-data-loss "));
    words.unwrap_or_else(|| panic!("it does not say which words: {said}")).trim_matches('"').to_owned()
}

fn recover(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("recover").arg("--data").arg(data).args(arguments).output().expect("the binary starts")
}

fn inspect(data: &Path) -> Value {
    let output = recover(data, &["--inspect", "--output", "json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}
