//! OFREP's answers, and what they say of the state they are from.

use serde_json::{Value, json};

use super::harness::{Api, flags};

async fn one(api: &Api, token: &str, key: &str, context: Value) -> Value {
    api.evaluation(token, key).json(&json!({"context": context})).send().await.expect(200).json()
}

#[tokio::test]
async fn every_kind_of_flag_answers_as_the_table_says() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let germany = json!({"country": "DE"});
    for (key, context, variant, value, reason) in [
        ("banner", json!({}), "a", json!("Hello"), "DEFAULT"),
        ("banner", germany, "b", json!("Bye"), "TARGETING_MATCH"),
        ("code-default", json!({}), "", Value::Null, "STATIC"),
        ("kill", json!({}), "on", json!(true), "STATIC"),
        ("limits", json!({}), "high", json!({"max": 9}), "STATIC"),
        ("needs-kill", json!({}), "on", json!(true), "DEFAULT"),
        ("off", json!({}), "one", json!(1), "DISABLED"),
        ("plain", json!({}), "on", json!(true), "STATIC"),
        ("ratio", json!({}), "whole", json!(1.0), "STATIC"),
        ("split", json!({}), "off", json!(false), "DEFAULT"),
    ] {
        let answer = one(&api, &token, key, context).await;
        assert_eq!(answer["key"], key);
        assert_eq!((&answer["variant"], &answer["reason"]), (&json!(variant), &json!(reason)), "{key}");
        // A code default has no value at all, not a null one.
        assert_eq!(answer.get("value"), Some(&value).filter(|value| !value.is_null()), "{key}");
    }
    let split = one(&api, &token, "split", json!({"targetingKey": "u1"})).await;
    assert_eq!(split["reason"], "SPLIT");
    let ratio = api.evaluation(&token, "ratio").json(&json!({})).send().await.expect(200);
    assert!(ratio.text.contains("\"value\":1.0"), "a number keeps its fraction: {}", ratio.text);
}

#[tokio::test]
async fn an_answer_says_which_state_it_is_from() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let history = api.node.published().state.history().expect("a history").to_string();
    let revision = api.node.published().state.revision();
    for (key, consistency) in [("plain", "local"), ("kill", "linearizable"), ("needs-kill", "linearizable")] {
        let answer = api.evaluation(&token, key).json(&json!({})).send().await.expect(200);
        assert_eq!(answer.header("flagraft-revision"), revision.to_string());
        assert_eq!(answer.header("flagraft-history"), history);
        assert_eq!(answer.header("flagraft-consistency"), consistency, "{key}");
        assert_eq!(answer.header("flagraft-node"), "1");
        assert!(answer.header("flagraft-age-ms").parse::<u64>().is_ok());
        let metadata = &answer.json()["metadata"];
        assert_eq!(metadata["revision"], revision);
        assert_eq!(metadata["consistency"], consistency);
        assert!(metadata["ageMs"].is_u64());
        assert_eq!(metadata["flagSetId"], "shop/production");
    }
    let insisting =
        api.evaluation(&token, "plain").header("flagraft-consistency", "linearizable").json(&json!({}));
    assert_eq!(insisting.send().await.expect(200).header("flagraft-consistency"), "linearizable");
}

#[tokio::test]
async fn a_bulk_answer_has_all_flags_in_key_order_and_an_etag_for_them_and_the_context() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let ask = |context: Value| api.bulk(&token).json(&json!({"context": context}));
    let first = ask(json!({"targetingKey": "u1", "country": "DE"})).send().await.expect(200);
    assert_eq!(first.header("flagraft-consistency"), "linearizable", "it holds a critical flag");
    let body = first.json();
    let keys: Vec<&str> =
        body["flags"].as_array().expect("flags").iter().filter_map(|flag| flag["key"].as_str()).collect();
    let expected = flags();
    let expected: Vec<&str> = expected.iter().filter_map(|flag| flag["key"].as_str()).collect();
    assert_eq!(keys, expected);
    assert_eq!(body["metadata"]["consistency"], "linearizable");
    assert!(body["flags"][0]["metadata"].get("ageMs").is_none(), "an unchanged flag stays unchanged");

    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with(&format!("\"{}.", first.header("flagraft-history"))), "{etag}");
    let same = ask(json!({"country": "DE", "targetingKey": "u1"}))
        .header("if-none-match", &etag)
        .send()
        .await
        .expect(304);
    assert_eq!((same.header("etag"), same.text.as_str()), (etag.as_str(), ""));
    assert_eq!(same.header("flagraft-consistency"), "linearizable", "compared only once confirmed");
    let other = ask(json!({"country": "FR", "targetingKey": "u1"}))
        .header("if-none-match", &etag)
        .send()
        .await
        .expect(200);
    assert_ne!(other.header("etag"), etag);

    // A change of another environment leaves the answer as it is, one of this environment does not.
    let disable = |environment: &str| json!({"reason": "off", "operations": [{"op": "flag.disable", "flag": "kill", "environment": environment}]});
    api.change(disable("dev")).await;
    let context = json!({"targetingKey": "u1", "country": "DE"});
    ask(context.clone()).header("if-none-match", &etag).send().await.expect(304);
    api.change(disable("production")).await;
    let changed = ask(context).header("if-none-match", &etag).send().await.expect(200).json();
    let kill = &changed["flags"].as_array().expect("flags")[2];
    assert_eq!(
        (&kill["key"], &kill["value"], &kill["reason"]),
        (&json!("kill"), &json!(false), &json!("DISABLED"))
    );
}

