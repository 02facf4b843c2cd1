//! The service lives: whatever becomes of nodes, networks, disks and clocks, every evaluation returns.

mod common;

use std::{fs, path::Path, sync::Arc, time::Duration};

use common::{LONG, Mode, Node, Service, TestClock, Truth, client, critical, flag, put, soon, until};
use flagraft_client::{Client, Context, Source, Status};
use serde_json::json;

/// A cluster of three with a plain flag and a kill switch, both on.
async fn cluster(modes: [Mode; 3]) -> (Arc<Truth>, [Node; 3]) {
    let truth = Truth::new([put([flag("plain", true), critical("kill", true)])]);
    let [one, two, three] = modes;
    let nodes =
        [Node::start(&truth, one).await, Node::start(&truth, two).await, Node::start(&truth, three).await];
    (truth, nodes)
}

fn all(nodes: &[Node; 3]) -> Vec<&Node> {
    nodes.iter().collect()
}

async fn ready(client: &Client) {
    assert_eq!(client.ready(LONG).await, Status::Ready);
}

fn plain(client: &Client) -> bool {
    client.bool_value("plain", &Context::of("u1"), false)
}

fn kill(client: &Client) -> bool {
    client.bool_value("kill", &Context::of("u1"), false)
}

#[tokio::test]
async fn one_node_dead_two_dead_all_three_dead_and_one_back() {
    let (truth, nodes) = cluster([Mode::Good, Mode::Good, Mode::Good]).await;
    let client = client(&all(&nodes)).start().await.expect("started");
    let service = Service::of(&client);
    ready(&client).await;
    let [one, two, three] = nodes;
    one.kill().await;
    truth.change(put([flag("plain", false)]));
    until("the change, with one node dead", || !plain(&client)).await;
    let port = two.kill().await;
    truth.change(put([flag("plain", true)]));
    until("the change, with two nodes dead", || plain(&client)).await;
    assert!(kill(&client), "the copy of a critical flag is young enough");
    three.kill().await;
    until("the safe variant of the critical flag", || !kill(&client)).await;
    assert!(plain(&client), "the copy of the plain one is served on");
    let _back = Node::start_at(&truth, Mode::Good, port).await;
    until("the critical flag with a node back", || kill(&client)).await;
    service.lived("nodes that die one after the other").await;
    client.shutdown().await;
}

/// Every way in which all nodes but one can be bad from the start, and then that one too.
#[tokio::test]
async fn bad_nodes_cost_neither_the_start_nor_an_evaluation() {
    for bad in [
        Mode::Silent,
        Mode::Garbage,
        Mode::Page,
        Mode::Status(500, None),
        Mode::Status(503, Some(1)),
        Mode::Status(429, None),
        Mode::Status(302, None),
        Mode::Cut(0),
        Mode::Cut(40),
        Mode::Cut(120),
    ] {
        let (truth, nodes) = cluster([bad.clone(), Mode::Good, bad.clone()]).await;
        let client = client(&all(&nodes)).start().await.expect("started");
        let service = Service::of(&client);
        ready(&client).await;
        truth.change(put([flag("plain", false)]));
        until("the change", || !plain(&client)).await;
        nodes[1].set(bad.clone());
        until("the safe variant", || !kill(&client)).await;
        truth.change(put([flag("plain", true)]));
        nodes[2].set(Mode::Good);
        until(&format!("the change, after all nodes were {bad:?}"), || plain(&client) && kill(&client)).await;
        service.lived(&format!("nodes that are {bad:?}")).await;
        client.shutdown().await;
    }
}

/// The connection is cut after every so many bytes, of answers and of streams alike: what comes through is whole or not taken.
#[tokio::test]
async fn answers_and_streams_that_are_cut_anywhere_change_nothing_by_half() {
    let (truth, nodes) = cluster([Mode::Good, Mode::Cut(0), Mode::Cut(0)]).await;
    let client = client(&all(&nodes)).start().await.expect("started");
    let service = Service::of(&client);
    ready(&client).await;
    let mut is_on = true;
    let mut bytes = 100;
    while bytes < 2_400 {
        nodes.iter().for_each(|node| node.set(Mode::Cut(bytes)));
        is_on = !is_on;
        // Both flags in one change: they are never seen one without the other.
        truth.change(put([flag("plain", is_on), flag("other", is_on)]));
        let context = Context::of("u1");
        for _ in 0..50 {
            let (plain, other) = (
                client.bool_details("plain", &context, false),
                client.bool_details("other", &context, false),
            );
            if plain.revision == other.revision && other.error.is_none() {
                assert_eq!(plain.value, other.value, "half of a change at {bytes}");
            }
            tokio::task::yield_now().await;
        }
        bytes += 1 + bytes / 9;
    }
    nodes[2].set(Mode::Good);
    until("the last change", || plain(&client) == is_on).await;
    service.lived("connections that are cut").await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_service_starts_from_disk_with_every_node_dead() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, nodes) = cluster([Mode::Good, Mode::Good, Mode::Good]).await;
    let first = client(&all(&nodes)).copies_in(folder.path()).start().await.expect("started");
    ready(&first).await;
    first.shutdown().await;
    let builder = client(&all(&nodes)).copies_in(folder.path());
    for node in nodes {
        node.kill().await;
    }
    let second = builder.start().await.expect("started");
    let service = Service::of(&second);
    assert!(plain(&second), "at once");
    let details = second.bool_details("plain", &Context::of("u1"), false);
    assert_eq!((details.source, details.age_ms, second.status()), (Source::Disk, None, Status::Stale));
    assert!(details.revision.is_some());
    assert!(!kill(&second), "a critical flag is never served from disk");
    service.lived("a start from disk").await;
    second.shutdown().await;
}

