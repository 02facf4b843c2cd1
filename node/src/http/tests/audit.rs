//! The audit log over HTTP.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::Api;

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
    for query in ["limit=0", "limit=10001", "from=-1", "kind=rumour", "colour=red"] {
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