/// An answer holds the ticket of its token, which dies with that: whoever comes with a new token needs a new answer.
#[tokio::test]
async fn an_answer_to_another_token_is_not_the_same() {
    let api = Api::shop().await;
    let (one, other) = (api.client("production").await, api.client("production").await);
    let ask = |token: &str| api.bulk(token).json(&json!({}));
    let answer = ask(&one).send().await.expect(200);
    let etag = answer.header("etag").to_owned();
    ask(&one).header("if-none-match", &etag).send().await.expect(304);
    let others = ask(&other).header("if-none-match", &etag).send().await.expect(200);
    assert_eq!(others.json()["flags"], answer.json()["flags"]);
    assert_ne!(others.json()["eventStreams"], answer.json()["eventStreams"]);
}

#[tokio::test]
async fn without_a_quorum_critical_flags_have_their_safe_variant_and_nothing_is_unchanged() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let etag = api.bulk(&token).json(&json!({})).send().await.expect(200).header("etag").to_owned();
    api.node.shutdown().await;

    let kill = api.evaluation(&token, "kill").json(&json!({})).send().await.expect(200);
    let body = kill.json();
    assert_eq!(
        (&body["value"], &body["variant"], &body["reason"]),
        (&json!(false), &json!("off"), &json!("UNKNOWN"))
    );
    assert_eq!(
        (kill.header("flagraft-consistency"), kill.header("cache-control")),
        ("safe-variant", "no-store")
    );
    assert_eq!(body["metadata"]["consistency"], "safe-variant");
    let dependant = api.evaluation(&token, "needs-kill").json(&json!({})).send().await.expect(200).json();
    assert_eq!(dependant["reason"], "UNKNOWN", "a flag with a critical prerequisite is critical");

    let plain = api.evaluation(&token, "plain").json(&json!({})).send().await.expect(200);
    assert_eq!((plain.header("flagraft-consistency"), &plain.json()["value"]), ("local", &json!(true)));

    let bulk = api.bulk(&token).header("if-none-match", &etag).json(&json!({})).send().await.expect(200);
    assert_eq!((bulk.header("etag"), bulk.header("cache-control")), ("", "no-store"));
    assert_eq!(bulk.header("flagraft-consistency"), "safe-variant");
    assert_eq!(bulk.json()["flags"][2]["reason"], "UNKNOWN");
    assert_eq!(bulk.json()["flags"][6]["reason"], "STATIC");

    let metrics = api.get("/metrics").await.expect(200).text;
    assert!(
        metrics.contains("flagraft_safe_variant_answers_total 4"),
        "two single ones, and two of all:\n{metrics}"
    );
    assert!(metrics.contains(r#"flagraft_evaluations_total{consistency="safe-variant",reason="UNKNOWN"} 4"#));

    let missing = api.evaluation(&token, "nothing").json(&json!({})).send().await.expect(503);
    assert_eq!(missing.json()["errorCode"], "GENERAL", "nobody confirmed that it does not exist");
    assert!(!missing.header("retry-after").is_empty());
    for call in [api.evaluation(&token, "plain"), api.evaluation(&token, "kill"), api.bulk(&token)] {
        call.header("flagraft-consistency", "linearizable").json(&json!({})).send().await.expect(503);
    }
}

#[tokio::test]
async fn a_node_that_confirms_says_that_a_flag_is_not_there() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let archive = json!({"reason": "done", "operations": [{"op": "flag.archive", "flag": "plain"}]});
    api.change(archive).await;
    for key in ["nothing", "plain", "PLAIN", "..", "%2e%2e", "a%2Fb", "plain;x", "%FF", "kill%20"] {
        let answer = api.evaluation(&token, key).json(&json!({})).send().await.expect(404);
        assert_eq!(answer.json()["errorCode"], "FLAG_NOT_FOUND", "{key}");
        assert!(answer.json()["key"].is_string());
        assert_eq!(answer.header("flagraft-consistency"), "linearizable");
    }
}

