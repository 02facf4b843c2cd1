//! Reading flags.

use axum::{extract::State, response::Response};
use flagraft_core::{
    flag::Purpose,
    project::{Flag, Project},
};
use serde::Deserialize;
use serde_json::Value;

use super::existing;
use crate::http::{
    App,
    auth::{Admin, Caller},
    error::ApiError,
    extract::{Path, Query},
    list::Page,
    shorthand::{InProject, with_etag},
    terms::ReadTerms,
};

/// Which flags to list.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Filter {
    limit: Option<usize>,
    cursor: Option<String>,
    /// Those with this tag.
    tag: Option<String>,
    /// Those of this owner.
    owner: Option<String>,
    /// Those for this purpose.
    purpose: Option<Purpose>,
    /// Archived ones instead of live ones.
    #[serde(default)]
    archived: bool,
    /// Those that are marked critical, or those that are not.
    critical: Option<bool>,
}

impl Filter {
    fn takes(&self, flag: &Flag) -> bool {
        let definition = &flag.definition;
        flag.system.deleted.is_none()
            && flag.system.archived.is_some() == self.archived
            && self.tag.as_ref().is_none_or(|tag| definition.tags.contains(tag))
            && self.owner.as_ref().is_none_or(|owner| definition.owner == *owner)
            && self.purpose.is_none_or(|purpose| definition.purpose == Some(purpose))
            && self.critical.is_none_or(|critical| definition.critical == critical)
    }
}

/// The flag as this caller may see it: with the configuration of the environments that it may read.
fn show(caller: &Caller, project: &Project, flag: &Flag) -> Value {
    let mut document = flag.to_document();
    if !caller.reads(project.key(), None) {
        let hidden =
            flag.environments.keys().filter(|environment| !caller.reads(project.key(), Some(environment)));
        for environment in hidden {
            for pointer in ["/environments", "/system/environments"] {
                if let Some(environments) = document.pointer_mut(pointer).and_then(Value::as_object_mut) {
                    environments.remove(environment.as_str());
                }
            }
        }
    }
    document
}

/// The flags of a project.
pub(in crate::http) async fn list(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    Query(mut filter): Query<Filter>,
) -> Result<Response, ApiError> {
    let window = Page::window(filter.limit, filter.cursor.take())?;
    let view = terms.view(&app).await?;
    view.answer(|state| {
        let project = caller.project(&app, state, &at.project)?;
        let flags = project.flags.values().filter(|flag| filter.takes(flag));
        Ok(window.page(
            flags,
            |flag| flag.definition.key.as_str().into(),
            |flag| show(&caller, project, flag),
            state.revision(),
        ))
    })
}

/// One flag.
pub(in crate::http) async fn get(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    view.answer(|state| {
        let project = caller.project(&app, state, &at.project)?;
        let flag = existing(project, &at.key)?;
        Ok(with_etag(&view, flag.revision(), show(&caller, project, flag)))
    })
}
