//! Projects, environments, flags and segments.

use axum::http::Method;
use serde_json::{Value, json};

use super::harness::Api;

const FLAG: &str = "/api/v1/projects/shop/flags/plain";

fn why(extra: Value) -> Value {
    let mut body = json!({"reason": "a test", "ticket": "OPS-1"});
    body.as_object_mut().expect("an object").extend(extra.as_object().expect("an object").clone());
    body
}

#[tokio::test]
async fn what_one_reads_one_may_write_for_every_kind_of_object() {
    let api = Api::shop().await;
    let segment = json!({"key": "staff", "included": ["u1", "u2"]});
    let path = "/api/v1/projects/shop/segments/staff";
    api.owner(Method::PUT, path).json(&why(json!({"segment": segment}))).send().await.expect(201);
    for (path, field) in [
        ("/api/v1/projects/shop", "project"),
        ("/api/v1/projects/shop/environments/dev", "environment"),
        (FLAG, "flag"),
        (path, "segment"),
    ] {
        let read = api.get(path).await.expect(200);
        let etag = read.header("etag").to_owned();
        let revision = read.json()["system"]["revision"].as_u64().expect("a revision");
        assert!(etag.ends_with(&format!(".{revision}\"")), "{path}: {etag}");
        let put = api
            .owner(Method::PUT, path)
            .json(&why(json!({field: read.json()})))
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(put["outcome"], "unchanged", "{path}");
        assert_eq!(api.get(path).await.expect(200).header("etag"), etag);

        let patch = if field == "segment" { json!({"included": ["u3"]}) } else { json!({"name": "Another"}) };
        let patched = api
            .owner(Method::PATCH, path)
            .json(&why(json!({"patch": patch})))
            .send()
            .await
            .expect(200)
            .json();
        assert_eq!(patched["outcome"], "accepted", "{path}");
        let stale =
            api.owner(Method::PUT, path).header("if-match", &etag).json(&why(json!({field: read.json()})));
        assert_eq!(stale.send().await.expect(412).error().0, "revision_mismatch");
        let exists =
            api.owner(Method::PUT, path).header("if-none-match", "*").json(&why(json!({field: read.json()})));
        exists.send().await.expect(412);
        let fresh = api.get(path).await.expect(200).header("etag").to_owned();
        let put =
            api.owner(Method::PUT, path).header("if-match", &fresh).json(&why(json!({field: read.json()})));
        put.send().await.expect(200);
        let other_history = format!("\"ffffffffffffffff.{revision}\"");
        api.owner(Method::DELETE, &format!("{path}?reason=test"))
            .header("if-match", &other_history)
            .send()
            .await
            .expect(412);
    }
}

#[tokio::test]
async fn a_patch_of_a_segment_leaves_the_members_that_it_does_not_name() {
    let api = Api::shop().await;
    let path = "/api/v1/projects/shop/segments/staff";
    let segment = json!({"included": ["u1"], "excluded": ["u2"]});
    api.owner(Method::PUT, path).json(&why(json!({"segment": segment}))).send().await.expect(201);
    for (patch, included, excluded) in [
        (json!({"name": "Staff"}), json!(["u1"]), json!(["u2"])),
        (json!({"included": ["u3", "u4"]}), json!(["u3", "u4"]), json!(["u2"])),
        (json!({"excluded": null}), json!(["u3", "u4"]), json!([])),
    ] {
        api.owner(Method::PATCH, path).json(&why(json!({"patch": patch}))).send().await.expect(200);
        let read = async |list: &str| {
            let read = api.get(&format!("{path}/members?list={list}")).await.expect(200).text;
            read.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
        };
        assert_eq!(
            (json!(read("included").await), json!(read("excluded").await)),
            (included, excluded),
            "{patch}"
        );
    }
}

