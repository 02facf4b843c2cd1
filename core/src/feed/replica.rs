//! What a client holds: the definitions of one environment, kept up by changes, ready to be evaluated.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeSeq};
use serde_json::{Value, value::RawValue};

use super::{
    FORMAT,
    affected::affected,
    read::{self, Edit, FeedError, MembersEdit, Unread},
    wire::{FlagDocument, Progress, SegmentDocument},
};
use crate::{
    compiled::CompiledEnvironment,
    context::EvaluationContext,
    environment::ProjectSpec,
    key::{EnvironmentKey, ProjectKey},
    project::{Project, StoredSegment},
    resolution::Resolution,
};

/// One environment of a project as a client holds it. A clone shares everything.
///
/// It evaluates exactly as the node does that the documents came from. What it does not understand it does not guess at: a
/// flag with an unknown field, operator, method or type is *unsupported*, and so is every flag that depends on it.
#[derive(Clone, Debug)]
pub struct Replica {
    project: Project,
    compiled: CompiledEnvironment,
    revision: u64,
    environment_revision: u64,
    /// The flags that were not understood, by key.
    unread_flags: BTreeMap<Arc<str>, Unread>,
    /// The segments that were not understood, by key.
    unread_segments: BTreeMap<Arc<str>, Unread>,
    /// All flags that can't be evaluated for it: those, and those that depend on any of these.
    unsupported: Arc<BTreeMap<Arc<str>, Arc<str>>>,
}

/// Why a replica has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaError {
    /// There is no such flag, or it is archived or deleted.
    FlagNotFound,
    /// The flag, or something that it depends on, says what this version does not understand.
    Unsupported,
}

impl fmt::Display for ReplicaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FlagNotFound => "there is no such flag; check its key, and whether it is archived",
            Self::Unsupported => {
                "the flag uses what this version does not understand; upgrade, and until then ask a node"
            }
        })
    }
}

impl std::error::Error for ReplicaError {}

impl Replica {
    /// Takes in a snapshot.
    ///
    /// # Errors
    /// [`FeedError`] where the document is no snapshot, or one of a newer format.
    pub fn from_snapshot(text: &str) -> Result<Self, FeedError> {
        const PLACE: FeedError = FeedError::Malformed("a snapshot names its project and environment");
        let document: read::Snapshot<'_> = read::document(text)?;
        let key = ProjectKey::new(document.project).map_err(|_| PLACE)?;
        let environment = EnvironmentKey::new(document.environment).map_err(|_| PLACE)?;
        let spec = ProjectSpec { key, name: String::new(), description: String::new() };
        let project = Project::new(spec, document.revision);
        let mut replica = Self {
            compiled: CompiledEnvironment::compile(&project, &environment),
            project,
            revision: document.revision,
            environment_revision: document.environment_revision,
            unread_flags: BTreeMap::new(),
            unread_segments: BTreeMap::new(),
            unsupported: Arc::default(),
        };
        for raw in document.segments {
            replica.put_segment(raw)?;
        }
        for raw in document.flags {
            replica.put_flag(raw)?;
        }
        replica.compiled = CompiledEnvironment::compile(&replica.project, &environment);
        replica.find_unsupported();
        Ok(replica)
    }

    /// Takes in a change; says which flags may answer otherwise after it, in key order. On an error nothing is changed.
    ///
    /// # Errors
    /// [`FeedError`] where it does not follow what is held, or is not understood.
    pub fn apply(&mut self, text: &str) -> Result<Vec<String>, FeedError> {
        let document: read::Change<'_> = read::document(text)?;
        if document.previous != self.environment_revision || document.revision <= document.previous {
            return Err(FeedError::Gap { held: self.environment_revision, previous: document.previous });
        }
        let edits: Vec<Edit<'_>> =
            document.changes.iter().map(|raw| Edit::read(raw)).collect::<Result<_, _>>()?;
        let mut next = self.clone();
        let (mut flags, mut segments) = (Vec::new(), Vec::new());
        for edit in edits {
            match edit {
                Edit::Segment(raw) => segments.push(next.put_segment(raw)?),
                Edit::SegmentDeleted(key) => {
                    next.project.segments.remove(key.as_str());
                    next.unread_segments.remove(key.as_str());
                    segments.push(key);
                }
                Edit::Members(edit) => segments.push(next.edit_members(edit)?),
                Edit::Flag(raw) => flags.push(next.put_flag(raw)?),
                Edit::Deleted(key) => {
                    next.project.remove_flag(&key);
                    next.unread_flags.remove(key.as_str());
                    flags.push(key);
                }
            }
        }
        next.revision = document.revision;
        next.environment_revision = document.revision;
        next.compiled = self.compiled.updated(&self.project, &next.project);
        next.find_unsupported();
        // By what depended on it before, and by what does now.
        let changed = |replica: &Self| -> Vec<String> {
            let (flags, segments) = (flags.iter().map(String::as_str), segments.iter().map(String::as_str));
            let found = affected(&replica.project, replica.compiled.key(), flags, segments);
            found.into_iter().map(str::to_owned).collect()
        };
        let mut all = changed(self);
        all.extend(changed(&next));
        all.sort_unstable();
        all.dedup();
        *self = next;
        Ok(all)
    }

