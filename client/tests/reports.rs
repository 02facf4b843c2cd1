//! What is evaluated in the process is in the audit log, once, whatever becomes of nodes and answers.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    ENVIRONMENT, LONG, Mode, Node, Reporting, TestClock, Truth, audited, client, critical, flag, put, soon,
    until,
};
use flagraft_client::{Builder, Client, Consistency, Context, StartError, Status};
use flagraft_core::account::OwnReport;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// An interval in which nothing is reported by itself.
const NEVER: Duration = Duration::from_secs(3_600);
const OFTEN: Duration = Duration::from_millis(20);

fn user() -> Context {
    Context::of("u1")
}

async fn started(builder: Builder) -> Client {
    let client = builder.start().await.expect("started");
    assert_eq!(client.ready(LONG).await, Status::Ready);
    client
}

/// The counts of all reports, by flag, variant, reason and revision.
fn counts(truth: &Truth) -> BTreeMap<(String, Option<String>, &'static str, u64), u64> {
    let mut counts = BTreeMap::new();
    for entry in truth.reports().into_iter().flat_map(|report| report.entries) {
        let variant = entry.variant.map(|variant| variant.to_string());
        let how = (entry.flag.to_string(), variant, entry.reason.as_str(), entry.revision);
        *counts.entry(how).or_default() += entry.count;
    }
    counts
}

/// Reports of one life: numbered from 1 without a gap, and only the last one says that it is.
fn assert_whole(reports: &[OwnReport]) {
    let numbers: Vec<u64> = reports.iter().map(|report| report.number).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
    let ends: Vec<bool> = reports.iter().map(|report| report.ends).collect();
    assert_eq!(ends.iter().rposition(|ends| *ends), Some(ends.len() - 1));
    assert_eq!(ends.iter().filter(|ends| **ends).count(), 1, "{ends:?}");
    for report in reports {
        assert!(report.from_ms <= report.to_ms && report.boot == reports[0].boot, "{report:?}");
    }
}

/// A thread that evaluates all the time, and counts.
struct Working {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    thread: thread::JoinHandle<()>,
}

impl Working {
    fn on(client: &Client, keys: &'static [&'static str]) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (client, stopped, counted) = (client.clone(), Arc::clone(&stop), Arc::clone(&made));
        let thread = thread::spawn(move || {
            let context = user();
            while !stopped.load(Ordering::Relaxed) {
                for key in keys {
                    assert!(client.bool_value(key, &context, false));
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(Duration::from_micros(50));
            }
        });
        Self { stop, made, thread }
    }

    async fn goes_on(&self) {
        let before = self.made.load(Ordering::Relaxed);
        until("more evaluations", || self.made.load(Ordering::Relaxed) > before + 200).await;
    }

    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no evaluation failed");
        self.made.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn what_is_served_is_counted_by_flag_variant_reason_and_revision() {
    let mut code_default = audited("code-default", "summary");
    code_default["environments"][ENVIRONMENT]["default"] = json!(null);
    let mut dependent = audited("dependent", "summary");
    dependent["environments"][ENVIRONMENT]["prerequisites"] = json!([{"flag": "one", "variants": ["on"]}]);
    let flags = [audited("one", "summary"), audited("every", "full"), flag("unasked", true), code_default];
    let truth = Truth::audited(flags);
    truth.change(put([dependent]));
    let node = Node::start(&truth, Mode::Good).await;
    let client = started(client(&[&node]).report_every(NEVER)).await;
    let version = |key: &str| {
        let details = client.bool_details(key, &user(), false);
        let version = details.metadata["version"].as_str().expect("a version").to_owned();
        version.split_once('.').expect("a token").1.parse::<u64>().expect("a number")
    };
    let versions = ["one", "every", "code-default", "dependent"].map(version);
    for _ in 0..3 {
        assert!(client.bool_value("one", &user(), false));
        assert!(client.view().bool_value("every", &user(), false));
        assert!(client.reader().now().bool_details("dependent", &user(), false).value);
        assert!(client.bool_value("code-default", &user(), true));
        assert!(client.bool_value("unasked", &user(), false));
        // None of these serves anything of the flag's.
        assert_eq!(client.string_value("one", &user(), "x".to_owned()), "x");
        assert!(client.string_details("one", &user(), "x".to_owned()).error.is_some());
        assert!(!client.bool_value("no-such-flag", &user(), false));
    }
    let mut off = audited("one", "summary");
    off["environments"][ENVIRONMENT]["enabled"] = json!(false);
    truth.change(put([off]));
    until("the change", || !client.bool_value("dependent", &user(), false)).await;
    let after = revision_when_off(&client);
    client.shutdown().await;
    assert!(!client.bool_value("one", &user(), true), "it answers on, and counts no more");

    let reports = truth.reports();
    assert_whole(&reports);
    assert_eq!(reports.len(), 1);
    let on = || Some("on".to_owned());
    let mut counts = counts(&truth);
    let [one, every, code_default, dependent] = versions;
    // `dependent` was asked until the change was there.
    let while_waiting =
        counts.remove(&("dependent".to_owned(), on(), "DEFAULT", dependent)).expect("counted");
    assert!(while_waiting >= 4);
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [
            (("code-default".to_owned(), None, "STATIC", code_default), 4),
            (("dependent".to_owned(), Some("off".to_owned()), "DEFAULT", dependent), 1),
            (("every".to_owned(), on(), "STATIC", every), 4),
            (("one".to_owned(), Some("off".to_owned()), "DISABLED", after), 1),
            (("one".to_owned(), on(), "STATIC", one), 4),
        ]
    );
}

