//! The guarantees of etcd's watch, by their names: one test each.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    super::harness::Api,
    reader::{Event, PATIENCE, Reader},
};

/// Changes of one test.
const CHANGES: usize = 120;
/// Writers at once: so many that several changes are applied in one batch.
const WRITERS: usize = 12;

/// The owner's changes of the shop, from several writers: every third one touches production alone, every third one dev
/// alone, every third one both, with several operations. Returns the revisions that touched production, in order.
async fn busy(api: Arc<Api>) -> Vec<u64> {
    let writers = (0..WRITERS).map(|writer| {
        let api = Arc::clone(&api);
        tokio::spawn(async move {
            let mut touched = Vec::new();
            for number in 0..CHANGES / WRITERS {
                // Somebody who was no target yet, so that each change changes something.
                let somebody = format!("user-{writer}-{number}");
                let add = |flag: &str, environment: &str| {
                    json!({"op": "targets.add", "flag": flag, "environment": environment, "variant": "on", "values": [somebody]})
                };
                let flag = ["kill", "needs-kill", "plain", "split"][writer % 4];
                let operations = match (writer + number) % 3 {
                    0 => json!([add(flag, "production")]),
                    1 => json!([add(flag, "dev")]),
                    _ => json!([add(flag, "dev"), add(flag, "production"), add("code-default", "production")]),
                };
                let changed = api.change(json!({"reason": "r", "operations": operations})).await;
                if (writer + number) % 3 != 1 {
                    touched.push(changed["revision"].as_u64().expect("a revision"));
                }
            }
            touched
        })
    });
    let mut touched = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        touched.extend(writer.await.expect("no panic"));
    }
    touched.sort_unstable();
    touched
}

/// The flags and segments that a receiver holds.
type Held = BTreeMap<String, Value>;

fn held(snapshot: &Event) -> Held {
    let flags = snapshot.data["flags"].as_array().expect("flags").iter();
    flags.map(|flag| (flag["key"].as_str().expect("a key").to_owned(), flag.clone())).collect()
}

fn take_over(held: &mut Held, change: &Event) {
    for edit in change.data["changes"].as_array().expect("changes") {
        match (&edit["flag"], &edit["deleted"]) {
            (Value::Object(flag), _) => {
                held.insert(flag["key"].as_str().expect("a key").to_owned(), edit["flag"].clone());
            }
            (_, Value::String(key)) => drop(held.remove(key)),
            _ => panic!("{edit}"),
        }
    }
}

/// The changes up to a revision.
async fn changes_upto(reader: &mut Reader, revision: u64) -> Vec<Event> {
    let mut changes = Vec::new();
    while changes.last().is_none_or(|change: &Event| change.revision() < revision) {
        changes.push(reader.change().await);
    }
    changes
}

/// A last change that touches production, so that a reader knows when it has all.
async fn last_change(api: &Api) -> u64 {
    api.change(json!({"reason": "r", "operations": [
        {"op": "default.set", "flag": "ratio", "environment": "production", "serve": {"variant": "half"}}]}))
        .await["revision"]
        .as_u64()
        .expect("a revision")
}

/// Events come in the order of their revisions; none comes after one that was later.
#[tokio::test(flavor = "multi_thread")]
async fn ordered() {
    let api = Arc::new(Api::shop().await);
    let token = api.service("production").await;
    let mut readers = [api.stream(&token, None).await, api.stream(&token, None).await];
    let busy = tokio::spawn(busy(Arc::clone(&api)));
    busy.await.expect("no panic");
    let last = last_change(&api).await;
    let mut seen = Vec::new();
    for reader in &mut readers {
        let snapshot = reader.expect("snapshot").await;
        let changes = changes_upto(reader, last).await;
        let revisions: Vec<u64> = changes.iter().map(Event::revision).collect();
        assert!(snapshot.revision() < revisions[0]);
        assert!(revisions.is_sorted_by(|one, next| one < next), "{revisions:?}");
        for change in &changes {
            let history = api.node.published().state.history().expect("founded");
            assert_eq!(change.id, format!("{history}.{}", change.revision()));
        }
        seen.push(changes);
    }
    assert_eq!(seen[0], seen[1], "every receiver is told the same");
}

/// No event comes twice: each revision has one, and a stream that resumes repeats none.
#[tokio::test(flavor = "multi_thread")]
async fn unique() {
    let api = Arc::new(Api::shop().await);
    let token = api.service("production").await;
    let mut reader = api.stream(&token, None).await;
    reader.expect("snapshot").await;
    let touched = busy(Arc::clone(&api)).await;
    let mut revisions = Vec::new();
    // Cut off after every few events, and resumed after the last one that was read.
    while revisions.last() != touched.last() {
        for _ in 0..5 {
            let event = reader.next().await.expect("the stream goes on");
            revisions.extend((event.kind == "change").then(|| event.revision()));
            if revisions.last() == touched.last() {
                break;
            }
        }
        let last = reader.last.clone().expect("an event was read");
        reader = api.stream(&token, Some(&last)).await;
    }
    let count = revisions.len();
    revisions.dedup();
    assert_eq!(revisions.len(), count, "{revisions:?}");
    assert_eq!(revisions, touched, "one event for each revision that touched the environment, and no other");
}

