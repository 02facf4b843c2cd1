//! For tests: a catalog made by `apply` itself, so that what an import makes is judged as a cluster would
//! judge it.

use flagraft_core::{
    apply::apply,
    identity::LogPosition,
    operation::Operation,
    proposal::{Actor, Body, Change, Proposal, RequestId},
    reply::Outcome,
    state::State,
};
use serde_json::{Value, json};

/// The project of all tests.
pub const PROJECT: &str = "shop";
/// Its environment.
pub const ENVIRONMENT: &str = "production";

/// A catalog with the project and environment, and after these operations.
pub fn catalog(operations: Vec<Value>) -> State {
    let id = "00000000000000000000000000000001";
    let founding = json!({
        "op": "system.bootstrap", "cluster": id, "history": "0000000000000001",
        "cluster_version": 1,
        "members": {"1": {"uid": id, "peer_address": "127.0.0.1:1", "voter": true}},
    });
    let mut state = change(&State::empty(), None, vec![founding]).expect("founded");
    let tenancy = vec![
        json!({"op": "project.put", "project": {"key": PROJECT}}),
        json!({"op": "environment.put", "environment": {"key": ENVIRONMENT}}),
    ];
    state = change(&state, Some(PROJECT), tenancy).expect("tenancy");
    match operations.is_empty() {
        true => state,
        false => change(&state, Some(PROJECT), operations).expect("accepted"),
    }
}

/// The state after a change by the cluster itself, or why it was rejected.
fn change(state: &State, project: Option<&str>, operations: Vec<Value>) -> Result<State, String> {
    changed(state, project, operations, None)
}

/// The same, with a ticket.
pub fn change_with_ticket(
    state: &State,
    project: &str,
    operations: Vec<Value>,
    ticket: &str,
) -> Result<State, String> {
    changed(state, Some(project), operations, Some(ticket.to_owned()))
}

fn changed(
    state: &State,
    project: Option<&str>,
    operations: Vec<Value>,
    ticket: Option<String>,
) -> Result<State, String> {
    let operations = operations.into_iter().map(Operation::from_value).collect::<Result<Vec<_>, _>>();
    let change = Change {
        project: project.map(|p| p.parse().expect("a project key")),
        operations: operations.map_err(|invalid| invalid.to_string())?,
        reason: "test".to_owned(),
        ticket,
        expect_revision: None,
    };
    let index = state.sequence() + 1;
    let proposal = Proposal {
        group: 1,
        request: RequestId { id: format!("test-{index}"), client_given: false },
        body: Body::Change(change),
        asks_sha256: None,
        signature: None,
        actor: Actor::system(1),
        caused_by: None,
        proposed_at_ms: 1,
        salt: [0; 16],
        node: 1,
    };
    let applied = apply(state, &proposal, LogPosition { term: 1, index });
    match applied.reply.outcome {
        Outcome::Accepted { .. } | Outcome::Unchanged { .. } => Ok(applied.state),
        other => Err(format!("{other:?}")),
    }
}
