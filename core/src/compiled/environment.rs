//! One environment of a project, compiled.

use std::{collections::BTreeSet, sync::Arc};

use imbl::ordmap::DiffItem;

use super::{
    attribute::AttributeName,
    evaluation::evaluate,
    flag::CompiledFlag,
    segment::CompiledSegment,
    table::Table,
    trace::{Trace, Unwatched},
};
use crate::{
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
    pub(super) targeting_key: AttributeName,
}

impl CompiledEnvironment {
    /// Compiles a whole environment.
    #[must_use]
    pub fn compile(project: &Project, environment: &EnvironmentKey) -> Self {
        let mut compiled = Self {
            key: environment.clone(),
            flags: Table::new(),
            segments: Table::new(),
            critical: Arc::default(),
            targeting_key: AttributeName::new(TARGETING_KEY),
        };
        for (key, stored) in &project.segments {
            compiled.segments.put(key, CompiledSegment::new(stored, environment));
        }
        for flag in project.flags.values() {
            compiled.put_flag(flag);
        }
        compiled.find_critical(project);
        compiled
    }

    /// The environment after a change of its project, `before` being the one that this was compiled of: compiles what
    /// is different, and shares the rest.
    #[must_use]
    pub fn updated(&self, before: &Project, after: &Project) -> Self {
        let mut compiled = self.clone();
        for item in before.segments.diff(&after.segments) {
            match item {
                DiffItem::Add(key, stored) | DiffItem::Update { new: (key, stored), .. } => {
                    compiled.segments.put(key, CompiledSegment::new(stored, &self.key));
                }
                DiffItem::Remove(key, _) => compiled.segments.remove(key),
            }
        }
        let mut depends_otherwise = false;
        for item in before.flags.diff(&after.flags) {
            match item {
                DiffItem::Add(_, flag) => {
                    depends_otherwise = true;
                    compiled.put_flag(flag);
                }
                DiffItem::Update { old: (_, old), new: (_, flag) } => {
                    depends_otherwise |= !self.depends_alike(old, flag);
                    compiled.put_flag(flag);
                }
                DiffItem::Remove(key, _) => {
                    depends_otherwise = true;
                    compiled.flags.remove(key);
                }
            }
        }
        if depends_otherwise {
            compiled.find_critical(after);
        }
        compiled
    }

    fn put_flag(&mut self, flag: &Arc<Flag>) {
        let key = &flag.definition.key;
        if !flag.is_live() {
            self.flags.remove(key);
            return;
        }
        let is_good = self.flags.get(key).is_some_and(|known| known.is_good_for(flag, &self.key));
        if !is_good {
            self.flags.put(key, CompiledFlag::new(Arc::clone(flag), &self.key));
        }
    }

    /// Works out which flags are effectively critical. That takes a walk over all of them where any is, which only a
    /// change of the marks or of the prerequisites needs.
    fn find_critical(&mut self, project: &Project) {
        let critical = critical_flags(project, &self.key);
        self.critical = Arc::new(critical.into_iter().cloned().collect());
    }

    /// Whether two revisions of a flag mean the same for which flags are critical.
    fn depends_alike(&self, one: &Flag, other: &Flag) -> bool {
        let prerequisites = |flag: &Flag| {
            flag.environments.get(&self.key).map(|spec| spec.prerequisites.clone()).unwrap_or_default()
        };
        one.is_live() == other.is_live()
            && one.definition.critical == other.definition.critical
            && prerequisites(one) == prerequisites(other)
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

    /// The flags that are effectively critical, in key order.
    pub fn critical(&self) -> &BTreeSet<FlagKey> {
        &self.critical
    }
}
