//! Who a caller is, and what it may see. What it may *change* is decided by `apply`, from the same grants.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header::AUTHORIZATION, request::Parts},
};
use std::sync::{Arc, OnceLock};

use flagraft_core::{
    key::{EnvironmentKey, ProjectKey},
    project::Project,
    state::State,
    token::{Role, Secret, Token, TokenFault, TokenKind},
};

use super::{App, consistency::View, error::ApiError};
use crate::clock::{ceil_ms, wall_ms};

/// Where OFREP's providers may put the token instead.
pub(super) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// An authenticated caller.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) token: Arc<Token>,
    pub(super) secret: Secret,
}

impl Caller {
    /// Authenticates a request by its token. A well-formed token that this node does not know is looked for once
    /// more in a confirmed state, so that a token made through one node works at once on every other.
    pub(super) async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Self, ApiError> {
        let refused = |cause, error| {
            count(app, cause);
            error
        };
        let secret = match secret(headers) {
            Ok(Some(secret)) => secret,
            Ok(None) => {
                let error = ApiError::unauthenticated("send a token: Authorization: Bearer fr_...");
                return Err(refused("missing", error));
            }
            Err(error) => return Err(refused("malformed", error)),
        };
        let hash = secret.sha256();
        let known = app.node.published().state.token_by_secret(&hash).cloned();
        let token = match known {
            Some(token) => Some(token),
            // Boxed, as every rare wait on the way of an evaluation: the future of a common one stays small.
            None => Box::pin(confirmed_token(app, |state| state.token_by_secret(&hash).cloned())).await?,
        };
        let Some(token) = token else {
            return Err(refused("unknown", ApiError::token(TokenFault::Unknown)));
        };
        match check(&token) {
            Ok(()) => Ok(Self { token, secret }),
            Err(fault) => Err(refused(cause_of(fault), ApiError::token(fault))),
        }
    }

    pub(super) fn kind(&self) -> TokenKind {
        self.token.spec.kind
    }

    /// Makes sure that the token is still good in the state that is answered from, which may be a newer one than
    /// the caller was authenticated against.
    pub(super) fn still_good(&self, state: &State) -> Result<(), ApiError> {
        match state.token(&self.token.spec.id) {
            Some(token) => check(token).map_err(ApiError::token),
            None => Err(ApiError::token(TokenFault::Unknown)),
        }
    }

    /// Whether the caller may read the environment, or the project as a whole.
    pub(super) fn reads(&self, project: &ProjectKey, environment: Option<&EnvironmentKey>) -> bool {
        self.token.spec.allows(Role::Reader, project, environment)
    }

    /// Whether the caller may read the rules of the environment: an admin token by its grants, a service token those of
    /// its own environment.
    pub(super) fn reads_rules(&self, project: &ProjectKey, environment: &EnvironmentKey) -> bool {
        reads_rules(&self.token, project, environment)
    }

    /// The project, if it exists for this caller: another tenant's reads like one that is not there.
    pub(super) fn project<'s>(
        &self,
        app: &App,
        state: &'s State,
        key: &str,
    ) -> Result<&'s Arc<Project>, ApiError> {
        self.still_good(state)?;
        match state.project(key) {
            Some(project) if self.token.spec.sees(project.key()) => Ok(project),
            Some(_) => {
                app.node.metrics().denied("not_visible");
                Err(ApiError::not_found("project", key))
            }
            None => Err(ApiError::not_found("project", key)),
        }
    }
}

/// What is wrong with a token now.
fn check(token: &Token) -> Result<(), TokenFault> {
    // Most never expire, and reading the clock is not for nothing.
    token.check(if token.spec.expires_at_ms.is_some() { wall_ms() } else { i64::MIN })
}

/// See [`Caller::reads_rules`].
pub(super) fn reads_rules(token: &Token, project: &ProjectKey, environment: &EnvironmentKey) -> bool {
    let evaluates_there =
        || token.spec.kind == TokenKind::Service && token.spec.evaluates() == Some((project, environment));
    token.spec.allows(Role::Reader, project, Some(environment)) || evaluates_there()
}

