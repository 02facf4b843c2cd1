//! Bad input gets the right status, the error envelope, a message that a person can act on and a pointer to the fault;
//! and it changes nothing.

use flagraft_tests::{
    api::{Answer, Api},
    catalog::{ENVIRONMENT, PROJECT, put, switch},
    cluster::Setup,
};
use reqwest::Method;
use serde_json::{Value, json};

mod common;
use common::shop::Shop;

/// What becomes of a refused request in the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    /// It is wrong in itself: no trace.
    Nothing,
    /// The state refuses it: one record of the rejection.
    Record,
}

#[derive(Clone, Debug)]
struct Row {
    name: &'static str,
    method: Method,
    path: String,
    body: Vec<u8>,
    status: u16,
    code: &'static str,
    /// What the message must mention, so that a person can act on it.
    says: &'static str,
    /// The JSON pointer to the fault, where there is one.
    at: Option<&'static str>,
    leaves: Leaves,
}

impl Row {
    /// A request; see [`Row::is`] for what is expected of its answer.
    fn new(name: &'static str, method: Method, path: impl Into<String>, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        let path = path.into();
        let leaves = Leaves::Nothing;
        Self { name, method, path, body, status: 400, code: "invalid", says: "", at: None, leaves }
    }

    /// A change of the project.
    fn change(name: &'static str, operations: Value) -> Self {
        Self::body(name, json!({"reason": "bad input", "operations": operations}))
    }

    /// The body of a change of the project.
    fn body(name: &'static str, body: Value) -> Self {
        Self::new(name, Method::POST, changes(), &body)
    }

    /// Bytes in place of such a body.
    fn raw(name: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::body(name, json!({})) }
    }

    /// A change that writes a switch of which parts are replaced.
    fn switch(name: &'static str, changes: &[(&str, Value)]) -> Self {
        let mut flag = switch("new", false);
        for (pointer, value) in changes {
            match flag.pointer_mut(pointer) {
                Some(place) => *place = value.clone(),
                None => flag[pointer.trim_start_matches('/')] = value.clone(),
            }
        }
        Self::change(name, json!([put(&flag)]))
    }

    /// The same for its configuration in the environment, less what every configuration has.
    fn configured(name: &'static str, part: &str, value: Value) -> Self {
        let mut configuration = json!({"enabled": true, "default": {"variant": "on"}});
        configuration[part] = value;
        Self::switch(name, &[(&format!("/environments/{ENVIRONMENT}"), configuration)])
    }

    fn is(self, status: u16, code: &'static str) -> Self {
        Self { status, code, ..self }
    }

    fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    fn at(self, pointer: &'static str) -> Self {
        Self { at: Some(pointer), ..self }
    }

    fn recorded(self) -> Self {
        Self { leaves: Leaves::Record, ..self }
    }
}

fn changes() -> String {
    format!("/api/v1/projects/{PROJECT}/changes")
}

fn flag_path(tail: &str) -> String {
    format!("/api/v1/projects/{PROJECT}/flags/{tail}")
}

fn disable(flag: &str, environment: &str) -> Value {
    json!({"op": "flag.disable", "flag": flag, "environment": environment})
}

/// A switch that is on only where another is.
fn needing(key: &str, other: &str) -> Value {
    let mut flag = switch(key, false);
    flag["environments"][ENVIRONMENT]["prerequisites"] = json!([{"flag": other, "variants": ["on"]}]);
    flag
}