/// Evaluates `one`, and says at which revision it is.
fn revision_when_off(client: &Client) -> u64 {
    let details = client.bool_details("one", &user(), true);
    assert!(!details.value);
    let version = details.metadata["version"].as_str().expect("a version");
    version.split_once('.').expect("a token").1.parse().expect("a number")
}

#[tokio::test]
async fn counts_add_up_while_nodes_restart_and_answers_are_lost_unknown_or_put_off() {
    let truth = Truth::audited([audited("one", "summary"), audited("two", "full")]);
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::start(&truth, Mode::Good).await);
    }
    let all: Vec<&Node> = nodes.iter().collect();
    let client = started(client(&all).report_every(OFTEN).instance("pod-7")).await;
    let working = Working::on(&client, &["one", "two"]);
    let taken = |truth: &Truth| truth.reports().len();
    for reporting in [
        Reporting::Unanswered,
        Reporting::Unknown,
        Reporting::Busy(503, None),
        Reporting::Busy(429, None),
        Reporting::Busy(504, None),
        Reporting::Busy(500, None),
        Reporting::Page(200),
        Reporting::Page(403),
        Reporting::Page(404),
        Reporting::Silent,
    ] {
        let asked = |nodes: &[Node]| nodes.iter().map(|node| node.reported().len()).sum::<usize>();
        let before = asked(&nodes);
        nodes.iter().for_each(|node| node.set_reporting(reporting.clone()));
        until(&format!("attempts while nodes are {reporting:?}"), || asked(&nodes) >= before + 2).await;
        working.goes_on().await;
        nodes.iter().for_each(|node| node.set_reporting(Reporting::Good));
        let before = taken(&truth);
        until(&format!("reports after {reporting:?}"), || taken(&truth) > before + 1).await;
    }
    // All nodes die, one after the other, and come back.
    let mut ports = Vec::new();
    for node in nodes {
        ports.push(node.kill().await);
        working.goes_on().await;
    }
    let mut nodes = Vec::new();
    for port in ports {
        nodes.push(Node::start_at(&truth, Mode::Good, port).await);
        working.goes_on().await;
    }
    let before = taken(&truth);
    until("reports after all were dead", || taken(&truth) > before + 1).await;
    let made = working.end();
    soon("the end of the client", client.shutdown()).await;
    assert_eq!(truth.reported(), made);
    assert_whole(&truth.reports());
    assert!(truth.repeated() >= 2, "what was taken without an answer was sent again");
    assert!(truth.reports().iter().all(|report| &*report.instance == "pod-7"));
}

