//! Proofs, checkpoints and the keys that sign them, over HTTP; what they prove is checked by another implementation too.

use std::time::Duration;

use axum::http::Method;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flagraft_core::{
    checkpoint::Checkpoint,
    merkle::{Hash, leaf_hash, verify_consistency, verify_inclusion},
    note::{Note, TrustedKeys},
};
use serde_json::{Value, json};
use tlog_tiles::tlog;

use super::harness::{Api, PATIENCE, eventually};

async fn shop() -> Api {
    let api = Api::shop_with(|config| {
        config.checkpoints.interval = Duration::from_millis(50);
        config.checkpoints.poll = Duration::from_millis(10);
    });
    api.await
}

fn hash(text: &Value) -> Hash {
    let bytes = STANDARD.decode(text.as_str().expect("a hash")).expect("Base64");
    bytes.try_into().expect("32 bytes")
}

fn hashes(proof: &Value) -> Vec<Hash> {
    proof.as_array().expect("hashes").iter().map(hash).collect()
}

fn theirs(proof: &[Hash]) -> Vec<tlog::Hash> {
    proof.iter().copied().map(tlog::Hash).collect()
}

/// The newest checkpoint, once it is of at least `size` records and as many keys have signed it.
async fn checkpoint(api: &Api, size: u64, signatures: usize) -> (Note, Checkpoint) {
    eventually(PATIENCE, "checkpoint", async || {
        let answer = api.get("/api/v1/audit/checkpoint").await;
        if answer.status != 200 {
            return None;
        }
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
        let note: Note = answer.text.parse().expect("a note");
        let checkpoint: Checkpoint = note.text().parse().expect("a checkpoint");
        (checkpoint.size >= size && note.signatures().len() == signatures).then_some((note, checkpoint))
    })
    .await
}

/// The keys that the API lists, those that were retired left out.
async fn keys(api: &Api) -> (TrustedKeys, Vec<Value>) {
    let listed =
        api.get("/api/v1/audit/keys").await.expect(200).json()["items"].as_array().expect("keys").clone();
    let active = listed.iter().filter(|key| key["retired"].is_null());
    let text: String = active.map(|key| format!("{}\n", key["vkey"].as_str().expect("a key"))).collect();
    (TrustedKeys::parse(&text).expect("keys"), listed)
}

#[tokio::test]
async fn every_record_is_proved_and_that_the_log_only_grew() {
    let api = Api::shop().await;
    for op in ["flag.disable", "flag.enable"].into_iter().cycle().take(20) {
        let operation = json!({"op": op, "flag": "plain", "environment": "production"});
        api.change(json!({"reason": op, "operations": [operation]})).await;
    }
    let stored = api.node.audit_page(0, 1_000).await.expect("records");
    let newest = stored.len() as u64;
    assert!(newest >= 20, "{newest}");
    let mut roots = Vec::new();
    for size in 1..=newest {
        for sequence in 0..size {
            let path = format!("/api/v1/audit/proof?sequence={sequence}&size={size}");
            let answer = api.get(&path).await.expect(200).json();
            assert_eq!((&answer["sequence"], &answer["size"]), (&json!(sequence), &json!(size)));
            let leaf = leaf_hash(&stored[usize::try_from(sequence).expect("small")].bytes);
            let (root, proof) = (hash(&answer["root"]), hashes(&answer["proof"]));
            assert_eq!(hash(&answer["leaf"]), leaf);
            assert!(verify_inclusion(&leaf, sequence, size, &proof, &root), "{answer}");
            tlog::check_record(&theirs(&proof), size, tlog::Hash(root), sequence, tlog::Hash(leaf))
                .expect("they agree");
            if sequence == 0 {
                roots.push(root);
            }
        }
    }
    assert_eq!(roots.last(), Some(&api.node.published().state.audit_root()));
    for (from, first) in (1..).zip(&roots) {
        for (to, second) in (1..).zip(&roots).filter(|(to, _)| *to >= from) {
            let path = format!("/api/v1/audit/proof?from={from}&to={to}");
            let answer = api.get(&path).await.expect(200).json();
            assert_eq!((hash(&answer["from_root"]), hash(&answer["to_root"])), (*first, *second));
            let proof = hashes(&answer["proof"]);
            assert!(verify_consistency(from, first, to, second, &proof), "{answer}");
            if from < to {
                tlog::check_tree(&theirs(&proof), to, tlog::Hash(*second), from, tlog::Hash(*first))
                    .expect("they agree");
            }
        }
    }
    // Without a size it is the newest one.
    let answer = api.get("/api/v1/audit/proof?sequence=0").await.expect(200).json();
    assert_eq!(answer["size"], json!(newest));
    let beyond = format!("/api/v1/audit/proof?sequence=0&size={}", newest + 1);
    for wrong in [beyond.as_str(), "/api/v1/audit/proof", "/api/v1/audit/proof?sequence=0&from=1"] {
        assert_eq!(api.get(wrong).await.expect(400).error().0, "invalid");
    }
    assert_eq!(api.get("/api/v1/audit/checkpoint").await.expect(404).error().0, "not_found");
}