/// A segment with a million members was one answer, made between two other tasks.
#[tokio::test]
async fn the_members_of_a_segment_are_read_apart_from_it_and_in_one_state() {
    let api = Api::shop().await;
    let path = "/api/v1/projects/shop/segments/crowd";
    let all: Vec<String> = (0..12_345).map(|n| format!("user \"{n:05}\"")).collect();
    let segment = json!({"name": "Crowd", "included": all, "excluded": ["nobody"]});
    api.owner(Method::PUT, path).json(&why(json!({"segment": segment}))).send().await.expect(201);
    let read = api.get(path).await.expect(200);
    let object = read.json();
    assert!(object.get("included").is_none() && read.text.len() < 500, "{}", read.text);
    let counts = (&object["system"]["included_count"], &object["system"]["excluded_count"]);
    assert_eq!(counts, (&json!(12_345), &json!(1)));

    let members = api.get(&format!("{path}/members?list=included")).await.expect(200);
    assert_eq!(members.header("content-type"), "application/x-ndjson");
    assert_eq!(members.header("etag"), read.header("etag"));
    assert_eq!(members.header("flagraft-consistency"), "local");
    let lines: Vec<String> =
        members.text.lines().map(|line| serde_json::from_str(line).expect("a JSON string")).collect();
    assert_eq!(lines, all);

    // What one reads one may write: it has no lists, so they stay.
    let put = async |segment: Value| {
        let put = api.owner(Method::PUT, path).json(&why(json!({ "segment": segment })));
        put.send().await.expect(200).json()
    };
    assert_eq!(put(object).await["outcome"], "unchanged");
    assert_eq!(put(json!({"name": "Many"})).await["outcome"], "accepted");
    assert_eq!(api.get(path).await.json()["system"]["included_count"], 12_345);

    for (query, status) in
        [("", 400), ("?list=none", 400), ("?list=included&limit=1", 400), ("?list=excluded", 200)]
    {
        api.get(&format!("{path}/members{query}")).await.expect(status);
    }
    api.get("/api/v1/projects/shop/segments/nobody/members?list=included").await.expect(404);
}

