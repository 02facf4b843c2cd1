//! What objects of a project say of each other: that what they name exists, that nothing depends on itself, and who
//! uses what. Checked when a change is judged, so that evaluation never meets a broken reference.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    condition::Condition,
    flag::FlagEnvironment,
    invalid::Invalid,
    key::{EnvironmentKey, FlagKey, SegmentKey},
    limits::{PREREQUISITE_DEPTH_MAX, SEGMENT_DEPTH_MAX},
    project::Project,
};

/// Checks what a flag's configuration in an environment names: prerequisites, their variants, segments. The path of
/// the error is relative to the configuration.
pub(super) fn check_configuration(
    project: &Project,
    environment: &EnvironmentKey,
    key: &FlagKey,
    configuration: &FlagEnvironment,
) -> Result<(), Invalid> {
    for (index, prerequisite) in configuration.prerequisites().enumerate() {
        let at =
            |field: &str, message: String| Invalid::new(format!("/prerequisites/{index}/{field}"), message);
        let Some(flag) = project.live_flag(&prerequisite.flag) else {
            return Err(at(
                "flag",
                format!("there is no flag {:?} to depend on; create it first", prerequisite.flag.as_str()),
            ));
        };
        if let Some(unknown) =
            prerequisite.variants.iter().find(|variant| !flag.definition.variants.contains_key(*variant))
        {
            return Err(at(
                "variants",
                format!("flag {} has no variant {:?}", prerequisite.flag, unknown.as_str()),
            ));
        }
    }
    for (index, rule) in configuration.rules.iter().enumerate() {
        let named = rule.when.iter().flat_map(Condition::segments);
        if let Some(unknown) = named.into_iter().find(|segment| !project.segments.contains_key(*segment)) {
            return Err(Invalid::new(
                format!("/rules/{index}/when"),
                format!("there is no segment {:?}; create it first", unknown.as_str()),
            ));
        }
    }
    if configuration.prerequisites().next().is_some() {
        check_prerequisite_chains(project, environment, key)?;
    }
    Ok(())
}

/// Checks that no chain of prerequisites in the environment comes back to where it began or is too long. It begins
/// from the flags that depend on anything, for a change to one flag may lengthen the chains that lead to it.
fn check_prerequisite_chains(
    project: &Project,
    environment: &EnvironmentKey,
    written: &FlagKey,
) -> Result<(), Invalid> {
    let mut depths =
        Depths { depth_of: BTreeMap::new(), open: Vec::new(), depth_max: PREREQUISITE_DEPTH_MAX };
    let next = |key: &FlagKey| -> Vec<FlagKey> {
        let configuration = project.live_flag(key).and_then(|flag| flag.environments.get(environment));
        configuration.into_iter().flat_map(|c| c.prerequisites().map(|p| p.flag.clone())).collect()
    };
    let dependants = project.flags.iter().filter(|(_, flag)| {
        flag.is_live()
            && flag.environments.get(environment).is_some_and(|c| c.prerequisites().next().is_some())
    });
    // The written flag goes first, so that a cycle through it is told as its own.
    for key in std::iter::once(written).chain(dependants.map(|(key, _)| key)) {
        depths
            .of(key, &next)
            .map_err(|fault| Invalid::new("/prerequisites", fault.describe("prerequisites")))?;
    }
    Ok(())
}

/// Checks that the segments a segment names exist, and that no chain of segments comes back to where it began or is
/// too long. The path of the error is relative to the segment.
pub(super) fn check_segment(project: &Project, key: &SegmentKey) -> Result<(), Invalid> {
    let named = project.segments.get(key).into_iter().flat_map(|stored| stored.segment.segments());
    for segment in named {
        if !project.segments.contains_key(segment) {
            return Err(Invalid::new(
                "/when",
                format!("there is no segment {:?}; create it first", segment.as_str()),
            ));
        }
    }
    let mut depths = Depths { depth_of: BTreeMap::new(), open: Vec::new(), depth_max: SEGMENT_DEPTH_MAX };
    let next = |key: &SegmentKey| -> Vec<SegmentKey> {
        project.segments.get(key).into_iter().flat_map(|stored| stored.segment.segments().cloned()).collect()
    };
    for key in std::iter::once(key).chain(project.segments.keys()) {
        depths.of(key, &next).map_err(|fault| Invalid::new("/when", fault.describe("segments")))?;
    }
    Ok(())
}

