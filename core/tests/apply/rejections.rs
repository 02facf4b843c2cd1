//! One row for each rejection: what is asked, what is refused, where the fault is, and that the message helps.

use flagraft_core::{operation::Operation, rejection::Rejection, token::TokenFault};
use serde_json::{Value, json};

use crate::world::{Ask, World, after, ask, bootstrap, code, put, token_create, token_id};

/// The codes of all rejections, in order of precedence. A new variant does not compile until it stands here.
pub fn place(rejection: &Rejection) -> usize {
    match rejection {
        Rejection::IdempotencyMismatch => 0,
        Rejection::TooManyRequests => 1,
        Rejection::Bootstrap { .. } => 2,
        Rejection::UnsupportedOperation { .. } => 3,
        Rejection::Unauthenticated { .. } => 4,
        Rejection::BadSignature { .. } => 5,
        Rejection::NotFound { .. } => 6,
        Rejection::Forbidden { .. } => 7,
        Rejection::Conflict { .. } => 8,
        Rejection::RevisionMismatch { .. } => 9,
        Rejection::Invalid { .. } => 10,
        Rejection::InUse { .. } => 11,
        Rejection::Policy { .. } => 12,
    }
}

pub const CODES: [&str; 13] = [
    "idempotency_mismatch",
    "too_many_requests",
    "bootstrap",
    "unsupported_operation",
    "unauthenticated",
    "bad_signature",
    "not_found",
    "forbidden",
    "conflict",
    "revision_mismatch",
    "invalid",
    "in_use",
    "policy",
];

