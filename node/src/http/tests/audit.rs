//! The audit log over HTTP.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::Api;
use crate::audit::BLOCK;

/// The sequences of a page's records.
fn sequences(lines: &str) -> Vec<u64> {
    let sequence = |line: &str| {
        serde_json::from_str::<Value>(line).expect("a record")["sequence"].as_u64().expect("a sequence")
    };
    lines.lines().map(sequence).collect()
}

/// All pages of a list.
async fn all(api: &Api, query: &str) -> Vec<u64> {
    let (mut found, mut next) = (Vec::new(), String::new());
    let bound = if query.contains("order=newest") { "to" } else { "from" };
    loop {
        let cursor = if next.is_empty() { String::new() } else { format!("&{bound}={next}") };
        let page = api.get(&format!("/api/v1/audit?{query}{cursor}")).await.expect(200);
        found.extend(sequences(&page.text));
        match page.header("flagraft-next") {
            "" => return found,
            more => next = more.to_owned(),
        }
    }
}

/// A log of a few blocks: one flag after the other is switched, in one environment or the other, under a ticket that
/// says which.
async fn busy_shop() -> Api {
    let api = Api::shop().await;
    for turn in 0..3 * BLOCK {
        let flag = if turn == 700 { "kill" } else { "plain" };
        let environment = if turn % 2 == 0 { "production" } else { "dev" };
        let op = if turn % 4 < 2 { "flag.disable" } else { "flag.enable" };
        api.change(json!({
            "reason": "busy", "ticket": format!("T-{turn}"),
            "operations": [{"op": op, "flag": flag, "environment": environment}],
        }))
        .await;
    }
    api
}

#[tokio::test]
async fn every_filter_finds_what_a_look_at_every_record_finds_in_either_order_however_it_is_paged() {
    let api = busy_shop().await;
    let rejected = json!({"reason": "r", "operations": [{"op": "flag.disable", "flag": "nobody", "environment": "dev"}]});
    api.owner(Method::POST, "/api/v1/projects/shop/changes").json(&rejected).send().await.expect(404);
    let records = api.node.audit_page(0, 1_000).await.expect("records");
    let records: Vec<Value> =
        records.iter().map(|row| serde_json::from_slice(&row.bytes).expect("a record")).collect();
    let time = |record: &Value| {
        jiff::Timestamp::from_millisecond(record["time_ms"].as_i64().expect("a time"))
            .expect("a time")
            .to_string()
    };
    let (early, late) = (time(&records[100]), time(&records[600]));
    let operation = |record: &Value| record["operations"][0]["operation"].clone();
    type Is<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let cases: Vec<(String, Is<'_>)> = vec![
        ("project=shop".to_owned(), Box::new(|r| r["project"] == "shop")),
        (
            "project=shop&flag=kill".to_owned(),
            Box::new(|r| {
                let operations = r["operations"].as_array().into_iter().flatten();
                operations.map(|o| &o["operation"]).any(|o| o["flag"] == "kill" || o["flag"]["key"] == "kill")
            }),
        ),
        (
            "project=shop&flag=plain&environment=dev".to_owned(),
            // The record that made the shop names both too.
            Box::new(|r| {
                r["sequence"] == 1 || operation(r)["flag"] == "plain" && operation(r)["environment"] == "dev"
            }),
        ),
        ("project=shop&flag=nobody".to_owned(), Box::new(|r| operation(r)["flag"] == "nobody")),
        ("outcome=rejected".to_owned(), Box::new(|r| r["outcome"] == "rejected")),
        ("ticket=T-77".to_owned(), Box::new(|r| r["ticket"] == "T-77")),
        ("kind=system,rejected".to_owned(), Box::new(|r| r["kind"] == "system" || r["kind"] == "rejected")),
        (
            "kind=system&kind=rejected".to_owned(),
            Box::new(|r| r["kind"] == "system" || r["kind"] == "rejected"),
        ),
        ("actor=system/node-1".to_owned(), Box::new(|r| r["actor"]["type"] == "system")),
        ("actor=node-1".to_owned(), Box::new(|r| r["actor"]["id"] == "node-1")),
        ("actor=user/node-1".to_owned(), Box::new(|_| false)),
        (
            format!("kind=change&since={early}&until={late}"),
            Box::new(|r| {
                let at = r["time_ms"].as_i64();
                r["kind"] == "change"
                    && at >= records[100]["time_ms"].as_i64()
                    && at < records[600]["time_ms"].as_i64()
            }),
        ),
        (
            "kind=change&from=300&to=500".to_owned(),
            Box::new(|r| {
                r["kind"] == "change" && (300..500).contains(&r["sequence"].as_u64().expect("a sequence"))
            }),
        ),
    ];
    for indexed in [false, true] {
        if indexed {
            api.indexed(3).await;
        }
        for (query, is) in &cases {
            let expected: Vec<u64> = records
                .iter()
                .filter(|r| is(r))
                .map(|r| r["sequence"].as_u64().expect("a sequence"))
                .collect();
            for limit in [7, 1_000] {
                if !query.contains("from=") {
                    assert_eq!(all(&api, &format!("{query}&limit={limit}")).await, expected, "{query}");
                }
                if !query.contains("to=") {
                    let mut newest = all(&api, &format!("{query}&limit={limit}&order=newest")).await;
                    newest.reverse();
                    assert_eq!(newest, expected, "{query}, the newest first");
                }
            }
            let page = api.get(&format!("/api/v1/audit?{query}")).await.expect(200);
            assert_eq!(sequences(&page.text), expected, "{query}");
        }
    }
    let size = api.node.published().state.sequence();
    let newest: Vec<u64> = (0..size).rev().collect();
    assert_eq!(all(&api, "order=newest&limit=100").await, newest, "without a filter");
}

