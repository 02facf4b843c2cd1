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
        Ok(Self { zero: Instant::now(), last: AtomicU64::new(0), journal })
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
