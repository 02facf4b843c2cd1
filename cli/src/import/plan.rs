//! What an import does to a project: which objects are new, which are there already, and in which changes
//! they go.

use std::collections::{BTreeMap, BTreeSet};

use flagraft_core::{
    document::FlagDocument,
    environment::{EnvironmentSpec, ProjectSpec},
    flag::FlagDefinition,
    segment::SegmentSpec,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The most operations of one change.
const OPERATIONS_MAX: usize = 100;
/// Bytes of operations in one change. A node takes 1 MiB; the rest is left for what is around them.
const BATCH_BYTES_MAX: usize = 768 * 1024;

/// What an object of the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The project itself.
    Project,
    /// An environment.
    Environment,
    /// A segment.
    Segment,
    /// A flag.
    Flag,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Environment => "environment",
            Self::Segment => "segment",
            Self::Flag => "flag",
        }
    }
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It does not exist and is created.
    Create,
    /// The flag exists as in the file, and gets its configuration for further environments.
    Configure,
    /// It exists and is replaced.
    Replace,
    /// It exists, differs, and is left as it is.
    Skip,
    /// It is there already, exactly so: after an import that was cut off, what had been done.
    Unchanged,
    /// It exists and differs, and nobody said what to do.
    Conflict,
}

/// What to do with objects that exist and differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OnConflict {
    /// Refuse the whole import
    #[default]
    Fail,
    /// Leave them as they are
    Skip,
    /// Replace them
    Replace,
}

/// An object of the file and what happens to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its key.
    pub key: String,
    /// The object as the API takes it.
    pub object: Value,
    /// What happens to it.
    pub action: Action,
}

impl Item {
    /// An object, and what happens to it given what exists under its key.
    pub fn new(kind: Kind, object: Value, existing: Option<&Value>, on_conflict: OnConflict) -> Self {
        let key = object["key"].as_str().unwrap_or_default().to_owned();
        let action = match existing {
            None => Action::Create,
            Some(existing) => match (compare(kind, &object, existing), on_conflict) {
                (Difference::None, _) => Action::Unchanged,
                (Difference::Environments, _) => Action::Configure,
                (Difference::Contents, OnConflict::Fail) => Action::Conflict,
                (Difference::Contents, OnConflict::Skip) => Action::Skip,
                (Difference::Contents, OnConflict::Replace) => Action::Replace,
            },
        };
        Self { kind, key, object, action }
    }

    /// The operation that does it; `None` when there is nothing to do.
    pub fn operation(&self) -> Option<Value> {
        let kind = self.kind.name();
        let mut operation = json!({"op": format!("{kind}.put"), kind: self.object});
        match self.action {
            // 0: refuse it if somebody else created it meanwhile.
            Action::Create => operation["if_revision"] = json!(0),
            Action::Configure | Action::Replace => {}
            Action::Skip | Action::Unchanged | Action::Conflict => return None,
        }
        Some(operation)
    }
}

/// The objects, each with what happens to it.
pub fn items<'a>(
    objects: Vec<(Kind, Value)>,
    existing: impl Fn(Kind, &str) -> Option<&'a Value>,
    on_conflict: OnConflict,
) -> Vec<Item> {
    let item = |(kind, object): (Kind, Value)| {
        let found = existing(kind, object["key"].as_str().unwrap_or_default());
        Item::new(kind, object, found, on_conflict)
    };
    objects.into_iter().map(item).collect()
}

enum Difference {
    None,
    /// Nothing differs, but the file configures environments in which the flag has no configuration.
    Environments,
    Contents,
}

fn compare(kind: Kind, wanted: &Value, existing: &Value) -> Difference {
    if !existing["system"]["archived"].is_null() {
        // Out of service: not what the file wants, however alike it is.
        return Difference::Contents;
    }
    let same = match kind {
        Kind::Project => normal::<ProjectSpec>(wanted) == normal::<ProjectSpec>(existing),
        Kind::Environment => normal::<EnvironmentSpec>(wanted) == normal::<EnvironmentSpec>(existing),
        Kind::Segment => normal::<SegmentSpec>(wanted) == normal::<SegmentSpec>(existing),
        Kind::Flag => return compare_flags(&normal_flag(wanted), &normal_flag(existing)),
    };
    if same { Difference::None } else { Difference::Contents }
}

fn compare_flags(wanted: &Value, existing: &Value) -> Difference {
    let definition = |flag: &Value| {
        let mut flag = flag.clone();
        if let Some(fields) = flag.as_object_mut() {
            fields.remove("environments");
        }
        flag
    };
    if definition(wanted) != definition(existing) {
        return Difference::Contents;
    }
    let mut difference = Difference::None;
    for (environment, configuration) in wanted["environments"].as_object().into_iter().flatten() {
        match existing["environments"].get(environment) {
            None => difference = Difference::Environments,
            Some(other) if other == configuration => {}
            Some(_) => return Difference::Contents,
        }
    }
    difference
}

