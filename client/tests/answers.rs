//! What an answer promises: ages, safe variants, confirmations, and what is not understood.

mod common;

use std::{sync::Arc, time::Duration};

use common::{ENVIRONMENT, LONG, Mode, Node, TestClock, Truth, client, critical, flag, put, soon, until};
use flagraft_client::{
    Changed, Client, Consistency, Context, ErrorCode, Reason, Source, Status, Unconfirmed,
};
use serde_json::{Value, json};

fn user() -> Context {
    Context::of("u1")
}

async fn started(nodes: &[&Node]) -> Client {
    let client = client(nodes).start().await.expect("started");
    assert_eq!(client.ready(LONG).await, Status::Ready);
    client
}

#[tokio::test]
async fn a_change_arrives_and_tells_which_flags_it_was() {
    let mut dependent = flag("dependent", true);
    dependent["environments"][ENVIRONMENT]["prerequisites"] = json!([{"flag": "plain", "variants": ["on"]}]);
    let truth = Truth::new([put([flag("plain", true), flag("other", true)]), put([dependent])]);
    let node = Node::start(&truth, Mode::Good).await;
    let client = started(&[&node]).await;
    until("the stream", || node.streams() == 1).await;
    let (mut changes, mut statuses) = (client.changes(), client.statuses());
    assert!(client.bool_value("dependent", &user(), false));
    truth.change(put([flag("plain", false)]));
    let change = soon("the change", changes.next()).await.expect("the client lives");
    assert_eq!(change.changed, Changed::Flags(["dependent".to_owned(), "plain".to_owned()].into()));
    assert!(change.changed.contains("plain") && !change.changed.contains("other"));
    assert_eq!(change.revision.map(|at| at.revision), Some(truth.revision()));
    let details = client.bool_details("dependent", &user(), true);
    assert_eq!((details.value, details.reason, details.variant.as_str()), (false, Reason::Default, "off"));
    assert_eq!(details.metadata["detail"], "prerequisite");
    assert_eq!(details.metadata["flagSetId"], "demo/dev");
    assert_eq!((details.consistency, details.source), (Consistency::Local, Source::Node));
    assert_eq!(node.requests("GET definitions"), 1, "the rest came over the stream");

    // What touches no flag of the environment is no change to anybody, and the revision goes on.
    truth.change(json!([{"op": "environment.put", "environment": {"key": "qa"}}]));
    let at = truth.revision();
    until("the new revision", || {
        client.bool_details("plain", &user(), true).revision.is_some_and(|now| now.revision == at)
    })
    .await;
    assert_eq!(*statuses.borrow_and_update(), Status::Ready);
    client.shutdown().await;
}