/// The only file in a folder, if it is there and whole.
fn copy_in(folder: &Path) -> Option<Vec<u8>> {
    let mut files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let file = files.find(|path| path.extension().is_some_and(|extension| extension == "copy"))?;
    fs::read(file).ok()
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Years may go by without a change; what counts is when the copy was last current.
#[tokio::test]
async fn a_service_that_lived_long_without_a_change_starts_from_disk() {
    let (clock, folder) = (TestClock::new(), tempfile::tempdir().expect("a folder"));
    let (_, nodes) = cluster([Mode::Good, Mode::Good, Mode::Good]).await;
    let builder = || client(&all(&nodes)).clock(clock.clone()).copies_in(folder.path());
    let first = builder().start().await.expect("started");
    ready(&first).await;
    until("the copy", || copy_in(folder.path()).is_some()).await;
    clock.advance(DAY * 8);
    until("a young copy", || first.status() == Status::Ready && kill(&first)).await;
    first.shutdown().await;

    nodes.iter().for_each(|node| node.set(Mode::Silent));
    clock.advance(DAY * 6);
    let second = builder().start().await.expect("started");
    assert!(plain(&second), "it was current six days ago");
    // Nothing was heard from the cluster since; that a service ran makes no copy younger.
    second.shutdown().await;
    clock.advance(DAY * 2);
    let third = builder().start().await.expect("started");
    assert!(!plain(&third), "and eight days ago");
    third.shutdown().await;
}

/// Nor does anybody have to shut down for it.
#[tokio::test]
async fn a_copy_that_stays_current_is_saved_now_and_then() {
    let (clock, folder) = (TestClock::new(), tempfile::tempdir().expect("a folder"));
    let (_, nodes) = cluster([Mode::Good, Mode::Good, Mode::Good]).await;
    let builder = client(&all(&nodes)).clock(clock.clone()).copies_in(folder.path());
    let client = builder.disk_age_max(Duration::from_secs(7)).start().await.expect("started");
    ready(&client).await;
    until("the copy", || copy_in(folder.path()).is_some()).await;
    let before = copy_in(folder.path());
    clock.advance(DAY);
    until("the same copy, saved anew", || copy_in(folder.path()).is_some_and(|now| Some(now) != before))
        .await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_copy_that_could_not_be_saved_is_saved_once_it_can_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let copies = folder.path().join("copies");
    fs::write(&copies, "a file where the folder should be").expect("written");
    let (_, nodes) = cluster([Mode::Good, Mode::Good, Mode::Good]).await;
    let client = client(&all(&nodes)).copies_in(&copies).start().await.expect("started");
    ready(&client).await;
    // The only change there is has long been tried.
    tokio::time::sleep(Duration::from_millis(100)).await;
    fs::remove_file(&copies).expect("removed");
    until("the copy", || copy_in(&copies).is_some()).await;
    client.shutdown().await;
}

/// What changes elsewhere goes on over the stream, and is no reason to write all definitions to disk.
#[tokio::test]
async fn changes_of_other_environments_cost_no_save() {
    let (clock, folder) = (TestClock::new(), tempfile::tempdir().expect("a folder"));
    let (truth, nodes) = cluster([Mode::Good, Mode::Good, Mode::Good]).await;
    let builder = client(&all(&nodes)).clock(clock.clone()).copies_in(folder.path());
    let client = builder.start().await.expect("started");
    ready(&client).await;
    until("the copy", || copy_in(folder.path()).is_some()).await;
    let before = copy_in(folder.path());
    let revision = |client: &Client| client.bool_details("plain", &Context::of("u1"), false).revision;
    for name in ["first", "second", "third"] {
        // Were it saved, it would say so of a later time.
        clock.advance(Duration::from_millis(500));
        truth.change(json!([{"op": "environment.put", "environment": {"key": "qa", "name": name}}]));
        let at = truth.revision();
        until("the revision", || revision(&client).is_some_and(|now| now.revision == at)).await;
        let begun = tokio::time::Instant::now();
        until("the time of a save", || begun.elapsed() > Duration::from_millis(60)).await;
    }
    assert_eq!(copy_in(folder.path()), before);
    truth.change(put([flag("plain", false)]));
    until("the save of a change", || copy_in(folder.path()).is_some_and(|now| Some(now) != before)).await;
    client.shutdown().await;
}

#[tokio::test]
async fn a_damaged_copy_is_not_used_and_a_bootstrap_file_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let (truth, nodes) = cluster([Mode::Good, Mode::Good, Mode::Good]).await;
    let bootstrap = folder.path().join("bootstrap.json");
    fs::write(&bootstrap, truth.snapshot()).expect("written");
    let copies = folder.path().join("copies");
    let first = client(&all(&nodes)).copies_in(&copies).start().await.expect("started");
    ready(&first).await;
    first.shutdown().await;
    let file = fs::read_dir(&copies).expect("a folder").next().expect("a copy").expect("readable").path();
    let mut bytes = fs::read(&file).expect("the copy");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).expect("damaged");
    nodes.iter().for_each(|node| node.set(Mode::Silent));

    let without = client(&all(&nodes)).copies_in(&copies).start().await.expect("started");
    assert_eq!(without.bool_details("plain", &Context::of("u1"), false).source, Source::Nowhere);
    let with = client(&all(&nodes)).copies_in(&copies).bootstrap(&bootstrap).start().await.expect("started");
    let service = Service::of(&with);
    let details = with.bool_details("plain", &Context::of("u1"), false);
    assert_eq!((details.value, details.source, details.revision), (true, Source::Bootstrap, None));
    assert!(!kill(&with), "a critical flag is never served from a file");
    let other = client(&all(&nodes)).environment("demo", "production").bootstrap(&bootstrap);
    let other = other.start().await.expect("started");
    assert_eq!(
        other.bool_details("plain", &Context::of("u1"), false).source,
        Source::Nowhere,
        "another environment's"
    );

    nodes[0].set(Mode::Good);
    ready(&with).await;
    assert_eq!(with.bool_details("plain", &Context::of("u1"), false).source, Source::Node);
    service.lived("a start from a bootstrap file").await;
    for client in [without, with, other] {
        client.shutdown().await;
    }
}

