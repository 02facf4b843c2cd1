//! Every typed call: exactly what leaves, and that what a node answered reads into its type.

use axum::http::Response;
use flagraft_client::{
    Context,
    admin::{
        Answer, Call, Change, Receipt, Why, audit, cluster, environments, explanations, flags, projects,
        requests, segments, tokens,
    },
};
use flagraft_core::{
    document::FlagDocument,
    environment::{EnvironmentSpec, ProjectSpec},
    flag::FlagEnvironmentSpec,
    key::{EnvironmentKey, FlagKey, ProjectKey, SegmentKey},
    operation::{CopyPart, FlagDisable, Operation},
    proposal::{Cause, CauseKind},
    record::{RecordKind, RecordOutcome},
    seat::SeatRole,
    segment::{MemberList, SegmentSpec},
    token::{Grant, Role, TokenKind},
};
use serde_json::{Value, json};

use crate::{client, fake::Fake};

const FLAG: &str = include_str!("recorded/flag.json");
const TOKENS: &str = include_str!("recorded/tokens.json");
const CLUSTER: &str = include_str!("recorded/cluster.json");
const EXPLANATION: &str = include_str!("recorded/explanation.json");
const RECORDS: &str = include_str!("recorded/records.ndjson");
const HISTORY: &str = "9746036f91800f68";

fn why() -> Why {
    Why::new("why").ticket("OPS-1")
}

/// `{"reason", "ticket"}` and a field.
fn with(field: &str, value: Value) -> Value {
    json!({"reason": "why", "ticket": "OPS-1", field: value})
}

/// Makes a call that is answered with a text as a node would answer it, and checks the request that left.
async fn sent<T>(call: Call<T>, route: &str, body: Value, answer: &str) -> Answer<T> {
    let answer = answer.to_owned();
    let node = Fake::answering(move |_| {
        let response = Response::builder().header("content-type", "application/json");
        let response = response.header("flagraft-history", HISTORY).header("flagraft-revision", "8");
        let response = response.header("etag", format!("\"{HISTORY}.2\"")).header("flagraft-age-ms", "188");
        response.body(answer.clone()).expect("a response")
    })
    .await;
    let answer = client([&node.url]).send(&call).await.unwrap_or_else(|error| panic!("{route}: {error}"));
    let [seen] = node.seen().try_into().expect("one request");
    assert_eq!(format!("{} {}", seen.method, seen.uri), route);
    let sent =
        if seen.body.is_empty() { Value::Null } else { serde_json::from_str(&seen.body).expect("JSON") };
    assert_eq!(sent, body, "{route}");
    assert_eq!(seen.key.as_deref(), call.idempotency_key(), "{route}");
    // Nothing but what it needs: no cookie, no condition that was not asked for.
    let mut names = vec!["accept", "authorization", "host", "user-agent"];
    if !body.is_null() {
        names.extend(["content-length", "content-type"]);
    }
    names.extend(seen.key.as_ref().map(|_| "idempotency-key"));
    names.sort_unstable();
    let bodiless_write = ["content-length"].into_iter().filter(|_| body.is_null() && seen.method != "GET");
    let found: Vec<&str> = seen
        .headers
        .keys()
        .map(String::as_str)
        .filter(|name| !bodiless_write.clone().any(|n| n == *name))
        .collect();
    assert_eq!(found, names, "{route}");
    answer
}

/// A write of which the answer is a receipt.
async fn writes(call: Call<Receipt>, route: &str, body: Value) {
    let key = call.idempotency_key().expect("a write has one").to_owned();
    let receipt =
        json!({"revision": 4, "sequence": 3, "request_id": key, "outcome": "accepted", "replayed": false});
    let receipt = sent(call, route, body, &receipt.to_string()).await.read().expect("a receipt");
    assert_eq!((receipt.revision, receipt.sequence, receipt.request_id), (4, 3, key));
    assert!(!receipt.unchanged && !receipt.replayed && !receipt.dry_run && receipt.not_yet_on.is_empty());
}