/// What is no request at all, or no change.
fn malformed() -> Vec<Row> {
    let mut much: Vec<Value> = (0..100).map(|n| put(&switch(&format!("many-{n}"), false))).collect();
    much.push(put(&switch("one-more", false)));
    let gate = disable("gate", ENVIRONMENT);
    let mut now = gate.clone();
    now["now"] = json!(true);
    vec![
        Row::raw("malformed JSON", "{\"reason\": \"x\", ").is(400, "malformed_json").says("JSON"),
        Row::raw("an empty body", "").is(400, "malformed_json"),
        Row::raw("bytes that are no text", [b'"', 0xff, b'"']).is(400, "malformed_json"),
        Row::raw("a body over the limit", vec![b' '; 2 << 20]).is(413, "body_too_large").says("bytes"),
        Row::raw("no JSON object", "[1, 2]"),
        Row::body("an unknown field", json!({"reason": "x", "operations": [], "force": true})).says("force"),
        Row::body("no reason", json!({"operations": [gate]})).says("reason"),
        Row::body("an empty reason", json!({"reason": "", "operations": [gate]})).at("/reason"),
        Row::body("a reason of another type", json!({"reason": 7, "operations": [gate]})).at("/reason"),
        Row::change("no operations", json!([])).at("/operations"),
        Row::change("operations that are no list", json!({})).at("/operations"),
        Row::change("101 operations", json!(much)).says("100").at("/operations"),
        Row::change("an unknown operation", json!([{"op": "flag.fly"}]))
            .says("flag.fly")
            .at("/operations/0/op"),
        Row::change("the cluster's own", json!([{"op": "system.cluster_version", "version": 1}]))
            .at("/operations/0/op"),
        Row::change("an unknown field of an operation", json!([now])).says("now"),
        Row::new("no route", Method::GET, "/api/v1/flags", &Value::Null).is(404, "no_such_path"),
        Row::new("another method", Method::PUT, "/api/v1/tokens", &json!({})).is(405, "method_not_allowed"),
    ]
}

/// Flags that are wrong in themselves: no state is asked, and nothing enters the log.
fn wrong_in_itself() -> Vec<Row> {
    let beyond = json!({
        "key": "new", "type": "integer", "variants": {"a": 9_007_199_254_740_992_u64}, "off_variant": "a",
    });
    let sounds = json!({"attribute": "a", "op": "sounds_like", "values": ["b"]});
    vec![
        Row::switch("a value of another type", &[("/variants", json!({"on": true, "off": "no"}))])
            .at("/operations/0/flag/variants/off"),
        Row::switch("an unknown type", &[("/type", json!("colour"))]).at("/operations/0/flag/type"),
        Row::switch("no variants", &[("/variants", json!({}))]).at("/operations/0/flag/variants"),
        Row::switch("an off variant that does not exist", &[("/off_variant", json!("maybe"))])
            .says("maybe")
            .at("/operations/0/flag/off_variant"),
        Row::switch("critical without a safe variant", &[("/critical", json!(true))])
            .says("safe variant")
            .at("/operations/0/flag/safe_variant"),
        Row::switch(
            "a safe variant that does not exist",
            &[("/critical", json!(true)), ("/safe_variant", json!("maybe"))],
        )
        .says("maybe")
        .at("/operations/0/flag/safe_variant"),
        Row::switch("an unknown field of a flag", &[("/colour", json!("red"))]).says("colour"),
        Row::switch("a key with a slash", &[("/key", json!("a/b"))]).at("/operations/0/flag/key"),
        Row::switch("a key of dots", &[("/key", json!(".."))]).at("/operations/0/flag/key"),
        Row::change("an integer beyond 2^53-1", json!([put(&beyond)])).at("/operations/0/flag/variants/a"),
        Row::configured("a default that does not exist", "default", json!({"variant": "maybe"}))
            .says("maybe"),
        Row::configured(
            "an unknown operator",
            "rules",
            json!([{"id": "r", "when": sounds, "serve": {"variant": "on"}}]),
        ),
        Row::configured(
            "weights of nothing",
            "default",
            json!({"rollout": {"by": "targetingKey", "seed": "s", "weights": []}}),
        ),
    ]
}

