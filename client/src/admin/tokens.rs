//! Calls on tokens: who may do what.

use std::collections::BTreeMap;

use flagraft_core::token::{Grant, TokenActor, TokenKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{answer::Page, call::Call, change::Receipt, json::AsJson, secret::Secret, why::Why};

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewToken {
    /// A name for people.
    pub name: String,
    /// What it is for.
    pub kind: TokenKind,
    /// Whom it stands for. An admin token says so; any other is a service of its name where nothing else is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<TokenActor>,
    /// What it may do. One for evaluation has one grant: reader of one environment.
    pub grants: Vec<Grant>,
    /// Attributes that override the ones of every evaluation context sent with it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, Value>,
    /// The RFC 3339 time after which it is refused. `None`: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

impl NewToken {
    /// A token with these grants, that stands for a service of its name and never expires.
    pub fn new(name: impl Into<String>, kind: TokenKind, grants: impl Into<Vec<Grant>>) -> Self {
        let (name, grants) = (name.into(), grants.into());
        let actor_type = flagraft_core::token::ActorType::Service;
        let actor = Some(TokenActor { actor_type, id: name.clone() });
        Self { name, kind, actor, grants, context: BTreeMap::new(), expires_at: None }
    }
}

/// A token as reads give it: never its secret.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct StoredToken {
    /// Its id, `tok_...`.
    pub id: String,
    /// A name for people.
    pub name: String,
    /// What it is for.
    pub kind: TokenKind,
    /// Whom it stands for.
    pub actor: TokenActor,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Attributes that override the ones of every evaluation context sent with it.
    pub context: BTreeMap<String, Value>,
    /// The RFC 3339 time after which it is refused.
    pub expires_at: Option<String>,
    /// When it was made, an RFC 3339 time.
    pub created_at: String,
    /// Since when it is refused, an RFC 3339 time.
    pub revoked_at: Option<String>,
    /// The revision that last wrote it.
    pub revision: u64,
}

/// A token that was made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Created {
    /// What the write did.
    #[serde(flatten)]
    pub receipt: Receipt,
    /// Which token it is.
    #[serde(rename = "token")]
    pub made: Made,
    /// Its secret. `None` where an earlier request with this `Idempotency-Key` made the token, whose answer had it: if that
    /// was lost, revoke the token and make another one.
    pub secret: Option<Secret>,
}

/// Which token was made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Made {
    /// Its id, `tok_...`.
    pub id: String,
}

/// The tokens that the caller owns.
pub fn list() -> Call<Page<StoredToken>> {
    Call::get(path()).answering()
}

/// Creates a token.
pub fn create(token: &impl AsJson<NewToken>, why: impl Into<Why>) -> Call<Created> {
    #[derive(Serialize)]
    struct Fields<'a, T> {
        token: &'a T,
    }
    Call::post(path(), why.into().body(Fields { token })).answering()
}

/// Revokes a token: it is refused from then on.
pub fn revoke(id: &str, why: impl Into<Why>) -> Call<Receipt> {
    let [api, version, tokens] = path();
    Call::delete([api, version, tokens, id], why).answering()
}

fn path() -> [&'static str; 3] {
    ["api", "v1", "tokens"]
}