#[tokio::test]
async fn projects_and_environments() {
    let project = json!({"key": "demo", "name": "Demo shop", "description": "An on-line shop.", "system": {"revision": 2}});
    let read =
        sent(projects::get("demo"), "GET /api/v1/projects/demo", Value::Null, &project.to_string()).await;
    assert_eq!(read.age_ms(), Some(188));
    assert_eq!(read.revision().map(|at| at.to_string()), Some(format!("{HISTORY}.8")));
    assert_eq!(read.etag().map(|at| at.to_string()), Some(format!("{HISTORY}.2")));
    let read = read.read().expect("a project");
    assert_eq!(
        (&*read.object.key, read.object.name.as_str(), read.system.revision),
        ("demo", "Demo shop", 2)
    );
    let page = json!({"items": [project], "next": "c1", "revision": 3});
    let page = sent(projects::list(), "GET /api/v1/projects", Value::Null, &page.to_string()).await;
    let page = page.read().expect("a page");
    assert_eq!((page.items.len(), page.next.as_deref(), page.revision), (1, Some("c1"), 3));
    assert_eq!(page.items[0], read);

    let spec = ProjectSpec {
        key: ProjectKey::new("demo").expect("a key"),
        name: "Demo".to_owned(),
        description: String::new(),
    };
    let body = with("project", json!({"key": "demo", "name": "Demo", "description": ""}));
    writes(projects::put("demo", &spec, why()), "PUT /api/v1/projects/demo", body).await;
    // As it is, whatever is in it.
    let raw = json!({"name": "Demo", "of_a_later_version": 1});
    let body = with("project", raw.clone());
    writes(projects::put("demo", &raw, why()), "PUT /api/v1/projects/demo", body).await;
    let patch = json!({"name": null});
    let body = with("patch", patch.clone());
    writes(projects::patch("demo", &patch, why()), "PATCH /api/v1/projects/demo", body).await;
    let route = "DELETE /api/v1/projects/demo?reason=why&ticket=OPS-1";
    writes(projects::delete("demo", why()), route, Value::Null).await;

    let environment = json!({
        "key": "production", "name": "Production", "order": 30, "system": {"revision": 2, "touched_revision": 7},
        "policy": {"approvals": {"min": 0}, "freezes": [], "hibernated": null, "signed": false,
            "ticket": {"pattern": "^[A-Z]+-[0-9]+$", "required": true}},
    });
    let at = "/api/v1/projects/demo/environments/production";
    let call = environments::get("demo", "production");
    let read = sent(call, &format!("GET {at}"), Value::Null, &environment.to_string()).await;
    let read = read.read().expect("an environment");
    assert!(read.object.policy.ticket.required);
    assert_eq!(read.system.touched_revision, Some(7));
    let page = json!({"items": [environment], "next": null, "revision": 3}).to_string();
    let call = environments::list("demo");
    let page = sent(call, "GET /api/v1/projects/demo/environments", Value::Null, &page).await;
    let spec: EnvironmentSpec = page.read().expect("a page").items.remove(0).object;
    let mut body = environment.clone();
    body.as_object_mut().expect("an object").remove("system");
    let call = environments::put("demo", "production", &spec, why());
    writes(call, &format!("PUT {at}"), with("environment", body)).await;
    let call = environments::patch("demo", "production", &json!({"order": 1}), why());
    writes(call, &format!("PATCH {at}"), with("patch", json!({"order": 1}))).await;
    let call = environments::delete("demo", "production", "why");
    writes(call, &format!("DELETE {at}?reason=why"), Value::Null).await;
}

