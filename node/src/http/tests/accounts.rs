//! What the audit log says of evaluations and reads over HTTP.

use std::time::Duration;

use axum::http::Method;
use flagraft_core::{
    account::{Access, Evaluations},
    key::{EnvironmentKey, ProjectKey},
    record::Record,
};
use serde_json::{Value, json};

use super::harness::{Api, eventually};
use crate::accounts::{KeyHasher, LISTED_PER_FLAG_MAX};

const PATIENCE: Duration = Duration::from_secs(20);

/// A shop that reports often, with these flags asking to be recorded.
async fn shop(audited: &[(&str, &str)]) -> Api {
    let api = Api::shop_with(|config| config.accounts.interval = Duration::from_millis(100)).await;
    for (flag, audit) in audited {
        audit_flag(&api, flag, audit).await;
    }
    api
}

async fn audit_flag(api: &Api, flag: &str, audit: &str) {
    let patch = json!({"reason": "to be audited", "patch": {"audit_evaluations": audit}});
    let path = format!("/api/v1/projects/shop/flags/{flag}");
    api.owner(Method::PATCH, &path).json(&patch).send().await.expect(200);
}

async fn records(api: &Api) -> Vec<Record> {
    let rows = api.node.audit_page(0, 1_000).await.expect("records");
    rows.iter().map(|row| serde_json::from_slice(&row.bytes).expect("a record")).collect()
}

/// Waits until the records say what is looked for.
async fn until<T>(api: &Api, what: &str, look: impl Fn(&[Record]) -> Option<T>) -> T {
    eventually(PATIENCE, what, async || look(&records(api).await)).await
}

fn evaluations(records: &[Record]) -> impl Iterator<Item = &Evaluations> {
    records.iter().filter_map(|record| record.evaluations.as_ref())
}

fn accesses(records: &[Record]) -> impl Iterator<Item = &Access> {
    records.iter().filter_map(|record| record.access.as_ref())
}

fn total(records: &[Record]) -> u64 {
    evaluations(records).map(Evaluations::total).sum()
}

#[tokio::test]
async fn evaluations_of_flags_that_ask_for_it_add_up() {
    let api = shop(&[("plain", "summary"), ("off", "summary"), ("code-default", "summary")]).await;
    let service = api.service("production").await;
    for _ in 0..7 {
        api.evaluation(&service, "plain").json(&json!({"context": {}})).send().await.expect(200);
        // Nobody asked for this one.
        api.evaluation(&service, "banner").json(&json!({"context": {}})).send().await.expect(200);
    }
    for _ in 0..5 {
        api.bulk(&service).json(&json!({"context": {}})).send().await.expect(200);
    }
    until(&api, "sum", |records| (total(records) == 7 + 5 * 3).then_some(())).await;
    let records = records(&api).await;
    let mut counts = std::collections::BTreeMap::new();
    for entry in evaluations(&records).flat_map(|evaluations| &evaluations.entries) {
        let key =
            (entry.flag.to_string(), entry.variant.as_deref().map(str::to_owned), entry.reason.as_str());
        *counts.entry(key).or_insert(0) += entry.count;
        let published = api.node.published();
        let flag = &published.state.project("shop").expect("the shop").flags[&*entry.flag];
        let environment = EnvironmentKey::new("production").expect("a key");
        assert_eq!(entry.revision, flag.evaluated_revision(&environment));
    }
    let on = |variant: &str| Some(variant.to_owned());
    assert_eq!(
        counts.into_iter().collect::<Vec<_>>(),
        [
            (("code-default".to_owned(), None, "STATIC"), 5),
            (("off".to_owned(), on("one"), "DISABLED"), 5),
            (("plain".to_owned(), on("on"), "STATIC"), 12),
        ]
    );
    for report in evaluations(&records).map(|evaluations| &evaluations.report) {
        assert!(report.missing.is_none() && report.unfinished.is_none() && report.from_ms <= report.to_ms);
    }
    // A 304 evaluates nothing.
    let first = api.bulk(&service).json(&json!({"context": {}})).send().await.expect(200);
    let again = api.bulk(&service).header("if-none-match", first.header("etag"));
    again.json(&json!({"context": {}})).send().await.expect(304);
    until(&api, "sum", |records| (total(records) == 22 + 3).then_some(())).await;
    // Nor does what comes after count anything of it again.
    api.evaluation(&service, "plain").json(&json!({"context": {}})).send().await.expect(200);
    let counted = until(&api, "sum", |records| (total(records) > 25).then(|| total(records))).await;
    assert_eq!(counted, 26);
}

