//! Every evaluation is accounted for: over three nodes whose leader changes the counts add up exactly; a node that is
//! killed loses what it counted since its last report, at most, and the log shows that it was killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_client::{Client, Context, Status};
use flagraft_tests::{
    audit,
    catalog::{put, switch},
    cluster::Setup,
    load::Writers,
    settings::{measured, rng, rounds},
    wait,
};
use serde_json::{Value, json};

mod common;
use common::shop::Shop;

/// How often nodes report here.
const INTERVAL: Duration = Duration::from_millis(500);
/// How much later than its interval a report may be in the log, on a machine that has much to do.
const REPORTED_WITHIN: Duration = Duration::from_millis(1_000);
/// How long a stop, or the last report after it, may take.
const WITHIN: Duration = Duration::from_secs(20);

fn audited(key: &str) -> Value {
    let mut flag = switch(key, false);
    flag["audit_evaluations"] = json!("summary");
    flag
}

async fn open() -> Shop {
    let setup = Setup::of(3).with_arg("--accounts-interval-ms", INTERVAL.as_millis());
    Shop::open(setup, &[audited("one"), audited("two"), switch("unasked", false)]).await
}

/// The counts of evaluations in the log, oldest first.
async fn counts(shop: &Shop) -> Vec<Value> {
    let living = *shop.cluster.living().first().expect("a node lives");
    let records = audit::selected(&shop.cluster.admin(living), "kind=evaluations").await;
    records.into_iter().map(|mut record| record["evaluations"].take()).collect()
}

fn total(counts: &[Value]) -> u64 {
    let of = |counted: &Value| {
        let entries = counted["entries"].as_array().into_iter().flatten();
        let singly: u64 = entries.map(|entry| entry["count"].as_u64().expect("a count")).sum();
        singly + counted["other"]["count"].as_u64().expect("a count")
    };
    counts.iter().map(of).sum()
}

/// Evaluates on every living node, and says how many evaluations of audited flags those were.
async fn evaluate(shop: &Shop, rounds: u64) -> u64 {
    let living = shop.cluster.living();
    for _ in 0..rounds {
        for id in &living {
            let node = shop.reader(*id);
            node.evaluate("one", &json!({})).ok().await;
            node.evaluate("unasked", &json!({})).ok().await;
            node.evaluate_all(&json!({})).ok().await;
        }
    }
    rounds * u64::try_from(living.len()).expect("few") * 3
}

