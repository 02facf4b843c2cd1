//! What reads may ask for, and the probes.

use axum::http::Method;
use serde_json::json;

use super::harness::Api;

#[tokio::test]
async fn a_minimum_revision_is_waited_for_and_another_history_refused() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let state = api.node.published().state.clone();
    let (history, revision) = (state.history().expect("a history"), state.revision());
    let bulk = |minimum: String| {
        api.bulk(&token)
            .header("flagraft-min-revision", &minimum)
            .header("flagraft-deadline-ms", "2000")
            .json(&json!({}))
    };
    bulk(format!("{history}.{revision}")).send().await.expect(200);
    bulk(format!("ffffffffffffffff.{revision}")).send().await.expect(412);

    // A revision that is made while the read waits for it.
    let next = format!("{history}.{}", revision + 1);
    let disable = json!({"reason": "off", "operations": [{"op": "flag.disable", "flag": "plain", "environment": "production"}]});
    let read = api
        .evaluation(&token, "plain")
        .header("flagraft-min-revision", &next)
        .header("flagraft-deadline-ms", "5000");
    let (read, _) = tokio::join!(read.json(&json!({})).send(), api.change(disable));
    assert_eq!(read.expect(200).json()["reason"], "DISABLED");

    let far = format!("{history}.{}", revision + 100);
    let path = "/api/v1/projects/shop/flags/plain";
    let late = api
        .owner(Method::GET, path)
        .header("flagraft-min-revision", &far)
        .header("flagraft-deadline-ms", "20");
    let late = late.send().await.expect(503);
    assert!(
        !late.header("retry-after").is_empty() && !late.header("flagraft-revision").is_empty(),
        "{late:?}"
    );
    let etag = format!("/ofrep/v1/evaluate/flags?flagConfigEtag=%22{far}%22");
    let late =
        api.call(Method::POST, &etag).token(&token).header("flagraft-deadline-ms", "20").json(&json!({}));
    late.send().await.expect(503);
}

/// An etag that is no revision of this API was refused with 400, though OFREP lets it be any text: a provider that was
/// moved here from another service could not fetch its flags anew.
#[tokio::test]
async fn an_etag_that_names_no_revision_is_answered_from_a_confirmed_state() {
    let api = Api::shop().await;
    // Sees no critical flag, so that nothing else makes the node confirm.
    let token = api.client("production").await;
    let bulk = |query: &str| {
        let path = format!("/ofrep/v1/evaluate/flags?{query}");
        api.call(Method::POST, &path).token(&token).json(&json!({}))
    };
    let foreign = "flagConfigEtag=550e8400-e29b-41d4-a716-446655440000";
    assert_eq!(bulk("").send().await.expect(200).header("flagraft-consistency"), "local");
    assert_eq!(bulk(foreign).send().await.expect(200).header("flagraft-consistency"), "linearizable");
    api.node.shutdown().await;
    bulk("").send().await.expect(200);
    bulk(foreign).send().await.expect(503);
}

/// What is no time was taken for one, as was every text.
#[tokio::test]
async fn the_time_that_an_event_told_is_a_time() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    for (time, status) in [("1771622898", 200), ("2026-02-20T21:28:18Z", 200), ("", 400), ("yesterday", 400)]
    {
        let path = format!("/ofrep/v1/evaluate/flags?flagConfigLastModified={time}");
        let answer = api.call(Method::POST, &path).token(&token).json(&json!({})).send().await.expect(status);
        if status == 400 {
            assert_eq!(answer.json()["errorCode"], "GENERAL");
        }
    }
}

#[tokio::test]
async fn catalog_reads_say_which_state_they_are_from_also_when_they_fail() {
    let api = Api::shop().await;
    for path in [
        "/api/v1/projects",
        "/api/v1/projects/shop/flags/plain",
        "/api/v1/projects/shop/flags/none",
        "/api/v1/tokens",
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.header("flagraft-consistency"), "local", "{path}");
        assert_eq!(answer.header("flagraft-revision"), api.node.published().state.revision().to_string());
    }
    let confirmed = api.owner(Method::GET, "/api/v1/projects").header("flagraft-consistency", "linearizable");
    assert_eq!(confirmed.send().await.expect(200).header("flagraft-consistency"), "linearizable");
}

#[tokio::test]
async fn probes_metrics_and_the_document() {
    let api = Api::shop().await;
    let service = api.service("production").await;
    api.evaluation(&service, "kill").json(&json!({})).send().await.expect(200);
    assert_eq!(api.call(Method::GET, "/livez").send().await.expect(200).text, "ok\n");
    api.call(Method::GET, "/readyz").send().await.expect(200);
    api.call(Method::GET, "/readyz?verbose").send().await.expect(401);
    let verbose = api.call(Method::GET, "/readyz?verbose").token(&service).send().await.expect(200).json();
    assert_eq!(verbose["ready"], true);
    api.get("/readyz?loud").await.expect(400);

    api.call(Method::GET, "/metrics").send().await.expect(401);
    let metrics = api.get("/metrics").await.expect(200).text;
    for line in [
        r#"flagraft_evaluations_total{consistency="linearizable",reason="STATIC"} 1"#,
        r#"flagraft_raft_role{role="leader"} 1"#,
        "flagraft_ready 1",
        "flagraft_storage_sync_seconds_count",
        r#"route="/ofrep/v1/evaluate/flags/{key}""#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert!(!metrics.contains("fr_svc_") && !metrics.contains("kill"), "no label comes from a request");

    let document = api.get("/openapi.json").await.expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    api.node.fail_readiness();
    api.call(Method::GET, "/readyz").send().await.expect(503);
    api.call(Method::GET, "/livez").send().await.expect(200);
    assert_eq!(api.get("/readyz?verbose").await.expect(503).json()["ready"], false);
}

#[tokio::test]
async fn the_cluster_says_who_it_is() {
    let api = Api::shop().await;
    let status = api.get("/api/v1/cluster").await.expect(200).json();
    let state = api.node.published().state.clone();
    assert_eq!(status["node"], 1);
    assert_eq!(status["leader"], 1);
    assert_eq!(status["revision"], state.revision());
    assert_eq!(status["digest"], state.digest().to_string());
    assert_eq!(status["audit"]["size"], state.sequence());
    assert_eq!(status["members"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn browsers_of_configured_origins_may_call_and_others_not() {
    let api = Api::start_with(|options| options.cors_origins = vec!["https://shop.example".to_owned()]).await;
    let ask = |origin: &str| {
        api.call(Method::OPTIONS, "/ofrep/v1/evaluate/flags")
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,if-none-match")
    };
    let allowed = ask("https://shop.example").send().await;
    assert_eq!(allowed.header("access-control-allow-origin"), "https://shop.example");
    assert!(allowed.header("access-control-allow-headers").contains("if-none-match"));
    assert_eq!(ask("https://evil.example").send().await.header("access-control-allow-origin"), "");
    let live = api.call(Method::GET, "/livez").header("origin", "https://shop.example").send().await;
    let exposed = live.header("access-control-expose-headers").to_owned();
    for name in ["etag", "retry-after", "flagraft-revision", "flagraft-consistency", "flagraft-age-ms"] {
        assert!(exposed.contains(name), "{name} is not in {exposed}");
    }
}
