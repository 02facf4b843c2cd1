//! Streams of a real cluster: one that goes on at another node, one that its node ends when it stops, and the notices by
//! which a web page hears of changes.

use std::time::{Duration, Instant};

use flagraft_tests::{
    catalog::{Caller, ENVIRONMENT, PROJECT, counter, put, switch},
    cluster::Setup,
    openfeature::WebPage,
    settings::measured,
    stream::Event,
};
use serde_json::json;

mod common;
use common::shop::Shop;

const STREAM: &str = "/api/v1/projects/shop/environments/production/stream";

fn revision(event: &Event) -> u64 {
    event.data["revision"].as_u64().unwrap_or_else(|| panic!("{event:?}"))
}

/// A client that is moved from node to node, by its own will and because its node is killed, misses nothing and is told
/// nothing twice, and never needs another snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_at_another_node() {
    let mut shop = Shop::open(Setup::of(3), &[counter("count", 0, false)]).await;
    let killed = shop.cluster.follower().await;
    let living: Vec<u64> = shop.cluster.ids().into_iter().filter(|id| *id != killed).collect();
    let mut stream = shop.reader(living[0]).get(STREAM).stream().await;
    let snapshot = stream.next().await.expect("a snapshot");
    assert_eq!(snapshot.kind, "snapshot");
    let (mut last, mut previous) = (snapshot.id, snapshot.data["environment_revision"].clone());
    for count in 1..=40_u64 {
        if count == 20 {
            shop.cluster.kill(killed);
        }
        let answer = shop.count(living[0], "count", count, false).await;
        let node = match count {
            10 => Some(killed),
            20 => Some(living[1]),
            30 => Some(living[0]),
            _ => None,
        };
        if let Some(node) = node {
            stream = shop.reader(node).get(STREAM).header("Last-Event-ID", &last).stream().await;
        }
        let change = stream.news().await;
        assert_eq!((change.kind.as_str(), revision(&change)), ("change", answer.revision()), "{change:?}");
        assert_eq!(change.data["previous"], previous, "{change:?}");
        (last, previous) = (change.id.clone(), change.data["revision"].clone());
    }
}

/// From the answer to a write until every node has told its stream, each change by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_told_at_every_node() {
    let shop = Shop::open(Setup::of(3), &[counter("count", 0, false)]).await;
    let mut streams = Vec::new();
    for id in shop.cluster.ids() {
        let mut stream = shop.reader(id).get(STREAM).stream().await;
        stream.next().await.expect("a snapshot");
        streams.push(stream);
    }
    let mut took = Vec::new();
    for count in 1..=100 {
        let answer = shop.count(1, "count", count, false).await;
        let answered = Instant::now();
        for stream in &mut streams {
            assert_eq!(revision(&stream.news().await), answer.revision());
        }
        took.push(answered.elapsed());
    }
    took.sort();
    measured("from a write's answer to its event at three nodes, median (us)", took[50].as_micros());
    measured("the same, 99 of 100 (us)", took[98].as_micros());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_waits_for_no_stream() {
    let mut shop = Shop::open(Setup::of(3), &[counter("count", 0, false)]).await;
    let stopped = shop.cluster.follower().await;
    let mut stream = shop.reader(stopped).get(STREAM).stream().await;
    stream.next().await.expect("a snapshot");
    let begun = Instant::now();
    let status = shop.cluster.terminate(stopped, Duration::from_secs(15)).await;
    assert_eq!(status.code(), Some(0), "{}", shop.cluster.log(stopped));
    // Less than a request may take to end.
    assert!(begun.elapsed() < Duration::from_secs(4), "it took {:?}", begun.elapsed());
    while stream.next().await.is_some() {}
    let log = shop.cluster.log(stopped);
    assert!(!log.contains("still under way"), "{log}");
}

/// A browser is told when its node can't vouch for critical flags any more, and when it can again: both times what it
/// shows is not what it would be given now.
#[tokio::test(flavor = "multi_thread")]
async fn notices_are_sent_when_safe_variants_are_served_and_when_not_any_more() {
    let mut shop = Shop::open(Setup::of(3), &[counter("gate", 7, true)]).await;
    let node = shop.cluster.leader().await;
    let reader = shop.reader(node);
    let context = json!({"targetingKey": "anyone"});
    let all = reader.evaluate_all(&context).ok().await;
    let address =
        all.body["eventStreams"][0]["endpoint"]["requestUri"].as_str().expect("an address").to_owned();
    let mut stream = shop.cluster.anonymous(node).get(&address).stream().await;
    let first = stream.next().await.expect("a notice");
    assert_eq!(first.data["type"], "refetchEvaluation");

    let others: Vec<u64> = shop.cluster.ids().into_iter().filter(|id| *id != node).collect();
    others.iter().for_each(|id| shop.cluster.pause(*id));
    let began = stream.next().await.expect("a notice");
    assert_eq!((&began.data, began.id.as_str()), (&first.data, first.id.as_str()));
    let path = format!("/ofrep/v1/evaluate/flags?flagConfigEtag={}", began.id);
    let safe = reader.post(&path, &json!({"context": context})).ok().await;
    assert_eq!(safe.header("flagraft-consistency"), Some("safe-variant"), "{safe:?}");

    others.iter().for_each(|id| shop.cluster.resume(*id));
    let ceased = stream.next().await.expect("a notice");
    assert_eq!(ceased.data, first.data);
    shop.sure(node, "gate").await;
    let log = shop.cluster.log(node);
    let ticket = address.split_once("ticket=").expect("a ticket").1;
    assert!(!log.contains(ticket), "a ticket is in the log:\n{log}");
}

/// The published web provider and SDK, which do not poll here.
#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_sees_a_change_without_polling() {
    let mut flag = switch("banner", false);
    flag["exposure"] = json!("client");
    let shop = Shop::open(Setup::of(3).with_arg("--cors-origin", "*"), &[flag]).await;
    let (_, token) = shop.cluster.create_token(&Caller::client(PROJECT, ENVIRONMENT)).await;
    let node = shop.cluster.with_token(shop.cluster.follower().await, &token);
    let Some(mut page) = WebPage::open(&node, "banner") else { return };
    page.sees("true STATIC").await;
    let set = |op: &str| json!({"op": op, "flag": "banner", "environment": ENVIRONMENT});
    shop.change(1, "off", vec![set("flag.disable")]).await;
    page.sees("false DISABLED").await;
    let begun = Instant::now();
    shop.change(1, "and on", vec![set("flag.enable")]).await;
    page.sees("true STATIC").await;
    measured("from a change to a web page that shows it (ms)", begun.elapsed().as_millis());
    shop.change(1, "and other flags", vec![put(&counter("count", 1, false))]).await;
}
