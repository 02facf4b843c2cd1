//! The keys that changes are signed with: their public halves, whose they are, and whether they still count.

use axum::{extract::State, http::StatusCode, response::Response};
use flagraft_core::{
    operation::{Operation, SigningKeyPut, SigningKeyRevoke},
    signing::{PublicKey, SigningKey, SigningKeyId, SigningKeySpec, check_signing_key_id, signing_key_id},
    token::{Role, TokenActor},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App,
    auth::{Admin, Caller},
    consistency::View,
    error::ApiError,
    extract::{Json, Path, Query},
    list::Page,
    shorthand::{bodies, submit_one, without_operation},
    terms::ReadTerms,
    time::rfc3339,
    write::{Draft, Why, WriteTerms, submit},
};

bodies! {
    /// A key to be registered and why.
    PutSigningKey { signing_key: NewSigningKey }
}

/// A signing key as it is asked for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSigningKey {
    /// That of the public key; it may be left out.
    #[serde(default)]
    id: Option<SigningKeyId>,
    actor: TokenActor,
    name: String,
    public_key: PublicKey,
}

fn show(key: &SigningKey) -> Value {
    let spec = &key.spec;
    json!({
        "id": spec.id, "actor": spec.actor, "name": spec.name, "public_key": spec.public_key,
        "created_at": rfc3339(key.created_at_ms), "revoked_at": key.revoked_at_ms.map(rfc3339),
        "revision": key.revision,
    })
}

/// Whether the caller owns everything, or the key is of the actor that the caller's token stands for.
fn sees(caller: &Caller, key: &SigningKey) -> bool {
    let own = &caller.token.spec;
    own.allows_everywhere(Role::Owner) || own.actor == key.spec.actor
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
        let visible = state.signing_keys().filter(|key| sees(&caller, key));
        Ok(window.page(visible, |key| (&*key.spec.id).into(), |key| show(key), state.revision()))
    })
}

/// Registers a key, or gives the one that is registered another name.
pub(super) async fn put(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Json(body): Json<PutSigningKey>,
) -> Result<Response, ApiError> {
    terms.unconditional()?;
    let why = body.why();
    let NewSigningKey { id, actor, name, public_key } = body.signing_key;
    let id = id.unwrap_or_else(|| signing_key_id(&public_key));
    let signing_key = SigningKeySpec { id: id.clone(), actor, name, public_key };
    let draft =
        Draft::global(Operation::SigningKeyPut(SigningKeyPut { signing_key, if_revision: None }), why);
    let written = submit(&app, &caller, &terms, draft).await.map_err(without_operation)?;
    let key = View::local(&app).state().signing_key(&id).map_or_else(|| json!({"id": id}), |key| show(key));
    Ok(written.answer(StatusCode::OK, |written| {
        let mut body = json!(written);
        body["signing_key"] = key;
        body
    }))
}

pub(super) async fn revoke(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(id): Path<String>,
    Query(why): Query<Why>,
) -> Result<Response, ApiError> {
    // What can't be an id can't be found.
    check_signing_key_id(&id).map_err(|_| ApiError::not_found("signing key", &id))?;
    let if_revision = terms.if_revision(&View::local(&app))?;
    let operation = Operation::SigningKeyRevoke(SigningKeyRevoke { signing_key: id.into(), if_revision });
    submit_one(&app, &caller, &terms, Draft::global(operation, why), &[], false).await
}
