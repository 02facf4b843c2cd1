//! How fresh a state a request, or a flag, asks for; and what it gets when nobody can say that it is.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Answer, Api};

/// A flag that is on, bounds the age of its answers to less than any state has, and says what to do then.
fn bounded(key: &str, on_stale: &str) -> Value {
    json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "safe_variant": "off",
           "max_age_ms": 0, "on_stale": on_stale,
           "environments": {"production": {"enabled": true, "default": {"variant": "on"}}}})
}

/// A critical flag that may serve what was last known for a while.
fn lenient(key: &str, grace_ms: u64) -> Value {
    json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}, "safe_variant": "off",
           "critical": true, "on_unconfirmed": "last-known", "grace_ms": grace_ms,
           "environments": {"production": {"enabled": true, "default": {"variant": "on"}}}})
}

async fn shop_with(flags: Vec<Value>) -> (Api, String) {
    let api = Api::shop().await;
    let operations: Vec<Value> =
        flags.into_iter().map(|flag| json!({"op": "flag.put", "flag": flag})).collect();
    api.change(json!({"reason": "flags to test with", "operations": operations})).await;
    let token = api.service("production").await;
    (api, token)
}

async fn evaluate(api: &Api, token: &str, key: &str) -> Answer {
    api.evaluation(token, key).json(&json!({})).send().await
}

/// `(value, reason, consistency)` of a single answer.
fn gist(answer: Answer) -> (Value, Value, String) {
    let answer = answer.expect(200);
    let consistency = answer.header("flagraft-consistency").to_owned();
    let body = answer.json();
    (body["value"].clone(), body["reason"].clone(), consistency)
}

fn is(value: bool, reason: &str, consistency: &str) -> (Value, Value, String) {
    (json!(value), json!(reason), consistency.to_owned())
}

#[tokio::test]
async fn an_answer_is_no_older_than_the_request_allows_or_there_is_none() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let read = async |max_age_ms: &str| {
        let path = "/api/v1/projects/shop/flags/plain";
        api.owner(Method::GET, path).header("flagraft-max-age-ms", max_age_ms).send().await
    };
    let single = async |key: &str, max_age_ms: &str| {
        let call = api.evaluation(&token, key).header("flagraft-max-age-ms", max_age_ms);
        call.json(&json!({})).send().await
    };
    let all = async |max_age_ms: &str| {
        api.bulk(&token).header("flagraft-max-age-ms", max_age_ms).json(&json!({})).send().await
    };
    let consistency = |answer: Answer| answer.expect(200).header("flagraft-consistency").to_owned();

    // Young enough as it is; and no state is so young that it need not be confirmed.
    assert_eq!(consistency(read("60000").await), "local");
    assert_eq!(consistency(read("0").await), "linearizable");
    assert_eq!(consistency(single("plain", "60000").await), "local");
    assert_eq!(consistency(single("plain", "0").await), "linearizable");
    for wrong in ["-1", "1.5", "soon"] {
        read(wrong).await.expect(400);
    }

    api.node.shutdown().await;
    assert_eq!(consistency(read("60000").await), "local");
    assert_eq!(consistency(single("plain", "60000").await), "local");
    for refused in [read("0").await, single("plain", "0").await, all("0").await] {
        let refused = refused.expect(503);
        assert!(!refused.header("retry-after").is_empty(), "{refused:?}");
        assert!(!refused.header("flagraft-age-ms").is_empty(), "it says how old: {refused:?}");
        assert!(refused.text.contains("Flagraft-Max-Age-Ms"), "{refused:?}");
    }
    // Of a critical flag there is always something to give.
    assert_eq!(gist(single("kill", "0").await), is(false, "UNKNOWN", "safe-variant"));
    assert_eq!(gist(single("kill", "60000").await), is(false, "UNKNOWN", "safe-variant"));
}

#[tokio::test]
async fn a_flag_that_bounds_its_age_is_confirmed_beyond_it_and_is_then_what_it_asks_for() {
    let (api, token) = shop_with(vec![
        bounded("old-error", "error"),
        bounded("old-safe", "safe-variant"),
        bounded("old-serve", "serve"),
    ])
    .await;
    let all = async || api.bulk(&token).json(&json!({})).send().await.expect(200);
    for key in ["old-error", "old-safe", "old-serve"] {
        assert_eq!(gist(evaluate(&api, &token, key).await), is(true, "STATIC", "linearizable"), "{key}");
    }
    let etag = all().await.header("etag").to_owned();
    assert!(!etag.is_empty());

    api.node.shutdown().await;
    assert_eq!(gist(evaluate(&api, &token, "old-serve").await), is(true, "STATIC", "local"));
    assert_eq!(gist(evaluate(&api, &token, "old-safe").await), is(false, "UNKNOWN", "safe-variant"));
    let refused = evaluate(&api, &token, "old-error").await.expect(503);
    assert!(refused.text.contains("max_age_ms"), "{refused:?}");

    let unsure = api.bulk(&token).header("if-none-match", &etag).json(&json!({})).send().await.expect(200);
    assert_eq!((unsure.header("etag"), unsure.header("cache-control")), ("", "no-store"));
    let flags = unsure.json()["flags"].clone();
    let of = |key: &str| flags.as_array().expect("a list").iter().find(|flag| flag["key"] == key).cloned();
    assert_eq!(of("old-serve").expect("there")["value"], true);
    assert_eq!(of("old-safe").expect("there")["reason"], "UNKNOWN");
    let failed = of("old-error").expect("there");
    assert_eq!(failed["errorCode"], "GENERAL");
    assert!(failed.get("value").is_none() && failed["errorDetails"].is_string(), "{failed}");
}

#[tokio::test]
async fn a_critical_flag_may_serve_what_was_last_known_for_as_long_as_it_says() {
    let (api, token) = shop_with(vec![lenient("a-day", 86_400_000), lenient("not-at-all", 0)]).await;
    for key in ["a-day", "not-at-all"] {
        assert_eq!(gist(evaluate(&api, &token, key).await), is(true, "STATIC", "linearizable"), "{key}");
    }
    let etag = api.bulk(&token).json(&json!({})).send().await.expect(200).header("etag").to_owned();
    api.node.shutdown().await;
    assert_eq!(gist(evaluate(&api, &token, "a-day").await), is(true, "STATIC", "local"));
    assert_eq!(gist(evaluate(&api, &token, "not-at-all").await), is(false, "UNKNOWN", "safe-variant"));
    let unsure = api.bulk(&token).header("if-none-match", &etag).json(&json!({})).send().await.expect(200);
    assert_eq!(unsure.header("cache-control"), "no-store", "nobody is sure that nothing has changed");
}

#[tokio::test]
async fn last_known_without_an_end_is_refused() {
    let api = Api::shop().await;
    let mut flag = lenient("for-ever", 0);
    flag.as_object_mut().expect("an object").remove("grace_ms");
    let change = json!({"reason": "no", "operations": [{"op": "flag.put", "flag": flag}]});
    let refused =
        api.owner(Method::POST, "/api/v1/projects/shop/changes").json(&change).send().await.expect(400);
    assert_eq!(refused.error().1, "/operations/0/flag/grace_ms");
}
