//! What was: reads of an earlier revision or time over HTTP.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::{Answer, Api, PATIENCE, eventually, flags};
use crate::clock::wall_ms;

const PRODUCTION: &str = "/api/v1/projects/shop/environments/production/explain";

async fn explain(api: &Api, query: &str, flag: &str) -> Answer {
    let body = json!({"flag": flag, "context": {"targetingKey": "u1"}});
    api.owner(Method::POST, &format!("{PRODUCTION}{query}")).json(&body).send().await
}

/// Switches a flag, and is back when the next change can't be made in the same millisecond: of two of one time, only
/// the later one was in force at it.
async fn switch(api: &Api, op: &str) -> u64 {
    let operation = json!({"op": op, "flag": "plain", "environment": "production"});
    let changed = api.change(json!({"reason": op, "operations": [operation]})).await;
    let now_ms = wall_ms();
    eventually(PATIENCE, "later millisecond", async || (wall_ms() > now_ms).then_some(())).await;
    changed["revision"].as_u64().expect("a revision")
}

#[tokio::test]
async fn what_was_answered_then_is_answered_of_then() {
    let api = Api::shop().await;
    let mut document = api.get("/openapi.json").await.expect(200).json();
    document["$ref"] = "#/components/schemas/Explanation".into();
    let schema = jsonschema::validator_for(&document).expect("a schema");
    let mut then = Vec::new();
    for op in ["flag.disable", "flag.enable", "flag.disable"] {
        let revision = switch(&api, op).await;
        let explained = explain(&api, "", "plain").await.expect(200).json();
        let flag = api.get("/api/v1/projects/shop/flags/plain").await.expect(200).json();
        then.push((revision, explained, flag));
    }
    assert_ne!(then[0].1["reason"], then[1].1["reason"]);
    let gone = json!({"reason": "done", "operations": [{"op": "flag.delete", "flag": "plain"}]});
    api.change(gone).await;
    api.get("/api/v1/projects/shop/flags/plain").await.expect(404);

    let history = api.node.published().state.history().expect("founded");
    for (revision, explained, flag) in &then {
        for at in [revision.to_string(), format!("{history}.{revision}")] {
            let answer = explain(&api, &format!("?at_revision={at}"), "plain").await.expect(200);
            assert_eq!(answer.header("flagraft-revision"), revision.to_string());
            assert_eq!(answer.header("flagraft-history"), history.to_string());
            let mut found = answer.json();
            let faults: Vec<String> = schema.iter_errors(&found).map(|fault| fault.to_string()).collect();
            assert!(faults.is_empty(), "{found:#}: {faults:?}");
            let at = found.as_object_mut().expect("an object").remove("at").expect("when it was");
            assert_eq!(&found, explained);
            assert_eq!(
                (&at["revision"], at["time"].as_str()),
                (&json!(revision), Some(answer.header("flagraft-time")))
            );
            // At the time when it was made, and until the next one was, it was in force.
            let time = at["time"].as_str().expect("a time");
            let by_time = explain(&api, &format!("?at={time}"), "plain").await.expect(200).json();
            assert_eq!(by_time["at"]["revision"], *revision);
        }
        let answer = api.get(&format!("/api/v1/projects/shop/flags/plain?at_revision={revision}")).await;
        assert_eq!(&answer.expect(200).json(), flag);
    }
}

