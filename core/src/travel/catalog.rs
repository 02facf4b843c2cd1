//! The catalog at a revision, and the way from one to the next.

use serde::{Deserialize, Serialize};

use super::{
    error::NotReplayed,
    past::{Past, PastOperation, unreadable},
};
use crate::{
    apply::{Done, perform_again},
    identity::History,
    operation::Operation,
    project::Project,
    record::RecordOutcome,
    rows::{CorruptRow, Loader},
    segment::MemberList,
    state::{Meta, State},
};

/// Members of segments that are worth one flag where it is weighed how much a catalog takes to be read or written.
const MEMBERS_PER_FLAG: usize = 32;

/// The key of the row that says which catalog the others are.
const HEAD_KEY: &[u8] = &[0x02];

/// The projects, environments, flags and segments at one revision, and where in the audit log they stand. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// Nothing is in it but the projects, the revision and the cluster version.
    state: State,
    history: Option<History>,
    next_sequence: u64,
}

/// What a catalog is beside its rows.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    history: Option<History>,
    revision: u64,
    next_sequence: u64,
    cluster_version: u32,
}

impl Catalog {
    /// The catalog before the first record.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The catalog of a state.
    pub fn of(state: &State) -> Self {
        let meta =
            Meta { cluster_version: state.cluster_version(), revision: state.revision(), ..Meta::default() };
        Self {
            state: State { meta, projects: state.projects.clone(), ..State::default() },
            history: state.history(),
            next_sequence: state.sequence(),
        }
    }

    /// The same of a state right after the record at a sequence, which made its revision, or later: records that came
    /// between changed nothing, and are taken in once more.
    #[must_use]
    pub fn right_after(state: &State, sequence: u64) -> Self {
        Self { next_sequence: sequence.saturating_add(1), ..Self::of(state) }
    }

    /// Its revision.
    pub fn revision(&self) -> u64 {
        self.state.revision()
    }

    /// The history that its newest record belongs to; `None` before the first.
    pub fn history(&self) -> Option<History> {
        self.history
    }

    /// The record that it goes on with.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// The projects, in key order.
    pub fn projects(&self) -> impl Iterator<Item = &Project> {
        self.state.projects().map(AsRef::as_ref)
    }

    /// The project.
    pub fn project(&self, key: &str) -> Option<&Project> {
        self.state.project(key).map(AsRef::as_ref)
    }

    /// Takes in the next record, or what stands for one that was removed.
    ///
    /// # Errors
    /// When it can't be taken in: the catalog is what it was.
    pub fn step(&mut self, row: &[u8]) -> Result<(), NotReplayed> {
        let sequence = self.next_sequence;
        if let Some(past) = Past::read(sequence, row)? {
            self.take(sequence, past)?;
        }
        // Whether a record that is gone was of a change shows by where the next one goes on.
        self.next_sequence = sequence.saturating_add(1);
        Ok(())
    }

    fn take(&mut self, sequence: u64, past: Past<'_>) -> Result<(), NotReplayed> {
        let (revision, before, after) = (self.revision(), past.revision_before, past.revision_after);
        if before > revision {
            return Err(NotReplayed::Removed { after: revision, before });
        }
        let is_change = past.outcome == RecordOutcome::Accepted;
        let expected = if is_change { before.saturating_add(1) } else { before };
        if before != revision || after != expected {
            return Err(NotReplayed::Contradicts { sequence });
        }
        if is_change {
            let Replayed { operations, cluster_version } = Replayed::of(sequence, &past.operations)?;
            let done = Done {
                project: past.project,
                operations: &operations,
                author: past.actor.id.into_owned(),
                at_ms: past.time_ms,
            };
            self.state = perform_again(&self.state, done)
                .map_err(|rejection| NotReplayed::Rejected { sequence, rejection })?;
            if let Some(version) = cluster_version {
                self.state.meta.cluster_version = version;
            }
        }
        self.history = Some(past.history);
        Ok(())
    }

    /// How many flags' worth of work it is to read or write the catalog.
    pub fn weight(&self) -> usize {
        self.projects().fold(0, |weight, project| {
            let lists = project.segments.values().flat_map(|stored| {
                [MemberList::Included, MemberList::Excluded].map(|list| stored.segment.members(list).len())
            });
            weight
                .saturating_add(project.environments.len())
                .saturating_add(project.flags.len())
                .saturating_add(project.segments.len())
                .saturating_add(lists.fold(0, usize::saturating_add) / MEMBERS_PER_FLAG)
        })
    }

