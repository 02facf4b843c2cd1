//! Backups under load, restored elsewhere; damaged ones; and what belongs to a history that is over.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::Api,
    audit,
    catalog::{Caller, PROJECT, counter, put, switch},
    cluster::{Cluster, Setup},
    load::Writers,
    runbook::{Runbook, Shell},
    settings::{binary, measured, rng, rounds},
    wait,
};
use reqwest::Method;
use serde_json::{Value, json};

mod common;
use common::{
    cli::{Cli, offline},
    export::text,
    shop::Shop,
};

/// Corruptions of one backup that are tried: each is one run of the command line.
const CORRUPTIONS: usize = 100;

/// A backup of what a cluster has now.
async fn back_up(cluster: &Cluster, name: &str) -> (PathBuf, Value) {
    let file = cluster.folder().join(name);
    let path = file.display().to_string();
    let ran = Cli::of(cluster).run(&["backup", "--to", &path, "--output", "json"]).await.expect_exit(0);
    (file, ran.json())
}

/// The revision of the last counter of each writer that is in these records.
fn counts(records: &[Value]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in records.iter().filter(|record| record["outcome"] == "accepted") {
        for operation in record["operations"].as_array().into_iter().flatten() {
            let flag = &operation["operation"]["flag"];
            if let (Some(key), Some(count)) = (flag["key"].as_str(), flag["variants"]["count"].as_u64()) {
                counts.insert(key.to_owned(), count);
            }
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_restored_elsewhere_as_it_was() {
    let turns = rounds(2, 20);
    let mut rng = rng();
    let shop = Shop::open(Setup::of(3), &[counter("probe", 7, false), switch("gate", true)]).await;
    let old = &shop.cluster;
    let writers = Writers::start(old, 3, None).await;
    let (mut slowest_backup, mut slowest_restore) = (Duration::ZERO, Duration::ZERO);
    let (mut records_max, mut bytes_max) = (0, 0);
    for turn in 0..turns {
        let before = writers.acknowledged();
        let some = rng.u64(20..60);
        writers.beyond(before + some, Duration::from_secs(30)).await;
        let begun = Instant::now();
        let (file, said) = back_up(old, &format!("backup-{turn}")).await;
        slowest_backup = slowest_backup.max(begun.elapsed());
        let size = usize::try_from(said["audit"]["size"].as_u64().expect("a size")).expect("small");
        records_max = records_max.max(size);
        bytes_max = bytes_max.max(fs::metadata(&file).expect("it was made").len());
        // What the living cluster has recorded up to there says what the backup must hold.
        let records = audit::records(&old.admin(1)).await;
        let last = &records[size - 1];
        assert_eq!(last["digest"], said["digest"], "the digest at the backup's revision");
        assert_eq!(last["revision_after"], said["revision"]);
        assert!(said["revision"].as_u64() > Some(before), "all that was acknowledged before is in it");

        let begun = Instant::now();
        let new = Setup::of(3).on_backup(&file).start().await;
        slowest_restore = slowest_restore.max(begun.elapsed());
        let print = new.agreed().await;
        for id in new.ids() {
            let restored = audit::records(&new.admin(id)).await;
            assert_eq!(restored[..size], records[..size], "the audit log of node {id}");
            assert_eq!(restored.len() as u64, print.audit_size);
            let restore = &restored[size];
            assert_eq!(restore["kind"], "system");
            assert_eq!(restore["reason"], "a restore for a test");
            let operation = &restore["operations"][0]["operation"];
            assert_eq!(
                (&operation["op"], &operation["operator"]),
                (&json!("system.restore"), &json!("the tests"))
            );
            let from = json!({
                "cluster": said["cluster"], "history": said["history"], "revision": said["revision"],
                "digest": said["digest"], "audit_size": said["audit"]["size"], "audit_root": said["audit"]["root"],
                "made_at_ms": operation["from"]["made_at_ms"],
            });
            assert_eq!(operation["from"], from);
        }
        // The services' own token, and the values of that moment.
        let expected = counts(&records[..size]);
        for id in new.ids() {
            let node = new.with_token(id, &shop.token);
            for (flag, count) in &expected {
                assert_eq!(
                    node.evaluate(flag, &json!({})).ok().await.value(),
                    &json!(count),
                    "{flag} on node {id}"
                );
            }
            assert_eq!(node.evaluate("gate", &json!({})).ok().await.value(), &json!(true));
        }
        // It lives: writes, also with the tokens of before, reach every node.
        let change = new.with_token(2, old.admin_token()).change(
            PROJECT,
            "it lives",
            vec![put(&counter("probe", 8, false))],
        );
        new.published(change.ok().await.body["revision"].as_u64().expect("a revision")).await;
        new.agreed().await;
    }
    writers.finish().await;
    measured(
        "backup under load, restored elsewhere: turns, equal, slowest backup, slowest restore until three are ready (ms)",
        format!("{turns}, {turns}, {}, {}", slowest_backup.as_millis(), slowest_restore.as_millis()),
    );
    measured(
        "backup under load, restored elsewhere: the largest backup (records, MiB)",
        format!("{records_max}, {}", bytes_max / (1024 * 1024)),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused_wherever_it_is_damaged() {
    let mut rng = rng();
    let shop = Shop::open(Setup::of(1), &[counter("probe", 7, false)]).await;
    for count in 0..30 {
        shop.count(1, "probe", count, false).await;
    }
    let (file, _) = back_up(&shop.cluster, "backup").await;
    let sound = fs::read(&file).expect("it was made");
    offline(&["backup", "verify", text(&file)]).expect_exit(0);
    let damaged_file = shop.cluster.folder().join("damaged");
    let data = shop.cluster.folder().join("restored");
    for number in 0..CORRUPTIONS {
        let mut damaged = sound.clone();
        let at = rng.usize(0..damaged.len());
        let what = match number % 5 {
            0 => {
                damaged.truncate(at);
                "cut off"
            }
            1 => {
                let end = (at + 4096).min(damaged.len());
                damaged[at..end].iter_mut().for_each(|byte| *byte = !*byte);
                "a page of it changed"
            }
            2 => {
                damaged.remove(at);
                "a byte of it lost"
            }
            3 => {
                damaged.insert(at, rng.u8(..));
                "a byte put into it"
            }
            _ => {
                damaged[at] ^= 1 << rng.u8(0..8);
                "a bit of it flipped"
            }
        };
        fs::write(&damaged_file, &damaged).expect("written");
        let ran = offline(&["backup", "verify", text(&damaged_file)]);
        assert_eq!(ran.exit, Some(8), "{what} at {at}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
        let words = ["--operator", "tests", "--reason", "r"];
        let ran = offline(&[&["restore", text(&damaged_file), "--data", text(&data)], &words[..]].concat());
        assert_eq!(ran.exit, Some(8), "{what} at {at}: {ran:#?}");
        assert!(!data.exists(), "a refused backup leaves nothing behind");
    }
    measured("damaged backups: tried, refused", format!("{CORRUPTIONS}, {CORRUPTIONS}"));
}

/// What a client may still hold of the old history.
struct Held {
    token: String,
    etag: String,
    bulk_etag: String,
}

async fn hold(node: &Api, service: &Api) -> Held {
    let flag = node.get(&format!("/api/v1/projects/{PROJECT}/flags/probe")).ok().await;
    let bulk = service.evaluate_all(&json!({"targetingKey": "ann"})).ok().await;
    Held {
        token: flag.revision_token(),
        etag: flag.header("etag").expect("an ETag").to_owned(),
        bulk_etag: bulk.header("etag").expect("an ETag").to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_the_old_history_is_never_honoured() {
    let shop = Shop::open(Setup::of(1), &[counter("probe", 7, false)]).await;
    let (revoked_id, revoked) = shop.cluster.create_token(&Caller::admin("owner")).await;
    let (late_id, late) = shop.cluster.create_token(&Caller::admin("owner")).await;
    let revoke = |id: &str| format!("/api/v1/tokens/{id}?reason=r");
    let old = shop.cluster.admin(1);
    old.call(Method::DELETE, &revoke(&revoked_id)).ok().await;
    let (file, _) = back_up(&shop.cluster, "backup").await;
    old.call(Method::DELETE, &revoke(&late_id)).ok().await;
    let held = hold(&old, &shop.reader(1)).await;
    // The old cluster goes on; the new one takes the same revisions for other changes.
    shop.count(1, "probe", 8, false).await;
    let later = hold(&old, &shop.reader(1)).await;

    let new = Setup::of(3).on_backup(&file).start().await;
    for id in new.ids() {
        let admin = new.admin(id);
        let service = new.with_token(id, &shop.token);
        new.with_token(id, old.token().expect("an owner's")).get("/api/v1/projects").ok().await;
        assert_eq!(new.with_token(id, &revoked).get("/api/v1/projects").answer().await.status, 401);
        let flag = format!("/api/v1/projects/{PROJECT}/flags/probe");
        let context = json!({"targetingKey": "ann"});
        for held in [&held, &later] {
            for call in [
                admin.get(&flag),
                service.evaluate("probe", &context),
                service.evaluate_all(&context),
                admin.change(PROJECT, "r", vec![put(&counter("probe", 9, false))]),
                admin.get("/api/v1/audit"),
            ] {
                let answer = call.header("Flagraft-Min-Revision", &held.token).answer().await;
                assert_eq!(answer.status, 412, "{answer:?}");
            }
            let body = json!({"reason": "r", "patch": {"description": "mine"}});
            let patch =
                admin.call(Method::PATCH, &flag).json(&body).header("If-Match", &held.etag).answer().await;
            assert_eq!((patch.status, patch.error_code()), (412, Some("revision_mismatch")), "{patch:?}");
            let bulk = service.evaluate_all(&context).header("If-None-Match", &held.bulk_etag).answer().await;
            assert_eq!(bulk.status, 200, "answered afresh, never 304: {bulk:?}");
            assert_ne!(bulk.header("etag"), Some(held.bulk_etag.as_str()));
            let refetch = service.post(
                &format!("/ofrep/v1/evaluate/flags?flagConfigEtag={}", held.token),
                &json!({"context": context}),
            );
            assert_eq!(refetch.answer().await.status, 412);
        }
        // Those of its own history are honoured, on each node.
        let own = hold(&new.admin(1), &service).await;
        admin.get(&flag).header("Flagraft-Min-Revision", &own.token).ok().await;
        let bulk = service.evaluate_all(&context).header("If-None-Match", &own.bulk_etag).answer().await;
        assert_eq!(bulk.status, 304);
    }
    // Of what was revoked after it the backup can't know. The runbook says so, and that it can be done again.
    let with_late = new.with_token(2, &late);
    with_late.get("/api/v1/projects").ok().await;
    let revoked = new.admin(2).call(Method::DELETE, &revoke(&late_id)).ok().await;
    new.published(revoked.body["revision"].as_u64().expect("a revision")).await;
    assert_eq!(with_late.get("/api/v1/projects").answer().await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_for_those_who_may_and_is_never_written_over_another() {
    let mut shop = Shop::open(Setup::of(3), &[counter("probe", 7, false)]).await;
    let (file, _) = back_up(&shop.cluster, "backup").await;
    let sound = fs::read(&file).expect("it was made");
    let cli = Cli::of(&shop.cluster);
    let ran = cli.run(&["backup", "--to", text(&file)]).await.expect_exit(2);
    assert!(ran.stderr.contains("exists already"), "{ran:#?}");
    assert_eq!(fs::read(&file).expect("it is there"), sound);
    // To standard output it is the same, but for when it was made.
    let piped = std::process::Command::new("sh")
        .args(["-euc", "\"$0\" backup --to - > \"$1\"; \"$0\" backup verify - < \"$1\""])
        .args([binary(), shop.cluster.folder().join("piped")])
        .env("FLAGRAFT_ENDPOINTS", shop.cluster.endpoints())
        .env("FLAGRAFT_ADMIN_TOKEN", shop.cluster.admin_token())
        .output()
        .expect("sh runs");
    assert!(piped.status.success(), "{piped:?}");
    let leftovers = fs::read_dir(shop.cluster.folder()).expect("lists").filter_map(Result::ok);
    assert!(
        leftovers.into_iter().all(|entry| !text(&entry.path()).ends_with(".tmp")),
        "no temporary file stays"
    );

    // Without a quorum nobody can say that it is current; what one node has may still be taken.
    let survivor = shop.cluster.follower().await;
    for id in shop.cluster.ids().into_iter().filter(|id| *id != survivor) {
        shop.cluster.kill(id);
    }
    let other = shop.cluster.folder().join("other");
    let ran = cli.run(&["backup", "--to", text(&other), "--retry", "1"]).await.expect_exit(6);
    assert!(!other.exists(), "{ran:#?}");
    cli.run(&["backup", "--to", text(&other), "--local"]).await.expect_exit(0);
    offline(&["backup", "verify", text(&other)]).expect_exit(0);
}

/// The node that founds on a backup is killed at any moment, while clients of the old cluster write with their old tokens:
/// the founding goes on, and neither founds an empty catalog nor restores twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_goes_on_after_the_founder_was_killed() {
    let turns = rounds(3, 20);
    let mut rng = rng();
    let shop = Shop::open(Setup::of(1), &[counter("probe", 7, false)]).await;
    let (file, said) = back_up(&shop.cluster, "backup").await;
    let size = said["audit"]["size"].as_u64().expect("a size");
    let owner = shop.cluster.admin(1).token().expect("an owner's").to_owned();
    for _ in 0..turns {
        let mut new = Setup::of(3).on_backup(&file).launch_only();
        let stop = Arc::new(AtomicBool::new(false));
        let early = new.ids().into_iter().map(|id| {
            let (node, stop) = (new.with_token(id, &owner), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let change = node.change(PROJECT, "early", vec![put(&counter("early", 1, false))]);
                    // Whatever becomes of it.
                    drop(change.send().await);
                    wait::pace(Duration::from_millis(5)).await;
                }
            })
        });
        let early: Vec<_> = early.collect();
        for _ in 0..3 {
            wait::pace(Duration::from_millis(rng.u64(0..900))).await;
            new.kill(1);
            new.launch(1);
        }
        for id in new.ids() {
            new.ready(id).await;
        }
        stop.store(true, Ordering::SeqCst);
        for writer in early {
            writer.await.expect("no panic");
        }
        new.learn_admin();
        let print = new.agreed().await;
        let records = audit::records(&new.admin(2)).await;
        let restores =
            records.iter().filter(|record| record["operations"][0]["operation"]["op"] == "system.restore");
        assert_eq!(restores.count(), 1);
        assert_eq!(print.audit_size, records.len() as u64);
        assert!(print.audit_size > size);
        let value = new.with_token(3, &shop.token).evaluate("probe", &json!({})).ok().await;
        assert_eq!(value.value(), &json!(7));
        wait::until_true("the staged backup to go, now that it is in", Duration::from_secs(10), || async {
            !new.data(1).join("restore").exists()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_founds_and_is_not_founded() {
    let shop = Shop::open(Setup::of(1), &[counter("probe", 7, false)]).await;
    let (file, _) = back_up(&shop.cluster, "backup").await;
    let data = shop.cluster.folder().join("restored");
    let restore = ["restore", text(&file), "--data", text(&data), "--operator", "tests", "--reason", "r"];
    offline(&restore).expect_exit(0);
    let again = offline(&restore).expect_exit(2);
    assert!(again.stderr.contains("not empty"), "{again:#?}");
    let serve = ["serve", "--node-id", "1", "--data", text(&data), "--listen", "127.0.0.1:0"];
    let alone = ["--peer-listen", "127.0.0.1:0", "--peers", "1=127.0.0.1:0"];
    let ran = offline(&[&serve[..], &alone[..]].concat()).expect_exit(1);
    assert!(ran.stderr.contains("--bootstrap"), "{ran:#?}");
    assert!(data.join("restore").join("backup").is_file(), "it still waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runbook_backs_up_and_restores() {
    let runbook = Runbook::read("docs/runbooks/backup-and-restore.md");
    let shop = Shop::open(Setup::of(3), &[counter("probe", 7, false)]).await;
    let old = &shop.cluster;
    let mut shell = Shell::new(old.folder());
    shell
        .set("FLAGRAFT_ENDPOINTS", old.endpoints())
        .set("FLAGRAFT_ADMIN_TOKEN", old.admin_token())
        .set("FLAGRAFT_OPERATOR", "ann")
        .set("BACKUP", old.folder().join("backup").display());
    for heading in ["Back up", "Verify a backup"] {
        shell.run(runbook.under(heading)[0]).await;
    }
    let mut new = Setup::of(3).prepare();
    shell.set("DATA", new.data(1).display());
    shell.run(runbook.under("Restore it into an empty folder")[0]).await;
    // "Start the new cluster".
    new.launch_all();
    for id in new.ids() {
        new.ready(id).await;
    }
    new.learn_admin();
    shell.set("FLAGRAFT_ENDPOINTS", new.endpoints());
    let seen = shell.run(runbook.under("See that it is there")[0]).await.stdout;
    assert!(seen.contains("system.restore") && seen.contains("INC-7"), "{seen}");
    new.agreed().await;
    runbook.assert_all_ran();
}
