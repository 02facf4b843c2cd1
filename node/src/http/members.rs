//! The cluster's members. A request states the change, in the log; the leader then makes it, and goes on with it
//! whatever becomes of the request, of the node that took it, or of the leader.

use std::{collections::BTreeSet, time::Instant};

use axum::{extract::State, http::StatusCode, response::Response};
use flagraft_core::{
    operation::{MemberInvite, MemberPromote, MemberRemove, Operation, SystemLeadership},
    seat::{JoinToken, SeatRole},
    token::Role,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App,
    auth::{Admin, Caller},
    error::ApiError,
    extract::{Json, Path, Query},
    shorthand::bodies,
    write::{Draft, Why, WriteTerms, Written, submit},
};
use crate::node::{ClusterMember, ClusterStatus, HandOverError, MemberAim, MemberState};
use crate::raft::MemberRole;

/// How long a join token is good for when the request does not say, in seconds: a day.
const EXPIRES_IN_SECONDS: u64 = 24 * 60 * 60;

/// How often members that did not answer are asked before a removal is refused for it.
const QUORUM_LOOKS: usize = 3;

bodies! {
    /// A node to be invited and why.
    AddMember {
        node_id: u64,
        #[serde(default)]
        role: SeatRole,
        #[serde(default)]
        expires_in_seconds: Option<u64>
    }
    /// Why a member is promoted.
    PromoteMember {}
    /// Who is to lead and why.
    TransferLeadership {
        #[serde(default)]
        to: Option<u64>
    }
}

pub(super) async fn add(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Json(body): Json<AddMember>,
) -> Result<Response, ApiError> {
    terms.unconditional()?;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| ApiError::internal("making a join token", error))?;
    let token = JoinToken::new(random);
    let expires_in_seconds = body.expires_in_seconds.unwrap_or(EXPIRES_IN_SECONDS);
    let invite = MemberInvite {
        node_id: body.node_id,
        role: body.role,
        secret_sha256: token.sha256(),
        expires_in_ms: expires_in_seconds.saturating_mul(1_000),
        if_revision: None,
    };
    let written = state(&app, &caller, &terms, vec![Operation::MemberInvite(invite)], body.why()).await?;
    // The secret of an earlier request with this id went to whoever sent that, or to nobody.
    let token = (!written.replayed).then_some(token);
    let members = app.node.cluster_status().await.members;
    let join: Vec<String> = members
        .iter()
        .filter(|member| !member.peer_address.is_empty() && member.id != body.node_id)
        .map(|member| format!("{}={}", member.id, member.peer_address))
        .collect();
    Ok(written.answer(StatusCode::CREATED, |written| {
        let mut answer = json!(written);
        answer["node_id"] = body.node_id.into();
        answer["join_token"] = token.map_or(Value::Null, |token| token.expose().into());
        answer["join"] = join.join(",").into();
        answer
    }))
}

pub(super) async fn promote(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(id): Path<String>,
    Json(body): Json<PromoteMember>,
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    terms.unconditional()?;
    let node_id = node_id(&id)?;
    let promote = MemberPromote { node_id, if_revision: None };
    let written = state(&app, &caller, &terms, vec![Operation::MemberPromote(promote)], body.why()).await?;
    Ok(followed(&app, &terms, written, node_id, true, begun).await)
}

/// Why a member is removed, and what comes in its place.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    reason: String,
    #[serde(default)]
    ticket: Option<String>,
    #[serde(default)]
    successor: Option<u64>,
}

pub(super) async fn remove(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Path(id): Path<String>,
    Query(removal): Query<Removal>,
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    terms.unconditional()?;
    let node_id = node_id(&id)?;
    let Removal { reason, ticket, successor } = removal;
    // Whoever may not remove is told that, and not who answers.
    if caller.token.spec.allows_everywhere(Role::Owner)
        && let Some(why) = quorum_lost_without(&app, node_id, successor).await
    {
        return Err(ApiError::new(StatusCode::CONFLICT, "quorum", why).request_id(&terms.request.id));
    }
    let mut operations = Vec::new();
    if let Some(successor) = successor {
        operations.push(Operation::MemberPromote(MemberPromote { node_id: successor, if_revision: None }));
    }
    operations.push(Operation::MemberRemove(MemberRemove { node_id, successor, if_revision: None }));
    let written = state(&app, &caller, &terms, operations, Why { reason, ticket }).await?;
    Ok(followed(&app, &terms, written, node_id, false, begun).await)
}

