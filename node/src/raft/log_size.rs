//! How many bytes of log there are, and from where on there would be few enough.
//!
//! openraft bounds its log by entries. Entries are up to a mebibyte, so that bound alone could fill a disk.

use std::collections::VecDeque;

/// The log is measured in pieces of this part of the limit: that is how exact the answer is.
const PIECES: u64 = 64;

/// Measures a log as it grows and shrinks.
#[derive(Debug)]
pub(super) struct LogSize {
    bytes_max: u64,
    total: u64,
    pieces: VecDeque<Piece>,
}

#[derive(Debug)]
struct Piece {
    /// The last index in it.
    last: u64,
    bytes: u64,
}

impl LogSize {
    /// An empty log that may have `bytes_max` bytes.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, total: 0, pieces: VecDeque::new() }
    }

    /// An entry was appended.
    pub(super) fn append(&mut self, index: u64, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.total = self.total.saturating_add(bytes);
        match self.pieces.back_mut() {
            Some(piece) if piece.bytes < self.bytes_max / PIECES => {
                piece.last = index;
                piece.bytes = piece.bytes.saturating_add(bytes);
            }
            _ => self.pieces.push_back(Piece { last: index, bytes }),
        }
    }

    /// The entries from `first` on were removed. Of the piece that is cut, the bytes stay counted.
    pub(super) fn truncate(&mut self, first: u64) {
        while let Some(before) = self.pieces.len().checked_sub(2).and_then(|at| self.pieces.get(at))
            && before.last >= first
        {
            self.total -= self.pieces.pop_back().map_or(0, |piece| piece.bytes);
        }
        if let Some(piece) = self.pieces.back_mut() {
            piece.last = piece.last.min(first.saturating_sub(1));
        }
    }

    /// The entries up to `upto` were removed.
    pub(super) fn purge(&mut self, upto: u64) {
        while self.pieces.front().is_some_and(|piece| piece.last <= upto) {
            self.total -= self.pieces.pop_front().map_or(0, |piece| piece.bytes);
        }
    }

    /// The last index of those that must go for the rest to be within the limit. `None` when all are.
    pub(super) fn excess(&self) -> Option<u64> {
        let mut left = self.total;
        let mut upto = None;
        for piece in &self.pieces {
            if left <= self.bytes_max {
                break;
            }
            left -= piece.bytes;
            upto = Some(piece.last);
        }
        upto
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entries_go_until_the_rest_fits() {
        let mut size = LogSize::new(6_400);
        (0..64).for_each(|index| size.append(index, 100));
        assert_eq!(size.excess(), None);
        (64..70).for_each(|index| size.append(index, 100));
        assert_eq!(size.excess(), Some(5));
        size.purge(5);
        assert_eq!(size.excess(), None);
        size.purge(u64::MAX);
        assert_eq!((size.total, size.pieces.len()), (0, 0));
    }

    #[test]
    fn a_truncated_end_is_no_longer_counted() {
        let mut size = LogSize::new(640);
        (0..100).for_each(|index| size.append(index, 10));
        assert_eq!(size.excess(), Some(35));
        size.truncate(50);
        assert_eq!(size.excess(), None);
        (50..70).for_each(|index| size.append(index, 10));
        assert!(size.excess().is_some_and(|upto| upto < 50));
    }

    #[test]
    fn one_entry_larger_than_the_limit_is_excess_by_itself() {
        let mut size = LogSize::new(100);
        size.append(0, 1_000);
        assert_eq!(size.excess(), Some(0));
    }
}