/// A counted clock: served at exactly the bound, safe one millisecond later, for each kind of flag.
#[tokio::test]
async fn ages_decide_what_is_served() {
    let with = |mut flag: Value, fields: Value| {
        flag.as_object_mut().expect("a flag").extend(fields.as_object().expect("fields").clone());
        flag
    };
    let safe = json!({"safe_variant": "off", "max_age_ms": 100, "on_stale": "safe-variant"});
    let mut dependent = flag("dependent", true);
    dependent["environments"][ENVIRONMENT]["prerequisites"] = json!([{"flag": "kill", "variants": ["on"]}]);
    let truth = Truth::new([
        put([
            flag("plain", true),
            critical("kill", true),
            with(critical("quick", true), json!({"max_age_ms": 100})),
            with(critical("known", true), json!({"on_unconfirmed": "last-known", "grace_ms": 1_000})),
            with(
                critical("longer", true),
                json!({"max_age_ms": 100, "on_unconfirmed": "last-known", "grace_ms": 1_001}),
            ),
            with(flag("serve", true), json!({"max_age_ms": 100})),
            with(flag("safe", true), safe),
            with(flag("error", true), json!({"max_age_ms": 100, "on_stale": "error"})),
        ]),
        put([dependent]),
    ]);
    let node = Node::start(&truth, Mode::Good).await;
    let clock = TestClock::new();
    let client = client(&[&node]).clock(clock.clone()).start().await.expect("started");
    assert_eq!(client.ready(LONG).await, Status::Ready);
    // From now on nobody says how old anything is.
    node.set(Mode::Silent);
    until("the end of the stream", || node.streams() == 0).await;
    let ask = |key: &str| client.bool_details(key, &user(), false);
    let keys = ["plain", "kill", "dependent", "quick", "serve", "safe", "error", "known", "longer"];
    for (advance_ms, served) in [
        (0, [true; 9]),
        (100, [true; 9]),
        (1, [true, true, true, false, true, false, false, true, true]),
        (899, [true, true, true, false, true, false, false, true, true]),
        (1, [true, false, false, false, true, false, false, false, true]),
    ] {
        clock.advance(Duration::from_millis(advance_ms));
        assert_eq!(keys.map(|key| ask(key).value), served, "after {advance_ms} ms more");
        assert_eq!(keys.map(|key| client.bool_value(key, &user(), false)), served, "the plain getters agree");
    }
    assert_eq!(ask("plain").age_ms, Some(1_001));
    for key in ["kill", "dependent", "quick", "safe"] {
        let details = ask(key);
        assert_eq!(
            (details.reason, details.consistency),
            (Reason::Unknown, Consistency::SafeVariant),
            "{key}"
        );
        assert_eq!((details.variant.as_str(), details.error), ("off", None), "{key}");
    }
    let error = ask("error");
    assert_eq!(
        (error.reason, error.error.map(|fault| fault.code)),
        (Reason::Error, Some(ErrorCode::General))
    );
    assert_eq!(ask("serve").consistency, Consistency::Local);

    // A node says how old its state is: that counts, from before it was asked.
    node.set_age(Some(600));
    node.set(Mode::Good);
    until("an age", || ask("plain").age_ms == Some(600)).await;
    assert!(ask("kill").value && !ask("quick").value);
    node.set_age(None);
    clock.advance(Duration::from_millis(401));
    assert!(!ask("kill").value, "a node that does not know how old its state is makes nothing younger");
    client.shutdown().await;
}

/// A reader that is kept follows the copy; a view does not.
#[tokio::test]
async fn a_reader_is_of_the_newest_copy() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let node = Node::start(&truth, Mode::Good).await;
    let client = client(&[&node]).start().await.expect("started");
    let mut reader = client.reader();
    assert_eq!(client.ready(LONG).await, Status::Ready);
    let view = client.view();
    assert!(reader.now().bool_value("plain", &user(), false), "it was there before the first copy");
    truth.change(put([flag("plain", false)]));
    until("the change", || !reader.now().bool_value("plain", &user(), true)).await;
    assert!(view.bool_value("plain", &user(), false), "a view stays as it was");
    client.shutdown().await;
}

/// A node that is cut off from the others says so by its age; the client finds one that is not, and follows that.
#[tokio::test]
async fn a_client_leaves_a_node_that_the_cluster_has_left_behind() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let at = truth.revision();
    let nodes = [Node::start(&truth, Mode::Good).await, Node::start(&truth, Mode::Good).await];
    let client = started(&[&nodes[0], &nodes[1]]).await;
    until("a stream", || nodes[0].streams() + nodes[1].streams() == 1).await;
    let followed = usize::from(nodes[1].streams() == 1);
    nodes[followed].set_age(Some(60_000));
    nodes[followed].set(Mode::Behind(at));
    truth.change(put([flag("plain", false)]));
    until("the change, from the other node", || !client.bool_value("plain", &user(), true)).await;
    // And it never goes back: not to the older state, whoever offers it.
    nodes[1 - followed].set(Mode::Silent);
    until("an offer of the older state", || nodes[followed].requests("HEAD definitions") > 3).await;
    assert!(!client.bool_value("plain", &user(), true));
    client.shutdown().await;
}

