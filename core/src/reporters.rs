//! The reporters that the state knows: of each, which report was the last one that the log took.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{identity::BootId, limits::REPORTERS_MAX};

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
}

/// The table of reporters, by name, and those that make room in the order in which they were heard last.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reporters {
    by_name: OrdMap<Arc<str>, Arc<KnownReporter>>,
    /// By the sequence of their last record. Nodes are not in it: they are few, and must not be forgotten because many
    /// others report. Derived from `by_name`.
    by_sequence: OrdMap<u64, Arc<str>>,
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
        if is_forgotten_in_time(&name) {
            self.by_sequence.insert(known.sequence, name.clone());
        }
        self.by_name.insert(name, Arc::new(known));
    }

    /// Forgets the reporter that was silent longest, if there are too many.
    pub fn make_room(&mut self) -> Option<Arc<str>> {
        if self.by_sequence.len() <= REPORTERS_MAX {
            return None;
        }
        let (_, name) = self.by_sequence.get_min()?;
        let name = name.clone();
        self.remove(&name);
        Some(name)
    }

    fn remove(&mut self, name: &str) {
        if let Some(known) = self.by_name.remove(name)
            && is_forgotten_in_time(name)
        {
            self.by_sequence.remove(&known.sequence);
        }
    }
}

fn is_forgotten_in_time(name: &str) -> bool {
    name.starts_with("client/")
}
