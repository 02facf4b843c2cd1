//! Who may call what: a row for every route, a column for every kind of caller. A route that is new in
//! `/openapi.json` and has no row here fails the test.

use std::{collections::BTreeSet, time::Duration};

use flagraft_tests::{
    api::Api,
    audit,
    catalog::{Caller, PROJECT, put, switch},
    cluster::{Cluster, Fingerprint, Setup},
    wait,
};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

/// The kinds of caller, in the order of the table's columns. From the fifth on, each holds a good token.
const CALLERS: [&str; 13] = [
    "nobody",    // no token
    "malformed", // no token of ours
    "unknown",   // well-formed, but never made here
    "revoked",   // was an owner's
    "expired",   // was an owner's
    "service",   // evaluates in shop/production
    "client",    // the same, in a browser
    "tenant",    // owner of another project
    "dev",       // writer of shop, in the environment dev only
    "reader",    // of all projects, as the following
    "writer",
    "operator",
    "owner",
];

/// Method and route; the path to call; the body; the statuses that the callers get, in their order. `{own}` stands for
/// the caller's name: each has objects of its own, so that one caller's success is not the next one's failure.
#[rustfmt::skip]
const TABLE: &[(&str, &str, &str, &str)] = &[
    // route, path, body                                                                nob mal unk rev exp svc cli ten dev rea wri ope own
    ("POST /ofrep/v1/evaluate/flags/{key}", "/ofrep/v1/evaluate/flags/plain", "{}",
        "401 401 401 401 401 200 404 403 403 403 403 403 403"),
    ("POST /ofrep/v1/evaluate/flags", "/ofrep/v1/evaluate/flags", "{}",
        "401 401 401 401 401 200 200 403 403 403 403 403 403"),
    ("GET /ofrep/v1/stream", "/ofrep/v1/stream?ticket=tok_noneatall.00", "",
        "401 401 401 401 401 401 401 401 401 401 401 401 401"),
    ("GET /api/v1/projects", "/api/v1/projects", "",
        "401 401 401 401 401 403 403 200 200 200 200 200 200"),
    ("GET /api/v1/projects/{project}", "/api/v1/projects/shop", "",
        "401 401 401 401 401 403 403 404 200 200 200 200 200"),
    ("PUT /api/v1/projects/{project}", "/api/v1/projects/{own}", r#"{"reason": "r", "project": {"name": "n"}}"#,
        "401 401 401 401 401 403 403 404 404 403 403 403 200"),
    ("PATCH /api/v1/projects/{project}", "/api/v1/projects/{own}", r#"{"reason": "r", "patch": {"name": "m"}}"#,
        "401 401 401 401 401 403 403 404 404 403 403 403 200"),
    ("POST /api/v1/projects/{project}/changes", "/api/v1/projects/shop/changes",
        r#"{"reason": "r", "operations": [{"op": "flag.disable", "flag": "{own}", "environment": "production"}]}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("GET /api/v1/projects/{project}/environments", "/api/v1/projects/shop/environments", "",
        "401 401 401 401 401 403 403 404 200 200 200 200 200"),
    ("GET /api/v1/projects/{project}/environments/{environment}", "/api/v1/projects/shop/environments/production", "",
        "401 401 401 401 401 403 403 404 404 200 200 200 200"),
    ("PUT /api/v1/projects/{project}/environments/{environment}", "/api/v1/projects/shop/environments/{own}",
        r#"{"reason": "r", "environment": {"name": "n"}}"#,
        "401 401 401 401 401 403 403 404 403 403 403 200 200"),
    ("PATCH /api/v1/projects/{project}/environments/{environment}", "/api/v1/projects/shop/environments/{own}",
        r#"{"reason": "r", "patch": {"name": "m"}}"#,
        "401 401 401 401 401 403 403 404 403 403 403 200 200"),
    ("DELETE /api/v1/projects/{project}/environments/{environment}", "/api/v1/projects/shop/environments/{own}?reason=r", "",
        "401 401 401 401 401 403 403 404 403 403 403 200 200"),
    ("POST /api/v1/projects/{project}/environments/{environment}/explain",
        "/api/v1/projects/shop/environments/production/explain", r#"{"flag": "plain"}"#,
        "401 401 401 401 401 200 403 404 404 200 200 200 200"),
    ("POST /api/v1/projects/{project}/environments/{environment}/evaluations",
        "/api/v1/projects/shop/environments/production/evaluations", r#"{}"#,
        "401 401 401 401 401 400 403 403 403 403 403 403 403"),
    ("GET /api/v1/projects/{project}/environments/{environment}/definitions",
        "/api/v1/projects/shop/environments/production/definitions", "",
        "401 401 401 401 401 200 403 404 404 200 200 200 200"),
    ("GET /api/v1/projects/{project}/environments/{environment}/stream",
        "/api/v1/projects/shop/environments/production/stream", "",
        "401 401 401 401 401 200 403 404 404 200 200 200 200"),
    ("GET /api/v1/projects/{project}/flags", "/api/v1/projects/shop/flags", "",
        "401 401 401 401 401 403 403 404 200 200 200 200 200"),
    ("GET /api/v1/projects/{project}/flags/{key}", "/api/v1/projects/shop/flags/plain", "",
        "401 401 401 401 401 403 403 404 200 200 200 200 200"),
    ("PUT /api/v1/projects/{project}/flags/{key}", "/api/v1/projects/shop/flags/{own}",
        r#"{"reason": "r", "flag": {"type": "boolean", "variants": {"on": true, "off": false}, "off_variant": "off", "name": "n"}}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("PATCH /api/v1/projects/{project}/flags/{key}", "/api/v1/projects/shop/flags/{own}", r#"{"reason": "r", "patch": {"name": "m"}}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("GET /api/v1/projects/{project}/flags/{key}/history", "/api/v1/projects/shop/flags/plain/history", "",
        "401 401 401 401 401 403 403 404 403 200 200 200 200"),
    ("POST /api/v1/projects/{project}/flags/{key}/copy", "/api/v1/projects/shop/flags/{own}/copy",
        r#"{"reason": "r", "from": "production", "to": "staging"}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("PUT /api/v1/projects/{project}/flags/{key}/environments/{environment}", "/api/v1/projects/shop/flags/{own}/environments/production",
        r#"{"reason": "r", "configuration": {"enabled": true, "default": {"variant": "off"}}}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("POST /api/v1/projects/{project}/flags/{key}/environments/{environment}/enable",
        "/api/v1/projects/shop/flags/{own}/environments/dev/enable", r#"{"reason": "r"}"#,
        "401 401 401 401 401 403 403 404 200 403 200 200 200"),
    ("POST /api/v1/projects/{project}/flags/{key}/environments/{environment}/disable",
        "/api/v1/projects/shop/flags/{own}/environments/production/disable", r#"{"reason": "r"}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("POST /api/v1/projects/{project}/flags/{key}/archive", "/api/v1/projects/shop/flags/{own}/archive", r#"{"reason": "r"}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("POST /api/v1/projects/{project}/flags/{key}/restore", "/api/v1/projects/shop/flags/{own}/restore", r#"{"reason": "r"}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("DELETE /api/v1/projects/{project}/flags/{key}", "/api/v1/projects/shop/flags/{own}?reason=r", "",
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("GET /api/v1/projects/{project}/segments", "/api/v1/projects/shop/segments", "",
        "401 401 401 401 401 403 403 404 200 200 200 200 200"),
    ("GET /api/v1/projects/{project}/segments/{key}", "/api/v1/projects/shop/segments/staff", "",
        "401 401 401 401 401 403 403 404 200 200 200 200 200"),
    ("GET /api/v1/projects/{project}/segments/{key}/members", "/api/v1/projects/shop/segments/staff/members?list=included", "",
        "401 401 401 401 401 403 403 404 200 200 200 200 200"),
    ("PUT /api/v1/projects/{project}/segments/{key}", "/api/v1/projects/shop/segments/{own}", r#"{"reason": "r", "segment": {"included": ["a"]}}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("PATCH /api/v1/projects/{project}/segments/{key}", "/api/v1/projects/shop/segments/{own}", r#"{"reason": "r", "patch": {"name": "m"}}"#,
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("DELETE /api/v1/projects/{project}/segments/{key}", "/api/v1/projects/shop/segments/{own}?reason=r", "",
        "401 401 401 401 401 403 403 404 403 403 200 200 200"),
    ("GET /api/v1/token", "/api/v1/token", "",
        "401 401 401 401 401 200 403 200 200 200 200 200 200"),
    ("GET /api/v1/tokens", "/api/v1/tokens", "",
        "401 401 401 401 401 403 403 200 200 200 200 200 200"),
    ("POST /api/v1/tokens", "/api/v1/tokens",
        r#"{"reason": "r", "token": {"name": "{own}", "kind": "service", "grants": [{"role": "reader", "project": "shop", "environments": ["production"]}]}}"#,
        "401 401 401 401 401 403 403 404 403 403 403 403 201"),
    ("DELETE /api/v1/tokens/{id}", "/api/v1/tokens/{token-of-own}?reason=r", "",
        "401 401 401 401 401 403 403 404 403 403 403 403 200"),
    ("POST /api/v1/changes", "/api/v1/changes",
        r#"{"reason": "r", "operations": [{"op": "signing_key.revoke", "signing_key": "key_fe812c12f3ab4ce6ac5db69ac352f906"}]}"#,
        "401 401 401 401 401 403 403 404 404 404 404 404 404"),
    ("GET /api/v1/signing-keys", "/api/v1/signing-keys", "",
        "401 401 401 401 401 403 403 200 200 200 200 200 200"),
    ("POST /api/v1/signing-keys", "/api/v1/signing-keys",
        r#"{"reason": "r", "signing_key": {"public_key": "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=", "name": "n", "actor": {"type": "user", "id": "ann"}}}"#,
        "401 401 401 401 401 403 403 403 403 403 403 403 200"),
    ("DELETE /api/v1/signing-keys/{id}", "/api/v1/signing-keys/key_00000000000000000000000000000000?reason=r", "",
        "401 401 401 401 401 403 403 404 404 404 404 404 404"),
    ("GET /api/v1/audit", "/api/v1/audit", "",
        "401 401 401 401 401 403 403 200 403 200 200 200 200"),
    ("GET /api/v1/audit/export", "/api/v1/audit/export?checkpoint=none", "",
        "401 401 401 401 401 403 403 200 403 200 200 200 200"),
    ("GET /api/v1/audit/proof", "/api/v1/audit/proof?sequence=0", "",
        "401 401 401 401 401 403 403 403 403 200 200 200 200"),
    // Nothing is signed in a cluster that makes no checkpoints.
    ("GET /api/v1/audit/checkpoint", "/api/v1/audit/checkpoint", "",
        "401 401 401 401 401 403 403 403 403 404 404 404 404"),
    ("GET /api/v1/audit/keys", "/api/v1/audit/keys", "",
        "401 401 401 401 401 403 403 403 403 200 200 200 200"),
    ("POST /api/v1/audit/keys/rotate", "/api/v1/audit/keys/rotate", r#"{"reason": "r"}"#,
        "401 401 401 401 401 403 403 403 403 403 403 403 201"),
    ("POST /api/v1/audit/keys/retire", "/api/v1/audit/keys/retire",
        r#"{"reason": "r", "node": 1, "public_key": "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}"#,
        "401 401 401 401 401 403 403 403 403 403 403 403 404"),
    ("GET /api/v1/audit/retention", "/api/v1/audit/retention", "",
        "401 401 401 401 401 403 403 403 403 200 200 200 200"),
    ("PUT /api/v1/audit/retention", "/api/v1/audit/retention", r#"{"reason": "r", "keep_days": {"access": 36500}}"#,
        "401 401 401 401 401 403 403 403 403 403 403 403 200"),
    ("PUT /api/v1/audit/holds/{id}", "/api/v1/audit/holds/case", r#"{"reason": "r", "from": 0}"#,
        "401 401 401 401 401 403 403 403 403 403 403 403 201"),
    ("DELETE /api/v1/audit/holds/{id}", "/api/v1/audit/holds/case?reason=r", "",
        "401 401 401 401 401 403 403 403 403 403 403 403 200"),
    ("GET /api/v1/backup", "/api/v1/backup", "",
        "401 401 401 401 401 403 403 403 403 403 403 200 200"),
    ("GET /api/v1/requests/{id}", "/api/v1/requests/never-sent", "",
        "401 401 401 401 401 403 403 404 404 404 404 404 404"),
    ("GET /api/v1/cluster", "/api/v1/cluster", "",
        "401 401 401 401 401 200 403 200 200 200 200 200 200"),
    ("POST /api/v1/cluster/members", "/api/v1/cluster/members", r#"{"reason": "r", "node_id": 40}"#,
        "401 401 401 401 401 403 403 403 403 403 403 403 201"),
    ("POST /api/v1/cluster/members/{id}/promote", "/api/v1/cluster/members/1/promote", r#"{"reason": "r"}"#,
        "401 401 401 401 401 403 403 403 403 403 403 403 200"),
    // The last voter stays.
    ("DELETE /api/v1/cluster/members/{id}", "/api/v1/cluster/members/1?reason=r", "",
        "401 401 401 401 401 403 403 403 403 403 403 403 409"),
    ("POST /api/v1/cluster/leader", "/api/v1/cluster/leader", r#"{"reason": "r", "to": 1}"#,
        "401 401 401 401 401 403 403 403 403 403 403 200 200"),
    ("GET /livez", "/livez", "",
        "200 200 200 200 200 200 200 200 200 200 200 200 200"),
    ("GET /readyz", "/readyz", "",
        "200 200 200 200 200 200 200 200 200 200 200 200 200"),
    ("GET /readyz", "/readyz?verbose", "",
        "401 401 401 401 401 200 403 200 200 200 200 200 200"),
    ("GET /metrics", "/metrics", "",
        "401 401 401 401 401 200 403 200 200 200 200 200 200"),
    ("GET /openapi.json", "/openapi.json", "",
        "401 401 401 401 401 200 403 200 200 200 200 200 200"),
    // Last, because it takes all of the above with it.
    ("DELETE /api/v1/projects/{project}", "/api/v1/projects/{own}?reason=r", "",
        "401 401 401 401 401 403 403 404 404 403 403 403 200"),
];

/// A caller's secret, and the id of a token that the row on revoking takes from it.
struct Held {
    secret: Option<String>,
    victim: String,
}

async fn hold(cluster: &Cluster, name: &'static str) -> Held {
    let victim = cluster.create_token(&Caller::service(PROJECT, "production")).await.0;
    let make = async |caller: Caller| cluster.create_token(&caller).await;
    let owner = Caller::admin("owner");
    let secret = match name {
        "nobody" => None,
        "malformed" => Some("fr_adm_certainly-not".to_owned()),
        "unknown" => Some(made_elsewhere().await),
        "revoked" => {
            let (id, secret) = make(owner).await;
            cluster.admin(1).call(Method::DELETE, &format!("/api/v1/tokens/{id}?reason=r")).ok().await;
            Some(secret)
        }
        "expired" => {
            let soon = Timestamp::now() + SignedDuration::from_secs(2);
            let (_, secret) = make(owner.until(&soon.to_string())).await;
            let api = cluster.with_token(1, &secret);
            wait::until("a token to expire", Duration::from_secs(10), || async {
                match api.get("/api/v1/projects").answer().await.status {
                    401 => Ok(()),
                    status => Err(format!("{status}")),
                }
            })
            .await;
            Some(secret)
        }
        "service" => Some(make(Caller::service(PROJECT, "production")).await.1),
        "client" => Some(make(Caller::client(PROJECT, "production")).await.1),
        "tenant" => Some(make(owner.on("elsewhere")).await.1),
        "dev" => Some(make(Caller::admin("writer").on(PROJECT).only_in("dev")).await.1),
        "owner" => Some(make(owner).await.1),
        role => Some(make(Caller::admin(role)).await.1),
    };
    Held { secret, victim }
}

/// The secret of a token of another cluster.
async fn made_elsewhere() -> String {
    Setup::of(1).start().await.create_token(&Caller::admin("owner")).await.1
}

/// A project, environment, flag and segment for each caller.
async fn furnish(cluster: &Cluster) {
    let node = cluster.admin(1);
    cluster.create_project(PROJECT, &["production", "staging", "dev"]).await;
    cluster.create_project("elsewhere", &["production"]).await;
    let mut operations = vec![
        put(&switch("plain", false)),
        json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ada"]}}),
    ];
    for name in CALLERS {
        cluster.create_project(name, &[]).await;
        operations.extend([
            put(&switch(name, false)),
            json!({"op": "segment.put", "segment": {"key": name, "included": ["ada"]}}),
            json!({"op": "environment.put", "environment": {"key": name, "name": name, "order": 50}}),
        ]);
    }
    node.change(PROJECT, "objects for each caller", operations).ok().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_every_kind_of_caller_as_the_table_says() {
    let cluster = Setup::of(1).with_arg("--recorded-rejections-per-second", 1000).start().await;
    furnish(&cluster).await;
    let mut callers: Vec<(&str, Api, String)> = Vec::new();
    for name in CALLERS {
        let held = hold(&cluster, name).await;
        let api = held.secret.map_or_else(|| cluster.anonymous(1), |secret| cluster.with_token(1, &secret));
        callers.push((name, api, held.victim));
    }
    let mut faults = Vec::new();
    let mut before = cluster.fingerprint(1).await;
    for (route, path, body, statuses) in TABLE {
        let (method, _) = route.split_once(' ').expect("a method and a path");
        let statuses: Vec<u16> =
            statuses.split_whitespace().map(|status| status.parse().expect("a status")).collect();
        assert_eq!(statuses.len(), CALLERS.len(), "{route} has no column for some caller");
        for ((name, api, victim), expected) in callers.iter().zip(statuses) {
            let own = |text: &str| text.replace("{own}", name).replace("{token-of-own}", victim);
            // A stream has no end that could be waited for.
            let is_endless = expected == 200 && route.ends_with("/stream");
            let method = if is_endless { "HEAD" } else { method };
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            let mut call = api.call(method, &own(path));
            if !body.is_empty() {
                call = call.bytes(own(body));
            }
            let answer = call.answer().await;
            if answer.status != expected {
                faults.push(format!("{route} by {name}: {}, not {expected}: {}", answer.status, answer.body));
            } else if answer.status >= 400 && answer.error_message().is_none_or(|message| message.len() < 15)
            {
                faults.push(format!("{route} by {name}: no message that helps: {answer:?}"));
            }
            let after = cluster.fingerprint(1).await;
            if answer.status >= 400 {
                faults.extend(
                    trace(&cluster, &before, &after).await.map(|fault| format!("{route} by {name}: {fault}")),
                );
            }
            before = after;
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// What a refused call has changed. It may leave a record of itself and nothing else.
async fn trace(cluster: &Cluster, before: &Fingerprint, after: &Fingerprint) -> Option<String> {
    if after.revision != before.revision {
        return Some(format!(
            "refused, and the revision went from {} to {}",
            before.revision, after.revision
        ));
    }
    if after.audit_size == before.audit_size {
        return (after != before).then(|| format!("refused, and {before:?} became {after:?}"));
    }
    let records = audit::records(&cluster.admin(1)).await;
    let kinds: Vec<&Value> = records.iter().map(|record| &record["kind"]).collect();
    let new = &kinds[usize::try_from(before.audit_size).expect("small")..];
    // Beside its own record there may be the count of 401s, once a minute.
    let harmless = new.len() <= 2 && new.iter().all(|kind| *kind == "denied" || *kind == "rejected");
    (!harmless).then(|| format!("refused, and recorded as {new:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_has_a_row() {
    let cluster = Setup::of(1).start().await;
    let document = cluster.admin(1).get("/openapi.json").ok().await.body;
    let paths = document["paths"].as_object().expect("paths");
    let methods = |path: &str, item: &Value| -> Vec<String> {
        let known = ["get", "put", "post", "patch", "delete", "head", "options"];
        let item = item.as_object().expect("operations by method");
        item.keys()
            .filter(|m| known.contains(&m.as_str()))
            .map(|m| format!("{} {path}", m.to_uppercase()))
            .collect()
    };
    let served: BTreeSet<String> = paths.iter().flat_map(|(path, item)| methods(path, item)).collect();
    let rows: BTreeSet<String> = TABLE.iter().map(|(route, ..)| (*route).to_owned()).collect();
    let without: Vec<_> = served.difference(&rows).collect();
    assert!(without.is_empty(), "these routes have no row: {without:#?}");
    let gone: Vec<_> = rows.difference(&served).collect();
    assert!(gone.is_empty(), "these rows are of no route: {gone:#?}");
}

/// A token means one environment, whatever a request says.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_environment_evaluates_there_and_only_there() {
    let cluster = Setup::of(1).start().await;
    cluster.create_project(PROJECT, &["production", "dev"]).await;
    cluster.admin(1).change(PROJECT, "a flag", vec![put(&switch("plain", false))]).ok().await;
    let (_, dev) = cluster.create_token(&Caller::service(PROJECT, "dev")).await;
    let (_, production) = cluster.create_token(&Caller::service(PROJECT, "production")).await;
    let context = json!({"environment": "production", "project": PROJECT});
    let there = cluster.with_token(1, &production).evaluate("plain", &context).ok().await;
    let here = cluster.with_token(1, &dev).evaluate("plain", &context).ok().await;
    assert_eq!((there.value(), &there.body["reason"]), (&json!(true), &json!("STATIC")), "{there:?}");
    assert_eq!(
        (here.value(), &here.body["reason"]),
        (&json!(false), &json!("DISABLED")),
        "never configured there: {here:?}"
    );
}