/// Looks for a token that this node does not know in a confirmed state.
pub(super) async fn confirmed_token(
    app: &App,
    find: impl FnOnce(&State) -> Option<Arc<Token>>,
) -> Result<Option<Arc<Token>>, ApiError> {
    let Ok(_permit) = app.unknown_tokens.try_acquire() else {
        // Not 401: it may be a good one, made a moment ago through another node.
        return Err(ApiError::unavailable(
            "this node does not know the token, and looks for too many others that it does not know; ask again, or \
             another node",
        ));
    };
    // A node that does not know how old its state is can't call a token unknown: it may be new, and a node that no
    // cluster has taken in yet knows none at all.
    let view = View::confirmed(app, app.options.read_deadline.default).await.map_err(|unconfirmed| {
        ApiError::unavailable(format!(
            "this node does not know the token, and {unconfirmed}, so it may be a new one; ask again, or another node"
        ))
    })?;
    Ok(find(view.state()))
}

/// Counts a 401: in the metrics, and for the record of a minute's.
pub(super) fn count(app: &App, cause: &'static str) {
    app.node.metrics().denied(cause);
    app.node.count_denial();
}

/// Counts a 401 for a token that turned out to be no good.
pub(super) fn denied(app: &App, fault: TokenFault) {
    count(app, cause_of(fault));
}

/// The label of a fault in the metrics.
pub(super) fn cause_of(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Unknown => "unknown",
        TokenFault::Revoked => "revoked",
        TokenFault::Expired => "expired",
    }
}

/// Where the listener learns who reads: a place in the request, where whoever authenticates its caller says so.
#[derive(Clone, Debug, Default)]
pub(super) struct SeenCaller(Arc<OnceLock<Arc<Token>>>);

impl SeenCaller {
    /// The token of the caller; `None` where nobody was authenticated.
    pub(super) fn token(&self) -> Option<&Arc<Token>> {
        self.0.get()
    }

    /// Authenticates the caller of a request, and says who it is where that is asked for.
    async fn authenticate(app: &App, parts: &Parts) -> Result<Caller, ApiError> {
        let caller = Caller::authenticate(app, &parts.headers).await?;
        if let Some(Self(seen)) = parts.extensions.get() {
            _ = seen.set(Arc::clone(&caller.token)).is_ok();
        }
        Ok(caller)
    }
}

/// A caller with an admin token: what all of `/api/v1` but the cluster's status asks for.
pub(super) struct Admin(pub(super) Caller);

impl FromRequestParts<App> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = SeenCaller::authenticate(app, parts).await?;
        if caller.kind() != TokenKind::Admin {
            app.node.metrics().denied("forbidden");
            return Err(ApiError::forbidden(
                "this token evaluates flags and manages nothing; use an admin token (fr_adm_...)",
            ));
        }
        admits_admins(app)?;
        Ok(Self(caller))
    }
}

/// Whether a node may not know that an admin token was revoked.
pub(super) fn is_too_old_for_admins(app: &App) -> bool {
    app.node.reads().age_ms().is_none_or(|age_ms| age_ms > ceil_ms(app.options.admin_age_max))
}

/// Refuses admin tokens on such a node.
fn admits_admins(app: &App) -> Result<(), ApiError> {
    if !is_too_old_for_admins(app) {
        return Ok(());
    }
    app.node.metrics().denied("age");
    let age_ms = app.node.reads().age_ms();
    let since = age_ms.map_or("it started".to_owned(), |age_ms| format!("{} s ago", age_ms / 1000));
    Err(ApiError::unavailable(format!(
        "this node is not known to be current since {since}, so it can't tell whether an admin token was revoked; use \
         another node. Evaluation goes on"
    )))
}

