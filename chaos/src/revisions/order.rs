//! Real time: what was known when.

/// A moment in the history, and the operation that makes it one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment {
    pub at: u64,
    pub op: u64,
}

/// The newest revision that was known at each time: steps that rise.
#[derive(Debug)]
pub(super) struct Order(Vec<(Moment, u64)>);

impl Order {
    /// From when each revision was first known.
    pub fn of(known: impl Iterator<Item = (Moment, u64)>) -> Self {
        let mut steps: Vec<_> = known.collect();
        steps.sort_unstable();
        let mut newest = None;
        steps.retain(|(_, revision)| {
            let rises = Some(*revision) > newest;
            newest = newest.max(Some(*revision));
            rises
        });
        Self(steps)
    }

    /// The newest revision of the operations that ended before this time, and which of them has it.
    pub fn newest_before(&self, at: u64) -> Option<(u64, u64)> {
        let after = self.0.partition_point(|(end, _)| end.at < at);
        let (end, revision) = self.0.get(after.checked_sub(1)?)?;
        Some((*revision, end.op))
    }
}
