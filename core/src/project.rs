//! A project at one revision: its environments, flags and segments as the catalog keeps them.

use std::{collections::BTreeMap, sync::Arc};

use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::{
    canonical::Canonical,
    environment::{EnvironmentSpec, ProjectSpec},
    flag::{FlagDefinition, FlagEnvironment, FlagEnvironmentSpec},
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, ProjectKey, SegmentKey},
    segment::Segment,
};

/// A project and all that is in it. Cheap to clone: the maps are persistent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The project as it was stated.
    pub spec: ProjectSpec,
    /// The revision that last wrote it.
    pub revision: u64,
    /// Its environments.
    pub environments: OrdMap<EnvironmentKey, Arc<StoredEnvironment>>,
    /// Its flags, archived and deleted ones included.
    pub flags: OrdMap<FlagKey, Arc<Flag>>,
    /// Its segments.
    pub segments: OrdMap<SegmentKey, Arc<StoredSegment>>,
    /// The live flags that are marked critical. Derived from `flags`.
    pub(crate) critical: OrdSet<FlagKey>,
    /// How many flags are live. Derived from `flags`.
    pub(crate) live_flags: usize,
}

/// An environment in the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredEnvironment {
    /// The environment as it was stated.
    pub spec: EnvironmentSpec,
    /// The revision that last wrote it.
    pub revision: u64,
    /// The revision that last touched anything that is evaluated in it: its part of every ETag.
    pub touched_revision: u64,
}

/// A segment in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSegment {
    /// The segment.
    pub segment: Segment,
    /// The revision that last wrote it.
    pub revision: u64,
}

/// A flag in the catalog: its definition, its configuration in each environment, and what the system knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredFlag")]
pub struct Flag {
    /// What it is, the same in every environment.
    pub definition: FlagDefinition,
    /// How it is served, by environment. An environment without an entry was never configured.
    pub environments: BTreeMap<EnvironmentKey, FlagEnvironment>,
    /// What the system knows of it.
    pub system: FlagSystem,
}

/// A flag as it is stored, before its configurations are checked against its definition again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFlag {
    definition: FlagDefinition,
    environments: BTreeMap<EnvironmentKey, FlagEnvironmentSpec>,
    system: FlagSystem,
}

impl TryFrom<StoredFlag> for Flag {
    type Error = Invalid;

    fn try_from(stored: StoredFlag) -> Result<Self, Invalid> {
        let StoredFlag { definition, environments, system } = stored;
        let checked = environments
            .into_iter()
            .map(|(environment, spec)| Ok((environment, FlagEnvironment::new(spec, &definition)?)));
        Ok(Self { environments: checked.collect::<Result<_, Invalid>>()?, definition, system })
    }
}

/// What the system knows of a flag: given on reads, ignored on writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlagSystem {
    /// The revision that last wrote its definition.
    pub revision: u64,
    /// The revision that last changed what evaluation sees of the definition, or retired or revived the flag.
    pub evaluated_revision: u64,
    /// The revision that last wrote its configuration, by environment; for an environment that was deleted, the
    /// revision that did.
    pub environments: BTreeMap<EnvironmentKey, u64>,
    /// Who made it, and when.
    pub created: Stamp,
    /// Who archived it, and when, while it is archived.
    pub archived: Option<Stamp>,
    /// Who deleted it, and when, while it is deleted. Its key comes back only by `flag.restore`.
    pub deleted: Option<Stamp>,
}

/// Who did something, at which revision and time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// The revision that did it.
    pub revision: u64,
    /// When, in milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// The id of who did it.
    pub by: String,
}

impl Flag {
    /// Whether it is neither archived nor deleted: only then is it evaluated.
    pub fn is_live(&self) -> bool {
        self.system.archived.is_none() && self.system.deleted.is_none()
    }

    /// The revision that last wrote any part of it: its ETag.
    pub fn revision(&self) -> u64 {
        self.system.environments.values().copied().fold(self.system.revision, u64::max)
    }

    /// The revision that last changed what the flag itself answers in the environment: the `version` of its answers.
    pub fn evaluated_revision(&self, environment: &EnvironmentKey) -> u64 {
        let configured = self.system.environments.get(environment).copied().unwrap_or(0);
        self.system.evaluated_revision.max(configured)
    }

    /// The size of all that a person stated of it: see [`crate::limits::FLAG_BYTES_MAX`].
    pub fn bytes(&self) -> usize {
        let configurations = self.environments.values().map(FlagEnvironment::bytes);
        configurations.fold(self.definition.bytes(), usize::saturating_add)
    }

    /// The object a person reads and writes: the definition with `environments` and `system` in it.
    pub fn to_document(&self) -> serde_json::Value {
        let mut document = serde_json::to_value(&self.definition).unwrap_or_default();
        if let Some(object) = document.as_object_mut() {
            object.insert(
                "environments".to_owned(),
                serde_json::to_value(&self.environments).unwrap_or_default(),
            );
            object.insert("system".to_owned(), serde_json::to_value(&self.system).unwrap_or_default());
        }
        document
    }

    /// The text of [`Flag::to_document`], with the configuration in these environments only.
    pub(crate) fn to_canonical(&self, is_named: impl Fn(&EnvironmentKey) -> bool) -> Canonical {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(flatten)]
            definition: &'a FlagDefinition,
            environments: BTreeMap<&'a EnvironmentKey, &'a FlagEnvironment>,
            system: &'a FlagSystem,
        }
        let Self { definition, environments, system } = self;
        let environments = environments.iter().filter(|(environment, _)| is_named(environment)).collect();
        Canonical::of(&Document { definition, environments, system }).unwrap_or_else(|_| Canonical::null())
    }
}

impl Project {
    pub(crate) fn new(spec: ProjectSpec, revision: u64) -> Self {
        Self {
            spec,
            revision,
            environments: OrdMap::new(),
            flags: OrdMap::new(),
            segments: OrdMap::new(),
            critical: OrdSet::new(),
            live_flags: 0,
        }
    }

    /// The project's key.
    pub fn key(&self) -> &ProjectKey {
        &self.spec.key
    }

    /// The flag, if it is live.
    pub fn live_flag(&self, key: &str) -> Option<&Arc<Flag>> {
        self.flags.get(key).filter(|flag| flag.is_live())
    }

    /// Puts a flag, and keeps what is derived from all flags right.
    pub(crate) fn put_flag(&mut self, flag: Arc<Flag>) {
        let key = flag.definition.key.clone();
        if flag.is_live() && flag.definition.critical {
            self.critical.insert(key.clone());
        } else {
            self.critical.remove(&key);
        }
        let lives = flag.is_live();
        let lived = self.flags.insert(key, flag).is_some_and(|old| old.is_live());
        self.live_flags =
            self.live_flags.saturating_add(usize::from(lives)).saturating_sub(usize::from(lived));
    }

    /// Takes a flag out as if it had never been, and keeps what is derived from all flags right. Only for a copy: in the
    /// catalog a flag that goes stays, marked as deleted.
    pub(crate) fn remove_flag(&mut self, key: &str) {
        self.critical.remove(key);
        if self.flags.remove(key).is_some_and(|old| old.is_live()) {
            self.live_flags = self.live_flags.saturating_sub(1);
        }
    }
}
