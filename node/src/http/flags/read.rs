//! Reading flags.

use axum::{Json, extract::State, response::Response};
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
    past::{Past, Then},
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
    /// As they were at this revision.
    at_revision: Option<String>,
    /// As they were at this time.
    at: Option<String>,
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
    let past = Past { at_revision: filter.at_revision.take(), at: filter.at.take() };
    let view = terms.view(&app).await?;
    let page = |project: &Project, revision| {
        let flags = project.flags.values().filter(|flag| filter.takes(flag));
        window.page(
            flags,
            |flag| flag.definition.key.as_str().into(),
            |flag| show(&caller, project, flag),
            revision,
        )
    };
    if let Some(when) = past.when()? {
        let then = Then::of(&app, &caller, &view, &at.project, when).await?;
        return then.answer(|project| Ok(page(project, then.revision())));
    }
    view.answer(|state| Ok(page(caller.project(&app, state, &at.project)?, state.revision())))
}

/// One flag.
pub(in crate::http) async fn get(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Path(at): Path<InProject>,
    Query(past): Query<Past>,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    if let Some(when) = past.when()? {
        let then = Then::of(&app, &caller, &view, &at.project, when).await?;
        return then.answer(|project| {
            let flag = existing(project, &at.key).map_err(|error| then.missing(error))?;
            Ok(Json(show(&caller, project, flag)))
        });
    }
    view.answer(|state| {
        let project = caller.project(&app, state, &at.project)?;
        let flag = existing(project, &at.key)?;
        Ok(with_etag(&view, flag.revision(), show(&caller, project, flag)))
    })
}
