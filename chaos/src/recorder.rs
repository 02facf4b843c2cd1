//! Writes a history down while it happens.

use std::{
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use crate::{
    history::Header,
    journal::Journal,
    operation::{Did, Operation, Outcome},
};

/// Writes the operations of many clients to one file. What was noted is in the file, even if this process is killed the
/// moment after.
#[derive(Debug)]
pub struct Recorder {
    zero: Instant,
    last: AtomicU64,
    journal: Journal,
    ended: AtomicU64,
    last_write_ns: AtomicU64,
    worst_gap_ns: AtomicU64,
}

/// How far a history is, for whoever watches it grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Operations that have ended, without the events of streams.
    pub operations: u64,
    /// When the last write was acknowledged, in nanoseconds; 0: none was.
    pub last_write_ns: u64,
    /// The longest time without an acknowledged write so far, in nanoseconds; the one that lasts is not counted.
    pub worst_gap_ns: u64,
}

/// An operation that is under way.
#[derive(Clone, Debug)]
#[must_use = "an operation that is not noted is missing from the history"]
pub struct Begun {
    operation: Operation,
}

impl Recorder {
    /// Begins a history at `path`. Its time begins now.
    ///
    /// # Errors
    /// The file is there already, or can't be written.
    pub fn create(path: &Path, header: &Header) -> io::Result<Self> {
        let journal = Journal::create(path)?;
        journal.add(header)?;
        let zero = || AtomicU64::new(0);
        Ok(Self {
            zero: Instant::now(),
            last: zero(),
            journal,
            ended: zero(),
            last_write_ns: zero(),
            worst_gap_ns: zero(),
        })
    }

    /// How far it is.
    pub fn pulse(&self) -> Pulse {
        Pulse {
            operations: self.ended.load(Ordering::Relaxed),
            last_write_ns: self.last_write_ns.load(Ordering::Relaxed),
            worst_gap_ns: self.worst_gap_ns.load(Ordering::Relaxed),
        }
    }

    /// Nanoseconds since the history began: the time that incidents are noted in too.
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// To be called before anything is sent. A write is announced in the file, so that it is not forgotten should this
    /// process be killed before the answer.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn begin(&self, client: u32, node: u64, session: Option<u64>, did: Did) -> io::Result<Begun> {
        let start_ns = self.now_ns();
        let op = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let outcome = Outcome::Begun;
        let operation =
            Operation { op, client, node, session, start_ns, end_ns: start_ns, outcome, revision: None, did };
        if matches!(operation.did, Did::Write { .. }) {
            self.journal.add(&operation)?;
        }
        Ok(Begun { operation })
    }

    /// To be called when it was answered or given up. `did` is what is known of it now.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn end(&self, begun: Begun, outcome: Outcome, revision: Option<u64>, did: Did) -> io::Result<()> {
        let end_ns = self.now_ns();
        self.ended.fetch_add(1, Ordering::Relaxed);
        if outcome == Outcome::Ok && matches!(did, Did::Write { .. }) {
            let last_ns = self.last_write_ns.swap(end_ns, Ordering::Relaxed);
            self.worst_gap_ns.fetch_max(end_ns.saturating_sub(last_ns), Ordering::Relaxed);
        }
        self.journal.add(&Operation { end_ns, outcome, revision, did, ..begun.operation })
    }

    /// Notes what happened just now and took no time: an event of a stream.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn note(&self, client: u32, node: u64, revision: Option<u64>, did: Did) -> io::Result<()> {
        let begun = self.begin(client, node, None, did)?;
        self.journal.add(&Operation { outcome: Outcome::Ok, revision, ..begun.operation })
    }
}

impl Begun {
    /// What it is, so that its end can say more.
    pub fn did(&self) -> Did {
        self.operation.did.clone()
    }

    /// The node that it turned out to ask.
    pub fn through(mut self, node: u64) -> Self {
        self.operation.node = node;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::history::FORMAT;

    #[test]
    fn the_pulse_counts_what_ended_and_how_long_no_write_did() {
        let folder = tempfile::tempdir().expect("a folder");
        let header = Header { format: FORMAT, seed: 1, revision: 0, flags: BTreeMap::new() };
        let recorder = Recorder::create(&folder.path().join("history.jsonl"), &header).expect("a file");
        assert_eq!(recorder.pulse(), Pulse::default());
        let write = || Did::Write { set: vec![("a".to_owned(), 1)] };
        let end = |outcome| {
            let begun = recorder.begin(1, 1, None, write()).expect("noted");
            recorder.end(begun, outcome, None, write()).expect("noted");
            recorder.pulse()
        };
        let first = end(Outcome::Ok);
        assert!(first.operations == 1 && first.last_write_ns > 0, "{first:?}");
        let second = end(Outcome::Unknown);
        assert_eq!(second, Pulse { operations: 2, ..first }, "nobody acknowledged it");
        let third = end(Outcome::Ok);
        assert!(third.worst_gap_ns >= third.last_write_ns - first.last_write_ns, "{third:?}");
        recorder.note(1, 1, Some(1), write()).expect("noted");
        assert_eq!(recorder.pulse(), third, "it took no time");
    }
}
