//! The write, its headers, and what becomes of it.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::Api;

const CHANGES: &str = "/api/v1/projects/shop/changes";

fn switch(op: &str) -> Value {
    json!({"reason": "a test", "operations": [{"op": op, "flag": "plain", "environment": "production"}]})
}

#[tokio::test]
async fn a_repeated_request_is_one_change_and_another_body_is_refused() {
    let api = Api::shop().await;
    let send = async |body: &Value| {
        api.owner(Method::POST, CHANGES).header("idempotency-key", "key 1").json(body).send().await
    };
    let first = send(&switch("flag.disable")).await.expect(200).json();
    assert_eq!(
        (&first["outcome"], &first["replayed"], &first["request_id"]),
        (&json!("accepted"), &json!(false), &json!("key 1"))
    );
    let again = send(&switch("flag.disable")).await.expect(200).json();
    assert_eq!(
        (&again["revision"], &again["sequence"], &again["replayed"]),
        (&first["revision"], &first["sequence"], &json!(true))
    );
    let other = send(&switch("flag.enable")).await.expect(422);
    assert_eq!(other.error().0, "idempotency_mismatch");
    assert_eq!(other.json()["error"]["details"]["request_id"], "key 1");

    let asked = api.get("/api/v1/requests/key%201").await.expect(200).json();
    assert_eq!((&asked["outcome"], &asked["revision"]), (&json!("accepted"), &first["revision"]));
    api.get("/api/v1/requests/none").await.expect(404);
    let stranger = api.token("admin", json!([{"role": "reader"}])).await;
    let theirs = api.call(Method::GET, "/api/v1/requests/key%201").token(&stranger).send().await;
    theirs.expect(404);
}

#[tokio::test]
async fn a_request_without_a_key_can_be_asked_for_by_the_id_in_its_answer() {
    let api = Api::shop().await;
    let answer = api.owner(Method::POST, CHANGES).json(&switch("flag.disable")).send().await.expect(200);
    let id = answer.json()["request_id"].as_str().expect("an id").to_owned();
    assert_eq!(answer.header("flagraft-request-id"), id);
    assert_eq!(api.get(&format!("/api/v1/requests/{id}")).await.expect(200).json()["outcome"], "accepted");
    let nothing =
        api.owner(Method::POST, CHANGES).json(&switch("flag.disable")).send().await.expect(200).json();
    assert_eq!(nothing["outcome"], "unchanged");
    let late =
        json!({"reason": "r", "expect_revision": 1, "operations": switch("flag.enable")["operations"]});
    let rejected = api
        .owner(Method::POST, CHANGES)
        .header("idempotency-key", "late")
        .json(&late)
        .send()
        .await
        .expect(412);
    assert_eq!(rejected.header("flagraft-request-id"), "late");
    let asked = api.get("/api/v1/requests/late").await.expect(200).json();
    assert_eq!(
        (&asked["outcome"], &asked["error"]["code"]),
        (&json!("rejected"), &json!("revision_mismatch"))
    );
}

#[tokio::test]
async fn all_operations_or_none() {
    let api = Api::shop().await;
    let before = api.node.published().state.revision();
    let mut operations: Vec<Value> = (0..99)
        .map(|n| json!({"op": "targets.add", "flag": "plain", "environment": "production", "variant": "on", "values": [format!("u{n}")]}))
        .collect();
    operations.push(json!({"op": "flag.disable", "flag": "nothing", "environment": "production"}));
    let body = json!({"reason": "all or nothing", "operations": operations});
    let answer = api.owner(Method::POST, CHANGES).json(&body).send().await.expect(404);
    assert_eq!(answer.error(), ("not_found".to_owned(), "/operations/99/flag".to_owned()));
    assert_eq!(api.node.published().state.revision(), before);
    operations.push(operations[0].clone());
    let body = json!({"reason": "too many", "operations": operations});
    assert_eq!(
        api.owner(Method::POST, CHANGES).json(&body).send().await.expect(400).error().1,
        "/operations"
    );
}

