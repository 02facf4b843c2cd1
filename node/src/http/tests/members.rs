//! The members of a cluster of one, as far as that has any.

use axum::http::Method;
use serde_json::json;

use super::harness::Api;

#[tokio::test]
async fn a_join_token_is_shown_once_and_kept_by_nobody() {
    let api = Api::shop().await;
    let body = json!({"reason": "r", "node_id": 4, "role": "learner"});
    let invite = async |key: &str| {
        let call = api.owner(Method::POST, "/api/v1/cluster/members").header("idempotency-key", key);
        call.json(&body).send().await.expect(201).json()
    };
    let invited = invite("i1").await;
    let token = invited["join_token"].as_str().expect("shown");
    assert!(token.starts_with("fr_join_"), "{invited}");
    assert!(invited["join"].as_str().is_some_and(|join| join.starts_with("1=")), "{invited}");
    let again = invite("i1").await;
    assert_eq!((&again["join_token"], &again["replayed"]), (&json!(null), &json!(true)));
    assert_ne!(invite("i2").await["join_token"], json!(token), "another one, which makes the first void");

    let status = api.get("/api/v1/cluster").await.expect(200);
    assert_eq!(status.json()["invitations"][0]["node_id"], 4);
    assert_eq!(status.json()["membership"]["settled"], true, "nobody has come yet");
    let audit = api.get("/api/v1/audit").await.expect(200);
    for text in [status.text, audit.text] {
        assert!(!text.contains(token) && !text.contains("secret_sha256"), "{text}");
    }
    // The token opens nothing but the way in.
    api.call(Method::GET, "/api/v1/cluster").token(token).send().await.expect(401);
}

#[tokio::test]
async fn what_is_wrong_is_told_in_the_words_of_the_request() {
    let api = Api::shop().await;
    for (body, status, code, path) in [
        (json!({"reason": "r", "node_id": 0}), 400, "invalid", "/node_id"),
        (
            json!({"reason": "r", "node_id": 4, "expires_in_seconds": 0}),
            400,
            "invalid",
            "/expires_in_seconds",
        ),
        (
            json!({"reason": "r", "node_id": 4, "expires_in_seconds": 9_999_999}),
            400,
            "invalid",
            "/expires_in_seconds",
        ),
        (json!({"reason": "r", "node_id": 4, "role": "leader"}), 400, "invalid", "/role"),
        (json!({"reason": "", "node_id": 4}), 400, "invalid", "/reason"),
        (json!({"reason": "r", "node_id": 1}), 409, "conflict", "/node_id"),
    ] {
        let answer =
            api.owner(Method::POST, "/api/v1/cluster/members").json(&body).send().await.expect(status);
        assert_eq!(answer.json()["error"]["code"], code, "{answer:?}");
        assert_eq!(answer.json()["error"]["details"]["path"], path, "{answer:?}");
    }
    for (method, path, status, code) in [
        (Method::POST, "/api/v1/cluster/members/9/promote", 404, "not_found"),
        (Method::POST, "/api/v1/cluster/members/x/promote", 404, "not_found"),
        (Method::DELETE, "/api/v1/cluster/members/9?reason=r", 404, "not_found"),
        (Method::DELETE, "/api/v1/cluster/members/1?reason=r", 409, "in_use"),
        (Method::DELETE, "/api/v1/cluster/members/1?reason=r&successor=9", 404, "not_found"),
        (Method::DELETE, "/api/v1/cluster/members/1", 400, "invalid"),
    ] {
        let body = json!({"reason": "r"});
        let call = api.owner(method.clone(), path);
        let call = if method == Method::POST { call.json(&body) } else { call };
        let answer = call.send().await.expect(status);
        assert_eq!(answer.json()["error"]["code"], code, "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn what_is_so_already_is_done_at_once() {
    let api = Api::shop().await;
    let body = json!({"reason": "r"});
    let promoted = api.owner(Method::POST, "/api/v1/cluster/members/1/promote").json(&body).send().await;
    let promoted = promoted.expect(200).json();
    assert_eq!((&promoted["outcome"], &promoted["done"]), (&json!("unchanged"), &json!(true)));
    let body = json!({"reason": "r", "to": 1});
    let leads = api.owner(Method::POST, "/api/v1/cluster/leader").json(&body).send().await.expect(200).json();
    assert_eq!(leads["leader"], 1);
    let nobody = api.owner(Method::POST, "/api/v1/cluster/leader").json(&json!({"reason": "r"})).send().await;
    assert!(nobody.expect(503).text.contains("no other voter"));
}
