//! The documents of a state: what a node sends.

use std::collections::BTreeSet;

use imbl::ordmap::DiffItem;

use super::{
    FORMAT,
    wire::{Change, Contents, Edit, FlagDocument, Members, MembersEdit, SegmentDocument, Snapshot},
};
use crate::{
    key::{EnvironmentKey, ProjectKey, SegmentKey},
    project::{Flag, Project, StoredEnvironment, StoredSegment},
    segment::MemberList,
    state::State,
};

/// The definitions of an environment; `None` when there is no such environment. To be written with `serde_json`: it reads
/// the state while it is written.
pub fn snapshot<'a>(state: &'a State, project: &str, environment: &str) -> Option<Snapshot<'a>> {
    let project = state.project(project)?;
    let (environment, stored) = project.environments.get_key_value(environment)?;
    Some(Snapshot {
        format: FORMAT,
        revision: state.revision(),
        environment_revision: stored.touched_revision,
        project: project.key(),
        environment,
        flags: Contents { project, environment },
        segments: Contents { project, environment },
    })
}

/// What the revision of `after` did to an environment, `before` being the state of the revision before it; `None` when it
/// did not touch the environment, and when the environment is not in both of them.
pub fn change<'a>(
    before: &'a State,
    after: &'a State,
    project: &str,
    environment: &str,
) -> Option<Change<'a>> {
    let (before, revision, after) = (before.project(project)?, after.revision(), after.project(project)?);
    let (environment, touched) = after.environments.get_key_value(environment)?;
    let previous = before.environments.get(environment)?.touched_revision;
    if touched.touched_revision == previous {
        return None;
    }
    let mut changes = segment_edits(before, after, environment);
    changes.extend(flag_edits(before, after, environment));
    Some(Change { format: FORMAT, revision, previous, changes })
}

/// What became of an environment from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It is there now, and was not.
    Made,
    /// It was touched: [`change`] says how.
    Changed,
    /// It is gone.
    Gone,
}

/// The environments that are not what they were, in the order of their keys. Costs what is different.
pub fn touched(before: &State, after: &State) -> Vec<(ProjectKey, EnvironmentKey, Touch)> {
    let mut touched = Vec::new();
    for item in before.projects.diff(&after.projects) {
        let (key, old, new) = match item {
            DiffItem::Add(key, new) => (key, None, Some(new)),
            DiffItem::Update { old: (_, old), new: (key, new) } => (key, Some(old), Some(new)),
            DiffItem::Remove(key, old) => (key, Some(old), None),
        };
        let nothing = imbl::OrdMap::new();
        let old = old.map_or(&nothing, |project| &project.environments);
        let new = new.map_or(&nothing, |project| &project.environments);
        let revision = |stored: &StoredEnvironment| stored.touched_revision;
        for item in old.diff(new) {
            let (environment, touch) = match item {
                DiffItem::Add(environment, _) => (environment, Touch::Made),
                DiffItem::Remove(environment, _) => (environment, Touch::Gone),
                DiffItem::Update { old: (_, old), new: (environment, new) } => {
                    if revision(old) == revision(new) {
                        continue;
                    }
                    (environment, Touch::Changed)
                }
            };
            touched.push((key.clone(), environment.clone(), touch));
        }
    }
    touched
}

/// The live flags, in key order.
pub(super) fn flags<'a>(
    project: &'a Project,
    environment: &'a EnvironmentKey,
) -> impl Iterator<Item = FlagDocument<'a>> {
    let live = project.flags.values().filter(|flag| flag.is_live());
    live.map(|flag| FlagDocument::new(flag, environment))
}

/// The segments that are asked in the environment, in key order.
pub(super) fn segments<'a>(
    project: &'a Project,
    environment: &'a EnvironmentKey,
) -> impl Iterator<Item = SegmentDocument<'a>> {
    let asked = asked_segments(project, environment).into_iter();
    asked.filter_map(|key| project.segments.get(key)).map(|stored| SegmentDocument::new(stored, environment))
}

/// The segments that the environment's rules name, and those that these name in turn. A segment that nothing asks may change
/// without touching the environment: it has no place in a document that is named by the revision that did.
fn asked_segments<'a>(project: &'a Project, environment: &EnvironmentKey) -> BTreeSet<&'a SegmentKey> {
    let named = project.flags.values().flat_map(|flag| segments_of_flag(flag, environment));
    let mut asked = BTreeSet::new();
    let mut open: Vec<&SegmentKey> = named.filter(|key| asked.insert(*key)).collect();
    while let Some(key) = open.pop() {
        let stored = project.segments.get(key);
        let named = stored.into_iter().flat_map(|stored| segments_of_segment(stored, environment));
        open.extend(named.filter(|key| asked.insert(*key)));
    }
    asked
}

