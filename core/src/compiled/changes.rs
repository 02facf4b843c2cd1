//! What is different between two revisions of a project: looked for once, whatever the number of its environments.

use std::sync::Arc;

use imbl::{OrdMap, ordmap::DiffItem};

use crate::{
    key::{FlagKey, SegmentKey},
    project::{Flag, Project, StoredSegment},
};

/// What a change of a project changed.
pub(super) struct Changes<'a> {
    /// The project after it.
    pub after: &'a Project,
    pub flags: Vec<Change<'a, FlagKey, Flag>>,
    pub segments: Vec<Change<'a, SegmentKey, StoredSegment>>,
}

/// An object that came (it was not there before), changed, or went (it is not there any more).
pub(super) struct Change<'a, K, T> {
    pub key: &'a K,
    pub old: Option<&'a Arc<T>>,
    pub new: Option<&'a Arc<T>>,
}

impl<'a> Changes<'a> {
    /// What is different after a change. Both projects are persistent maps: what they share is skipped, and of what lies
    /// beside something that changed only the address is compared, for [`Eq`] says that the same is equal.
    pub fn between(before: &'a Project, after: &'a Project) -> Self {
        Self {
            after,
            flags: different(&before.flags, &after.flags),
            segments: different(&before.segments, &after.segments),
        }
    }

    /// All of a project, for an environment of which nothing is compiled yet.
    pub fn all(project: &'a Project) -> Self {
        Self { after: project, flags: added(&project.flags), segments: added(&project.segments) }
    }
}

fn different<'a, K: Ord, T: Eq>(
    before: &'a OrdMap<K, Arc<T>>,
    after: &'a OrdMap<K, Arc<T>>,
) -> Vec<Change<'a, K, T>> {
    let changes = before.diff(after).map(|item| match item {
        DiffItem::Add(key, new) => Change { key, old: None, new: Some(new) },
        DiffItem::Update { old: (_, old), new: (key, new) } => Change { key, old: Some(old), new: Some(new) },
        DiffItem::Remove(key, old) => Change { key, old: Some(old), new: None },
    });
    changes.collect()
}

fn added<K: Ord, T>(all: &OrdMap<K, Arc<T>>) -> Vec<Change<'_, K, T>> {
    all.iter().map(|(key, new)| Change { key, old: None, new: Some(new) }).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// Counts how often it is compared.
    struct Counting<'a>(u32, &'a AtomicUsize);

    impl PartialEq for Counting<'_> {
        fn eq(&self, other: &Self) -> bool {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0 == other.0
        }
    }

    impl Eq for Counting<'_> {}

    /// The neighbours of what changed lie in the same part of the map, which is another one after the change: each may
    /// have megabytes.
    #[test]
    fn only_what_changed_is_compared() {
        let compared = AtomicUsize::new(0);
        let before: OrdMap<u32, Arc<Counting<'_>>> =
            (0..1_000).map(|key| (key, Arc::new(Counting(key, &compared)))).collect();
        let after = before
            .update(500, Arc::new(Counting(0, &compared)))
            .update(1_000, Arc::new(Counting(0, &compared)))
            .without(&7);
        let changes = different(&before, &after);
        let found: BTreeSet<_> =
            changes.iter().map(|change| (*change.key, change.old.is_some(), change.new.is_some())).collect();
        assert_eq!(found, [(7, true, false), (500, true, true), (1_000, false, true)].into());
        assert_eq!(compared.load(Ordering::Relaxed), 1);
    }
}