#[tokio::test]
async fn a_copy_on_disk_is_not_replaced_by_an_older_one_and_a_left_history_does_not_come_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let truth = Truth::new([put([flag("plain", true)])]);
    let before = truth.revision();
    truth.change(put([flag("plain", false)]));
    let node = Node::start(&truth, Mode::Good).await;
    let begin = || client(&[&node]).copies_in(folder.path()).start();
    let first = begin().await.expect("started");
    assert_eq!(first.ready(LONG).await, Status::Ready);
    first.shutdown().await;

    node.set(Mode::Behind(before));
    let second = begin().await.expect("started");
    let asked = node.requests("GET definitions");
    until("offers of the older state", || node.requests("GET definitions") > asked + 3).await;
    let details = second.bool_details("plain", &user(), true);
    assert_eq!((details.value, details.source), (false, Source::Disk));

    // A restore: the revisions count anew, and lower. A node that no quorum is known to stand behind is not believed.
    let mut changes = second.changes();
    node.set_age(None);
    truth.begin_history(0xcd);
    let asked = node.requests("GET definitions");
    until("offers of the new history", || node.requests("GET definitions") > asked + 3).await;
    assert!(!second.bool_value("plain", &user(), true));
    node.set_age(Some(20));
    let change = soon("the new history", changes.next()).await.expect("the client lives");
    assert_eq!(change.changed, Changed::Everything);
    assert!(second.bool_value("plain", &user(), false));
    // A node that has not heard of it.
    truth.begin_history(0xab);
    node.set(Mode::Good);
    let asked = node.all_requests();
    until("offers of the left history", || node.all_requests() > asked + 10).await;
    assert!(second.bool_value("plain", &user(), false));
    second.shutdown().await;
}

#[tokio::test]
async fn a_change_that_is_not_understood_is_taken_in_as_a_fresh_snapshot() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let node = Node::start(&truth, Mode::NewerChanges).await;
    let client = started(&[&node]).await;
    until("the stream", || node.streams() == 1).await;
    truth.change(put([flag("plain", false)]));
    until("the change", || !client.bool_value("plain", &user(), true)).await;
    assert!(node.requests("GET definitions") > 1);
    client.shutdown().await;
}

/// No condition is passed over: what is not understood is a node's to say, or nobody's.
#[tokio::test]
async fn a_flag_that_is_not_understood_is_evaluated_by_a_node_or_not_at_all() {
    let truth = Truth::new([put([flag("plain", true), critical("kill", true)])]);
    let node = Node::start(&truth, Mode::NewerFlags).await;
    let client = started(&[&node]).await;
    assert_eq!(
        client.unsupported().iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(),
        ["kill", "plain"]
    );
    let plain = client.bool_details("plain", &user(), false);
    assert_eq!(
        (plain.value, plain.error.map(|fault| fault.code)),
        (false, Some(ErrorCode::General)),
        "the caller's default"
    );
    assert!(client.bool_value("plain", &user(), true), "whichever that is");
    let kill = client.bool_details("kill", &user(), true);
    assert_eq!(
        (kill.value, kill.reason, kill.consistency),
        (false, Reason::Unknown, Consistency::SafeVariant)
    );
    for key in ["plain", "kill"] {
        let remote = client.bool_details_remote(key, &user(), false).await;
        assert_eq!(
            (remote.value, remote.source, remote.reason),
            (true, Source::Remote, Reason::Static),
            "{key}"
        );
    }
    node.set(Mode::Garbage);
    assert!(!client.bool_details_remote("plain", &user(), false).await.value);
    assert!(!client.bool_details_remote("kill", &user(), true).await.value);
    client.shutdown().await;
}

