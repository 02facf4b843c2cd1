//! A read of one flag or of all, in each of the ways that an answer can be asked for.

use std::{sync::atomic::Ordering, time::Duration};

use flagraft_chaos::{
    operation::{Asked, Consistency, Did, Outcome},
    schedule::workload::Ask,
};
use serde_json::{Value, json};

use super::{Actor, Shared, index};
use crate::{
    api::{self, Answer},
    catalog::SAFE_COUNT,
};

/// How long a node may take to answer. Above every deadline of its own, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(4);

/// What an answer came to.
struct Seen {
    revision: u64,
    consistency: Consistency,
    age_ms: Option<u64>,
    saw: Vec<(String, Option<u64>)>,
}

impl Actor {
    /// Reads this flag, or all of them, through a node.
    pub(super) async fn read(&mut self, node: u64, flag: Option<String>, ask: Ask) {
        let shared = &self.shared;
        let anyone = json!({"targetingKey": "anyone"});
        let reader = &shared.readers[index(node)];
        let call = match &flag {
            Some(flag) => reader.evaluate(flag, &anyone),
            None => reader.evaluate_all(&anyone),
        };
        let is_critical =
            flag.as_ref().map_or(shared.profile.critical > 0, |f| shared.profile.is_critical(f));
        let (asked, call) = match ask {
            Ask::Nothing if is_critical => (Asked::Critical, call),
            Ask::Nothing => (Asked::Ordinary, call),
            Ask::Linearizable => (Asked::Linearizable, call.header("Flagraft-Consistency", "linearizable")),
            Ask::OwnRevision => {
                let token = format!("{}.{}", shared.history, self.seen);
                (Asked::MinRevision(self.seen), call.header("Flagraft-Min-Revision", token))
            }
            Ask::MaxAgeMs(age) => (Asked::MaxAgeMs(age), call.header("Flagraft-Max-Age-Ms", age.to_string())),
        };
        let nothing = Did::Read { asked, saw: Vec::new(), consistency: None, age_ms: None };
        let recorder = &shared.recorder;
        let begun = recorder.begin(self.client.number(), node, self.session(), nothing.clone());
        let begun = begun.expect("noted");
        let answer = call.within(PATIENCE).send().await;
        let noted = match answer.ok().and_then(|answer| shared.understood(flag.as_deref(), &answer)) {
            Some(Seen { revision, consistency, age_ms, saw }) => {
                if consistency == Consistency::Linearizable {
                    shared.served(node).confirmed.fetch_add(1, Ordering::Relaxed);
                }
                self.seen = self.seen.max(revision);
                let did = Did::Read { asked, saw, consistency: Some(consistency), age_ms };
                recorder.end(begun, Outcome::Ok, Some(revision), did)
            }
            None => recorder.end(begun, Outcome::Failed, None, nothing),
        };
        noted.expect("noted");
    }
}

impl Shared {
    /// `None`: a node said that it could not answer.
    fn understood(&self, flag: Option<&str>, answer: &Answer) -> Option<Seen> {
        let consistency = match answer.status {
            200 | 404 => match answer.consistency() {
                api::Consistency::Local => Consistency::Local,
                api::Consistency::Linearizable => Consistency::Linearizable,
                api::Consistency::SafeVariant => Consistency::SafeVariant,
            },
            503 => return None,
            _ => {
                self.note_odd(answer, "a good read was answered");
                return None;
            }
        };
        let values: Vec<(String, &Value)> = match flag {
            // 404: there is no such flag.
            Some(flag) => vec![(flag.to_owned(), answer.value())],
            None => {
                let of = |wanted: &str| {
                    let mut flags = answer.body["flags"].as_array().into_iter().flatten();
                    flags.find(|flag| flag["key"] == wanted).map_or(&Value::Null, |flag| &flag["value"])
                };
                self.profile.flags().map(|flag| (flag.clone(), of(&flag))).collect()
            }
        };
        let (critical, ordinary): (Vec<_>, Vec<_>) =
            values.into_iter().partition(|(flag, _)| self.profile.is_critical(flag));
        let is_safe = consistency == Consistency::SafeVariant;
        if consistency == Consistency::Local && !critical.is_empty() {
            self.note_odd(answer, "a critical flag was answered, unconfirmed");
        }
        if is_safe && critical.iter().any(|(_, value)| **value != SAFE_COUNT) {
            self.note_odd(answer, "what should be a safe variant is another one");
        }
        // What a safe variant stands for was not read.
        let read = if is_safe { Vec::new() } else { critical };
        let saw = read.into_iter().chain(ordinary).map(|(flag, value)| (flag, value.as_u64())).collect();
        Some(Seen { revision: answer.revision(), consistency, age_ms: answer.age_ms(), saw })
    }
}
