//! Which node is asked, when the next one is, and what an answer is taken for.

use std::time::Duration;

use axum::http::Response;
use flagraft_client::admin::{AdminClient, AdminErrorKind, Call, audit, cluster, projects};
use serde_json::{Value, json};

use crate::{
    builder, client, dead, dying,
    fake::{Fake, Seen},
};

fn write() -> Call {
    Call::post(["api", "v1", "projects", "demo", "changes"], json!({"operations": []}))
}

fn electing() -> Value {
    json!({"error": {"code": "unavailable", "message": "no leader", "details": {}}})
}

#[tokio::test]
async fn a_request_has_the_token_and_says_who_sends_it() {
    let node = Fake::saying(200, json!({"revision": 7})).await;
    let admin = builder([&node.url]).user_agent("deployer/1.2").build().expect("a client");
    let answer = admin.send(&write()).await.expect("an answer");
    assert_eq!((answer.status(), &answer.json()["revision"]), (200, &json!(7)));
    let [seen] = node.seen().try_into().expect("one request");
    let Seen { method, uri, authorization, body, headers, .. } = seen;
    assert_eq!((method.as_str(), uri.as_str()), ("POST", "/api/v1/projects/demo/changes"));
    assert_eq!(authorization.as_deref(), Some("Bearer fr_adm_secret"));
    assert_eq!(body, r#"{"operations":[]}"#);
    assert_eq!(headers["user-agent"], "deployer/1.2");
    assert_eq!(headers["content-type"], "application/json");
}

#[tokio::test]
async fn an_answer_may_be_nested_deeper_than_128_levels() {
    let mut condition = json!({"kind": "attribute", "text": "country == \"DE\"", "holds": true});
    for _ in 0..200 {
        condition = json!({"kind": "all", "holds": true, "inner": [condition]});
    }
    let node = Fake::saying(200, condition.clone()).await;
    let answer = client([node.url]).send(&Call::ask(["explain"], json!({}))).await.expect("an answer");
    assert_eq!(*answer.json(), condition);
    assert_eq!(answer.read().expect("JSON"), condition);
}

#[tokio::test]
async fn the_next_endpoint_is_asked_under_the_same_request_id() {
    let busy = Fake::saying(503, electing()).await;
    let good = Fake::saying(200, json!({})).await;
    let client = client([dead().await, dying().await, busy.url.clone(), good.url.clone()]);
    let call = write();
    let answer = client.send(&call).await.expect("the last one answers");
    assert_eq!(answer.idempotency_key(), call.idempotency_key());
    let (refused, done) = (busy.seen(), good.seen());
    assert_eq!(refused[0].key.as_deref(), call.idempotency_key());
    assert_eq!(refused[0].key, done[0].key, "a retry is the same request");
    // The node that answered is asked first from now on, and another call is another request.
    client.send(&write()).await.expect("an answer");
    assert_eq!((busy.seen().len(), good.seen().len()), (1, 2));
    assert_ne!(good.seen()[0].key, good.seen()[1].key);
    client.send(&call).await.expect("an answer");
    assert_eq!(good.seen()[2].key, done[0].key, "the same call sent again is the same request");
    client.send(&Call::get(["api"])).await.expect("an answer");
    assert_eq!(good.seen()[3].key, None, "a read has no request id");
}

#[tokio::test]
async fn while_a_leader_is_elected_the_round_is_repeated() {
    let electing = |after: usize| {
        Fake::node(move |n| match n {
            n if n < after => (503, "1", electing().to_string()),
            _ => (200, "", "{}".to_owned()),
        })
    };
    let patient = |url: &str, retry_for| builder([url]).retry_for(retry_for).build().expect("a client");
    let node = electing(2).await;
    patient(&node.url, Duration::from_secs(30)).send(&write()).await.expect("elected in the end");
    let keys: Vec<Option<String>> = node.seen().into_iter().map(|seen| seen.key).collect();
    assert!(keys.len() == 3 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    let node = electing(usize::MAX).await;
    let error =
        patient(&node.url, Duration::from_millis(300)).send(&write()).await.expect_err("never elected");
    assert_eq!(error.kind(), AdminErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
    assert!(error.to_string().contains("try again in 1 s"), "{error}");
}

#[tokio::test]
async fn nobody_is_sent_elsewhere_with_the_token() {
    let node = Fake::node(|_| (307, "", String::new())).await;
    let error = client([node.url]).send(&write()).await.expect_err("no answer of this API");
    assert_eq!((error.kind(), error.status()), (AdminErrorKind::Other, Some(307)));
}

#[tokio::test]
async fn lists_are_read_to_their_end() {
    let node = Fake::node(|n| {
        let next = if n == 0 { json!("c1") } else { Value::Null };
        let item = json!({"key": format!("p{n}"), "system": {"revision": n}, "of_a_later_version": true});
        (200, "", json!({"items": [item], "next": next, "revision": n}).to_string())
    })
    .await;
    let admin = client([&node.url]);
    let answer = admin.list(&projects::list().query("tag", Some("a b"))).await.expect("items");
    assert_eq!(answer.json()[1]["of_a_later_version"], true, "what is passed on is all there");
    let uris: Vec<String> = node.seen().into_iter().map(|seen| seen.uri).collect();
    assert_eq!(uris, ["/api/v1/projects?tag=a+b&limit=500", "/api/v1/projects?tag=a+b&limit=500&cursor=c1"]);
    let node = Fake::saying(200, json!({"items": 7})).await;
    let error = client([node.url]).list(&projects::list()).await.expect_err("no list");
    assert_eq!(error.kind(), AdminErrorKind::Unreadable);
}

#[tokio::test]
async fn records_are_a_stream_that_goes_on_where_it_failed() {
    let node = Fake::answering(|n| {
        let (status, next, records) = match n {
            0 => (200, Some("2"), "{\"sequence\":0}\n{\"sequence\":1}\n"),
            1 => (503, None, ""),
            // Filters may leave a page empty.
            2 => (200, Some("4"), ""),
            _ => (200, None, "{\"sequence\":4}\n"),
        };
        let mut response = Response::builder().status(status).header("content-type", "application/x-ndjson");
        if let Some(next) = next {
            response = response.header("flagraft-next", next);
        }
        response.body(records.to_owned()).expect("a response")
    })
    .await;
    let admin = client([&node.url]);
    let selection = audit::Selection { project: Some("demo".to_owned()), ..Default::default() };
    let mut records = admin.records(selection, 0);
    let mut read = Vec::new();
    let mut failed = 0;
    while let Some(record) = records.next().await {
        match record {
            Ok(record) => read.push(record.text().to_owned()),
            Err(error) => {
                assert_eq!(error.kind(), AdminErrorKind::Unavailable);
                failed += 1;
            }
        }
    }
    assert_eq!(read, ["{\"sequence\":0}", "{\"sequence\":1}", "{\"sequence\":4}"]);
    assert_eq!(failed, 1);
    let uris: Vec<String> = node.seen().into_iter().map(|seen| seen.uri).collect();
    let page = |from: u64| format!("/api/v1/audit?from={from}&limit=1000&project=demo");
    assert_eq!(uris, [page(0), page(2), page(2), page(4)]);
}

#[tokio::test]
async fn a_download_comes_piece_by_piece_and_a_refusal_is_told() {
    let node = Fake::node(|n| match n {
        0 => (200, "", "a backup".to_owned()),
        _ => (403, "", json!({"error": {"code": "forbidden", "message": "no"}}).to_string()),
    })
    .await;
    let admin = client([&node.url]);
    let mut download = admin.download(&cluster::backup().confirmed()).await.expect("it begins");
    let mut bytes = Vec::new();
    while let Some(piece) = download.piece().await.expect("a piece") {
        bytes.extend_from_slice(piece.as_ref());
    }
    assert_eq!(bytes, b"a backup");
    assert_eq!(node.seen()[0].headers["flagraft-consistency"], "linearizable");
    let error = admin.download(&cluster::backup()).await.expect_err("refused");
    assert_eq!(error.kind(), AdminErrorKind::Forbidden);
    assert_eq!(node.seen()[1].headers.get("flagraft-consistency"), None);
}

/// Whoever manages from a task of a runtime with many threads needs them to.
#[test]
fn calls_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    let admin = client(["http://127.0.0.1:1"]);
    let (call, list) = (write(), projects::list());
    moves(admin.send(&call));
    moves(admin.list(&list));
    let backup = cluster::backup();
    moves(admin.download(&backup));
}

#[test]
fn the_token_is_never_shown() {
    let builder = AdminClient::builder().endpoint("http://a").token("fr_adm_secret");
    let shown = format!("{builder:?} {:?}", builder.clone().build());
    assert!(!shown.contains("fr_adm_secret"), "{shown}");
}
