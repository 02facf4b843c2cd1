//! How streams begin, and how they end.

use std::time::{Duration, Instant};

use axum::http::Method;
use serde_json::{Value, json};

use super::{
    super::harness::Api,
    reader::{DEFINITIONS, PATIENCE, Reader, STREAM},
};

async fn ended(api: &Api, kind: &str, why: &str) -> bool {
    let metrics = api.get("/metrics").await.expect(200).text;
    metrics.contains(&format!("flagraft_streams_ended_total{{kind=\"{kind}\",why=\"{why}\"}} 1"))
}

fn open(metrics: &str) -> &str {
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("flagraft_streams_open{kind=\"definitions\"} "));
    line.expect("the gauge is there")
}

#[tokio::test]
async fn definitions_are_what_a_snapshot_holds_and_are_named_by_what_touched_them() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let get = || api.call(Method::GET, DEFINITIONS).token(&token);
    let answer = get().send().await.expect(200);
    let mut stream = api.stream(&token, None).await;
    assert_eq!(answer.json(), stream.expect("snapshot").await.data);
    assert_eq!(answer.header("content-length"), answer.text.len().to_string());
    assert_eq!(answer.header("content-type"), "application/json");
    for name in
        ["flagraft-revision", "flagraft-history", "flagraft-age-ms", "flagraft-consistency", "flagraft-node"]
    {
        assert!(!answer.header(name).is_empty() && stream.head.headers.contains_key(name), "{name}");
    }
    let history = answer.header("flagraft-history");
    let etag = format!("\"{history}.{}\"", answer.json()["environment_revision"]);
    assert_eq!(answer.header("etag"), etag);

    let same = get().header("if-none-match", &etag).send().await.expect(304);
    assert_eq!((same.text.as_str(), same.header("etag")), ("", etag.as_str()));
    let head = api.call(Method::HEAD, DEFINITIONS).token(&token).send().await.expect(200);
    assert_eq!((head.text.as_str(), head.header("etag")), ("", etag.as_str()));

    // A revision that did not touch the environment leaves the ETag, and the document says which revision it is of.
    let elsewhere = api.switch("plain", "dev", true).await;
    get().header("if-none-match", &etag).send().await.expect(304);
    let newer =
        get().header("flagraft-min-revision", &format!("{history}.{elsewhere}")).send().await.expect(200);
    assert_eq!((newer.header("etag"), &newer.json()["revision"]), (etag.as_str(), &json!(elsewhere)));
    assert_eq!(newer.json()["flags"], answer.json()["flags"]);
    let touched = api.switch("plain", "production", false).await;
    let changed = get().header("if-none-match", &etag).send().await.expect(200);
    assert_eq!(changed.json()["environment_revision"], touched);
    let confirmed = get().header("flagraft-consistency", "linearizable").send().await.expect(200);
    assert_eq!(confirmed.header("flagraft-consistency"), "linearizable");

    assert_eq!(stream.head.headers["content-type"], "text/event-stream");
    assert_eq!(stream.head.headers["cache-control"], "no-store");
    assert_eq!(stream.head.headers["x-accel-buffering"], "no");
}

#[tokio::test]
async fn who_may_read_definitions() {
    let api = Api::shop().await;
    let reader =
        |environments: Value| json!([{"role": "reader", "project": "shop", "environments": environments}]);
    let good = api.token("admin", reader(json!(["production"]))).await;
    let elsewhere = [api.token("admin", reader(json!(["dev"]))).await, api.service("dev").await];
    let client = api.client("production").await;
    for path in [DEFINITIONS, STREAM] {
        let head = |token: &str| api.call(Method::HEAD, path).token(token).send();
        assert_eq!(head(&good).await.status.as_u16(), 200, "{path}");
        for token in &elsewhere {
            assert_eq!(head(token).await.status.as_u16(), 404, "{path}");
        }
        assert_eq!(head(&client).await.status.as_u16(), 403, "{path}");
        let none = path.replace("production", "none");
        assert_eq!(api.owner(Method::HEAD, &none).send().await.status.as_u16(), 404);
    }
    let metrics = api.get("/metrics").await.text;
    assert_eq!(open(&metrics), "0", "HEAD opens no stream");
}