#[tokio::test]
async fn a_node_that_asks_for_patience_gets_it_and_is_good_for_all_else() {
    let truth = Truth::audited([audited("one", "summary")]);
    let node = Node::start(&truth, Mode::Good).await;
    for status in [429, 503] {
        let asked = node.reported().len();
        node.set_reporting(Reporting::Busy(status, Some(1)));
        let client = started(client(&[&node]).report_every(OFTEN)).await;
        let before = truth.reported();
        assert!(client.bool_value("one", &user(), false));
        until("the report", || node.reported().len() > asked).await;
        node.set_reporting(Reporting::Good);
        truth.change(put([flag("other", true)]));
        until("a change meanwhile", || client.bool_value("other", &user(), false)).await;
        assert_eq!(client.status(), Status::Ready);
        until("the report in the log", || truth.reported() > before).await;
        let times: Vec<_> = node.reported()[asked..].iter().map(|(at, _)| *at).collect();
        assert_eq!(times.len(), 2);
        assert!(times[1] - times[0] >= Duration::from_millis(990), "{:?}", times[1] - times[0]);
        client.shutdown().await;
    }
}

#[tokio::test]
async fn a_report_that_is_refused_is_dropped_and_shows_as_a_gap() {
    let truth = Truth::audited([audited("one", "summary")]);
    let node = Node::start(&truth, Mode::Good).await;
    let client = started(client(&[&node]).report_every(OFTEN)).await;
    for status in [400, 403, 413, 422] {
        node.set_reporting(Reporting::Refused(status));
        let asked = node.reported().len();
        assert!(client.bool_value("one", &user(), false));
        until("the report", || node.reported().len() > asked).await;
    }
    // 401 says nothing of the report: a node may not know the token yet.
    node.set_reporting(Reporting::Refused(401));
    assert!(client.bool_value("one", &user(), false));
    let asked = node.reported().len();
    until("two attempts", || node.reported().len() > asked + 1).await;
    node.set_reporting(Reporting::Good);
    until("the report in the log", || truth.reported() == 1).await;
    client.shutdown().await;
    let numbers: Vec<_> = truth.reports().iter().map(|report| (report.number, report.ends)).collect();
    assert_eq!(numbers, [(5, false), (6, true)]);
}

#[tokio::test]
async fn the_last_report_is_sent_at_the_end_and_takes_no_longer_than_it_may() {
    let truth = Truth::audited([audited("one", "summary")]);
    let nodes = [Node::start(&truth, Mode::Good).await, Node::start(&truth, Mode::Good).await];
    let builder = || client(&[&nodes[0], &nodes[1]]).report_every(NEVER).last_report_within(LONG);
    // One node says nothing: the other one is asked before the first one's time is over.
    nodes[0].set_reporting(Reporting::Silent);
    let mut reported = 0;
    while nodes[0].reported().is_empty() {
        let patient = started(builder().request_timeout(LONG)).await;
        assert!(patient.bool_value("one", &user(), false));
        let begun = Instant::now();
        soon("the end of the client", patient.shutdown()).await;
        assert!(begun.elapsed() < LONG / 4);
        reported += 1;
        assert_eq!(truth.reported(), reported);
        assert_whole(&truth.reports()[truth.reports().len() - 1..]);
    }
    let lives: Vec<_> = truth.reports().iter().map(|report| report.instance.clone()).collect();

    // No node takes it: the end comes all the same.
    nodes.iter().for_each(|node| node.set_reporting(Reporting::Busy(503, None)));
    let within = Duration::from_secs(1);
    let brief = started(builder().last_report_within(within)).await;
    assert!(brief.bool_value("one", &user(), false));
    let attempts = || nodes.iter().map(|node| node.reported().len()).sum::<usize>();
    let (begun, asked) = (Instant::now(), attempts());
    brief.shutdown().await;
    assert!(begun.elapsed() >= within && begun.elapsed() < LONG / 4, "{:?}", begun.elapsed());
    assert!(attempts() > asked + 2, "each node was tried, and one again");
    assert_eq!(truth.reported(), reported);

    // Where there is nothing to say there is nothing to wait for.
    let idle = started(builder()).await;
    soon("the end of the client", idle.shutdown()).await;
    // Each start is a life, and without a name of its own another reporter.
    nodes.iter().for_each(|node| node.set_reporting(Reporting::Good));
    let next = started(builder()).await;
    assert!(next.bool_value("one", &user(), false));
    next.shutdown().await;
    assert!(!lives.contains(&truth.reports().last().expect("a report").instance));
    assert_eq!(truth.reported(), reported + 1);
}