#[tokio::test]
async fn each_evaluation_is_listed_up_to_the_ceiling() {
    let api = shop(&[("plain", "full")]).await;
    let service = api.service("production").await;
    let for_ann = json!({"context": {"targetingKey": "ann@example.com"}});
    api.evaluation(&service, "plain").json(&for_ann).send().await.expect(200);
    api.evaluation(&service, "plain").json(&json!({"context": {}})).send().await.expect(200);
    let listed = until(&api, "list", |records| {
        let listed: Vec<_> = evaluations(records).flat_map(|evaluations| evaluations.full.clone()).collect();
        (listed.len() == 2).then_some(listed)
    })
    .await;
    let state = &api.node.published().state;
    let cluster = state.cluster_id().expect("founded");
    let project = ProjectKey::new("shop").expect("a key");
    let hasher = KeyHasher::new(None, cluster, &project, &EnvironmentKey::new("production").expect("a key"));
    assert_eq!(listed[0].targeting_key, Some(hasher.hash("ann@example.com")));
    assert_eq!((listed[1].targeting_key, listed[1].variant.as_deref()), (None, Some("on")));
    let text =
        String::from_utf8(api.get("/api/v1/audit?kind=evaluations").await.expect(200).text.into_bytes());
    assert!(!text.expect("UTF-8").contains("ann@example.com"), "whom it was for is in no record");
    assert_eq!(total(&records(&api).await), 2, "what is listed is counted once");
}

#[tokio::test]
async fn beyond_the_ceiling_evaluations_are_counted_and_the_record_says_so() {
    // One interval for all of them, which the end of the node closes.
    let api = Api::shop().await;
    audit_flag(&api, "plain", "full").await;
    let service = api.service("production").await;
    let made = u64::from(LISTED_PER_FLAG_MAX) + 20;
    for _ in 0..made {
        api.evaluation(&service, "plain").json(&json!({"context": {}})).send().await.expect(200);
    }
    api.node.shutdown().await;
    let records = records(&api).await;
    let listed: usize = evaluations(&records).map(|evaluations| evaluations.full.len()).sum();
    let beyond: u64 = evaluations(&records)
        .filter_map(|evaluations| evaluations.full_exceeded.as_ref())
        .map(|exceeded| exceeded.flags.iter().map(|flag| flag.count).sum::<u64>())
        .sum();
    assert_eq!((total(&records), listed as u64 + beyond), (made, made));
    assert_eq!(beyond, 20);
    let rows = api.node.audit_page(0, 1_000).await.expect("records");
    assert!(rows.iter().all(|row| row.bytes.len() <= 64 * 1024));
    let reports: Vec<_> = evaluations(&records)
        .map(|evaluations| &evaluations.report)
        .chain(accesses(&records).map(|access| &access.report))
        .collect();
    let mut numbers: Vec<u64> = reports.iter().map(|report| report.number).collect();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{numbers:?}");
    assert_eq!(reports.iter().filter(|report| report.ends).count(), 1, "the last one says that it is");
}

#[tokio::test]
async fn reads_are_recorded_by_caller_route_and_status() {
    let api = shop(&[]).await;
    let service = api.service("production").await;
    let reader = api.token("admin", json!([{"role": "reader", "project": "shop"}])).await;
    for _ in 0..3 {
        api.get("/api/v1/projects/shop/flags/plain").await.expect(200);
    }
    api.get("/api/v1/projects/shop/flags/nothing").await.expect(404);
    api.call(Method::HEAD, "/api/v1/projects/shop").token(&reader).send().await.expect(200);
    api.call(Method::GET, "/api/v1/audit").token(&reader).send().await.expect(200);
    api.call(Method::GET, "/api/v1/tokens").token(&service).send().await.expect(403);
    let explain = json!({"flag": "plain", "context": {}});
    let path = "/api/v1/projects/shop/environments/production/explain";
    api.call(Method::POST, path).token(&service).json(&explain).send().await.expect(200);
    let stream = "/api/v1/projects/shop/environments/production/stream";
    drop(api.call(Method::GET, stream).token(&service).open().await);
    // None of these is a read of somebody who is known.
    api.call(Method::GET, "/api/v1/projects").send().await.expect(401);
    api.call(Method::GET, "/livez").send().await.expect(200);
    api.call(Method::GET, "/metrics").token(&api.owner).send().await.expect(200);

    let expected = [
        ("GET", "/api/v1/projects/{project}/flags/{key}", Some("shop"), 200, 3),
        ("GET", "/api/v1/projects/{project}/flags/{key}", Some("shop"), 404, 1),
        ("HEAD", "/api/v1/projects/{project}", Some("shop"), 200, 1),
        ("GET", "/api/v1/audit", None, 200, 1),
        ("GET", "/api/v1/tokens", None, 403, 1),
        ("POST", "/api/v1/projects/{project}/environments/{environment}/explain", Some("shop"), 200, 1),
        ("GET", "/api/v1/projects/{project}/environments/{environment}/stream", Some("shop"), 200, 1),
    ];
    let sum = |records: &[Record]| accesses(records).map(Access::total).sum::<u64>();
    until(&api, "reads", |records| (sum(records) == 9).then_some(())).await;
    let records = records(&api).await;
    for (method, route, project, status, count) in expected {
        let found: u64 = accesses(&records)
            .flat_map(|access| &access.entries)
            .filter(|e| &*e.method == method && &*e.route == route && e.project.as_deref() == project)
            .flat_map(|entry| &entry.statuses)
            .filter(|answered| answered.status == status)
            .map(|answered| answered.count)
            .sum();
        assert_eq!(found, count, "{method} {route} {status}: {records:?}");
    }
    assert!(records.iter().filter(|record| record.access.is_some()).all(|record| record.project.is_none()));
}