/// A shop with flags to stumble over: `gate`, `checkout` which depends on it, `old` which is archived, `gone` which is
/// deleted, and the segment `staff` that `checkout` uses.
pub fn stocked() -> World {
    let mut checkout = after(&["gate"]);
    checkout["rules"] = json!([
        {"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}},
        {"id": "ramp", "serve": {"rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 1}]}}},
    ]);
    World::new().with(&[
        json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ann"]}}),
        put("gate", &after(&[])),
        put("checkout", &checkout),
        put("old", &after(&[])),
        json!({"op": "flag.archive", "flag": "old"}),
        put("gone", &after(&[])),
        json!({"op": "flag.delete", "flag": "gone"}),
    ])
}

fn row(ask: Ask, code: &'static str, path: &'static str, message: &'static str) -> Row {
    Row { ask, code, path, message }
}

struct Row {
    ask: Ask,
    code: &'static str,
    path: &'static str,
    message: &'static str,
}

/// The table. `too_many_requests` needs a full table of requests and is in [`crate::idempotency`];
/// `unsupported_operation` needs a cluster of an older version and is below; more of `bad_signature` is in
/// [`crate::signed`].
fn rows() -> Vec<Row> {
    let enable = |flag: &str| json!({"op": "flag.enable", "flag": flag, "environment": "dev"});
    let one = |operation: Value| ask(json!([operation]));
    let configure = |configuration: Value| {
        one(
            json!({"op": "flag.configure", "flag": "gate", "environment": "dev", "configuration": configuration}),
        )
    };
    vec![
        row(one(bootstrap()).by_the_cluster().project(None), "bootstrap", "", "without --bootstrap"),
        row(one(enable("gate")).by("revoked"), "unauthenticated", "", "revoked"),
        row(one(enable("gate")).by("expired"), "unauthenticated", "", "expired"),
        row(one(enable("gate")).by("nobody"), "unauthenticated", "", "unknown"),
        row(one(enable("gate")).key("k").signed(9), "bad_signature", "/signature/key", "no signing key"),
        row(one(enable("gate")).project(Some("nowhere")), "not_found", "", "\"nowhere\""),
        row(one(enable("gate")).by("stranger"), "not_found", "", "\"shop\""),
        row(one(enable("nothing")), "not_found", "/operations/0/flag", "\"nothing\""),
        row(
            one(json!({"op": "flag.enable", "flag": "gate", "environment": "moon"})),
            "not_found",
            "/operations/0/environment",
            "\"moon\"",
        ),
        row(
            one(json!({"op": "segment.delete", "segment": "nobody"})),
            "not_found",
            "/operations/0/segment",
            "create it first",
        ),
        row(
            one(json!({"op": "rule.delete", "flag": "gate", "environment": "dev", "rule": "r"})),
            "not_found",
            "/operations/0/rule",
            "\"r\"",
        ),
        row(
            one(json!({"op": "token.revoke", "token": "tok_nothing0"})).project(None),
            "not_found",
            "/operations/0/token",
            "tok_nothing0",
        ),
        row(one(enable("gate")).by("reader"), "forbidden", "/operations/0", "role writer on environment dev"),
        row(one(enable("old")), "conflict", "/operations/0/flag", "flag.restore"),
        row(one(enable("gone")), "conflict", "/operations/0/flag", "deleted"),
        row(
            one(
                json!({"op": "flag.put", "flag": {"key": "gate", "type": "string", "variants": {"on": "a", "off": "b"}}}),
            ),
            "conflict",
            "/operations/0/flag/type",
            "make a new flag",
        ),
        row(
            one(token_create("reader", &json!([{"role": "reader"}]))).project(None),
            "conflict",
            "/operations/0/token/id",
            "made already",
        ),
        row(
            one(json!({"op": "flag.enable", "flag": "gate", "environment": "dev", "if_revision": 1})),
            "revision_mismatch",
            "/operations/0",
            "read it again",
        ),
        row(
            one(json!({"op": "segment.put", "segment": {"key": "new"}, "if_revision": 3})),
            "revision_mismatch",
            "/operations/0",
            "does not exist",
        ),
        row(one(enable("gate")).expecting(2), "revision_mismatch", "/operations/0", "not 2"),
        row(one(enable("gate")).reason(" "), "invalid", "/reason", "say why"),
        row(one(enable("gate")).ticket(Some("a\nb")), "invalid", "/ticket", "control characters"),
        row(ask(json!([])), "invalid", "/operations", "1 to 100"),
        row(one(enable("gate")).project(None), "invalid", "/operations/0", "needs a project"),
        row(
            configure(json!({"default": {"variant": "blue"}})),
            "invalid",
            "/operations/0/configuration/default/variant",
            "the flag has off, on",
        ),
        row(
            configure(
                json!({"rules": [{"id": "r", "when": {"segment": "new"}, "serve": {"variant": "on"}}]}),
            ),
            "invalid",
            "/operations/0/configuration/rules/0/when",
            "create it first",
        ),
        row(
            configure(json!({"prerequisites": [{"flag": "old", "variants": ["on"]}]})),
            "invalid",
            "/operations/0/configuration/prerequisites/0/flag",
            "create it first",
        ),
        row(
            one(
                json!({"op": "flag.put", "flag": {"key": "gate", "type": "boolean", "variants": {"off": false}}}),
            ),
            "in_use",
            "/operations/0/flag/variants",
            "change that first",
        ),
        row(
            one(json!({"op": "flag.delete", "flag": "gate"})),
            "in_use",
            "/operations/0/flag",
            "flag checkout in environment dev",
        ),
        row(
            one(json!({"op": "segment.delete", "segment": "staff"})),
            "in_use",
            "/operations/0/segment",
            "flag checkout in environment dev",
        ),
        row(
            one(json!({"op": "token.revoke", "token": token_id("owner")})).project(None),
            "in_use",
            "/operations/0/token",
            "create another one",
        ),
        row(one(put("new", &after(&[]))).ticket(None), "policy", "/ticket", "requires a ticket"),
        row(one(put("new", &after(&[]))).ticket(Some("ops")), "policy", "/ticket", "does not match"),
    ]
}

#[test]
fn each_is_told_with_its_place_and_what_to_do() {
    let mut world = stocked();
    let mut seen = Vec::new();
    for Row { ask, code: expected, path, message } in rows() {
        let shown = ask.operations.to_string();
        let rejection = world.refuse(ask);
        assert_eq!((code(&rejection).as_str(), rejection.path()), (expected, path), "{shown}: {rejection:?}");
        assert!(rejection.to_string().contains(message), "{rejection} for {shown}");
        seen.push(place(&rejection));
    }
    seen.push(place(&Rejection::IdempotencyMismatch));
    seen.sort_unstable();
    seen.dedup();
    let missing: Vec<&str> = (0..CODES.len()).filter(|at| !seen.contains(at)).map(|at| CODES[at]).collect();
    assert_eq!(missing, ["too_many_requests", "unsupported_operation"]);
}

/// What a cluster does not know yet is refused, whoever asks, and before anything else of it is looked at.
#[test]
fn what_needs_a_later_cluster_version_is_refused_before_it() {
    let mut world = World::of_version(1);
    let mut needing = Vec::new();
    for literal in crate::golden::operations() {
        let operation: Operation = serde_json::from_str(literal).expect(literal);
        let needs = operation.needs_cluster_version();
        if needs == 1 {
            continue;
        }
        needing.push(operation.name());
        let literal: Value = serde_json::from_str(literal).expect("JSON");
        let enable = json!({"op": "flag.enable", "flag": "gate", "environment": "dev"});
        let rejection = world.refuse(ask(json!([enable, literal])).by("revoked"));
        assert_eq!((code(&rejection).as_str(), rejection.path()), ("unsupported_operation", "/operations/1"));
        assert_eq!(
            rejection.to_string(),
            format!(
                "{} needs cluster version {needs}; raise it once every member runs a version that knows it",
                operation.name()
            )
        );
    }
    assert!(needing.contains(&"signing_key.put") && needing.contains(&"signing_key.revoke"), "{needing:?}");
}

#[test]
fn before_the_founding_nothing_else_is_taken() {
    let mut world = World::unfounded();
    let early = ask(json!([put("gate", &after(&[])), bootstrap()])).by_the_cluster();
    assert_eq!(code(&world.refuse(early)), "bootstrap");
    let by_nobody = ask(json!([bootstrap()])).by("owner").project(None);
    assert_eq!(world.refuse(by_nobody), Rejection::Unauthenticated { fault: TokenFault::Unknown });
    world.must(ask(json!([bootstrap()])).by_the_cluster().project(None));
    assert_eq!(world.state.cluster_version(), 2);
    assert_eq!(world.state.history().map(|history| history.to_string()).as_deref(), Some("0123456789abcdef"));
    let again = ask(json!([bootstrap()])).by_the_cluster().project(None);
    assert_eq!(code(&world.refuse(again)), "bootstrap");
}