/// A caller that may read rules: an admin token, or a service token, which decides by them. Which ones, see
/// [`Caller::reads_rules`].
pub(super) struct Reader(pub(super) Caller);

impl FromRequestParts<App> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = SeenCaller::authenticate(app, parts).await?;
        refuse_clients(app, &caller)?;
        if caller.kind() == TokenKind::Admin {
            admits_admins(app)?;
        }
        Ok(Self(caller))
    }
}

fn refuse_clients(app: &App, caller: &Caller) -> Result<(), ApiError> {
    match caller.kind() {
        TokenKind::Admin | TokenKind::Service => Ok(()),
        TokenKind::Client => {
            app.node.metrics().denied("forbidden");
            Err(ApiError::forbidden(
                "a client token evaluates flags and sees nothing else; use an admin or service token",
            ))
        }
    }
}

/// A caller with a service token: who reports what it evaluated itself.
pub(super) struct Service(pub(super) Caller);

impl FromRequestParts<App> for Service {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = SeenCaller::authenticate(app, parts).await?;
        match caller.kind() {
            TokenKind::Service => Ok(Self(caller)),
            TokenKind::Admin | TokenKind::Client => {
                app.node.metrics().denied("forbidden");
                Err(ApiError::forbidden(
                    "only programs that evaluate in their own process report; use a service token (fr_svc_...)",
                ))
            }
        }
    }
}

/// A caller that may see how the cluster does: an admin or a service token, on a node of any age. An operator needs
/// this most when the node is cut off.
pub(super) struct Observer;

impl FromRequestParts<App> for Observer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = SeenCaller::authenticate(app, parts).await?;
        refuse_clients(app, &caller).map(|()| Self)
    }
}

/// The secret that the request carries.
fn secret(headers: &HeaderMap) -> Result<Option<Secret>, ApiError> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let text = match (given.next(), given.next()) {
        (Some(_), Some(_)) => {
            return Err(ApiError::unauthenticated("the header Authorization is given twice; give it once"));
        }
        (Some(value), None) => {
            let text = value.to_str().unwrap_or_default();
            match text.split_once(' ') {
                Some((scheme, secret)) if scheme.eq_ignore_ascii_case("bearer") => secret.trim(),
                _ => return Err(ApiError::unauthenticated("send the token as Authorization: Bearer fr_...")),
            }
        }
        (None, _) => match headers.get(API_KEY) {
            Some(value) => value.to_str().unwrap_or_default().trim(),
            None => return Ok(None),
        },
    };
    Secret::parse(text).map(Some).map_err(|invalid| ApiError::unauthenticated(invalid.message))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_secret_is_found_in_either_header_and_its_faults_are_named_without_repeating_it() {
        let good = Secret::new(TokenKind::Service, [3; 32]);
        let with = |name: HeaderName, value: String| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_str(&value).expect("ASCII"));
            secret(&headers)
        };
        for (name, value) in [
            (AUTHORIZATION, format!("Bearer {}", good.expose())),
            (AUTHORIZATION, format!("bearer  {}", good.expose())),
            (API_KEY, good.expose().to_owned()),
        ] {
            assert_eq!(with(name, value).expect("well-formed"), Some(good.clone()));
        }
        assert_eq!(secret(&HeaderMap::new()).expect("none"), None);
        for (name, value) in [
            (AUTHORIZATION, "Basic dXNlcjpwYXNz".to_owned()),
            (AUTHORIZATION, format!("Bearer {}x", good.expose())),
            (AUTHORIZATION, "Bearer".to_owned()),
            (API_KEY, "secret-of-somebody-else".to_owned()),
        ] {
            let error = with(name, value.clone()).expect_err("refused");
            assert_eq!(error.status.as_u16(), 401);
            let secret = value.rsplit(' ').next().filter(|word| word.len() > 10);
            assert!(secret.is_none_or(|secret| !error.message.contains(secret)), "{}", error.message);
        }
    }
}
