//! Calls on flags. What has no call of its own here (rules, rollouts, targets) is an operation of a [`Change`].

use flagraft_core::{document::FlagDocument, flag::FlagEnvironmentSpec, operation::CopyPart};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    answer::Page,
    call::Call,
    change::{Change, Receipt},
    json::AsJson,
    stored::StoredFlag,
    why::Why,
};

/// Which flags are listed. By default all that are neither archived nor deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Those with this tag.
    pub tag: Option<String>,
    /// Those of this owner.
    pub owner: Option<String>,
    /// Those with this purpose, by its name in JSON, such as `kill-switch`.
    pub purpose: Option<String>,
    /// Those that are archived, in place of the others.
    pub archived: bool,
    /// Those that are marked critical.
    pub critical: bool,
}

/// A project's flags, in the order of their keys.
pub fn list(project: &str, filter: Filter) -> Call<Page<StoredFlag>> {
    let Filter { tag, owner, purpose, archived, critical } = filter;
    Call::get(["api", "v1", "projects", project, "flags"])
        .query("tag", tag)
        .query("owner", owner)
        .query("purpose", purpose)
        .query("archived", archived.then_some("true"))
        .query("critical", critical.then_some("true"))
        .answering()
}

/// One flag, archived or not.
pub fn get(project: &str, flag: &str) -> Call<StoredFlag> {
    Call::get(path(project, flag)).answering()
}

/// Creates a flag, or replaces its definition and the environments that `object` names; the others stay. With
/// [`Call::if_absent`] it creates one.
pub fn put(
    project: &str,
    flag: &str,
    object: &impl AsJson<FlagDocument>,
    why: impl Into<Why>,
) -> Call<Receipt> {
    #[derive(Serialize)]
    struct Fields<'a, O> {
        flag: &'a O,
    }
    Call::put(path(project, flag), why.into().body(Fields { flag: object })).answering()
}

/// Changes fields of a flag: `patch` is a JSON merge patch (RFC 7396).
pub fn patch(project: &str, flag: &str, patch: &Value, why: impl Into<Why>) -> Call<Receipt> {
    Call::patch(path(project, flag), why.into().patch(patch)).answering()
}

/// Replaces a flag's configuration in one environment.
pub fn configure(
    project: &str,
    flag: &str,
    environment: &str,
    object: &impl AsJson<FlagEnvironmentSpec>,
    why: impl Into<Why>,
) -> Call<Receipt> {
    #[derive(Serialize)]
    struct Fields<'a, O> {
        configuration: &'a O,
    }
    let path = ["api", "v1", "projects", project, "flags", flag, "environments", environment];
    Call::put(path, why.into().body(Fields { configuration: object })).answering()
}

/// Turns a flag on in one environment.
pub fn enable(project: &str, flag: &str, environment: &str, why: impl Into<Why>) -> Call<Receipt> {
    switch(project, flag, environment, "enable", why.into())
}

/// Turns a flag off in one environment: the kill switch.
pub fn disable(project: &str, flag: &str, environment: &str, why: impl Into<Why>) -> Call<Receipt> {
    switch(project, flag, environment, "disable", why.into())
}

fn switch(project: &str, flag: &str, environment: &str, verb: &str, why: Why) -> Call<Receipt> {
    let path = ["api", "v1", "projects", project, "flags", flag, "environments", environment, verb];
    Call::post(path, why).answering()
}

/// Takes a flag out of service everywhere, until it is restored.
pub fn archive(project: &str, flag: &str, why: impl Into<Why>) -> Call<Receipt> {
    Change::new(project, why).operation(&json!({"op": "flag.archive", "flag": flag})).call()
}

/// Brings an archived or deleted flag back, disabled everywhere.
pub fn restore(project: &str, flag: &str, why: impl Into<Why>) -> Call<Receipt> {
    Change::new(project, why).operation(&json!({"op": "flag.restore", "flag": flag})).call()
}

/// Deletes a flag. Its key comes back only by [`restore`].
pub fn delete(project: &str, flag: &str, why: impl Into<Why>) -> Call<Receipt> {
    Call::delete(path(project, flag), why).answering()
}

/// Copies a flag's configuration from one environment to another: these parts of it, or, of none, all but whether it is on,
/// so that a copy turns nothing on.
pub fn copy(
    project: &str,
    flag: &str,
    from: &str,
    to: &str,
    parts: &[CopyPart],
    why: impl Into<Why>,
) -> Call<Receipt> {
    let mut operation = json!({"op": "flag.copy", "flag": flag, "from": from, "to": to});
    if !parts.is_empty()
        && let Some(fields) = operation.as_object_mut()
    {
        fields.insert("parts".to_owned(), json!(parts));
    }
    Change::new(project, why).operation(&operation).call()
}

fn path<'a>(project: &'a str, flag: &'a str) -> [&'a str; 6] {
    ["api", "v1", "projects", project, "flags", flag]
}