/// The segments that a flag's rules in the environment name; none where the flag is not live.
fn segments_of_flag<'a>(
    flag: &'a Flag,
    environment: &EnvironmentKey,
) -> impl Iterator<Item = &'a SegmentKey> {
    let configuration = flag.is_live().then(|| flag.environments.get(environment)).flatten();
    configuration.into_iter().flat_map(|configuration| configuration.segments())
}

/// The segments that the segment's condition in the environment names.
fn segments_of_segment<'a>(
    stored: &'a StoredSegment,
    environment: &EnvironmentKey,
) -> impl Iterator<Item = &'a SegmentKey> {
    stored.segment.when(environment).into_iter().flat_map(|when| when.segments())
}

/// What became of the live flags.
fn flag_edits<'a>(before: &'a Project, after: &'a Project, environment: &EnvironmentKey) -> Vec<Edit<'a>> {
    let live = |flag: &'a Flag| flag.is_live().then_some(flag);
    let edits = before.flags.diff(&after.flags).filter_map(|item| {
        let (key, old, new) = match item {
            DiffItem::Add(key, new) => (key, None, live(new)),
            DiffItem::Update { old: (key, old), new: (_, new) } => (key, live(old), live(new)),
            DiffItem::Remove(key, old) => (key, live(old), None),
        };
        match (old, new) {
            (old, Some(new)) => {
                let document = FlagDocument::new(new, environment);
                let is_same = old.is_some_and(|old| FlagDocument::new(old, environment) == document);
                (!is_same).then_some(Edit::Flag(document))
            }
            (Some(_), None) => Some(Edit::Deleted(key)),
            (None, None) => None,
        }
    });
    edits.collect()
}

/// What became of the segments that are asked.
fn segment_edits<'a>(before: &'a Project, after: &'a Project, environment: &EnvironmentKey) -> Vec<Edit<'a>> {
    // Which segments are asked takes a walk over all rules, which most changes don't need.
    if before.segments.ptr_eq(&after.segments) && flags_name_alike(before, after, environment) {
        return Vec::new();
    }
    let (old, new) = (asked_segments(before, environment), asked_segments(after, environment));
    let mut edits = Vec::new();
    for key in old.union(&new) {
        let stored = |project: &'a Project, asked: &BTreeSet<_>| {
            asked.contains(key).then(|| project.segments.get(*key)).flatten()
        };
        match (stored(before, &old), stored(after, &new)) {
            (Some(old), Some(new)) => edits.extend(edits_of_segment(old, new, environment)),
            (None, Some(new)) => edits.push(Edit::Segment(SegmentDocument::new(new, environment))),
            (Some(_), None) => edits.push(Edit::SegmentDeleted(key)),
            (None, None) => {}
        }
    }
    edits
}

/// Whether the flags that a change wrote name the segments that they named before it.
fn flags_name_alike(before: &Project, after: &Project, environment: &EnvironmentKey) -> bool {
    let named =
        |flag: &'_ Flag| -> BTreeSet<SegmentKey> { segments_of_flag(flag, environment).cloned().collect() };
    before.flags.diff(&after.flags).all(|item| match item {
        DiffItem::Add(_, flag) | DiffItem::Remove(_, flag) => {
            segments_of_flag(flag, environment).next().is_none()
        }
        DiffItem::Update { old: (_, old), new: (_, new) } => named(old) == named(new),
    })
}

/// What became of a segment: as little as says it.
fn edits_of_segment<'a>(
    old: &'a StoredSegment,
    new: &'a StoredSegment,
    environment: &EnvironmentKey,
) -> Vec<Edit<'a>> {
    if std::ptr::eq(old, new) {
        return Vec::new();
    }
    if old.segment.when(environment) != new.segment.when(environment) {
        return vec![Edit::Segment(SegmentDocument::new(new, environment))];
    }
    let lists = [MemberList::Included, MemberList::Excluded].into_iter();
    let edits = lists.filter_map(|list| {
        let members = |stored| Members::new(stored, environment, list);
        let (add, remove) = difference(members(old), members(new));
        let is_same = add.is_empty() && remove.is_empty();
        let edit = MembersEdit { segment: new.segment.key(), list, add, remove };
        (!is_same).then_some(Edit::Members(edit))
    });
    edits.collect()
}

/// Who is in the second list and not in the first, and the other way round.
fn difference<'a>(old: Members<'a>, new: Members<'a>) -> (Vec<&'a str>, Vec<&'a str>) {
    if let (Members::Shared(old), Members::Shared(new)) = (old, new) {
        // Costs what is different, of lists that one grew out of the other.
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        for item in old.diff(new) {
            match item {
                imbl::ordset::DiffItem::Add(member) => add.push(&**member),
                imbl::ordset::DiffItem::Remove(member) => remove.push(&**member),
            }
        }
        return (add, remove);
    }
    let (old, new) = (old.sorted(), new.sorted());
    let missing = |from: &[&'a str], of: &[&'a str]| {
        let missing = of.iter().filter(|member| from.binary_search(member).is_err());
        missing.copied().collect()
    };
    (missing(&old, &new), missing(&new, &old))
}
