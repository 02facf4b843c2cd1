//! Two of three nodes are dead. The third serves ordinary flags and says how old they are, gives the safe variants of
//! critical ones, refuses writes in time, and heals by itself when a second node returns.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::{Api, Consistency},
    audit,
    catalog::{PROJECT, SAFE_COUNT, counter, put, switch},
    cluster::Setup,
    settings::measured,
    wait,
};
use serde_json::json;

mod common;
use common::shop::Shop;

/// The age at which the nodes of this test stop to be ready.
const READY_AGE: Duration = Duration::from_secs(3);
/// A write's deadline by default, and what an answer may take beyond it on a busy machine.
const WRITE_DEADLINE: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(500);
/// Within this a critical read is answered when its confirmation fails the first time.
const SAFE_WITHIN: Duration = Duration::from_millis(600);
/// What "at once" is on a busy machine: far below the deadline that is not waited for.
const AT_ONCE: Duration = Duration::from_millis(150);

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_serves_what_it_can_vouch_for_when_a_follower_survives() {
    survive(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_serves_what_it_can_vouch_for_when_the_leader_survives() {
    survive(true).await;
}

async fn survive(as_leader: bool) {
    let setup = Setup::of(3).with_arg("--ready-max-age-ms", READY_AGE.as_millis());
    let mut shop = Shop::open(setup, &[switch("banner", false), counter("gate", 7, true)]).await;
    let leader = shop.cluster.leader().await;
    let survivor = if as_leader { leader } else { shop.cluster.follower().await };
    let dead: Vec<u64> = shop.cluster.ids().into_iter().filter(|id| *id != survivor).collect();
    let node = shop.reader(survivor);
    let context = json!({"targetingKey": "anyone"});
    assert_eq!(node.evaluate("gate", &context).ok().await.value(), &json!(7));

    // Clients that write all the while, so that some writes are under way at the moment of the loss.
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            tokio::spawn(write_until_refused(shop.cluster.admin(survivor), writer, acknowledged.clone()))
        })
        .collect();
    wait::until_true("every writer to write", Duration::from_secs(20), || async {
        acknowledged.load(Ordering::SeqCst) > 2 * WRITERS
    })
    .await;
    let alone = Instant::now();
    shop.cluster.kill_together(&dead);

    // Critical: the safe variant, in time the first time and at once from then on.
    let first = node.evaluate("gate", &context).answer().await;
    assert_eq!(
        (first.consistency(), first.value()),
        (Consistency::SafeVariant, &json!(SAFE_COUNT)),
        "{first:?}"
    );
    assert!(first.took < SAFE_WITHIN, "the first safe variant took {:?}", first.took);
    let mut later = Duration::ZERO;
    for _ in 0..20 {
        let answer = node.evaluate("gate", &context).answer().await;
        assert_eq!(
            (answer.consistency(), answer.value()),
            (Consistency::SafeVariant, &json!(SAFE_COUNT)),
            "{answer:?}"
        );
        assert_eq!((answer.body["reason"].as_str(), answer.status), (Some("UNKNOWN"), 200), "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        later = later.max(answer.took);
    }
    assert!(later < AT_ONCE, "a later safe variant took {later:?}");
    let bulk = node.evaluate_all(&context).answer().await;
    assert_eq!(
        (bulk.status, bulk.consistency(), bulk.header("etag")),
        (200, Consistency::SafeVariant, None),
        "{bulk:?}"
    );

    // Asked for by the caller, with nothing safe to fall back on: refused.
    let refused =
        node.evaluate("banner", &context).header("Flagraft-Consistency", "linearizable").answer().await;
    assert_eq!(refused.status, 503, "{refused:?}");
    // Nobody can say that a flag does not exist, either.
    let unknown = node.evaluate("no-such-flag", &context).answer().await;
    assert_eq!(unknown.status, 503, "{unknown:?}");

    // Ordinary: served, each answer older than the one before by the time between them.
    let read = || async { node.evaluate("banner", &context).ok().await };
    let (one, at) = (read().await, Instant::now());
    assert_eq!((one.consistency(), one.value()), (Consistency::Local, &json!(true)), "{one:?}");
    wait::until("its age to grow by a second", Duration::from_secs(5), || async {
        let two = read().await;
        let between = at.elapsed();
        let grown = two.age_ms().expect("its age is known") - one.age_ms().expect("its age is known");
        // The age is a bound: it may round, but not lag.
        assert!(
            Duration::from_millis(grown + 20) >= between.saturating_sub(two.took),
            "it grew by {grown} ms in {between:?}"
        );
        if grown >= 1000 { Ok(()) } else { Err(format!("it grew by {grown} ms")) }
    })
    .await;

    // Readiness falls when the age reaches its bound, not before and not much later.
    let unready = wait::until("/readyz to fall", READY_AGE * 3, || async {
        match shop.cluster.anonymous(survivor).get("/readyz").answer().await.status {
            503 => Ok(alone.elapsed()),
            status => Err(format!("it is {status}")),
        }
    })
    .await;
    assert!(unready.abs_diff(READY_AGE) < Duration::from_millis(600), "/readyz fell after {unready:?}");
    assert_eq!(shop.cluster.anonymous(survivor).get("/livez").answer().await.status, 200);
    assert_eq!(read().await.value(), &json!(true), "a node that is not ready still answers");

    // Every write under way ended by its deadline: with 503 if it certainly did not enter the log, and with 504 if it
    // did, or may have, and nobody knows what becomes of it.
    let mut lost = Vec::new();
    for writer in writers {
        let last = writer.await.expect("a writer does not panic");
        assert!(matches!(last.status, 503 | 504), "{last:?}");
        assert!(last.took < WRITE_DEADLINE + SLACK, "{last:?}");
        lost.push(last);
    }
    let undecided = lost.iter().filter(|last| last.status == 504).count();
    // A leader that heard from its quorum a moment ago takes what comes.
    assert!(undecided > 0 || !as_leader, "no write was under way at the moment of the loss: {lost:?}");

    // Writes from here on: refused by their deadline, and nothing of them is ever seen.
    let change = |count| {
        let operations = vec![put(&counter("gate", count, true))];
        shop.cluster.admin(survivor).change(PROJECT, "nobody agrees", operations)
    };
    let mut slowest = Duration::ZERO;
    for count in 0..3 {
        let answer = change(100 + count).answer().await;
        assert_eq!(answer.status, 503, "certainly not entered: {answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        assert!(answer.took < WRITE_DEADLINE + SLACK, "refused only after {:?}", answer.took);
        slowest = slowest.max(answer.took);
    }

    // A second node returns: all heals by itself.
    let returned = Instant::now();
    shop.cluster.launch(dead[0]);
    wait::until("critical reads to be current again", Duration::from_secs(20), || async {
        let answer = node.evaluate("gate", &context).answer().await;
        match answer.consistency() {
            Consistency::Linearizable => {
                assert_eq!(answer.value(), &json!(7), "a refused write took effect");
                Ok(())
            }
            _ => Err(format!("{answer:?}")),
        }
    })
    .await;
    let healed = returned.elapsed();
    shop.cluster.ready(survivor).await;
    shop.cluster.ready(dead[0]).await;
    shop.change(survivor, "two are enough", vec![put(&counter("gate", 8, true))]).await;
    assert_eq!(shop.reader(dead[0]).evaluate("gate", &context).ok().await.value(), &json!(8));
    shop.cluster.restart(dead[1]).await;
    shop.cluster.agreed().await;
    // What was refused at the moment of the loss never took effect; what was unknown did once, or not.
    let accepted = audit::accepted_by_reason(&audit::records(&shop.cluster.admin(survivor)).await);
    for last in &lost {
        let times = accepted.get(&last.reason).copied().unwrap_or_default();
        assert!(times <= usize::from(last.status == 504), "{last:?}, and in the audit log {times} times");
    }
    assert_eq!(accepted.get("nobody agrees"), None, "a refused write took effect");

    let role = if as_leader { "leader" } else { "follower" };
    measured(
        &format!(
            "quorum lost, a {role} survives: first safe variant, slowest later one, slowest refused write, /readyz falls, healed after (ms)"
        ),
        [first.took, later, slowest, unready, healed].map(|took| took.as_millis().to_string()).join(", "),
    );
    measured(
        &format!("quorum lost, a {role} survives: writes at the moment of the loss, of which unknown (504)"),
        format!("{}, {undecided}", lost.len()),
    );
}

/// How many clients write at the moment of the loss.
const WRITERS: u64 = 16;

/// A write that was not acknowledged.
#[derive(Debug)]
struct Lost {
    reason: String,
    status: u16,
    took: Duration,
}

/// Writes again and again through one node, until a write is not acknowledged. Every second client sends no
/// `Idempotency-Key`.
async fn write_until_refused(node: Api, writer: u64, acknowledged: Arc<AtomicU64>) -> Lost {
    for count in 1.. {
        let flag = format!("load-{writer}");
        let reason = format!("{flag} is {count}");
        let mut call = node.change(PROJECT, &reason, vec![put(&counter(&flag, count, false))]);
        if writer % 2 == 0 {
            call = call.idempotent(&reason);
        }
        let answer = call.answer().await;
        if !answer.is_success() {
            return Lost { reason, status: answer.status, took: answer.took };
        }
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    unreachable!("a test does not write for ever")
}