    /// Takes in how far the stream is.
    ///
    /// # Errors
    /// [`FeedError::Gap`] where the stream has seen a change that was not taken in.
    pub fn progress(&mut self, progress: &Progress) -> Result<(), FeedError> {
        if progress.environment_revision != self.environment_revision {
            let previous = progress.environment_revision;
            return Err(FeedError::Gap { held: self.environment_revision, previous });
        }
        self.revision = self.revision.max(progress.revision);
        Ok(())
    }

    /// What a flag is for a context. Allocates as [`CompiledEnvironment::evaluate`] does.
    ///
    /// # Errors
    /// [`ReplicaError`].
    #[inline]
    pub fn evaluate(&self, key: &str, context: &EvaluationContext) -> Result<Resolution<'_>, ReplicaError> {
        if !self.unsupported.is_empty() && self.unsupported.contains_key(key) {
            return Err(ReplicaError::Unsupported);
        }
        self.compiled.evaluate(key, context).map_err(|_| ReplicaError::FlagNotFound)
    }

    /// What evaluates. Of a flag that is unsupported it must not be asked.
    pub fn environment(&self) -> &CompiledEnvironment {
        &self.compiled
    }

    /// The project's key.
    pub fn project(&self) -> &ProjectKey {
        self.project.key()
    }

    /// The newest revision up to which nothing is missing here.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision that last touched what is held.
    pub fn environment_revision(&self) -> u64 {
        self.environment_revision
    }

    /// The flags that can't be evaluated here, in key order, each with the reason.
    pub fn unsupported(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.unsupported.iter().map(|(key, why)| (&**key, &**why))
    }

    /// The safe variant that a flag names, and its value; also of a flag that is unsupported.
    pub fn safe_variant(&self, key: &str) -> Option<(String, Value)> {
        if let Some(unread) = self.unread_flags.get(key) {
            return unread.safe_variant();
        }
        let flag = self.compiled.flag(key)?;
        let here = flag.environments.get(self.compiled.key()).and_then(|here| here.safe_variant.as_ref());
        let variant = here.or(flag.definition.safe_variant.as_ref())?;
        let value = flag.definition.variants.get(variant)?;
        Some((variant.to_string(), Value::clone(value)))
    }

    /// The flags that may answer otherwise than in an earlier replica of the same environment, in key order.
    pub fn changed_since(&self, before: &Self) -> Vec<String> {
        let flags = differing(&before.project.flags, &self.project.flags)
            .chain(differing_unread(&before.unread_flags, &self.unread_flags));
        let flags: Vec<&str> = flags.collect();
        let segments = differing(&before.project.segments, &self.project.segments)
            .chain(differing_unread(&before.unread_segments, &self.unread_segments));
        let segments: Vec<&str> = segments.collect();
        let changed = |replica: &Self| -> Vec<String> {
            let (flags, segments) = (flags.iter().copied(), segments.iter().copied());
            let found = affected(&replica.project, self.compiled.key(), flags, segments);
            found.into_iter().map(str::to_owned).collect()
        };
        let mut all = changed(before);
        all.extend(changed(self));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The snapshot that this replica could have been made from, to be kept. What was not understood is in it as it came.
    pub fn to_snapshot(&self) -> impl Serialize + '_ {
        #[derive(Serialize)]
        struct Document<'a> {
            format: u32,
            revision: u64,
            environment_revision: u64,
            project: &'a ProjectKey,
            environment: &'a EnvironmentKey,
            flags: Flags<'a>,
            segments: Segments<'a>,
        }
        Document {
            format: FORMAT,
            revision: self.revision,
            environment_revision: self.environment_revision,
            project: self.project.key(),
            environment: self.compiled.key(),
            flags: Flags(self),
            segments: Segments(self),
        }
    }

    fn put_flag(&mut self, raw: &RawValue) -> Result<String, FeedError> {
        let key = read::key(raw)?;
        match read::flag(raw, self.compiled.key()) {
            Ok(flag) => {
                self.unread_flags.remove(key.as_str());
                self.project.put_flag(Arc::new(flag));
            }
            Err(unread) => {
                self.project.remove_flag(&key);
                self.unread_flags.insert(key.as_str().into(), unread);
            }
        }
        Ok(key)
    }

    fn put_segment(&mut self, raw: &RawValue) -> Result<String, FeedError> {
        let key = read::key(raw)?;
        match read::segment(raw) {
            Ok(stored) => {
                self.unread_segments.remove(key.as_str());
                self.project.segments.insert(stored.segment.key().clone(), Arc::new(stored));
            }
            Err(unread) => {
                self.project.segments.remove(key.as_str());
                self.unread_segments.insert(key.as_str().into(), unread);
            }
        }
        Ok(key)
    }

    fn edit_members(&mut self, edit: MembersEdit) -> Result<String, FeedError> {
        let MembersEdit { segment: key, list, add, remove } = edit;
        let Some(stored) = self.project.segments.get(key.as_str()) else {
            // One that is not understood stays so, whoever is in it, until it comes as a whole.
            return match self.unread_segments.contains_key(key.as_str()) {
                true => Ok(key),
                false => Err(FeedError::Malformed("a change edits a segment that is not here")),
            };
        };
        let mut segment = stored.segment.clone();
        segment.remove_members(list, &remove);
        if segment.add_members(list, &add).is_err() {
            return Err(FeedError::Newer(format!("segment {key:?}, with more members or longer ones,")));
        }
        let stored = StoredSegment { segment, revision: 0 };
        self.project.segments.insert(stored.segment.key().clone(), Arc::new(stored));
        Ok(key)
    }

    /// Works out which flags can't be evaluated.
    fn find_unsupported(&mut self) {
        if self.unread_flags.is_empty() && self.unread_segments.is_empty() {
            self.unsupported = Arc::default();
            return;
        }
        let flags = self.unread_flags.keys().map(|key| &**key);
        let segments = self.unread_segments.keys().map(|key| &**key);
        let found = affected(&self.project, self.compiled.key(), flags, segments);
        let why = |key: &str| match self.unread_flags.get(key) {
            Some(unread) => Arc::clone(&unread.why),
            None => "it depends on a flag or a segment that is not understood".into(),
        };
        self.unsupported = Arc::new(found.into_iter().map(|key| (key.into(), why(key))).collect());
    }
}