/// Far more kinds of evaluations than a report has room for, while no node takes any.
#[tokio::test]
async fn memory_is_bounded_while_no_node_takes_reports_and_the_sum_is_right() {
    let keys: Vec<String> = (0..6_000).map(|n| format!("flag-{n:05}")).collect();
    let (first, rest) = keys.split_at(100);
    let truth = Truth::audited(first.iter().map(|key| audited(key, "summary")));
    for keys in rest.chunks(100) {
        truth.change(put(keys.iter().map(|key| audited(key, "summary"))));
    }
    let node = Node::start(&truth, Mode::Good).await;
    node.set_reporting(Reporting::Busy(503, None));
    let client = started(client(&[&node]).report_every(OFTEN)).await;
    let user = user();
    let mut made = 0;
    for round in 0..5 {
        for key in &keys {
            assert!(client.bool_value(key, &user, false));
            made += 1;
        }
        // The first ones are evaluated most.
        for key in &keys[..10] {
            (0..100).for_each(|_| assert!(client.bool_value(key, &user, false)));
            made += 100;
        }
        let asked = node.reported().len();
        until(&format!("an attempt after round {round}"), || node.reported().len() > asked).await;
    }
    node.set_reporting(Reporting::Good);
    until("the sum", || truth.reported() == made).await;
    client.shutdown().await;
    let reports = truth.reports();
    assert!(reports.len() <= 4, "while one waits the others are one: {}", reports.len());
    assert!(node.reported().iter().all(|(_, bytes)| *bytes <= 56 * 1024));
    assert_eq!(truth.reported(), made);
    let told_apart = counts(&truth);
    for key in &keys[..10] {
        let counted: u64 =
            told_apart.iter().filter(|((flag, ..), _)| flag == key).map(|(_, count)| count).sum();
        assert_eq!(counted, 5 * 101, "what is evaluated most is told apart: {key}");
    }
}

#[tokio::test]
async fn what_a_node_evaluates_is_counted_by_the_node_alone() {
    let mut kill = critical("kill", true);
    kill["audit_evaluations"] = json!("summary");
    let truth = Truth::audited([kill]);
    let node = Node::start(&truth, Mode::Good).await;
    let clock = TestClock::new();
    let client = started(client(&[&node]).report_every(NEVER).clock(clock.clone())).await;
    let sure = client.confirm("kill", &user(), LONG).await.expect("confirmed");
    assert_eq!(sure.value, Some(json!(true)));
    assert!(client.bool_details_remote("kill", &user(), false).await.value, "the copy is young");
    assert_eq!(node.requests("POST evaluation"), 1);
    // From here on nobody knows whether the copy is still current.
    node.set_age(Some(60_000));
    clock.advance(Duration::from_secs(5));
    let by_node = client.bool_details_remote("kill", &user(), false).await;
    assert_eq!((by_node.value, by_node.consistency), (true, Consistency::Linearizable));
    node.set(Mode::NoEvaluations(503));
    let fallen_back = client.bool_details_remote("kill", &user(), false).await;
    assert_eq!((fallen_back.value, fallen_back.consistency), (false, Consistency::SafeVariant));
    assert_eq!(node.requests("POST evaluation"), 3, "one of them in vain");
    client.shutdown().await;
    let counts: Vec<_> =
        counts(&truth).into_iter().map(|((_, _, reason, _), count)| (reason, count)).collect();
    assert_eq!(counts, [("UNKNOWN", 1), ("STATIC", 1)]);
}

