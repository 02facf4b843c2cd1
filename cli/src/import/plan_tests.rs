use std::collections::BTreeMap as Map;

use super::*;

fn flag(key: &str) -> Value {
    json!({"key": key, "type": "boolean", "variants": {"on": true, "off": false}})
}

fn configured(key: &str, environments: Value) -> Value {
    let mut flag = flag(key);
    flag["environments"] = environments;
    flag
}

#[test]
fn an_object_is_compared_by_what_it_means() {
    let stored = json!({
        "key": "a", "type": "number", "variants": {"on": 1.0}, "name": "", "tags": [], "off_variant": null,
        "environments": {"dev": {"enabled": true, "rules": [], "default": null}},
        "system": {"revision": 7},
    });
    let wanted = |environments: Value| json!({"key": "a", "type": "number", "variants": {"on": 1}, "environments": environments});
    let action =
        |wanted: Value, on_conflict| Item::new(Kind::Flag, wanted, Some(&stored), on_conflict).action;
    assert_eq!(action(wanted(json!({"dev": {"enabled": true}})), OnConflict::Fail), Action::Unchanged);
    assert_eq!(action(wanted(json!({})), OnConflict::Fail), Action::Unchanged);
    assert_eq!(action(wanted(json!({"live": {"enabled": true}})), OnConflict::Fail), Action::Configure);
    let off = wanted(json!({"dev": {"enabled": false}, "live": {}}));
    assert_eq!(action(off.clone(), OnConflict::Fail), Action::Conflict);
    assert_eq!(action(off.clone(), OnConflict::Skip), Action::Skip);
    assert_eq!(action(off, OnConflict::Replace), Action::Replace);
    let mut archived = stored.clone();
    archived["system"]["archived"] = json!({"revision": 8});
    let item = Item::new(Kind::Flag, wanted(json!({})), Some(&archived), OnConflict::Fail);
    assert_eq!(item.action, Action::Conflict);
    let item = Item::new(Kind::Segment, json!({"key": "s"}), None, OnConflict::Fail);
    assert_eq!(
        item.operation(),
        Some(json!({"op": "segment.put", "segment": {"key": "s"}, "if_revision": 0}))
    );
}

#[test]
fn every_operation_is_one_that_the_domain_knows() {
    let objects = [
        (Kind::Project, json!({"key": "p"})),
        (Kind::Environment, json!({"key": "e"})),
        (Kind::Segment, json!({"key": "s"})),
        (Kind::Flag, flag("f")),
    ];
    for (kind, object) in objects {
        let item = Item::new(kind, object, None, OnConflict::Fail);
        let operation = item.operation().expect("an operation");
        flagraft_core::operation::Operation::from_value(operation).expect("known");
    }
}

#[test]
fn what_is_needed_comes_first() {
    let needing = |key: &str, needs: &[&str]| {
        let prerequisites: Vec<Value> =
            needs.iter().map(|n| json!({"flag": n, "variants": ["on"]})).collect();
        configured(key, json!({"dev": {"prerequisites": prerequisites}}))
    };
    let flags = vec![
        needing("a", &["c", "b"]),
        needing("b", &["d"]),
        needing("c", &[]),
        needing("d", &["elsewhere"]),
        needing("x", &["y"]),
        needing("y", &["x"]),
    ];
    let ordered = needed_first(flags, prerequisites);
    let place: Map<&str, usize> =
        ordered.iter().enumerate().map(|(i, f)| (f["key"].as_str().expect("a key"), i)).collect();
    assert_eq!(place.len(), 6, "none is lost, cycles included");
    for (first, then) in [("c", "a"), ("b", "a"), ("d", "b")] {
        assert!(place[first] < place[then], "{first} before {then}: {place:?}");
    }
    let segment = json!({"when": {"any": [{"segment": "s1"}, {"not": {"segment": "s2"}}]}, "environments": {"e": {"when": {"segment": "s3"}}}});
    let mut found = contained_segments(&segment);
    found.sort_unstable();
    assert_eq!(found, ["s1", "s2", "s3"]);
}

#[test]
fn a_long_chain_does_not_overflow_the_stack() {
    let name = |i: usize| format!("f{i:06}");
    let flags = (0..50_000).map(|i| {
        configured(&name(i), json!({"e": {"prerequisites": [{"flag": name(i + 1), "variants": ["on"]}]}}))
    });
    let ordered = needed_first(flags.collect(), prerequisites);
    assert_eq!(ordered[0]["key"], name(49_999));
}

#[test]
fn batches_are_cut_by_count_and_by_size() {
    let items = |objects: Vec<Value>| -> Vec<Item> {
        objects.into_iter().map(|object| Item::new(Kind::Flag, object, None, OnConflict::Fail)).collect()
    };
    let many = items((0..250).map(|i| flag(&format!("f{i}"))).collect());
    let sizes: Vec<usize> = batches(&many).iter().map(|batch| batch.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    let big = items(
        (0..4).map(|i| json!({"key": format!("f{i}"), "description": "x".repeat(300 * 1024)})).collect(),
    );
    let sizes: Vec<usize> = batches(&big).iter().map(|batch| batch.len()).collect();
    assert_eq!(sizes, [2, 2]);
    assert!(batches(&[]).is_empty());
}

#[test]
fn request_ids_repeat_with_the_file_and_differ_with_what_is_done() {
    let body = json!({"operations": [1]});
    let key = batch_key(b"file", "demo", "ab.7", 3, &body);
    assert_eq!(key, batch_key(b"file", "demo", "ab.7", 3, &body));
    assert!(key.len() <= 64 && key.starts_with("import-"), "{key}");
    let others = [
        batch_key(b"file!", "demo", "ab.7", 3, &body),
        batch_key(b"file", "demo2", "ab.7", 3, &body),
        batch_key(b"file", "demo", "ab.8", 3, &body),
        batch_key(b"file", "demo", "ab.7", 4, &body),
        batch_key(b"file", "demo", "ab.7", 3, &json!({"operations": [2]})),
    ];
    assert!(others.iter().all(|other| *other != key));
}
