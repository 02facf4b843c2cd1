//! Never stale: what was acknowledged through one node is read from another at once, or that node says that it cannot
//! be sure. Judged twice: each read against the writes acknowledged before it began, and the whole history for
//! linearizability.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::{Answer, Api, Consistency},
    catalog::{PROJECT, SAFE_COUNT, counter, put, switch},
    cluster::Setup,
    history::History,
    links::Flow,
    load::write_anywhere,
    settings::{measured, rng, rounds},
    sockets, wait,
};
use serde_json::{Value, json};

mod common;
use common::shop::Shop;

const FLAG: &str = "gate";

fn anyone() -> Value {
    json!({"targetingKey": "anyone"})
}

/// What a critical read came to: a count that it vouches for, or `None` for the safe variant. Anything else is wrong.
fn vouched(answer: &Answer) -> Option<u64> {
    assert_eq!(answer.status, 200, "{answer:?}");
    match answer.consistency() {
        Consistency::Linearizable => {
            Some(answer.value().as_u64().unwrap_or_else(|| panic!("no count: {answer:?}")))
        }
        Consistency::SafeVariant => {
            assert_eq!(answer.value(), &json!(SAFE_COUNT), "{answer:?}");
            assert_eq!(answer.body["reason"], "UNKNOWN", "{answer:?}");
            None
        }
        Consistency::Local => panic!("a critical flag was answered from local state: {answer:?}"),
    }
}

