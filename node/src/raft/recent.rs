//! The last entries of the log, in memory: what is appended is read again at once, once for each follower and once to be
//! applied, and reading it from the database costs as much as writing it.

use std::{collections::VecDeque, ops::Range};

use openraft::EntryPayload;

use super::types::{Command, Entry};

/// How many entries are kept, at most.
const ENTRIES_MAX: usize = 4_096;
/// How many bytes their proposals have together, at most.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The end of the log: entries without a hole up to the last one, or none at all.
#[derive(Debug, Default)]
pub(super) struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
}

impl Recent {
    /// The entry was written at the end of the log.
    pub(super) fn append(&mut self, entry: Entry) {
        let follows = self.entries.back().is_none_or(|last| last.log_id.index + 1 == entry.log_id.index);
        if !follows {
            // A log that begins anew, behind a snapshot.
            self.clear();
        }
        self.bytes += bytes(&entry);
        self.entries.push_back(entry);
        while self.bytes > BYTES_MAX || self.entries.len() > ENTRIES_MAX {
            self.forget_first();
        }
    }

    /// The entries from `first` on were removed from the log.
    pub(super) fn truncate(&mut self, first: u64) {
        while self.entries.back().is_some_and(|last| last.log_id.index >= first) {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, bytes);
        }
    }

    /// The entries up to `upto` were removed from the log.
    pub(super) fn purge(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|first| first.log_id.index <= upto) {
            self.forget_first();
        }
    }

    /// The entries of `range`, up to the first after which their proposals have `bytes_max` bytes or more. `None` when
    /// the first of them is not here: then the database has to be asked.
    pub(super) fn read(&self, range: Range<u64>, bytes_max: usize) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.log_id.index;
        let skipped = usize::try_from(range.start.checked_sub(first)?).ok()?;
        if range.is_empty() || skipped >= self.entries.len() {
            return None;
        }
        let mut size = 0_usize;
        let mut read = Vec::new();
        for entry in self.entries.range(skipped..).take_while(|entry| entry.log_id.index < range.end) {
            size += bytes(entry);
            read.push(entry.clone());
            if size >= bytes_max {
                break;
            }
        }
        Some(read)
    }

    fn forget_first(&mut self) {
        self.bytes -= self.entries.pop_front().as_ref().map_or(0, bytes);
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(Command(json)) => json.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::entry, *};

    fn recent(range: Range<u64>) -> Recent {
        let mut recent = Recent::default();
        range.for_each(|index| recent.append(entry(1, index)));
        recent
    }

    fn indexes(read: Option<Vec<Entry>>) -> Option<Vec<u64>> {
        read.map(|entries| entries.iter().map(|entry| entry.log_id.index).collect())
    }

    #[test]
    fn what_is_here_is_read_and_nothing_else() {
        let recent = recent(5..10);
        assert_eq!(indexes(recent.read(6..8, usize::MAX)), Some(vec![6, 7]));
        assert_eq!(indexes(recent.read(8..100, usize::MAX)), Some(vec![8, 9]));
        for elsewhere in [0..8, 4..6, 10..12, 7..7] {
            assert_eq!(indexes(recent.read(elsewhere.clone(), usize::MAX)), None, "{elsewhere:?}");
        }
        let one = bytes(&entry(1, 5));
        assert_eq!(indexes(recent.read(5..10, one + 1)), Some(vec![5, 6]));
        assert_eq!(indexes(recent.read(5..10, 0)), Some(vec![5]));
    }

    #[test]
    fn what_the_log_loses_is_gone_here() {
        let mut recent = recent(0..10);
        recent.truncate(7);
        assert_eq!(indexes(recent.read(5..10, usize::MAX)), Some(vec![5, 6]));
        recent.append(entry(2, 7));
        assert_eq!(recent.read(7..8, usize::MAX).expect("here")[0], entry(2, 7));
        recent.purge(5);
        assert_eq!(indexes(recent.read(5..8, usize::MAX)), None);
        assert_eq!(indexes(recent.read(6..8, usize::MAX)), Some(vec![6, 7]));
        recent.append(entry(2, 100));
        assert_eq!(indexes(recent.read(7..8, usize::MAX)), None, "a hole is never bridged");
        assert_eq!(indexes(recent.read(100..101, usize::MAX)), Some(vec![100]));
        recent.truncate(0);
        assert_eq!((recent.bytes, recent.entries.len()), (0, 0));
    }

    #[test]
    fn it_is_bounded() {
        let entries_max = u64::try_from(ENTRIES_MAX).expect("small");
        let kept = recent(0..entries_max + 10);
        assert_eq!((kept.entries.len(), indexes(kept.read(9..11, usize::MAX))), (ENTRIES_MAX, None));
        let mut recent = recent(0..10);
        let mut large = entry(1, 10);
        large.payload = EntryPayload::Normal(Command(vec![0; BYTES_MAX]));
        recent.append(large);
        assert_eq!((recent.bytes, indexes(recent.read(10..11, usize::MAX))), (BYTES_MAX, Some(vec![10])));
    }
}