#[tokio::test]
async fn flags_are_read_listed_and_written() {
    let at = "/api/v1/projects/demo/flags/checkout-v2";
    let get = || flags::get("demo", "checkout-v2");
    let read = sent(get(), &format!("GET {at}"), Value::Null, FLAG).await.read().expect("a flag");
    let FlagDocument { definition, environments } = &read.object;
    assert!(definition.critical && environments["production"].enabled);
    assert_eq!((environments["production"].rules.len(), read.system.revision), (2, 2));

    let filter = flags::Filter {
        tag: Some("a b".to_owned()),
        owner: Some("me".to_owned()),
        purpose: Some("kill-switch".to_owned()),
        archived: true,
        critical: true,
    };
    let page =
        json!({"items": [serde_json::from_str::<Value>(FLAG).expect("JSON")], "next": null, "revision": 3});
    let route =
        "GET /api/v1/projects/demo/flags?tag=a+b&owner=me&purpose=kill-switch&archived=true&critical=true";
    let page = sent(flags::list("demo", filter), route, Value::Null, &page.to_string()).await;
    assert_eq!(page.read().expect("a page").items, std::slice::from_ref(&read));
    let empty = json!({"items": [], "next": null, "revision": 3}).to_string();
    let call = flags::list("demo", flags::Filter::default());
    sent(call, "GET /api/v1/projects/demo/flags", Value::Null, &empty).await;

    // What one gets one may put.
    let mut object: Value = serde_json::from_str(FLAG).expect("JSON");
    object.as_object_mut().expect("an object").remove("system");
    let call = flags::put("demo", "checkout-v2", &read.object, why());
    writes(call, &format!("PUT {at}"), with("flag", object)).await;
    let call = flags::patch("demo", "checkout-v2", &json!({"owner": "me"}), why());
    writes(call, &format!("PATCH {at}"), with("patch", json!({"owner": "me"}))).await;
    let call = flags::delete("demo", "checkout-v2", why());
    writes(call, &format!("DELETE {at}?reason=why&ticket=OPS-1"), Value::Null).await;
    let configuration = FlagEnvironmentSpec { enabled: true, ..FlagEnvironmentSpec::default() };
    let body = json!({"enabled": true, "prerequisites": [], "targets": [], "rules": [], "default": null, "hold": null});
    let call = flags::configure("demo", "checkout-v2", "dev", &configuration, why());
    writes(call, &format!("PUT {at}/environments/dev"), with("configuration", body)).await;
    let body = json!({"reason": "why", "ticket": "OPS-1"});
    let call = flags::enable("demo", "checkout-v2", "dev", why());
    writes(call, &format!("POST {at}/environments/dev/enable"), body).await;
    let call = flags::disable("demo", "checkout-v2", "dev", "why");
    writes(call, &format!("POST {at}/environments/dev/disable"), json!({"reason": "why"})).await;
}

/// Calls that are one operation: the domain knows it.
#[tokio::test]
async fn operations_are_changes() {
    let members = ["ada".to_owned(), "bea".to_owned()];
    let rows = [
        (flags::archive("demo", "a", why()), json!({"op": "flag.archive", "flag": "a"})),
        (flags::restore("demo", "a", why()), json!({"op": "flag.restore", "flag": "a"})),
        (
            flags::copy("demo", "a", "dev", "live", &[], why()),
            json!({"op": "flag.copy", "flag": "a", "from": "dev", "to": "live"}),
        ),
        (
            flags::copy("demo", "a", "dev", "live", &[CopyPart::Rules, CopyPart::Enabled], why()),
            json!({"op": "flag.copy", "flag": "a", "from": "dev", "to": "live", "parts": ["rules", "enabled"]}),
        ),
        (
            segments::add_members("demo", "vip", MemberList::Included, &members, why()),
            json!({"op": "segment.members.add", "segment": "vip", "list": "included", "members": ["ada", "bea"]}),
        ),
        (
            segments::remove_members("demo", "vip", MemberList::Excluded, &["ada"], why()),
            json!({"op": "segment.members.remove", "segment": "vip", "list": "excluded", "members": ["ada"]}),
        ),
    ];
    for (call, operation) in rows {
        Operation::from_value(operation.clone()).unwrap_or_else(|invalid| panic!("{operation}: {invalid}"));
        writes(call, "POST /api/v1/projects/demo/changes", with("operations", json!([operation]))).await;
    }
}

