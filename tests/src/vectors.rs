//! The evaluation vectors of `fixtures/evaluation`: what a flag is for a context, for whoever evaluates.

use std::fs;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    naive::{Answer, Catalog, Context},
    settings,
};

/// A file of vectors.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vectors {
    /// The file's name, without its ending.
    #[serde(skip)]
    pub name: String,
    format: u32,
    #[serde(rename = "about")]
    _about: String,
    /// The environments to create.
    pub environments: Vec<String>,
    /// Where a case is evaluated unless it names another.
    environment: String,
    segments: Vec<Value>,
    flags: Vec<Value>,
    archived: Vec<String>,
    /// The evaluations.
    pub cases: Vec<Case>,
}

/// One evaluation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows.
    pub name: String,
    environment: Option<String>,
    /// The flag's key.
    pub flag: String,
    /// The context.
    pub context: Context,
    expect: Map<String, Value>,
}

impl Vectors {
    /// All files, by name.
    ///
    /// # Panics
    /// One is not well-formed.
    pub fn all() -> Vec<Self> {
        let folder = settings::file("fixtures/evaluation");
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut all: Vec<Self> = entries
            .map(|entry| {
                let path = entry.expect("a readable folder").path();
                let text = fs::read_to_string(&path);
                let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                let vectors: Self =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                assert_eq!(vectors.format, 1, "{}", path.display());
                let name =
                    path.file_stem().and_then(|name| name.to_str()).expect("a name in UTF-8").to_owned();
                Self { name, ..vectors }
            })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// The operations that make the catalog, in the order in which they are to be accepted, each a change of its own.
    pub fn operations(&self) -> Vec<Value> {
        let segments = self.segments.iter().map(|segment| json!({"op": "segment.put", "segment": segment}));
        let flags = self.flags.iter().map(|flag| json!({"op": "flag.put", "flag": flag}));
        let archived = self.archived.iter().map(|key| json!({"op": "flag.archive", "flag": key}));
        segments.chain(flags).chain(archived).collect()
    }

    /// The catalog for the naive interpreter.
    pub fn catalog(&self) -> Catalog {
        Catalog {
            segments: self.segments.clone(),
            flags: self.flags.clone(),
            archived: self.archived.iter().cloned().collect(),
        }
    }

    /// Where a case is evaluated.
    pub fn environment_of<'v>(&'v self, case: &'v Case) -> &'v str {
        case.environment.as_ref().unwrap_or(&self.environment)
    }
}

impl Case {
    /// What it comes to; `None` where there is no such flag.
    ///
    /// # Panics
    /// The case is not well-formed.
    pub fn expected(&self) -> Option<Answer> {
        let text = |field: &str| self.expect.get(field).map(|text| text.as_str().expect(field).to_owned());
        if let Some(error) = text("error") {
            assert_eq!((error.as_str(), self.expect.len()), ("FLAG_NOT_FOUND", 1), "{}", self.name);
            return None;
        }
        let unknown =
            self.expect.keys().find(|f| !["variant", "value", "reason", "detail"].contains(&f.as_str()));
        assert_eq!(unknown, None, "{}", self.name);
        Some(Answer {
            variant: text("variant").expect("a variant"),
            value: self.expect.get("value").cloned(),
            reason: text("reason").expect("a reason"),
            detail: text("detail"),
        })
    }
}