/// What is wrong in itself in an operation on a part of a flag or a segment.
fn wrong_parts() -> Vec<Row> {
    let on_gate = |op: &str, field: &str, value: Value| {
        let mut operation = json!({"op": op, "flag": "gate", "environment": ENVIRONMENT});
        operation[field] = value;
        json!([operation])
    };
    let ramp = json!({"id": "r", "serve": {"rollout": {"seed": "s", "weights": []}}});
    let unset =
        json!({"id": "r", "when": {"attribute": "a", "op": "in", "values": []}, "serve": {"variant": "on"}});
    let held = json!({"hold": {"variant": "on", "id": ""}});
    let members = json!([{"op": "segment.members.add", "segment": "staff", "list": "included", "members": ["ann", ""]}]);
    vec![
        Row::change("a rule that rolls out nothing", on_gate("rule.put", "rule", ramp))
            .at("/operations/0/rule/serve/rollout/weights"),
        Row::change("a condition without values", on_gate("rule.put", "rule", unset))
            .at("/operations/0/rule/when/values"),
        Row::change("a hold by nobody", on_gate("flag.configure", "configuration", held))
            .at("/operations/0/configuration/hold/id"),
        Row::change("weights that add up to nothing", on_gate("rollout.set", "weights", json!([])))
            .at("/operations/0/weights"),
        Row::change(
            "a default without a seed",
            on_gate(
                "default.set",
                "serve",
                json!({"rollout": {"seed": "", "weights": [{"variant": "on", "weight": 1}]}}),
            ),
        )
        .at("/operations/0/serve/rollout/seed"),
        Row::change(
            "a target that is too long",
            on_gate("targets.remove", "values", json!(["x".repeat(1025)])),
        )
        .at("/operations/0/values/0"),
        Row::change("a member without a name", members).at("/operations/0/members/1"),
    ]
}

/// What only the state can refuse: each leaves one record.
fn refused_by_the_state() -> Vec<Row> {
    let mut hundred: Vec<Value> = (0..99).map(|n| put(&switch(&format!("many-{n}"), false))).collect();
    hundred.push(disable("nowhere", ENVIRONMENT));
    let mut text = switch("plain", false);
    text["type"] = json!("string");
    text["variants"] = json!({"on": "a", "off": "b"});
    let mut less = switch("plain", false);
    less["variants"] = json!({"off": false});
    less["environments"] = json!({});
    let mut stale = disable("gate", ENVIRONMENT);
    stale["if_revision"] = json!(1);
    let elsewhere = json!({"reason": "x", "operations": [disable("gate", ENVIRONMENT)]});
    let rows = vec![
        Row::change("100 operations, the last of which is bad", json!(hundred))
            .is(404, "not_found")
            .at("/operations/99/flag"),
        Row::change("an unknown flag", json!([disable("nowhere", ENVIRONMENT)]))
            .is(404, "not_found")
            .says("nowhere")
            .at("/operations/0/flag"),
        Row::change("an unknown environment", json!([disable("gate", "moon")]))
            .is(404, "not_found")
            .says("moon")
            .at("/operations/0/environment"),
        Row::switch(
            "a flag for an unknown environment",
            &[("/environments", json!({"moon": {"enabled": true, "default": {"variant": "on"}}}))],
        )
        .is(404, "not_found")
        .says("moon"),
        Row::new("an unknown project", Method::POST, "/api/v1/projects/nowhere/changes", &elsewhere)
            .is(404, "not_found")
            .says("nowhere"),
        Row::change("another type than the flag has", json!([put(&text)]))
            .is(409, "conflict")
            .at("/operations/0/flag/type"),
        Row::change("removing a variant in use", json!([put(&less)])).is(409, "in_use"),
        Row::configured(
            "a prerequisite that does not exist",
            "prerequisites",
            json!([{"flag": "nowhere", "variants": ["on"]}]),
        )
        .says("nowhere"),
        Row::configured(
            "a segment that does not exist",
            "rules",
            json!([{"id": "r", "when": {"segment": "nobody"}, "serve": {"variant": "on"}}]),
        )
        .says("nobody"),
        Row::change("a cycle of prerequisites", json!([put(&needing("one", "two"))])).says("cycle"),
        Row::change("what somebody changed meanwhile", json!([stale])).is(412, "revision_mismatch"),
    ];
    rows.into_iter().map(Row::recorded).collect()
}