#[tokio::test]
async fn only_who_may_read_all_of_the_log_gets_proofs_of_it() {
    let api = Api::shop().await;
    let reader = api.token("admin", json!([{"role": "reader", "project": "shop"}])).await;
    for path in ["proof?sequence=0", "checkpoint", "keys"] {
        let path = format!("/api/v1/audit/{path}");
        let answer = api.call(Method::GET, &path).token(&reader).send().await.expect(403);
        assert_eq!(answer.error().0, "forbidden");
    }
    let writer = api.token("admin", json!([{"role": "writer"}])).await;
    let body = json!({"reason": "r"});
    let rotate = api.call(Method::POST, "/api/v1/audit/keys/rotate").token(&writer).json(&body);
    rotate.send().await.expect(403);
}

#[tokio::test]
async fn a_checkpoint_is_signed_by_the_keys_that_are_listed_through_a_rotation() {
    let api = shop().await;
    let size = api.node.published().state.sequence();
    let (note, first) = checkpoint(&api, size, 1).await;
    let (trusted, listed) = keys(&api).await;
    assert_eq!(note.signers(&trusted).expect("good").len(), 1);
    let old = listed[0]["public_key"].clone();

    // Both keys sign until the old one is retired.
    let rotate = json!({"reason": "a person who knew it has left"});
    let made =
        api.owner(Method::POST, "/api/v1/audit/keys/rotate").json(&rotate).send().await.expect(201).json();
    let (note, second) = checkpoint(&api, first.size + 1, 2).await;
    let (trusted, listed) = keys(&api).await;
    assert_eq!((listed.len(), note.signers(&trusted).expect("good").len()), (2, 2));
    assert_eq!(made["vkey"], listed[1]["vkey"]);

    let retire = json!({"node": 1, "public_key": old, "reason": "the new one signs"});
    api.owner(Method::POST, "/api/v1/audit/keys/retire").json(&retire).send().await.expect(200);
    let (note, third) = checkpoint(&api, second.size + 1, 1).await;
    let (trusted, listed) = keys(&api).await;
    assert_eq!(
        note.signers(&trusted).expect("good").first().map(|key| key.to_string()).as_deref(),
        made["vkey"].as_str()
    );
    assert!(listed[0]["retired"].as_u64().is_some_and(|sequence| sequence < third.size));
    let last = json!({"node": 1, "public_key": made["public_key"], "reason": "by mistake"});
    let refused = api.owner(Method::POST, "/api/v1/audit/keys/retire").json(&last).send().await.expect(409);
    assert_eq!(refused.error(), ("in_use".to_owned(), "/public_key".to_owned()));

    // Who did it, and why, is in the log.
    let records = api.get("/api/v1/audit?kind=system").await.expect(200).text;
    assert!(records.contains("a person who knew it has left") && records.contains("system.audit_key.retire"));
    // Each checkpoint is of a log that the next one's goes on from.
    for (from, to) in [(first, second), (second, third)] {
        let path = format!("/api/v1/audit/proof?from={}&to={}", from.size, to.size);
        let proof = hashes(&api.get(&path).await.expect(200).json()["proof"]);
        assert!(verify_consistency(from.size, &from.root, to.size, &to.root, &proof));
        assert_eq!(from.origin, to.origin);
    }
    let status = api.get("/api/v1/cluster").await.expect(200).json();
    let of_member = &status["members"][0]["checkpoint"];
    assert_eq!((&of_member["signers"], &of_member["unsigned"]), (&json!([1]), &Value::Null));
}

/// The second rotation dropped the key of the first, which was just being added: it was active then, and nobody had its
/// secret any more.
#[tokio::test]
async fn every_key_of_two_rotations_at_once_signs() {
    let api = shop().await;
    let (_, first) = checkpoint(&api, api.node.published().state.sequence(), 1).await;
    let rotate = async |reason: &str| {
        let body = json!({"reason": reason});
        let made = api.owner(Method::POST, "/api/v1/audit/keys/rotate").json(&body).send().await;
        made.expect(201).json()["vkey"].clone()
    };
    let (one, other) = tokio::join!(rotate("one"), rotate("other"));
    let (note, _) = checkpoint(&api, first.size + 2, 3).await;
    let (trusted, listed) = keys(&api).await;
    assert_eq!((listed.len(), note.signers(&trusted).expect("good").len()), (3, 3));
    for made in [one, other] {
        assert!(listed.iter().any(|key| key["vkey"] == made), "{made}");
    }
}
