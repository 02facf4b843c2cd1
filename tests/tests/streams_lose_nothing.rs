//! Nothing is lost in a stream: followers are moved from node to node and their connections cut in the middle of
//! whatever is sent, while nodes are killed and come back and writers write. Each of them is sent every change once and
//! in order, or a snapshot that covers those it missed.

use std::{collections::BTreeMap, time::Duration};

use flagraft_tests::{
    api::Api,
    audit,
    catalog::{ENVIRONMENT, PROJECT, switch},
    cluster::Setup,
    cuts::Cuts,
    followers::{Followed, Follower, judge},
    load::Writers,
    settings::{measured, rng, rounds},
    wait,
};
use serde_json::Value;

mod common;
use common::shop::Shop;

const PATIENCE: Duration = Duration::from_secs(60);
const FOLLOWERS: u64 = 12;
const WRITERS: u64 = 4;
/// A connection carries at most this many bytes: some are cut within the first event, some after many.
const BYTES_MAX: usize = 60_000;
/// A follower moves on after at most this many events.
const EVENTS_MAX: usize = 200;

/// What each revision set, of those that the writers made, from the audit log.
fn written(records: &[Value]) -> BTreeMap<u64, (String, u64)> {
    let accepted =
        records.iter().filter(|record| record["kind"] == "change" && record["outcome"] == "accepted");
    accepted
        .filter_map(|record| {
            let (flag, count) = record["reason"].as_str()?.split_once(" is ")?;
            Some((record["revision_after"].as_u64()?, (flag.to_owned(), count.parse().ok()?)))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_comes_once_and_in_order_or_a_snapshot_covers_it() {
    let changes = u64::from(rounds(400, 10_000));
    let kills = rounds(2, 12);
    let mut rng = rng();
    let mut shop = Shop::open(Setup::of(3), &[switch("banner", false)]).await;
    let path = format!("/api/v1/projects/{PROJECT}/environments/{ENVIRONMENT}/stream");
    let mut cuts = Vec::new();
    let mut nodes: Vec<Api> = Vec::new();
    for id in shop.cluster.ids() {
        let reader = shop.reader(id);
        let cut = Cuts::before(reader.base(), BYTES_MAX, rng.u64(..)).await;
        nodes.push(reader.at(cut.base()));
        cuts.push(cut);
    }
    let followers: Vec<Follower> = (0..FOLLOWERS)
        .map(|_| Follower::start(nodes.clone(), path.clone(), rng.u64(..), EVENTS_MAX))
        .collect();
    wait::until_true("every follower to begin", PATIENCE, || async {
        followers.iter().all(|follower| follower.position().is_some())
    })
    .await;

    let writers = Writers::at_full_speed(&shop.cluster, WRITERS).await;
    for kill in 1..=kills {
        writers.beyond(changes * u64::from(kill) / u64::from(kills + 1), PATIENCE * 3).await;
        // The leader and the others in turn.
        let leader = shop.cluster.leader().await;
        let dead = if kill % 2 == 1 { leader } else { shop.cluster.follower().await };
        shop.cluster.kill(dead);
        writers.beyond(writers.acknowledged() + 10, PATIENCE).await;
        shop.cluster.restart(dead).await;
    }
    writers.beyond(changes, PATIENCE * 3).await;
    let written_by_all = writers.finish().await;
    shop.cluster.agreed().await;

    let records = audit::records(&shop.cluster.admin(1)).await;
    let made = written(&records);
    let last = *made.keys().next_back().expect("writes were made");
    wait::until("every follower to know the last change", PATIENCE, || async {
        let behind: Vec<_> =
            followers.iter().map(Follower::position).filter(|position| *position < Some(last)).collect();
        if behind.is_empty() { Ok(()) } else { Err(format!("some are at {behind:?} of {last}")) }
    })
    .await;

    let mut all = Followed::default();
    for (number, follower) in followers.into_iter().enumerate() {
        let notes = follower.finish().await;
        let followed = judge(&notes, &made).unwrap_or_else(|fault| panic!("follower {number}: {fault}"));
        all.changes += followed.changes;
        all.covered += followed.covered;
        all.asked += followed.asked;
    }
    let cut: u64 = cuts.iter().map(Cuts::cut).sum();
    assert!(cut > FOLLOWERS, "only {cut} connections were cut");
    assert!(all.asked > FOLLOWERS * 2, "nobody was moved: {all:?}");
    assert!(all.changes > all.covered, "streams are to resume, not to begin anew: {all:?}");
    measured(
        "streams: changes, kills, connections cut, streams opened, changes sent one by one, covered by snapshots, lost",
        format!(
            "{}, {kills}, {cut}, {}, {}, {}, 0",
            written_by_all.acknowledged.len(),
            all.asked,
            all.changes,
            all.covered
        ),
    );
}
