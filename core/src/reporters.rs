//! The reporters that the state knows: of each, which report was the last one that the log took.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{
    account::Report,
    identity::BootId,
    limits::{REPORTERS_MAX, REPORTERS_OF_TOKEN_MAX},
};

/// What is known of a reporter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnownReporter {
    /// Its life.
    pub boot: BootId,
    /// The number of its last report.
    pub number: u64,
    /// Whether that said that it is the last of this life.
    pub ended: bool,
    /// The sequence of its record.
    pub sequence: u64,
    /// Its lives before, the last one first: a report of one may still be on its way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<PastLife>,
}

/// A life of a reporter that another one has followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PastLife {
    /// Which.
    pub boot: BootId,
    /// The number of the last report that came of it.
    pub number: u64,
}

/// Lives of a reporter that are remembered beside the newest one.
const LIVES_BEFORE_MAX: usize = 2;

impl KnownReporter {
    /// What is known of a reporter of which this is the first report that came.
    pub fn new(report: &Report, sequence: u64) -> Self {
        let Report { boot, number, ends, .. } = *report;
        Self { boot, number, ended: ends, sequence, before: Vec::new() }
    }

    /// The number of the last report of a life; `None` for one that is not known.
    pub fn last_of(&self, boot: BootId) -> Option<u64> {
        if self.boot == boot {
            return Some(self.number);
        }
        self.before.iter().find(|life| life.boot == boot).map(|life| life.number)
    }

    /// What is known after a report that is newer than the last one of its life.
    #[must_use]
    pub fn with(&self, report: &Report, sequence: u64) -> Self {
        let Report { boot, number, ends, .. } = *report;
        if self.boot == boot {
            return Self { number, ended: ends, sequence, ..self.clone() };
        }
        let mut before = self.before.clone();
        if let Some(life) = before.iter_mut().find(|life| life.boot == boot) {
            // It was overtaken by the reporter's next life, which stays the newest.
            life.number = number;
            return Self { sequence, before, ..self.clone() };
        }
        before.insert(0, PastLife { boot: self.boot, number: self.number });
        before.truncate(LIVES_BEFORE_MAX);
        Self { before, ..Self::new(report, sequence) }
    }
}

/// The table of reporters, by name, and those that make room in the order in which they were heard last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reporters {
    by_name: OrdMap<Arc<str>, Arc<KnownReporter>>,
    /// By the sequence of their last record. Nodes are not in it: they are few, and must not be forgotten because many
    /// others report. Derived from `by_name`.
    by_sequence: OrdMap<u64, Arc<str>>,
    /// The same, of each token by itself. Derived from `by_name`.
    by_token: OrdMap<Arc<str>, OrdMap<u64, Arc<str>>>,
}

impl Reporters {
    pub fn get(&self, name: &str) -> Option<&Arc<KnownReporter>> {
        self.by_name.get(name)
    }

    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_name.keys()
    }

    pub fn insert(&mut self, name: Arc<str>, known: KnownReporter) {
        self.remove(&name);
        if let Some(token) = token_of(&name) {
            self.by_sequence.insert(known.sequence, name.clone());
            self.by_token.entry(token.into()).or_default().insert(known.sequence, name.clone());
        }
        self.by_name.insert(name, Arc::new(known));
    }

    /// Forgets the reporter that was silent longest, if there are too many: of the token of the one that was just heard, so
    /// that nobody who invents names makes others be forgotten; else of all.
    pub fn make_room(&mut self, heard: &str) -> Option<Arc<str>> {
        let of_token = token_of(heard).and_then(|token| self.by_token.get(token));
        let silent = match of_token.filter(|reporters| reporters.len() > REPORTERS_OF_TOKEN_MAX) {
            Some(reporters) => reporters.get_min(),
            None if self.by_sequence.len() > REPORTERS_MAX => self.by_sequence.get_min(),
            None => None,
        };
        let name = silent.map(|(_, name)| name.clone())?;
        self.remove(&name);
        Some(name)
    }

    fn remove(&mut self, name: &str) {
        let Some(known) = self.by_name.remove(name) else { return };
        let Some(token) = token_of(name) else { return };
        self.by_sequence.remove(&known.sequence);
        if let Some(reporters) = self.by_token.get_mut(token) {
            reporters.remove(&known.sequence);
            if reporters.is_empty() {
                self.by_token.remove(token);
            }
        }
    }
}

/// The token under which a reporter reports that is no node.
fn token_of(name: &str) -> Option<&str> {
    name.strip_prefix("client/")?.split('/').next()
}