/// JSON is read with a limit of its own on how deep it is nested. A body within it grew by the entry of the log that held
/// it, so that no member could read that entry: all stopped at it, for ever.
#[tokio::test]
async fn json_that_is_nested_too_deep_never_enters_the_log() {
    let api = Api::shop().await;
    let nested = |levels: usize| (1..levels).fold(json!({}), |inner, _| json!({"a": inner}));
    let limit = flagraft_core::limits::JSON_DEPTH_MAX;
    for levels in [limit, limit + 1, 60, 100, 116, 118, 119, 120, 121, 122, 123, 124, 125, 126, 127] {
        let value = nested(levels);
        let flag = json!({"key": "deep", "type": "object", "variants": {"deep": value}});
        let put = json!({"reason": "deep", "flag": flag});
        let tested = json!({"key": "tested", "type": "boolean", "variants": {"on": true}, "tests": [
            {"name": "deep", "environment": "dev", "context": value, "variant": "on"}]});
        let token = json!({"reason": "deep", "token": {"name": "deep", "kind": "admin", "context": value,
            "actor": {"type": "service", "id": "deep"}, "grants": [{"role": "reader"}]}});
        let rule = json!({"id": "r", "when": {"attribute": "a", "op": "in", "values": [value]}, "serve": {"variant": "on"}});
        let rule = json!({"op": "rule.put", "flag": "plain", "environment": "dev", "rule": rule});
        for (method, path, body, good) in [
            (Method::PUT, "/api/v1/projects/shop/flags/deep", put, levels <= limit),
            (
                Method::POST,
                CHANGES,
                json!({"reason": "r", "operations": [{"op": "flag.put", "flag": flag}]}),
                levels <= limit,
            ),
            (
                Method::POST,
                CHANGES,
                json!({"reason": "r", "operations": [{"op": "flag.put", "flag": tested}]}),
                levels <= limit,
            ),
            (Method::POST, "/api/v1/tokens", token, levels <= limit),
            (Method::POST, CHANGES, json!({"reason": "r", "operations": [rule]}), false),
        ] {
            let answer = api.owner(method, path).json(&body).send().await;
            assert_eq!(answer.status.is_success(), good, "{levels} levels at {path}: {answer:?}");
            assert!(good || answer.status.as_u16() == 400, "{levels} levels at {path}: {answer:?}");
            if !good && levels < 100 && path == CHANGES {
                let fault = answer.error().1;
                assert!(fault.starts_with("/operations/0/"), "{levels} levels: {fault}");
            }
        }
    }
    // The node lives, and takes writes.
    api.owner(Method::POST, CHANGES).json(&switch("flag.disable")).send().await.expect(200);
}

#[tokio::test]
async fn a_dry_run_says_what_would_happen_and_does_nothing() {
    let api = Api::shop().await;
    let (revision, sequence) = (api.node.published().state.revision(), api.node.published().state.sequence());
    let mut body = switch("flag.disable");
    body["dry_run"] = true.into();
    let answer = api.owner(Method::POST, CHANGES).json(&body).send().await.expect(200).json();
    assert_eq!((&answer["dry_run"], &answer["outcome"]), (&json!(true), &json!("accepted")));
    body["operations"][0]["flag"] = "nothing".into();
    api.owner(Method::POST, CHANGES).json(&body).send().await.expect(404);
    let state = api.node.published().state.clone();
    assert_eq!((state.revision(), state.sequence()), (revision, sequence));
}

#[tokio::test]
async fn bad_bodies_and_headers_get_their_status_and_change_nothing() {
    let api = Api::shop().await;
    let (revision, sequence) = (api.node.published().state.revision(), api.node.published().state.sequence());
    let good = switch("flag.disable").to_string();
    let long = format!("{{\"reason\": \"{}\"}}", "x".repeat(1 << 20));
    let rows: [(&str, &str, u16, &str); 7] = [
        ("application/json", "{", 400, "malformed_json"),
        ("application/json", "", 400, "malformed_json"),
        ("application/json", "[]", 400, "invalid"),
        ("application/json", "{\"reason\": \"r\"}", 400, "invalid"),
        (
            "application/json",
            "{\"reason\": \"\", \"operations\": [{\"op\": \"project.delete\"}]}",
            400,
            "invalid",
        ),
        ("text/plain", &good, 415, "unsupported_media_type"),
        ("application/json", &long, 413, "body_too_large"),
    ];
    for (content_type, body, status, code) in rows {
        let answer =
            api.owner(Method::POST, CHANGES).raw(content_type, body.to_owned()).send().await.expect(status);
        assert_eq!(answer.error().0, code);
    }
    for (name, value) in [
        ("idempotency-key", "k\u{9}k"),
        ("flagraft-deadline-ms", "0"),
        ("flagraft-deadline-ms", "30001"),
        ("if-match", "\"00000000000000ab.1\""),
        ("flagraft-max-age-ms", "1"),
    ] {
        let answer =
            api.owner(Method::POST, CHANGES).header(name, value).raw("application/json", good.clone());
        answer.send().await.expect(400);
    }
    let state = api.node.published().state.clone();
    assert_eq!((state.revision(), state.sequence()), (revision, sequence));
}

