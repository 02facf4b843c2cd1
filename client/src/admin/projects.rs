//! Calls on projects: the tenants of a cluster.

use flagraft_core::environment::ProjectSpec;
use serde::Serialize;
use serde_json::Value;

use super::{answer::Page, call::Call, change::Receipt, json::AsJson, stored::StoredProject, why::Why};

/// The projects that the token may see, in the order of their keys.
pub fn list() -> Call<Page<StoredProject>> {
    Call::get(["api", "v1", "projects"]).answering()
}

/// One project.
pub fn get(project: &str) -> Call<StoredProject> {
    Call::get(path(project)).answering()
}

/// Creates or replaces a project.
pub fn put(project: &str, object: &impl AsJson<ProjectSpec>, why: impl Into<Why>) -> Call<Receipt> {
    #[derive(Serialize)]
    struct Fields<'a, O> {
        project: &'a O,
    }
    Call::put(path(project), why.into().body(Fields { project: object })).answering()
}

/// Changes fields of a project: `patch` is a JSON merge patch (RFC 7396).
pub fn patch(project: &str, patch: &Value, why: impl Into<Why>) -> Call<Receipt> {
    Call::patch(path(project), why.into().patch(patch)).answering()
}

/// Deletes a project and all that is in it.
pub fn delete(project: &str, why: impl Into<Why>) -> Call<Receipt> {
    Call::delete(path(project), why).answering()
}

fn path(project: &str) -> [&str; 4] {
    ["api", "v1", "projects", project]
}