#[tokio::test]
async fn clocks_that_jump_make_no_copy_younger() {
    let clock = TestClock::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (_, nodes) = cluster([Mode::Good, Mode::Good, Mode::Good]).await;
    let builder = || client(&all(&nodes)).clock(clock.clone()).copies_in(folder.path());
    let client = builder().start().await.expect("started");
    let service = Service::of(&client);
    ready(&client).await;
    assert!(kill(&client));
    // The wall clock may say what it likes.
    for by_ms in [-40_000_000_000, 80_000_000_000, -40_000_000_000] {
        clock.set_wall(by_ms);
        assert!(kill(&client) && plain(&client), "{by_ms}");
    }
    // The machine slept with its nodes out of reach: what it knew is a day old.
    nodes.iter().for_each(|node| node.set(Mode::Silent));
    until("all streams to end", || nodes.iter().all(|node| node.streams() == 0)).await;
    clock.advance(Duration::from_secs(24 * 60 * 60));
    assert!(!kill(&client) && plain(&client));
    let age_ms = client.bool_details("plain", &Context::of("u1"), false).age_ms.expect("an age");
    assert!(age_ms >= 24 * 60 * 60 * 1_000, "{age_ms}");
    until("the client to say that it is stale", || client.status() == Status::Stale).await;
    nodes[0].set(Mode::Good);
    until("the critical flag again", || kill(&client)).await;
    service.lived("clocks that jump").await;
    client.shutdown().await;

    // A copy from the future is used; one of a month ago is not.
    nodes.iter().for_each(|node| node.set(Mode::Silent));
    clock.set_wall(-1_000_000_000);
    let early = builder().start().await.expect("started");
    assert!(plain(&early));
    early.shutdown().await;
    clock.set_wall(32 * 24 * 60 * 60 * 1_000);
    let late = builder().start().await.expect("started");
    assert!(!plain(&late));
    late.shutdown().await;
}

/// What a client runs ends with it, whichever way it ends.
#[tokio::test]
async fn a_client_leaves_no_task_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, nodes) = cluster([Mode::Good, Mode::Silent, Mode::Garbage]).await;
    let metrics = tokio::runtime::Handle::current().metrics();
    let begin = || client(&all(&nodes)).copies_in(folder.path()).start();
    let idle = |node: &Node| node.streams() == 0;
    for by_hand in [true, false] {
        let client = begin().await.expect("started");
        ready(&client).await;
        assert!(metrics.num_alive_tasks() > 2);
        if by_hand {
            soon("the end of the client", client.shutdown()).await;
            assert!(plain(&client), "a client that has ended answers from what it had");
        }
        drop(client);
        // The nodes' own: one for each that accepts, and connections that they notice to be closed.
        until("the tasks to end", || metrics.num_alive_tasks() == 3 && nodes.iter().all(idle)).await;
    }
}
