//! Whether a change carries a signature that counts, judged against the keys at the entry: so the log's order settles a
//! race between a change and the revocation of its key.

use sha2::{Digest as _, Sha256};

use crate::{
    canonical::Canonical,
    proposal::{Change, Proposal},
    rejection::Rejection,
    signing::{RecordSignature, SIGNED_WITHIN_MS, Statement},
    state::State,
    token::TokenActor,
};

use super::authority::Authority;

/// A signature that was found good.
pub(super) struct Signed {
    /// Who signed: the actor of the change's token too.
    pub by: TokenActor,
    /// What the record keeps of it.
    pub recorded: RecordSignature,
}

/// Checks the signature of a change. `None` where it has none.
///
/// # Errors
/// [`Rejection::BadSignature`], for the first of these that applies: the request's id is not the author's own; the key
/// is unknown; it was revoked; it is another actor's; the time is too far off; the signature is not one over the change.
pub(super) fn check(
    state: &State,
    authority: &Authority,
    proposal: &Proposal,
    change: &Change,
    operations: &[Canonical],
    now_ms: i64,
) -> Result<Option<Signed>, Rejection> {
    let Some(signature) = &proposal.signature else { return Ok(None) };
    let bad =
        |path: &str, message: String| Rejection::BadSignature { path: format!("/signature{path}"), message };
    let (Authority::Token(token), Some(history)) = (authority, state.history()) else {
        return Err(bad("", "the cluster itself signs no changes".to_owned()));
    };
    if !proposal.request.client_given {
        return Err(bad(
            "",
            "a signature covers the id of its request; send the change with the Idempotency-Key that was signed"
                .to_owned(),
        ));
    }
    let Some(key) = state.signing_key(&signature.key) else {
        return Err(bad(
            "/key",
            format!(
                "there is no signing key {:?}; have an owner register it, then sign again",
                &*signature.key
            ),
        ));
    };
    if key.revoked_at_ms.is_some() {
        return Err(bad(
            "/key",
            format!("the signing key {} was revoked; sign with another one", signature.key),
        ));
    }
    let by = &key.spec.actor;
    let is_of = |actor: &TokenActor| (actor.actor_type, &actor.id) == (by.actor_type, &by.id);
    let asks = TokenActor { actor_type: proposal.actor.actor_type, id: proposal.actor.id.clone() };
    if !is_of(&token.actor) || !is_of(&asks) {
        return Err(bad(
            "/key",
            format!(
                "the signing key {} is not one of {}, for whom this token stands; sign with one that is",
                signature.key, token.actor.id
            ),
        ));
    }
    check_time(signature.signed_at_ms, now_ms).map_err(|fault| bad("/signed_at_ms", fault))?;
    let statement = Statement {
        history,
        token: &token.id,
        request_id: &proposal.request.id,
        key: &signature.key,
        signed_at_ms: signature.signed_at_ms,
        project: change.project.as_ref(),
        operations,
        reason: &change.reason,
        ticket: change.ticket.as_deref(),
        expect_revision: change.expect_revision,
        caused_by: proposal.caused_by.as_ref(),
    };
    let statement = statement.to_bytes();
    if !key.spec.public_key.verifies(&statement, &signature.signature) {
        return Err(bad(
            "/signature",
            format!(
                "this is not the key's signature over the change; the bytes that it has to be over have the SHA-256 {}: \
                 compare them with the ones that were signed",
                hex::encode(Sha256::digest(&statement))
            ),
        ));
    }
    Ok(Some(Signed {
        by: by.clone(),
        recorded: RecordSignature {
            key: signature.key.clone(),
            public_key: key.spec.public_key,
            signed_at_ms: signature.signed_at_ms,
            expect_revision: change.expect_revision,
            signature: signature.signature,
        },
    }))
}

/// Says what is wrong with the time of a signature.
fn check_time(signed_at_ms: i64, now_ms: i64) -> Result<(), String> {
    let off_ms = now_ms.abs_diff(signed_at_ms);
    if off_ms <= SIGNED_WITHIN_MS.unsigned_abs() {
        return Ok(());
    }
    Err(if signed_at_ms < now_ms {
        format!(
            "the change was signed {off_ms} ms ago, and a signature is good for {SIGNED_WITHIN_MS} ms; sign it again, \
             under another Idempotency-Key"
        )
    } else {
        format!(
            "the change was signed {off_ms} ms in the future, and at most {SIGNED_WITHIN_MS} ms are allowed; set the \
             clock right and sign it again, under another Idempotency-Key"
        )
    })
}