/// One change is one event, whole: a receiver never holds half of one.
#[tokio::test(flavor = "multi_thread")]
async fn atomic() {
    let api = Arc::new(Api::shop().await);
    let token = api.service("production").await;
    let mut reader = api.stream(&token, None).await;
    let mut copy = held(&reader.expect("snapshot").await);
    let writing = {
        let api = Arc::clone(&api);
        tokio::spawn(async move {
            // Both flags are always alike; other writers make the batches larger.
            let busy = tokio::spawn(busy_elsewhere(Arc::clone(&api)));
            for on in (0..40).map(|number| number % 2 == 0) {
                let op = if on { "flag.enable" } else { "flag.disable" };
                let set = |flag: &str| json!({"op": op, "flag": flag, "environment": "production"});
                api.change(json!({"reason": "r", "operations": [set("off"), set("code-default")]})).await;
            }
            busy.await.expect("no panic");
            last_change(&api).await
        })
    };
    let is_on =
        |held: &Held, flag: &str| held[flag]["configuration"]["enabled"].as_bool().expect("configured");
    // It is made alike first: in the shop one of them is on.
    let first = reader.change().await;
    take_over(&mut copy, &first);
    let last = writing.await.expect("no panic");
    for change in changes_upto(&mut reader, last).await {
        take_over(&mut copy, &change);
        assert_eq!(is_on(&copy, "off"), is_on(&copy, "code-default"), "{change:?}");
    }
}

async fn busy_elsewhere(api: Arc<Api>) {
    for number in 0..60 {
        api.switch("plain", "dev", number % 2 == 0).await;
    }
}

/// No event is missing: each says what came before it, and whoever followed all of them holds what a fresh snapshot says.
#[tokio::test(flavor = "multi_thread")]
async fn reliable() {
    let api = Arc::new(Api::shop().await);
    let token = api.service("production").await;
    let mut reader = api.stream(&token, None).await;
    let snapshot = reader.expect("snapshot").await;
    let mut copy = held(&snapshot);
    let mut touched = snapshot.data["environment_revision"].as_u64().expect("a revision");
    let busy = tokio::spawn(busy(Arc::clone(&api)));
    // Of flags that the writers leave alone.
    for operations in [
        json!([{"op": "flag.archive", "flag": "banner"}]),
        json!([{"op": "flag.restore", "flag": "banner"}]),
        json!([{"op": "flag.archive", "flag": "off"}, {"op": "flag.delete", "flag": "limits"}]),
    ] {
        api.change(json!({"reason": "r", "operations": operations})).await;
    }
    busy.await.expect("no panic");
    let last = last_change(&api).await;
    for change in changes_upto(&mut reader, last).await {
        assert_eq!(change.data["previous"], touched, "no gap before {change:?}");
        touched = change.revision();
        take_over(&mut copy, &change);
    }
    let fresh = api.stream(&token, None).await.expect("snapshot").await;
    assert_eq!(fresh.data["environment_revision"], touched);
    assert_eq!(copy, held(&fresh));
}

/// Whoever was cut off goes on where it was; and gets a snapshot when that is not remembered any more.
#[tokio::test(flavor = "multi_thread")]
async fn resumable() {
    let api = Api::shop_with(|config| config.streams.changes_max = 10).await;
    let token = api.service("production").await;
    let mut reader = api.stream(&token, None).await;
    let snapshot = reader.expect("snapshot").await;
    drop(reader);
    let mut expected = Vec::new();
    for number in 0..5 {
        expected.push(api.switch("plain", "production", number % 2 == 1).await);
        api.switch("plain", "dev", number % 2 == 0).await;
    }
    let mut resumed = api.stream(&token, Some(&snapshot.id)).await;
    for revision in &expected {
        assert_eq!(resumed.expect("change").await.revision(), *revision, "and no snapshot before it");
    }
    let progress = resumed.expect("progress").await;
    assert_eq!(progress.data["environment_revision"], expected[4]);

    // Of ten changes that are kept five more push out the first ones.
    for number in 0..9 {
        api.switch("plain", "production", number % 2 == 0).await;
    }
    let mut late = api.stream(&token, Some(&snapshot.id)).await;
    let fresh = late.expect("snapshot").await;
    assert_eq!(fresh.revision(), api.node.published().state.revision());
    // An id of another catalog is one of nothing.
    let mut stranger = api.stream(&token, Some("00000000000000ab.7")).await;
    assert_eq!(stranger.expect("snapshot").await.data, fresh.data);
}

/// A stream on which nothing happens says how far it is; whoever resumes from there is told what came after, and only that.
#[tokio::test(flavor = "multi_thread")]
async fn bookmarkable() {
    let api = Api::shop_with(|config| {
        config.streams.heartbeat = std::time::Duration::from_millis(50);
        config.streams.changes_max = 4;
    })
    .await;
    let token = api.service("production").await;
    let mut reader = api.stream(&token, None).await;
    let snapshot = reader.expect("snapshot").await;
    assert_eq!(reader.expect("progress").await.revision(), snapshot.revision(), "right after what it is of");
    // Changes elsewhere push all that concerned production out of what is remembered.
    let mut elsewhere = 0;
    for number in 0..9 {
        elsewhere = api.switch("plain", "dev", number % 2 == 0).await;
    }
    let begun = std::time::Instant::now();
    let bookmark = loop {
        let progress = reader.expect("progress").await;
        assert!(progress.data["age_ms"].is_u64(), "{progress:?}");
        if progress.revision() == elsewhere {
            break progress;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not move on from {progress:?}");
    };
    assert_eq!(bookmark.data["environment_revision"], snapshot.data["environment_revision"]);
    drop(reader);
    let touched = api.switch("plain", "production", false).await;
    let mut resumed = api.stream(&token, Some(&bookmark.id)).await;
    let change = resumed.expect("change").await;
    assert_eq!(
        (change.revision(), &change.data["previous"]),
        (touched, &snapshot.data["environment_revision"])
    );
}