#[tokio::test]
async fn a_change_says_all_that_the_api_takes() {
    let disable = Operation::FlagDisable(FlagDisable {
        flag: FlagKey::new("a").expect("a key"),
        environment: EnvironmentKey::new("live").expect("a key"),
        if_revision: Some(7),
    });
    let later = json!({"op": "flag.of_a_later_version"});
    let call = Change::new("demo", why())
        .operation(&disable)
        .operations([&later])
        .expect_revision(9)
        .dry_run()
        .caused_by(Cause { kind: CauseKind::Rollback, id: "4".to_owned() })
        .call()
        .with_key("order-66");
    let body = json!({
        "reason": "why", "ticket": "OPS-1", "expect_revision": 9, "dry_run": true,
        "caused_by": {"kind": "rollback", "id": "4"},
        "operations": [{"op": "flag.disable", "flag": "a", "environment": "live", "if_revision": 7}, later],
    });
    let answer = json!({
        "revision": 9, "sequence": 8, "request_id": "order-66", "outcome": "unchanged", "replayed": true,
        "dry_run": true, "not_yet_on": [2, 3],
    });
    let answer = sent(call, "POST /api/v1/projects/demo/changes", body, &answer.to_string()).await;
    assert_eq!(answer.idempotency_key(), Some("order-66"));
    let receipt = answer.read().expect("a receipt");
    assert!(receipt.unchanged && receipt.replayed && receipt.dry_run);
    assert_eq!((receipt.request_id.as_str(), receipt.not_yet_on.as_slice()), ("order-66", [2, 3].as_slice()));
}

/// How new a read has to be, and what a write rests on, are headers of any call.
#[tokio::test]
async fn terms_are_headers() {
    let node = Fake::saying(200, json!({})).await;
    let admin = client([&node.url]);
    let at = format!("{HISTORY}.42").parse().expect("a revision");
    admin.send(&flags::get("demo", "a").confirmed().not_older_than(at)).await.expect("an answer");
    admin.send(&flags::put("demo", "a", &json!({}), "why").if_at(at)).await.expect("an answer");
    admin.send(&flags::put("demo", "a", &json!({}), "why").if_absent()).await.expect("an answer");
    let [read, update, creation] = node.seen().try_into().expect("three requests");
    assert_eq!(read.headers["flagraft-consistency"], "linearizable");
    assert_eq!(read.headers["flagraft-min-revision"], format!("{HISTORY}.42"));
    assert_eq!(update.headers["if-match"], format!("\"{HISTORY}.42\""));
    assert_eq!(creation.headers["if-none-match"], "*");
}

#[tokio::test]
async fn segments_and_their_members() {
    let segment = json!({
        "key": "staff", "name": "Staff", "description": "People who work at the shop.", "environments": {},
        "when": {"attribute": "role", "op": "eq", "values": ["staff"]},
        "system": {"revision": 2, "included_count": 3, "excluded_count": 0},
    });
    let at = "/api/v1/projects/demo/segments/staff";
    let call = segments::get("demo", "staff");
    let read = sent(call, &format!("GET {at}"), Value::Null, &segment.to_string()).await;
    let read = read.read().expect("a segment");
    assert_eq!((read.system.included_count, read.object.included.is_none()), (3, true));
    let page = json!({"items": [segment], "next": null, "revision": 3}).to_string();
    let page = sent(segments::list("demo"), "GET /api/v1/projects/demo/segments", Value::Null, &page).await;
    assert_eq!(page.read().expect("a page").items[0], read);
    let spec = SegmentSpec {
        key: SegmentKey::new("staff").expect("a key"),
        name: String::new(),
        description: String::new(),
        included: Some(vec!["ada".to_owned()]),
        excluded: None,
        when: None,
        environments: Default::default(),
    };
    let body = json!({"key": "staff", "name": "", "description": "", "included": ["ada"], "when": null, "environments": {}});
    writes(segments::put("demo", "staff", &spec, why()), &format!("PUT {at}"), with("segment", body)).await;
    let call = segments::patch("demo", "staff", &json!({"name": "S"}), why());
    writes(call, &format!("PATCH {at}"), with("patch", json!({"name": "S"}))).await;
    let call = segments::delete("demo", "staff", why());
    writes(call, &format!("DELETE {at}?reason=why&ticket=OPS-1"), Value::Null).await;

    let node = Fake::answering(|_| Response::new("\"ada\"\n\"b\\\"e\"\n\"liu\"\n".to_owned())).await;
    let call = segments::members("demo", "staff", MemberList::Excluded);
    let members = client([&node.url]).send(&call).await.expect("an answer").lines();
    assert_eq!(members.expect("members"), ["ada", "b\"e", "liu"]);
    assert_eq!(node.seen()[0].uri, format!("{at}/members?list=excluded"));
}

