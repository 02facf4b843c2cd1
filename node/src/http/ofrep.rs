//! OFREP 0.3.0: one flag, or all of them, for a context.
//!
//! Invariant: whether an answer has to be confirmed is decided on the very state it is made from. A flag that became
//! critical while the request waited is confirmed or safe, never plain local.

mod answer;
pub(super) mod etag;
mod failure;
mod request;
pub(super) mod stream;
mod ticket;

use std::{sync::Arc, time::Instant};

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
    compiled::CompiledEnvironment,
    flag::Exposure,
    project::{Flag, Project, StoredEnvironment},
    resolution::{Reason, Resolution},
};

use self::{
    answer::{Bulk, Frame, Single},
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
    project: &'s Project,
    stored: &'s StoredEnvironment,
    compiled: &'s CompiledEnvironment,
}

impl<'s> Place<'s> {
    /// `None` when the environment, or its project, is not there any more.
    fn of(view: &'s View, asked: &Asked) -> Option<Self> {
        let project = view.state().project(&asked.project)?;
        let stored = project.environments.get(&asked.environment)?;
        let compiled = view.environment(&asked.project, &asked.environment)?;
        Some(Self { project, stored, compiled })
    }

    /// Whether the flag is there, live and exposed to the caller.
    fn shows(&self, asked: &Asked, key: &str) -> bool {
        self.compiled.flag(key).is_some_and(|flag| exposed(asked, flag))
    }

    /// Whether the caller sees a flag that is effectively critical.
    fn shows_critical(&self, asked: &Asked) -> bool {
        self.compiled.critical().iter().any(|key| self.shows(asked, key))
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
    let place = Place::of(&local, asked).filter(|place| place.shows(asked, key));
    // What is not there may have been made elsewhere.
    let needed = place.is_none_or(|place| place.compiled.is_critical(key));
    let view = confirmed_if(app, asked, local, needed).await?;
    asked.caller.still_good(view.state()).map_err(|error| error.stamped(&view.stamp))?;

    let found = Place::of(&view, asked).filter(|place| place.shows(asked, key));
    let is_confirmed = view.stamp.consistency == Consistency::Linearizable;
    let Some(place) = found else {
        if is_confirmed {
            return Err(Failure::flag_not_found(key, asked).stamped(&view.stamp));
        }
        let error = ApiError::unavailable(format!(
            "flag \"{key}\" is not known here, and no quorum confirmed that it does not exist; ask again, or another node"
        ));
        return Err(error.stamped(&view.stamp).into());
    };
    let begun = Instant::now();
    let is_safe = !is_confirmed && place.compiled.is_critical(key);
    let mut stamp = view.stamp.clone();
    let resolution = if is_safe {
        stamp.consistency = Consistency::SafeVariant;
        place.compiled.safe_resolution(key)
    } else {
        place.compiled.evaluate(key, &asked.context)
    };
    let resolution = resolution.map_err(|_| Failure::flag_not_found(key, asked).stamped(&stamp))?;
    app.node.metrics().evaluation_took(begun.elapsed());
    count(app, std::slice::from_ref(&resolution), stamp.consistency);

    let single = Single { frame: Frame::new(asked, &stamp), resolution: &resolution };
    let mut response = stamp.answer(Json(single));
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
            Place::of(&local, &asked).is_none_or(|place| place.shows_critical(&asked))
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
    Place::of(view, asked).map_or(0, |place| place.compiled.len())
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
    let Some(place) = Place::of(view, asked) else {
        return Err(environment_gone(asked, is_confirmed).stamped(&view.stamp).into());
    };
    let is_safe = !is_confirmed && place.shows_critical(asked);
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
    // In key order, which the compiled form does not keep.
    let visible = place.project.flags.iter().filter(|(_, flag)| flag.is_live() && exposed(asked, flag));
    for (key, _) in visible {
        let resolution = if is_safe && place.compiled.is_critical(key) {
            safe_variants += 1;
            place.compiled.safe_resolution(key)
        } else {
            place.compiled.evaluate(key, &asked.context)
        };
        // Every flag of this loop is live, so that it is not found can't be.
        resolutions.extend(resolution);
    }
    let metrics = app.node.metrics();
    metrics.evaluation_took(begun.elapsed());
    count(app, &resolutions, stamp.consistency);

    let mut response = stamp.answer(Json(Bulk {
        frame: Frame::new(asked, &stamp),
        resolutions: &resolutions,
        environment_revision: place.stored.touched_revision,
        ticket: ticket::of(&asked.caller.token),
    }));
    if is_safe {
        metrics.safe_variants_given(safe_variants);
        forbid_storing(&mut response);
    } else {
        set_etag(&mut response, &tag);
    }
    Ok(response)
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
    match Box::pin(View::confirmed(app, asked.terms.left())).await {
        Ok(view) => Ok(view),
        Err(unconfirmed) if asked.terms.linearizable => Err(ApiError::unavailable(format!(
            "{unconfirmed}, and the request insists on it; ask again, or another node"
        ))
        .stamped(&View::local(app).stamp)),
        Err(_) => Ok(View::local(app)),
    }
}

fn count(app: &App, resolutions: &[Resolution<'_>], consistency: Consistency) {
    let mut counts = [0; Reason::ALL.len()];
    for resolution in resolutions {
        let counted = Reason::ALL.iter().zip(&mut counts).find(|(reason, _)| **reason == resolution.reason);
        counted.into_iter().for_each(|(_, count)| *count += 1);
    }
    for (reason, count) in Reason::ALL.iter().zip(counts).filter(|(_, count)| *count > 0) {
        app.node.metrics().evaluated(reason.as_str(), consistency.as_str(), count);
    }
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
