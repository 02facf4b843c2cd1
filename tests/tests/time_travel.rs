//! Time travel on a cluster at work: changes go on while nodes are killed, come back by snapshots, and a new one joins.
//! After that every node, whatever way its records came, answers of every moment that was looked at as was answered then.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::Api,
    catalog::{ENVIRONMENT, PROJECT, counter, put, switch},
    cluster::{Cluster, Setup},
    settings::{measured, rng, rounds},
    wait,
};
use serde_json::{Value, json};

mod common;
use common::{cli::Cli, shop::Shop};

const PATIENCE: Duration = Duration::from_secs(120);
/// Changes that are made at once, between two looks.
const CHANGES: u64 = 50;
/// Looks between two kills.
const LOOKS_PER_KILL: u32 = 8;

/// What was answered live, at a revision.
struct Look {
    revision: u64,
    time: String,
    /// The list of flags.
    flags: Value,
    /// Explanations, by who was asked about.
    explained: Vec<Value>,
}

const USERS: [&str; 3] = ["u1", "u2", "ann"];

async fn explain(node: &Api, flag: &str, user: &str, query: &str) -> Value {
    let path = format!("/api/v1/projects/{PROJECT}/environments/{ENVIRONMENT}/explain{query}");
    let body = json!({"flag": flag, "context": {"targetingKey": user}});
    node.post(&path, &body).ok().await.body
}

async fn list(node: &Api, query: &str) -> Value {
    node.get(&format!("/api/v1/projects/{PROJECT}/flags?limit=500{query}")).ok().await.body
}

/// Looks at what a node answers now, while nobody changes anything.
async fn look(node: &Api, revision: u64) -> Look {
    let mut explained = Vec::new();
    for user in USERS {
        for flag in ["ramp", "count-7"] {
            explained.push(explain(node, flag, user, "").await);
        }
    }
    let flags = list(node, "").await;
    assert_eq!(flags["revision"], revision);
    let at = explain(node, "ramp", USERS[0], &format!("?at_revision={revision}")).await["at"]["time"].clone();
    Look { revision, time: at.as_str().expect("a time").to_owned(), flags, explained }
}

/// Makes changes, all at once, through the living members; returns the revision that they came to.
async fn change(cluster: &Cluster, round: u64) -> u64 {
    let living = cluster.living();
    let writers = (0..CHANGES).map(|number| {
        let node = cluster.admin(living[usize::try_from(number).expect("small") % living.len()]);
        let weights = json!([{"variant": "on", "weight": round % 100}, {"variant": "off", "weight": 100 - round % 100}]);
        let operations = match number {
            0 => vec![json!({"op": "rollout.set", "flag": "ramp", "environment": ENVIRONMENT, "weights": weights})],
            1 => vec![json!({"op": "segment.members.add", "segment": "staff", "list": "included", "members": [format!("m{round}")]})],
            2 => vec![json!({"op": if round.is_multiple_of(2) { "flag.disable" } else { "flag.enable" },
                             "flag": "count-7", "environment": ENVIRONMENT})],
            _ => vec![put(&counter(&format!("count-{number}"), round, false))],
        };
        tokio::spawn(async move {
            wait::until("a change", PATIENCE, || async {
                match node.change(PROJECT, "a change of a test", operations.clone()).send().await {
                    Ok(answer) if answer.is_success() => Ok(answer.body["revision"].as_u64().unwrap_or(0)),
                    other => Err(format!("{other:?}")),
                }
            })
            .await
        })
    });
    let mut newest = 0;
    for writer in writers.collect::<Vec<_>>() {
        newest = newest.max(writer.await.expect("a writer does not panic"));
    }
    cluster.published(newest).await;
    newest
}

/// Invites the next node and has it join.
async fn join(cluster: &mut Cluster) -> u64 {
    let next = cluster.ids().len() + 1;
    let body = json!({"node_id": next, "role": "voter", "reason": "a node of a test"});
    let leader = cluster.leader().await;
    let answer = cluster.admin(leader).post("/api/v1/cluster/members", &body).ok().await;
    let token = cluster.folder().join(format!("join-token-{next}"));
    fs::write(&token, answer.body["join_token"].as_str().expect("shown once")).expect("written");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let living = cluster.living();
    let id = cluster.newcomer(&living, &token);
    cluster.launch(id);
    cluster.ready(id).await;
    id
}

