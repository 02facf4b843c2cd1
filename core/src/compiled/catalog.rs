//! All environments of all projects, compiled.

use std::sync::Arc;

use imbl::OrdMap;

use super::{environment::CompiledEnvironment, project::CompiledProject};
use crate::{key::ProjectKey, state::State};

/// The compiled form of a state: every environment of every project. A clone shares everything.
#[derive(Clone, Debug, Default)]
pub struct CompiledCatalog {
    projects: OrdMap<ProjectKey, Arc<CompiledProject>>,
}

impl CompiledCatalog {
    /// Compiles a whole state.
    #[must_use]
    pub fn compile(state: &State) -> Self {
        Self::default().updated(&State::empty(), state)
    }

    /// The catalog after a change, `before` being the state that this was compiled of: compiles what is different, and
    /// shares the rest.
    #[must_use]
    pub fn updated(&self, before: &State, after: &State) -> Self {
        let mut compiled = self.clone();
        for project in before.projects().filter(|project| after.project(project.key()).is_none()) {
            compiled.projects.remove(project.key());
        }
        for project in after.projects() {
            let old = before.project(project.key());
            if old.is_some_and(|old| Arc::ptr_eq(old, project)) {
                continue;
            }
            let next = match (self.projects.get(project.key()), old) {
                (Some(known), Some(old)) => known.updated(old, project),
                _ => CompiledProject::compile(project),
            };
            compiled.projects.insert(project.key().clone(), Arc::new(next));
        }
        compiled
    }

    /// An environment of a project.
    pub fn environment(&self, project: &str, environment: &str) -> Option<&Arc<CompiledEnvironment>> {
        self.projects.get(project)?.environment(environment)
    }
}
