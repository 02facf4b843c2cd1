//! Counting without a node: the sums, the bounds, and what is listed.

use std::{sync::Barrier, thread};

use flagraft_core::{account::KeyHash, feed::Replica};
use serde_json::{Value, json};

use super::*;

const TOKEN: &str = "tok_00000001";

/// An environment with flags that ask for each of the three.
fn replica(flags: usize) -> Replica {
    let flag = |key: &str, audit: &str| {
        let mut flag = json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "version": 7,
            "configuration": {"enabled": true, "default": {"variant": "on"}}});
        if audit != "none" {
            flag["audit_evaluations"] = json!(audit);
        }
        flag
    };
    let mut all: Vec<Value> = (0..flags).map(|n| flag(&format!("counted-{n:05}"), "summary")).collect();
    all.extend([flag("full", "full"), flag("none", "none")]);
    let snapshot = json!({"format": 1, "revision": 9, "environment_revision": 9, "project": "shop",
        "environment": "production", "flags": all, "segments": []});
    let replica = Replica::from_snapshot(&snapshot.to_string()).expect("a snapshot");
    assert_eq!(replica.unsupported().len(), 0);
    replica
}

fn project() -> ProjectKey {
    ProjectKey::new("shop").expect("a key")
}

fn context(targeting_key: &str) -> EvaluationContext {
    let Value::Object(attributes) = json!({"targetingKey": targeting_key}) else { panic!("an object") };
    EvaluationContext::new(attributes)
}

/// Evaluates these flags once for a token.
fn evaluate(accounts: &Accounts, compiled: &CompiledEnvironment, token: &str, flags: &[&str]) {
    let (context, project, token) = (context("ann"), project(), TokenId::from(token));
    let of = Evaluated {
        cluster: Some(ClusterId(1)),
        project: &project,
        compiled,
        token: &token,
        context: &context,
    };
    let resolutions: Vec<_> =
        flags.iter().map(|flag| compiled.evaluate(flag, &context).expect("a flag")).collect();
    accounts.evaluated(&of, &resolutions);
}

fn taken(accounts: &Accounts) -> Counted {
    let Taken { mut places, .. } = accounts.take();
    let place = Place { project: project(), environment: EnvironmentKey::new("production").expect("a key") };
    let counted = places.remove(&place).unwrap_or_default();
    assert!(places.is_empty());
    counted
}

fn total(counted: &Counted) -> u64 {
    counted.entries().iter().map(|entry| entry.count).sum::<u64>() + counted.other().count
}

#[test]
fn all_threads_together_count_each_evaluation_once() {
    let replica = replica(3);
    let accounts = Accounts::new(None);
    let (threads, rounds) = (8, 2_000);
    let start = Barrier::new(threads + 1);
    let mut sums = 0;
    thread::scope(|scope| {
        let working: Vec<_> = (0..threads)
            .map(|n| {
                let (accounts, compiled, start) = (&accounts, replica.environment(), &start);
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..rounds {
                        let token = if n % 2 == 0 { TOKEN } else { "tok_00000002" };
                        evaluate(accounts, compiled, token, &["counted-00000", "none", "counted-00002"]);
                    }
                })
            })
            .collect();
        start.wait();
        // What is taken while others count is not counted twice, nor lost.
        while working.iter().any(|working| !working.is_finished()) {
            sums += total(&taken(&accounts));
        }
    });
    let last = taken(&accounts);
    assert_eq!(sums + total(&last), u64::try_from(threads * rounds * 2).expect("small"));

    evaluate(&accounts, replica.environment(), TOKEN, &["counted-00000", "counted-00000", "none"]);
    evaluate(&accounts, replica.environment(), "tok_00000002", &["counted-00000"]);
    let entries = taken(&accounts).entries();
    let shown: Vec<_> =
        entries.iter().map(|e| (&*e.flag, e.variant.as_deref(), e.revision, &*e.token, e.count)).collect();
    assert_eq!(
        shown,
        [("counted-00000", Some("on"), 7, TOKEN, 2), ("counted-00000", Some("on"), 7, "tok_00000002", 1)]
    );
    assert_eq!(taken(&accounts).entries(), []);
}