/// The catalogs that a node keeps.
fn kept(cluster: &Cluster, id: u64) -> Vec<PathBuf> {
    let files = fs::read_dir(cluster.data(id).join("catalogs")).into_iter().flatten();
    let paths = files.filter_map(Result::ok).map(|file| file.path());
    let mut kept: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "catalog")).collect();
    kept.sort();
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_answers_of_every_moment_as_was_answered_then() {
    let looks = rounds(45, 400);
    let mut rng = rng();
    let ramp = json!({
        "key": "ramp", "type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off",
        "environments": {ENVIRONMENT: {"enabled": true,
            "rules": [{"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}}],
            "default": {"rollout": {"seed": "ramp", "weights": [{"variant": "on", "weight": 1}, {"variant": "off", "weight": 99}]}}}},
    });
    let setup = Setup::of(3).with_arg("--snapshot-after-entries", 400).with_arg("--keep-entries", 50);
    let mut shop = Shop::open(setup, &[switch("count-2", false), counter("count-7", 0, false)]).await;
    let segment = json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ann"]}});
    shop.change(1, "a segment and who is in it", vec![segment, put(&ramp)]).await;

    let mut seen = Vec::new();
    let mut down: Option<u64> = None;
    for round in 0..looks {
        if round % LOOKS_PER_KILL == LOOKS_PER_KILL / 2 {
            if let Some(id) = down.take() {
                shop.cluster.restart(id).await;
                shop.cluster.ready(id).await;
            }
            let living = shop.cluster.living();
            let id = *rng.choice(&living).expect("some live");
            shop.cluster.kill(id);
            down = Some(id);
        }
        let revision = change(&shop.cluster, u64::from(round)).await;
        let living = shop.cluster.living();
        let node = shop.cluster.admin(*rng.choice(&living).expect("some live"));
        seen.push(look(&node, revision).await);
    }
    if let Some(id) = down.take() {
        shop.cluster.restart(id).await;
        shop.cluster.ready(id).await;
    }
    let joined = join(&mut shop.cluster).await;
    let newest = seen.last().expect("some").revision;
    shop.cluster.published(newest).await;
    assert!(
        shop.cluster.log(joined).contains("a snapshot is installed"),
        "the new node got its records by one"
    );

    let mut slowest = Duration::ZERO;
    for id in shop.cluster.ids() {
        let node = shop.cluster.admin(id);
        // Not in order: a way that begins anew is as good as one that goes on.
        let mut order: Vec<&Look> = seen.iter().collect();
        rng.shuffle(&mut order);
        for Look { revision, time, flags, explained } in order {
            let begun = Instant::now();
            let at = format!("at_revision={revision}");
            assert_eq!(&list(&node, &format!("&{at}")).await, flags, "node {id}, revision {revision}");
            slowest = slowest.max(begun.elapsed());
            let mut then = explained.iter();
            for user in USERS {
                for flag in ["ramp", "count-7"] {
                    let mut found = explain(&node, flag, user, &format!("?{at}")).await;
                    let said = found.as_object_mut().and_then(|found| found.remove("at")).expect("when");
                    assert_eq!((&said["revision"], &said["time"]), (&json!(revision), &json!(time)));
                    assert_eq!(
                        Some(&found),
                        then.next(),
                        "node {id}, revision {revision}, {flag} for {user}"
                    );
                }
            }
        }
        // In the background, and never at once: what is due is kept in time on every node.
        let due = usize::try_from(newest / 1_000).expect("small");
        wait::until_true("the catalogs that are due", PATIENCE, || async {
            kept(&shop.cluster, id).len() >= due
        })
        .await;
    }
    // Those of the new node were made of its log, most of the others of what was live: they are the same.
    for made in kept(&shop.cluster, joined) {
        let name = made.file_name().expect("a name");
        let bytes = fs::read(&made).expect("reads");
        for id in shop.cluster.ids() {
            let other = shop.cluster.data(id).join("catalogs").join(name);
            assert!(fs::read(&other).expect("kept too") == bytes, "node {id}, {}", name.display());
        }
    }
    measured("time travel: slowest list of an earlier revision", slowest.as_millis());

    // What a person sees of it.
    let cli = Cli::of(&shop.cluster);
    let (first, last) = (&seen[0], &seen[seen.len() - 1]);
    let at = first.revision.to_string();
    let eval = ["flag", "eval", "ramp", "-p", PROJECT, "-e", ENVIRONMENT, "-k", "u1", "--at-revision", &at];
    let printed = cli.run(&eval).await.expect_exit(0).stdout;
    assert!(printed.contains(&format!("revision {at}, made at {}", first.time)), "{printed}");
    let json = cli.run(&[&eval[..], &["--output", "json"]].concat()).await.expect_exit(0).json();
    assert_eq!(json["variant"], first.explained[0]["variant"]);
    let ahead = (last.revision + 1_000).to_string();
    cli.run(&["flag", "eval", "ramp", "-p", PROJECT, "-e", ENVIRONMENT, "--at-revision", &ahead])
        .await
        .expect_exit(4);
    cli.run(&["flag", "eval", "ramp", "-p", PROJECT, "-e", ENVIRONMENT, "--at", "1999-01-01T00:00:00Z"])
        .await
        .expect_exit(3);

    let diff = ["flag", "diff", "-p", PROJECT, "--from", &at];
    let printed = cli.run(&diff).await.expect_exit(0).stdout;
    assert!(printed.contains("flag count-9") && printed.contains("segment staff"), "{printed}");
    let json = cli.run(&[&diff[..], &["--output", "json"]].concat()).await.expect_exit(0).json();
    assert_eq!((&json["from"]["revision"], &json["to"]["project"]), (&json!(first.revision), &Value::Null));
    let same =
        cli.run(&["flag", "diff", "ramp", "-p", PROJECT, "--from", &at, "--to", &at]).await.expect_exit(0);
    assert!(same.stdout.contains("nothing differs"), "{same:?}");
    let history =
        cli.run(&["flag", "history", "ramp", "-p", PROJECT, "--limit", "30"]).await.expect_exit(0).stdout;
    assert_eq!(
        history.matches("rollout.set ramp").count(),
        30.min(usize::try_from(looks).expect("small")),
        "{history}"
    );
}

/// How long a look takes into a past of many revisions and flags: with `FLAGRAFT_TEST_ROUNDS=full` a hundred thousand of
/// the former and ten thousand of the latter.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_into_a_long_past_takes_no_long_time() {
    let (flags, revisions) = (u64::from(rounds(300, 10_000)), u64::from(rounds(2_500, 100_000)));
    let mut rng = rng();
    let mut shop = Shop::open(Setup::of(1), &[counter("count", 0, false)]).await;
    let rules: Vec<Value> = (0..5)
        .map(|rule| {
            let when =
                json!({"attribute": "country", "op": "in", "values": [format!("C{rule}"), "DE", "FR"]});
            json!({"id": format!("rule-{rule}"), "when": when, "serve": {"variant": "count"}})
        })
        .collect();
    let flag = |number: u64, count: u64| {
        let mut flag = counter(&format!("flag-{number:05}"), count, false);
        flag["environments"][ENVIRONMENT]["rules"] = json!(rules);
        put(&flag)
    };
    let admin = shop.cluster.admin(1);
    let all: Vec<Value> = (0..flags).map(|number| flag(number, 0)).collect();
    for some in all.chunks(100) {
        admin.change(PROJECT, "many flags", some.to_vec()).ok().await;
    }
    let first = admin.get("/api/v1/projects").ok().await.revision();
    let begun = Instant::now();
    let writers = (0..64_u64).map(|writer| {
        let (node, rules) = (admin.clone(), rules.clone());
        let left = (revisions - first) / 64 + 1;
        tokio::spawn(async move {
            for count in 1..=left {
                let mut flag = counter(&format!("flag-{:05}", (writer + 64 * count) % flags), count, false);
                flag["environments"][ENVIRONMENT]["rules"] = json!(rules);
                node.change(PROJECT, "one more", vec![put(&flag)]).ok().await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer does not panic");
    }
    let newest = admin.get("/api/v1/projects").ok().await.revision();
    assert!(newest >= revisions, "{newest}");
    let a_second = u128::from(newest - first) * 1_000 / begun.elapsed().as_millis().max(1);
    measured(&format!("time travel: changes a second on one node, of {flags} flags"), a_second);
    // All that is due is kept, and nothing of it is in memory.
    let due = usize::try_from(newest / (1_000.max(flags) + 1_000)).expect("small");
    wait::until_true("the catalogs that are due", PATIENCE, || async { kept(&shop.cluster, 1).len() >= due })
        .await;
    shop.cluster.kill(1);
    shop.cluster.restart(1).await;
    shop.cluster.ready(1).await;

    let mut took = Vec::new();
    for _ in 0..rounds(20, 200) {
        let revision = rng.u64(first..newest);
        let begun = Instant::now();
        let key = format!("flag-{:05}", rng.u64(0..flags));
        let told = explain(&admin, &key, "u1", &format!("?at_revision={revision}")).await;
        took.push(begun.elapsed());
        assert_eq!(told["at"]["revision"], revision);
    }
    took.sort();
    let files = fs::read_dir(shop.cluster.data(1).join("catalogs")).expect("a folder");
    let sizes: Vec<u64> =
        files.map(|file| file.expect("a file").metadata().expect("its size").len()).collect();
    let of = format!("{newest} revisions and {flags} flags");
    measured(&format!("time travel: median look into {of}, ms"), took[took.len() / 2].as_millis());
    measured(&format!("time travel: slowest look into {of}, ms"), took[took.len() - 1].as_millis());
    measured(&format!("time travel: kept catalogs of {of}"), sizes.len());
    measured(&format!("time travel: largest of them, bytes, of {of}"), sizes.iter().max().expect("some"));
}
