//! Signed changes over HTTP, by a client that makes what it signs from the documentation alone.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::harness::{Answer, Api};

const CHANGES: &str = "/api/v1/projects/shop/changes";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public_key(seed: u8) -> String {
    STANDARD.encode(key(seed).verifying_key().as_bytes())
}

fn key_id(seed: u8) -> String {
    format!("key_{}", &hex::encode(Sha256::digest(key(seed).verifying_key().as_bytes()))[..32])
}

/// Registers a key for the actor of the owner's token.
async fn register(api: &Api, seed: u8) {
    let own = api.get("/api/v1/token").await.json();
    let key = json!({"actor": own["actor"], "name": "laptop", "public_key": public_key(seed)});
    let made = api
        .owner(Method::POST, "/api/v1/signing-keys")
        .json(&json!({"reason": "to sign with", "signing_key": key}))
        .send()
        .await
        .expect(200)
        .json();
    assert_eq!(made["signing_key"]["id"], json!(key_id(seed)));
}

/// A change with its signature: the statement as `docs/api.md` has it, written by nothing of the domain's.
async fn signed(api: &Api, seed: u8, project: Option<&str>, request_id: &str, mut change: Value) -> Value {
    let own = api.get("/api/v1/token").await;
    let signed_at_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let signed_at_ms = i64::try_from(signed_at_ms).expect("a time");
    let statement = json!({
        "history": own.header("flagraft-history"), "token": own.json()["id"], "request_id": request_id,
        "key": key_id(seed), "signed_at_ms": signed_at_ms, "project": project, "operations": change["operations"],
        "reason": change["reason"], "ticket": change["ticket"], "expect_revision": change["expect_revision"],
        "caused_by": change["caused_by"],
    });
    let signature = key(seed).sign(format!("flagraft change v1\n{statement}").as_bytes());
    change["signature"] = json!({
        "key": key_id(seed), "signed_at_ms": signed_at_ms, "signature": STANDARD.encode(signature.to_bytes()),
    });
    change
}

async fn send(api: &Api, path: &str, request_id: &str, change: &Value) -> Answer {
    api.owner(Method::POST, path).header("idempotency-key", request_id).json(change).send().await
}

fn disable(environment: &str) -> Value {
    json!({"reason": "trouble", "ticket": "OPS-1", "operations": [
        {"op": "flag.disable", "flag": "plain", "environment": environment}]})
}

/// The owner makes an environment ask for signatures.
async fn require(api: &Api, environment: &str) {
    let body = json!({"reason": "r", "patch": {"policy": {"signed": true}}});
    let path = format!("/api/v1/projects/shop/environments/{environment}");
    api.owner(Method::PATCH, &path).json(&body).send().await.expect(200);
}

#[tokio::test]
async fn a_signed_change_is_made_once_and_its_record_holds_the_signature() {
    let api = Api::shop().await;
    register(&api, 1).await;
    let change = signed(&api, 1, Some("shop"), "s1", disable("production")).await;
    let made = send(&api, CHANGES, "s1", &change).await.expect(200).json();
    assert_eq!(made["outcome"], "accepted");
    let page = api.get(&format!("/api/v1/audit?from={}&limit=1", made["sequence"])).await.expect(200).json();
    assert_eq!(page["signature"]["signature"], change["signature"]["signature"]);
    assert_eq!((&page["signature"]["public_key"], &page["version"]), (&json!(public_key(1)), &json!(2)));
    let again = send(&api, CHANGES, "s1", &change).await.expect(200).json();
    assert_eq!((&again["replayed"], &again["sequence"]), (&json!(true), &made["sequence"]));
    // The same signature under another id is none.
    let moved = send(&api, CHANGES, "s2", &change).await.expect(422);
    assert_eq!(moved.error(), ("bad_signature".into(), "/signature/signature".into()));
}

#[tokio::test]
async fn a_dry_run_checks_the_signature_and_changes_nothing() {
    let api = Api::shop().await;
    register(&api, 1).await;
    let before = api.node.published().state.sequence();
    let mut change = signed(&api, 1, Some("shop"), "dry", disable("production")).await;
    change["dry_run"] = json!(true);
    send(&api, CHANGES, "dry", &change).await.expect(200);
    change["reason"] = json!("another");
    let refused = send(&api, CHANGES, "dry", &change).await.expect(422);
    assert_eq!(refused.error(), ("bad_signature".into(), "/signature/signature".into()));
    assert_eq!(api.node.published().state.sequence(), before);
}