/// Writes through one node and reads at once through another, in turn; gives how many reads were safe variants.
async fn write_then_read(shop: &Shop, turns: u32, history: &History) -> u32 {
    let nodes = shop.cluster.ids();
    let pairs: Vec<(u64, u64)> =
        nodes.iter().flat_map(|w| nodes.iter().filter(move |r| *r != w).map(move |r| (*w, *r))).collect();
    let mut unsure = 0;
    for turn in 1..=u64::from(turns) {
        let (writer, reader) = pairs[usize::try_from(turn).expect("small") % pairs.len()];
        let start = Instant::now();
        shop.count(writer, FLAG, turn, true).await;
        history.wrote(turn, start);
        let start = Instant::now();
        match vouched(&shop.reader(reader).evaluate(FLAG, &anyone()).answer().await) {
            Some(count) => {
                history.read(count, start);
                assert_eq!(count, turn, "stale: written through node {writer}, read through node {reader}");
            }
            None => unsure += 1,
        }
    }
    unsure
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_write_is_read_at_once_through_another_node() {
    let turns = rounds(150, 1000);
    let shop = Shop::open(Setup::of(3), &[counter(FLAG, 0, true)]).await;
    let history = History::default();
    let unsure = write_then_read(&shop, turns, &history).await;
    history.check().unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(unsure, 0, "safe variants on a healthy cluster");
    measured(
        "critical write, then read through another node: turns, stale, safe variants",
        format!("{turns}, 0, {unsure}"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_critical_read_waits_for_replication_that_is_held_back() {
    let turns = rounds(60, 1000);
    let mut rng = rng();
    let shop = Shop::open(Setup::of(3).with_links(), &[counter(FLAG, 0, true)]).await;
    let links = shop.cluster.links();
    let history = History::default();
    let (mut unsure, mut held, mut proven, mut turn) = (0, 0, 0, 0);
    while proven < turns {
        turn += 1;
        assert!(
            turn <= 2 * u64::from(turns),
            "the proxy held something back in {proven} of {turn} turns only"
        );
        let leader = shop.cluster.leader().await;
        let followers: Vec<u64> = shop.cluster.ids().into_iter().filter(|id| *id != leader).collect();
        let reader = *rng.choice(&followers).expect("two of them");
        let before = links.affected();
        // The leader answers the reader's questions at once, but what it replicates comes late, or, one time in ten,
        // not until the read is over.
        let hold = rng.u8(0..10) == 0;
        let late = Flow::Delayed(Duration::from_millis(rng.u64(5..60)));
        links.set_requests(leader, reader, if hold { Flow::Held } else { late });
        // Written through a node that is not held back: one that is would wait for itself.
        let writer = shop.cluster.ids().into_iter().find(|id| *id != reader && (*id != leader) == rng.bool());
        let start = Instant::now();
        shop.count(writer.unwrap_or(leader), FLAG, turn, true).await;
        history.wrote(turn, start);
        let start = Instant::now();
        let seen = vouched(&shop.reader(reader).evaluate(FLAG, &anyone()).answer().await);
        let took_effect = links.affected() > before;
        links.heal();
        if let Some(count) = seen {
            history.read(count, start);
            assert_eq!(count, turn, "stale through node {reader}, held back by its proxy");
        }
        if hold || seen.is_none() {
            shop.sure(reader, FLAG).await;
        }
        // On a busy machine another node may have come to lead, whose traffic was not held back.
        if took_effect && shop.cluster.leader().await == leader {
            proven += 1;
            held += u32::from(hold);
            unsure += u32::from(seen.is_none());
            assert_eq!(seen.is_none(), hold, "{late:?} is no reason for a safe variant, but holding back is");
        }
    }
    history.check().unwrap_or_else(|fault| panic!("{fault}"));
    measured(
        "critical read with replication held back: turns, of which held to the end, stale, safe variants",
        format!("{proven}, {held}, 0, {unsure}"),
    );
}

/// etcd's worst stale reads came from a process that was paused, lost its lead, and answered from its memory when it
/// went on. The read here waits in the paused leader's socket when it wakes.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_leader_that_was_paused_answers_nothing_old() {
    let turns = rounds(5, 40);
    let mut shop = Shop::open(Setup::of(3), &[counter(FLAG, 0, true)]).await;
    let history = History::default();
    let (mut unsure, mut count) = (0, 0);
    for _ in 0..turns {
        let old = shop.cluster.leader().await;
        let reader = shop.reader(old);
        // A connection that the paused node has accepted already.
        vouched(&reader.evaluate(FLAG, &anyone()).answer().await);
        shop.cluster.pause(old);
        let others = shop.cluster.living();
        let new = shop.cluster.leader().await;
        assert_ne!(new, old);
        count += 1;
        let start = Instant::now();
        wait::until("a write through the new leader", Duration::from_secs(10), || async {
            let operations = vec![put(&counter(FLAG, count, true))];
            let call = shop.cluster.admin(others[0]).change(PROJECT, "the old leader sleeps", operations);
            match call.idempotent(&format!("count-{count}")).answer().await {
                answer if answer.is_success() => Ok(()),
                answer => Err(format!("{answer:?}")),
            }
        })
        .await;
        history.wrote(count, start);

        let start = Instant::now();
        let reads: Vec<_> = (0..8)
            .map(|_| {
                let reader = reader.clone();
                tokio::spawn(async move { reader.evaluate(FLAG, &anyone()).answer().await })
            })
            .collect();
        // They wait in its sockets before it wakes.
        let port = shop.cluster.anonymous(old).port();
        wait::until("eight reads in the paused node's sockets", Duration::from_secs(10), || async {
            match sockets::unread(port) {
                8.. => Ok(()),
                some => Err(format!("there are {some}")),
            }
        })
        .await;
        shop.cluster.resume(old);
        for read in reads {
            match vouched(&read.await.expect("no panic")) {
                Some(seen) => {
                    history.read(seen, start);
                    assert_eq!(seen, count, "stale from the old leader, node {old}");
                }
                None => unsure += 1,
            }
        }
        shop.cluster.ready(old).await;
    }
    history.check().unwrap_or_else(|fault| panic!("{fault}"));
    measured(
        "reads from a leader that was paused and resumed: reads, stale, safe variants",
        format!("{}, 0, {unsure}", turns * 8),
    );
}

/// A sleep that is shorter than an election leaves it the lead, one that is longer does not, and around the length of one
/// anything may happen: clients read through all nodes meanwhile, also through the one that sleeps.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_sleeps_around_an_election_timeout_answers_nothing_old() {
    /// The longest of the default election timeouts, which are drawn from half of it up.
    const ELECTION: Duration = Duration::from_millis(1_200);
    /// The sleeps, in tenths of an election timeout.
    const TENTHS: [u32; 4] = [5, 10, 20, 50];
    let turns = rounds(4, 100);
    let mut shop = Shop::open(Setup::of(3), &[counter(FLAG, 0, true)]).await;
    let history = Arc::new(History::default());
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = shop
        .cluster
        .ids()
        .into_iter()
        .flat_map(|id| [id, id])
        .map(|id| {
            let (node, history, stop) = (shop.reader(id), history.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let start = Instant::now();
                    // Longer than any sleep: what was asked of a node that sleeps is answered when it wakes.
                    let read = node.evaluate(FLAG, &anyone()).within(Duration::from_secs(10)).send().await;
                    if let Some(count) = vouched(&read.expect("an answer, be it late")) {
                        history.read(count, start);
                    }
                    wait::pace(Duration::from_millis(2)).await;
                }
            })
        })
        .collect();
    let written = Arc::new(AtomicU64::new(0));
    let writer = tokio::spawn({
        let (nodes, history) = (shop.cluster.admins(), history.clone());
        let (stop, written) = (stop.clone(), written.clone());
        async move {
            let path = format!("/api/v1/projects/{PROJECT}/changes");
            for count in 1.. {
                let body =
                    json!({"reason": "clients read", "operations": [put(&counter(FLAG, count, true))]});
                let start = Instant::now();
                let first = usize::try_from(count).expect("a few");
                match write_anywhere(&nodes, first, &format!("count-{count}"), &path, &body).await {
                    Some(answer) if answer.is_success() => history.wrote(count, start),
                    _ => history.may_have_written(count, start),
                }
                written.store(count, Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    return;
                }
            }
        }
    });
    let mut overthrown = [0; TENTHS.len()];
    for turn in 0..turns as usize {
        let old = shop.cluster.leader().await;
        let sleep = ELECTION * TENTHS[turn % TENTHS.len()] / 10;
        shop.cluster.pause(old);
        wait::pace(sleep).await;
        shop.cluster.resume(old);
        shop.cluster.ready(old).await;
        overthrown[turn % TENTHS.len()] += u32::from(shop.cluster.leader().await != old);
        let before = written.load(Ordering::SeqCst);
        wait::until_true("writes to go on", Duration::from_secs(20), || async {
            written.load(Ordering::SeqCst) > before + 3
        })
        .await;
    }
    stop.store(true, Ordering::SeqCst);
    for task in readers.into_iter().chain([writer]) {
        task.await.expect("no client was answered wrongly");
    }
    history.check().unwrap_or_else(|fault| panic!("{fault}"));
    measured(
        "leader asleep for 0.5, 1, 2, 5 election timeouts while clients read: times, of which each overthrown; confirmed reads, \
         stale",
        format!("{turns}, {overthrown:?}; {}, 0", history.reads()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_at_once_see_one_order() {
    let turns = u64::from(rounds(100, 600));
    let shop = Shop::open(Setup::of(3), &[counter(FLAG, 0, true)]).await;
    let history = Arc::new(History::default());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = shop
        .cluster
        .ids()
        .into_iter()
        .flat_map(|id| [id, id])
        .map(|id| {
            let (node, history) = (shop.reader(id), history.clone());
            let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let floor = acknowledged.load(Ordering::SeqCst);
                    let start = Instant::now();
                    if let Some(count) = vouched(&node.evaluate(FLAG, &anyone()).answer().await) {
                        history.read(count, start);
                        assert!(
                            count >= floor,
                            "stale: {count} from node {id} after {floor} was acknowledged"
                        );
                    }
                }
            })
        })
        .collect();
    for turn in 1..=turns {
        let start = Instant::now();
        shop.count(turn % 3 + 1, FLAG, turn, true).await;
        history.wrote(turn, start);
        acknowledged.store(turn, Ordering::SeqCst);
    }
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.expect("no reader saw a stale value");
    }
    history.check().unwrap_or_else(|fault| panic!("{fault}"));
    measured("six readers beside a writer: writes, reads, stale", format!("{turns}, {}, 0", history.reads()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_flag_is_read_as_it_was_written_with_a_minimum_revision() {
    let turns = rounds(150, 1000);
    let shop = Shop::open(Setup::of(3), &[counter(FLAG, 0, false)]).await;
    for turn in 1..=u64::from(turns) {
        let (writer, reader) = (turn % 3 + 1, (turn + 1 + turn / 3 % 2) % 3 + 1);
        assert_ne!(writer, reader);
        let token = shop.count(writer, FLAG, turn, false).await.revision_token();
        let read = shop
            .reader(reader)
            .evaluate(FLAG, &anyone())
            .header("Flagraft-Min-Revision", &token)
            .answer()
            .await;
        assert_eq!(read.status, 200, "{read:?}");
        assert_eq!(read.value(), &json!(turn), "stale: {read:?}");
        assert_eq!(
            read.consistency(),
            Consistency::Local,
            "no quorum is asked for an ordinary flag: {read:?}"
        );
    }
    measured("ordinary flag with Flagraft-Min-Revision: turns, stale", format!("{turns}, 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_revision_that_never_comes_is_refused_in_time() {
    let shop = Shop::open(Setup::of(3), &[switch("ordinary", false)]).await;
    let now = shop.reader(2).evaluate("ordinary", &anyone()).ok().await;
    let (history, revision) =
        now.revision_token().split_once('.').map(|(h, r)| (h.to_owned(), r.to_owned())).expect("a dot");
    let ahead = format!("{history}.{}", revision.parse::<u64>().expect("a number") + 1000);
    let read =
        |token: String| shop.reader(2).evaluate("ordinary", &anyone()).header("Flagraft-Min-Revision", token);
    let late = read(ahead).header("Flagraft-Deadline-Ms", "300").answer().await;
    assert_eq!(late.status, 503, "{late:?}");
    assert!(late.header("retry-after").is_some(), "{late:?}");
    assert!(late.took >= Duration::from_millis(300) && late.took < Duration::from_millis(1500), "{late:?}");
    let other = read(format!("{}.1", "0".repeat(history.len()))).answer().await;
    assert_eq!(other.status, 412, "another history: {other:?}");
    let nonsense = read("yesterday".to_owned()).answer().await;
    assert_eq!(nonsense.status, 400, "{nonsense:?}");
}

/// A bulk answer as the flags' values by key, if it vouches for them.
fn bulk_value(answer: &Answer, flag: &str) -> Value {
    let flags = answer.body["flags"].as_array().unwrap_or_else(|| panic!("no flags: {answer:?}"));
    flags.iter().find(|f| f["key"] == flag).unwrap_or_else(|| panic!("no {flag}: {answer:?}"))["value"]
        .clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_never_answers_a_bulk_read_with_what_is_old() {
    let flags = [counter(FLAG, 1, true), switch("ordinary", false)];
    let shop = Shop::open(Setup::of(3).with_links(), &flags).await;
    let lonely = shop.cluster.follower().await;
    let other = shop.cluster.ids().into_iter().find(|id| *id != lonely).expect("three nodes");
    let node = shop.reader(lonely);

    let fresh = node.evaluate_all(&anyone()).ok().await;
    assert_eq!(fresh.consistency(), Consistency::Linearizable, "{fresh:?}");
    let etag = fresh.header("etag").expect("a bulk answer has an ETag").to_owned();
    assert_eq!(
        shop.reader(other).evaluate_all(&anyone()).ok().await.header("etag"),
        Some(etag.as_str()),
        "one ETag on all nodes"
    );
    let with_etag = |node: &Api| node.evaluate_all(&anyone()).header("If-None-Match", &etag);
    assert_eq!(with_etag(&node).answer().await.status, 304, "nothing has changed");

    let links = shop.cluster.links();
    links.cut_off(lonely);
    // Twice: while it may still believe to be in touch, and after the others have moved on.
    for count in [2, 3] {
        wait::until("a write through the others", Duration::from_secs(10), || async {
            let call = shop.cluster.admin(other).change(
                PROJECT,
                "behind its back",
                vec![put(&counter(FLAG, count, true))],
            );
            match call.idempotent(&format!("behind-{count}")).answer().await {
                answer if answer.is_success() => Ok(()),
                answer => Err(format!("{answer:?}")),
            }
        })
        .await;
        for _ in 0..5 {
            let answer = with_etag(&node).answer().await;
            assert_eq!(answer.status, 200, "a cut-off node can't know that nothing changed: {answer:?}");
            assert_eq!(answer.consistency(), Consistency::SafeVariant, "{answer:?}");
            assert_eq!(bulk_value(&answer, FLAG), json!(SAFE_COUNT), "{answer:?}");
            assert_eq!(bulk_value(&answer, "ordinary"), json!(true), "ordinary flags are still served");
            assert_eq!(answer.header("etag"), None, "{answer:?}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
        }
    }
    assert!(links.affected() > 0, "the node was not cut off");

    links.heal();
    wait::until("the node to be in touch again", Duration::from_secs(20), || async {
        let answer = with_etag(&node).answer().await;
        match (answer.status, answer.consistency()) {
            (200, Consistency::Linearizable) => {
                assert_eq!(bulk_value(&answer, FLAG), json!(3), "stale: {answer:?}");
                Ok(())
            }
            (200, Consistency::SafeVariant) => Err(format!("{answer:?}")),
            _ => panic!("neither current nor safe: {answer:?}"),
        }
    })
    .await;
}
