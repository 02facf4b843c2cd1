//! All environments of all projects, compiled.

use std::{collections::BTreeMap, sync::Arc};

use imbl::OrdMap;

use super::environment::CompiledEnvironment;
use crate::{
    key::{EnvironmentKey, ProjectKey},
    project::Project,
    state::State,
};

/// The compiled form of a state: every environment of every project. A clone shares everything.
#[derive(Clone, Debug, Default)]
pub struct CompiledCatalog {
    projects: OrdMap<ProjectKey, Arc<Environments>>,
}

type Environments = BTreeMap<EnvironmentKey, Arc<CompiledEnvironment>>;

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
            let environments = self.environments_after(old, project);
            compiled.projects.insert(project.key().clone(), Arc::new(environments));
        }
        compiled
    }

    fn environments_after(&self, before: Option<&Arc<Project>>, after: &Project) -> Environments {
        let environments = after.environments.keys().map(|key| {
            let compiled = match (before, self.environment(after.key(), key)) {
                (Some(before), Some(known)) => known.updated(before, after),
                _ => CompiledEnvironment::compile(after, key),
            };
            (key.clone(), Arc::new(compiled))
        });
        environments.collect()
    }

    /// An environment of a project.
    pub fn environment(&self, project: &str, environment: &str) -> Option<&Arc<CompiledEnvironment>> {
        self.projects.get(project)?.get(environment)
    }
}
