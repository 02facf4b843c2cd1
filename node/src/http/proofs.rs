//! What proves the audit log: its checkpoints, and proofs of what is in it and that it only grew.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header::CONTENT_TYPE},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flagraft_core::{
    merkle::{Hash, consistency_proof, inclusion_proof, root_at},
    token::Role,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App,
    auth::{Admin, Caller},
    error::ApiError,
    extract::Query,
    terms::ReadTerms,
};

/// What to prove: that a record is in the log, or that the log of an earlier size is its beginning.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// The record.
    sequence: Option<u64>,
    /// The size of the log that it is in. Default: the newest.
    size: Option<u64>,
    /// The earlier size.
    from: Option<u64>,
    /// The later size. Default: the newest.
    to: Option<u64>,
}

/// A proof that is to be made, of a log of no more records than there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Inclusion { sequence: u64, size: u64 },
    Consistency { from: u64, to: u64 },
}

impl Wanted {
    fn of(asked: Asked, newest: u64) -> Result<Self, ApiError> {
        let Asked { sequence, size, from, to } = asked;
        let (wanted, size) = match (sequence, size, from, to) {
            (Some(sequence), size, None, None) => {
                let size = size.unwrap_or(newest);
                (Self::Inclusion { sequence, size }, size)
            }
            (None, None, Some(from), to) => {
                let to = to.unwrap_or(newest);
                (Self::Consistency { from, to }, to)
            }
            _ => {
                return Err(ApiError::invalid(
                    "ask with `sequence`, and `size` if need be, for the proof that a record is in the log; or with \
                     `from`, and `to` if need be, for the proof that the log only grew",
                ));
            }
        };
        if size > newest {
            return Err(ApiError::invalid(format!(
                "the audit log has {newest} records here, not {size}; ask for a size up to that, or another node, or \
                 again with Flagraft-Min-Revision"
            )));
        }
        match wanted {
            Self::Inclusion { sequence, size } if sequence >= size => Err(ApiError::invalid(format!(
                "record {sequence} is not among the first {size}; ask for a greater size"
            ))),
            Self::Consistency { from, to } if from > to => Err(ApiError::invalid(format!(
                "a log of {to} records does not begin with {from}; `from` is the lesser"
            ))),
            wanted => Ok(wanted),
        }
    }
}

/// Lets those through who may read the whole log: all of it goes into a proof.
pub(super) fn require_everything(app: &App, caller: &Caller) -> Result<(), ApiError> {
    if caller.token.spec.allows_everywhere(Role::Reader) {
        return Ok(());
    }
    app.node.metrics().denied("forbidden");
    Err(ApiError::forbidden(
        "proofs and checkpoints are of the whole audit log, so this needs a token with the role reader on every project",
    ))
}

pub(super) async fn prove(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
    Query(asked): Query<Asked>,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    let stamped = |error: ApiError| error.stamped(&view.stamp);
    caller.still_good(view.state()).map_err(stamped)?;
    require_everything(&app, &caller).map_err(stamped)?;
    let wanted = Wanted::of(asked, view.state().sequence()).map_err(stamped)?;
    let published = view.published();
    let made = app.node.audit_tree(&published, move |mut tree| {
        let is_removed = match wanted {
            Wanted::Inclusion { sequence, .. } => tree.is_removed(sequence)?,
            Wanted::Consistency { .. } => false,
        };
        let mut subtree = |level, index| tree.subtree(level, index);
        match wanted {
            Wanted::Inclusion { sequence, size } => Ok(json!({
                "sequence": sequence,
                "size": size,
                "leaf": text(&subtree(0, sequence)?),
                "removed": is_removed,
                "root": text(&root_at(size, &mut subtree)?),
                "proof": texts(inclusion_proof(sequence, size, &mut subtree)?),
            })),
            Wanted::Consistency { from, to } => Ok(json!({
                "from": from,
                "to": to,
                "from_root": text(&root_at(from, &mut subtree)?),
                "to_root": text(&root_at(to, &mut subtree)?),
                "proof": texts(consistency_proof(from, to, &mut subtree)?),
            })),
        }
    });
    let proof =
        made.await.map_err(|error| stamped(ApiError::internal("reading the audit log's tree", error)))?;
    Ok(view.stamp.answer(Json(proof)))
}

/// The newest checkpoint that a majority of the nodes signed, as a signed note.
pub(super) async fn checkpoint(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: ReadTerms,
) -> Result<Response, ApiError> {
    let view = terms.view(&app).await?;
    view.answer(|state| {
        caller.still_good(state)?;
        require_everything(&app, &caller)?;
        let Some(newest) = app.node.checkpoint() else {
            return Err(ApiError::new(
                axum::http::StatusCode::NOT_FOUND,
                "not_found",
                "no checkpoint has been signed by a majority of the nodes yet; `flagraft cluster status` says why, as \
                 `checkpoint` of each member",
            ));
        };
        let mut response = newest.note.to_string().into_response();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, plain);
        Ok(response)
    })
}

fn text(hash: &Hash) -> String {
    STANDARD.encode(hash)
}

fn texts(proof: Option<Vec<Hash>>) -> Vec<Value> {
    proof.unwrap_or_default().iter().map(|hash| text(hash).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(sequence: Option<u64>, size: Option<u64>, from: Option<u64>, to: Option<u64>) -> Asked {
        Asked { sequence, size, from, to }
    }

    #[test]
    fn what_can_be_proved() {
        for (asked, wanted) in [
            (asked(Some(3), None, None, None), Wanted::Inclusion { sequence: 3, size: 10 }),
            (asked(Some(3), Some(4), None, None), Wanted::Inclusion { sequence: 3, size: 4 }),
            (asked(None, None, Some(0), None), Wanted::Consistency { from: 0, to: 10 }),
            (asked(None, None, Some(7), Some(7)), Wanted::Consistency { from: 7, to: 7 }),
        ] {
            assert_eq!(Wanted::of(asked, 10).expect("to be proved"), wanted);
        }
        for (asked, says) in [
            (asked(None, None, None, None), "ask with"),
            (asked(Some(1), None, Some(1), None), "ask with"),
            (asked(None, Some(1), None, None), "ask with"),
            (asked(Some(4), Some(4), None, None), "greater size"),
            (asked(Some(4), Some(11), None, None), "has 10 records"),
            (asked(None, None, Some(1), Some(11)), "has 10 records"),
            (asked(None, None, Some(8), Some(7)), "the lesser"),
        ] {
            let error = Wanted::of(asked, 10).expect_err("nothing to be proved");
            assert!(error.message.contains(says), "{}", error.message);
        }
    }
}
