//! Exports of the audit log over HTTP, verified as whoever gets one verifies it.

use std::time::Duration;

use axum::http::Method;
use flagraft_core::{
    audit_file::{Summary, Verifier},
    note::TrustedKeys,
    record::tombstone,
};
use serde_json::{Value, json};

use super::harness::{Answer, Api, PATIENCE, eventually};
use crate::audit::BLOCK;

/// A shop whose node signs checkpoints, with a log of two blocks and a bit.
async fn signing_shop() -> Api {
    let api = Api::shop_with(|config| config.checkpoints.interval = Duration::from_millis(20)).await;
    let other = json!({"reason": "r", "project": {"name": "Other"}});
    api.owner(Method::PUT, "/api/v1/projects/other").json(&other).send().await.expect(201);
    for turn in 0..2 * BLOCK {
        let op = if turn % 2 == 0 { "flag.disable" } else { "flag.enable" };
        api.change(json!({
            "reason": "busy, \"very\" busy", "ticket": format!("T-{turn}"),
            "operations": [{"op": op, "flag": "plain", "environment": "production"}],
        }))
        .await;
    }
    api
}

/// An export; asked for again while no checkpoint covers it.
async fn export(api: &Api, token: &str, query: &str) -> Answer {
    eventually(PATIENCE, "checkpoint", async || {
        let answer =
            api.call(Method::GET, &format!("/api/v1/audit/export?{query}")).token(token).send().await;
        (answer.status != 503).then(|| answer.expect(200))
    })
    .await
}

fn keys(api: &Api) -> TrustedKeys {
    let state = &api.node.published().state;
    let lines: Vec<String> = crate::http::audit::export::keys(state, state.cluster_id().expect("founded"))
        .iter()
        .map(ToString::to_string)
        .collect();
    TrustedKeys::parse(&lines.join("\n")).expect("keys")
}

fn verify(text: &str, keys: TrustedKeys) -> Summary {
    let mut verifier = Verifier::new(keys, None).expect("a key");
    for line in text.split_inclusive('\n') {
        verifier.line(line.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {line}"));
    }
    verifier.finish().unwrap_or_else(|fault| panic!("{fault}"))
}

/// The lines of an NDJSON export that are records.
fn records(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with("{\"version\":")).collect()
}

#[tokio::test]
async fn an_export_proves_itself_and_has_what_the_list_has() {
    let api = signing_shop().await;
    let size = api.node.published().state.sequence();
    api.indexed(2).await;
    for (query, indexed) in [
        ("", false),
        ("from=3", false),
        ("from=255&to=257", false),
        ("from=256&to=512", false),
        ("to=0", false),
        ("kind=system", true),
        ("ticket=T-300", true),
        ("project=shop&flag=plain&outcome=accepted&from=100&to=400", true),
        ("ticket=T-nobody", true),
    ] {
        let whole = if query.contains("to=") { query.to_owned() } else { format!("{query}&to={size}") };
        let listed = api.get(&format!("/api/v1/audit?limit=10000&{query}")).await.expect(200);
        let listed: Vec<&str> = listed.text.lines().collect();
        let ndjson = export(&api, &api.owner, &whole).await;
        assert_eq!(ndjson.header("content-type"), "application/x-ndjson");
        assert_eq!(records(&ndjson.text), listed, "{query}");
        let proved = verify(&ndjson.text, keys(&api));
        assert_eq!(proved.records, listed.len() as u64, "{query}");
        assert_eq!(proved.filter.is_some(), indexed, "{query}");
        assert!(proved.size >= size);
        let csv = export(&api, &api.owner, &format!("{whole}&format=csv")).await;
        assert_eq!(csv.header("content-type"), "text/csv; charset=utf-8");
        let table = verify(&csv.text, keys(&api));
        assert_eq!((table.records, table.skipped.filter), (proved.records, proved.skipped.filter), "{query}");
    }
}

#[tokio::test]
async fn a_reader_of_one_project_exports_that_project_and_the_hashes_of_the_rest() {
    let api = signing_shop().await;
    let size = api.node.published().state.sequence();
    let reader = api.token("admin", json!([{"role": "reader", "project": "shop"}])).await;
    let exported = export(&api, &reader, &format!("to={size}")).await;
    let proved = verify(&exported.text, keys(&api));
    let records = records(&exported.text);
    assert!(!records.is_empty() && proved.skipped.filter > 0);
    assert_eq!(records.len() as u64 + proved.skipped.filter, size);
    for line in records {
        assert_eq!(serde_json::from_str::<Value>(line).expect("a record")["project"], "shop");
    }
    let call = async |query: &str, token: &str| {
        api.call(Method::GET, &format!("/api/v1/audit/export?{query}")).token(token).send().await
    };
    call("project=other", &reader).await.expect(404);
    let dev =
        api.token("admin", json!([{"role": "writer", "project": "shop", "environments": ["dev"]}])).await;
    call("", &dev).await.expect(403);
    for query in ["format=xml", "checkpoint=maybe", "limit=3", "order=newest"] {
        call(query, &api.owner).await.expect(400);
    }
}

#[tokio::test]
async fn without_a_checkpoint_there_is_no_export_unless_none_is_asked_for() {
    let api = Api::shop().await;
    let refused = api.get("/api/v1/audit/export").await.expect(503);
    assert!(refused.text.contains("checkpoint=none"), "{}", refused.text);
    let unproved = api.get("/api/v1/audit/export?checkpoint=none").await.expect(200);
    let size = api.node.published().state.sequence();
    assert_eq!(records(&unproved.text).len() as u64, size);
    let last: Value = serde_json::from_str(unproved.text.lines().last().expect("a line")).expect("JSON");
    let note = last["checkpoint"].as_str().expect("a checkpoint");
    assert!(note.contains(&format!("\n{size}\n")) && !note.contains('\u{2014}'), "nobody signed it: {note}");
}

/// Altered, a record may look as if nobody had asked for it, or as if it had been removed.
#[tokio::test]
async fn a_record_that_was_altered_on_the_disk_is_not_exported() {
    let api = signing_shop().await;
    let storage = api.node.storage();
    // Not just any: what the node records by itself, such as its key, comes when it comes.
    let rows = storage.audit_range(20, 100).expect("reads");
    let found = rows.into_iter().find(|row| row.bytes.windows(4).any(|word| word == b"very"));
    let (at, row) = found.map(|row| (row.sequence, row.bytes)).expect("there are many changes");
    let text = String::from_utf8(row.clone()).expect("UTF-8");
    let replaced = |from: &str, to: &str| {
        let replaced = text.replace(from, to);
        assert_ne!(replaced, text);
        replaced.into_bytes()
    };
    let altered = [
        ("", replaced("very", "VERY")),
        ("&project=shop", replaced("\"project\":\"shop\"", "\"project\":\"other\"")),
        ("", b"removed".to_vec()),
        ("", tombstone(&[7; 32]).to_vec()),
    ];
    for (query, altered) in altered {
        let ended = async || {
            let path = format!("/api/v1/audit/export?checkpoint=none{query}");
            let mut body = api.owner(Method::GET, &path).open().await.into_body().into_data_stream();
            let mut ended = None;
            while let Some(piece) = futures_util::StreamExt::next(&mut body).await {
                ended = Some(piece.map(|_| ()));
            }
            ended.expect("something")
        };
        storage.alter_record(at, &altered);
        assert!(
            ended().await.is_err(),
            "the answer is cut off: {query} {}",
            String::from_utf8_lossy(&altered)
        );
        storage.alter_record(at, &row);
        assert!(ended().await.is_ok(), "as it was, it is exported: {query}");
    }
}