#[tokio::test]
async fn a_policy_is_held_against_every_change_of_its_environment() {
    let api = Api::shop().await;
    let policy = json!({"reason": "r", "patch": {"policy": {"ticket": {"required": true, "pattern": "^OPS-[0-9]+$"}}}});
    api.owner(Method::PATCH, "/api/v1/projects/shop/environments/production")
        .json(&policy)
        .send()
        .await
        .expect(200);
    let mut change = switch("flag.disable");
    let answer = api.owner(Method::POST, CHANGES).json(&change).send().await.expect(422);
    assert_eq!(answer.error(), ("policy".to_owned(), "/ticket".to_owned()));
    let path = "/api/v1/projects/shop/flags/plain/environments/production/disable";
    let answer = api.owner(Method::POST, path).json(&json!({"reason": "r"})).send().await.expect(422);
    assert_eq!(answer.error().1, "/ticket");
    change["ticket"] = "OPS-1".into();
    api.owner(Method::POST, CHANGES).json(&change).send().await.expect(200);
}

#[tokio::test]
async fn a_write_that_certainly_was_not_made_says_so() {
    let api = Api::shop().await;
    api.node.shutdown().await;
    let answer = api
        .owner(Method::POST, CHANGES)
        .header("idempotency-key", "k")
        .json(&switch("flag.disable"))
        .send()
        .await
        .expect(503);
    assert_eq!(answer.error().0, "unavailable");
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(answer.header("flagraft-request-id"), "k");
}

#[tokio::test]
async fn what_stands_in_the_way_is_named() {
    let api = Api::shop().await;
    let delete =
        api.owner(Method::DELETE, "/api/v1/projects/shop/flags/kill?reason=r").send().await.expect(409);
    assert_eq!(delete.error().0, "in_use");
    let cycle = json!({"reason": "r", "operations": [{"op": "flag.configure", "flag": "kill", "environment": "production",
        "configuration": {"enabled": true, "prerequisites": [{"flag": "needs-kill", "variants": ["on"]}], "default": {"variant": "on"}}}]});
    let answer = api.owner(Method::POST, CHANGES).json(&cycle).send().await.expect(400);
    assert!(answer.error().1.starts_with("/operations/0/configuration/prerequisites"), "{answer:?}");
    for path in
        ["/api/v1/projects/mars/changes", "/api/v1/projects/SHOP/changes", "/api/v1/projects/%2e%2e/changes"]
    {
        api.owner(Method::POST, path).json(&switch("flag.disable")).send().await.expect(404);
    }
}

const PLAIN: &str = "/api/v1/projects/shop/flags/plain";

fn patch(patch: Value) -> Value {
    json!({"reason": "a test", "patch": patch})
}

