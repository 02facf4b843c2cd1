//! Calls on environments: where flags of a project are configured, each under a policy of its own.

use flagraft_core::environment::EnvironmentSpec;
use serde::Serialize;
use serde_json::Value;

use super::{answer::Page, call::Call, change::Receipt, json::AsJson, stored::StoredEnvironment, why::Why};

/// A project's environments, by their `order`, then by their keys.
pub fn list(project: &str) -> Call<Page<StoredEnvironment>> {
    Call::get(["api", "v1", "projects", project, "environments"]).answering()
}

/// One environment.
pub fn get(project: &str, environment: &str) -> Call<StoredEnvironment> {
    Call::get(path(project, environment)).answering()
}

/// Creates or replaces an environment.
pub fn put(
    project: &str,
    environment: &str,
    object: &impl AsJson<EnvironmentSpec>,
    why: impl Into<Why>,
) -> Call<Receipt> {
    #[derive(Serialize)]
    struct Fields<'a, O> {
        environment: &'a O,
    }
    Call::put(path(project, environment), why.into().body(Fields { environment: object })).answering()
}

/// Changes fields of an environment: `patch` is a JSON merge patch (RFC 7396).
pub fn patch(project: &str, environment: &str, patch: &Value, why: impl Into<Why>) -> Call<Receipt> {
    Call::patch(path(project, environment), why.into().patch(patch)).answering()
}

/// Deletes an environment and every flag's configuration in it.
pub fn delete(project: &str, environment: &str, why: impl Into<Why>) -> Call<Receipt> {
    Call::delete(path(project, environment), why).answering()
}

fn path<'a>(project: &'a str, environment: &'a str) -> [&'a str; 6] {
    ["api", "v1", "projects", project, "environments", environment]
}
