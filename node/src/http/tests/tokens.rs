//! Tokens over their lives.

use axum::http::Method;
use flagraft_core::token::{Secret, TokenKind};
use serde_json::json;

use super::harness::Api;

#[tokio::test]
async fn a_token_is_made_shown_once_used_and_revoked() {
    let api = Api::shop().await;
    let grants = json!([{"role": "reader", "project": "shop", "environments": ["production"]}]);
    let body = json!({"reason": "r", "token": {"name": "web", "kind": "service", "grants": grants}});
    let create = async || {
        api.owner(Method::POST, "/api/v1/tokens").header("idempotency-key", "t1").json(&body).send().await
    };
    let made = create().await.expect(201).json();
    let (id, secret) =
        (made["token"]["id"].as_str().expect("an id"), made["secret"].as_str().expect("a secret"));
    assert!(secret.starts_with("fr_svc_") && id.starts_with("tok_"));
    let again = create().await.expect(200).json();
    assert_eq!(
        (&again["token"]["id"], &again["secret"], &again["replayed"]),
        (&json!(id), &json!(null), &json!(true))
    );

    let list = api.get("/api/v1/tokens").await.expect(200);
    assert!(
        list.text.contains(id) && !list.text.contains(secret) && !list.text.contains("sha256"),
        "{}",
        list.text
    );
    let audit = api.get("/api/v1/audit").await.expect(200);
    assert!(audit.text.contains(id) && !audit.text.contains(secret) && !audit.text.contains("secret_sha256"));

    api.evaluation(secret, "plain").json(&json!({})).send().await.expect(200);
    api.owner(Method::DELETE, &format!("/api/v1/tokens/{id}?reason=done")).send().await.expect(200);
    let refused = api.evaluation(secret, "plain").json(&json!({})).send().await.expect(401);
    assert!(
        refused.json()["errorDetails"].as_str().is_some_and(|details| details.contains("revoked")),
        "{refused:?}"
    );
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    api.owner(Method::DELETE, "/api/v1/tokens/tok_00000000?reason=none").send().await.expect(404);
}

/// A program that evaluates by itself does so with what its token says.
#[tokio::test]
async fn a_token_is_told_what_it_is_good_for() {
    let api = Api::shop().await;
    let grants = json!([{"role": "reader", "project": "shop", "environments": ["production"]}]);
    let token = json!({"name": "web", "kind": "service", "grants": grants, "context": {"region": "eu"}});
    let secret = api.made_token(token).await;
    let own = api.call(Method::GET, "/api/v1/token").token(&secret).send().await.expect(200);
    assert!(!own.text.contains(&secret) && !own.text.contains("sha256"), "{}", own.text);
    let own = own.json();
    assert_eq!((&own["project"], &own["environment"]), (&json!("shop"), &json!("production")));
    assert_eq!((&own["kind"], &own["context"]), (&json!("service"), &json!({"region": "eu"})));
    let owner = api.get("/api/v1/token").await.expect(200).json();
    assert_eq!((&owner["project"], &owner["environment"]), (&json!(null), &json!(null)));
    assert_eq!(owner["grants"], json!([{"role": "owner"}]));
}

#[tokio::test]
async fn an_expired_token_is_refused_and_the_last_owner_stays() {
    let api = Api::shop().await;
    let grants = json!([{"role": "reader", "project": "shop", "environments": ["production"]}]);
    let token =
        json!({"name": "old", "kind": "service", "grants": grants, "expires_at": "2020-01-01T00:00:00Z"});
    let old = api.made_token(token).await;
    let refused = api.evaluation(&old, "plain").json(&json!({})).send().await.expect(401);
    assert!(refused.text.contains("expired"));
    let owner = api.get("/api/v1/tokens").await.json();
    let owner = owner["items"]
        .as_array()
        .expect("items")
        .iter()
        .find(|token| token["kind"] == "admin")
        .expect("the owner")
        .clone();
    let id = owner["id"].as_str().expect("an id");
    let kept = api.owner(Method::DELETE, &format!("/api/v1/tokens/{id}?reason=r")).send().await.expect(409);
    assert_eq!(kept.error().0, "in_use");
}

#[tokio::test]
async fn a_token_that_could_not_work_is_refused() {
    let api = Api::shop().await;
    let on =
        |environments: &[&str]| json!([{"role": "reader", "project": "shop", "environments": environments}]);
    for (token, pointer) in [
        (json!({"name": "a", "kind": "service", "grants": on(&["dev", "production"])}), "/token/grants"),
        (
            json!({"name": "a", "kind": "service", "grants": on(&["dev"]), "expires_at": "soon"}),
            "/token/expires_at",
        ),
        (json!({"name": "a", "kind": "admin", "grants": [{"role": "owner"}]}), "/token/actor"),
        (json!({"name": "", "kind": "service", "grants": on(&["dev"])}), "/token/name"),
        (json!({"name": "a", "kind": "robot", "grants": on(&["dev"])}), "/token/kind"),
        (json!({"name": "a", "kind": "service", "grants": on(&["dev"]), "secret": "s"}), "/token"),
    ] {
        let body = json!({"reason": "r", "token": token});
        let answer = api.owner(Method::POST, "/api/v1/tokens").json(&body).send().await.expect(400);
        assert!(answer.error().1.starts_with(pointer), "{token}: {answer:?}");
    }
    let mars = json!({"reason": "r", "token": {"name": "a", "kind": "service", "grants": on(&["mars"])}});
    let answer = api.owner(Method::POST, "/api/v1/tokens").json(&mars).send().await.expect(404);
    assert_eq!(answer.error().1, "/token/grants/0/environments");
}

/// A node that is busy with other tokens that it does not know can't say that this one is no good.
#[tokio::test]
async fn a_token_that_there_is_no_room_to_look_for_is_not_called_unknown() {
    let api = Api::start_with(|options| options.unknown_tokens_max = 0).await;
    let unknown = Secret::new(TokenKind::Admin, [9; 32]);
    let answer = api.call(Method::GET, "/api/v1/projects").token(unknown.expose()).send().await.expect(503);
    assert_eq!(answer.error().0, "unavailable");
    assert!(!answer.header("retry-after").is_empty());
    let roomy = Api::start().await;
    roomy.call(Method::GET, "/api/v1/projects").token(unknown.expose()).send().await.expect(401);
}
