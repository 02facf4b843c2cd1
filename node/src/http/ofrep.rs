//! OFREP 0.3.0: one flag, or all of them, for a context.
//!
//! Invariant: whether an answer has to be confirmed is decided on the very state it is made from. A flag that became
//! critical while the request waited is confirmed or safe, never plain local.

mod answer;
mod counts;
pub(super) mod etag;
mod failure;
mod gate;
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
};

pub(super) use self::counts::Evaluated;
use self::{
    answer::{Answer, Bulk, Frame, Single},
    failure::Failure,
    gate::Passed,
    request::{Asked, Told, told},
};
use super::{
    App,
    consistency::{Consistency, View, await_revision, too_old},
    error::ApiError,
    extract::Path,
    terms::Freshness,
};
use crate::accounts as account;

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

    /// For whom flags are evaluated here.
    fn evaluated<'a>(&'a self, asked: &'a Asked, view: &View) -> account::Evaluated<'a> {
        account::Evaluated {
            cluster: view.state().cluster_id(),
            project: &asked.project,
            compiled: self.compiled,
            token: &asked.caller.token.spec.id,
            context: &asked.context,
        }
    }

    /// Whether the flag is there, live and exposed to the caller.
    fn shows(&self, asked: &Asked, key: &str) -> bool {
        self.compiled.flag(key).is_some_and(|flag| exposed(asked, flag))
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
    let needed = place.is_none_or(|place| place.is_to_confirm(key, &local.stamp));
    let view = confirmed_if(app, asked, local, needed).await?;
    asked.caller.still_good(view.state()).map_err(|error| error.stamped(&view.stamp))?;

    let found = Place::of(&view, asked).filter(|place| place.shows(asked, key));
    let Some(place) = found else {
        if view.is_confirmed() {
            return Err(Failure::flag_not_found(key, asked).stamped(&view.stamp));
        }
        let error = ApiError::unavailable(format!(
            "flag \"{key}\" is not known here, and no quorum confirmed that it does not exist; ask again, or another node"
        ));
        return Err(error.stamped(&view.stamp).into());
    };
    let begun = Instant::now();
    let mut stamp = view.stamp.clone();
    let passed = place.pass(key, asked, &stamp);
    let passed = passed.map_err(|_| Failure::flag_not_found(key, asked).stamped(&stamp))?;
    let (resolution, is_safe) = match passed {
        Passed::Known(_) if !view.is_as_fresh_as(asked.terms.freshness) => return Err(too_old(&stamp).into()),
        Passed::Known(resolution) => (resolution, false),
        Passed::Safe(resolution) => (resolution, true),
        Passed::Stale => return Err(ApiError::unavailable(answer::STALE).stamped(&stamp).into()),
    };
    if is_safe {
        stamp.consistency = Consistency::SafeVariant;
    }
    app.node.metrics().evaluation_took(begun.elapsed());
    app.evaluated.count([&resolution], stamp.consistency);
    app.node.accounts().evaluated(&place.evaluated(asked, &view), [&resolution]);

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
            Some(Told::SomethingElse) => asked.terms.freshness = Freshness::Linearizable,
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
            Place::of(&local, &asked).is_none_or(|place| place.is_any_to_confirm(&asked, &local.stamp))
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
    let Some(place) = Place::of(view, asked) else {
        return Err(environment_gone(asked, view.is_confirmed()).stamped(&view.stamp).into());
    };
    if !view.is_as_fresh_as(asked.terms.freshness) {
        return Err(too_old(&view.stamp).into());
    }
    // What nobody can be sure of is good for this answer and no later one.
    let is_unsure = !view.is_confirmed() && place.is_any_to_confirm(asked, &view.stamp);
    let tag = etag::of(asked, &view.stamp, place.stored.touched_revision);
    if !is_unsure && etag::matches(none_match, &tag) {
        let mut response = view.stamp.answer(StatusCode::NOT_MODIFIED);
        set_etag(&mut response, &tag);
        return Ok(response);
    }

    let begun = Instant::now();
    let mut safe_variants = 0;
    let mut answers: Vec<Answer<'_>> = Vec::new();
    // In key order, which the compiled form does not keep.
    let visible = place.project.flags.iter().filter(|(_, flag)| flag.is_live() && exposed(asked, flag));
    for (key, _) in visible {
        // Every flag of this loop is live, so that it is not found can't be.
        let Ok(passed) = place.pass(key, asked, &view.stamp) else { continue };
        answers.push(match passed {
            Passed::Known(resolution) => Answer::Flag(resolution),
            Passed::Safe(resolution) => {
                safe_variants += 1;
                Answer::Flag(resolution)
            }
            Passed::Stale => Answer::Stale(key),
        });
    }
    let mut stamp = view.stamp.clone();
    if safe_variants > 0 {
        stamp.consistency = Consistency::SafeVariant;
    }
    let metrics = app.node.metrics();
    metrics.evaluation_took(begun.elapsed());
    app.evaluated.count(answers.iter().filter_map(Answer::resolution), stamp.consistency);
    app.node
        .accounts()
        .evaluated(&place.evaluated(asked, view), answers.iter().filter_map(Answer::resolution));

    let mut response = stamp.answer(Json(Bulk {
        frame: Frame::new(asked, &stamp),
        answers: &answers,
        environment_revision: place.stored.touched_revision,
        ticket: ticket::of(&asked.caller.token),
    }));
    metrics.safe_variants_given(safe_variants);
    if is_unsure {
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
/// a request that insists is refused; any other gets what this node has, and what passes the gate of it.
async fn confirmed_if(app: &App, asked: &Asked, local: View, needed: bool) -> Result<View, ApiError> {
    let freshness = asked.terms.freshness;
    if !needed && !freshness.is_missed_by(local.stamp.age_ms) {
        return Ok(local);
    }
    match Box::pin(View::confirmed(app, asked.terms.left())).await {
        Ok(view) => Ok(view),
        Err(unconfirmed) if freshness == Freshness::Linearizable => Err(ApiError::unavailable(format!(
            "{unconfirmed}, and the request insists on it; ask again, or another node"
        ))
        .stamped(&View::local(app).stamp)),
        Err(_) => Ok(View::local(app)),
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