#[tokio::test]
async fn tokens_are_made_listed_and_revoked() {
    let page = sent(tokens::list(), "GET /api/v1/tokens", Value::Null, TOKENS).await.read().expect("tokens");
    assert_eq!(page.items.len(), 3);
    assert_eq!((page.items[1].kind, page.items[1].grants[0].role), (TokenKind::Admin, Role::Owner));
    let grant = Grant {
        role: Role::Reader,
        project: Some(ProjectKey::new("demo").expect("a key")),
        environments: Some(vec![EnvironmentKey::new("dev").expect("a key")]),
    };
    let token = tokens::NewToken::new("ci", TokenKind::Service, [grant]);
    let body = json!({
        "name": "ci", "kind": "service", "actor": {"type": "service", "id": "ci"},
        "grants": [{"role": "reader", "project": "demo", "environments": ["dev"]}],
    });
    let made = json!({
        "outcome": "accepted", "replayed": false, "request_id": "tok-1", "revision": 5, "sequence": 7,
        "secret": "fr_svc_secret", "token": {"id": page.items[2].id, "name": "ci", "kind": "service"},
    });
    let call = || tokens::create(&token, why());
    let route = "POST /api/v1/tokens";
    let answer = sent(call(), route, with("token", body.clone()), &made.to_string()).await;
    assert!(!format!("{answer:?}").contains("fr_svc_secret"));
    let created = answer.read().expect("a token");
    assert!(!format!("{created:?}").contains("fr_svc_secret"), "{created:?}");
    assert_eq!(created.secret.expect("shown once").expose(), "fr_svc_secret");
    assert_eq!((created.made.id, created.receipt.revision), (page.items[2].id.clone(), 5));
    let mut replayed = made;
    replayed["secret"] = Value::Null;
    let answer = sent(call(), route, with("token", body), &replayed.to_string()).await;
    assert_eq!(answer.read().expect("a token").secret, None);
    let route = "DELETE /api/v1/tokens/tok_1?reason=why&ticket=OPS-1";
    writes(tokens::revoke("tok_1", why()), route, Value::Null).await;
}

#[tokio::test]
async fn what_became_of_a_request() {
    let get = || requests::get("order-66");
    let route = "GET /api/v1/requests/order-66";
    let accepted = json!({"at": "2026-11-26T09:35:30.126Z", "outcome": "accepted", "request_id": "order-66", "revision": 4, "sequence": 3});
    let status = sent(get(), route, Value::Null, &accepted.to_string()).await.read().expect("a status");
    assert_eq!(status.outcome, requests::RequestOutcome::Accepted { revision: 4 });
    assert_eq!((status.sequence, status.at.as_str()), (Some(3), "2026-11-26T09:35:30.126Z"));
    let rejected = json!({
        "at": "2026-11-26T09:35:30.17Z", "outcome": "rejected", "request_id": "order-66", "sequence": 5,
        "error": {"code": "not_found", "details": {"path": "/operations/0/flag"}, "message": "there is no flag"},
    });
    let status = sent(get(), route, Value::Null, &rejected.to_string()).await.read().expect("a status");
    let requests::RequestOutcome::Rejected { error } = status.outcome else { panic!("{status:?}") };
    assert_eq!((error.code.as_str(), error.message.as_str()), ("not_found", "there is no flag"));
}