#[tokio::test]
async fn an_id_that_is_ahead_waits_and_one_that_is_none_is_refused() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let snapshot = api.stream(&token, None).await.expect("snapshot").await;
    let history = snapshot.id.split('.').next().expect("a history").to_owned();
    let call = |last: &str| api.call(Method::GET, STREAM).token(&token).header("last-event-id", last);
    for wrong in ["7", "x.7", "", "00000000000000ab.7.1"] {
        let (code, _) = call(wrong).send().await.expect(400).error();
        assert_eq!(code, "invalid", "{wrong}");
    }
    let ahead = format!("{history}.{}", snapshot.revision() + 2);
    let refused = call(&ahead).header("flagraft-deadline-ms", "50").send().await.expect(503);
    assert_eq!((refused.header("retry-after"), refused.error().0.as_str()), ("1", "unavailable"));
    let patient = async { Reader::of(call(&ahead).header("flagraft-deadline-ms", "5000").open().await) };
    let changing = async {
        for on in [false, true, false] {
            api.switch("plain", "production", on).await;
        }
    };
    let (mut reader, ()) = tokio::join!(patient, changing);
    assert_eq!(reader.change().await.revision(), snapshot.revision() + 3, "and none that it has seen");
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let api = Api::shop().await;
    let grants = json!([{"role": "reader", "project": "shop", "environments": ["production"]}]);
    let make = |kind: &str, expires_at: Value| {
        json!({"name": kind, "kind": kind, "grants": grants, "expires_at": expires_at,
            "actor": {"type": "service", "id": "test"}})
    };
    let (service, admin) = (
        api.made_token(make("service", json!(null))).await,
        api.made_token(make("admin", json!(null))).await,
    );
    let soon = jiff::Timestamp::now() + Duration::from_millis(1_500);
    let short = api.made_token(make("service", json!(soon.to_string()))).await;
    let mut streams =
        [api.stream(&service, None).await, api.stream(&admin, None).await, api.stream(&short, None).await];
    for stream in &mut streams {
        stream.expect("snapshot").await;
        stream.expect("progress").await;
    }
    let [revoked, left, expiring] = &mut streams;
    let hash = flagraft_core::token::Secret::parse(&service).expect("a secret").sha256();
    let state = api.node.published().state.clone();
    let id = state.token_by_secret(&hash).expect("it is there").spec.id.clone();
    api.owner(Method::DELETE, &format!("/api/v1/tokens/{id}?reason=lost")).send().await.expect(200);
    let begun = Instant::now();
    assert_eq!(revoked.next().await, None);
    assert!(begun.elapsed() < Duration::from_secs(1), "it took {:?}", begun.elapsed());
    api.call(Method::GET, STREAM).token(&service).send().await.expect(401);
    assert_eq!(expiring.next().await, None);
    assert!(jiff::Timestamp::now() < soon + Duration::from_secs(1), "within a second");
    api.switch("plain", "production", false).await;
    left.expect("change").await;
}

/// What was changed after the token was revoked is not told, however soon after it.
#[tokio::test]
async fn a_revoked_token_is_told_nothing_more() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let mut stream = api.stream(&token, None).await;
    stream.expect("snapshot").await;
    stream.expect("progress").await;
    let state = api.node.published().state.clone();
    let id = state.tokens().max_by_key(|token| token.revision).expect("a token").spec.id.clone();
    // One after the other, while nobody reads.
    api.owner(Method::DELETE, &format!("/api/v1/tokens/{id}?reason=lost")).send().await.expect(200);
    api.switch("plain", "production", false).await;
    assert_eq!(stream.rest().await, []);
    assert!(ended(&api, "definitions", "token").await);
}

/// Nor is a receiver given, after that, what was made ready for it before: not the rest of a snapshot, and not the
/// changes that it was slow to take.
#[tokio::test]
async fn a_revoked_token_is_not_given_what_was_made_ready_for_it() {
    let api = Api::shop().await;
    let large = "x".repeat(60_000);
    let put = |key: &str| {
        json!({"reason": "r", "operations": [{"op": "flag.put", "flag": {"key": key, "type": "string",
            "variants": {"a": large, "b": "b"}}}]})
    };
    for key in ["large-1", "large-2", "large-3"] {
        api.change(put(key)).await;
    }
    let revoke = async |last: Option<&str>| {
        let token = api.service("production").await;
        let mut stream = api.stream(&token, last).await;
        let first = stream.piece().await;
        let state = api.node.published().state.clone();
        let id = state.tokens().max_by_key(|token| token.revision).expect("a token").spec.id.clone();
        api.owner(Method::DELETE, &format!("/api/v1/tokens/{id}?reason=lost")).send().await.expect(200);
        assert_eq!(stream.rest().await, []);
        first
    };
    let first = revoke(None).await;
    assert!(first.starts_with("event: snapshot"), "{first:.100}");
    let last = api.stream(&api.owner, None).await.expect("snapshot").await.id;
    for on in [false, true, false] {
        api.switch("plain", "production", on).await;
    }
    let first = revoke(Some(&last)).await;
    assert!(first.starts_with("event: change") && first.matches("event:").count() == 1, "{first}");
}