#[tokio::test]
async fn a_flag_is_made_switched_patched_copied_retired_and_brought_back() {
    let api = Api::shop().await;
    let path = "/api/v1/projects/shop/flags/new";
    let flag = json!({"type": "string", "variants": {"a": "A", "b": "B"}, "off_variant": "a"});
    let made = api.owner(Method::PUT, path).json(&why(json!({"flag": flag}))).send().await.expect(201);
    assert_eq!(made.header("flagraft-revision"), made.json()["revision"].to_string());
    assert_eq!(made.header("flagraft-request-id"), made.json()["request_id"].as_str().expect("an id"));
    let post = async |action: &str, extra: Value| {
        api.owner(Method::POST, &format!("{path}/{action}")).json(&why(extra)).send().await
    };
    let configuration = json!({"enabled": true, "default": {"variant": "b"}});
    let configure = api.owner(Method::PUT, &format!("{path}/environments/dev"));
    configure.json(&why(json!({"configuration": configuration}))).send().await.expect(200);
    // The flag's ETag guards its configuration: it fits until that is written again, whatever else was.
    let etag = api.get(path).await.header("etag").to_owned();
    let configure = async |tag: &str, configuration: Value| {
        let put = api.owner(Method::PUT, &format!("{path}/environments/dev")).header("if-match", tag);
        put.json(&why(json!({"configuration": configuration}))).send().await
    };
    let renamed = json!({"patch": {"description": "renamed"}});
    api.owner(Method::PATCH, path).json(&why(renamed)).send().await.expect(200);
    configure(&etag, json!({"enabled": true, "default": {"variant": "a"}})).await.expect(200);
    configure(&etag, json!({"enabled": true, "default": {"variant": "b"}})).await.expect(412);
    let etag = api.get(path).await.header("etag").to_owned();
    configure(&etag, json!({"enabled": true, "default": {"variant": "b"}})).await.expect(200);

    post("environments/dev/disable", json!({})).await.expect(200);
    assert_eq!(api.get(path).await.json()["environments"]["dev"]["enabled"], false);
    post("environments/dev/enable", json!({})).await.expect(200);
    post("copy", json!({"from": "dev", "to": "production"})).await.expect(200);
    let read = api.get(path).await.json();
    assert_eq!(read["environments"]["production"]["default"], json!({"variant": "b"}));
    assert_eq!(read["environments"]["production"]["enabled"], false, "a copy turns nothing on");

    let patch =
        json!({"patch": {"description": "patched", "environments": {"production": {"enabled": true}}}});
    api.owner(Method::PATCH, path).json(&why(patch)).send().await.expect(200);
    let patched = api.get(path).await.json();
    assert_eq!(
        (&patched["description"], &patched["environments"]["production"]["enabled"]),
        (&json!("patched"), &json!(true))
    );
    assert_eq!(
        patched["system"]["environments"]["dev"], read["system"]["environments"]["dev"],
        "dev was not written"
    );

    post("archive", json!({})).await.expect(200);
    assert!(api.get(path).await.expect(200).json()["system"]["archived"].is_object());
    post("environments/dev/enable", json!({})).await.expect(409);
    post("restore", json!({})).await.expect(200);
    assert_eq!(
        api.get(path).await.json()["environments"]["production"]["enabled"],
        false,
        "never a surprise"
    );
    api.owner(Method::DELETE, &format!("{path}?reason=gone&ticket=OPS-2")).send().await.expect(200);
    api.get(path).await.expect(404);
    api.owner(Method::DELETE, path).send().await.expect(400);
    post("restore", json!({})).await.expect(200);
    api.get(path).await.expect(200);
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let api = Api::shop().await;
    let keys = async |query: &str| -> Vec<String> {
        let list = api.get(&format!("/api/v1/projects/shop/flags?{query}")).await.expect(200).json();
        let items = list["items"].as_array().expect("items").iter();
        items.filter_map(|flag| flag["key"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(keys("critical=true").await, ["kill"]);
    assert_eq!(keys("tag=web").await, ["banner"]);
    assert_eq!(keys("owner=payments").await, ["kill"]);
    assert_eq!(keys("purpose=kill-switch").await, ["kill"]);
    assert_eq!(keys("archived=true").await, Vec::<String>::new());
    let (all, mut paged, mut cursor) = (keys("").await, Vec::new(), String::new());
    loop {
        let list = api.get(&format!("/api/v1/projects/shop/flags?limit=4{cursor}")).await.expect(200).json();
        assert_eq!(list["revision"], api.node.published().state.revision());
        paged.extend(
            list["items"]
                .as_array()
                .expect("items")
                .iter()
                .filter_map(|flag| flag["key"].as_str().map(str::to_owned)),
        );
        let Some(next) = list["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((paged, all.len()), (all, 9));
    for query in ["limit=0", "limit=501", "limit=x", "cursor=zz", "colour=red", "critical=maybe"] {
        let refused = api.get(&format!("/api/v1/projects/shop/flags?{query}")).await.expect(400);
        assert_eq!(refused.error().0, "invalid", "{query}");
    }
    let environments = api.get("/api/v1/projects/shop/environments").await.expect(200).json();
    assert_eq!(environments["items"][0]["key"], "dev", "in their order");
    let projects = api.get("/api/v1/projects").await.expect(200).json();
    assert_eq!(projects["items"][0]["key"], "shop");
}

#[tokio::test]
async fn faults_are_pointed_at_in_the_body_that_was_sent() {
    let api = Api::shop().await;
    let on_off = json!({"on": true, "off": false});
    for (flag, pointer) in [
        (json!({"type": "boolean"}), "/flag"),
        (json!({"type": "boolean", "variants": {"on": "yes"}}), "/flag/variants/on"),
        (json!({"type": "boolean", "variants": on_off, "colour": "red"}), "/flag"),
        (json!({"type": "colour", "variants": on_off}), "/flag/type"),
        (json!({"type": "boolean", "variants": on_off, "critical": true}), "/flag/safe_variant"),
        (json!({"type": "boolean", "variants": on_off, "off_variant": "none"}), "/flag/off_variant"),
        (json!({"key": "b", "type": "boolean", "variants": on_off}), "/flag/key"),
        (
            json!({"type": "boolean", "variants": on_off, "environments": {"dev": {"default": {"variant": "none"}}}}),
            "/flag/environments/dev/default/variant",
        ),
        (
            json!({"type": "boolean", "variants": on_off, "environments": {"dev": {"prerequisites": [{"flag": "a", "variants": ["on"]}]}}}),
            "/flag/environments/dev/prerequisites/0/flag",
        ),
    ] {
        let before = api.node.published().state.revision();
        let answer = api
            .owner(Method::PUT, "/api/v1/projects/shop/flags/a")
            .json(&why(json!({"flag": flag})))
            .send()
            .await;
        let (code, path) = answer.expect(400).error();
        assert_eq!(code, "invalid", "{flag}");
        assert!(path.starts_with(pointer), "{flag}: {path} is not {pointer}");
        assert_eq!(api.node.published().state.revision(), before, "nothing changed");
    }
    let patch = json!({"patch": {"variants": {"on": "yes"}}});
    let answer = api.owner(Method::PATCH, FLAG).json(&why(patch)).send().await.expect(400);
    assert_eq!(answer.error().1, "/patch/variants/on");
    let unknown = api.owner(Method::PUT, "/api/v1/projects/shop/flags/a");
    let unknown = unknown
        .json(&why(json!({"flag": {"type": "boolean", "variants": on_off, "environments": {"mars": {}}}})));
    assert_eq!(
        unknown.send().await.expect(404).error(),
        ("not_found".to_owned(), "/flag/environments/mars".to_owned())
    );
    let extra = json!({"flag": {"type": "boolean", "variants": on_off}, "force": true});
    api.owner(Method::PUT, "/api/v1/projects/shop/flags/a").json(&why(extra)).send().await.expect(400);
}
