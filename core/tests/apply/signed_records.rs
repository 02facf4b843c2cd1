//! The signatures in records, checked from the records alone; and whatever was done to them after, found.

use flagraft_core::{
    record::Record,
    signing::{Fault, KnownKeys, RecordSignature, Signer, signing_key_id, verify_signature},
    token::{ActorType, TokenActor},
};
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};

use crate::{
    signed::{OWNER, WRITER, switch, world},
    world::{ask, public_key, signing_key_put, signing_key_revoke},
};

/// A record of a signed change, and the records before it.
fn signed() -> (Record, KnownKeys, Vec<Record>) {
    let mut world = world();
    let expected = world.state.revision();
    world.must(
        ask(json!([switch("flag.disable", "dev"), switch("flag.enable", "staging")]))
            .by("writer")
            .expecting(expected)
            .key("k")
            .signed(WRITER),
    );
    let record = world.records.pop().expect("a record");
    (record, world.keys, world.records)
}

fn signature(record: &mut Record) -> &mut RecordSignature {
    record.signature.as_mut().expect("signed")
}

#[test]
fn a_signer_is_told_with_where_the_key_was_registered() {
    let (record, keys, before) = signed();
    let actor = TokenActor { actor_type: ActorType::User, id: "writer@example.com".to_owned() };
    let registered = before.iter().find(|record| record.operations[0].operation["op"] == "signing_key.put");
    let registered = registered.map(|record| record.sequence);
    let signer = Signer { key: signing_key_id(&public_key(WRITER)), actor, registered };
    assert_eq!(verify_signature(&record, &keys), Ok(Some(signer.clone())));
    // Of a log that is not there from its beginning, whose key it is has only the record's word.
    let unknown = Signer { registered: None, ..signer };
    assert_eq!(verify_signature(&record, &KnownKeys::default()), Ok(Some(unknown)));
    assert_eq!(verify_signature(&before[0], &keys), Ok(None));
    // As it is read from the bytes that are stored.
    let read: Record = serde_json::from_slice(&record.to_bytes().bytes).expect("a record");
    assert!(verify_signature(&read, &keys).is_ok());
}

#[test]
fn each_fault_is_told() {
    let (record, keys, _) = signed();
    let fault = |forge: fn(&mut Record), keys: &KnownKeys| {
        let mut record = record.clone();
        forge(&mut record);
        verify_signature(&record, keys)
    };
    assert_eq!(fault(|record| record.reason.push('!'), &keys), Err(Fault::NotSigned));
    assert_eq!(fault(|record| signature(record).public_key = public_key(OWNER), &keys), Err(Fault::OtherKey));
    assert_eq!(fault(|record| record.time_ms += 300_001, &keys), Err(Fault::OutOfTime));
    assert_eq!(fault(|record| record.time_ms -= 300_001, &keys), Err(Fault::OutOfTime));
    assert_eq!(fault(|record| record.actor.token = None, &keys), Err(Fault::NoToken));
    let writer = TokenActor { actor_type: ActorType::User, id: "writer@example.com".to_owned() };
    let others = |record: &mut Record| record.actor.id = "eve@example.com".to_owned();
    assert_eq!(fault(others, &keys), Err(Fault::OtherActor(writer)));
}

/// A key counts from the record that registered it to the one that revoked it, and what was refused did neither.
#[test]
fn keys_are_learnt_from_the_records_that_took_effect() {
    let mut world = world();
    world.refuse(ask(json!([signing_key_put("eve", 9)])).by("reader").project(None));
    world.refuse(ask(json!([signing_key_revoke(WRITER)])).by("reader").project(None));
    let change = |key: &str, op: &str| ask(json!([switch(op, "dev")])).by("writer").key(key).signed(WRITER);
    world.must(change("a", "flag.disable"));
    let before = world.last_record().clone();
    assert!(verify_signature(&before, &world.keys).is_ok());
    // A change may revoke the key that it is signed with: the world checks its record, and then takes note of it.
    world.must(ask(json!([signing_key_revoke(WRITER)])).by("writer").project(None).key("b").signed(WRITER));
    let revoked = world.last_record().sequence;
    assert_eq!(verify_signature(&before, &world.keys), Err(Fault::Revoked(revoked)), "had it come after");
}

/// Where a leaf of JSON stands, and what it is.
fn leaves(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| leaves(field, format!("{at}/{name}"), out));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| leaves(item, format!("{at}/{index}"), out));
        }
        _ => out.push(at),
    }
}

/// What the author of a change says, as pointers into its record. Everything else is what the cluster says of it.
fn authors_words(record: &Value) -> Vec<String> {
    let mut all = Vec::new();
    leaves(record, String::new(), &mut all);
    let is_authors = |at: &String| {
        let of_operations = at.starts_with("/operations/") && at.split('/').nth(3) == Some("operation");
        let parts = [
            "/history",
            "/request_id",
            "/actor/type",
            "/actor/id",
            "/actor/token",
            "/project",
            "/reason",
            "/ticket",
        ];
        of_operations
            || at.starts_with("/signature/")
            || at.starts_with("/caused_by")
            || parts.contains(&at.as_str())
    };
    all.into_iter().filter(is_authors).collect()
}

fn other(value: &Value, more: &str) -> Value {
    match value {
        Value::String(text) => json!(format!("{text}{more}")),
        Value::Number(number) => json!(number.as_i64().expect("an integer") + 1),
        Value::Bool(is) => json!(!is),
        // Of `caused_by`, all that can be null here.
        _ => json!({"kind": "import", "id": more}),
    }
}

#[test]
fn the_authors_words_are_all_there() {
    let words = authors_words(&serde_json::to_value(signed().0).expect("JSON"));
    assert_eq!(
        words,
        [
            "/actor/id",
            "/actor/token",
            "/actor/type",
            "/caused_by",
            "/history",
            "/operations/0/operation/environment",
            "/operations/0/operation/flag",
            "/operations/0/operation/op",
            "/operations/1/operation/environment",
            "/operations/1/operation/flag",
            "/operations/1/operation/op",
            "/project",
            "/reason",
            "/request_id",
            "/signature/expect_revision",
            "/signature/key",
            "/signature/public_key",
            "/signature/signature",
            "/signature/signed_at_ms",
            "/ticket",
        ]
    );
}

proptest! {
    /// Whatever of the author's words is changed in a record, it is no record of a signed change any more.
    #[test]
    fn no_word_of_the_author_can_be_changed(at in any::<prop::sample::Index>(), more in "[a-z0-9=+/]{1,3}", how in select(&["more", "less", "swap"][..])) {
        let (record, keys, _) = signed();
        let mut value = serde_json::to_value(&record).expect("JSON");
        let words = authors_words(&value);
        let pointer = at.get(&words);
        let word = value.pointer_mut(pointer).expect("a word");
        let was = word.clone();
        *word = match (how, &was) {
            ("less", Value::String(text)) => json!(text.chars().skip(1).collect::<String>()),
            ("swap", Value::String(text)) => json!(text.chars().rev().collect::<String>()),
            _ => other(&was, &more),
        };
        prop_assume!(*word != was);
        // Some are no records at all.
        if let Ok(forged) = serde_json::from_value::<Record>(value) {
            let fault = verify_signature(&forged, &keys);
            prop_assert!(fault.is_err(), "{pointer} {fault:?}");
        }
    }
}