#[tokio::test]
async fn where_no_stream_comes_through_the_definitions_are_polled() {
    for blocked in [
        Mode::NoStreams(200),
        Mode::NoStreams(404),
        Mode::NoStreams(403),
        Mode::NoStreams(429),
        Mode::NoStreams(503),
        Mode::BufferedStreams,
    ] {
        let truth = Truth::new([put([flag("plain", true), critical("kill", true)])]);
        let node = Node::start(&truth, blocked.clone()).await;
        let client = client(&[&node]).polling_for(LONG).request_timeout(Duration::from_millis(100));
        let client = client.start().await.expect("started");
        assert_eq!(client.ready(LONG).await, Status::Ready);
        until("polls", || node.requests("GET definitions") > 4).await;
        assert!(client.bool_value("kill", &user(), false), "polls bound the age");
        truth.change(put([flag("plain", false)]));
        until(&format!("the change, {blocked:?}"), || !client.bool_value("plain", &user(), true)).await;
        client.shutdown().await;
    }
}

/// Every stream of the cluster is taken: what changes comes all the same, and ages are bounded as ever.
#[tokio::test]
async fn a_client_that_gets_no_stream_for_now_is_as_current_as_others() {
    let truth = Truth::new([put([flag("plain", true), critical("kill", true)])]);
    let mode = Mode::NoStreams(503);
    let nodes = [Node::start(&truth, mode.clone()).await, Node::start(&truth, mode).await];
    let client = started(&[&nodes[0], &nodes[1]]).await;
    for is_on in [false, true, false] {
        truth.change(put([flag("plain", is_on)]));
        until("the change", || client.bool_value("plain", &user(), !is_on) == is_on).await;
        assert!(client.bool_value("kill", &user(), false));
    }
    let streams = nodes.iter().map(|node| node.requests("GET stream")).sum::<usize>();
    assert!(streams <= 2, "each node said to come again in a minute, and was asked {streams} times");
    nodes.iter().for_each(|node| assert!(node.requests("HEAD definitions") <= 1, "polls bound the age"));
    assert_eq!(client.status(), Status::Ready);
    client.shutdown().await;
}

/// A client that waits before it asks for a stream again does not wait to be current.
#[tokio::test]
async fn a_copy_that_is_behind_between_two_streams_is_fetched_at_once() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let node = Node::start(&truth, Mode::NoStreams(404)).await;
    let hours = Duration::from_secs(100 * 60 * 60);
    let client = client(&[&node]).backoff_min(hours).backoff_max(hours).start().await.expect("started");
    assert_eq!(client.ready(LONG).await, Status::Ready);
    until("an attempt", || node.requests("GET stream") == 1).await;
    truth.change(put([flag("plain", false)]));
    until("the change", || !client.bool_value("plain", &user(), true)).await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_node_that_does_not_know_tokens_takes_no_context_from_one() {
    let mut regional = flag("regional", false);
    regional["environments"][ENVIRONMENT]["rules"] = json!([{"id": "eu",
        "when": {"attribute": "region", "op": "eq", "values": ["eu"]}, "serve": {"variant": "on"}}]);
    let truth = Truth::new([put([regional])]);
    *truth.token_context.lock().expect("not poisoned") = json!({"region": "eu"});
    let node = Node::start(&truth, Mode::NoToken).await;
    let client = client(&[&node]).environment("demo", ENVIRONMENT).start().await.expect("started");
    until("the question", || node.requests("GET token") > 0).await;
    node.set(Mode::Good);
    assert_eq!(client.ready(LONG).await, Status::Ready);
    assert!(client.bool_value("regional", &user(), false));
    client.shutdown().await;
}

#[tokio::test]
async fn a_snapshot_in_a_stream_is_no_older_than_the_copy_before() {
    let truth = Truth::new([put([flag("plain", true), critical("kill", true)])]);
    let node = Node::start(&truth, Mode::Good).await;
    let clock = TestClock::new();
    let client = client(&[&node]).clock(clock.clone()).start().await.expect("started");
    assert_eq!(client.ready(LONG).await, Status::Ready);
    // From now on nobody says how old anything is; what is known already stays known.
    node.set_age(None);
    node.set(Mode::Silent);
    until("the end of the stream", || node.streams() == 0).await;
    clock.advance(Duration::from_millis(700));
    truth.change(put([flag("plain", false)]));
    node.set(Mode::SnapshotStreams);
    until("the change", || !client.bool_value("plain", &user(), true)).await;
    let kill = client.bool_details("kill", &user(), false);
    assert!(kill.value && kill.age_ms.is_some_and(|age_ms| (700..=1_000).contains(&age_ms)), "{kill:?}");
    client.shutdown().await;
}

