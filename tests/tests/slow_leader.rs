//! A leader from and to which everything takes long. A campaign found that it acknowledged no write and confirmed no
//! read for as long as that lasted, with 208 ms each way (seed 6) and with 221 and 284 ms: an append or a heartbeat was
//! given up once the next heartbeat was due, after 150 ms, so no answer was ever heard, although each one came. The
//! append was sent again and again, and the followers, who heard each of them, late, waited for their leader and elected
//! no other. A link is not broken because it is slow: etcd goes on over it at its pace, and so does this now.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::{Answer, Consistency},
    catalog::{PROJECT, SAFE_COUNT, counter, put},
    cluster::Setup,
    history::History,
    links::Flow,
    settings::{measured, rounds},
    wait,
};
use serde_json::json;

mod common;
use common::shop::Shop;

const FLAG: &str = "gate";
/// What a caller grants who knows that the cluster is far away: more than is needed, so that a test fails by its bounds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take until the first write and read are through after the links became slow.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// Makes all that a member sends and all that is sent to it this much later.
fn slow_down(shop: &Shop, member: u64, delay: Duration) {
    for other in shop.cluster.ids().into_iter().filter(|id| *id != member) {
        shop.cluster.links().set(member, other, Flow::Delayed(delay));
        shop.cluster.links().set(other, member, Flow::Delayed(delay));
    }
}

async fn write(shop: &Shop, through: u64, count: u64) -> Answer {
    let operations = vec![put(&counter(FLAG, count, true))];
    let call = shop.cluster.admin(through).change(PROJECT, &format!("{FLAG} is {count}"), operations);
    call.header("Flagraft-Deadline-Ms", PATIENCE.as_millis().to_string()).answer().await
}

async fn read(shop: &Shop, through: u64) -> Answer {
    let call = shop.reader(through).evaluate(FLAG, &json!({"targetingKey": "anyone"}));
    call.header("Flagraft-Deadline-Ms", PATIENCE.as_millis().to_string()).answer().await
}

/// Who leads in which term, as a node sees it.
async fn office(shop: &Shop, id: u64) -> (Option<u64>, Option<u64>) {
    let status = shop.cluster.status(id).await;
    (status.body["leader"].as_u64(), status.body["term"].as_u64())
}