/// The object with every default written out, so that two ways to write the same are the same. One that is
/// not valid stays as it is: the cluster says what is wrong with it.
fn normal<T: Serialize + DeserializeOwned>(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("system");
    }
    let parsed = serde_json::from_value::<T>(object.clone()).ok();
    parsed.and_then(|parsed| serde_json::to_value(parsed).ok()).unwrap_or(object)
}

/// A flag with every default written out and its values in the one form of their type: `1` is `1.0` in a
/// number flag.
fn normal_flag(flag: &Value) -> Value {
    let mut normal = normal::<FlagDocument>(flag);
    let definition = FlagDocument::from_value(flag.clone()).and_then(|d| FlagDefinition::new(d.definition));
    if let Some(variants) = definition.ok().and_then(|d| serde_json::to_value(&d.variants).ok()) {
        normal["variants"] = variants;
    }
    normal
}

/// The keys that several of a list's objects have, each once and in order. Of two objects with one key the second would
/// silently take the place of the first.
pub fn repeated<'a>(keys: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<&str> = keys.into_iter().filter(|key| !seen.insert(*key)).collect();
    repeated.into_iter().collect()
}

/// Orders objects so that none stands before what it needs: prerequisites before the flags that name them,
/// segments before the ones that contain them. What needs itself in the end stays where it is, for the
/// cluster to refuse.
pub fn needed_first(objects: Vec<Value>, needs: fn(&Value) -> Vec<&str>) -> Vec<Value> {
    let index: BTreeMap<&str, usize> =
        objects.iter().enumerate().filter_map(|(i, object)| Some((object["key"].as_str()?, i))).collect();
    let mut order = Vec::with_capacity(objects.len());
    let mut seen = BTreeSet::new();
    for start in 0..objects.len() {
        // Depth first, without recursion: a file may chain any number of them.
        let mut stack = vec![(start, false)];
        while let Some((i, done)) = stack.pop() {
            if done {
                order.push(i);
            } else if seen.insert(i) {
                stack.push((i, true));
                let needed = needs(&objects[i]).into_iter().filter_map(|key| index.get(key).copied());
                stack.extend(needed.filter(|n| !seen.contains(n)).map(|n| (n, false)));
            }
        }
    }
    let mut objects: Vec<Option<Value>> = objects.into_iter().map(Some).collect();
    order.into_iter().filter_map(|i| objects.get_mut(i).and_then(Option::take)).collect()
}

/// The flags that a flag has as prerequisites, in any environment.
pub fn prerequisites(flag: &Value) -> Vec<&str> {
    let environments = flag["environments"].as_object().into_iter().flat_map(|e| e.values());
    let prerequisites = environments.flat_map(|e| e["prerequisites"].as_array().into_iter().flatten());
    prerequisites.filter_map(|p| p["flag"].as_str()).collect()
}

/// The segments that a segment names in its conditions.
pub fn contained_segments(segment: &Value) -> Vec<&str> {
    let mut found = Vec::new();
    let mut open: Vec<&Value> = vec![&segment["when"], &segment["environments"]];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("segment").and_then(Value::as_str));
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    found
}

/// Cuts the objects into changes, by the file alone: what is there already does not shift the cuts, so batch
/// 3 is the same objects in every run.
pub fn batches(items: &[Item]) -> Vec<&[Item]> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0_usize);
    for (i, item) in items.iter().enumerate() {
        let size = item.object.to_string().len();
        if i > start && (i - start == OPERATIONS_MAX || bytes + size > BATCH_BYTES_MAX) {
            batches.push(&items[start..i]);
            (start, bytes) = (i, 0);
        }
        bytes += size;
    }
    if start < items.len() {
        batches.push(&items[start..]);
    }
    batches
}

/// What names a file in the audit log.
pub fn file_id(file: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(file).into();
    format!("sha256:{}", hex::encode(digest))
}

/// The request id of one batch: the same when the same file is imported the same way again while nothing has changed, so
/// that a batch whose answer was lost is not done twice; another one when the batch is about to do something else, and
/// when the catalog is at another revision: an import after somebody's change must act, be it the same to the letter.
pub fn batch_key(file: &[u8], project: &str, planned_at: &str, number: usize, body: &Value) -> String {
    let mut hash = Sha256::new();
    for part in [
        Sha256::digest(file).as_slice(),
        project.as_bytes(),
        planned_at.as_bytes(),
        &number.to_be_bytes(),
        body.to_string().as_bytes(),
    ] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    format!("import-{}", hex::encode(&digest[..16]))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