/// Something live that uses a segment, named for a person.
pub(super) fn user_of_segment(project: &Project, key: &SegmentKey) -> Option<String> {
    let flag = live_configurations(project)
        .find(|(_, _, configuration)| configuration.segments().any(|segment| segment == key));
    flag.map(|(flag, environment, _)| format!("flag {flag} in environment {environment}")).or_else(|| {
        let users = project
            .segments
            .iter()
            .find(|(_, stored)| stored.segment.segments().any(|segment| segment == key));
        users.map(|(user, _)| format!("segment {user}"))
    })
}

/// A live flag that depends on the flag, or on one of its variants that `kept` leaves out; named for a person.
pub(super) fn dependant(project: &Project, key: &FlagKey, is_kept: impl Fn(&str) -> bool) -> Option<String> {
    live_configurations(project)
        .find(|(flag, _, configuration)| {
            *flag != key
                && configuration
                    .prerequisites()
                    .any(|p| p.flag == *key && p.variants.iter().any(|variant| !is_kept(variant)))
        })
        .map(|(flag, environment, _)| format!("flag {flag} in environment {environment}"))
}

/// The environments in which a live flag uses the segment, be it through other segments.
pub(super) fn environments_using_segment(project: &Project, key: &SegmentKey) -> BTreeSet<EnvironmentKey> {
    let mut reached = BTreeSet::from([key.clone()]);
    loop {
        let more: Vec<SegmentKey> = project
            .segments
            .iter()
            .filter(|(user, stored)| {
                !reached.contains(*user) && stored.segment.segments().any(|segment| reached.contains(segment))
            })
            .map(|(user, _)| user.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        reached.extend(more);
    }
    live_configurations(project)
        .filter(|(_, _, configuration)| configuration.segments().any(|segment| reached.contains(segment)))
        .map(|(_, environment, _)| environment.clone())
        .collect()
}

fn live_configurations(
    project: &Project,
) -> impl Iterator<Item = (&FlagKey, &EnvironmentKey, &FlagEnvironment)> {
    let live = project.flags.iter().filter(|(_, flag)| flag.is_live());
    live.flat_map(|(key, flag)| {
        flag.environments.iter().map(move |(environment, configuration)| (key, environment, configuration))
    })
}

/// Measures chains of dependencies, each object once.
struct Depths<K> {
    depth_of: BTreeMap<K, usize>,
    /// The chain being followed.
    open: Vec<K>,
    depth_max: usize,
}

enum ChainFault<K> {
    Cycle(Vec<K>),
    TooLong(usize),
}

impl<K: std::fmt::Display> ChainFault<K> {
    fn describe(&self, what: &str) -> String {
        match self {
            Self::Cycle(keys) => {
                let chain: Vec<String> = keys.iter().map(ToString::to_string).collect();
                format!(
                    "these {what} depend on each other in a cycle: {}; take one of them out",
                    chain.join(" -> ")
                )
            }
            Self::TooLong(depth_max) => format!("the chain of {what} is longer than {depth_max}; shorten it"),
        }
    }
}

impl<K: Clone + Ord> Depths<K> {
    /// The length of the longest chain from `key`, itself included. Recursion ends at `depth_max`.
    fn of(&mut self, key: &K, next: &impl Fn(&K) -> Vec<K>) -> Result<usize, ChainFault<K>> {
        if let Some(depth) = self.depth_of.get(key) {
            return Ok(*depth);
        }
        if let Some(start) = self.open.iter().position(|open| open == key) {
            let cycle = self.open.iter().skip(start).cloned().chain([key.clone()]);
            return Err(ChainFault::Cycle(cycle.collect()));
        }
        if self.open.len() >= self.depth_max {
            return Err(ChainFault::TooLong(self.depth_max));
        }
        self.open.push(key.clone());
        let mut depth = 1;
        for dependency in next(key) {
            depth = depth.max(self.of(&dependency, next)?.saturating_add(1));
        }
        self.open.pop();
        if depth > self.depth_max {
            return Err(ChainFault::TooLong(self.depth_max));
        }
        self.depth_of.insert(key.clone(), depth);
        Ok(depth)
    }
}