pub(super) async fn lead(
    Admin(caller): Admin,
    State(app): State<App>,
    terms: WriteTerms,
    Json(body): Json<TransferLeadership>,
) -> Result<Response, ApiError> {
    let begun = Instant::now();
    terms.unconditional()?;
    let to = match body.to {
        Some(to) => to,
        None => best_successor(&app.node.cluster_status().await)
            .ok_or_else(|| ApiError::unavailable("no other voter answers, so nobody can take over"))?,
    };
    let statement = Operation::SystemLeadership(SystemLeadership { to, if_revision: None });
    let written = state(&app, &caller, &terms, vec![statement], body.why()).await?;
    let left = terms.deadline().saturating_sub(begun.elapsed());
    match app.node.transfer_leadership(to, written.sequence, left).await {
        Ok(leader) => Ok(written.answer(StatusCode::OK, |written| {
            let mut answer = json!(written);
            answer["leader"] = leader.into();
            answer
        })),
        Err(HandOverError::Refused(why)) => {
            Err(ApiError::new(StatusCode::CONFLICT, "conflict", why).request_id(&terms.request.id))
        }
        Err(HandOverError::Unavailable(why)) => Err(ApiError::unavailable(format!(
            "leadership was not seen to be handed over: {why}; look who leads, and ask again"
        ))
        .request_id(&terms.request.id)),
    }
}

/// States a change of the members. What is wrong with it is told without naming the operation that was made of it.
async fn state(
    app: &App,
    caller: &Caller,
    terms: &WriteTerms,
    operations: Vec<Operation>,
    why: Why,
) -> Result<Written, ApiError> {
    let last = operations.len().saturating_sub(1);
    let draft = Draft { operations, ..Draft::nothing(why) };
    submit(app, caller, terms, draft).await.map_err(|error| {
        error.map_path(|path| {
            if !path.starts_with("/operations/") {
                return path;
            }
            let own = path.strip_prefix(&format!("/operations/{last}"));
            own.map_or_else(String::new, |rest| rest.replace("expires_in_ms", "expires_in_seconds"))
        })
    })
}

/// Waits, within the request's deadline, until the membership has followed what was stated.
async fn followed(
    app: &App,
    terms: &WriteTerms,
    written: Written,
    node_id: u64,
    votes: bool,
    begun: Instant,
) -> Response {
    let left = terms.deadline().saturating_sub(begun.elapsed());
    let done = app.node.await_member(node_id, votes, left).await;
    let waits_for = if done { None } else { app.node.cluster_status().await.membership.waits_for };
    let status = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
    written.answer(status, |written| {
        let mut answer = json!(written);
        answer["node_id"] = node_id.into();
        answer["done"] = done.into();
        answer["waits_for"] = waits_for.into();
        answer
    })
}

fn node_id(text: &str) -> Result<u64, ApiError> {
    text.parse().ok().filter(|id| *id > 0).ok_or_else(|| ApiError::not_found("node", text))
}

/// [`quorum_without`], asked until it is sure: a member on a busy machine may miss one question.
async fn quorum_lost_without(app: &App, removed: u64, successor: Option<u64>) -> Option<String> {
    let mut why = None;
    for _ in 0..QUORUM_LOOKS {
        why = quorum_without(&app.node.cluster_status().await, removed, successor);
        if why.is_none() {
            break;
        }
    }
    why
}

/// Why the voters that would be left without `removed` are no quorum now; `None` when they are one. A request that
/// would lose it is refused; what happens after it was stated the leader looks at again.
fn quorum_without(status: &ClusterStatus, removed: u64, successor: Option<u64>) -> Option<String> {
    let member = |id: u64| status.members.iter().find(|member| member.id == id);
    if member(removed)
        .is_none_or(|member| member.role != MemberRole::Voter || member.aim == MemberAim::Removed)
    {
        return None;
    }
    // Whether there is such a successor is for `apply` to say.
    if successor.is_some_and(|successor| member(successor).is_none()) {
        return None;
    }
    let stays =
        |member: &&ClusterMember| member.role == MemberRole::Voter && member.aim != MemberAim::Removed;
    let mut left: BTreeSet<u64> = status.members.iter().filter(stays).map(|member| member.id).collect();
    left.remove(&removed);
    left.extend(successor);
    let answers = |id: &u64| member(*id).is_some_and(|member| member.state != MemberState::Unreachable);
    let answering: Vec<String> = left.iter().filter(|id| answers(id)).map(u64::to_string).collect();
    if left.is_empty() || answering.len() * 2 > left.len() {
        // That the last voter stays is for `apply` to say.
        return None;
    }
    Some(format!(
        "without node {removed} only {} of {} voters would answer ({}), which is no quorum; bring others back, or add \
         members first",
        answering.len(),
        left.len(),
        if answering.is_empty() { "none".to_owned() } else { answering.join(", ") }
    ))
}

/// The voter whose log is most complete, of those that answer and do not lead.
fn best_successor(status: &ClusterStatus) -> Option<u64> {
    let able = status.members.iter().filter(|member| {
        Some(member.id) != status.leader
            && member.role == MemberRole::Voter
            && member.aim != MemberAim::Removed
            && member.state != MemberState::Unreachable
    });
    able.max_by_key(|member| (member.ready, member.applied)).map(|member| member.id)
}