#[tokio::test]
async fn streams_that_are_never_understood_are_given_up_for_polls() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let node = Node::start(&truth, Mode::NewerChanges).await;
    let client = client(&[&node]).polling_for(LONG).start().await.expect("started");
    assert_eq!(client.ready(LONG).await, Status::Ready);
    let mut is_on = true;
    for _ in 0..10 {
        is_on = !is_on;
        truth.change(put([flag("plain", is_on)]));
        until("the change", || client.bool_value("plain", &user(), !is_on) == is_on).await;
        // As soon as it streams again, where it does.
        if node.requests("GET stream") < 3 {
            until("a stream", || node.streams() == 1).await;
        }
    }
    let streams = node.requests("GET stream");
    assert!(streams < 6, "{streams} streams for ten changes that are not understood");
    client.shutdown().await;
}

#[tokio::test]
async fn a_node_that_can_confirm_nothing_is_asked_for_all_else() {
    let truth = Truth::new([put([critical("kill", true)])]);
    let node = Node::start(&truth, Mode::NoEvaluations(503)).await;
    let client = started(&[&node]).await;
    for _ in 0..4 {
        assert_eq!(client.confirm("kill", &user(), LONG).await, Err(Unconfirmed::NoAnswer));
    }
    assert_eq!(node.requests("POST evaluation"), 4, "each was asked");
    let probes = node.requests("HEAD definitions");
    until("more probes", || node.requests("HEAD definitions") > probes + 5).await;
    assert!(client.bool_value("kill", &user(), false));
    client.shutdown().await;
}

#[tokio::test]
async fn one_refusal_among_good_answers_is_not_fatal() {
    let truth = Truth::new([put([critical("kill", true)])]);
    let node = Node::start(&truth, Mode::NoEvaluations(403)).await;
    let client = started(&[&node]).await;
    for _ in 0..5 {
        assert_eq!(client.confirm("kill", &user(), LONG).await, Err(Unconfirmed::NoAnswer));
        let probes = node.requests("HEAD definitions");
        until("good answers", || node.requests("HEAD definitions") > probes + 3).await;
        until("the status of a copy that is current", || client.status() == Status::Ready).await;
    }
    assert_eq!(node.requests("POST evaluation"), 5, "no failure is counted after a good answer");
    client.shutdown().await;
}

/// The age that a node tells is of the revision that it names, so that must be what it gives.
#[tokio::test]
async fn definitions_that_are_older_than_their_name_are_not_taken() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let older = truth.revision();
    truth.change(put([flag("plain", false)]));
    let node = Node::start(&truth, Mode::OlderBody(older)).await;
    let client = client(&[&node]).start().await.expect("started");
    until("offers", || node.requests("GET definitions") > 2 || client.status() == Status::Ready).await;
    assert_eq!(client.bool_details("plain", &user(), true).source, Source::Nowhere);
    node.set(Mode::Good);
    assert_eq!(client.ready(LONG).await, Status::Ready);
    assert!(!client.bool_value("plain", &user(), true));
    client.shutdown().await;
}

/// A second node is asked for an answer that does not begin, not for one that is long.
#[tokio::test]
async fn definitions_that_take_long_come_once_and_from_there_comes_the_stream() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let slow = Mode::SlowDefinitions(Duration::from_millis(1_200));
    let nodes = [Node::start(&truth, slow.clone()).await, Node::start(&truth, slow).await];
    let patient = client(&[&nodes[0], &nodes[1]])
        .hedge_after(Duration::from_millis(400))
        .request_timeout(Duration::from_secs(5));
    let client = patient.start().await.expect("started");
    assert_eq!(client.ready(LONG).await, Status::Ready);
    let given = [0, 1].map(|index: usize| nodes[index].requests("GET definitions"));
    assert_eq!(given.iter().sum::<usize>(), 1);
    let giver = usize::from(given[1] == 1);
    until("the stream", || nodes[giver].streams() == 1).await;
    assert_eq!(nodes[1 - giver].requests("GET stream"), 0);
    client.shutdown().await;
}

