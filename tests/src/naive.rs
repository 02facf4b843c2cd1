//! Evaluation a second time, by the plainest code there is, to hold the engine against.
//!
//! It reads flags and segments as the API's JSON documents, each time anew, and shares no code with the engine: not its
//! types, not its readers of versions, times or networks, not its hashes. Nothing is compiled, nothing is sorted, what
//! is looked up is searched for from the first to the last. It knows nothing of limits and cycles, for what it is given
//! was accepted by the engine's own checks.
//!
//! While it evaluates it counts what it came across, see [`Coverage`]: a comparison says as much as it covers.

mod attributes;
mod conditions;
mod coverage;
mod flags;
mod hashes;
mod networks;
mod numbers;
mod rollouts;
mod segments;
mod times;
mod versions;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use regex::Regex;
use serde_json::{Map, Value};

pub use self::{coverage::Coverage, flags::Answer};

/// What is known of whoever a flag is evaluated for.
pub type Context = Map<String, Value>;

/// The flags and segments of a project, as the API takes them.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The segments. Of two with one key the later counts.
    pub segments: Vec<Value>,
    /// The flags. Of two with one key the later counts.
    pub flags: Vec<Value>,
    /// Keys of flags that are archived.
    pub archived: BTreeSet<String>,
}

/// Evaluates the flags of a catalog in one environment.
#[derive(Debug)]
pub struct Naive<'a> {
    catalog: &'a Catalog,
    environment: &'a str,
    coverage: RefCell<Coverage>,
    /// The one thing that is kept from one evaluation to the next: a regular expression takes longer to build than all
    /// else together.
    patterns: RefCell<BTreeMap<(String, bool), Regex>>,
}

impl<'a> Naive<'a> {
    /// Evaluates the catalog in this environment.
    pub fn new(catalog: &'a Catalog, environment: &'a str) -> Self {
        Self { catalog, environment, coverage: RefCell::default(), patterns: RefCell::default() }
    }

    /// What it came across so far.
    pub fn coverage(&self) -> Coverage {
        self.coverage.borrow().clone()
    }

    fn mark(&self, row: &'static str, cell: &'static str) {
        self.coverage.borrow_mut().mark(row, cell);
    }

    fn flag(&self, key: &str) -> Option<&'a Value> {
        let found = self.catalog.flags.iter().rev().find(|flag| flag["key"] == key);
        found.filter(|_| !self.catalog.archived.contains(key))
    }

    fn segment(&self, key: &str) -> Option<&'a Value> {
        self.catalog.segments.iter().rev().find(|segment| segment["key"] == key)
    }
}

/// A field that is there and not `null`.
fn given<'v>(object: &'v Value, field: &str) -> Option<&'v Value> {
    object.get(field).filter(|value| !value.is_null())
}

/// The elements of a list; none where it is left out.
fn list<'v>(object: &'v Value, field: &str) -> &'v [Value] {
    given(object, field).map_or(&[], |list| list.as_array().expect(field))
}

/// A text that must be there.
fn text<'v>(object: &'v Value, field: &str) -> &'v str {
    object[field].as_str().unwrap_or_else(|| panic!("no text {field} in {object}"))
}

/// A whole number that must be there.
fn whole(object: &Value, field: &str) -> u64 {
    object[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {object}"))
}

/// The attribute that a target, a rollout or a bucket goes by.
fn by(object: &Value) -> &str {
    given(object, "by").map_or("targetingKey", |by| by.as_str().expect("by is a text"))
}
