//! Flags: their definition and their configuration in each environment.

mod read;
mod switch;

use axum::{extract::State, response::Response};
use flagraft_core::{
    document::FlagDocument,
    invalid::Invalid,
    operation::{FlagConfigure, FlagDelete, FlagPut, Operation},
    parse,
    project::Project,
};
use serde_json::Value;

pub(super) use self::{
    read::{get, list},
    switch::{archive, copy, disable, enable, restore},
};
use super::{
    App,
    auth::Admin,
    consistency::View,
    error::ApiError,
    extract::{Json, Path, Query},
    patch::{Patch, Target, merge, submit_patch},
    shorthand::{InProject, bodies, submit_one, writable},
    write::{Draft, Why, WriteTerms},
};

bodies! {
    /// A flag and why.
    PutFlag { flag: Value }
    /// A flag's configuration in one environment and why.
    ConfigureFlag { configuration: Value }
}

/// The flag, unless it is deleted. An archived one is there, and says that it is archived.
fn existing<'p>(project: &'p Project, key: &str) -> Result<&'p flagraft_core::project::Flag, ApiError> {
    match project.flags.get(key) {
        Some(flag) if flag.system.deleted.is_none() => Ok(flag),
        _ => Err(ApiError::not_found("flag", key)),
    }
}

pub(super) async fn put(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<PutFlag>,
) -> Result<Response, ApiError> {
    let (project, key, why) = (at.project()?, at.flag()?, body.why());
    let flag = writable(body.flag, &key)
        .and_then(|object| FlagDocument::from_value(Value::Object(object)))
        .map_err(|invalid| ApiError::body(invalid.under("flag")))?;
    let if_revision = terms.if_revision(&View::local(&app))?;
    let draft = Draft::one(project, Operation::FlagPut(FlagPut { flag, if_revision }), why);
    submit_one(&app, &caller, &terms, draft, &[("flag", "flag")], true).await
}

pub(super) async fn patch(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<Patch>,
) -> Result<Response, ApiError> {
    let (project, key) = (at.project()?, at.flag()?);
    let target = Target { project: &project, kind: "flag", key: &key };
    submit_patch(&app, &caller, &terms, target, body, |state, patch, expected| {
        let stored = existing(caller.project(&app, state, &project)?, &key)?;
        let flag = patched(stored.to_document(), patch, &key)
            .map_err(|invalid| ApiError::body(invalid.under("patch")))?;
        let if_revision = Some(expected.unwrap_or(stored.revision()));
        Ok(Operation::FlagPut(FlagPut { flag, if_revision }))
    })
    .await
}

/// The flag with the patch laid over it, naming only the environments that the patch names: the others are not written.
fn patched(mut document: Value, patch: Value, key: &str) -> Result<FlagDocument, Invalid> {
    let Some(fields) = patch.as_object() else {
        return Err(Invalid::here("a merge patch of a flag is a JSON object"));
    };
    let named = match fields.get("environments") {
        None => Vec::new(),
        Some(Value::Object(environments)) => {
            if let Some((removed, _)) = environments.iter().find(|(_, configuration)| configuration.is_null())
            {
                let advice = "a flag's configuration can be turned off or replaced, not removed; set \"enabled\": false";
                return Err(Invalid::here(advice).under(removed).under("environments"));
            }
            environments.keys().cloned().collect()
        }
        Some(_) => {
            return Err(Invalid::new("/environments", "this is an object: environment to configuration"));
        }
    };
    merge(&mut document, patch);
    if let Some(environments) = document.get_mut("environments").and_then(Value::as_object_mut) {
        environments.retain(|environment, _| named.contains(environment));
    }
    FlagDocument::from_value(Value::Object(writable(document, key)?))
}

pub(super) async fn delete(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Query(why): Query<Why>,
) -> Result<Response, ApiError> {
    let (project, flag) = (at.project()?, at.flag()?);
    let if_revision = terms.if_revision(&View::local(&app))?;
    let draft = Draft::one(project, Operation::FlagDelete(FlagDelete { flag, if_revision }), why);
    submit_one(&app, &caller, &terms, draft, &[], false).await
}

pub(super) async fn configure(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(at): Path<InProject>,
    Json(body): Json<ConfigureFlag>,
) -> Result<Response, ApiError> {
    let (project, flag, environment, why) = (at.project()?, at.flag()?, at.environment()?, body.why());
    let configuration = parse::from_value(body.configuration)
        .map_err(|invalid| ApiError::body(invalid.under("configuration")))?;
    // The ETag that a reader has is the whole flag's. The configuration is unchanged since if it is no newer than that;
    // only 0, "not there yet", must be met exactly.
    let (if_revision, expect_revision) = match terms.if_revision(&View::local(&app))? {
        Some(0) => (Some(0), None),
        read_at => (None, read_at),
    };
    let operation = Operation::FlagConfigure(FlagConfigure { flag, environment, configuration, if_revision });
    let draft = Draft { expect_revision, ..Draft::one(project, operation, why) };
    submit_one(&app, &caller, &terms, draft, &[("configuration", "configuration")], false).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "key": "a", "type": "boolean", "variants": {"on": true, "off": false}, "description": "old",
            "environments": {"dev": {"enabled": true}, "production": {"enabled": false}},
            "system": {"revision": 7}
        })
    }

    #[test]
    fn a_patch_writes_only_the_environments_it_names() {
        let flag = patched(document(), json!({"description": "new"}), "a").expect("a flag");
        assert_eq!(flag.definition.description, "new");
        assert!(flag.environments.is_empty());
        let patch = json!({"environments": {"production": {"enabled": true}}});
        let flag = patched(document(), patch, "a").expect("a flag");
        let written: Vec<_> =
            flag.environments.iter().map(|(key, spec)| (key.as_str(), spec.enabled)).collect();
        assert_eq!(written, [("production", true)]);
    }

    #[test]
    fn a_patch_that_could_not_be_done_is_refused() {
        for (patch, path) in [
            (json!({"environments": {"dev": null}}), "/environments/dev"),
            (json!({"environments": null}), "/environments"),
            (json!({"variants": null}), ""),
            (json!({"key": "b"}), "/key"),
            (json!({"critical": "yes"}), "/critical"),
            (json!([]), ""),
        ] {
            assert_eq!(patched(document(), patch.clone(), "a").expect_err("refused").path, path, "{patch}");
        }
    }
}
