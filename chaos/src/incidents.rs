//! What happened to the nodes while clients recorded their history: faults, leaders, and which nodes lived. A file of its
//! own, in the time of the history.

use std::{
    collections::BTreeMap,
    fs, io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::journal::Journal;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// When, in the time of the history.
    pub at_ns: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// A fault is about to be done.
    FaultBegins {
        /// Its number in the schedule.
        fault: u64,
        /// Its kind, as the schedule names it.
        kind: String,
        /// The nodes that it is done to.
        nodes: Vec<u64>,
    },
    /// It was shown that the fault was there.
    TookEffect {
        /// Its number.
        fault: u64,
        /// What showed it.
        proof: String,
    },
    /// The fault was taken away.
    FaultEnds {
        /// Its number.
        fault: u64,
    },
    /// A node leads, or nobody does.
    Leader {
        /// Who; `None`: nobody that was asked knows a leader.
        node: Option<u64>,
        /// In which term.
        term: u64,
    },
    /// A node serves reads from now on: it said that it was ready.
    Serves {
        /// Which.
        node: u64,
    },
    /// A node is not expected to serve from now on. Noted before it is killed, paused or robbed of its disk.
    Falls {
        /// Which.
        node: u64,
    },
}

/// Writes incidents down while they happen.
#[derive(Debug)]
pub struct Log {
    journal: Journal,
    now: Mutex<Now>,
}

/// What is the case, as far as was noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Who leads; `None`: nobody that was asked says so.
    pub leader: Option<u64>,
    /// How often a node came to lead.
    pub reigns: u64,
    /// The faults that have begun and are not over, by their numbers.
    pub faults: BTreeMap<u64, String>,
    /// How many faults have begun.
    pub begun: u64,
    /// How many took effect.
    pub took_effect: u64,
}

impl Now {
    fn learn(&mut self, what: &What) {
        match what {
            What::FaultBegins { fault, kind, .. } => {
                self.begun += 1;
                self.faults.insert(*fault, kind.clone());
            }
            What::TookEffect { .. } => self.took_effect += 1,
            What::FaultEnds { fault } => drop(self.faults.remove(fault)),
            What::Leader { node, .. } => {
                self.leader = *node;
                self.reigns += u64::from(node.is_some());
            }
            What::Serves { .. } | What::Falls { .. } => {}
        }
    }
}

impl Log {
    /// Begins a file.
    ///
    /// # Errors
    /// It is there already, or can't be written.
    pub fn create(path: &Path) -> io::Result<Self> {
        Journal::create(path).map(|journal| Self { journal, now: Mutex::default() })
    }

    /// What is the case.
    pub fn now(&self) -> Now {
        self.locked().clone()
    }

    fn locked(&self) -> MutexGuard<'_, Now> {
        // Whatever panics while it holds this leaves counts, which are whole at any time.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what happened.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn note(&self, at_ns: u64, what: What) -> io::Result<()> {
        self.locked().learn(&what);
        self.journal.add(&Incident { at_ns, what })
    }
}

/// Reads such a file. A last line that is not whole is left out.
///
/// # Errors
/// It can't be read, or a line is damaged.
pub fn read(path: &Path) -> io::Result<Vec<Incident>> {
    let text = fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |(number, line)| {
        serde_json::from_str(line).map_err(|why| {
            io::Error::other(format!("line {} of {} is damaged: {why}", number + 1, path.display()))
        })
    };
    whole.lines().enumerate().map(parse).collect()
}

/// When which nodes served.
#[derive(Clone, Debug, Default)]
pub struct Lives(BTreeMap<u64, Vec<(u64, u64)>>);

impl Lives {
    /// From what happened. A node of which nothing is said is not known to serve.
    pub fn of(incidents: &[Incident]) -> Self {
        let mut lives: BTreeMap<u64, Vec<(u64, u64)>> = BTreeMap::new();
        let mut ordered: Vec<&Incident> = incidents.iter().collect();
        ordered.sort_by_key(|incident| incident.at_ns);
        for Incident { at_ns, what } in ordered {
            match what {
                What::Serves { node } => {
                    let lives = lives.entry(*node).or_default();
                    if lives.last().is_none_or(|(_, to)| *to != u64::MAX) {
                        lives.push((*at_ns, u64::MAX));
                    }
                }
                What::Falls { node } => {
                    if let Some(last) = lives.get_mut(node).and_then(|lives| lives.last_mut()) {
                        last.1 = last.1.min(*at_ns);
                    }
                }
                _ => {}
            }
        }
        Self(lives)
    }

    /// Whether a node served all through this time.
    pub fn served(&self, node: u64, from_ns: u64, to_ns: u64) -> bool {
        let lives = self.0.get(&node).map_or(&[][..], Vec::as_slice);
        lives.iter().any(|(from, to)| *from <= from_ns && to_ns < *to)
    }

    /// The nodes that served at some time.
    pub fn nodes(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_case_is_what_was_noted_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log::create(&folder.path().join("incidents.jsonl")).expect("a file");
        let begins = |fault, kind: &str| What::FaultBegins { fault, kind: kind.to_owned(), nodes: vec![1] };
        for what in [
            What::Leader { node: Some(2), term: 1 },
            begins(1, "kill"),
            begins(2, "pause"),
            What::TookEffect { fault: 1, proof: "it is gone".to_owned() },
            What::Leader { node: None, term: 1 },
            What::FaultEnds { fault: 1 },
        ] {
            log.note(0, what).expect("written");
        }
        let faults = BTreeMap::from([(2, "pause".to_owned())]);
        assert_eq!(log.now(), Now { leader: None, reigns: 1, faults, begun: 2, took_effect: 1 });
    }

    #[test]
    fn a_node_lives_from_when_it_serves_until_it_falls() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("incidents.jsonl");
        let log = Log::create(&path).expect("a file");
        let noted = [
            (10, What::Serves { node: 1 }),
            (12, What::Serves { node: 1 }),
            (20, What::Falls { node: 1 }),
            (21, What::Falls { node: 1 }),
            (40, What::Serves { node: 1 }),
            (50, What::Leader { node: None, term: 3 }),
        ];
        for (at, what) in noted.clone() {
            log.note(at, what).expect("written");
        }
        let read = read(&path).expect("all are good");
        assert_eq!(read, noted.map(|(at_ns, what)| Incident { at_ns, what }));
        let lives = Lives::of(&read);
        for (from, to, served) in [
            (10, 19, true),
            (9, 19, false),
            (15, 20, false),
            (15, 45, false),
            (21, 30, false),
            (40, 90, true),
        ] {
            assert_eq!(lives.served(1, from, to), served, "{from} to {to}");
        }
        assert!(!lives.served(2, 10, 11));
        assert_eq!(lives.nodes().collect::<Vec<_>>(), [1]);
    }
}