#[tokio::test]
async fn lists_are_of_one_revision_and_page_alike() {
    let api = Api::shop().await;
    let segment = json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ann"]}});
    let made = api.change(json!({"reason": "r", "operations": [segment]})).await;
    let revision = made["revision"].as_u64().expect("a revision");
    let paths = ["flags", "segments", "environments"].map(|kind| format!("/api/v1/projects/shop/{kind}"));
    let mut then = Vec::new();
    for path in &paths {
        then.push(api.get(path).await.expect(200).json());
    }
    let all: Vec<Value> = vec![
        json!({"op": "segment.delete", "segment": "staff"}),
        json!({"op": "environment.put", "environment": {"key": "qa"}}),
        json!({"op": "flag.archive", "flag": "plain"}),
    ];
    api.change(json!({"reason": "r", "operations": all})).await;
    for (path, then) in paths.iter().zip(&then) {
        let found = api.get(&format!("{path}?at_revision={revision}")).await.expect(200);
        assert_eq!(&found.json(), then, "{path}");
        assert!(!found.header("flagraft-time").is_empty());
        assert_ne!(&api.get(path).await.expect(200).json(), then, "{path} is another one now");
    }
    let (mut keys, mut cursor) = (Vec::new(), String::new());
    loop {
        let page =
            api.get(&format!("{}?at_revision={revision}&limit=2{cursor}", paths[0])).await.expect(200).json();
        keys.extend(page["items"].as_array().expect("items").iter().map(|flag| flag["key"].clone()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(keys.len(), flags().len());
    let staff = "/api/v1/projects/shop/segments/staff";
    api.get(staff).await.expect(404);
    let found = api.get(&format!("{staff}?at_revision={revision}")).await.expect(200).json();
    assert_eq!(found["system"]["included_count"], 1);
    let before = api.get(&format!("{staff}?at_revision={}", revision - 1)).await.expect(404);
    assert!(before.text.contains(&format!("revision {}", revision - 1)), "{before:?}");
}

#[tokio::test]
async fn what_has_still_to_come_or_is_not_known_is_refused() {
    let api = Api::shop().await;
    let revision = api.node.published().state.revision();
    let path = "/api/v1/projects/shop/flags/plain";
    let ahead = api.get(&format!("{path}?at_revision={}", revision + 1)).await.expect(400);
    assert_eq!(ahead.json()["error"]["details"]["newest_revision"], revision);
    let other = api.get(&format!("{path}?at_revision=00000000000000ff.1")).await.expect(412);
    assert_eq!(other.error().0, "revision_mismatch");
    for at in ["at_revision=0", "at=1999-01-01T00:00:00Z"] {
        let gone = api.get(&format!("{path}?{at}")).await.expect(410);
        assert_eq!(
            (gone.error().0.as_str(), &gone.json()["error"]["details"]["oldest_revision"]),
            ("gone", &json!(1))
        );
    }
    for query in [
        "at=9999-01-01T00:00:00Z",
        "at=yesterday",
        "at_revision=new",
        "at_revision=1&at=1999-01-01T00:00:00Z",
        "when=now",
    ] {
        api.get(&format!("{path}?{query}")).await.expect(400);
    }
    // The project was made by a later revision than the first.
    let early = api.get(&format!("{path}?at_revision=1")).await.expect(404);
    assert!(early.text.contains("project"), "{early:?}");
}

#[tokio::test]
async fn the_past_is_for_who_may_read_the_log_of_the_project() {
    let api = Api::shop().await;
    let revision = api.node.published().state.revision();
    let reader = api.token("admin", json!([{"role": "reader", "project": "shop"}])).await;
    let grants = json!([{"role": "writer", "project": "shop", "environments": ["production"]}]);
    let of_production = api.token("admin", grants).await;
    let service = api.service("production").await;
    let body = json!({"flag": "plain", "context": {}});
    let flag = format!("/api/v1/projects/shop/flags/plain?at_revision={revision}");
    let history = "/api/v1/projects/shop/flags/plain/history".to_owned();
    let explained = format!("{PRODUCTION}?at_revision={revision}");
    for (token, expected) in [(&reader, 200), (&of_production, 403)] {
        for path in [&flag, &history] {
            api.call(Method::GET, path).token(token).send().await.expect(expected);
        }
        api.call(Method::POST, &explained).token(token).json(&body).send().await.expect(expected);
    }
    api.call(Method::POST, PRODUCTION).token(&service).json(&body).send().await.expect(200);
    api.call(Method::POST, &explained).token(&service).json(&body).send().await.expect(403);
    let other = json!({"reason": "r", "project": {"name": "Other"}});
    api.owner(Method::PUT, "/api/v1/projects/other").json(&other).send().await.expect(201);
    api.call(Method::GET, "/api/v1/projects/other/flags?at_revision=2")
        .token(&reader)
        .send()
        .await
        .expect(404);
}

#[tokio::test]
async fn the_history_of_a_flag_is_its_records_the_newest_first() {
    let api = Api::shop().await;
    for op in ["flag.disable", "flag.enable", "flag.disable"] {
        switch(&api, op).await;
        let other = json!({"op": op, "flag": "banner", "environment": "production"});
        api.change(json!({"reason": op, "operations": [other]})).await;
    }
    api.change(json!({"reason": "r", "operations": [{"op": "environment.delete", "environment": "dev"}]}))
        .await;
    let stored = api.node.audit_page(0, 1_000).await.expect("records");
    let (mut lines, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/projects/shop/flags/plain/history?limit=2{cursor}");
        let page = api.get(&path).await.expect(200);
        assert_eq!(page.header("content-type"), "application/x-ndjson");
        lines.extend(page.text.lines().map(str::to_owned));
        match page.header("flagraft-next") {
            "" => break,
            next => cursor = format!("&cursor={next}"),
        }
    }
    let told: Vec<String> = lines
        .iter()
        .map(|line| {
            let record: Value = serde_json::from_str(line).expect("a record");
            let sequence = usize::try_from(record["sequence"].as_u64().expect("a number")).expect("small");
            assert_eq!(line.as_bytes(), stored[sequence].bytes);
            record["operations"][0]["operation"]["op"].as_str().expect("a name").to_owned()
        })
        .collect();
    assert_eq!(told, ["environment.delete", "flag.disable", "flag.enable", "flag.disable", "project.put"]);
    let unknown = api.get("/api/v1/projects/shop/flags/never-made/history").await.expect(200);
    assert_eq!(unknown.text.lines().count(), 1, "of the environment that was deleted");
    for query in ["cursor=zzz", "limit=0", "limit=501", "at=now"] {
        api.get(&format!("/api/v1/projects/shop/flags/plain/history?{query}")).await.expect(400);
    }
}
