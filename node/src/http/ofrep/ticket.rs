//! Tickets: what opens the stream of notices to a browser, whose `EventSource` sends no header.
//!
//! `<token id>.<HMAC of the stored hash of the token's secret>`. Every node can make it and check it, it opens nothing else,
//! and it dies with its token. It stands in a URL: no log of this node has one.

use std::sync::Arc;

use flagraft_core::token::{Token, TokenFault};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::{
    clock::wall_ms,
    http::{App, auth, error::ApiError},
};

/// What the MAC is of, so that it can't be taken for another one.
const LABEL: &[u8] = b"flagraft ofrep stream v1";

/// The ticket of a token.
pub(super) fn of(token: &Token) -> String {
    let mac = mac(token).map(|mac| hex::encode(mac.finalize().into_bytes()));
    format!("{}.{}", token.spec.id, mac.unwrap_or_default())
}

fn mac(token: &Token) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&token.secret_sha256.0).ok()?;
    mac.update(LABEL);
    mac.update(token.spec.id.as_bytes());
    Some(mac)
}

fn is_of(given: &str, token: &Token) -> bool {
    let given = hex::decode(given).ok();
    // Compared in constant time.
    given.zip(mac(token)).is_some_and(|(given, mac)| mac.verify_slice(&given).is_ok())
}

/// The token that a ticket stands for. One that this node does not know is looked for in a confirmed state.
pub(super) async fn admit(app: &App, ticket: &str) -> Result<Arc<Token>, ApiError> {
    let refused = |cause: &'static str| {
        auth::count(app, cause);
        ApiError::unauthenticated(
            "the ticket is no good, or its token is not any more; take a new one from eventStreams of an answer with all \
             flags",
        )
    };
    let (id, given) = ticket.rsplit_once('.').ok_or_else(|| refused("malformed"))?;
    let known = app.node.published().state.token(id).cloned();
    let token = match known {
        Some(token) => Some(token),
        None => auth::confirmed_token(app, |state| state.token(id).cloned()).await?,
    };
    let token = token.filter(|token| is_of(given, token)).ok_or_else(|| refused("unknown"))?;
    match token.check(wall_ms()) {
        Ok(()) => Ok(token),
        Err(fault @ (TokenFault::Unknown | TokenFault::Revoked | TokenFault::Expired)) => {
            Err(refused(auth::cause_of(fault)))
        }
    }
}