/// The same faults by way of the shorthands.
fn shorthands() -> Vec<Row> {
    let other = json!({"reason": "x", "flag": switch("other", false)});
    let typed = json!({"type": "boolean", "variants": {"on": 1}, "off_variant": "on"});
    let enable = flag_path(&format!("gate/environments/{ENVIRONMENT}/enable"));
    let missing = flag_path(&format!("nowhere/environments/{ENVIRONMENT}/disable"));
    let patch = json!({"reason": "x", "patch": {}});
    vec![
        Row::new("another key than the path's", Method::PUT, flag_path("new"), &other).at("/flag/key"),
        Row::new(
            "a value of another type",
            Method::PUT,
            flag_path("new"),
            &json!({"reason": "x", "flag": typed}),
        )
        .at("/flag/variants/on"),
        Row::new("a patch of nothing", Method::PATCH, flag_path("nowhere"), &patch).is(404, "not_found"),
        Row::new("enable without a reason", Method::POST, enable, &json!({})).says("reason"),
        Row::new("disable what is not there", Method::POST, missing, &json!({"reason": "x"}))
            .is(404, "not_found")
            .recorded(),
        Row::new("a delete without a reason", Method::DELETE, flag_path("plain"), &Value::Null)
            .says("reason"),
        Row::new("an unknown parameter", Method::DELETE, flag_path("plain?reason=x&force=1"), &Value::Null)
            .says("force"),
        Row::new(
            "a limit that is none",
            Method::GET,
            format!("/api/v1/projects/{PROJECT}/flags?limit=0"),
            &Value::Null,
        )
        .says("limit"),
    ]
}

/// All that clients could see of the catalog.
async fn catalog(node: &Api) -> (u64, Value, Value) {
    let flags = node.get(&format!("/api/v1/projects/{PROJECT}/flags?limit=500")).ok().await;
    let projects = node.get("/api/v1/projects?limit=500").ok().await;
    (flags.revision(), flags.body["items"].clone(), projects.body["items"].clone())
}

