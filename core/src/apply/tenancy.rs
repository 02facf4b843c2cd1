//! The operations on projects and environments.

use std::sync::Arc;

use crate::{
    key::{EnvironmentKey, FlagKey},
    limits::{ENVIRONMENTS_MAX, PROJECTS_MAX},
    operation::{EnvironmentDelete, EnvironmentPut, ProjectDelete, ProjectPut},
    project::{Project, StoredEnvironment},
    rejection::Rejection,
    rows::RowId,
    token::Role,
};

use super::{
    authority::Authority,
    draft::{BeforeAfter, Draft, recorded},
};

impl Draft {
    pub(super) fn project_put(
        &mut self,
        authority: &Authority,
        fields: &ProjectPut,
    ) -> Result<BeforeAfter, Rejection> {
        let key = self.project_key()?;
        authority.require(Role::Owner, &key, None)?;
        let old = self.state.projects.get(&key).cloned();
        self.expect(
            || format!("project {key}"),
            fields.if_revision,
            old.as_ref().map_or(0, |project| project.revision),
        )?;
        if fields.project.key != key {
            return Err(Rejection::Invalid {
                path: "/project/key".to_owned(),
                message: format!(
                    "the key says {}, the change is for project {key}; make them the same",
                    fields.project.key
                ),
            });
        }
        fields.project.validate().map_err(|invalid| Rejection::invalid(invalid.under("project")))?;
        if old.is_none() && self.state.projects.len() >= PROJECTS_MAX {
            return Err(limit(format!("a cluster has at most {PROJECTS_MAX} projects")));
        }
        let before_after =
            (recorded(old.as_ref().map(|project| &project.spec)), recorded(Some(&fields.project)));
        if old.as_ref().is_none_or(|project| project.spec != fields.project) {
            let mut project =
                old.map_or_else(|| Project::new(fields.project.clone(), 0), |old| (*old).clone());
            project.spec = fields.project.clone();
            project.revision = self.revision;
            self.state.projects.insert(key.clone(), Arc::new(project));
            self.wrote([RowId::Project(key)]);
        }
        Ok(before_after)
    }

    pub(super) fn project_delete(
        &mut self,
        authority: &Authority,
        fields: &ProjectDelete,
    ) -> Result<BeforeAfter, Rejection> {
        let key = self.project_key()?;
        let old = self.project()?.clone();
        authority.require(Role::Owner, &key, None)?;
        self.expect(|| format!("project {key}"), fields.if_revision, old.revision)?;
        self.touch(&key, old.environments.keys().cloned());
        self.state.projects.remove(&key);
        self.wrote(std::iter::once(RowId::Project(key)).chain(old.row_ids()));
        Ok((recorded(Some(&old.spec)), recorded::<()>(None)))
    }

    pub(super) fn environment_put(
        &mut self,
        authority: &Authority,
        fields: &EnvironmentPut,
    ) -> Result<BeforeAfter, Rejection> {
        let (project, key) = (self.project_key()?, &fields.environment.key);
        let (old, count) =
            (self.project()?.environments.get(key).cloned(), self.project()?.environments.len());
        authority.require(Role::Operator, &project, Some(key))?;
        self.expect(
            || format!("environment {key}"),
            fields.if_revision,
            old.as_ref().map_or(0, |stored| stored.revision),
        )?;
        fields.environment.validate().map_err(|invalid| Rejection::invalid(invalid.under("environment")))?;
        if old.is_none() && count >= ENVIRONMENTS_MAX {
            return Err(limit(format!("a project has at most {ENVIRONMENTS_MAX} environments")));
        }
        let before_after =
            (recorded(old.as_ref().map(|stored| &stored.spec)), recorded(Some(&fields.environment)));
        if old.is_none_or(|stored| stored.spec != fields.environment) {
            let stored = StoredEnvironment {
                spec: fields.environment.clone(),
                revision: self.revision,
                touched_revision: self.revision,
            };
            self.project_mut()?.environments.insert(key.clone(), Arc::new(stored));
            self.touch(&project, [key.clone()]);
            self.wrote([RowId::Environment(project, key.clone())]);
        }
        Ok(before_after)
    }

    pub(super) fn environment_delete(
        &mut self,
        authority: &Authority,
        fields: &EnvironmentDelete,
    ) -> Result<BeforeAfter, Rejection> {
        let (project, key) = (self.project_key()?, &fields.environment);
        let old = self.environment(key)?;
        authority.require(Role::Operator, &project, Some(key))?;
        self.expect(|| format!("environment {key}"), fields.if_revision, old.revision)?;
        self.touch(&project, [key.clone()]);
        let configured: Vec<FlagKey> = self
            .project()?
            .flags
            .iter()
            .filter(|(_, flag)| flag.environments.contains_key(key))
            .map(|(flag, _)| flag.clone())
            .collect();
        let revision = self.revision;
        let changed = self.project_mut()?;
        for flag in &configured {
            if let Some(stored) = changed.flags.get_mut(flag) {
                let stored = Arc::make_mut(stored);
                stored.environments.remove(key);
                // The revision stays behind, raised: without it the flag's own, its ETag, could fall back to one that
                // it had before. The definition's is left alone, for it is part of the answer in other environments.
                stored.system.environments.insert(key.clone(), revision);
            }
        }
        changed.environments.remove(key);
        let flags = configured.into_iter().map(|flag| RowId::Flag(project.clone(), flag));
        self.wrote(std::iter::once(RowId::Environment(project.clone(), key.clone())).chain(flags));
        Ok((recorded(Some(&old.spec)), recorded::<()>(None)))
    }

    /// The environment, or a rejection.
    pub(super) fn environment(&self, key: &EnvironmentKey) -> Result<Arc<StoredEnvironment>, Rejection> {
        let stored = self.project()?.environments.get(key).cloned();
        stored.ok_or_else(|| Rejection::not_found("/environment", "environment", key))
    }
}

/// Rejects what would pass a limit.
pub(super) fn limit(message: String) -> Rejection {
    Rejection::Invalid { path: String::new(), message }
}
