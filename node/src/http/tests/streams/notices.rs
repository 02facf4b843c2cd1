//! OFREP's stream of notices, and its tickets.

use axum::http::Method;
use serde_json::json;

use super::{super::harness::Api, reader::Reader};

/// The address of the stream, as an answer with all flags gives it.
async fn address(api: &Api, token: &str) -> String {
    let answer = api.bulk(token).json(&json!({"context": {}})).send().await.expect(200).json();
    let streams = answer["eventStreams"].as_array().expect("streams").clone();
    assert_eq!((streams.len(), &streams[0]["type"]), (1, &json!("sse")));
    streams[0]["endpoint"]["requestUri"].as_str().expect("an address").to_owned()
}

async fn open(api: &Api, address: &str, last: Option<&str>) -> Reader {
    let mut call = api.call(Method::GET, address);
    if let Some(last) = last {
        call = call.header("last-event-id", last);
    }
    let response = call.open().await;
    assert_eq!(response.status().as_u16(), 200);
    Reader::of(response)
}

#[tokio::test]
async fn a_notice_says_which_state_to_ask_for_and_a_browser_needs_no_header_for_it() {
    let api = Api::shop().await;
    let token = api.client("production").await;
    let address = address(&api, &token).await;
    let mut stream = open(&api, &address, None).await;
    // Between the answer and the stream something may have changed.
    let first = stream.expect("message").await;
    assert_eq!(first.data["type"], "refetchEvaluation");
    assert_eq!(first.data["etag"], first.id.as_str());

    let touched = api.switch("banner", "production", false).await;
    let notice = stream.expect("message").await;
    let history = api.node.published().state.history().expect("founded");
    assert_eq!(notice.data, json!({"type": "refetchEvaluation", "etag": format!("{history}.{touched}")}));
    let path = format!("/ofrep/v1/evaluate/flags?flagConfigEtag={}", notice.id);
    let asked = api.call(Method::POST, &path).token(&token).json(&json!({"context": {}}));
    let answer = asked.send().await.expect(200);
    assert!(answer.header("etag").starts_with(&format!("\"{}.", notice.id)), "{answer:?}");

    // Who has seen that is told nothing, and what comes next.
    let mut again = open(&api, &address, Some(&notice.id)).await;
    api.switch("plain", "dev", true).await;
    let touched = api.switch("plain", "production", false).await;
    for stream in [&mut stream, &mut again] {
        assert_eq!(stream.expect("message").await.id, format!("{history}.{touched}"));
    }
    assert_eq!(again.comments, 1, "the first bytes come at once");
}

#[tokio::test]
async fn a_ticket_opens_the_stream_of_its_token_alone_and_dies_with_it() {
    let api = Api::shop().await;
    let (one, other) = (api.client("production").await, api.service("production").await);
    let (address, others) = (address(&api, &one).await, address(&api, &other).await);
    assert_ne!(address, others);
    let (id, mac) = address.split_once("ticket=").expect("a ticket").1.split_once('.').expect("two parts");
    let others_mac = others.rsplit_once('.').expect("two parts").1;
    let wrong = [
        "/ofrep/v1/stream".to_owned(),
        "/ofrep/v1/stream?ticket=".to_owned(),
        format!("/ofrep/v1/stream?ticket={id}"),
        format!("/ofrep/v1/stream?ticket={id}."),
        format!("/ofrep/v1/stream?ticket={id}.{others_mac}"),
        format!("/ofrep/v1/stream?ticket={id}.{}", &mac[..mac.len() - 2]),
        format!("/ofrep/v1/stream?ticket=tok_nobodyatall.{mac}"),
        format!("/ofrep/v1/stream?ticket={one}"),
    ];
    for path in &wrong {
        let refused = api.call(Method::GET, path).send().await.expect(401).json();
        assert_eq!(refused["errorCode"], "GENERAL", "{path}");
        assert!(!refused.to_string().contains(mac), "{refused}");
    }
    // It is no token.
    let ticket = format!("{id}.{mac}");
    api.call(Method::GET, "/api/v1/projects").token(&ticket).send().await.expect(401);

    let mut stream = open(&api, &address, None).await;
    stream.expect("message").await;
    api.owner(Method::DELETE, &format!("/api/v1/tokens/{id}?reason=lost")).send().await.expect(200);
    assert_eq!(stream.next().await, None);
    api.call(Method::GET, &address).send().await.expect(401);
    open(&api, &others, None).await.expect("message").await;
}

