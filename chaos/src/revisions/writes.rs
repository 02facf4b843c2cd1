//! The writes of a history, found by what they wrote.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use crate::{
    history::Header,
    operation::{Operation, Outcome},
};

/// The number of a flag.
pub(super) type Flag = u32;

#[derive(Debug)]
pub(super) struct Write {
    pub op: u64,
    pub start: u64,
    pub outcome: Outcome,
    /// Known if it was acknowledged, or if a stream told it.
    pub revision: Option<u64>,
    pub set: Vec<(Flag, u64)>,
}

/// All writes. The first is the beginning of the history: operation 0, which wrote what was there.
#[derive(Debug)]
pub(super) struct Writes {
    flags: HashMap<String, Flag>,
    names: Vec<String>,
    writes: Vec<Write>,
    by_value: HashMap<(Flag, u64), usize>,
    /// Those that have a revision, but the beginning.
    by_revision: BTreeMap<u64, usize>,
    /// Those whose revision another has too, and that other's operation.
    shared: Vec<(usize, u64)>,
}

impl Writes {
    pub fn new(header: &Header) -> Self {
        let beginning =
            Write { op: 0, start: 0, outcome: Outcome::Ok, revision: Some(header.revision), set: Vec::new() };
        let mut writes = Self {
            flags: HashMap::new(),
            names: Vec::new(),
            writes: vec![beginning],
            by_value: HashMap::new(),
            by_revision: BTreeMap::new(),
            shared: Vec::new(),
        };
        for (name, value) in &header.flags {
            let flag = writes.flag(name);
            writes.by_value.insert((flag, *value), 0);
            writes.writes[0].set.push((flag, *value));
        }
        writes
    }

    /// The number of a flag, which gets one if it has none.
    pub fn flag(&mut self, name: &str) -> Flag {
        if let Some(flag) = self.flags.get(name) {
            return *flag;
        }
        let flag = Flag::try_from(self.names.len()).expect("fewer flags than that");
        self.names.push(name.to_owned());
        self.flags.insert(name.to_owned(), flag);
        flag
    }

    pub fn name(&self, flag: Flag) -> &str {
        &self.names[flag as usize]
    }

    pub fn all_flags(&self) -> impl Iterator<Item = Flag> {
        self.flags.values().copied()
    }

    /// Adds a write. Gives a flag that was set to the same before, if there is one.
    pub fn add(&mut self, operation: &Operation, set: &[(String, u64)]) -> Option<(String, u64)> {
        let index = self.writes.len();
        let set: Vec<(Flag, u64)> = set.iter().map(|(name, value)| (self.flag(name), *value)).collect();
        let mut again = None;
        for (flag, value) in &set {
            match self.by_value.entry((*flag, *value)) {
                Entry::Vacant(place) => {
                    place.insert(index);
                }
                Entry::Occupied(_) => again = Some((self.name(*flag).to_owned(), *value)),
            }
        }
        let Operation { op, start_ns: start, outcome, .. } = *operation;
        self.writes.push(Write { op, start, outcome, revision: None, set });
        if let Some(revision) = operation.revision {
            self.tell(index, revision);
        }
        again
    }

    /// Notes the revision of a write that had none.
    pub fn tell(&mut self, index: usize, revision: u64) {
        self.writes[index].revision = Some(revision);
        match self.by_revision.get(&revision) {
            Some(other) => self.shared.push((index, self.writes[*other].op)),
            None => {
                self.by_revision.insert(revision, index);
            }
        }
    }

    /// Each write whose revision another write had before it, and the operation of that one.
    pub fn shared_revisions(&self) -> impl Iterator<Item = (&Write, u64)> {
        self.shared.iter().map(|(index, op)| (&self.writes[*index], *op))
    }

    pub fn index_of(&self, flag: Flag, value: u64) -> Option<usize> {
        self.by_value.get(&(flag, value)).copied()
    }

    pub fn get(&self, index: usize) -> &Write {
        &self.writes[index]
    }

    /// The write that gave a flag this value; that a flag is not there is of the beginning.
    pub fn of(&self, flag: Flag, value: Option<u64>) -> Option<&Write> {
        let index = value.map_or(Some(0), |value| self.index_of(flag, value))?;
        Some(&self.writes[index])
    }

    /// The writes whose revision is known, in that order, without the beginning.
    pub fn known(&self) -> impl Iterator<Item = &Write> {
        self.by_revision.values().map(|index| &self.writes[*index])
    }

    /// The first known write of a revision from this one on up to before that one.
    pub fn known_between(&self, from: u64, to: u64) -> Option<&Write> {
        let (_, index) = (from < to).then(|| self.by_revision.range(from..to).next())??;
        Some(&self.writes[*index])
    }

    /// Whether a revision from this one up to that one is of no known write.
    pub fn has_free(&self, from: u64, to: u64) -> bool {
        from <= to && (self.by_revision.range(from..=to).count() as u64) < to - from + 1
    }

    /// What was there at the beginning.
    pub fn beginning(&self) -> &Write {
        &self.writes[0]
    }
}