#[tokio::test]
async fn the_stream_is_that_of_the_node_that_answered() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let nodes = [Node::start(&truth, Mode::Silent).await, Node::start(&truth, Mode::Good).await];
    // Each client begins with any of them.
    for _ in 0..8 {
        let client = started(&[&nodes[0], &nodes[1]]).await;
        until("the stream", || nodes[1].streams() == 1).await;
        client.shutdown().await;
        until("its end", || nodes[1].streams() == 0).await;
    }
    assert_eq!(nodes[0].requests("GET stream"), 0);
}

#[tokio::test]
async fn a_token_that_every_node_refuses_is_fatal_and_answers_go_on() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let nodes = [Node::start(&truth, Mode::Good).await, Node::start(&truth, Mode::Good).await];
    let stranger = client(&[&nodes[0], &nodes[1]]).token("fr_svc_revoked").start().await.expect("started");
    assert_eq!(stranger.ready(LONG).await, Status::Fatal);
    let details = stranger.bool_details("plain", &user(), true);
    assert_eq!(
        (details.value, details.error.map(|fault| fault.code)),
        (true, Some(ErrorCode::ProviderNotReady))
    );
    stranger.shutdown().await;

    let client = started(&[&nodes[0], &nodes[1]]).await;
    nodes.iter().for_each(|node| node.set(Mode::Status(401, None)));
    until("the refusal", || client.status() == Status::Fatal).await;
    assert!(client.bool_value("plain", &user(), false));
    nodes.iter().for_each(|node| node.set(Mode::Good));
    until("the recovery", || client.status() == Status::Ready).await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_node_is_left_alone_for_as_long_as_it_asks() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let nodes =
        [Node::start(&truth, Mode::Status(503, Some(3_600))).await, Node::start(&truth, Mode::Good).await];
    let client = started(&[&nodes[0], &nodes[1]]).await;
    until("probes of the good one", || nodes[1].requests("HEAD definitions") > 20).await;
    assert!(nodes[0].all_requests() <= 2, "{} requests", nodes[0].all_requests());
    client.shutdown().await;
}

#[tokio::test]
async fn a_confirmation_is_linearizable_or_none() {
    let truth = Truth::new([put([critical("kill", true), flag("plain", true)])]);
    let nodes = [Node::start(&truth, Mode::Unsure).await, Node::start(&truth, Mode::Good).await];
    let client = started(&[&nodes[0], &nodes[1]]).await;
    for _ in 0..4 {
        let confirmed = client.confirm("kill", &user(), LONG).await.expect("one of them can");
        assert_eq!((confirmed.value, confirmed.consistency), (Some(json!(true)), Consistency::Linearizable));
        assert_eq!(confirmed.revision.map(|at| at.revision), Some(truth.revision()));
    }
    assert_eq!(client.confirm("plain", &user(), LONG).await.expect("any flag").variant, "on");
    let Err(Unconfirmed::Refused(fault)) = client.confirm("no-such-flag", &user(), LONG).await else {
        panic!("there is no such flag")
    };
    assert_eq!(fault.code, ErrorCode::FlagNotFound);
    for key in ["", ".", ".."] {
        assert!(matches!(client.confirm(key, &user(), LONG).await, Err(Unconfirmed::Refused(_))));
    }
    nodes[1].set(Mode::Unsure);
    assert_eq!(
        client.confirm("kill", &user(), LONG).await,
        Err(Unconfirmed::NoAnswer),
        "a safe variant is none"
    );
    nodes.iter().for_each(|node| node.set(Mode::Silent));
    assert_eq!(client.confirm("kill", &user(), Duration::from_millis(50)).await, Err(Unconfirmed::NoAnswer));
    client.shutdown().await;
}

