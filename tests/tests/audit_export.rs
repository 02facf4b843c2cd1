//! Exports of the audit log: every node gives the same, each proves itself to whoever has the nodes' keys, and what was
//! altered since is named.
//!
//! With `FLAGRAFT_TEST_ROUNDS=full` it is a million records.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_tests::{
    catalog::{ENVIRONMENT, PROJECT, counter, switch},
    cluster::{Cluster, Setup},
    load::Writers,
    memory,
    settings::{binary, measured, rng, rounds},
    wait,
};
use serde_json::{Value, json};

mod common;
use common::{
    cli::{Cli, offline},
    export::{export, signed, text, trust, verify},
    shop::Shop,
};

const PATIENCE: Duration = Duration::from_secs(120);
/// How many clients make the records. Many, for one sync serves all that wait for it.
const FILLERS: u64 = 64;

/// What the records of a range come to in a file: they, and their hashes. The lines around them say of which size of the log
/// the rest is.
fn of_range(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).expect("it was made");
    let is_of_range = |line: &&str| line.contains("\"version\":") || line.contains("{\"hashes\":");
    text.lines().filter(is_of_range).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_exports_the_same_log_under_load_and_each_export_proves_itself() {
    let turns = rounds(2, 20);
    let mut rng = rng();
    let shop =
        Shop::open(Setup::of(3).with_checkpoints(), &[counter("probe", 7, false), switch("gate", true)])
            .await;
    let cluster = &shop.cluster;
    signed(cluster, 1).await;
    let trust = trust(cluster).await;
    let writers = Writers::start(cluster, 3, None).await;
    let mut exported = 0;
    for turn in 0..turns {
        let before = writers.acknowledged();
        writers.beyond(before + rng.u64(100..300), PATIENCE).await;
        let size = cluster.fingerprint(1).await.audit_size;
        signed(cluster, size).await;
        let (from, to) = (rng.u64(0..size / 2).to_string(), size.to_string());
        for (format, filter) in
            [("ndjson", None), ("csv", None), ("ndjson", Some("change")), ("csv", Some("system"))]
        {
            let mut arguments = vec!["--from", &from, "--to", &to, "--format", format];
            arguments.extend(filter.into_iter().flat_map(|kind| ["--kind", kind]));
            let mut first: Option<Vec<String>> = None;
            for id in cluster.ids() {
                let name = format!("export-{turn}-{id}-{format}-{}", filter.unwrap_or("all"));
                let file = export(cluster, id, &name, &arguments).await;
                let summary = verify(&file, &trust, &[]).expect_exit(0).json();
                let missing = summary["skipped"]["filter"].as_u64().expect("a number");
                let records = summary["records"].as_u64().expect("a number");
                assert_eq!(records + missing, size - from.parse::<u64>().expect("a number"), "{summary}");
                let lines = of_range(&file);
                assert_eq!(&lines, first.get_or_insert_with(|| lines.clone()), "node {id}, {format}");
                exported += 1;
            }
        }
    }
    writers.finish().await;
    measured("exports under load, equal on three nodes and verified", exported);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_altered_in_a_file_is_named_by_the_command_line() {
    let shop = Shop::open(Setup::of(3).with_checkpoints(), &[counter("probe", 7, false)]).await;
    let cluster = &shop.cluster;
    let node = cluster.admin(1);
    for count in 0..300_u64 {
        let disable = json!({"op": "flag.disable", "flag": "probe", "environment": ENVIRONMENT});
        let enable = json!({"op": "flag.enable", "flag": "probe", "environment": ENVIRONMENT});
        node.change(PROJECT, &format!("turn {count}"), vec![disable, enable]).ok().await;
    }
    let size = cluster.agreed().await.audit_size;
    signed(cluster, size).await;
    let trust = trust(cluster).await;
    let good = export(cluster, 2, "good", &["--to", &size.to_string()]).await;
    verify(&good, &trust, &[]).expect_exit(0);
    let seen = Cli::of(cluster).run(&["audit", "checkpoint"]).await.expect_exit(0).stdout;
    let checkpoint = cluster.folder().join("checkpoint");
    fs::write(&checkpoint, seen).expect("written");
    verify(&good, &trust, &["--witnessed", text(&checkpoint)]).expect_exit(0);

    let lines: Vec<String> =
        fs::read_to_string(&good).expect("it is text").split_inclusive('\n').map(str::to_owned).collect();
    let at = |sequence: usize| {
        let begin = format!("\"sequence\":{sequence},");
        lines
            .iter()
            .position(|line| line.starts_with("{\"version\":") && line.contains(&begin))
            .expect("a record")
    };
    type Edit<'a> = Box<dyn Fn(&mut Vec<String>) + 'a>;
    let edits: Vec<(&str, Option<u64>, Edit<'_>)> = vec![
        ("rewritten", Some(120), Box::new(|lines| lines[at(120)] = lines[at(120)].replace("turn", "Turn"))),
        ("missing", Some(121), Box::new(|lines| drop(lines.remove(at(121))))),
        ("duplicate", Some(122), Box::new(|lines| lines.insert(at(122), lines[at(122)].clone()))),
        ("reordered", Some(123), Box::new(|lines| lines.swap(at(123), at(124)))),
        ("truncated", None, Box::new(|lines| lines.truncate(at(280)))),
        (
            "forged_signature",
            None,
            Box::new(|lines| {
                let last = lines.last_mut().expect("a trailer");
                *last = last.replacen(&format!("\\n{size}\\n"), &format!("\\n{}\\n", size - 1), 1);
            }),
        ),
    ];
    let bad = cluster.folder().join("bad");
    for (code, sequence, edit) in &edits {
        let mut altered = lines.clone();
        edit(&mut altered);
        assert_ne!(altered, lines, "{code}");
        fs::write(&bad, altered.concat()).expect("written");
        let ran = verify(&bad, &trust, &[]).expect_exit(8);
        let error: Value = serde_json::from_str(&ran.stderr).expect("JSON on standard error");
        assert_eq!(error["error"]["code"], *code, "{error}");
        if sequence.is_some() {
            assert_eq!(error["error"]["details"]["sequence"].as_u64(), *sequence, "{error}");
        }
    }
    // Keys of somebody else, and none at all.
    let other = Shop::open(Setup::of(1).with_checkpoints(), &[switch("gate", false)]).await;
    signed(&other.cluster, 1).await;
    let others = common::export::trust(&other.cluster).await;
    let ran = verify(&good, &others, &[]).expect_exit(8);
    assert!(ran.stderr.contains("\"quorum\""), "{ran:?}");
    // Nobody is trusted by default.
    offline(&["audit", "verify", text(&good)]).expect_exit(2);
    let unsure = offline(&["audit", "verify", text(&good), "--untrusted"]).expect_exit(0);
    assert!(unsure.stdout.contains("NOT checked"), "{unsure:?}");
    measured("alterations of an export named by the command line", edits.len() + 1);
}

/// Has changes that change nothing recorded until the audit log has `records` records.
async fn make_records(cluster: &Cluster, records: u64) {
    let missing = records.saturating_sub(cluster.fingerprint(1).await.audit_size);
    let left = Arc::new(AtomicU64::new(missing));
    let clients: Vec<_> = (0..FILLERS)
        .map(|_| {
            let (node, left) = (cluster.admin(1), left.clone());
            tokio::spawn(async move {
                let enable = json!({"op": "flag.enable", "flag": "probe", "environment": ENVIRONMENT});
                while left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                    .is_ok()
                {
                    let change = node.change(PROJECT, &"nothing changes; ".repeat(24), vec![enable.clone()]);
                    if !change.send().await.is_ok_and(|answer| answer.is_success()) {
                        left.fetch_add(1, Ordering::SeqCst);
                        wait::pace(Duration::from_millis(50)).await;
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.expect("a client does not panic");
    }
}

/// Runs a command to its end. Gives how long it took and the most memory it had, in mebibytes.
fn timed(arguments: &[&str]) -> (Duration, u64) {
    let begun = Instant::now();
    let mut child =
        Command::new(binary()).args(arguments).stdout(Stdio::null()).spawn().expect("the binary starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let ended = child.try_wait().expect("it is ours");
        if let Some(code) = ended {
            assert!(code.success(), "{arguments:?}: {code}");
            return (begun.elapsed(), peak);
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak = peak.max(kib.unwrap_or(0_u64) / 1024);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_exported_verified_and_searched_in_flat_memory() {
    let records = u64::from(rounds(10_000, 1_000_000));
    let shop = Shop::open(Setup::of(1).with_checkpoints(), &[switch("probe", true)]).await;
    let cluster = &shop.cluster;
    make_records(cluster, records / 2).await;
    let needle = json!({"op": "flag.disable", "flag": "probe", "environment": ENVIRONMENT});
    let body = json!({"reason": "the one", "ticket": "NEEDLE-1", "operations": [needle]});
    let admin = cluster.admin(1);
    admin.post(&format!("/api/v1/projects/{PROJECT}/changes"), &body).ok().await;
    make_records(cluster, records).await;
    let size = cluster.agreed().await.audit_size;
    signed(cluster, size).await;
    let trust = trust(cluster).await;

    let pid = cluster.pid(1);
    let before = memory::of(pid).resident;
    memory::forget_peak(pid);
    let begun = Instant::now();
    let file = export(cluster, 1, "whole", &["--to", &size.to_string()]).await;
    let took = begun.elapsed();
    let grown = memory::of(pid).peak.saturating_sub(before);
    let bytes = fs::metadata(&file).expect("it was made").len();
    let per_second = |took: Duration| u128::from(size) * 1_000 / took.as_millis().max(1);
    measured(
        "export: records, bytes, records/s, memory of the node before and by how much it grew at most (MiB)",
        format!("{size}, {bytes}, {}, {before}, {grown}", per_second(took)),
    );
    // Caches of the database, and pieces on their way; not the log.
    assert!(grown < 200, "the node grew by {grown} MiB");

    let (took, peak) = timed(&["audit", "verify", text(&file), "--trust", text(&trust)]);
    measured(
        "verify: records/s, memory of the verifier at most (MiB)",
        format!("{}, {peak}", per_second(took)),
    );
    assert!(peak < 100, "the verifier had {peak} MiB");

    // A search that reads what it needs: once every complete block has its summary.
    let search = async |query: &str| {
        let begun = Instant::now();
        let answer = admin.get(&format!("/api/v1/audit?{query}")).ok().await;
        (begun.elapsed(), answer)
    };
    let block = 256;
    let answer = wait::until("an index", PATIENCE, || async {
        let (took, answer) = search("ticket=NEEDLE-1").await;
        let searched = answer.header("flagraft-searched").unwrap_or_default().to_owned();
        let read =
            searched.strip_prefix("read=").and_then(|rest| rest.split(',').next()?.parse::<u64>().ok());
        if read.is_some_and(|read| read < 2 * block) { Ok((took, searched, answer)) } else { Err(searched) }
    })
    .await;
    let (took, searched, answer) = answer;
    assert_eq!(answer.body["ticket"], "NEEDLE-1");
    measured(
        "one record found by its ticket: records in the log, ms, what was read",
        format!("{size}, {}, {searched}", took.as_millis()),
    );
}