/// Writes and critical reads through all nodes while the leader is this far from the others.
async fn goes_on(delay: Duration, write_within: Duration, read_within: Duration) {
    let turns = u64::from(rounds(6, 60));
    let shop = Shop::open(Setup::of(3).with_links(), &[counter(FLAG, 0, true)]).await;
    let leader = shop.cluster.leader().await;
    let before = office(&shop, leader).await;
    slow_down(&shop, leader, delay);

    let slowed = Instant::now();
    let answer = write(&shop, leader, 1).await;
    assert!(answer.is_success(), "the first write over the slow links: {answer:?}");
    let settled = slowed.elapsed();
    assert!(settled < SETTLED_WITHIN, "the first write took {settled:?}");

    let (mut slowest_write, mut slowest_read) = (Duration::ZERO, Duration::ZERO);
    for turn in 2..turns + 2 {
        let answer = write(&shop, turn % 3 + 1, turn).await;
        assert!(
            answer.is_success(),
            "turn {turn}, through node {}, {leader} leads: {answer:?}",
            turn % 3 + 1
        );
        slowest_write = slowest_write.max(answer.took);
        for id in shop.cluster.ids() {
            let answer = read(&shop, id).await;
            assert_eq!(
                (answer.consistency(), answer.value()),
                (Consistency::Linearizable, &json!(turn)),
                "through node {id}, {leader} leads: {answer:?}"
            );
            slowest_read = slowest_read.max(answer.took);
        }
    }
    measured(
        &format!(
            "a leader {} ms from the others: first write, slowest write, slowest read in ms",
            delay.as_millis()
        ),
        [settled, slowest_write, slowest_read].map(|took| took.as_millis().to_string()).join(", "),
    );
    assert!(slowest_write < write_within, "a write took {slowest_write:?}");
    assert!(slowest_read < read_within, "a read took {slowest_read:?}");
    assert!(shop.cluster.links().affected() > 0, "nothing was delayed");
    for id in shop.cluster.ids() {
        assert_eq!(office(&shop, id).await, before, "another came to lead, as node {id} sees it");
    }

    shop.cluster.links().heal();
    wait::until("reads and writes to be quick again", Duration::from_secs(5), || async {
        let (wrote, seen) = (write(&shop, leader, turns + 2).await, read(&shop, leader).await);
        match wrote.is_success() && wrote.took.max(seen.took) < delay {
            true => Ok(()),
            false => Err(format!("{wrote:?}, {seen:?}")),
        }
    })
    .await;
    shop.cluster.agreed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_208_ms_away_goes_on() {
    goes_on(Duration::from_millis(208), Duration::from_secs(2), Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_300_ms_away_goes_on() {
    goes_on(Duration::from_millis(300), Duration::from_secs(3), Duration::from_secs(3)).await;
}

/// The price of patience: what is lost without the connection breaking, as by a router that forgot it, is sent again
/// over another one once it has had its time, and not only when the network says so, which it never does.
#[tokio::test(flavor = "multi_thread")]
async fn what_vanished_on_the_way_is_sent_again() {
    let mut shop = Shop::open(Setup::of(3).with_links(), &[counter(FLAG, 0, true)]).await;
    let leader = shop.cluster.leader().await;
    let followers: Vec<u64> = shop.cluster.ids().into_iter().filter(|id| *id != leader).collect();
    // Nobody else makes a quorum with the leader.
    shop.cluster.kill(followers[1]);
    let links = shop.cluster.links();
    links.set(leader, followers[0], Flow::Swallowed);
    let before = links.affected_from(leader, followers[0]);
    let began = Instant::now();
    let written = async {
        let answer = write(&shop, leader, 1).await;
        assert!(answer.is_success(), "{answer:?}");
        began.elapsed()
    };
    // Shorter than the follower waits for its leader, and longer than it takes to send the append.
    let swallows = async {
        wait::until_true("something to vanish", Duration::from_secs(5), || async {
            links.affected_from(leader, followers[0]) > before && began.elapsed() > Duration::from_millis(700)
        })
        .await;
        links.heal();
    };
    let (took, ()) = tokio::join!(written, swallows);
    measured("an append that vanished on the way, of 700 ms: acknowledged after (ms)", took.as_millis());
    assert!(took < Duration::from_millis(4_500), "it was sent again only after {took:?}");
    assert_eq!(shop.cluster.leader().await, leader, "it led all the while");
}

/// A round trip longer than a leader's lease: nothing that it hears says that it still leads, so it confirms nothing, and
/// the others elect one of themselves. Nothing that was acknowledged is lost or read late, by whichever node.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_too_far_away_to_lead_is_replaced() {
    let shop = Shop::open(Setup::of(3).with_links(), &[counter(FLAG, 0, true)]).await;
    let old = shop.cluster.leader().await;
    let history = History::default();
    slow_down(&shop, old, Duration::from_millis(1_500));
    let slowed = Instant::now();
    let near: Vec<u64> = shop.cluster.ids().into_iter().filter(|id| *id != old).collect();
    // Writes through the old one all the while: what it goes on sending must not keep the others from electing.
    let last = AtomicU64::new(0);
    let next = || last.fetch_add(1, Ordering::SeqCst) + 1;
    let replaced = wait::until("another leader", Duration::from_secs(12), || async {
        let count = next();
        let begun = Instant::now();
        let operations = vec![put(&counter(FLAG, count, true))];
        let call = shop.cluster.admin(old).change(PROJECT, "through the old leader", operations);
        let wrote = call.header("Flagraft-Deadline-Ms", "300").answer().await;
        assert!(!wrote.is_success(), "a quorum can't have answered within 300 ms: {wrote:?}");
        history.may_have_written(count, begun);
        match office(&shop, near[0]).await {
            (Some(leader), _) if leader != old => Ok(slowed.elapsed()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    measured("a leader 1,500 ms from the others: replaced after (ms)", replaced.as_millis());
    for _ in 0..2 {
        for through in &near {
            let (count, begun) = (next(), Instant::now());
            let answer = write(&shop, *through, count).await;
            assert!(answer.is_success(), "the two that are near are enough: {answer:?}");
            history.wrote(count, begun);
            for id in shop.cluster.ids() {
                let begun = Instant::now();
                let answer = read(&shop, id).await;
                match answer.consistency() {
                    Consistency::Linearizable => {
                        history.read(answer.value().as_u64().expect("a count"), begun);
                    }
                    Consistency::SafeVariant if id == old => assert_eq!(answer.value(), &json!(SAFE_COUNT)),
                    _ => panic!("through node {id}; {old} is far away: {answer:?}"),
                }
            }
        }
    }
    history.check().unwrap_or_else(|fault| panic!("{fault}"));
    shop.cluster.links().heal();
    shop.cluster.agreed().await;
}