    /// Every row of it, the same for the same catalog on every node: first which catalog it is, then the rows of the
    /// projects as the state has them.
    pub fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
        let head = Head {
            history: self.history,
            revision: self.revision(),
            next_sequence: self.next_sequence,
            cluster_version: self.state.cluster_version(),
        };
        // It is made of numbers and a text: nothing in it can fail to serialize.
        let head = serde_json::to_vec(&head).unwrap_or_default();
        std::iter::once((HEAD_KEY.to_vec(), head)).chain(self.state.catalog_rows())
    }
}

/// What of a change's operations is performed once more.
#[derive(Default)]
struct Replayed {
    operations: Vec<Operation>,
    /// The cluster version that the change brought.
    cluster_version: Option<u32>,
}

impl Replayed {
    fn of(sequence: u64, recorded: &[PastOperation<'_>]) -> Result<Self, NotReplayed> {
        #[derive(Deserialize)]
        struct Op<'a> {
            #[serde(borrow)]
            op: std::borrow::Cow<'a, str>,
        }
        let mut replayed = Self::default();
        for PastOperation { operation } in recorded {
            let text = operation.get();
            let Op { op } = serde_json::from_str(text).map_err(unreadable(sequence))?;
            let Some(subject) = Subject::of(&op) else {
                let why = format!("there is no operation {op:?}");
                return Err(NotReplayed::Unreadable { sequence, why });
            };
            // What names a secret is not whole in the record, so it is not read.
            if subject == Subject::Others {
                continue;
            }
            match Operation::from_text(text).map_err(unreadable(sequence))? {
                Operation::SystemBootstrap(fields) => {
                    replayed.cluster_version = Some(fields.cluster_version.number());
                }
                Operation::SystemClusterVersion(fields) => {
                    replayed.cluster_version = Some(fields.version.number());
                }
                operation => replayed.operations.push(operation),
            }
        }
        Ok(replayed)
    }
}

/// What an operation is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    /// The catalog.
    Catalog,
    /// The cluster version.
    ClusterVersion,
    /// What is not brought back: tokens, keys, members, what the log keeps, and whose history it is, which every record says.
    Others,
}

impl Subject {
    /// By an operation's name; `None` for one that there is not.
    fn of(op: &str) -> Option<Self> {
        if !Operation::NAMES.contains(&op) {
            return None;
        }
        if matches!(op, "system.bootstrap" | "system.cluster_version") {
            return Some(Self::ClusterVersion);
        }
        let (kind, _) = op.split_once('.')?;
        match kind {
            "project" | "environment" | "flag" | "rule" | "rollout" | "default" | "targets" | "segment" => {
                Some(Self::Catalog)
            }
            "token" | "signing_key" | "system" | "audit" => Some(Self::Others),
            _ => None,
        }
    }
}

/// Reads a catalog back from [`Catalog::rows`], row by row.
#[derive(Default)]
pub struct CatalogLoader {
    rows: Option<(Head, Loader)>,
}

impl CatalogLoader {
    /// Takes the next row.
    ///
    /// # Errors
    /// When it is not as it must be, or not where it must be.
    pub fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), CorruptRow> {
        let corrupt = || CorruptRow { key: key.to_vec() };
        match &mut self.rows {
            Some((_, loader)) => loader.row(key, value),
            None if key == HEAD_KEY => {
                let head: Head = serde_json::from_slice(value).map_err(|_| corrupt())?;
                let meta = Meta {
                    cluster_version: head.cluster_version,
                    revision: head.revision,
                    ..Meta::default()
                };
                self.rows = Some((head, Loader::onto(State { meta, ..State::default() })));
                Ok(())
            }
            None => Err(corrupt()),
        }
    }

    /// The catalog of all rows.
    ///
    /// # Errors
    /// When there were none, or some that no catalog has.
    pub fn finish(self) -> Result<Catalog, CorruptRow> {
        let (head, loader) = self.rows.ok_or_else(|| CorruptRow { key: HEAD_KEY.to_vec() })?;
        let catalog =
            Catalog { state: loader.finish(), history: head.history, next_sequence: head.next_sequence };
        // A row of a token or of the numbers is one that a state takes, and a catalog has none.
        let own = State {
            meta: Meta { cluster_version: head.cluster_version, revision: head.revision, ..Meta::default() },
            projects: catalog.state.projects.clone(),
            ..State::default()
        };
        if catalog.state == own { Ok(catalog) } else { Err(CorruptRow { key: HEAD_KEY.to_vec() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operation that is new must be told apart here, or what it did would be passed over.
    #[test]
    fn every_operation_has_a_subject() {
        for name in Operation::NAMES {
            assert!(Subject::of(name).is_some(), "{name}");
        }
        let of_catalog = Operation::NAMES.iter().filter(|name| Subject::of(name) == Some(Subject::Catalog));
        assert_eq!(of_catalog.count(), 22);
        assert_eq!(Subject::of("flag.fly"), None);
    }
}