async fn audit_size(node: &Api) -> u64 {
    node.get("/api/v1/cluster").ok().await.body["audit"]["size"].as_u64().expect("a size")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_is_refused_helpfully_and_changes_nothing() {
    let setup = Setup::of(1).with_arg("--recorded-rejections-per-second", 1000);
    let flags = [switch("gate", true), switch("plain", false), switch("one", false), needing("two", "one")];
    let shop = Shop::open(setup, &flags).await;
    let node = shop.cluster.admin(1);
    let before = catalog(&node).await;
    let mut faults = Vec::new();
    for row in [malformed(), wrong_in_itself(), wrong_parts(), refused_by_the_state(), shorthands()].concat()
    {
        let records = audit_size(&node).await;
        let mut call = node.call(row.method.clone(), &row.path);
        if row.method != Method::GET && row.method != Method::DELETE {
            call = call.bytes(row.body.clone());
        }
        let answer = call.answer().await;
        if let Some(fault) = fault(&row, &answer) {
            faults.push(format!("{}: {fault}: {answer:?}", row.name));
        }
        let grown = audit_size(&node).await - records;
        if grown != u64::from(row.leaves == Leaves::Record) {
            faults.push(format!("{}: it left {grown} audit records, not {:?}", row.name, row.leaves));
        }
        if catalog(&node).await != before {
            panic!("{}: it changed the catalog: {answer:?}", row.name);
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn fault(row: &Row, answer: &Answer) -> Option<String> {
    if (answer.status, answer.error_code()) != (row.status, Some(row.code)) {
        return Some(format!("not {} {}", row.status, row.code));
    }
    let message = answer.error_message().unwrap_or_default();
    // Shorter ones say what is wrong, but not what to do.
    if message.len() < 15 || !message.contains(row.says) {
        return Some(format!("the message says too little, not {:?}", row.says));
    }
    let at = answer.body.pointer("/error/details/path").and_then(Value::as_str);
    if row.at.is_some() && at != row.at {
        return Some(format!("it points at {at:?}, not at {:?}", row.at));
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_evaluations_get_the_codes_of_the_protocol() {
    let shop = Shop::open(Setup::of(1), &[switch("gate", true), switch("plain", false)]).await;
    let node = shop.reader(1);
    let one = "/ofrep/v1/evaluate/flags/plain";
    let all = "/ofrep/v1/evaluate/flags";
    for (name, path, body, status, code) in [
        ("malformed JSON", one, "{\"context\": ", 400, "PARSE_ERROR"),
        ("malformed JSON, all flags", all, "nonsense", 400, "PARSE_ERROR"),
        ("a context that is a list", one, "{\"context\": []}", 400, "INVALID_CONTEXT"),
        ("a context that is a text, all flags", all, "{\"context\": \"me\"}", 400, "INVALID_CONTEXT"),
        (
            "a targeting key that is a number",
            one,
            "{\"context\": {\"targetingKey\": 7}}",
            400,
            "INVALID_CONTEXT",
        ),
        ("an unknown flag", "/ofrep/v1/evaluate/flags/nowhere", "{\"context\": {}}", 404, "FLAG_NOT_FOUND"),
        (
            "a flag whose name is a path",
            "/ofrep/v1/evaluate/flags/a%2Fb",
            "{\"context\": {}}",
            404,
            "FLAG_NOT_FOUND",
        ),
        (
            "a name in another case",
            "/ofrep/v1/evaluate/flags/Plain",
            "{\"context\": {}}",
            404,
            "FLAG_NOT_FOUND",
        ),
    ] {
        let answer = node.call(Method::POST, path).bytes(body).answer().await;
        assert_eq!((answer.status, answer.error_code()), (status, Some(code)), "{name}: {answer:?}");
        assert!(
            answer.body["errorDetails"].as_str().is_some_and(|details| details.len() > 10),
            "{name}: {answer:?}"
        );
        let single = path != all;
        assert_eq!(
            answer.body["key"].is_string(),
            single,
            "single failures name the flag: {name}: {answer:?}"
        );
    }
    for (name, body) in [("no context", "{}"), ("an empty context", "{\"context\": {}}")] {
        let answer = node.call(Method::POST, one).bytes(body).answer().await;
        assert_eq!((answer.status, answer.value()), (200, &json!(true)), "{name}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_never_means_something_else_than_it_spells() {
    let shop = Shop::open(Setup::of(1), &[switch("plain", false)]).await;
    let owner = shop.cluster.admin(1);
    for path in [
        "/api/v1/projects/shop/../shop",
        "/api/v1/projects/./shop",
        "/api/v1/projects/%2e%2e/projects",
        "/api/v1/projects/%2E/shop",
        "/api/v1/projects/shop%2Fflags",
        "/api/v1/projects/shop%2f..%2fshop",
        "/api/v1/projects/shop/flags/..",
        "/api/v1/projects/shop/flags/%2e%2e",
        "/api/v1/projects/shop/flags/plain%00",
        "/api/v1/projects/shop/flags/plain;v=1",
        "/api/v1/projects/shop;v=1/flags",
        "/api/v1/projects/shop/",
        "/api/v1/projects//shop",
        "//api/v1/projects",
        "/api//v1/projects",
        "/api/v1/projects/SHOP",
        "/API/v1/projects",
        "/api/v1/Projects",
        "/api/v1/projects/shop/flags/PLAIN",
        "/api/v1/projects/sh%6Fp%20",
        "/livez/../api/v1/projects",
        "/livez/",
        "/readyz/..%2fmetrics",
    ] {
        let status = owner.raw_status("GET", path, "").await.expect("an answer");
        assert!(matches!(status, 400 | 404), "the owner got {status} for {path}");
        let status = shop.cluster.anonymous(1).raw_status("GET", path, "").await.expect("an answer");
        assert!(matches!(status, 400 | 401 | 404), "nobody got {status} for {path}");
    }
    // Encoded letters are the letters.
    assert_eq!(owner.raw_status("GET", "/api/v1/projects/sh%6Fp", "").await.expect("an answer"), 200);

    let reader = shop.reader(1);
    for path in [
        "/ofrep/v1/evaluate/flags/../flags",
        "/ofrep/v1/evaluate/flags/",
        "/ofrep/v1/evaluate//flags/plain",
        "/ofrep/v1/evaluate/flags/plain/",
        "/ofrep/v1/evaluate/flags/%2e%2e",
        "/ofrep/v1/evaluate/flags/plain%2f",
        "/OFREP/v1/evaluate/flags/plain",
    ] {
        let status = reader.raw_status("POST", path, "{}").await.expect("an answer");
        assert_eq!(status, 404, "{path}");
    }
    assert_eq!(
        reader.raw_status("POST", "/ofrep/v1/evaluate/flags/pl%61in", "{}").await.expect("an answer"),
        200
    );
}
