//! The catalog after a restore and after the recovery of a lost quorum: another history, and everything else as it was.

use flagraft_core::{
    identity::RevisionToken,
    record::{RecordKind, RecordOutcome},
    rejection::Rejection,
    reply::Outcome,
};
use serde_json::{Value, json};

use crate::world::{SHOP, TICKET, World, after, ask, bootstrap, code, put, token_create};

/// A world whose catalog came from a backup of a shop with a flag.
fn restored() -> (World, Value) {
    restored_with(&[put("flag", &after(&[]))])
}

/// A world whose catalog came from a backup of a shop after these operations.
fn restored_with(operations: &[Value]) -> (World, Value) {
    let mut world = World::new();
    for operation in operations {
        let project = operation["op"] == "flag.put";
        world.must(ask(json!([operation])).project(project.then_some(SHOP)));
    }
    let state = &world.state;
    let from = json!({
        "cluster": state.cluster_id(), "history": state.history(), "revision": state.revision(),
        "digest": state.digest().to_string(), "audit_size": state.sequence(),
        "audit_root": hex::encode(state.audit_root()), "made_at_ms": 1,
    });
    world.take_over(world.state.clone().without_founding());
    let restore = json!({
        "op": "system.restore", "cluster": "ffeeddccbbaa99887766554433221100", "history": "fedcba9876543210",
        "members": bootstrap()["members"], "from": from, "operator": "ann",
    });
    (world, restore)
}

fn recover(world: &World) -> Value {
    let at = json!({"term": 1, "index": 1});
    json!({
        "op": "system.recover", "cluster": "ffeeddccbbaa99887766554433221100", "history": "fedcba9876543210",
        "members": bootstrap()["members"], "operator": "ann",
        "from": {
            "cluster": world.state.cluster_id(), "history": world.state.history(),
            "committed": at, "committed_revision": 1, "last": at, "last_revision": 1,
        },
    })
}

fn with(operation: &Value, pointer: &str, value: Value) -> Value {
    let mut operation = operation.clone();
    *operation.pointer_mut(pointer).expect(pointer) = value;
    operation
}

#[test]
fn a_restored_catalog_takes_nothing_until_it_has_a_history_of_its_own() {
    let (mut world, restore) = restored();
    let digest = world.state.digest();
    assert_eq!(world.state.history(), None);
    assert_eq!(world.flag("flag").definition.key.as_str(), "flag", "all that was in it is there");
    // Not even a record: one more, or a remembered request, and the catalog would not be the backup's any more.
    let (records, root) = (world.state.sequence(), world.state.audit_root());
    for early in [
        ask(json!([put("early", &after(&[]))])),
        ask(json!([put("early", &after(&[]))])).by("revoked"),
        ask(json!([restore.clone()])).project(None),
        ask(json!([with(&restore, "/from/revision", json!(1))])).by_the_cluster().project(None),
    ] {
        let applied = world.ask(early);
        assert!(matches!(applied.reply.outcome, Outcome::Refused { .. }), "{:?}", applied.reply.outcome);
        assert!(applied.record.is_none() && applied.writes.is_empty());
    }
    assert_eq!(
        (world.state.sequence(), world.state.audit_root(), world.state.digest()),
        (records, root, digest)
    );
    let revision = world.state.revision();
    let owner = token_create("fresh", &json!([{"role": "owner"}]));
    world.must(ask(json!([restore, owner])).by_the_cluster().project(None));
    assert_eq!(world.state.history().map(|history| history.to_string()).as_deref(), Some("fedcba9876543210"));
    assert_eq!(world.state.revision(), revision + 1, "revisions go on");
    assert_eq!(world.state.cluster_version(), 2);
    let record = world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::System, RecordOutcome::Accepted));
    assert_eq!(Some(record.history), world.state.history());
    assert_eq!(record.operations[0].after["from"]["revision"], json!(revision));
    assert_eq!(record.operations[0].after["operator"], json!("ann"));
    // Tokens are part of the catalog, so those of before work on; and so does the new one.
    world.must(ask(json!([put("late", &after(&[]))])));
    world.must(ask(json!([put("later", &after(&[]))])).by("fresh"));
}

#[test]
fn a_restore_is_refused_that_is_not_of_this_backup_or_would_go_on_under_an_old_name() {
    let by_the_cluster = |operation: Value| ask(json!([operation])).by_the_cluster().project(None);
    for (pointer, value, at) in [
        ("/from/revision", json!(1), "/operations/0/from"),
        ("/from/audit_size", json!(1), "/operations/0/from"),
        ("/from/audit_root", json!("00".repeat(32)), "/operations/0/from"),
        ("/from/digest", json!("00".repeat(32)), "/operations/0/from"),
        ("/history", bootstrap()["history"].clone(), "/operations/0/history"),
        ("/cluster", bootstrap()["cluster"].clone(), "/operations/0/history"),
        ("/operator", json!(" "), "/operations/0/operator"),
    ] {
        let (mut world, restore) = restored();
        let rejection = world.refuse(by_the_cluster(with(&restore, pointer, value)));
        assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", at), "{pointer}");
        assert_eq!(world.state.history(), None);
    }
    let (mut world, restore) = restored();
    assert_eq!(
        code(&world.refuse(ask(json!([restore.clone()])).project(None))),
        "forbidden",
        "not with a token"
    );
    assert_eq!(code(&World::new().refuse(by_the_cluster(restore))), "bootstrap", "a living catalog");
}

