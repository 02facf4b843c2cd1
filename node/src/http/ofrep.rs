//! OFREP 0.3.0: one flag, or all of them, for a context.
//!
//! Invariant: whether an answer has to be confirmed is decided on the very state it is made from. A flag that became
//! critical while the request waited is confirmed or safe, never plain local.

mod answer;
mod etag;
mod failure;
mod request;

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{FromRequestParts, RawQuery, Request, State},
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, ETAG},
    },
    response::Response,
};
use flagraft_core::{
    evaluate::{EnvironmentView, critical_flags, evaluate, is_effectively_critical, safe_resolution},
    flag::Exposure,
    key::FlagKey,
    project::{Flag, StoredEnvironment},
    resolution::Resolution,
    state::State as Catalog,
};

use self::{
    answer::{Bulk, Single, flag_set, item},
    failure::Failure,
    request::{Asked, Told, told},
};
use super::{
    App,
    consistency::{Consistency, View, await_revision},
    error::ApiError,
    extract::Path,
};

/// More flags than this are not evaluated between two other tasks but beside them: Raft's heartbeats can't wait.
const INLINE_FLAGS_MAX: usize = 1_000;

/// The environment that a token evaluates in, at one state.
#[derive(Clone, Copy)]
struct Place<'s> {
    view: EnvironmentView<'s>,
    stored: &'s StoredEnvironment,
}

impl<'s> Place<'s> {
    /// `None` when the environment, or its project, is not there any more.
    fn of(catalog: &'s Catalog, asked: &'s Asked) -> Option<Self> {
        let project = catalog.project(&asked.project)?;
        let stored = project.environments.get(&asked.environment)?;
        Some(Self { view: EnvironmentView { project, environment: &asked.environment }, stored })
    }

    /// The flag, if it is live and exposed to the caller.
    fn flag(self, asked: &Asked, key: &str) -> Option<&'s Flag> {
        self.view.project.live_flag(key).map(AsRef::as_ref).filter(|flag| exposed(asked, flag))
    }
}

fn exposed(asked: &Asked, flag: &Flag) -> bool {
    !asked.is_client() || flag.definition.exposure == Exposure::Client
}

/// One flag.
pub(super) async fn one(State(app): State<App>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let key = match Path::<String>::from_request_parts(&mut parts, &app).await {
        Ok(Path(key)) => key,
        // No flag has a key that is no text: it is looked for as it was sent, and not found.
        Err(_) => parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned(),
    };
    let answered = async {
        let asked = Asked::of(&app, parts, body).await?;
        evaluate_one(&app, &asked, &key).await
    };
    answered.await.unwrap_or_else(|failure: Failure| failure.answer(&app, Some(&key)))
}

async fn evaluate_one(app: &App, asked: &Asked, key: &str) -> Result<Response, Failure> {
    asked.terms.arrive(app).await?;
    let local = View::local(app);
    let place = Place::of(local.state(), asked);
    let flag = place.and_then(|place| place.flag(asked, key).map(|flag| (place, flag)));
    // What is not there may have been made elsewhere.
    let needed = flag.is_none_or(|(place, flag)| is_effectively_critical(&place.view, &flag.definition.key));
    let view = confirmed_if(app, asked, local, needed).await?;
    asked.caller.still_good(view.state()).map_err(|error| error.stamped(&view.stamp))?;

    let found =
        Place::of(view.state(), asked).and_then(|place| place.flag(asked, key).map(|flag| (place, flag)));
    let is_confirmed = view.stamp.consistency == Consistency::Linearizable;
    let Some((place, flag)) = found else {
        if is_confirmed {
            return Err(Failure::flag_not_found(key, asked).stamped(&view.stamp));
        }
        let error = ApiError::unavailable(format!(
            "flag \"{key}\" is not known here, and no quorum confirmed that it does not exist; ask again, or another node"
        ));
        return Err(error.stamped(&view.stamp).into());
    };
    let begun = Instant::now();
    let is_safe = !is_confirmed && is_effectively_critical(&place.view, &flag.definition.key);
    let mut stamp = view.stamp.clone();
    let resolution = if is_safe {
        stamp.consistency = Consistency::SafeVariant;
        safe_resolution(&place.view, key)
    } else {
        evaluate(&place.view, key, &asked.context)
    };
    let resolution = resolution.map_err(|_| Failure::flag_not_found(key, asked).stamped(&stamp))?;
    app.node.metrics().evaluation_took(begun.elapsed());
    count(app, &resolution, stamp.consistency);

    let mut response =
        stamp.answer(Json(Single { item: item(asked, &stamp, &resolution), asked, stamp: &stamp }));
    if is_safe {
        app.node.metrics().safe_variants_given(1);
        forbid_storing(&mut response);
    }
    Ok(response)
}

/// All flags.
pub(super) async fn bulk(State(app): State<App>, RawQuery(query): RawQuery, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answered = async {
        let none_match = etag::candidates(&parts.headers);
        let mut asked = Asked::of(&app, parts, body).await?;
        asked.terms.arrive(&app).await?;
        match told(query.as_deref())? {
            Some(Told::Revision(minimum)) => await_revision(&app, minimum, asked.terms.left()).await?,
            Some(Told::SomethingElse) => asked.terms.linearizable = true,
            None => {}
        }
        evaluate_all(&app, asked, none_match).await
    };
    answered.await.unwrap_or_else(|failure: Failure| failure.answer(&app, None))
}

