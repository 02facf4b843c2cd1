//! One environment of a project, compiled.

use std::{collections::BTreeSet, sync::Arc};

use imbl::OrdMap;

use super::{
    attribute::AttributeName,
    changes::Changes,
    evaluation::evaluate,
    flag::CompiledFlag,
    patterns::Patterns,
    segment::CompiledSegment,
    shared::Shared,
    table::Table,
    trace::{Trace, Unwatched},
};
use crate::{
    configuration::Prerequisite,
    context::{EvaluationContext, TARGETING_KEY},
    criticality::critical_flags,
    key::{EnvironmentKey, FlagKey, SegmentKey},
    project::{Flag, Project},
    resolution::{EvaluationError, Resolution},
};

/// One environment of a project at one revision: what evaluation reads. A clone shares everything.
#[derive(Clone, Debug)]
pub struct CompiledEnvironment {
    key: EnvironmentKey,
    /// The live flags.
    pub(super) flags: Table<FlagKey, CompiledFlag>,
    pub(super) segments: Table<SegmentKey, CompiledSegment>,
    /// The flags that are effectively critical.
    critical: Arc<BTreeSet<FlagKey>>,
    /// The greatest ages of the flags that state one, in milliseconds.
    max_ages: OrdMap<FlagKey, u64>,
    pub(super) targeting_key: AttributeName,
}

impl CompiledEnvironment {
    /// An environment of which nothing is compiled yet.
    pub(super) fn new(key: &EnvironmentKey) -> Self {
        Self {
            key: key.clone(),
            flags: Table::new(),
            segments: Table::new(),
            critical: Arc::default(),
            max_ages: OrdMap::new(),
            targeting_key: AttributeName::new(TARGETING_KEY),
        }
    }

    /// Compiles a whole environment.
    #[must_use]
    pub fn compile(project: &Project, environment: &EnvironmentKey) -> Self {
        Self::new(environment).changed(&Changes::all(project), &mut Shared::default())
    }

    /// The environment after a change of its project, `before` being the one that this was compiled of: compiles what
    /// is different, and shares the rest. [`CompiledCatalog`](super::CompiledCatalog) shares more: what several
    /// environments have in common.
    #[must_use]
    pub fn updated(&self, before: &Project, after: &Project) -> Self {
        self.changed(&Changes::between(before, after), &mut Shared::default())
    }

    /// The environment after a change.
    pub(super) fn changed(&self, changes: &Changes<'_>, shared: &mut Shared) -> Self {
        let mut compiled = self.clone();
        for change in &changes.segments {
            match change.new {
                Some(stored) => {
                    let known = self.segments.get(change.key.as_str());
                    let segment = CompiledSegment::new(stored, &self.key, known, shared);
                    compiled.segments.put(change.key, segment);
                }
                None => compiled.segments.remove(change.key),
            }
        }
        let mut depends_otherwise = false;
        for change in &changes.flags {
            depends_otherwise |= self.dependence(change.old) != self.dependence(change.new);
            let live = change.new.filter(|flag| flag.is_live());
            match live {
                Some(flag) => compiled.put_flag(flag, &mut shared.patterns),
                None => compiled.flags.remove(change.key),
            }
            match live.and_then(|flag| flag.definition.max_age_ms) {
                Some(max_age_ms) => _ = compiled.max_ages.insert(change.key.clone(), max_age_ms),
                None => _ = compiled.max_ages.remove(change.key),
            }
        }
        if depends_otherwise {
            compiled.find_critical(changes.after);
        }
        compiled
    }

    fn put_flag(&mut self, flag: &Arc<Flag>, patterns: &mut Patterns) {
        let key = &flag.definition.key;
        let known = self.flags.get(key);
        if !known.is_some_and(|known| known.is_good_for(flag, &self.key)) {
            let compiled = CompiledFlag::new(Arc::clone(flag), &self.key, known, patterns);
            self.flags.put(key, compiled);
        }
    }

    /// Works out which flags are effectively critical. That takes a walk over all of them where any is, which only a
    /// change of the marks or of the prerequisites needs.
    fn find_critical(&mut self, project: &Project) {
        let critical = critical_flags(project, &self.key);
        self.critical = Arc::new(critical.into_iter().cloned().collect());
    }

    /// All that a flag adds to which flags are critical: its mark, and what it depends on. One that is not live adds
    /// nothing, and neither does one that has neither, whoever depends on it.
    fn dependence<'a>(&self, flag: Option<&'a Arc<Flag>>) -> (bool, &'a [Prerequisite]) {
        let Some(flag) = flag.filter(|flag| flag.is_live()) else { return (false, &[]) };
        let configuration = flag.environments.get(&self.key);
        (flag.definition.critical, configuration.map_or(&[], |configuration| &configuration.prerequisites))
    }

    /// The environment's key.
    pub fn key(&self) -> &EnvironmentKey {
        &self.key
    }

    /// How many flags there are: the live ones.
    pub fn len(&self) -> usize {
        self.flags.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The flag, if it is live.
    pub fn flag(&self, key: &str) -> Option<&Arc<Flag>> {
        self.flags.get(key).map(CompiledFlag::flag)
    }

    /// What a flag is for a context.
    ///
    /// Allocates nothing, with three exceptions: a chain that meets more than sixteen other flags or segments remembers
    /// the further ones on the heap; a text of more than 256 bytes is lowered there where case is ignored; and a regular
    /// expression takes its working memory from a pool, which grows when more threads use it at once than ever before.
    ///
    /// # Errors
    /// [`EvaluationError::FlagNotFound`] when there is no such flag, or it is archived or deleted.
    #[inline]
    pub fn evaluate(
        &self,
        key: &str,
        context: &EvaluationContext,
    ) -> Result<Resolution<'_>, EvaluationError> {
        self.watch(key, context, &mut Unwatched)
    }

    /// The same, watched.
    #[inline]
    pub(super) fn watch<'a, T: Trace>(
        &'a self,
        key: &str,
        context: &EvaluationContext,
        trace: &mut T,
    ) -> Result<Resolution<'a>, EvaluationError> {
        let flag = self.flags.get(key).ok_or(EvaluationError::FlagNotFound)?;
        Ok(evaluate(self, flag, context, trace))
    }

    /// What is served of a flag when nobody can be sure: its safe variant. A flag that is critical only by what it
    /// depends on may have none: it then serves what it serves when it is off.
    ///
    /// # Errors
    /// [`EvaluationError::FlagNotFound`] as in [`Self::evaluate`].
    pub fn safe_resolution(&self, key: &str) -> Result<Resolution<'_>, EvaluationError> {
        self.flags.get(key).map(CompiledFlag::safe_resolution).ok_or(EvaluationError::FlagNotFound)
    }

    /// Whether a flag is critical here: marked so, or dependent on one that is, however far down.
    pub fn is_critical(&self, key: &str) -> bool {
        self.critical.contains(key)
    }

    /// The live flags that bound how old an answer may be, in key order, with their `max_age_ms`.
    pub fn max_ages(&self) -> &OrdMap<FlagKey, u64> {
        &self.max_ages
    }

    /// The flags that are effectively critical, in key order.
    pub fn critical(&self) -> &BTreeSet<FlagKey> {
        &self.critical
    }
}