#[tokio::test]
async fn the_audit_log() {
    let node = Fake::answering(|_| Response::new(RECORDS.to_owned())).await;
    let selection = audit::Selection {
        project: Some("demo".to_owned()),
        kinds: vec![RecordKind::Rejected],
        ..Default::default()
    };
    let admin = client([&node.url]);
    let page = admin.send(&audit::page(selection.clone(), 4, 2)).await.expect("an answer");
    assert_eq!(node.seen()[0].uri, "/api/v1/audit?from=4&limit=2&project=demo&kind=rejected");
    let records = page.lines().expect("records");
    let outcomes: Vec<(u64, RecordOutcome)> = records.iter().map(|r| (r.sequence, r.outcome)).collect();
    assert_eq!(outcomes, [(4, RecordOutcome::Unchanged), (5, RecordOutcome::Rejected)]);
    assert_eq!((records[0].actor.id.as_str(), records[0].reason.as_str()), ("owner", "a code leaked"));
    let mut stream = admin.records(selection, 4);
    let first = stream.next().await.expect("a record").expect("read");
    assert_eq!(Some(first.text()), RECORDS.lines().next());
    assert_eq!(first.read().expect("a record"), records[0]);
    assert!(stream.next().await.is_some_and(|record| record.is_ok()));
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn the_cluster_and_who_belongs_to_it() {
    let status = sent(cluster::status(), "GET /api/v1/cluster", Value::Null, CLUSTER).await;
    let status = status.read().expect("a status");
    assert_eq!((status.leader, status.invitations[0].role), (Some(1), SeatRole::Learner));
    let member = status.member(1).expect("a member");
    assert_eq!((member.role, member.state.as_str(), member.index), (SeatRole::Voter, "leader", status.index));
    assert!(status.member(4).is_none() && status.membership.settled);

    let receipt =
        json!({"outcome": "accepted", "replayed": false, "request_id": "r", "revision": 6, "sequence": 8});
    let and = |fields: Value| {
        let mut answer = receipt.clone();
        let fields = fields.as_object().expect("fields").clone();
        answer.as_object_mut().expect("an object").extend(fields);
        answer.to_string()
    };
    let body = json!({"reason": "why", "node_id": 4, "role": "learner", "expires_in_seconds": 60});
    let invited = and(json!({"join": "1=127.0.0.1:39571", "join_token": "fr_join_secret", "node_id": 4}));
    let call = cluster::invite(4, SeatRole::Learner, 60, "why");
    let invited = sent(call, "POST /api/v1/cluster/members", body, &invited).await.read().expect("invited");
    assert!(!format!("{invited:?}").contains("fr_join_secret"), "{invited:?}");
    assert_eq!(invited.join_token.as_ref().map(|token| token.expose()), Some("fr_join_secret"));
    assert_eq!((invited.join.as_str(), invited.receipt.revision), ("1=127.0.0.1:39571", 6));

    let followed = and(json!({"node_id": 4, "done": false, "waits_for": "node 4 lacks 9 entries"}));
    let route = "POST /api/v1/cluster/members/4/promote";
    let call = cluster::promote(4, "why");
    let promoted = sent(call, route, json!({"reason": "why"}), &followed).await.read().expect("stated");
    assert_eq!((promoted.done, promoted.waits_for.as_deref()), (false, Some("node 4 lacks 9 entries")));
    let route = "DELETE /api/v1/cluster/members/3?reason=why&ticket=OPS-1&successor=4";
    let followed = and(json!({"node_id": 3, "done": true, "waits_for": null}));
    let removed = sent(cluster::remove(3, Some(4), why()), route, Value::Null, &followed).await;
    assert!(removed.read().expect("stated").done);
    let led = and(json!({"leader": 2}));
    for to in [Some(2), None] {
        let body = json!({"reason": "why", "to": to});
        let led = sent(cluster::transfer(to, "why"), "POST /api/v1/cluster/leader", body, &led).await;
        assert_eq!(led.read().expect("done").leader, 2);
    }
}

#[tokio::test]
async fn an_evaluation_is_explained() {
    let context = Context::of("zoe").with("country", "DE");
    let call = explanations::get("demo", "production", "checkout-v2", &context);
    assert_eq!(call.idempotency_key(), None);
    let route = "POST /api/v1/projects/demo/environments/production/explain";
    let body = json!({"flag": "checkout-v2", "context": {"targetingKey": "zoe", "country": "DE"}});
    let explanation = sent(call, route, body, EXPLANATION).await.read().expect("an explanation");
    assert_eq!((explanation.flag.as_str(), explanation.variant.as_str()), ("checkout-v2", "on"));
    assert_eq!(
        (explanation.decided_by.step.as_str(), explanation.decided_by.id.as_deref()),
        ("rule", Some("ramp"))
    );
    assert_eq!(explanation.tried["rules"].as_array().map(Vec::len), Some(2));
}
