//! The leader is killed, again and again, under a load of reads on every node and of writes, some of which lose their
//! first answer. Living nodes answer every ordinary read; writes go on within three seconds; what was acknowledged
//! is there, once; and all nodes hold the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flagraft_tests::{
    api::{Api, Consistency},
    audit,
    catalog::{PROJECT, counter, put, switch},
    cluster::Setup,
    history::History,
    load::{Readers, Writers, write_anywhere},
    settings::{measured, rounds},
    wait,
};
use serde_json::json;

mod common;
use common::{cli::Cli, shop::Shop};

/// Within this, writes are accepted again.
const WRITES_BACK_WITHIN: Duration = Duration::from_secs(3);

/// Waits until `flagraft cluster status` shows all members at one index, and asserts that it finds them equal there.
async fn equal_at_one_index(shop: &Shop) {
    let cli = Cli::of(&shop.cluster);
    let body = wait::until("all members at one index", Duration::from_secs(30), || async {
        // Exit code 8 would say that two of them differ at an equal index.
        let body = cli.run(&["cluster", "status", "--output", "json"]).await.expect_exit(0).json();
        let members = body["members"].as_array().expect("members");
        let at_once = members.iter().all(|m| m["index"].is_u64() && m["index"] == members[0]["index"]);
        if at_once && members.len() == 3 { Ok(body) } else { Err(body.to_string()) }
    })
    .await;
    for field in ["digest", "audit"] {
        let members = body["members"].as_array().expect("members");
        assert!(!members[0][field].is_null(), "{body}");
        assert!(members.iter().all(|member| member[field] == members[0][field]), "{field}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_and_writes_go_on_when_the_leader_is_killed() {
    let turns = rounds(3, 20);
    let flags = [switch("banner", false), counter("probe", 0, false)];
    let mut shop = Shop::open(Setup::of(3), &flags).await;
    let readers = Readers::start(&shop.cluster, &shop.token, "banner", &json!(true));
    let writers = Writers::start(&shop.cluster, 3, Some(7)).await;
    let mut slowest = Duration::ZERO;
    for turn in 1..=turns {
        let leader = shop.cluster.leader().await;
        writers.beyond(writers.acknowledged() + 5, Duration::from_secs(20)).await;

        shop.cluster.kill(leader);
        let killed = Instant::now();
        let living: Vec<_> = shop.cluster.living().into_iter().map(|id| shop.cluster.admin(id)).collect();
        let body = json!({"reason": format!("probe {turn}"), "operations": [put(&counter("probe", turn.into(), false))]});
        let path = format!("/api/v1/projects/{PROJECT}/changes");
        let answer = write_anywhere(&living, 0, &format!("probe-{turn}"), &path, &body).await;
        let took = killed.elapsed();
        assert!(
            answer.is_some_and(|answer| answer.is_success()),
            "no write was accepted after the leader was killed"
        );
        assert!(took < WRITES_BACK_WITHIN, "writes were accepted only {took:?} after the leader was killed");
        slowest = slowest.max(took);

        let (read, wrote) = (readers.answered(), writers.acknowledged());
        wait::until_true("the load to go on", Duration::from_secs(20), || async {
            readers.answered() > read + 20 && writers.acknowledged() > wrote + 5
        })
        .await;
        shop.cluster.restart(leader).await;
    }
    let written = writers.finish().await;
    let reads = readers.answered();
    let failures = readers.finish().await;
    assert!(failures.is_empty(), "{} of {reads} reads failed on living nodes: {failures:#?}", failures.len());
    assert!(
        written.first_answer_lost > 0,
        "no write lost its first answer, so their repetition was not tried"
    );
    audit::each_once(&shop.cluster.admin(shop.cluster.living()[0]), &written).await;
    equal_at_one_index(&shop).await;
    measured(
        "leader killed: turns, slowest write after it in ms, reads, failed reads",
        format!("{turns}, {}, {reads}, {}", slowest.as_millis(), failures.len()),
    );
    measured(
        "leader killed: writes acknowledged, of which the first answer was lost, never acknowledged",
        format!("{}, {}, {}", written.acknowledged.len(), written.first_answer_lost, written.unknown.len()),
    );
}

/// Critical reads on every node, judged by times and values alone. A write that was refused with 503 certainly never
/// took effect, so a read of its value is an invention; one without an answer may take effect at any time.
#[tokio::test(flavor = "multi_thread")]
async fn a_critical_flag_is_linearizable_while_leaders_die() {
    let turns = rounds(3, 20);
    let mut shop = Shop::open(Setup::of(3), &[counter("gate", 0, true)]).await;
    let history = Arc::new(History::default());
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let writer =
        tokio::spawn(write_on(shop.cluster.admins(), history.clone(), stop.clone(), acknowledged.clone()));
    let ids = shop.cluster.ids();
    let readers = ids.iter().map(|id| tokio::spawn(read_on(shop.reader(*id), history.clone(), stop.clone())));
    let readers: Vec<_> = readers.collect();
    for _ in 0..turns {
        let leader = shop.cluster.leader().await;
        let (wrote, read) = (acknowledged.load(Ordering::SeqCst), history.reads());
        wait::until_true("the load to run", Duration::from_secs(20), || async {
            acknowledged.load(Ordering::SeqCst) > wrote + 5 && history.reads() > read + 20
        })
        .await;
        shop.cluster.kill(leader);
        let wrote = acknowledged.load(Ordering::SeqCst);
        wait::until_true("the load to go on", Duration::from_secs(20), || async {
            acknowledged.load(Ordering::SeqCst) > wrote + 2
        })
        .await;
        shop.cluster.restart(leader).await;
    }
    stop.store(true, Ordering::SeqCst);
    writer.await.expect("the writer does not panic");
    for reader in readers {
        reader.await.expect("a reader does not panic");
    }
    history.check().unwrap_or_else(|fault| panic!("{fault}"));
    measured(
        "critical flag while leaders are killed: kills, writes, confirmed reads, not linearizable",
        format!("{turns}, {}, {}, 0", acknowledged.load(Ordering::SeqCst), history.reads()),
    );
}

async fn write_on(
    nodes: Vec<Api>,
    history: Arc<History>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) {
    for count in 1_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let node = &nodes[usize::try_from(count).expect("a small number") % nodes.len()];
        let operations = vec![put(&counter("gate", count, true))];
        let start = Instant::now();
        match node.change(PROJECT, &format!("gate is {count}"), operations).send().await {
            Ok(answer) if answer.is_success() => {
                history.wrote(count, start);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) if answer.status == 504 => history.may_have_written(count, start),
            Ok(answer) => panic!("a good write was refused: {answer:?}"),
            Err(_) => history.may_have_written(count, start),
        }
        wait::pace(Duration::from_millis(5)).await;
    }
}

async fn read_on(node: Api, history: Arc<History>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::SeqCst) {
        let start = Instant::now();
        // A dead node answers nothing, one that just started may know no flags yet, and who can't be sure says so.
        if let Ok(answer) = node.evaluate("gate", &json!({})).send().await
            && answer.status == 200
            && answer.consistency() == Consistency::Linearizable
        {
            history.read(answer.value().as_u64().expect("a confirmed count"), start);
        }
        wait::pace(Duration::from_millis(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gives_the_first_answer_and_another_body_is_refused() {
    let shop = Shop::open(Setup::of(3), &[counter("probe", 0, false)]).await;
    let change = |node: u64, count: u64| {
        let operations = vec![put(&counter("probe", count, false))];
        shop.cluster.admin(node).change(PROJECT, "once", operations).idempotent("one-and-only")
    };
    let first = change(1, 1).ok().await;
    for node in shop.cluster.ids() {
        let again = change(node, 1).ok().await;
        for field in ["revision", "sequence", "request_id"] {
            assert_eq!(again.body[field], first.body[field], "node {node}: {again:?}");
        }
    }
    let other = change(2, 2).answer().await;
    assert_eq!(other.status, 422, "{other:?}");
    let records = audit::records(&shop.cluster.admin(3)).await;
    assert_eq!(audit::accepted_by_reason(&records).get("once"), Some(&1));

    // A rejection is remembered too.
    let reject = |node: u64| {
        let operations = vec![json!({"op": "flag.disable", "flag": "nowhere", "environment": "production"})];
        shop.cluster.admin(node).change(PROJECT, "twice rejected", operations).idempotent("no-such-flag")
    };
    let (one, two) = (reject(1).answer().await, reject(2).answer().await);
    assert_eq!((one.status, one.error_code()), (two.status, two.error_code()));
    assert!(one.status == 404 || one.status == 409, "{one:?}");
    let records = audit::records(&shop.cluster.admin(3)).await;
    assert_eq!(records.iter().filter(|record| record["reason"] == "twice rejected").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_lost_answer_can_be_asked() {
    let shop = Shop::open(Setup::of(3), &[counter("probe", 0, false)]).await;
    let loser = flagraft_tests::lost_answers::LostAnswers::before(shop.cluster.admin(1).base()).await;
    let operations = vec![put(&counter("probe", 5, false))];
    let call =
        shop.cluster.admin(1).at(loser.base()).change(PROJECT, "lost", operations).idempotent("lost-one");
    call.send().await.expect_err("its answer is lost");
    assert_eq!(loser.lost(), 1);
    for id in shop.cluster.ids() {
        wait::until("the request to be known", Duration::from_secs(5), || async {
            let answer = shop.cluster.admin(id).get("/api/v1/requests/lost-one").answer().await;
            match answer.status {
                200 => {
                    assert!(answer.body["revision"].is_u64(), "{answer:?}");
                    Ok(())
                }
                _ => Err(format!("{answer:?}")),
            }
        })
        .await;
    }
    let unknown = shop.cluster.admin(2).get("/api/v1/requests/never-asked").answer().await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
}