async fn evaluate_all(app: &App, asked: Asked, none_match: Vec<String>) -> Result<Response, Failure> {
    // Before anything is compared: a node that can't confirm must not say that nothing has changed.
    let (asked, local) = (Arc::new(asked), View::local(app));
    let needed = {
        let (asked, local) = (Arc::clone(&asked), local.clone());
        beside(flags(&local, &asked), move || {
            let place = Place::of(local.state(), &asked);
            place.is_none_or(|place| shows_any(&asked, place, &critical_flags(&place.view)))
        })
        .await?
    };
    let view = confirmed_if(app, &asked, local, needed).await?;
    asked.caller.still_good(view.state()).map_err(|error| error.stamped(&view.stamp))?;
    let app = app.clone();
    beside(flags(&view, &asked), move || answer_all(&app, &asked, &none_match, &view)).await?
}

/// How many flags the project has.
fn flags(view: &View, asked: &Asked) -> usize {
    Place::of(view.state(), asked).map_or(0, |place| place.view.project.flags.len())
}

/// Does work that grows with the number of flags: at once where there are few.
async fn beside<T: Send + 'static>(
    flags: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    if flags <= INLINE_FLAGS_MAX {
        return Ok(work());
    }
    let working = tokio::task::spawn_blocking(work);
    working.await.map_err(|panic| ApiError::internal("evaluating all flags", panic))
}

fn answer_all(app: &App, asked: &Asked, none_match: &[String], view: &View) -> Result<Response, Failure> {
    let is_confirmed = view.stamp.consistency == Consistency::Linearizable;
    let Some(place) = Place::of(view.state(), asked) else {
        return Err(environment_gone(asked, is_confirmed).stamped(&view.stamp).into());
    };
    let critical = critical_flags(&place.view);
    let is_safe = !is_confirmed && shows_any(asked, place, &critical);
    let mut stamp = view.stamp.clone();
    if is_safe {
        stamp.consistency = Consistency::SafeVariant;
    }
    let tag = etag::of(asked, &stamp, place.stored.touched_revision);
    if !is_safe && etag::matches(none_match, &tag) {
        let mut response = stamp.answer(StatusCode::NOT_MODIFIED);
        set_etag(&mut response, &tag);
        return Ok(response);
    }

    let begun = Instant::now();
    let mut safe_variants = 0;
    let mut resolutions: Vec<Resolution<'_>> = Vec::new();
    let visible = place.view.project.flags.iter().filter(|(_, flag)| flag.is_live() && exposed(asked, flag));
    for (key, _) in visible {
        let resolution = if is_safe && critical.contains(key) {
            safe_variants += 1;
            safe_resolution(&place.view, key)
        } else {
            evaluate(&place.view, key, &asked.context)
        };
        // Every flag of this loop is live, so that it is not found can't be.
        resolutions.extend(resolution);
    }
    let metrics = app.node.metrics();
    metrics.evaluation_took(begun.elapsed());
    for resolution in &resolutions {
        count(app, resolution, stamp.consistency);
    }

    let flags = resolutions.iter().map(|resolution| item(asked, &stamp, resolution)).collect();
    let metadata = flag_set(asked, &stamp, place.stored.touched_revision);
    let mut response = stamp.answer(Json(Bulk { flags, metadata }));
    if is_safe {
        metrics.safe_variants_given(safe_variants);
        forbid_storing(&mut response);
    } else {
        set_etag(&mut response, &tag);
    }
    Ok(response)
}

/// Whether the caller sees one of the flags.
fn shows_any(asked: &Asked, place: Place<'_>, flags: &BTreeSet<&FlagKey>) -> bool {
    flags.iter().any(|key| place.flag(asked, key).is_some())
}

fn environment_gone(asked: &Asked, is_confirmed: bool) -> ApiError {
    let gone = format!("environment {} of project {}", asked.environment, asked.project);
    if is_confirmed {
        let message = format!("{gone} does not exist; use a token of another one");
        ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
    } else {
        ApiError::unavailable(format!(
            "{gone} is not known here, and no quorum confirmed that; ask another node"
        ))
    }
}

/// The state to answer from: a confirmed one where the request, or what it asks for, needs that. When nobody confirms,
/// a request that insists is refused; any other gets what this node has, and safe variants.
async fn confirmed_if(app: &App, asked: &Asked, local: View, needed: bool) -> Result<View, ApiError> {
    if !asked.terms.linearizable && !needed {
        return Ok(local);
    }
    match View::confirmed(app, asked.terms.left()).await {
        Ok(view) => Ok(view),
        Err(unconfirmed) if asked.terms.linearizable => Err(ApiError::unavailable(format!(
            "{unconfirmed}, and the request insists on it; ask again, or another node"
        ))
        .stamped(&View::local(app).stamp)),
        Err(_) => Ok(View::local(app)),
    }
}

fn count(app: &App, resolution: &Resolution<'_>, consistency: Consistency) {
    app.node.metrics().evaluated(resolution.reason.as_str(), consistency.as_str());
}

fn set_etag(response: &mut Response, tag: &str) {
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
}

/// A safe variant is good for this answer and no later one.
fn forbid_storing(response: &mut Response) {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