#[tokio::test]
async fn a_client_token_sees_exposed_flags_only_and_little_of_them() {
    let api = Api::shop().await;
    let token = api.client("production").await;
    let bulk = api.bulk(&token).json(&json!({})).send().await.expect(200);
    assert_eq!(bulk.header("flagraft-consistency"), "local", "it sees no critical flag");
    let body = bulk.json();
    assert_eq!(body["flags"].as_array().map(Vec::len), Some(1));
    let names = |value: &Value| value.as_object().expect("metadata").keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&body["flags"][0]["metadata"]), ["flagSetId", "version"]);
    assert_eq!(names(&body["metadata"]), ["flagSetId", "version"]);
    let single = api.evaluation(&token, "banner").json(&json!({})).send().await.expect(200).json();
    assert_eq!(names(&single["metadata"]), ["flagSetId", "version"]);
    api.evaluation(&token, "plain").json(&json!({})).send().await.expect(404);
}

#[tokio::test]
async fn a_client_token_that_asks_too_often_is_told_to_wait() {
    let api =
        Api::start_with(|options| options.client_rate = crate::http::Rate { per_second: 1, burst: 2 }).await;
    api.fill().await;
    let (client, service) = (api.client("production").await, api.service("production").await);
    for _ in 0..2 {
        api.bulk(&client).json(&json!({})).send().await.expect(200);
    }
    let refused = api.bulk(&client).json(&json!({})).send().await.expect(429);
    assert_eq!((refused.json()["errorCode"].as_str(), refused.header("retry-after")), (Some("GENERAL"), "1"));
    for _ in 0..5 {
        api.bulk(&service).json(&json!({})).send().await.expect(200);
    }
}

#[tokio::test]
async fn the_context_of_a_token_wins_over_that_of_the_request() {
    let api = Api::shop().await;
    let grants = json!([{"role": "reader", "project": "shop", "environments": ["production"]}]);
    let token = json!({"name": "de", "kind": "service", "grants": grants, "context": {"country": "DE"}});
    let token = api.made_token(token).await;
    let answer = one(&api, &token, "banner", json!({"country": "FR"})).await;
    assert_eq!(answer["variant"], "b");
    let tag = |answer: super::harness::Answer| answer.header("etag").to_owned();
    let french = tag(api.bulk(&token).json(&json!({"context": {"country": "FR"}})).send().await.expect(200));
    let nowhere = tag(api.bulk(&token).json(&json!({})).send().await.expect(200));
    assert_eq!(french, nowhere, "what is evaluated is the same");
}

#[tokio::test]
async fn bad_requests_get_ofreps_failures() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    let rows: [(&str, &str, u16, &str); 8] = [
        ("application/json", "{", 400, "PARSE_ERROR"),
        ("application/json", "", 400, "PARSE_ERROR"),
        ("application/json", "[]", 400, "PARSE_ERROR"),
        ("application/json", "{\"context\": 7}", 400, "INVALID_CONTEXT"),
        ("application/json", "{\"context\": {\"targetingKey\": 7}}", 400, "INVALID_CONTEXT"),
        ("text/plain", "{}", 415, "GENERAL"),
        ("application/json; charset=utf-8", "{}", 200, ""),
        ("application/json", "{\"context\": {}}", 200, ""),
    ];
    for (content_type, body, status, code) in rows {
        for is_bulk in [false, true] {
            let call = if is_bulk { api.bulk(&token) } else { api.evaluation(&token, "plain") };
            let answer = call.raw(content_type, body.to_owned()).send().await.expect(status);
            if status != 200 {
                let failure = answer.json();
                assert_eq!(failure["errorCode"], code, "{body}");
                assert!(failure["errorDetails"].as_str().is_some_and(|details| !details.is_empty()));
                assert_eq!(failure.get("key").is_some(), !is_bulk);
            }
        }
    }
    let long = format!("{{\"context\": {{\"a\": \"{}\"}}}}", "x".repeat(1 << 20));
    api.bulk(&token).raw("application/json", long).send().await.expect(413);
    for header in
        ["flagraft-min-revision", "flagraft-deadline-ms", "flagraft-consistency", "flagraft-max-age-ms"]
    {
        let answer = api.bulk(&token).header(header, "nonsense").json(&json!({})).send().await.expect(400);
        assert!(
            answer.json()["errorDetails"]
                .as_str()
                .is_some_and(|details| details.to_lowercase().contains(header))
        );
    }
}

/// A request without a body was answered 415, for nothing said of what type it is: a status that OFREP does not have,
/// and no help to somebody who forgot the body.
#[tokio::test]
async fn a_request_without_a_body_is_told_that_it_has_none() {
    let api = Api::shop().await;
    let token = api.service("production").await;
    for call in [api.evaluation(&token, "plain"), api.bulk(&token)] {
        let failure = call.send().await.expect(400).json();
        assert_eq!(failure["errorCode"], "PARSE_ERROR");
        assert!(
            failure["errorDetails"].as_str().is_some_and(|details| details.starts_with("there is no body"))
        );
    }
    api.bulk(&token).raw("text/plain", "").send().await.expect(415);
}