#[tokio::test]
async fn nothing_is_reported_that_nobody_asks_for_or_the_token_may_not() {
    let truth = Truth::audited([audited("one", "summary"), flag("unasked", true)]);
    let node = Node::start(&truth, Mode::Good).await;
    let evaluated = async |builder: Builder, key: &str| {
        let client = started(builder.report_every(OFTEN)).await;
        (0..10).for_each(|_| assert!(client.bool_value(key, &user(), false)));
        let begun = Instant::now();
        until("some intervals", || begun.elapsed() > OFTEN * 5).await;
        client.shutdown().await;
    };
    evaluated(client(&[&node]).evaluation_reports(false), "one").await;
    evaluated(client(&[&node]), "unasked").await;
    *truth.token_kind.lock().expect("not poisoned") = "admin";
    evaluated(client(&[&node]).environment("demo", ENVIRONMENT), "one").await;
    assert_eq!(node.reported().len(), 0);
    *truth.token_kind.lock().expect("not poisoned") = "service";
    evaluated(client(&[&node]), "one").await;
    assert_eq!(truth.reported(), 10);
    let nameless = client(&[&node]).instance("a pod").start().await;
    assert_eq!(
        nameless.expect_err("no name").to_string(),
        StartError::Instance("a pod".to_owned()).to_string()
    );
}

#[tokio::test]
async fn a_copy_from_disk_is_counted_and_a_bootstrap_file_where_its_place_was_stated() {
    let folder = tempfile::tempdir().expect("a folder");
    let truth = Truth::audited([audited("one", "summary")]);
    let node = Node::start(&truth, Mode::Good).await;
    let copies = folder.path().join("copies");
    started(client(&[&node]).copies_in(&copies)).await.shutdown().await;
    let bootstrap = folder.path().join("bootstrap.json");
    fs::write(&bootstrap, truth.snapshot()).expect("written");
    let with_file = || client(&[&node]).bootstrap(&bootstrap);
    let builders = [
        (client(&[&node]).copies_in(&copies), 5),
        (with_file().environment("demo", ENVIRONMENT), 5),
        (with_file(), 0),
    ];
    for (builder, counted) in builders {
        let before = truth.reported();
        node.set(Mode::Status(503, None));
        let client = builder.report_every(OFTEN).start().await.expect("started");
        (0..5).for_each(|_| assert!(client.bool_value("one", &user(), false)));
        node.set(Mode::Good);
        assert_eq!(client.ready(LONG).await, Status::Ready);
        assert!(client.bool_value("one", &user(), false), "and one of the node's copy");
        client.shutdown().await;
        assert_eq!(truth.reported() - before, counted + 1);
    }
}

/// Run by hand, in release: what an evaluation costs with and without being counted.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn what_counting_costs() {
    const ROUNDS: u32 = 2_000_000;
    let ruled = |key: &str, audit: Option<&str>| {
        let mut flag: Value = audit.map_or_else(|| flag(key, true), |audit| audited(key, audit));
        flag["environments"][ENVIRONMENT]["rules"] = json!([{"id": "r",
            "when": {"attribute": "country", "op": "in", "values": ["DE"]},
            "serve": {"rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 1}, {"variant": "off", "weight": 1}]}}}]);
        flag
    };
    let truth = Truth::audited([
        audited("plain-counted", "summary"),
        flag("plain", true),
        ruled("ruled-counted", Some("summary")),
        ruled("ruled", None),
    ]);
    let node = Node::start(&truth, Mode::Good).await;
    let on = started(client(&[&node])).await;
    let off = started(client(&[&node]).evaluation_reports(false)).await;
    // By the time that the thread had, whatever else the machine does.
    let spent = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
    };
    let timed = |client: &Client, key: &str| {
        let user = user().with("country", "DE");
        let mut reader = client.reader();
        let begun = spent();
        for _ in 0..ROUNDS {
            std::hint::black_box(reader.now().bool_value(std::hint::black_box(key), &user, false));
        }
        (spent() - begun).as_secs_f64() * 1e9 / f64::from(ROUNDS)
    };
    for _ in 0..5 {
        for (plain, counted) in [("plain", "plain-counted"), ("ruled", "ruled-counted")] {
            println!(
                "{plain}: reports off {:.1} ns, on and not asked for {:.1} ns, counted {:.1} ns",
                timed(&off, counted),
                timed(&on, plain),
                timed(&on, counted)
            );
        }
    }
    let together = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| timed(&on, "plain-counted"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("measured")).fold(0.0, f64::max)
    });
    println!("plain, counted by four threads at once: {together:.1} ns at most");
    on.shutdown().await;
    off.shutdown().await;
}