/// The names of what is not the same in both.
fn differing<'a, K: Ord + Clone + AsRef<str>, T: PartialEq>(
    before: &'a imbl::OrdMap<K, Arc<T>>,
    after: &'a imbl::OrdMap<K, Arc<T>>,
) -> impl Iterator<Item = &'a str> {
    use imbl::ordmap::DiffItem;
    before.diff(after).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) | DiffItem::Update { new: (key, _), .. } => {
            key.as_ref()
        }
    })
}

fn differing_unread<'a>(
    before: &'a BTreeMap<Arc<str>, Unread>,
    after: &'a BTreeMap<Arc<str>, Unread>,
) -> impl Iterator<Item = &'a str> {
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let other = after.iter().filter(|(key, unread)| before.get(*key) != Some(*unread)).map(|(key, _)| key);
    gone.chain(other).map(|key| &**key)
}

struct Flags<'a>(&'a Replica);

impl Serialize for Flags<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for flag in self.0.project.flags.values() {
            list.serialize_element(&FlagDocument::new(flag, self.0.compiled.key()))?;
        }
        write_unread(&mut list, &self.0.unread_flags)?;
        list.end()
    }
}

struct Segments<'a>(&'a Replica);

impl Serialize for Segments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for stored in self.0.project.segments.values() {
            list.serialize_element(&SegmentDocument::new(stored, self.0.compiled.key()))?;
        }
        write_unread(&mut list, &self.0.unread_segments)?;
        list.end()
    }
}

fn write_unread<S: SerializeSeq>(list: &mut S, unread: &BTreeMap<Arc<str>, Unread>) -> Result<(), S::Error> {
    unread.values().try_for_each(|unread| list.serialize_element(&unread.raw.0))
}
