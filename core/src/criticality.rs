//! Which flags are effectively critical: marked so, or dependent on one that is.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    key::{EnvironmentKey, FlagKey},
    project::Project,
};

/// Whether a flag is critical in the environment: marked so, or dependent on one that is, however far down.
pub fn is_effectively_critical(project: &Project, environment: &EnvironmentKey, key: &FlagKey) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![key];
    while let Some(key) = open.pop() {
        let Some(flag) = project.live_flag(key) else { continue };
        if flag.definition.critical {
            return true;
        }
        if seen.insert(key)
            && let Some(configuration) = flag.environments.get(environment)
        {
            open.extend(configuration.prerequisites().map(|prerequisite| &prerequisite.flag));
        }
    }
    false
}

/// The flags that are effectively critical in the environment.
pub fn critical_flags<'a>(project: &'a Project, environment: &EnvironmentKey) -> BTreeSet<&'a FlagKey> {
    let mut critical: BTreeSet<&FlagKey> = project.critical.iter().collect();
    if critical.is_empty() {
        return critical;
    }
    // Who depends on whom, turned round, so that one walk from the marked flags finds all that depend on them.
    let dependencies = project.flags.iter().filter(|(_, flag)| flag.is_live()).flat_map(|(key, flag)| {
        let configuration = flag.environments.get(environment);
        configuration
            .into_iter()
            .flat_map(|c| c.prerequisites())
            .map(move |prerequisite| (&prerequisite.flag, key))
    });
    let mut dependants: BTreeMap<&FlagKey, Vec<&FlagKey>> = BTreeMap::new();
    for (on, dependant) in dependencies {
        dependants.entry(on).or_default().push(dependant);
    }
    let mut open: Vec<&FlagKey> = critical.iter().copied().collect();
    while let Some(key) = open.pop() {
        let found = dependants.get(key).into_iter().flatten();
        open.extend(found.copied().filter(|dependant| critical.insert(dependant)));
    }
    critical
}