#[tokio::test]
async fn a_token_lays_its_context_over_every_evaluation() {
    let mut regional = flag("regional", false);
    regional["environments"][ENVIRONMENT]["rules"] = json!([{"id": "eu",
        "when": {"attribute": "region", "op": "eq", "values": ["eu"]}, "serve": {"variant": "on"}}]);
    let truth = Truth::new([put([regional])]);
    *truth.token_context.lock().expect("not poisoned") = json!({"region": "eu"});
    let node = Node::start(&truth, Mode::Good).await;
    let client = started(&[&node]).await;
    for context in [user(), user().with("region", "us"), Context::new()] {
        for _ in 0..2 {
            let details = client.bool_details("regional", &context, false);
            assert_eq!((details.value, details.reason), (true, Reason::TargetingMatch));
        }
    }
    client.shutdown().await;
}

#[tokio::test]
async fn each_type_is_read_as_itself_and_a_wrong_one_is_told() {
    let of = |key: &str, flag_type: &str, value: Value| {
        json!({"key": key, "type": flag_type, "variants": {"v": value}, "metadata": {"team": "shop"},
            "environments": {ENVIRONMENT: {"enabled": true, "default": {"variant": "v"}}}})
    };
    let none = json!({"key": "none", "type": "string", "variants": {"v": "x"},
        "environments": {ENVIRONMENT: {"enabled": true}}});
    let truth = Truth::new([put([
        flag("boolean", true),
        of("string", "string", json!("text")),
        of("integer", "integer", json!(-7)),
        of("number", "number", json!(1.5)),
        of("object", "object", json!({"a": [1]})),
        none,
    ])]);
    let node = Node::start(&truth, Mode::Good).await;
    let client = started(&[&node]).await;
    let user = user();
    assert!(client.bool_value("boolean", &user, false));
    assert_eq!(client.string_value("string", &user, String::new()), "text");
    assert_eq!(client.integer_value("integer", &user, 0), -7);
    assert!((client.number_value("number", &user, 0.0) - 1.5).abs() < f64::EPSILON);
    assert!((client.number_value("integer", &user, 0.0) + 7.0).abs() < f64::EPSILON);
    assert_eq!(
        Value::Object(client.object_value("object", &user, serde_json::Map::new())),
        json!({"a": [1]})
    );
    let details = client.string_details("string", &user, String::new());
    assert_eq!(details.metadata["team"], "shop");
    for code in [
        client.bool_details("string", &user, true).error,
        client.integer_details("number", &user, 0).error,
        client.string_details("integer", &user, String::new()).error,
    ] {
        assert_eq!(code.map(|fault| fault.code), Some(ErrorCode::TypeMismatch));
    }
    let missing = client.integer_details("missing", &user, 9);
    assert_eq!((missing.value, missing.error.map(|fault| fault.code)), (9, Some(ErrorCode::FlagNotFound)));
    // The flag itself says that the caller decides: no error.
    let none = client.string_details("none", &user, "mine".to_owned());
    assert_eq!((none.value.as_str(), none.variant.as_str(), none.error), ("mine", "", None));
    assert_eq!(none.reason, Reason::Static);
    client.shutdown().await;
}

#[tokio::test]
async fn a_client_whose_environment_is_not_the_one_wanted_takes_nothing_in() {
    let truth = Truth::new([put([flag("plain", true)])]);
    let node = Node::start(&truth, Mode::Good).await;
    let wrong = client(&[&node]).environment("demo", "production").start().await.expect("started");
    until("the error", || wrong.status() == Status::Error).await;
    assert!(!wrong.bool_value("plain", &user(), false));
    wrong.shutdown().await;
    let right: Arc<Client> =
        Arc::new(client(&[&node]).environment("demo", ENVIRONMENT).start().await.expect("started"));
    assert_eq!(right.ready(LONG).await, Status::Ready);
    right.shutdown().await;
}
