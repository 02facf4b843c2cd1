//! PATCH: a JSON merge patch (RFC 7396), laid over the newest state.
//!
//! Laid over another state, the same patch is another operation. So what makes it the same request is the patch as it
//! was sent, and one that was decided already is laid over nothing: the first answer is given again.

use axum::response::{IntoResponse as _, Response};
use flagraft_core::{
    key::ProjectKey, operation::Operation, rejection::Rejection, reply::Reply, state::State,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    App,
    auth::Caller,
    consistency::View,
    error::ApiError,
    shorthand::{bodies, pointer_in_body, submit_one},
    write::{Draft, Why, WriteTerms, again},
};
use crate::clock::wall_ms;

bodies! {
    /// A JSON merge patch (RFC 7396) and why.
    Patch { patch: Value }
}

/// What is patched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) project: &'a ProjectKey,
    /// The kind of object, which is also the operation's field that holds it.
    pub(super) kind: &'static str,
    /// Its key.
    pub(super) key: &'a str,
}

impl Target<'_> {
    /// What tells whether two patches under one request id are the same. Kept in the state, so it is frozen.
    fn asks_sha256(self, patch: &Value, why: &Why, if_revision: Option<u64>) -> [u8; 32] {
        let asked = json!({
            "patch": patch, "kind": self.kind, "project": self.project, "key": self.key, "reason": why.reason,
            "ticket": why.ticket, "if_revision": if_revision,
        });
        Sha256::digest(asked.to_string().as_bytes()).into()
    }
}

/// Submits a patch. `lay` makes the operation of it: from the state that it is laid over, the patch, and the revision
/// that the client expects the object to have, if it says one. Every error names the request.
pub(super) async fn submit_patch(
    app: &App,
    caller: &Caller,
    terms: &WriteTerms,
    target: Target<'_>,
    body: Patch,
    lay: impl FnOnce(&State, Value, Option<u64>) -> Result<Operation, ApiError>,
) -> Result<Response, ApiError> {
    let submitting = async {
        let why = body.why();
        let view = newest(app, terms).await?;
        let if_revision = terms.if_revision(&view)?;
        let asks_sha256 = target.asks_sha256(&body.patch, &why, if_revision);
        caller.still_good(view.state()).map_err(|error| error.stamped(&view.stamp))?;
        if let Some(first) = decided(caller, terms, &view, asks_sha256) {
            let fields = [(target.kind, "patch")];
            let again = again(app, terms, first?).await;
            let again = again.map_err(|error| error.map_path(|path| pointer_in_body(&path, &fields)));
            return Ok(again?.into_response());
        }
        let operation =
            lay(view.state(), body.patch, if_revision).map_err(|error| error.stamped(&view.stamp))?;
        let draft =
            Draft { asks_sha256: Some(asks_sha256), ..Draft::one(target.project.clone(), operation, why) };
        submit_one(app, caller, terms, draft, &[(target.kind, "patch")], false).await
    };
    submitting.await.map_err(|error: ApiError| error.request_id(&terms.request.id))
}

/// The newest state, so that only a change made meanwhile can be in the patch's way. Waits out an election, as every
/// write does.
async fn newest(app: &App, terms: &WriteTerms) -> Result<View, ApiError> {
    View::confirmed_patiently(app, terms.left()).await.map_err(|unconfirmed| {
        ApiError::unavailable(format!(
            "{unconfirmed}, which a patch is laid over; the change was not made. Send it again in a moment, or to another node"
        ))
        .stamped(&View::local(app).stamp)
    })
}

/// What an earlier request with this id came to; an error when it asked for something else.
fn decided(
    caller: &Caller,
    terms: &WriteTerms,
    view: &View,
    asks_sha256: [u8; 32],
) -> Option<Result<Reply, ApiError>> {
    let request = &terms.request;
    let scoped = request.scoped(Some(&caller.token.spec.id));
    let first = view.state().remembered(&scoped, wall_ms()).filter(|_| request.client_given)?;
    if first.body_sha256 != asks_sha256 {
        return Some(Err(ApiError::rejected(&Rejection::IdempotencyMismatch).stamped(&view.stamp)));
    }
    Some(Ok(first.reply(request.id.clone())))
}

/// RFC 7396: `null` removes a member, an object is merged, anything else replaces.
pub(super) fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(&name);
        } else {
            merge(target.entry(name).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patches_as_the_rfc_has_them() {
        // The table of RFC 7396, appendix A.
        for (target, patch, result) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "b"}), json!(["c"]), json!(["c"])),
            (json!({"a": "foo"}), Value::Null, Value::Null),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut merged = target.clone();
            merge(&mut merged, patch.clone());
            assert_eq!(merged, result, "{target} with {patch}");
        }
    }

    #[test]
    fn what_a_patch_asks_for_is_frozen() {
        let project = ProjectKey::new("shop").expect("a key");
        let target = Target { project: &project, kind: "flag", key: "banner" };
        let why = Why { reason: "r".to_owned(), ticket: Some("OPS-1".to_owned()) };
        let asked = target.asks_sha256(&json!({"b": 1, "a": null}), &why, Some(7));
        assert_eq!(hex::encode(asked), "16901c86d87c57c32c098552f06063443effdd7c18e9a2aeff78c582b9da3b96");
        for other in [
            target.asks_sha256(&json!({"b": 1}), &why, Some(7)),
            target.asks_sha256(&json!({"b": 1, "a": null}), &why, None),
            Target { kind: "segment", ..target }.asks_sha256(&json!({"b": 1, "a": null}), &why, Some(7)),
        ] {
            assert_ne!(other, asked);
        }
    }
}