#[test]
fn memory_is_bounded_and_no_count_is_lost_by_it() {
    let replica = replica(20_000);
    let accounts = Accounts::new(None);
    let names: Vec<String> = (0..20_000).map(|n| format!("counted-{n:05}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    evaluate(&accounts, replica.environment(), TOKEN, &names);
    // No room is left for another token either.
    evaluate(&accounts, replica.environment(), "tok_00000002", &["counted-00000"]);
    let counted = taken(&accounts);
    assert_eq!(total(&counted), 20_001);
    assert!(counted.other().count > 3_000 && counted.entries().len() > 15_000);
    evaluate(&accounts, replica.environment(), "tok_00000002", &["counted-00000"]);
    assert_eq!(taken(&accounts).other().count, 0, "there is room again");
}

#[test]
fn each_evaluation_is_listed_up_to_the_ceiling_and_then_only_counted() {
    let replica = replica(1);
    let secret = PeerSecret::new(vec![7; 32]).expect("long enough");
    let accounts = Accounts::new(Some(secret.clone()));
    for _ in 0..LISTED_PER_FLAG_MAX + 5 {
        evaluate(&accounts, replica.environment(), TOKEN, &["full", "counted-00000"]);
    }
    let counted = taken(&accounts);
    assert_eq!(total(&counted), 2 * u64::from(LISTED_PER_FLAG_MAX + 5), "the counts go on");
    let exceeded = counted.exceeded().expect("more than are listed");
    assert_eq!((exceeded.flags.len(), exceeded.flags[0].count), (1, 5));
    let listed = counted.listed();
    assert_eq!(listed.len(), LISTED_PER_FLAG_MAX as usize);
    let environment = EnvironmentKey::new("production").expect("a key");
    let hasher = KeyHasher::new(Some(&secret), ClusterId(1), &project(), &environment);
    let expected: KeyHash = hasher.hash("ann");
    assert!(listed.iter().all(|one| &*one.flag == "full" && one.targeting_key == Some(expected)));

    evaluate(&accounts, replica.environment(), TOKEN, &["full"]);
    let counted = taken(&accounts);
    assert!(counted.exceeded().is_none() && counted.listed().len() == 1, "the next interval begins anew");
}

/// Run by hand: what a bulk answer of 100 flags costs with and without counting, a flag.
#[test]
#[ignore = "measures"]
fn what_counting_costs() {
    let counting = |audit: bool| {
        let replica = replica(100);
        let compiled = replica.environment();
        let accounts = Accounts::new(None);
        let (context, project, token) = (context("ann"), project(), TokenId::from(TOKEN));
        let of = Evaluated {
            cluster: Some(ClusterId(1)),
            project: &project,
            compiled,
            token: &token,
            context: &context,
        };
        let names: Vec<String> = (0..100).map(|n| format!("counted-{n:05}")).collect();
        let rounds = 20_000_u32;
        let begun = std::time::Instant::now();
        for _ in 0..rounds {
            let resolutions: Vec<_> =
                names.iter().map(|flag| compiled.evaluate(flag, &context).expect("a flag")).collect();
            let resolutions = std::hint::black_box(resolutions);
            if audit {
                accounts.evaluated(&of, &resolutions);
            }
        }
        let took = begun.elapsed();
        assert_eq!(total(&taken(&accounts)), if audit { u64::from(rounds) * 100 } else { 0 });
        took.as_secs_f64() * 1e9 / f64::from(rounds) / 100.0
    };
    for _ in 0..3 {
        let (without, with) = (counting(false), counting(true));
        println!("{without:.1} ns a flag without, {with:.1} with: {:.1} to count", with - without);
    }
}

#[test]
fn reads_are_counted_by_caller_route_and_status() {
    let accounts = Accounts::new(None);
    let token = |id: &str| -> flagraft_core::token::Token {
        serde_json::from_value(json!({
            "spec": {"id": id, "name": "n", "kind": "admin", "actor": {"type": "user", "id": "ann"}, "grants": [],
                "context": {}, "expires_at_ms": null},
            "secret_sha256": "00".repeat(32), "revision": 1, "created_at_ms": 0, "revoked_at_ms": null,
        }))
        .expect("a token")
    };
    let (one, two) = (token("tok_00000001"), token("tok_00000002"));
    let shop = project();
    let read = |token, project| Read { token, method: "GET", route: "/api/v1/projects/{project}", project };
    accounts.read(&read(&one, Some(&shop)), 200);
    accounts.read(&read(&one, Some(&shop)), 200);
    accounts.read(&read(&one, Some(&shop)), 404);
    accounts.read(&read(&two, None), 403);
    let mut taken = accounts.take();
    taken.reads.sort();
    let shown: Vec<_> = taken
        .reads
        .iter()
        .map(|read| {
            let statuses: Vec<_> = read.statuses.iter().map(|status| (status.status, status.count)).collect();
            (&*read.token, read.project.as_deref(), read.count, statuses)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("tok_00000001", Some("shop"), 3, vec![(200, 2), (404, 1)]),
            ("tok_00000002", None, 1, vec![(403, 1)])
        ]
    );
    for n in 0..10_050 {
        let token = token(&format!("tok_{n:08}"));
        let route = "/api/v1/tokens";
        accounts.read(&Read { token: &token, method: "GET", route, project: None }, 200);
    }
    let taken = accounts.take();
    assert_eq!((taken.reads.len(), taken.reads_beyond), (10_000, 50));
}