#[tokio::test]
async fn a_program_reports_what_it_evaluated_itself() {
    let api = shop(&[]).await;
    let (service, client) = (api.service("production").await, api.client("production").await);
    let path = |environment: &str| format!("/api/v1/projects/shop/environments/{environment}/evaluations");
    let now_ms = crate::clock::wall_ms();
    let entry = |count: u64| json!({"flag": "plain", "variant": "on", "reason": "STATIC", "revision": 3, "count": count});
    let report = |number: u64| {
        json!({"instance": "pod-7", "boot": "0123456789abcdef", "number": number, "from_ms": now_ms - 60_000,
            "to_ms": now_ms, "entries": [entry(4), entry(5)], "other": {"entries": 1, "count": 2}})
    };
    let send = async |token: &str, path: &str, body: &Value| {
        api.call(Method::POST, path).token(token).json(body).send().await
    };
    let first = send(&service, &path("production"), &report(1)).await.expect(200).json();
    assert_eq!((&first["repeated"], &first["other"]["count"]), (&json!(false), &json!(2)));
    let record =
        &records(&api).await[usize::try_from(first["sequence"].as_u64().expect("a sequence")).expect("few")];
    let noted = record.evaluations.as_ref().expect("evaluations");
    assert!(noted.self_reported && noted.report.reporter.ends_with("/pod-7"));
    assert_eq!((noted.total(), noted.entries.len()), (11, 1), "entries that are alike are added up");
    assert_eq!(record.actor.token.as_deref(), Some(&*noted.entries[0].token));

    let size = api.node.published().state.sequence();
    let again = send(&service, &path("production"), &report(1)).await.expect(200).json();
    assert_eq!((&again["repeated"], &again["sequence"]), (&json!(true), &first["sequence"]));
    assert!(
        records(&api).await[usize::try_from(size).expect("few")..].iter().all(|r| r.evaluations.is_none())
    );
    send(&service, &path("production"), &report(4)).await.expect(200);
    let last = records(&api).await.iter().rev().find_map(|record| record.evaluations.clone()).expect("one");
    assert_eq!(last.report.missing.map(|missing| (missing.from, missing.to)), Some((2, 3)));

    for (token, environment, expected) in
        [(&service, "dev", 404), (&client, "production", 403), (&api.owner, "production", 403)]
    {
        send(token, &path(environment), &report(9)).await.expect(expected);
    }
    for (field, wrong) in [
        ("instance", json!("a/b")),
        ("boot", json!("xyz")),
        ("number", json!(0)),
        ("to_ms", json!(now_ms + 3_600_000)),
        ("from_ms", json!(now_ms - 100_000_000_000_i64)),
        ("entries", json!([{"flag": "a b", "reason": "STATIC", "revision": 1, "count": 1}])),
        ("more", json!(1)),
    ] {
        let mut body = report(9);
        body[field] = wrong;
        let status = send(&service, &path("production"), &body).await.status.as_u16();
        assert!(status == 400 || status == 422, "{field}: {status}");
    }
}

#[tokio::test]
async fn a_program_that_reports_too_often_is_told_to_wait() {
    let api = Api::start_with(|options| {
        options.report_rate = crate::http::Rate { per_second: 1, burst: 2 };
    })
    .await;
    api.fill().await;
    let service = api.service("production").await;
    let mut statuses = Vec::new();
    for number in 1..5 {
        let report =
            json!({"instance": "a", "boot": "0123456789abcdef", "number": number, "from_ms": 0, "to_ms": 1});
        let path = "/api/v1/projects/shop/environments/production/evaluations";
        let answer = api.call(Method::POST, path).token(&service).json(&report).send().await;
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
}
