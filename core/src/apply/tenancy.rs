//! The operations on projects and environments.

use std::sync::Arc;

use crate::{
    key::{EnvironmentKey, FlagKey, SegmentKey},
    limits::{ENVIRONMENTS_MAX, PROJECTS_MAX},
    operation::{EnvironmentDelete, EnvironmentPut, ProjectDelete, ProjectPut},
    project::{Project, StoredEnvironment, StoredSegment},
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
        let environments = old
            .environments
            .iter()
            .map(|(environment, stored)| ("environment", &**environment, stored.revision));
        // Part by part: what this change wrote in one must not hide what somebody else did in another.
        let flags = old.flags.iter().flat_map(|(flag, stored)| {
            let parts = stored.system.environments.values().chain([&stored.system.revision]);
            parts.map(|revision| ("flag", &**flag, *revision))
        });
        let segments = old.segments.values().map(segment_revision);
        self.expect_none_newer(environments.chain(flags).chain(segments))?;
        self.touch(&key, old.environments.keys().cloned());
        self.state.projects.remove(&key);
        self.wrote(std::iter::once(RowId::Project(key.clone())).chain(old.row_ids()));
        // A project that is made under the same key again is another one, and none of theirs.
        let tokens = self.cut_grants(&key, None);
        Ok((tokens.described(&old.spec), recorded::<()>(None)))
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
        let checked = fields.environment.validate_for(self.state.cluster_version());
        checked.map_err(|invalid| Rejection::invalid(invalid.under("environment")))?;
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
        let (flags, segments) = self.holding(key)?;
        let held = self.project()?;
        let configured = flags.iter().filter_map(|flag| held.flags.get(flag)).flat_map(|flag| {
            let tests = if flag.definition.has_tests_of(key) { flag.system.revision } else { 0 };
            let configuration = flag.system.environments.get(key).copied().unwrap_or(0);
            [configuration, tests].map(|revision| ("flag", &*flag.definition.key, revision))
        });
        let overridden =
            segments.iter().filter_map(|segment| held.segments.get(segment)).map(segment_revision);
        self.expect_none_newer(configured.chain(overridden))?;
        self.touch(&project, [key.clone()]);
        let revision = self.revision;
        let changed = self.project_mut()?;
        for flag in &flags {
            if let Some(stored) = changed.flags.get_mut(flag) {
                let stored = Arc::make_mut(stored);
                stored.environments.remove(key);
                if stored.definition.has_tests_of(key) {
                    stored.definition = stored.definition.without_tests_of(key);
                }
                // The revision stays behind, raised: without it the flag's own, its ETag, could fall back to one that
                // it had before. The definition's is left alone, for it is part of the answer in other environments.
                stored.system.environments.insert(key.clone(), revision);
            }
        }
        for segment in &segments {
            if let Some(stored) = changed.segments.get_mut(segment) {
                let stored = Arc::make_mut(stored);
                stored.segment.forget_environment(key);
                stored.revision = revision;
            }
        }
        changed.environments.remove(key);
        let rows = std::iter::once(RowId::Environment(project.clone(), key.clone()))
            .chain(flags.into_iter().map(|flag| RowId::Flag(project.clone(), flag)))
            .chain(segments.into_iter().map(|segment| RowId::Segment(project.clone(), segment)));
        self.wrote(rows);
        let tokens = self.cut_grants(&project, Some(key));
        Ok((tokens.described(&old.spec), recorded::<()>(None)))
    }

    /// The flags that have a configuration or a test in the environment, and the segments that are different in it.
    fn holding(&self, key: &EnvironmentKey) -> Result<(Vec<FlagKey>, Vec<SegmentKey>), Rejection> {
        let project = self.project()?;
        let flags = project
            .flags
            .iter()
            .filter(|(_, flag)| flag.environments.contains_key(key) || flag.definition.has_tests_of(key));
        let segments = project.segments.iter().filter(|(_, stored)| stored.segment.differs_in(key));
        Ok((
            flags.map(|(flag, _)| flag.clone()).collect(),
            segments.map(|(segment, _)| segment.clone()).collect(),
        ))
    }

    /// The environment, or a rejection.
    pub(super) fn environment(&self, key: &EnvironmentKey) -> Result<Arc<StoredEnvironment>, Rejection> {
        let stored = self.project()?.environments.get(key).cloned();
        stored.ok_or_else(|| Rejection::not_found("/environment", "environment", key))
    }
}

fn segment_revision(stored: &Arc<StoredSegment>) -> (&'static str, &str, u64) {
    ("segment", stored.segment.key(), stored.revision)
}

/// Rejects what would pass a limit.
pub(super) fn limit(message: String) -> Rejection {
    Rejection::Invalid { path: String::new(), message }
}
