//! What is said to be removed from the log, and whether the log's own records say so.

use std::ops::Range;

use crate::retention::SequenceRange;

/// What a file says of removed records. It grows with the number of runs that were removed, not of records.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// The runs that are left out as removed, in order and apart.
    left_out: Vec<Range<u64>>,
    /// What records in the file name as removed.
    named: Vec<Range<u64>>,
}

impl Removals {
    /// Takes note of what the record with this sequence says was removed: what stands before it.
    pub(super) fn observe(&mut self, sequence: u64, ranges: Vec<SequenceRange>) {
        let before = ranges.into_iter().filter(|range| range.to <= sequence);
        self.named.extend(before.map(|range| range.from..range.to));
    }

    /// Takes note of a run that is left out as removed; runs come in order.
    pub(super) fn leave_out(&mut self, run: Range<u64>) {
        match self.left_out.last_mut().filter(|last| last.end == run.start) {
            Some(last) => last.end = run.end,
            None => self.left_out.push(run),
        }
    }

    /// The parts of what is left out that no record in the file names.
    pub(super) fn unexplained(mut self) -> Vec<Range<u64>> {
        self.named.sort_by_key(|run| (run.start, run.end));
        let mut named = self.named.into_iter().peekable();
        let mut unexplained = Vec::new();
        for run in self.left_out {
            let mut from = run.start;
            while from < run.end {
                // Those that end before this are of no use to what comes later either.
                while named.next_if(|named| named.end <= from).is_some() {}
                match named.peek().filter(|named| named.start < run.end) {
                    Some(next) if next.start <= from => from = next.end.min(run.end),
                    Some(next) => {
                        unexplained.push(from..next.start);
                        from = next.start;
                    }
                    None => {
                        unexplained.push(from..run.end);
                        from = run.end;
                    }
                }
            }
        }
        unexplained
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec((0_u64..60, 1_u64..9), 0..12)
            .prop_map(|runs| runs.into_iter().map(|(from, length)| from..from + length).collect())
    }

    proptest! {
        #[test]
        fn what_no_record_names_is_unexplained(left_out in ranges(), named in ranges()) {
            let is_in = |ranges: &[Range<u64>], at: u64| ranges.iter().any(|range| range.contains(&at));
            let mut removals = Removals { named: named.clone(), ..Removals::default() };
            for at in (0..80).filter(|at| is_in(&left_out, *at)) {
                removals.leave_out(at..at + 1);
            }
            let unexplained = removals.unexplained();
            for at in 0..80 {
                let expected = is_in(&left_out, at) && !is_in(&named, at);
                prop_assert_eq!(is_in(&unexplained, at), expected, "{} of {:?}", at, unexplained);
            }
        }
    }
}
