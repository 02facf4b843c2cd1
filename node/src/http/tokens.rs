//! Tokens. The secret is made here, shown once, and only its hash goes further.

use std::collections::BTreeMap;

use axum::{extract::State, http::StatusCode, response::Response};
use flagraft_core::{
    operation::{Operation, TokenCreate, TokenRevoke},
    token::{ActorType, Grant, Secret, Token, TokenActor, TokenId, TokenKind, TokenSpec, check_token_id},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App,
    auth::{Admin, Caller, Reader},
    consistency::View,
    error::ApiError,
    extract::{Json, Path, Query},
    list::Page,
    recorded::first_operation,
    shorthand::{bodies, submit_one, without_operation},
    terms::ReadTerms,
    time::{parse_rfc3339, rfc3339},
    write::{Draft, Why, WriteTerms, Written, submit},
};
use crate::random::random;

bodies! {
    /// A token to be made and why.
    CreateToken { token: NewToken }
}

/// A token as it is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    name: String,
    kind: TokenKind,
    /// Who it stands for. A service or client token is a service of its name when nothing else is said.
    #[serde(default)]
    actor: Option<TokenActor>,
    grants: Vec<Grant>,
    #[serde(default)]
    context: BTreeMap<String, Value>,
    #[serde(default)]
    expires_at: Option<String>,
}

fn show(token: &Token) -> Value {
    let spec = &token.spec;
    json!({
        "id": spec.id, "name": spec.name, "kind": spec.kind, "actor": spec.actor, "grants": spec.grants,
        "context": spec.context, "expires_at": spec.expires_at_ms.map(rfc3339),
        "created_at": rfc3339(token.created_at_ms), "revoked_at": token.revoked_at_ms.map(rfc3339),
        "revision": token.revision,
    })
}

/// Whether the caller owns all that the token may do, or is the token.
fn manages(caller: &Caller, token: &Token) -> bool {
    let own = &caller.token.spec;
    own.id == token.spec.id || own.owns(&token.spec.grants)
}

pub(super) async fn list(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    let window = Page::window(page.limit, page.cursor)?;
    let view = terms.view(&app).await?;
    view.answer(|state| {
        caller.still_good(state)?;
        let visible = state.tokens().filter(|token| manages(&caller, token));
        Ok(window.page(visible, |token| (&*token.spec.id).into(), |token| show(token), state.revision()))
    })
}

/// The caller's own token: where it evaluates, and what it lays over every context. Whoever evaluates by himself needs to
/// know both.
pub(super) async fn own(
    Reader(caller): Reader,
    State(app): State<App>,
    terms: ReadTerms,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    view.answer(|state| {
        caller.still_good(state)?;
        let mut shown = show(&caller.token);
        let place = caller.token.spec.evaluates();
        shown["project"] = json!(place.map(|(project, _)| project));
        shown["environment"] = json!(place.map(|(_, environment)| environment));
        Ok(axum::Json(shown))
    })
}

pub(super) async fn create(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Json(body): Json<CreateToken>,
) -> Result<Response, ApiError> {
    terms.unconditional()?;
    let why = body.why();
    let secret = Secret::new(body.token.kind, random());
    let token = spec(body.token)?;
    let id = token.id.clone();
    let operation = TokenCreate { token, secret_sha256: secret.sha256(), if_revision: None };
    let draft = Draft::global(Operation::TokenCreate(operation), why);
    let written = submit(&app, &caller, &terms, draft).await.map_err(without_operation)?;
    // An earlier request with this id made another token, whose secret nobody has any more.
    let made = if written.replayed { made_by(&app, &terms, &written).await? } else { id.clone() };
    let secret = (made == id).then_some(secret);
    let view = View::local(&app);
    let token = view.state().token(&made).map_or_else(|| json!({"id": made}), |token| show(token));
    let status = if written.replayed { StatusCode::OK } else { StatusCode::CREATED };
    Ok(written.answer(status, |written| {
        let mut body = json!(written);
        body["token"] = token;
        body["secret"] = secret.map_or(Value::Null, |secret| secret.expose().into());
        body
    }))
}

/// The id of the token that an earlier request made, from its audit record.
async fn made_by(app: &App, terms: &WriteTerms, written: &Written) -> Result<TokenId, ApiError> {
    let Some(recorded) = first_operation(app, written.sequence).await? else {
        // The token was made, but which it is this node learns only when it catches up.
        let mut error = ApiError::outcome_unknown(&terms.request.id);
        error.message =
            "an earlier request with this Idempotency-Key made the token; this node has not caught up with \
                         it, so it does not know its id yet. Repeat the request, or ask another node"
                .to_owned();
        return Err(error);
    };
    let id = recorded.operation.pointer("/token/id").and_then(Value::as_str).map(TokenId::from);
    id.ok_or_else(|| ApiError::internal("reading the record of the change", "it has no token id"))
}

fn spec(new: NewToken) -> Result<TokenSpec, ApiError> {
    let actor = match (new.actor, new.kind) {
        (Some(actor), _) => actor,
        (None, TokenKind::Service | TokenKind::Client) => {
            TokenActor { actor_type: ActorType::Service, id: new.name.clone() }
        }
        (None, TokenKind::Admin) => {
            let advice = "say who an admin token stands for: {\"type\": \"user\", \"id\": \"...\"}";
            return Err(ApiError::invalid(advice).at("/token/actor"));
        }
    };
    let expires_at_ms = new.expires_at.as_deref().map(parse_rfc3339).transpose();
    let expires_at_ms =
        expires_at_ms.map_err(|invalid| ApiError::body(invalid.under("expires_at").under("token")))?;
    let id: TokenId = format!("tok_{}", hex::encode(random::<12>())).into();
    let spec = TokenSpec {
        id,
        name: new.name,
        kind: new.kind,
        actor,
        grants: new.grants,
        context: new.context,
        expires_at_ms,
    };
    spec.validate().map_err(|invalid| ApiError::body(invalid.under("token")))?;
    Ok(spec)
}

pub(super) async fn revoke(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(id): Path<String>,
    Query(why): Query<Why>,
) -> Result<Response, ApiError> {
    // What can't be an id can't be found.
    check_token_id(&id).map_err(|_| ApiError::not_found("token", &id))?;
    let if_revision = terms.if_revision(&View::local(&app))?;
    let operation = Operation::TokenRevoke(TokenRevoke { token: id.into(), if_revision });
    submit_one(&app, &caller, &terms, Draft::global(operation, why), &[], false).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(value: Value) -> Result<TokenSpec, ApiError> {
        spec(serde_json::from_value(value).expect("a new token"))
    }

    #[test]
    fn a_token_gets_an_id_and_an_actor() {
        let grants = json!([{"role": "reader", "project": "shop", "environments": ["dev"]}]);
        let made = new(
            json!({"name": "web", "kind": "client", "grants": grants, "expires_at": "2027-03-01T00:00:00Z"}),
        );
        let made = made.expect("valid");
        assert!(made.id.starts_with("tok_"));
        assert_eq!((made.actor.id.as_str(), made.expires_at_ms), ("web", Some(1_803_859_200_000)));
        assert!(
            new(json!({"name": "me", "kind": "admin", "grants": [{"role": "owner"}]})).is_err(),
            "who is it?"
        );
        assert!(
            new(json!({"name": "web", "kind": "client", "grants": [{"role": "owner"}]})).is_err(),
            "one environment"
        );
        assert!(new(json!({"name": "w", "kind": "client", "grants": grants, "expires_at": "soon"})).is_err());
    }
}
