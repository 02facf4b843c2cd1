//! Signed changes: what a signature covers, what makes it count, that it counts once, and where one is asked for.

use flagraft_core::{
    limits::REQUESTS_REMEMBERED_MS,
    operation::Operation,
    proposal::{Body, Cause, CauseKind, Change, Proposal, RequestId},
    rejection::Rejection,
    reply::Outcome,
    signing::{ChangeSignature, PublicKey, SIGNED_WITHIN_MS, SignatureBytes, signing_key_id},
    token::TokenFault,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::world::{
    Ask, SHOP, World, actor, after, ask, bootstrap, code, pair, public_key, put, sign, signing_key_put,
    signing_key_revoke, statement, token_create,
};

/// The key pairs of `owner` and of `writer`, and one of the latter that was revoked.
pub const OWNER: u8 = 1;
pub const WRITER: u8 = 2;
const REVOKED: u8 = 3;

/// A shop with the flag `gate`, and the signing keys above.
pub fn world() -> World {
    let mut world = World::new().with(&[put("gate", &after(&[]))]);
    world.must(
        ask(json!([
            signing_key_put("owner", OWNER),
            signing_key_put("writer", WRITER),
            signing_key_put("writer", REVOKED),
        ]))
        .project(None),
    );
    world.must(ask(json!([signing_key_revoke(REVOKED)])).project(None));
    world
}

pub fn switch(op: &str, environment: &str) -> Value {
    json!({"op": op, "flag": "gate", "environment": environment})
}

fn disable() -> Ask {
    ask(json!([switch("flag.disable", "dev")])).key("k")
}

/// Makes the policy of an environment ask for signatures.
fn require(world: &mut World, environment: &str) {
    let put =
        json!({"op": "environment.put", "environment": {"key": environment, "policy": {"signed": true}}});
    world.must(ask(json!([put])));
}

fn bad(path: &str, message: &str) -> Rejection {
    Rejection::BadSignature { path: format!("/signature{path}"), message: message.to_owned() }
}

#[test]
fn a_signed_change_is_made_and_its_record_holds_the_signature() {
    let mut world = world();
    let proposal = world.proposal(disable().expecting(world.state.revision()).signed(OWNER));
    world.apply(&proposal);
    let (sent, record) = (proposal.signature.expect("signed"), world.last_record());
    let kept = record.signature.as_ref().expect("kept");
    assert_eq!(
        (&kept.key, kept.signed_at_ms, kept.signature),
        (&sent.key, sent.signed_at_ms, sent.signature)
    );
    assert_eq!(kept.public_key, public_key(OWNER));
    assert_eq!(kept.expect_revision, Some(record.revision_before));
    assert_eq!(record.version, 2);
}

/// What is refused for something else is signed all the same; what is refused for its signature is nobody's word.
#[test]
fn a_record_of_what_was_refused_holds_only_a_good_signature() {
    let mut world = world();
    let missing = json!([{"op": "flag.disable", "flag": "nothing", "environment": "dev"}]);
    assert_eq!(code(&world.refuse(ask(missing.clone()).key("k").signed(OWNER))), "not_found");
    assert!(world.last_record().signature.is_some());
    assert_eq!(code(&world.refuse(ask(missing).key("l").signed(WRITER))), "bad_signature");
    assert_eq!((world.last_record().signature.clone(), world.last_record().version), (None, 1));
}

/// One proposal with everything wrong that can be, mended step by step: what is told each time, in frozen words.
#[test]
fn what_is_wrong_with_a_signature_is_told_in_order() {
    type Mend = Box<dyn Fn(&mut Proposal)>;
    let mut world = world();
    let now_ms = world.state.last_at_ms();
    let late_ms = now_ms - SIGNED_WITHIN_MS - 1_000;
    let mut proposal = world.proposal(ask(json!([switch("flag.disable", "dev")])).by("revoked"));
    sign(&world.state, &mut proposal, 9, late_ms);
    let signed_by = |seed: u8| -> Mend {
        Box::new(move |proposal| signature(proposal).key = signing_key_id(&public_key(seed)))
    };
    let signed_at =
        |at_ms: i64| -> Mend { Box::new(move |proposal| signature(proposal).signed_at_ms = at_ms) };
    let [unknown, revoked, owners] = [9, REVOKED, OWNER].map(|seed| signing_key_id(&public_key(seed)));
    let mut last = proposal.clone();
    last.actor = actor("writer");
    last.request = RequestId { id: "7".to_owned(), client_given: true };
    let sha256 = hex::encode(Sha256::digest(statement(&world.state, &last, WRITER, now_ms)));
    let mends: Vec<(Mend, Rejection)> = vec![
        (Box::new(|_| ()), Rejection::Unauthenticated { fault: TokenFault::Revoked }),
        (
            Box::new(|proposal| proposal.actor = actor("writer")),
            bad(
                "",
                "a signature covers the id of its request; send the change with the Idempotency-Key that was signed",
            ),
        ),
        (
            Box::new(|proposal| proposal.request.client_given = true),
            bad(
                "/key",
                &format!("there is no signing key \"{unknown}\"; have an owner register it, then sign again"),
            ),
        ),
        (
            signed_by(REVOKED),
            bad("/key", &format!("the signing key {revoked} was revoked; sign with another one")),
        ),
        (
            signed_by(OWNER),
            bad(
                "/key",
                &format!(
                    "the signing key {owners} is not one of writer@example.com, for whom this token stands; sign with \
                     one that is"
                ),
            ),
        ),
        (
            signed_by(WRITER),
            bad(
                "/signed_at_ms",
                "the change was signed 301000 ms ago, and a signature is good for 300000 ms; sign it again, under \
                 another Idempotency-Key",
            ),
        ),
        (
            signed_at(now_ms + SIGNED_WITHIN_MS + 1_000),
            bad(
                "/signed_at_ms",
                "the change was signed 301000 ms in the future, and at most 300000 ms are allowed; set the clock right \
                 and sign it again, under another Idempotency-Key",
            ),
        ),
        (
            signed_at(now_ms),
            bad(
                "/signature",
                &format!(
                    "this is not the key's signature over the change; the bytes that it has to be over have the SHA-256 \
                     {sha256}: compare them with the ones that were signed"
                ),
            ),
        ),
    ];
    for (number, (mend, expected)) in mends.into_iter().enumerate() {
        mend(&mut proposal);
        proposal.request.id = number.to_string();
        proposal.proposed_at_ms = now_ms;
        let Outcome::Rejected { rejection, .. } = world.apply(&proposal).reply.outcome else {
            panic!("it passes before {expected}")
        };
        assert_eq!(rejection, expected);
    }
    proposal.request.id = "good".to_owned();
    sign(&world.state, &mut proposal, WRITER, now_ms);
    assert!(matches!(world.apply(&proposal).reply.outcome, Outcome::Accepted { .. }));
}

fn signature(proposal: &mut Proposal) -> &mut ChangeSignature {
    proposal.signature.as_mut().expect("signed")
}

fn damage(proposal: &mut Proposal) {
    proposal.signature.as_mut().expect("signed").signature.0[40] ^= 1;
}

#[test]
fn a_signature_is_good_for_five_minutes_either_way() {
    let mut world = world();
    for (ahead_ms, good) in [
        (SIGNED_WITHIN_MS, true),
        (SIGNED_WITHIN_MS + 1, false),
        (-SIGNED_WITHIN_MS, true),
        (-SIGNED_WITHIN_MS - 1, false),
        (i64::MIN / 2, false),
        (i64::MAX / 2, false),
    ] {
        let is_on = world.flag("gate").environments["dev"].to_spec().enabled;
        let op = if is_on { "flag.disable" } else { "flag.enable" };
        let applied =
            world.ask(ask(json!([switch(op, "dev")])).key(&format!("{ahead_ms}")).signed_at(OWNER, ahead_ms));
        let refused = matches!(applied.reply.outcome, Outcome::Rejected { rejection: Rejection::BadSignature { ref path, .. }, .. } if path == "/signature/signed_at_ms");
        assert_eq!(refused, !good, "{ahead_ms}: {:?}", applied.reply.outcome);
    }
}

/// A signed change that somebody kept is sent again, second by second, until long after its id is forgotten; whatever
/// the author's clock said. Another change stands between, so that it would be made again if it were let.
#[test]
fn a_signed_change_is_made_once_whenever_it_is_sent_again() {
    for ahead_ms in [-SIGNED_WITHIN_MS, -1, 0, 1, SIGNED_WITHIN_MS] {
        let mut world = world();
        let proposal = world.proposal(disable().signed_at(OWNER, ahead_ms));
        assert!(matches!(world.apply(&proposal).reply.outcome, Outcome::Accepted { .. }));
        world.must(ask(json!([switch("flag.enable", "dev")])));
        world.many_records(|| ask(json!([switch("flag.enable", "dev")])));
        let revision = world.state.revision();
        let mut outcomes = Vec::new();
        for second in 0..25 * 60 {
            let again =
                Proposal { proposed_at_ms: proposal.proposed_at_ms + second * 1_000, ..proposal.clone() };
            let reply = world.step(&again).reply;
            outcomes.push(match (&reply.outcome, reply.replayed) {
                (Outcome::Accepted { .. }, true) => "replayed",
                (Outcome::Rejected { rejection: Rejection::BadSignature { .. }, .. }, _) => "refused",
                other => panic!("{other:?} after {second} s"),
            });
        }
        world.settle();
        assert_eq!(world.state.revision(), revision);
        outcomes.dedup();
        assert_eq!(outcomes, ["replayed", "refused"]);
    }
    const { assert!(2 * SIGNED_WITHIN_MS < REQUESTS_REMEMBERED_MS, "else there were a gap") };
}

/// Does something bad to a proposal.
type Forge = fn(&mut Proposal);

/// What a signed proposal is changed to by whoever is not its author: none of it is what was signed.
fn forgeries() -> Vec<(&'static str, Forge)> {
    fn change(proposal: &mut Proposal) -> &mut Change {
        match &mut proposal.body {
            Body::Change(change) => change,
            _ => panic!("a change"),
        }
    }
    fn operation(value: Value) -> Operation {
        Operation::from_value(value).expect("well-formed")
    }
    vec![
        ("token", |proposal| proposal.actor.token = Some("tok_second00".into())),
        ("request id", |proposal| proposal.request.id.push('2')),
        ("signed_at_ms", |proposal| proposal.signature.as_mut().expect("signed").signed_at_ms += 1),
        ("project", |proposal| change(proposal).project = Some("other".parse().expect("a key"))),
        ("no project", |proposal| change(proposal).project = None),
        ("reason", |proposal| change(proposal).reason.push('!')),
        ("ticket", |proposal| change(proposal).ticket = Some("OPS-2".to_owned())),
        ("no ticket", |proposal| change(proposal).ticket = None),
        ("expect_revision", |proposal| change(proposal).expect_revision = Some(1_000_000)),
        ("cause", |proposal| {
            proposal.caused_by = Some(Cause { kind: CauseKind::Import, id: "x".to_owned() })
        }),
        ("order of operations", |proposal| change(proposal).operations.reverse()),
        ("one operation less", |proposal| drop(change(proposal).operations.pop())),
        ("one operation more", |proposal| {
            change(proposal).operations.push(operation(switch("flag.enable", "production")));
        }),
        ("another environment", |proposal| {
            change(proposal).operations[0] = operation(switch("flag.disable", "production"));
        }),
        ("another operation", |proposal| {
            change(proposal).operations[0] = operation(switch("flag.enable", "dev"));
        }),
        ("if_revision", |proposal| {
            let mut switch = switch("flag.disable", "dev");
            switch["if_revision"] = json!(1);
            change(proposal).operations[0] = operation(switch);
        }),
        ("the signature's first half", |proposal| {
            proposal.signature.as_mut().expect("signed").signature.0[0] ^= 1;
        }),
        ("its second half", damage),
        ("s + the order of the group: the same signature to a lenient verifier", |proposal| {
            let signature = &mut proposal.signature.as_mut().expect("signed").signature;
            signature.0 = with_the_order_added(signature.0);
        }),
    ]
}

/// The signature with the group's order added to its second half.
fn with_the_order_added(mut signature: [u8; 64]) -> [u8; 64] {
    // 2^252 + 27742317777372353535851937790883648493, RFC 8032.
    let order = 27_742_317_777_372_353_535_851_937_790_883_648_493_u128.to_le_bytes();
    let mut carry = 0_u16;
    for (at, byte) in signature[32..].iter_mut().enumerate() {
        let addend = order.get(at).copied().unwrap_or(if at == 31 { 0x10 } else { 0 });
        let sum = u16::from(*byte) + u16::from(addend) + carry;
        *byte = u8::try_from(sum % 256).expect("a byte");
        carry = sum / 256;
    }
    signature
}

#[test]
fn nothing_of_what_was_signed_can_be_changed() {
    for (what, forge) in forgeries() {
        let mut world = world();
        let mut second = token_create("second", &json!([{"role": "owner"}]));
        second["token"]["actor"]["id"] = json!("owner@example.com");
        world.must(ask(json!([second])).project(None));
        let operations = json!([switch("flag.disable", "dev"), switch("flag.enable", "staging")]);
        let mut proposal = world.proposal(ask(operations).key("k").signed(OWNER));
        let good = proposal.clone();
        forge(&mut proposal);
        assert!(proposal != good, "{what}");
        let Outcome::Rejected { rejection, .. } = world.apply(&proposal).reply.outcome else {
            panic!("{what} passes");
        };
        assert_eq!(
            (code(&rejection).as_str(), rejection.path()),
            ("bad_signature", "/signature/signature"),
            "{what}"
        );
        if proposal.scoped_request_id() != good.scoped_request_id() {
            assert!(matches!(world.apply(&good).reply.outcome, Outcome::Accepted { .. }), "{what}");
        }
    }
}

#[test]
fn a_signature_for_one_history_is_none_for_another() {
    let mut here = world();
    let proposal = here.proposal(disable().signed(OWNER));
    let mut founding = bootstrap();
    founding["history"] = json!("fedcba9876543210");
    let mut there = World::unfounded();
    there.must(ask(json!([founding])).by_the_cluster().project(None));
    let owner = json!([token_create("owner", &json!([{"role": "owner"}]))]);
    there.must(ask(owner).by_the_cluster().project(None));
    there.must(ask(json!([
        {"op": "project.put", "project": {"key": SHOP}},
        {"op": "environment.put", "environment": {"key": "dev"}}, put("gate", &after(&[])),
    ])));
    there.must(ask(json!([signing_key_put("owner", OWNER)])).project(None));
    let Outcome::Rejected { rejection, .. } = there.apply(&proposal).reply.outcome else {
        panic!("it passes")
    };
    assert_eq!(rejection.path(), "/signature/signature");
    assert!(matches!(here.apply(&proposal).reply.outcome, Outcome::Accepted { .. }));
}

/// However a client writes the JSON of its operations, it says the same; and what it leaves out it says by that too.
#[test]
fn the_statement_is_of_what_operations_mean_not_of_how_they_are_written() {
    let mut world = world();
    let written = [
        r#"{"op":"targets.add","flag":"gate","environment":"dev","variant":"on","values":["ann"]}"#,
        r#"{"values":["\u0061nn"], "variant":"on","environment" : "dev","by":"targetingKey","flag":"gate","op":"targets.add"}"#,
    ];
    let statements = written.map(|text| {
        let operation: Value = serde_json::from_str(text).expect("JSON");
        let proposal = world.proposal(ask(json!([operation])).key("k"));
        statement(&world.state, &proposal, OWNER, 1)
    });
    assert_eq!(statements[0], statements[1]);
}

/// Bytes that another program made: the statement with Python's `json`, the signature with OpenSSL's Ed25519.
#[test]
fn the_statement_and_its_signature_are_frozen() {
    let frozen = include_bytes!("../fixtures/signed_statement.txt");
    let operations = json!([
        {"op": "flag.disable", "flag": "größe", "environment": "production"},
        {"op": "targets.add", "flag": "checkout", "environment": "production", "variant": "on",
         "values": ["a\"b", "\u{7}/\n"], "if_revision": 7},
    ]);
    let mut world = world();
    let ask = ask(operations).reason("checkout errors").ticket(Some("OPS-812")).expecting(41);
    let mut proposal = world.proposal(ask.key("3f0c52a8-6c1e-4c52-9b1e-0d7f2a6f5f11"));
    proposal.caused_by = Some(Cause { kind: CauseKind::Rollback, id: "57".to_owned() });
    let made = statement(&world.state, &proposal, 7, 1_800_000_000_000);
    assert_eq!(String::from_utf8_lossy(&made), String::from_utf8_lossy(frozen));
    let signature = include_str!("../fixtures/signed_statement_signature.txt").trim_end();
    sign(&world.state, &mut proposal, 7, 1_800_000_000_000);
    let signed = proposal.signature.expect("signed");
    assert_eq!(serde_json::to_value(signed.signature).expect("JSON"), json!(signature));
    assert!(public_key(7).verifies(frozen, &signed.signature));
    assert!(!public_key(8).verifies(frozen, &signed.signature));
}

/// The first test of RFC 8032, section 7.1.
#[test]
fn signatures_are_ed25519() {
    let bytes = |text: &str| hex::decode(text).expect("hexadecimal");
    let key = bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
    let signature = bytes(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
    let key = PublicKey(key.try_into().expect("32 bytes"));
    let signature = SignatureBytes(signature.try_into().expect("64 bytes"));
    assert!(key.verifies(b"", &signature) && !key.verifies(b"x", &signature));
}

proptest! {
    /// Whatever bit of the statement or of the signature is another, it is not signed.
    #[test]
    fn every_bit_counts(at in 0_usize..10_000, bit in 0_u8..8, of_signature in any::<bool>()) {
        let statement = include_bytes!("../fixtures/signed_statement.txt").to_vec();
        let signature = ed25519_dalek::Signer::sign(&pair(7), &statement).to_bytes();
        let (mut forged, mut forged_signature) = (statement.clone(), signature);
        if of_signature {
            forged_signature[at % 64] ^= 1 << bit;
        } else {
            let at = at % forged.len();
            forged[at] ^= 1 << bit;
        }
        prop_assert!(public_key(7).verifies(&statement, &SignatureBytes(signature)));
        prop_assert!(!public_key(7).verifies(&forged, &SignatureBytes(forged_signature)));
    }
}

/// Every way to change what an environment evaluates, or who may: unsigned it is refused, signed it is made.
#[test]
fn a_policy_that_asks_for_signatures_has_them_of_every_change_that_touches() {
    let rollout = json!({"rollout": {"seed": "s", "weights": [{"variant": "on", "weight": 1}]}});
    let prepared = || {
        let mut world = world().with(&[
            json!({"op": "segment.put", "segment": {"key": "staff", "included": ["ann"]}}),
            put(
                "checkout",
                &json!({
                    "enabled": true, "targets": [{"values": ["eve"], "variant": "on"}],
                    "rules": [{"id": "staff", "when": {"segment": "staff"}, "serve": {"variant": "on"}},
                              {"id": "ramp", "serve": rollout}],
                }),
            ),
            put("old", &after(&[])),
            json!({"op": "flag.archive", "flag": "old"}),
        ]);
        world.must(
            ask(json!([token_create(
                "ci",
                &json!([{"role": "reader", "project": SHOP, "environments": ["dev"]}])
            )]))
            .project(None),
        );
        require(&mut world, "dev");
        world
    };
    let on = |op: &str, more: Value| {
        let mut operation = json!({"op": op, "flag": "checkout", "environment": "dev"});
        operation.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        operation
    };
    let members = |op: &str, member: &str| json!({"op": op, "segment": "staff", "list": "included", "members": [member]});
    let dev = json!([{"role": "reader", "project": SHOP, "environments": ["dev"]}]);
    let operations = [
        json!({"op": "project.delete"}),
        json!({"op": "environment.put", "environment": {"key": "dev", "policy": {"signed": false}}}),
        json!({"op": "environment.delete", "environment": "dev"}),
        put("new", &after(&[])),
        on("flag.configure", json!({"configuration": {"enabled": false}})),
        on("flag.disable", json!({})),
        json!({"op": "flag.enable", "flag": "checkout", "environment": "dev"}),
        json!({"op": "flag.copy", "flag": "checkout", "from": "staging", "to": "dev"}),
        json!({"op": "flag.archive", "flag": "checkout"}),
        json!({"op": "flag.restore", "flag": "old"}),
        json!({"op": "flag.delete", "flag": "checkout"}),
        on("rule.put", json!({"rule": {"id": "new", "serve": {"variant": "on"}}})),
        on("rule.delete", json!({"rule": "staff"})),
        on("rollout.set", json!({"rule": "ramp", "weights": [{"variant": "off", "weight": 1}]})),
        on("default.set", json!({"serve": {"variant": "on"}})),
        on("targets.add", json!({"variant": "on", "values": ["bob"]})),
        on("targets.remove", json!({"values": ["eve"]})),
        json!({"op": "segment.put", "segment": {"key": "staff", "included": ["bob"]}}),
        members("segment.members.add", "bob"),
        members("segment.members.remove", "ann"),
        token_create("fresh", &dev),
        token_create("fresh", &json!([{"role": "reader", "project": SHOP}])),
        token_create("fresh", &json!([{"role": "reader"}])),
        json!({"op": "token.revoke", "token": "tok_ci000000"}),
    ];
    for operation in operations {
        // Hidden among others, it is found all the same.
        let elsewhere = switch("flag.disable", "staging");
        let mut change = json!([elsewhere, operation]);
        if operation["op"] == "flag.enable" {
            change = json!([on("flag.disable", json!({})), operation]);
        }
        let mut world = prepared();
        let rejection = world.refuse(ask(change.clone()).key("unsigned"));
        assert_eq!((code(&rejection).as_str(), rejection.path()), ("policy", "/signature"), "{operation}");
        assert_eq!(
            rejection.to_string(),
            "environment dev of project shop refuses the change: it must be signed; send its operations to the route for \
             changes with `signature`, or give --sign on the command line"
        );
        // Nor does the cluster itself do it: what it proposes touches no environment.
        assert_eq!(code(&world.refuse(ask(change.clone()).by_the_cluster())), "policy", "{operation}");
        world.must(ask(change).key("signed").signed(OWNER));
    }
    let mut world = prepared();
    world.must(ask(json!([switch("flag.disable", "staging")])).key("elsewhere"));
}

/// A catalog that is restored gets its new owner's token unsigned, or nobody could ever change it again.
#[test]
fn a_restore_makes_its_owner_without_a_signature() {
    let mut world = world();
    require(&mut world, "dev");
    let state = world.state.clone();
    let from = json!({
        "cluster": state.cluster_id(), "history": state.history(), "revision": state.revision(),
        "digest": state.digest().to_string(), "audit_size": state.sequence(),
        "audit_root": hex::encode(state.audit_root()), "made_at_ms": 1,
    });
    world.take_over(state.without_founding());
    let restore = json!({
        "op": "system.restore", "cluster": "ffeeddccbbaa99887766554433221100", "history": "fedcba9876543210",
        "members": bootstrap()["members"], "from": from, "operator": "ann",
    });
    let owner = token_create("fresh", &json!([{"role": "owner"}]));
    world.must(ask(json!([restore, owner])).by_the_cluster().project(None));
    // Only then: the policy stands, and the keys do.
    assert_eq!(code(&world.refuse(ask(json!([switch("flag.disable", "dev")])).by("fresh"))), "policy");
    world.must(disable().signed(OWNER));
}

#[test]
fn before_its_cluster_version_nothing_is_signed_and_no_policy_asks_for_it() {
    let mut world = World::of_version(1).with(&[put("gate", &after(&[]))]);
    let rejection = world.refuse(disable().by("nobody").signed(OWNER));
    assert_eq!(
        rejection,
        Rejection::UnsupportedOperation {
            path: "/signature".to_owned(),
            operation: "a signature".to_owned(),
            needs: 2
        }
    );
    assert_eq!(world.last_record().version, 1);
    let policy = json!({"op": "environment.put", "environment": {"key": "dev", "policy": {"signed": true}}});
    // The words of the release before.
    assert_eq!(
        world.refuse(ask(json!([policy]))),
        Rejection::Invalid {
            path: "/operations/0/environment/policy/signed".to_owned(),
            message: "signed is not enforced by this version; leave it out".to_owned(),
        }
    );
    world.must(ask(json!([{"op": "system.cluster_version", "version": 2}])).project(None));
    world.must(ask(json!([policy])));
    world.must(ask(json!([signing_key_put("owner", OWNER)])).project(None));
    world.must(disable().signed(OWNER));
}

#[test]
fn only_an_owner_of_everything_registers_keys() {
    let mut world = world();
    let put = |role: &str| ask(json!([signing_key_put(role, 8)])).project(None);
    for role in ["writer", "operator", "stranger", "reader"] {
        // Not for themselves either, and not by signing with another key of theirs.
        assert_eq!(code(&world.refuse(put(role).by(role))), "forbidden", "{role}");
    }
    assert_eq!(code(&world.refuse(put("writer").by("writer").key("k").signed(WRITER))), "forbidden");
    world.must(put("writer"));
    assert!(world.last_record().touches.environments.is_empty());
    let rename = |name: &str| {
        let mut put = signing_key_put("writer", 8);
        put["signing_key"]["name"] = json!(name);
        ask(json!([put])).project(None)
    };
    world.must(rename("the desk's"));
    let renamed = world.state.signing_keys().find(|key| key.spec.name == "the desk's").expect("renamed");
    assert!(renamed.created_at_ms < world.state.last_at_ms() && renamed.revoked_at_ms.is_none());
    // Whose it is stays, and a revoked one stays revoked.
    assert_eq!(world.refuse(put("reader")).path(), "/operations/0/signing_key/actor");
    world.must(ask(json!([signing_key_revoke(8)])).project(None));
    assert_eq!(world.refuse(put("writer")).path(), "/operations/0/signing_key/id");
    assert!(world.state.signing_keys().any(|key| key.revoked_at_ms == Some(world.clock_ms - 1)));
}

#[test]
fn a_key_is_revoked_by_an_owner_or_by_whoever_shows_a_key_of_the_same_actor() {
    let mut world = world();
    let revoke = |seed: u8| ask(json!([signing_key_revoke(seed)])).project(None);
    assert_eq!(code(&world.refuse(revoke(WRITER).by("writer"))), "forbidden", "a token alone is not enough");
    assert_eq!(code(&world.refuse(revoke(OWNER).by("writer").key("a").signed(WRITER))), "forbidden");
    world.must(revoke(WRITER).by("writer").key("b").signed(WRITER));
    let rejection = world.refuse(revoke(WRITER).by("writer").key("c").signed(WRITER));
    assert_eq!(rejection.path(), "/signature/key", "it signs nothing any more");
    world.must(revoke(OWNER));
}

/// The log's order settles a race between a change and the revocation of its key.
#[test]
fn what_was_signed_before_a_revocation_and_comes_after_it_is_refused() {
    let mut world = world();
    let proposal = world.proposal(disable().signed(OWNER));
    world.must(ask(json!([signing_key_revoke(OWNER)])).project(None));
    let late = Proposal { proposed_at_ms: world.clock_ms, ..proposal };
    let Outcome::Rejected { rejection, .. } = world.apply(&late).reply.outcome else { panic!("it passes") };
    assert_eq!(rejection.path(), "/signature/key");
}
