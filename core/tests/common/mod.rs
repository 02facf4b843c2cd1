//! A catalog for tests, made the only way there is: by applying proposals.

use flagraft_core::{
    apply::apply,
    identity::LogPosition,
    proposal::{Actor, Body, Change, Proposal, RequestId},
    rejection::Rejection,
    reply::Outcome,
    state::State,
};
use serde_json::{Value, json};

/// The project that all tests use.
pub const PROJECT: &str = "demo";

/// A state that grows change by change.
#[derive(Clone)]
pub struct Catalog {
    /// What all changes so far came to.
    pub state: State,
    /// The audit log, where a test reads it.
    #[allow(dead_code)]
    pub records: Vec<Vec<u8>>,
    entries: u64,
}

impl Catalog {
    /// A founded cluster with the project and these environments.
    pub fn new(environments: &[&str]) -> Self {
        let mut catalog = Self { state: State::empty(), records: Vec::new(), entries: 0 };
        let bootstrap = json!({"op": "system.bootstrap", "cluster": "0".repeat(32), "history": "0".repeat(16), "cluster_version": 1, "members": {}});
        catalog.change(None, json!([bootstrap])).expect("founds the cluster");
        catalog.must(json!([{"op": "project.put", "project": {"key": PROJECT}}]));
        for environment in environments {
            catalog.must(json!([{"op": "environment.put", "environment": {"key": environment}}]));
        }
        catalog
    }

    /// Applies operations that must be accepted.
    pub fn must(&mut self, operations: Value) {
        let shown = operations.to_string();
        if let Err(rejection) = self.change(Some(PROJECT), operations) {
            panic!("{rejection:?} for {shown}");
        }
    }

    /// Applies operations as one change.
    pub fn change(&mut self, project: Option<&str>, operations: Value) -> Result<(), Rejection> {
        let change = json!({"project": project, "operations": operations, "reason": "test"});
        self.propose(serde_json::from_value(change).expect("a well-formed change"))
    }

    /// Applies a change.
    pub fn propose(&mut self, change: Change) -> Result<(), Rejection> {
        self.entries += 1;
        let proposal = Proposal {
            group: 1,
            request: RequestId { id: format!("r{}", self.entries), client_given: false },
            body: Body::Change(change),
            asks_sha256: None,
            signature: None,
            actor: Actor::system(1),
            caused_by: None,
            proposed_at_ms: 0,
            salt: [0; 16],
            node: 1,
        };
        let applied = apply(&self.state, &proposal, LogPosition { term: 1, index: self.entries });
        self.state = applied.state;
        self.records.extend(applied.record.map(|record| record.bytes));
        match applied.reply.outcome {
            Outcome::Accepted { .. } | Outcome::Unchanged { .. } => Ok(()),
            Outcome::Rejected { rejection, .. } | Outcome::Refused { rejection } => Err(rejection),
        }
    }
}
