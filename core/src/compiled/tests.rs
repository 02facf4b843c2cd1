//! What a change leaves as it was compiled. That the answers are right is shown elsewhere; here it is that nothing is
//! compiled twice: what is the same is at the same address.

use std::sync::Arc;

use regex::RegexSet;
use serde_json::{Value, json};

use super::{
    comparison::Comparison,
    condition::CompiledCondition,
    environment::CompiledEnvironment,
    flag::{Decision, Plan},
    project::CompiledProject,
};
use crate::{
    key::EnvironmentKey,
    project::{Flag, Project, StoredEnvironment, StoredSegment},
    segment::{MemberList, Segment},
};

const REGEX: &str = "^[a-z]+@example\\.com$";

/// A project that is put together by hand.
#[derive(Clone)]
struct Built {
    project: Project,
    revision: u64,
}

impl Built {
    fn new(environments: &[&str]) -> Self {
        let spec = serde_json::from_value(json!({"key": "demo"})).expect("a project");
        let mut built = Self { project: Project::new(spec, 1), revision: 1 };
        for key in environments {
            built.put_environment(key);
        }
        built
    }

    fn put_environment(&mut self, key: &str) {
        let spec = serde_json::from_value(json!({"key": key})).expect("an environment");
        let stored = StoredEnvironment { spec, revision: 1, touched_revision: 1 };
        self.project.environments.insert(environment(key), Arc::new(stored));
    }

    fn put_flag(&mut self, definition: Value, environments: Value) {
        self.revision += 1;
        let revisions: serde_json::Map<String, Value> =
            environments.as_object().expect("an object").keys().map(|key| (key.clone(), json!(2))).collect();
        let flag: Flag = serde_json::from_value(json!({
            "definition": definition, "environments": environments,
            "system": {
                "revision": self.revision, "evaluated_revision": self.revision, "environments": revisions,
                "created": {"revision": 2, "at_ms": 0, "by": "test"}, "archived": null, "deleted": null,
            },
        }))
        .expect("a flag");
        self.project.put_flag(Arc::new(flag));
    }

    /// Puts another revision of a flag in its place, as one who changes its definition does: its configurations are the
    /// same objects.
    fn redefine(&mut self, key: &str, change: impl Fn(&mut Value)) {
        self.revision += 1;
        let mut flag = (**self.project.flags.get(key).expect("it is there")).clone();
        let mut definition = serde_json::to_value(&flag.definition).expect("JSON");
        change(&mut definition);
        flag.definition = serde_json::from_value(definition).expect("a definition");
        flag.system.revision = self.revision;
        flag.system.evaluated_revision = self.revision;
        self.project.put_flag(Arc::new(flag));
    }

    fn put_segment(&mut self, spec: Value) {
        let segment = Segment::new(serde_json::from_value(spec).expect("a segment")).expect("valid");
        self.store_segment(segment);
    }

    fn store_segment(&mut self, segment: Segment) {
        self.revision += 1;
        let key = segment.key().clone();
        self.project.segments.insert(key, Arc::new(StoredSegment { segment, revision: self.revision }));
    }

    fn add_member(&mut self, segment: &str, member: &str) {
        let mut segment = self.project.segments.get(segment).expect("it is there").segment.clone();
        segment.add_members(MemberList::Included, &[member.to_owned()]).expect("room");
        self.store_segment(segment);
    }
}

fn environment(key: &str) -> EnvironmentKey {
    EnvironmentKey::new(key).expect("a key")
}

fn compiled<'c>(project: &'c CompiledProject, key: &str) -> &'c CompiledEnvironment {
    project.environment(key).expect("it is there")
}

fn when<'c>(project: &'c CompiledProject, environment: &str, segment: &str) -> &'c Arc<CompiledCondition> {
    let segment = compiled(project, environment).segments.get(segment).expect("it is there");
    segment.when.as_ref().expect("a condition")
}

fn decision<'c>(project: &'c CompiledProject, environment: &str, flag: &str) -> &'c Arc<Decision> {
    match &compiled(project, environment).flags.get(flag).expect("it is there").plan {
        Plan::Decide(decision) => decision,
        Plan::Fixed(..) => panic!("{flag} decides"),
    }
}