/// Whether safe variants were served with a state is nothing that its id says: the node before may have given them.
#[tokio::test]
async fn who_sees_a_flag_that_may_be_withheld_is_told_whenever_a_stream_is_opened() {
    let api = Api::shop().await;
    let (service, client) = (api.service("production").await, api.client("production").await);
    let (of_service, of_client) = (address(&api, &service).await, address(&api, &client).await);
    let last = open(&api, &of_service, None).await.expect("message").await.id;
    assert_eq!(open(&api, &of_service, Some(&last)).await.expect("message").await.id, last);

    // The client sees none such, then one that stays as it is at any age, then one that does not.
    let bounded = |key: &str, on_stale: &str| {
        json!({"reason": "r", "operations": [{"op": "flag.put", "flag": {"key": key, "type": "boolean",
            "variants": {"on": true, "off": false}, "safe_variant": "off", "exposure": "client",
            "max_age_ms": 60_000, "on_stale": on_stale}}]})
    };
    api.change(bounded("served", "serve")).await;
    let last = open(&api, &of_client, None).await.expect("message").await.id;
    let mut silent = open(&api, &of_client, Some(&last)).await;
    api.change(bounded("withheld", "safe-variant")).await;
    let next = silent.expect("message").await.id;
    assert_ne!(next, last, "before that there was nothing to say");
    assert_eq!(open(&api, &of_client, Some(&next)).await.expect("message").await.id, next);
}

/// Whoever reads a page has its token: it must not be able to take every stream of a node.
#[tokio::test]
async fn notices_leave_room_for_definitions_and_a_client_token_for_others() {
    let api = Api::shop_with(|config| {
        config.streams.streams_max = 4;
        config.streams.notices_max = Some(3);
        config.streams.client_token_max = 2;
    })
    .await;
    let (greedy, other) = (api.client("production").await, api.client("production").await);
    let service = api.service("production").await;
    let (greedy, other) = (address(&api, &greedy).await, address(&api, &other).await);
    let of_service = address(&api, &service).await;
    let refused = async |path: &str, status: u16| {
        let refused = api.call(Method::GET, path).send().await.expect(status);
        assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
        refused.text
    };
    let mut first = open(&api, &greedy, None).await;
    let second = open(&api, &greedy, None).await;
    let why = refused(&greedy, 429).await;
    assert!(why.contains("--client-token-streams-max"), "{why}");
    let metrics = api.get("/metrics").await.text;
    assert!(metrics.contains("flagraft_rate_limited_total{limit=\"client_token_streams\"} 1"), "{metrics}");

    let mut third = open(&api, &other, None).await;
    for full in [&other, &of_service] {
        let why = refused(full, 503).await;
        assert!(why.contains("--notice-streams-max"), "{why}");
    }
    let mut definitions = api.stream(&service, None).await;
    definitions.expect("snapshot").await;
    // What is given back is there again, for each of the counts.
    drop(second);
    let again = open(&api, &greedy, None).await;
    for stream in [&mut first, &mut third] {
        stream.expect("message").await;
    }
    refused(&greedy, 429).await;
    drop((again, first, third));
    for _ in 0..3 {
        open(&api, &greedy, None).await.expect("message").await;
    }
}

#[tokio::test]
async fn half_of_the_streams_may_be_notices_where_nothing_else_is_said() {
    let api = Api::shop_with(|config| config.streams.streams_max = 2).await;
    let token = api.service("production").await;
    let address = address(&api, &token).await;
    let _one = open(&api, &address, None).await;
    api.call(Method::GET, &address).send().await.expect(503);
    api.stream(&token, None).await.expect("snapshot").await;
}

#[tokio::test]
async fn browsers_of_configured_origins_may_follow() {
    let api = Api::start_with(|options| options.cors_origins = vec!["https://shop.example".to_owned()]).await;
    api.fill().await;
    let token = api.client("production").await;
    let address = address(&api, &token).await;
    let response = api.call(Method::GET, &address).header("origin", "https://shop.example").open().await;
    assert_eq!(response.headers()["access-control-allow-origin"], "https://shop.example");
    let preflight = |path: &str, method: &str, headers: &str| {
        api.call(Method::OPTIONS, path)
            .header("origin", "https://shop.example")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", headers)
            .send()
    };
    let asked =
        preflight(super::reader::DEFINITIONS, "HEAD", "authorization,last-event-id").await.expect(200);
    assert!(asked.header("access-control-allow-methods").contains("HEAD"), "{asked:?}");
    assert!(asked.header("access-control-allow-headers").contains("last-event-id"), "{asked:?}");
}