async fn until_total(shop: &Shop, made: u64) {
    wait::until(&format!("{made} evaluations in the log"), WITHIN, || async {
        let found = total(&counts(shop).await);
        if found == made { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_add_up_while_leaders_change() {
    let mut shop = open().await;
    let mut made = evaluate(&shop, 20).await;
    for _ in 0..3 {
        let leader = shop.cluster.leader().await;
        let status = shop.cluster.terminate(leader, WITHIN).await;
        assert_eq!(status.code(), Some(0), "{}", shop.cluster.log(leader));
        made += evaluate(&shop, 20).await;
        shop.cluster.restart(leader).await;
        made += evaluate(&shop, 20).await;
    }
    until_total(&shop, made).await;
    shop.cluster.agreed().await;
    let counts = counts(&shop).await;
    assert_each_once(&counts);
    // Nothing is counted once more when the nodes report anew.
    made += evaluate(&shop, 1).await;
    until_total(&shop, made).await;
    for id in shop.cluster.ids() {
        let seen = reports(&shop, id).await.len();
        shop.cluster.status(id).await;
        wait::until_true("another report", WITHIN, || async { reports(&shop, id).await.len() > seen }).await;
    }
    let counted = total(&self::counts(&shop).await);
    assert_eq!(counted, made);
    measured("evaluations made, and in the log", format!("{made}, {counted}"));
}

/// Each report is there once, and none is missing.
fn assert_each_once(counts: &[Value]) {
    for counted in counts {
        let report = &counted["report"];
        assert!(report["missing"].is_null() && report["unfinished"].is_null(), "{report}");
    }
    let numbers: BTreeSet<String> = counts.iter().map(|counted| name(&counted["report"])).collect();
    assert_eq!(numbers.len(), counts.len(), "each report is there once");
}

fn name(report: &Value) -> String {
    format!("{} {} {}", report["reporter"], report["boot"], report["number"])
}

/// With `FLAGRAFT_TEST_ROUNDS=full` a hundred are killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_loses_one_interval_at_most_and_it_shows() {
    let mut shop = open().await;
    let mut rng = rng();
    let writers = Writers::start(&shop.cluster, 2, None).await;
    let (mut made, mut lost) = (0, 0);
    let mut boots: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let killed = rounds(3, 100);
    for _ in 0..killed {
        until_total(&shop, made - lost).await;
        let victim = shop.cluster.living()[rng.usize(0..3)];
        let node = shop.reader(victim);
        let before = total(&counts(&shop).await);
        // Over some intervals, of which the last one is not reported yet, or just so.
        let mut at = Vec::new();
        let end = Instant::now() + Duration::from_millis(rng.u64(200..2_500));
        while Instant::now() < end {
            node.evaluate("one", &json!({})).ok().await;
            at.push(Instant::now());
            wait::pace(Duration::from_millis(10)).await;
        }
        let killed_at = Instant::now();
        shop.cluster.kill(victim);
        shop.cluster.restart(victim).await;
        let revision = shop.cluster.status(shop.cluster.living()[0]).await.body["revision"].clone();
        shop.cluster.published(revision.as_u64().expect("a revision")).await;
        // The new life reports, and says that the last one did not end in order.
        node.evaluate("one", &json!({})).ok().await;
        let lives = boots.entry(victim).or_default();
        let first = wait::until("a report of the new life", WITHIN, || async {
            let all = reports(&shop, victim).await;
            let newest = all.last().map(|report| report["boot"].clone()).unwrap_or_default();
            let first = all.into_iter().find(|report| report["boot"] == newest);
            first
                .filter(|report| !lives.contains(&newest.to_string()) && report["unfinished"].is_object())
                .ok_or(newest)
        })
        .await;
        let unfinished = &first["unfinished"]["boot"];
        assert!(unfinished.is_string() && *unfinished != first["boot"], "{first}");
        lives.insert(first["boot"].to_string());
        // What it had reported before it died is there by now, and the one evaluation after.
        let found = wait::until("the evaluation of the new life", WITHIN, || async {
            let counts = counts(&shop).await;
            let anew = counts.iter().filter(|counted| counted["report"]["boot"] == first["boot"]);
            let anew = total(&anew.cloned().collect::<Vec<_>>());
            if anew == 1 { Ok(total(&counts) - before - anew) } else { Err(anew) }
        })
        .await;
        made += 1;
        let of_round = u64::try_from(at.len()).expect("few");
        let unreported = at.iter().filter(|at| killed_at - **at < INTERVAL + REPORTED_WITHIN).count();
        let unreported = u64::try_from(unreported).expect("few");
        assert!(
            (of_round - unreported..=of_round).contains(&found),
            "of {of_round}, {unreported} of them in its last interval, {found} are in the log"
        );
        (made, lost) = (made + of_round, lost + of_round - found);
    }
    let written = writers.finish().await;
    let print = shop.cluster.agreed().await;
    // The nodes go on to report while the log is read.
    assert!(audit::each_once(&shop.cluster.admin(1), &written).await >= print.audit_size);
    measured("evaluations made, killed nodes, evaluations lost", format!("{made}, {killed}, {lost}"));
    // A flag that asks for it no more is counted no more.
    shop.change(1, "no more", vec![put(&switch("one", false)), put(&switch("two", false))]).await;
    evaluate(&shop, 3).await;
    // What was counted until now is in the log once each node has reported anew: reads are counted too.
    for id in shop.cluster.ids() {
        let seen = reports(&shop, id).await.len();
        shop.cluster.status(id).await;
        wait::until_true("another report", WITHIN, || async { reports(&shop, id).await.len() > seen }).await;
    }
    assert_eq!(total(&counts(&shop).await), made - lost);
}

/// The reports of a node in the log, of evaluations and of reads, oldest first.
async fn reports(shop: &Shop, node: u64) -> Vec<Value> {
    let living = *shop.cluster.living().first().expect("a node lives");
    let reporter = format!("node-{node}");
    let mut reports = Vec::new();
    for record in audit::selected(&shop.cluster.admin(living), "kind=evaluations,access").await {
        let report = [&record["evaluations"]["report"], &record["access"]["report"]];
        reports.extend(report.into_iter().find(|report| report["reporter"] == *reporter).cloned());
    }
    reports
}

/// A program that evaluates in its own process, all the while, and reports what it counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_evaluates_itself_adds_up_while_leaders_are_killed() {
    let mut shop = open().await;
    let urls: Vec<String> =
        shop.cluster.ids().into_iter().map(|id| shop.reader(id).base().to_owned()).collect();
    let client =
        Client::builder().endpoints(urls).token(&shop.token).instance("shop-1").report_every(INTERVAL);
    let client = client.start().await.expect("well set up");
    assert_eq!(client.ready(WITHIN).await, Status::Ready);
    let stop = Arc::new(AtomicBool::new(false));
    let (of, stopped) = (client.clone(), stop.clone());
    let service = std::thread::spawn(move || {
        let (user, mut made) = (Context::of("anyone"), 0);
        while !stopped.load(Ordering::Relaxed) {
            assert!(of.bool_value("one", &user, false) && of.bool_value("unasked", &user, false));
            assert!(of.bool_details("two", &user, false).error.is_none());
            made += 2;
            std::thread::sleep(Duration::from_micros(200));
        }
        made
    });
    let kills = rounds(3, 10);
    for _ in 0..kills {
        let (leader, before) = (shop.cluster.leader().await, total(&counts(&shop).await));
        shop.cluster.kill(leader);
        // It is reported on to those that are left.
        wait::until_true("reports after the leader was killed", WITHIN, || async {
            total(&counts(&shop).await) > before
        })
        .await;
        shop.cluster.restart(leader).await;
    }
    stop.store(true, Ordering::Relaxed);
    let made: u64 = service.join().expect("every evaluation returned, and was right");
    client.shutdown().await;
    // The client has heard that the log has its last report; this node may still have to apply it.
    until_total(&shop, made).await;
    shop.cluster.agreed().await;
    let counts = counts(&shop).await;
    assert_each_once(&counts);
    for counted in &counts {
        let reporter = counted["report"]["reporter"].as_str().expect("a reporter");
        assert!(counted["self_reported"] == true && reporter.ends_with("/shop-1"), "{counted}");
        assert_eq!(counted["report"]["boot"], counts[0]["report"]["boot"]);
    }
    let ends: Vec<bool> = counts.iter().map(|counted| counted["report"]["ends"] == true).collect();
    assert_eq!(
        ends.iter().position(|ends| *ends),
        Some(ends.len() - 1),
        "the last one, and no other: {ends:?}"
    );
    measured(
        "a client's own evaluations, leaders killed, evaluations in the log, reports",
        format!("{made}, {kills}, {}, {}", total(&counts), counts.len()),
    );
}