#[test]
fn a_recovered_catalog_goes_on_in_another_history() {
    let mut world = World::new().with(&[put("flag", &after(&[]))]);
    let old =
        RevisionToken { history: world.state.history().expect("founded"), revision: world.state.revision() };
    let recover = recover(&world);
    world.must(ask(json!([recover])).by_the_cluster().project(None).ticket(Some(TICKET)));
    assert_ne!(world.state.history(), Some(old.history));
    assert_ne!(world.state.cluster_id().map(|id| id.to_string()).as_deref(), bootstrap()["cluster"].as_str());
    assert_eq!(world.state.revision(), old.revision + 1);
    let record = world.last_record();
    assert_eq!((record.kind, record.outcome), (RecordKind::System, RecordOutcome::Accepted));
    assert_eq!(record.operations[0].before["history"], json!(old.history), "what it went on from");
    assert_eq!(record.operations[0].after["operator"], json!("ann"));
    world.must(ask(json!([put("late", &after(&[]))])));
    // Once more is of a history that is over.
    let again = ask(json!([recover])).by_the_cluster().project(None);
    let rejection = world.refuse(again);
    assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", "/operations/0/from"));
}

#[test]
fn only_the_cluster_itself_recovers_and_only_what_is_there() {
    let mut world = World::new();
    let operation = recover(&world);
    for (by, expected) in [("owner", "forbidden"), ("revoked", "unauthenticated")] {
        assert_eq!(code(&world.refuse(ask(json!([operation])).project(None).by(by))), expected);
    }
    for (pointer, value, at) in [
        ("/from/cluster", json!("00".repeat(16)), "/operations/0/from"),
        ("/from/history", json!("00".repeat(8)), "/operations/0/from"),
        ("/history", bootstrap()["history"].clone(), "/operations/0/history"),
        ("/cluster", bootstrap()["cluster"].clone(), "/operations/0/history"),
        ("/operator", json!(""), "/operations/0/operator"),
    ] {
        let wrong = ask(json!([with(&operation, pointer, value)])).by_the_cluster().project(None);
        let rejection = world.refuse(wrong);
        assert_eq!((code(&rejection).as_str(), rejection.path()), ("invalid", at), "{pointer}");
    }
    let outcome =
        World::unfounded().ask(ask(json!([operation])).by_the_cluster().project(None)).reply.outcome;
    assert!(
        matches!(outcome, Outcome::Rejected { rejection: Rejection::Bootstrap { .. }, .. }),
        "{outcome:?}"
    );
}

fn invite(node_id: u64) -> Value {
    json!({
        "op": "system.member.invite", "node_id": node_id, "secret_sha256": "ab".repeat(32), "expires_in_ms": 60_000,
    })
}

/// The seats of a restored catalog are its founders': its log is new, so no id in it means anybody else.
#[test]
fn a_restored_cluster_gives_the_ids_of_the_old_one_away_anew() {
    let (mut world, _) = restored_with(&[invite(7)]);
    let (_, restore) = restored_with(&[invite(7)]);
    world.must(ask(json!([restore])).by_the_cluster().project(None));
    assert_eq!(world.state.seats().map(|(id, _)| id).collect::<Vec<_>>(), [1]);
    world.must(ask(json!([invite(7)])).project(None));
}

/// After a recovery the survivor is the only member, and no other id of before is given away again.
#[test]
fn a_recovered_cluster_has_one_member_and_never_reuses_an_id() {
    let mut world = World::unfounded();
    let mut three = bootstrap();
    for id in ["2", "3"] {
        three["members"][id] = three["members"]["1"].clone();
    }
    let owner = token_create("owner", &json!([{"role": "owner"}]));
    world.must(ask(json!([three, owner])).by_the_cluster().project(None));
    world.must(ask(json!([invite(4)])).project(None));
    world.must(ask(json!([{"op": "system.member.remove", "node_id": 1}])).project(None));
    let operation = recover(&world);
    world.must(ask(json!([operation])).by_the_cluster().project(None));
    let seats: Vec<(u64, bool, bool)> =
        world.state.seats().map(|(id, seat)| (id, seat.is_meant_to_vote(), seat.is_removed())).collect();
    assert_eq!(seats, [(1, true, false), (2, false, true), (3, false, true), (4, false, true)]);
    for id in 1..=4 {
        assert_eq!(code(&world.refuse(ask(json!([invite(id)])).project(None))), "conflict", "node {id}");
    }
    world.must(ask(json!([invite(5)])).project(None));
}
