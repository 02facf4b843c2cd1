//! What hangs on what: the flags whose answers may be others when these flags and segments are.

use std::collections::{BTreeMap, BTreeSet};

use crate::{condition::Condition, key::EnvironmentKey, project::Project};

/// The live flags that are named here, and those that depend on any of these flags and segments through prerequisites and
/// segments, however far down. Names that the project does not know count too.
pub(super) fn affected<'a>(
    project: &'a Project,
    environment: &EnvironmentKey,
    flags: impl IntoIterator<Item = &'a str>,
    segments: impl IntoIterator<Item = &'a str>,
) -> BTreeSet<&'a str> {
    let segments = affected_segments(project, environment, segments.into_iter().collect());
    let mut affected: BTreeSet<&str> = flags.into_iter().collect();
    if affected.is_empty() && segments.is_empty() {
        return affected;
    }
    let mut dependants: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, flag) in &project.flags {
        let Some(configuration) = flag.environments.get(environment) else { continue };
        if !segments.is_empty() && configuration.segments().any(|segment| segments.contains(&**segment)) {
            affected.insert(key);
        }
        for prerequisite in configuration.prerequisites() {
            dependants.entry(&prerequisite.flag).or_default().push(key);
        }
    }
    let mut open: Vec<&str> = affected.iter().copied().collect();
    while let Some(key) = open.pop() {
        let found = dependants.get(key).into_iter().flatten();
        open.extend(found.copied().filter(|dependant| affected.insert(dependant)));
    }
    affected
}

/// The segments themselves, and those that ask them.
fn affected_segments<'a>(
    project: &'a Project,
    environment: &EnvironmentKey,
    mut affected: BTreeSet<&'a str>,
) -> BTreeSet<&'a str> {
    if affected.is_empty() {
        return affected;
    }
    let mut askers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, stored) in &project.segments {
        let named = stored.segment.when(environment).into_iter().flat_map(Condition::segments);
        for asked in named {
            askers.entry(asked).or_default().push(key);
        }
    }
    let mut open: Vec<&str> = affected.iter().copied().collect();
    while let Some(key) = open.pop() {
        let found = askers.get(key).into_iter().flatten();
        open.extend(found.copied().filter(|asker| affected.insert(asker)));
    }
    affected
}