/// The regular expressions of a flag's first rule.
fn regexes<'c>(project: &'c CompiledProject, environment: &str, flag: &str) -> &'c Arc<RegexSet> {
    match &decision(project, environment, flag).rules[0].when {
        Some(CompiledCondition::Attribute(_, Comparison::Pattern(regexes))) => regexes,
        other => panic!("{other:?}"),
    }
}

fn matches(pattern: &str) -> Value {
    json!({"attribute": "email", "op": "matches", "values": [pattern]})
}

fn definition(key: &str) -> Value {
    json!({"key": key, "type": "string", "variants": {"a": "A", "b": "B"}, "off_variant": "a"})
}

fn matching(pattern: &str, weight: u32) -> Value {
    let weights = json!([{"variant": "a", "weight": weight}, {"variant": "b", "weight": 1}]);
    json!({"enabled": true, "rules": [
        {"id": "r", "when": matches(pattern), "serve": {"rollout": {"seed": "s", "weights": weights}}},
    ]})
}

/// A hundred environments would each build the regular expressions of each segment: hundreds of megabytes, and minutes
/// in which nothing is applied.
#[test]
fn the_condition_of_a_segment_is_compiled_once_for_all_environments() {
    let mut built = Built::new(&["dev", "production", "qa"]);
    let segment = |pattern: &str| json!({"key": "staff", "when": matches(pattern), "environments": {"qa": {"when": matches("qa")}}});
    built.put_segment(segment(REGEX));
    let first = CompiledProject::compile(&built.project);
    assert!(Arc::ptr_eq(when(&first, "dev", "staff"), when(&first, "production", "staff")));
    assert!(!Arc::ptr_eq(when(&first, "dev", "staff"), when(&first, "qa", "staff")));

    // An environment that comes later has it too.
    let before = built.clone();
    built.put_environment("later");
    let later = first.updated(&before.project, &built.project);
    assert!(Arc::ptr_eq(when(&later, "later", "staff"), when(&first, "dev", "staff")));

    // Another condition is compiled once too, and the environment that has its own keeps it.
    let before = built.clone();
    built.put_segment(segment("else"));
    let changed = later.updated(&before.project, &built.project);
    assert!(!Arc::ptr_eq(when(&changed, "dev", "staff"), when(&first, "dev", "staff")));
    for environment in ["production", "later"] {
        assert!(Arc::ptr_eq(when(&changed, environment, "staff"), when(&changed, "dev", "staff")));
    }
    assert!(Arc::ptr_eq(when(&changed, "qa", "staff"), when(&first, "qa", "staff")));
}

#[test]
fn members_come_without_anything_else_being_compiled() {
    let mut built = Built::new(&["dev", "qa"]);
    let own = json!({"qa": {"when": matches("qa"), "excluded": ["bob"]}});
    built.put_segment(json!({"key": "staff", "when": matches(REGEX), "environments": own}));
    let first = CompiledProject::compile(&built.project);
    let before = built.clone();
    built.add_member("staff", "ann");
    let second = first.updated(&before.project, &built.project);
    for environment in ["dev", "qa"] {
        assert!(Arc::ptr_eq(when(&first, environment, "staff"), when(&second, environment, "staff")));
        let lists = |project: &CompiledProject, member: &str| {
            compiled(project, environment).segments.get("staff").expect("it is there").lists(member)
        };
        assert_eq!((lists(&first, "ann"), lists(&second, "ann")), (None, Some(MemberList::Included)));
        assert_eq!(lists(&second, "bob"), (environment == "qa").then_some(MemberList::Excluded));
    }

    // So is one that is put again with another name, for what it says.
    let before = built.clone();
    built.put_segment(json!({"key": "staff", "name": "Staff", "when": matches(REGEX), "environments": own}));
    let third = second.updated(&before.project, &built.project);
    for environment in ["dev", "qa"] {
        assert!(Arc::ptr_eq(when(&first, environment, "staff"), when(&third, environment, "staff")));
    }
}

