//! The documents of streams: that they say all that changed, each thing once, in the same bytes wherever they are made.

#[path = "common/changes.rs"]
#[allow(dead_code, reason = "what it makes to evaluate for is not asked here")]
mod changes;
mod common;

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::Unstructured;
use common::{Catalog, PROJECT};
use flagraft_core::{
    feed::encode::{Touch, change, snapshot, touched},
    state::State,
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

/// So many random bytes make one change.
const BYTES: usize = 512;

fn snapshot_text(state: &State, environment: &str) -> Option<String> {
    snapshot(state, PROJECT, environment).map(|document| serde_json::to_string(&document).expect("JSON"))
}

fn change_text(before: &State, after: &State, environment: &str) -> Option<String> {
    change(before, after, PROJECT, environment)
        .map(|document| serde_json::to_string(&document).expect("JSON"))
}

/// A catalog in which everything that the documents can say comes to be said.
fn frozen() -> Vec<String> {
    let mut catalog = Catalog::new(&["dev", "production"]);
    let rule = |segment: &str| json!([{"id": "r", "when": {"segment": segment}, "serve": {"variant": "on"}}]);
    catalog.must(json!([
        {"op": "segment.put", "segment": {"key": "inner", "when": {"attribute": "plan", "op": "in", "values": ["pro"]}}},
        {"op": "segment.put", "segment": {"key": "staff", "name": "Staff", "included": ["bob", "ann"], "when": {"segment": "inner"},
            "environments": {"production": {"excluded": ["zoe", "eve", "zoe"]}}}},
        {"op": "segment.put", "segment": {"key": "unused", "included": ["ann"]}},
        {"op": "flag.put", "flag": {"key": "plain", "name": "Plain", "type": "boolean", "owner": "team", "tags": ["t"],
            "variants": {"on": true, "off": false}}},
        {"op": "flag.put", "flag": {"key": "full", "type": "number", "metadata": {"team": "payments", "n": 1}, "critical": true,
            "safe_variant": "low", "max_age_ms": 500, "on_stale": "safe-variant", "grace_ms": 7, "exposure": "client",
            "variants": {"low": 1, "high": 2.5}, "off_variant": "low"}},
        {"op": "flag.configure", "flag": "plain", "environment": "production", "configuration": {"enabled": true,
            "prerequisites": [{"flag": "full", "variants": ["low"]}], "targets": [{"values": ["u1"], "variant": "on"}],
            "rules": rule("staff"), "default": {"variant": "off"}}},
    ]));
    let mut lines = vec![snapshot_text(&catalog.state, "production").expect("an environment")];
    let mut then = |operations: Value| {
        let before = catalog.state.clone();
        catalog.must(operations);
        lines.extend(change_text(&before, &catalog.state, "production"));
    };
    then(
        json!([{"op": "segment.members.add", "segment": "staff", "list": "included", "members": ["carl", "ann"]}]),
    );
    then(json!([{"op": "segment.put", "segment": {"key": "unused", "when": {"all": []}}}]));
    then(json!([
        {"op": "flag.enable", "flag": "full", "environment": "production"},
        {"op": "segment.put", "segment": {"key": "inner", "included": ["x"], "when": {"segment": "unused"}}},
    ]));
    then(json!([{"op": "environment.put", "environment": {"key": "production", "name": "Production"}}]));
    then(json!([{"op": "flag.enable", "flag": "plain", "environment": "dev"}]));
    then(json!([{"op": "flag.archive", "flag": "plain"}]));
    lines.extend(snapshot_text(&catalog.state, "production"));
    lines
}

/// Nodes and clients of several versions read these documents. Add to the file; change nothing that is in it.
#[test]
fn the_documents_are_frozen() {
    let expected: Vec<&str> = include_str!("../../tests/fixtures/stream/documents.jsonl").lines().collect();
    let lines = frozen();
    assert_eq!(lines, expected, "the documents are now:\n{}", lines.join("\n"));
}

#[test]
fn what_is_not_there_has_no_documents() {
    let catalog = Catalog::new(&["dev"]);
    assert!(snapshot(&catalog.state, PROJECT, "production").is_none());
    assert!(snapshot(&catalog.state, "other", "dev").is_none());
    assert!(change(&State::empty(), &catalog.state, PROJECT, "dev").is_none(), "it was not there before");
    assert!(change(&catalog.state, &State::empty(), PROJECT, "dev").is_none(), "it is gone");
}

/// Who follows the documents, without a word of what they mean.
#[derive(Clone, Debug, Default, PartialEq)]
struct Follower {
    environment_revision: u64,
    flags: BTreeMap<String, Value>,
    segments: BTreeMap<String, FollowedSegment>,
}

#[derive(Clone, Debug, PartialEq)]
struct FollowedSegment {
    when: Value,
    lists: BTreeMap<String, BTreeSet<String>>,
}

fn names(list: &Value) -> BTreeSet<String> {
    let list = list.as_array().expect("a list");
    let names: BTreeSet<String> = list.iter().map(|name| name.as_str().expect("a name").to_owned()).collect();
    assert_eq!(names.len(), list.len(), "each once");
    assert!(list.is_sorted_by_key(|name| name.as_str()), "in order");
    names
}

fn key(object: &Value) -> String {
    object["key"].as_str().expect("a key").to_owned()
}

impl Follower {
    fn of_snapshot(document: &str) -> Self {
        let document: Value = serde_json::from_str(document).expect("JSON");
        let mut follower = Self {
            environment_revision: document["environment_revision"].as_u64().expect("a revision"),
            ..Self::default()
        };
        for kind in ["segments", "flags"] {
            let objects = document[kind].as_array().expect("a list");
            assert!(objects.is_sorted_by_key(key), "{kind} in key order");
            for object in objects {
                follower.edit(kind.trim_end_matches('s'), object);
            }
        }
        follower
    }

    fn follow(&mut self, document: &str) {
        let document: Value = serde_json::from_str(document).expect("JSON");
        assert_eq!(document["previous"], self.environment_revision, "no gap");
        self.environment_revision = document["revision"].as_u64().expect("a revision");
        for edit in document["changes"].as_array().expect("a list") {
            let (kind, what) = edit.as_object().and_then(|edit| edit.iter().next()).expect("one kind");
            self.edit(kind, what);
        }
    }

    fn edit(&mut self, kind: &str, what: &Value) {
        match kind {
            "flag" => drop(self.flags.insert(key(what), what.clone())),
            "deleted" => drop(self.flags.remove(what.as_str().expect("a key")).expect("was there")),
            "segment" => {
                let lists = ["included", "excluded"].map(|list| (list.to_owned(), names(&what[list])));
                let segment = FollowedSegment { when: what["when"].clone(), lists: lists.into() };
                self.segments.insert(key(what), segment);
            }
            "segment_deleted" => {
                drop(self.segments.remove(what.as_str().expect("a key")).expect("was there"))
            }
            "members" => {
                let segment =
                    self.segments.get_mut(what["segment"].as_str().expect("a key")).expect("is there");
                let list = segment.lists.get_mut(what["list"].as_str().expect("a name")).expect("one of two");
                for name in names(&what["add"]) {
                    assert!(list.insert(name), "was not there");
                }
                for name in names(&what["remove"]) {
                    assert!(list.remove(&name), "was there");
                }
            }
            other => panic!("an unknown kind of edit: {other}"),
        }
    }
}

/// The same state, grown in another way: none of its maps has the shape it had, and nothing is shared.
fn rebuilt(state: &State) -> State {
    State::from_rows(state.rows()).expect("rows of a state")
}

fn history(length: usize) -> impl Strategy<Value = Vec<Value>> {
    let one = Just(())
        .prop_perturb(|(), mut random| {
            let mut bytes = [0; BYTES];
            random.fill_bytes(&mut bytes);
            bytes
        })
        .prop_map(|bytes| changes::change(&mut Unstructured::new(&bytes)).expect("any bytes make one"));
    vec(one, 1..=length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// Who has a snapshot and follows every change has what a fresh snapshot says; and a revision that gives no change
    /// left the document as it was, for it is known by the revision that last touched the environment.
    #[test]
    fn changes_lead_from_one_snapshot_to_the_next(history in history(32)) {
        let mut catalog = Catalog::new(&[]);
        catalog.must(changes::founding());
        let mut followers: BTreeMap<&str, Follower> = BTreeMap::new();
        for operations in history {
            let before = catalog.state.clone();
            let _ = catalog.change(Some(PROJECT), operations);
            let after = &catalog.state;
            let touches: BTreeMap<String, Touch> = touched(&before, after)
                .into_iter()
                .map(|(_, environment, touch)| (environment.to_string(), touch))
                .collect();
            for environment in changes::ENVIRONMENTS {
                let change = change_text(&before, after, environment);
                let Some(fresh) = snapshot_text(after, environment) else {
                    prop_assert!(change.is_none());
                    followers.remove(environment);
                    let was_there = snapshot_text(&before, environment).is_some();
                    prop_assert_eq!(touches.get(environment), was_there.then_some(&Touch::Gone));
                    continue;
                };
                let fresh = Follower::of_snapshot(&fresh);
                let follower = match snapshot_text(&before, environment) {
                    None => {
                        prop_assert_eq!(touches.get(environment), Some(&Touch::Made));
                        followers.entry(environment).insert_entry(fresh.clone()).into_mut()
                    }
                    Some(old) => {
                        prop_assert_eq!(touches.get(environment), change.as_ref().map(|_| &Touch::Changed));
                        followers.entry(environment).or_insert_with(|| Follower::of_snapshot(&old))
                    }
                };
                if let Some(change) = &change {
                    follower.follow(change);
                }
                prop_assert_eq!(&*follower, &fresh, "{:?}", change);
            }
        }
    }

    /// A node that has applied every entry and one that took over a snapshot write the same bytes.
    #[test]
    fn the_bytes_don_t_depend_on_how_a_state_grew(history in history(24)) {
        let mut catalog = Catalog::new(&[]);
        catalog.must(changes::founding());
        for operations in history {
            let before = catalog.state.clone();
            let _ = catalog.change(Some(PROJECT), operations);
            let after = &catalog.state;
            let (other_before, other_after) = (rebuilt(&before), rebuilt(after));
            prop_assert_eq!(touched(&before, after), touched(&other_before, &other_after));
            for environment in changes::ENVIRONMENTS {
                prop_assert_eq!(snapshot_text(after, environment), snapshot_text(&other_after, environment));
                prop_assert_eq!(
                    change_text(&before, after, environment),
                    change_text(&other_before, &other_after, environment)
                );
            }
        }
    }
}

/// A list of a million grows by one: that one is sent, and finding it costs what changed.
#[test]
fn one_member_of_many_is_one_member() {
    let mut catalog = Catalog::new(&["dev"]);
    let members: Vec<String> = (0..100_000).map(|number| format!("user-{number:06}")).collect();
    catalog.must(json!([
        {"op": "segment.put", "segment": {"key": "many", "included": members}},
        {"op": "flag.put", "flag": {"key": "flag", "type": "boolean", "variants": {"on": true}, "environments": {"dev": {
            "rules": [{"id": "r", "when": {"segment": "many"}, "serve": {"variant": "on"}}]}}}},
    ]));
    let before = catalog.state.clone();
    catalog.must(
        json!([{"op": "segment.members.add", "segment": "many", "list": "included", "members": ["user-x"]}]),
    );
    let text = change_text(&before, &catalog.state, "dev").expect("touched");
    let changes = serde_json::from_str::<Value>(&text).expect("JSON")["changes"].take();
    assert_eq!(
        changes,
        json!([{"members": {"segment": "many", "list": "included", "add": ["user-x"], "remove": []}}])
    );
}