/// A patch is laid over the newest state, so that the same one makes another operation when it is sent again: it was
/// refused as another body under a used key.
#[tokio::test]
async fn a_repeated_patch_is_one_change_whatever_happened_meanwhile() {
    let api = Api::shop().await;
    let send = async |path: &str, body: &Value| {
        api.owner(Method::PATCH, path).header("idempotency-key", "patched").json(body).send().await
    };
    let body = patch(json!({"description": "first"}));
    let first = send(PLAIN, &body).await.expect(200).json();
    assert_eq!((&first["outcome"], &first["replayed"]), (&json!("accepted"), &json!(false)));
    let later = patch(json!({"description": "second"}));
    let revision =
        api.owner(Method::PATCH, PLAIN).json(&later).send().await.expect(200).json()["revision"].clone();
    let deleted = format!("{PLAIN}?reason=gone");
    for round in 0..2 {
        let again = send(PLAIN, &body).await.expect(200);
        assert_eq!(again.header("flagraft-request-id"), "patched");
        let again = again.json();
        for field in ["revision", "sequence", "outcome"] {
            assert_eq!(again[field], first[field], "round {round}");
        }
        assert_eq!(again["replayed"], true);
        // What the patch was laid over is gone: the answer is still the first one.
        if round == 0 {
            assert_eq!(api.get(PLAIN).await.json()["description"], "second", "at revision {revision}");
            api.owner(Method::DELETE, &deleted).send().await.expect(200);
        }
    }
    for (path, other) in [
        (PLAIN, patch(json!({"description": "another"}))),
        (PLAIN, json!({"reason": "another", "patch": {"description": "first"}})),
        ("/api/v1/projects/shop/flags/off", body.clone()),
    ] {
        let refused = send(path, &other).await.expect(422);
        assert_eq!(refused.error().0, "idempotency_mismatch", "{path} {other}");
        assert_eq!(refused.json()["error"]["details"]["request_id"], "patched");
    }
    // Every kind of object is patched by the same code, and each says so for itself.
    for path in ["/api/v1/projects/shop", "/api/v1/projects/shop/environments/dev"] {
        let send = async || {
            let call = api.owner(Method::PATCH, path).header("idempotency-key", path);
            call.json(&patch(json!({"name": "Another"}))).send().await.expect(200).json()
        };
        let (first, again) = (send().await, send().await);
        assert_eq!((&again["replayed"], &again["revision"]), (&json!(true), &first["revision"]), "{path}");
    }
}

#[tokio::test]
async fn a_rejected_patch_is_rejected_again_and_two_at_once_are_one_change() {
    let api = Api::shop().await;
    let (one, other) = tokio::join!(
        api.owner(Method::PATCH, PLAIN)
            .header("idempotency-key", "race")
            .json(&patch(json!({"description": "raced"})))
            .send(),
        api.owner(Method::PATCH, PLAIN)
            .header("idempotency-key", "race")
            .json(&patch(json!({"description": "raced"})))
            .send(),
    );
    let (one, other) = (one.expect(200).json(), other.expect(200).json());
    assert_eq!(one["revision"], other["revision"]);
    assert_ne!(one["replayed"], other["replayed"], "one of them did it");

    let sequence = || api.node.published().state.sequence();
    let rejected = async || {
        let call = api.owner(Method::PATCH, PLAIN).header("idempotency-key", "rejected");
        let body = patch(json!({"environments": {"mars": {"enabled": true}}}));
        call.json(&body).send().await.expect(404).error()
    };
    let before = sequence();
    let (first, again) = (rejected().await, rejected().await);
    assert_eq!(first, ("not_found".to_owned(), "/patch/environments/mars".to_owned()));
    assert_eq!((again, sequence()), (first, before + 1), "the same pointer, and no second record");
}

#[tokio::test]
async fn what_a_handler_finds_wrong_with_a_patch_names_the_request() {
    let api = Api::shop().await;
    let nowhere = "/api/v1/projects/shop/flags/nowhere";
    for (path, header, value, status) in
        [(nowhere, "x-nothing", "1", 404), (PLAIN, "if-match", "\"00000000000000ab.1\"", 412)]
    {
        let call = api.owner(Method::PATCH, path).header("idempotency-key", "k").header(header, value);
        let answer = call.json(&patch(json!({"description": "d"}))).send().await.expect(status);
        assert_eq!(answer.header("flagraft-request-id"), "k");
        assert_eq!(answer.json()["error"]["details"]["request_id"], "k");
    }
}

/// The answer to a repeated request said that it was made from the state of then, confirmed just now.
#[tokio::test]
async fn a_repeated_answer_is_stamped_with_the_state_of_now() {
    let api = Api::shop().await;
    let send = async |op: &str, key: &str| {
        api.owner(Method::POST, CHANGES)
            .header("idempotency-key", key)
            .json(&switch(op))
            .send()
            .await
            .expect(200)
    };
    let first = send("flag.disable", "first").await;
    assert_eq!(first.header("flagraft-consistency"), "linearizable");
    let later = send("flag.enable", "later").await;
    let again = send("flag.disable", "first").await;
    assert_eq!(again.json()["revision"], first.json()["revision"], "of the change");
    assert_eq!(again.header("flagraft-revision"), later.header("flagraft-revision"), "of the answer");
    assert_eq!(again.header("flagraft-consistency"), "local");
}
