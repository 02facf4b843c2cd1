//! Which records tell of a flag.

use std::borrow::Cow;

use serde::Deserialize;

use crate::key::{FlagKey, ProjectKey};

/// What of a record says which objects it names.
#[derive(Deserialize)]
struct Named<'a> {
    project: Option<ProjectKey>,
    #[serde(borrow)]
    operations: Vec<Recorded<'a>>,
}

#[derive(Deserialize)]
struct Recorded<'a> {
    #[serde(borrow)]
    operation: Target<'a>,
}

#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow, default)]
    flag: Option<FlagName<'a>>,
}

/// How an operation names its flag: by its key, or by the whole of it.
#[derive(Deserialize)]
#[serde(untagged)]
enum FlagName<'a> {
    Key(#[serde(borrow)] Cow<'a, str>),
    Whole {
        #[serde(borrow)]
        key: Cow<'a, str>,
    },
}

/// Whether a row of the audit log is a record of this project that tells of this flag: that names it, or that deletes an
/// environment or the project, with which its configuration goes. False for a record that was removed, and for one that
/// this version can't read.
pub fn may_concern_flag(row: &[u8], project: &ProjectKey, flag: &FlagKey) -> bool {
    let Ok(named) = serde_json::from_slice::<Named<'_>>(row) else { return false };
    named.project.as_ref() == Some(project)
        && named.operations.iter().any(|Recorded { operation }| match &operation.flag {
            Some(FlagName::Key(key) | FlagName::Whole { key }) => **key == **flag,
            None => matches!(&*operation.op, "environment.delete" | "project.delete"),
        })
}