#[tokio::test]
async fn a_selective_search_reads_only_the_blocks_that_have_what_it_looks_for() {
    let api = busy_shop().await;
    api.indexed(3).await;
    let searched = async |query: &str| {
        let page = api.get(&format!("/api/v1/audit?{query}")).await.expect(200);
        (sequences(&page.text).len(), page.header("flagraft-searched").to_owned())
    };
    let size = api.node.published().state.sequence();
    let open = size % BLOCK;
    let (block, rest) = (BLOCK + open, size - BLOCK - open);
    // The block of the record, and the last one, which is not complete and has no summary.
    assert_eq!(searched("ticket=T-300").await, (1, format!("read={block}, passed={rest}")));
    assert_eq!(searched("ticket=T-9999").await, (0, format!("read={open}, passed={}", size - open)));
    assert_eq!(searched("kind=change&limit=1").await.0, 1);

    // Rows that nobody can have written are not believed.
    let storage = api.node.storage();
    let row = storage.audit_summary(1).expect("reads").expect("a summary");
    for damaged in [Vec::new(), row[..row.len() - 4].to_vec(), vec![0; row.len()]] {
        storage.put_audit_summary(1, &damaged).expect("writes");
        assert_eq!(searched("ticket=T-300").await, (1, format!("read={block}, passed={rest}")));
    }
}

#[tokio::test]
async fn the_log_is_paged_filtered_and_its_lines_are_the_stored_bytes() {
    let api = Api::shop().await;
    for op in ["flag.disable", "flag.enable", "flag.disable"] {
        api.change(
            json!({"reason": op, "operations": [{"op": op, "flag": "plain", "environment": "production"}]}),
        )
        .await;
    }
    let size = api.node.published().state.sequence();
    let (mut lines, mut from) = (Vec::new(), "0".to_owned());
    loop {
        let page = api.get(&format!("/api/v1/audit?from={from}&limit=2")).await.expect(200);
        assert_eq!(page.header("content-type"), "application/x-ndjson");
        lines.extend(page.text.lines().map(str::to_owned));
        match page.header("flagraft-next") {
            "" => break,
            next => from = next.to_owned(),
        }
    }
    let stored = api.node.audit_page(0, 1_000).await.expect("records");
    let stored: Vec<String> =
        stored.into_iter().map(|row| String::from_utf8(row.bytes).expect("UTF-8")).collect();
    assert_eq!(lines, stored);
    assert_eq!(lines.len() as u64, size);

    let of_shop = api.get("/api/v1/audit?project=shop&kind=change").await.expect(200);
    for line in of_shop.text.lines() {
        let record: Value = serde_json::from_str(line).expect("a record");
        assert_eq!((&record["project"], &record["kind"]), (&json!("shop"), &json!("change")));
    }
    assert!(of_shop.text.lines().count() >= 3);
    assert_eq!(api.get(&format!("/api/v1/audit?from={size}")).await.expect(200).text, "");
    for query in [
        "limit=0",
        "limit=10001",
        "from=-1",
        "from=1&from=2",
        "kind=rumour",
        "kind=change,",
        "outcome=luck",
        "order=random",
        "since=yesterday",
        "flag=plain",
        "environment=dev",
        "segment=s",
        "project=shop&environment=No",
        "colour=red",
    ] {
        api.get(&format!("/api/v1/audit?{query}")).await.expect(400);
    }
}

#[tokio::test]
async fn a_reader_of_one_project_sees_the_records_of_that_project_only() {
    let api = Api::shop().await;
    let other = json!({"reason": "r", "project": {"name": "Other"}});
    api.owner(Method::PUT, "/api/v1/projects/other").json(&other).send().await.expect(201);
    let reader = api.token("admin", json!([{"role": "reader", "project": "shop"}])).await;
    let read = async |query: &str| {
        api.call(Method::GET, &format!("/api/v1/audit{query}")).token(&reader).send().await
    };
    let all = read("").await.expect(200);
    assert!(all.text.lines().count() > 0);
    for line in all.text.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).expect("a record")["project"], "shop");
    }
    read("?project=other").await.expect(404);
    let dev =
        api.token("admin", json!([{"role": "writer", "project": "shop", "environments": ["dev"]}])).await;
    api.call(Method::GET, "/api/v1/audit").token(&dev).send().await.expect(403);
    api.call(Method::GET, "/api/v1/audit?project=shop").token(&dev).send().await.expect(403);
}