#[test]
fn regular_expressions_are_compiled_once_in_a_project() {
    let mut built = Built::new(&["dev", "production"]);
    let environments = |weight| json!({"dev": matching(REGEX, weight), "production": matching(REGEX, 7)});
    built.put_flag(definition("one"), environments(1));
    built.put_flag(definition("two"), environments(1));
    let first = CompiledProject::compile(&built.project);
    let regexes_of_one = regexes(&first, "dev", "one");
    assert!(Arc::ptr_eq(regexes_of_one, regexes(&first, "production", "one")));
    assert!(Arc::ptr_eq(regexes_of_one, regexes(&first, "production", "two")));

    // Other weights beside them are another decision with the same ones.
    let before = built.clone();
    built.put_flag(definition("one"), environments(2));
    let second = first.updated(&before.project, &built.project);
    assert!(!Arc::ptr_eq(decision(&first, "dev", "one"), decision(&second, "dev", "one")));
    assert!(Arc::ptr_eq(regexes_of_one, regexes(&second, "dev", "one")));
    // A configuration that is given again as it was is the same, be it another object.
    assert!(Arc::ptr_eq(decision(&first, "production", "one"), decision(&second, "production", "one")));
}

#[test]
fn what_decides_outlives_the_definition() {
    let mut built = Built::new(&["dev"]);
    built.put_flag(definition("one"), json!({"dev": matching(REGEX, 1)}));
    let first = CompiledProject::compile(&built.project);
    let after = |change: &dyn Fn(&mut Value)| {
        let mut changed = built.clone();
        changed.redefine("one", change);
        first.updated(&built.project, &changed.project)
    };
    let is_kept = |changed: &CompiledProject| {
        Arc::ptr_eq(decision(&first, "dev", "one"), decision(changed, "dev", "one"))
    };
    for (field, value) in [
        ("description", json!("another")),
        ("metadata", json!({"team": "x"})),
        ("variants", json!({"a": "1", "b": "2"})),
    ] {
        let changed = after(&|definition| definition[field] = value.clone());
        assert!(is_kept(&changed), "{field}");
        // What it answers is of the new definition all the same.
        let answered = compiled(&changed, "dev").evaluate("one", &Default::default()).expect("it is there");
        assert_eq!(answered.flag.definition, changed_flag(&changed).definition);
        assert_eq!(json!(answered.flag.definition)[field], value);
    }
    for (field, value) in [("off_variant", json!("b")), ("variants", json!({"0": "0", "a": "A", "b": "B"}))] {
        assert!(!is_kept(&after(&|definition| definition[field] = value.clone())), "{field}");
    }
}

fn changed_flag(project: &CompiledProject) -> &Arc<Flag> {
    compiled(project, "dev").flag("one").expect("it is there")
}

/// To find what is critical takes a walk over all flags. A flag that comes or goes needs none, unless it may be critical.
#[test]
fn a_plain_flag_comes_and_goes_without_a_walk_over_all_of_them() {
    let mut built = Built::new(&["dev"]);
    let critical = json!({"key": "kill", "type": "boolean", "variants": {"on": true}, "critical": true, "safe_variant": "on"});
    built.put_flag(critical, json!({}));
    let after = |before: &CompiledProject, built: &Built, change: &dyn Fn(&mut Built)| {
        let mut changed = built.clone();
        change(&mut changed);
        (before.updated(&built.project, &changed.project), changed)
    };
    let set = |project: &CompiledProject| {
        let keys = compiled(project, "dev").critical();
        (std::ptr::from_ref(keys), keys.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let depends = json!({"dev": {"prerequisites": [{"flag": "kill", "variants": ["on"]}]}});
    let first = CompiledProject::compile(&built.project);
    let (second, built) = after(&first, &built, &|built| built.put_flag(definition("plain"), json!({})));
    assert_eq!(set(&second), set(&first), "the very same one");
    let (third, built) = after(&second, &built, &|built| built.put_flag(definition("user"), depends.clone()));
    assert_eq!(set(&third).1, ["kill", "user"]);
    let (fourth, built) = after(&third, &built, &|built| {
        built.redefine("user", |definition| definition["description"] = json!("another"));
        built.project.flags.remove("plain");
    });
    assert_eq!(set(&fourth), set(&third), "the very same one");
    let (fifth, built) = after(&fourth, &built, &|built| {
        built.project.flags.remove("user");
    });
    assert_eq!(set(&fifth).1, ["kill"]);
    let (sixth, _) = after(&fifth, &built, &|built| {
        built.project.flags.remove("kill");
        built.project.critical.remove("kill");
    });
    assert!(set(&sixth).1.is_empty());
}
