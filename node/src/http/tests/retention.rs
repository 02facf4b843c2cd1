//! What the audit log keeps, said over HTTP. What comes of it in a cluster is tested by the whole system.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Answer, Api};

const RETENTION: &str = "/api/v1/audit/retention";

async fn put(api: &Api, path: &str, body: Value) -> Answer {
    api.owner(Method::PUT, path).json(&body).send().await
}

async fn kept(api: &Api) -> Value {
    api.get(RETENTION).await.expect(200).json()
}

#[tokio::test]
async fn a_rule_is_put_whole_and_read_back() {
    let api = Api::shop().await;
    let nothing = kept(&api).await;
    assert_eq!(
        nothing["keep_days"],
        json!({
            "change": null, "rejected": null, "denied": null, "access": null, "evaluations": null, "system": null,
        })
    );
    assert_eq!(
        (&nothing["revision"], &nothing["holds"], &nothing["edge"]),
        (&json!(0), &json!([]), &json!(null))
    );
    let rule = json!({"reason": "our policy", "ticket": "LAW-1", "keep_days": {"access": 30, "denied": 365}});
    let written = put(&api, RETENTION, rule.clone()).await.expect(200).json();
    assert_eq!(written["outcome"], "accepted");
    let read = api.get(RETENTION).await.expect(200);
    let etag = read.header("etag").to_owned();
    assert_eq!(
        (&read.json()["keep_days"]["access"], &read.json()["revision"]),
        (&json!(30), &written["revision"])
    );
    assert_eq!(put(&api, RETENTION, rule).await.expect(200).json()["outcome"], "unchanged");
    // What is not named is kept for ever again.
    let next = json!({"reason": "r", "keep_days": {"rejected": 7, "access": null}});
    let changed = api.owner(Method::PUT, RETENTION).header("if-match", &etag).json(&next).send().await;
    changed.expect(200);
    let days = kept(&api).await["keep_days"].clone();
    assert_eq!(
        (&days["rejected"], &days["access"], &days["denied"]),
        (&json!(7), &json!(null), &json!(null))
    );
    let late = api.owner(Method::PUT, RETENTION).header("if-match", &etag).json(&next).send().await;
    assert_eq!(late.expect(412).error().0, "revision_mismatch");
    for (keep_days, path) in [
        (json!({"access": 0}), "/keep_days/access"),
        (json!({"access": 36_501}), "/keep_days/access"),
        (json!({"system": 365}), "/keep_days/system"),
    ] {
        let refused = put(&api, RETENTION, json!({"reason": "r", "keep_days": keep_days})).await.expect(400);
        assert_eq!(refused.error().1, path);
    }
    put(&api, RETENTION, json!({"reason": "r", "keep_days": {"all": 1}})).await.expect(400);
}

#[tokio::test]
async fn a_hold_is_put_by_sequences_or_times_and_lifted() {
    let api = Api::shop().await;
    let path = "/api/v1/audit/holds/case-7";
    let made = json!({"reason": "Case 7", "from": 1, "to": 3});
    put(&api, path, made.clone()).await.expect(201);
    assert_eq!(put(&api, path, made).await.expect(200).json()["outcome"], "unchanged");
    let hold = kept(&api).await["holds"][0].clone();
    assert_eq!((&hold["id"], &hold["reason"]), (&json!("case-7"), &json!("Case 7")));
    assert_eq!((&hold["from"], &hold["to"]), (&json!(1), &json!(3)));

    // By times: the first record that is not older.
    let records: Vec<Value> = api
        .get("/api/v1/audit")
        .await
        .expect(200)
        .text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    let time = |at: usize| {
        let ms = records[at]["time_ms"].as_i64().expect("a time");
        crate::http::time::rfc3339(ms)
    };
    let last = records.len() - 1;
    assert!(records[0]["time_ms"].as_i64() < records[last]["time_ms"].as_i64());
    let by_time = json!({"reason": "r", "since": time(0), "until": time(last)});
    put(&api, path, by_time).await.expect(200);
    let hold = kept(&api).await["holds"][0].clone();
    let until = records.iter().position(|record| record["time_ms"] == records[last]["time_ms"]);
    assert_eq!((&hold["from"], &hold["to"]), (&json!(0), &json!(until)));
    let open = json!({"reason": "r", "since": "2020-01-01T00:00:00Z"});
    put(&api, path, open).await.expect(200);
    assert_eq!(kept(&api).await["holds"][0]["to"], json!(null));

    for (body, says) in [
        (json!({"reason": "r"}), "where the hold begins"),
        (json!({"reason": "r", "from": 0, "since": time(0)}), "one of `from` and `since`"),
        (json!({"reason": "r", "from": 0, "to": 1, "until": time(0)}), "one of `to` and `until`"),
        (json!({"reason": "r", "from": 0, "until": "2999-01-01T00:00:00Z"}), "that young"),
        (json!({"reason": "r", "since": "yesterday"}), "since"),
    ] {
        let refused = put(&api, path, body.clone()).await;
        assert!(refused.status.is_client_error() && refused.text.contains(says), "{body}: {refused:?}");
    }
    assert_eq!(
        put(&api, path, json!({"reason": "r", "from": 3, "to": 3})).await.expect(400).error().1,
        "/to"
    );
    put(&api, "/api/v1/audit/holds/No%20Id", json!({"reason": "r", "from": 3})).await.expect(404);

    api.owner(Method::DELETE, &format!("{path}?reason=over")).send().await.expect(200);
    assert_eq!(kept(&api).await["holds"], json!([]));
    api.owner(Method::DELETE, &format!("{path}?reason=over")).send().await.expect(404);
}

/// Only members propose removals, whoever asks.
#[tokio::test]
async fn nobody_removes_records_over_http() {
    let api = Api::shop().await;
    let remove =
        json!({"op": "audit.remove", "ranges": [{"from": 0, "to": 1}], "records": 1, "before_ms": 0});
    let catalog = json!({
        "revision": 1, "history": "0123456789abcdef", "sequence": 0, "time_ms": 0, "sha256": "00".repeat(32), "parts": 1,
    });
    let put = json!({"op": "audit.catalog.put", "catalog": catalog, "part": 0, "content": "c2hvcA=="});
    for operation in [remove, put] {
        let change = json!({"reason": "r", "operations": [operation]});
        let refused = api.owner(Method::POST, "/api/v1/changes").json(&change).send().await;
        assert!(refused.status.is_client_error() && refused.text.contains("members only"), "{refused:?}");
    }
    let hold = json!({"op": "audit.hold.put", "hold": {"id": "case", "reason": "r", "from": 0}});
    let change = json!({"reason": "r", "operations": [hold]});
    api.owner(Method::POST, "/api/v1/changes").json(&change).send().await.expect(200);
}