#[tokio::test]
async fn what_can_be_no_signature_is_told_at_once() {
    let api = Api::shop().await;
    register(&api, 1).await;
    let before = api.node.published().state.sequence();
    let change = signed(&api, 1, Some("shop"), "s1", disable("production")).await;
    let without = api.owner(Method::POST, CHANGES).json(&change).send().await.expect(400);
    assert!(without.text.contains("Idempotency-Key"), "{without:?}");
    for (field, value, path) in [
        ("key", json!(7), "/signature/key"),
        ("signature", json!("AAAA"), "/signature/signature"),
        ("signed_at_ms", json!("now"), "/signature/signed_at_ms"),
        ("algorithm", json!("rsa"), "/signature/algorithm"),
    ] {
        let mut change = change.clone();
        change["signature"][field] = value;
        let refused = send(&api, CHANGES, "s1", &change).await.expect(400);
        assert_eq!(refused.error().1, path, "{refused:?}");
    }
    assert_eq!(api.node.published().state.sequence(), before, "nothing of it was recorded");
}

#[tokio::test]
async fn where_the_policy_asks_for_signatures_shorthands_say_what_to_do() {
    let api = Api::shop().await;
    register(&api, 1).await;
    require(&api, "production").await;
    let why = json!({"reason": "r"});
    let put = json!({"reason": "r", "environment": {"key": "production"}});
    let environment = "/api/v1/projects/shop/environments/production";
    let token = json!({"reason": "r", "token": {"name": "ci", "kind": "service", "grants": [
        {"role": "reader", "project": "shop", "environments": ["production"]}]}});
    for (method, path, body) in [
        (Method::POST, CHANGES.to_owned(), disable("production")),
        (
            Method::POST,
            "/api/v1/projects/shop/flags/plain/environments/production/disable".to_owned(),
            why.clone(),
        ),
        (Method::PATCH, environment.to_owned(), json!({"reason": "r", "patch": {"policy": null}})),
        (Method::PUT, environment.to_owned(), put),
        (Method::POST, "/api/v1/tokens".to_owned(), token),
        (Method::DELETE, "/api/v1/projects/shop?reason=r".to_owned(), Value::Null),
        (Method::POST, "/api/v1/projects/shop/flags/plain/archive".to_owned(), why),
    ] {
        let call = api.owner(method.clone(), &path);
        let call = if body.is_null() { call } else { call.json(&body) };
        let refused = call.send().await.expect(422);
        assert_eq!(refused.error(), ("policy".into(), "/signature".into()), "{method} {path}");
        assert!(refused.text.contains("must be signed"), "{refused:?}");
    }
    let change = signed(&api, 1, Some("shop"), "s1", disable("production")).await;
    send(&api, CHANGES, "s1", &change).await.expect(200);
    send(&api, CHANGES, "other", &disable("dev")).await.expect(200);
}

#[tokio::test]
async fn keys_are_registered_listed_and_revoked() {
    let api = Api::shop().await;
    register(&api, 1).await;
    register(&api, 2).await;
    let list = async || api.get("/api/v1/signing-keys").await.expect(200).json();
    assert_eq!(list().await["items"].as_array().map(Vec::len), Some(2));
    // Others see their own only, and register none.
    let writer = api.token("admin", json!([{"role": "owner", "project": "shop"}])).await;
    let call = |method, path| api.call(method, path).token(&writer);
    let theirs = call(Method::GET, "/api/v1/signing-keys").send().await.expect(200).json();
    assert_eq!(theirs["items"], json!([]));
    let key =
        json!({"actor": {"type": "service", "id": "test"}, "name": "mine", "public_key": public_key(3)});
    let body = json!({"reason": "r", "signing_key": key});
    let refused = call(Method::POST, "/api/v1/signing-keys").json(&body).send().await.expect(403);
    assert_eq!(refused.error().0, "forbidden");
    let damaged = json!({"reason": "r", "signing_key": {"actor": {"type": "user", "id": "a"}, "name": "a", "public_key": STANDARD.encode([0; 32])}});
    let refused = api.owner(Method::POST, "/api/v1/signing-keys").json(&damaged).send().await.expect(400);
    assert_eq!(refused.error(), ("invalid".into(), "/signing_key/public_key".into()));
    // By a change that the key signs itself, and by an owner.
    let operations = json!([{"op": "signing_key.revoke", "signing_key": key_id(2)}]);
    let change = signed(&api, 2, None, "r", json!({"reason": "lost", "operations": operations})).await;
    send(&api, "/api/v1/changes", "r", &change).await.expect(200);
    let path = format!("/api/v1/signing-keys/{}?reason=lost", key_id(1));
    api.owner(Method::DELETE, &path).send().await.expect(200);
    api.owner(Method::DELETE, "/api/v1/signing-keys/key_1?reason=lost").send().await.expect(404);
    let items = list().await["items"].clone();
    assert!(
        items
            .as_array()
            .is_some_and(|items| items.len() == 2 && items.iter().all(|key| key["revoked_at"].is_string()))
    );
    let change = signed(&api, 1, Some("shop"), "late", disable("production")).await;
    let refused = send(&api, CHANGES, "late", &change).await.expect(422);
    assert_eq!(refused.error(), ("bad_signature".into(), "/signature/key".into()));
}
