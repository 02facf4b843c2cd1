//! All environments of a project, compiled.

use std::{collections::BTreeMap, sync::Arc};

use super::{changes::Changes, environment::CompiledEnvironment, shared::Shared};
use crate::{key::EnvironmentKey, project::Project};

/// A project at one revision.
#[derive(Debug, Default)]
pub(super) struct CompiledProject {
    environments: BTreeMap<EnvironmentKey, Arc<CompiledEnvironment>>,
    shared: Shared,
}

impl CompiledProject {
    /// Compiles a whole project.
    pub fn compile(project: &Project) -> Self {
        Self::default().changed(&Changes::all(project))
    }

    /// The project after a change, `before` being the one that this was compiled of.
    pub fn updated(&self, before: &Project, after: &Project) -> Self {
        self.changed(&Changes::between(before, after))
    }

    fn changed(&self, changes: &Changes<'_>) -> Self {
        let mut shared = self.shared.after(changes);
        let environments = changes.after.environments.keys().map(|key| {
            let compiled = match self.environments.get(key) {
                Some(known) => known.changed(changes, &mut shared),
                None => CompiledEnvironment::new(key).changed(&Changes::all(changes.after), &mut shared),
            };
            (key.clone(), Arc::new(compiled))
        });
        let environments = environments.collect();
        shared.patterns.sweep();
        Self { environments, shared }
    }

    /// One of its environments.
    pub fn environment(&self, key: &str) -> Option<&Arc<CompiledEnvironment>> {
        self.environments.get(key)
    }
}