/// However many changes a stream lacks, few of them are taken out of the memory that all share before they are read.
#[tokio::test]
async fn a_stream_takes_changes_as_it_reads_them() {
    let api = Api::shop().await;
    let mut quick = api.stream(&api.owner, None).await;
    let last = quick.expect("snapshot").await.id;
    let mut revisions = Vec::new();
    for number in 0..70 {
        revisions.push(api.switch("plain", "production", number % 2 == 1).await);
    }
    let mut slow = api.stream(&api.owner, Some(&last)).await;
    let taken = |metrics: &str| {
        let name = r#"flagraft_stream_events_total{event="change",kind="definitions"} "#;
        metrics.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
    };
    assert_eq!(taken(&api.get("/metrics").await.text).as_deref(), Some("64"));
    for revision in &revisions {
        assert_eq!(slow.change().await.revision(), *revision);
        assert_eq!(quick.change().await.revision(), *revision);
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_environment_and_one_that_is_made_anew_has_no_past() {
    let api = Api::shop().await;
    let mut stream = api.stream(&api.owner, None).await;
    let snapshot = stream.expect("snapshot").await;
    stream.expect("progress").await;
    let delete = "/api/v1/projects/shop/environments/production?reason=r";
    api.owner(Method::DELETE, delete).send().await.expect(200);
    assert_eq!(stream.rest().await, []);
    assert!(ended(&api, "definitions", "deleted").await);
    api.owner(Method::GET, STREAM).send().await.expect(404);

    let again = json!({"reason": "r", "environment": {}});
    api.owner(Method::PUT, "/api/v1/projects/shop/environments/production")
        .json(&again)
        .send()
        .await
        .expect(201);
    let mut anew = api.stream(&api.owner, Some(&snapshot.id)).await;
    let fresh = anew.expect("snapshot").await;
    let flags = fresh.data["flags"].as_array().expect("flags");
    assert!(flags.iter().all(|flag| flag["configuration"].is_null()), "{fresh:?}");
}

/// A reader that takes so little that the changes after it are forgotten is cut off, and resumes with a snapshot.
#[tokio::test]
async fn slow_readers_are_cut_off_and_resume() {
    let api = Api::shop_with(|config| config.streams.changes_max = 8).await;
    let token = api.service("production").await;
    let (mut slow, mut quick) = (api.stream(&token, None).await, api.stream(&token, None).await);
    quick.expect("snapshot").await;
    for number in 0..20 {
        let revision = api.switch("plain", "production", number % 2 == 1).await;
        assert_eq!(quick.change().await.revision(), revision);
    }
    let given = slow.rest().await;
    assert_eq!(given.iter().map(|event| event.kind.as_str()).collect::<Vec<_>>(), ["snapshot", "progress"]);
    assert!(ended(&api, "definitions", "slow").await);
    let last = slow.last.clone().expect("it has read something");
    let fresh = api.stream(&token, Some(&last)).await.expect("snapshot").await;
    assert_eq!(fresh.revision(), api.node.published().state.revision());
}

#[tokio::test]
async fn there_are_as_many_streams_as_the_setting_says_and_they_end_with_the_node() {
    let api = Api::shop_with(|config| config.streams.streams_max = 2).await;
    let token = api.service("production").await;
    let mut one = api.stream(&token, None).await;
    let two = api.stream(&token, None).await;
    let refused = api.call(Method::GET, STREAM).token(&token).send().await.expect(503);
    assert!(refused.text.contains("--streams-max") && refused.header("retry-after") == "1", "{refused:?}");
    let metrics = api.get("/metrics").await.text;
    assert_eq!(open(&metrics), "2");
    assert!(
        metrics.contains(r#"flagraft_stream_events_total{event="snapshot",kind="definitions"} 2"#),
        "{metrics}"
    );
    // What a stream carries after its head is no time that a request took.
    assert!(
        metrics.contains(
            r#"route="/api/v1/projects/{project}/environments/{environment}/stream",status="2xx"} 2"#
        )
    );
    drop(two);
    let mut other = api.stream(&token, None).await;

    let begun = Instant::now();
    api.node.end_streams();
    for stream in [&mut one, &mut other] {
        let given = stream.rest().await;
        assert_eq!(given.len(), 2, "{given:?}");
    }
    assert!(begun.elapsed() < PATIENCE);
    api.call(Method::GET, STREAM).token(&token).send().await.expect(503);
    assert!(api.get("/metrics").await.text.contains("flagraft_streams_open{kind=\"definitions\"} 0"));
}
