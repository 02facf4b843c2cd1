//! A write: one change of one flag or of two, tried on each node in turn under one `Idempotency-Key`.

use std::{sync::atomic::Ordering, time::Duration};

use flagraft_chaos::operation::{Did, Outcome};
use serde_json::json;

use super::{Actor, index};
use crate::{
    api::Api,
    campaign::stage::definition,
    catalog::{PROJECT, put},
};

/// How long a node may take to say what became of a write. Above its own deadline.
const ATTEMPT: Duration = Duration::from_secs(3);

/// Of how many acknowledged writes one is sent again, as by a client that the answer did not reach.
const REPEATED_ONE_IN: u64 = 8;

/// The reason that the audit log has for the write of a value: no other write has it.
pub fn reason(value: u64) -> String {
    format!("client {} writes its {}", value >> 32, value & 0xffff_ffff)
}

/// What came of one attempt.
enum Attempt {
    /// It was done, with this revision.
    Done(u64),
    /// This attempt did nothing, and never will.
    NotDone,
    /// Nobody knows whether it did, or will.
    Unknown,
}

impl Actor {
    /// Writes, first through this node. Noted as refused only if no attempt can have done anything.
    pub(super) async fn write(&mut self, first: u64, set: Vec<(String, u64)>) {
        let shared = &self.shared;
        let operations: Vec<_> =
            set.iter().map(|(flag, value)| put(&definition(flag, *value, &shared.profile))).collect();
        let value = set.first().map_or(0, |(_, value)| *value);
        let body = json!({"reason": reason(value), "operations": operations});
        let did = Did::Write { set };
        let recorder = &shared.recorder;
        let mut begun = recorder.begin(self.client.number(), first, None, did.clone()).expect("noted");
        let (mut outcome, mut revision) = (Outcome::Failed, None);
        let nodes = shared.writers.len() as u64;
        for node in (first..=nodes).chain(1..first) {
            begun = begun.through(node);
            match self.attempt(&shared.writers[index(node)], value, &body).await {
                Attempt::Done(at) => {
                    (outcome, revision) = (Outcome::Ok, Some(at));
                    shared.served(node).writes.fetch_add(1, Ordering::Relaxed);
                    shared.acknowledged.fetch_max(at, Ordering::Relaxed);
                    break;
                }
                Attempt::NotDone => {}
                Attempt::Unknown => outcome = Outcome::Unknown,
            }
        }
        recorder.end(begun, outcome, revision, did).expect("noted");
        self.seen = self.seen.max(revision.unwrap_or_default());
        if let Some(at) = revision.filter(|_| value.is_multiple_of(REPEATED_ONE_IN)) {
            self.repeat(first % nodes + 1, value, &body, at).await;
        }
    }

    /// Sends a write again that was done at this revision: that is what it has to be answered with, whoever is asked.
    async fn repeat(&self, node: u64, value: u64, body: &serde_json::Value, at: u64) {
        let again = self.attempt(&self.shared.writers[index(node)], value, body).await;
        if let Attempt::Done(revision) = again
            && revision != at
        {
            let reason = reason(value);
            let odd = format!("{reason:?} was done at revision {at}, and sent again at {revision}");
            self.shared.odd.lock().expect("no holder panics").push(odd);
        }
    }

    async fn attempt(&self, node: &Api, value: u64, body: &serde_json::Value) -> Attempt {
        let call = node.post(&format!("/api/v1/projects/{PROJECT}/changes"), body);
        let answer = match call.idempotent(&format!("write-{value}")).within(ATTEMPT).send().await {
            Ok(answer) => answer,
            // Nobody took it.
            Err(error) if error.is_connect() => return Attempt::NotDone,
            Err(_) => return Attempt::Unknown,
        };
        match (answer.status, answer.body["revision"].as_u64()) {
            (200 | 201, Some(revision)) => Attempt::Done(revision),
            (429 | 503, _) => Attempt::NotDone,
            (504, _) => Attempt::Unknown,
            _ => {
                self.shared.note_odd(&answer, "a good write was answered");
                Attempt::Unknown
            }
        }
    }
}
