//! What clients saw of one flag, for tests that ask nothing but whether it is a linearizable register.

use std::{sync::Mutex, time::Instant};

use flagraft_chaos::{
    history::{FORMAT, Header},
    operation::{Asked, Consistency, Did, Operation, Outcome},
    verdict::Violation,
    zones,
};

/// The value that the flag has before its first write.
pub const INITIAL: u64 = 0;

const FLAG: &str = "the flag";

/// Collects the confirmed operations of many clients on one flag. Each write has a value of its own.
#[derive(Debug)]
pub struct History {
    zero: Instant,
    operations: Mutex<Vec<Operation>>,
}

impl Default for History {
    fn default() -> Self {
        Self { zero: Instant::now(), operations: Mutex::default() }
    }
}

impl History {
    /// Notes a write that began at `start` and was acknowledged just now.
    pub fn wrote(&self, value: u64, start: Instant) {
        self.note(start, Outcome::Ok, write(value));
    }

    /// Notes a write that began at `start` and was never acknowledged: it may take effect at any time, or never.
    pub fn may_have_written(&self, value: u64, start: Instant) {
        self.note(start, Outcome::Unknown, write(value));
    }

    /// Notes a read that began at `start` and was answered just now.
    pub fn read(&self, value: u64, start: Instant) {
        let saw = vec![(FLAG.to_owned(), Some(value))];
        let consistency = Some(Consistency::Linearizable);
        self.note(start, Outcome::Ok, Did::Read { asked: Asked::Critical, saw, consistency, age_ms: None });
    }

    fn note(&self, start: Instant, outcome: Outcome, did: Did) {
        let nanos = |since: Instant| u64::try_from(since.saturating_duration_since(self.zero).as_nanos());
        let (start_ns, end_ns) =
            (nanos(start).expect("not for ever"), nanos(Instant::now()).expect("the same"));
        let mut operations = self.operations.lock().expect("no holder panics");
        let op = operations.len() as u64 + 1;
        let operation = Operation {
            op,
            client: 0,
            node: 0,
            session: None,
            start_ns,
            end_ns,
            outcome,
            revision: None,
            did,
        };
        operations.push(operation);
    }

    /// How many reads were noted.
    pub fn reads(&self) -> usize {
        let operations = self.operations.lock().expect("no holder panics");
        operations.iter().filter(|operation| matches!(operation.did, Did::Read { .. })).count()
    }

    /// Judges what was collected, by times and values alone ([`zones`]).
    ///
    /// # Errors
    /// The first violation that was found.
    pub fn check(&self) -> Result<(), Violation> {
        let flags = [(FLAG.to_owned(), INITIAL)].into();
        let header = Header { format: FORMAT, seed: 0, revision: 0, flags };
        let operations = self.operations.lock().expect("no holder panics");
        zones::check(&header, operations.iter()).violations.into_iter().next().map_or(Ok(()), Err)
    }
}

fn write(value: u64) -> Did {
    Did::Write { set: vec![(FLAG.to_owned(), value)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_read_is_found_and_a_lost_write_may_be_late() {
        let history = History::default();
        let begun = Instant::now();
        history.wrote(1, begun);
        history.may_have_written(2, Instant::now());
        history.read(1, Instant::now());
        history.read(2, Instant::now());
        assert_eq!(history.check(), Ok(()));
        history.read(1, Instant::now());
        assert!(history.check().is_err());
        assert_eq!(history.reads(), 3);
    }

    #[test]
    fn what_nobody_wrote_is_found() {
        let history = History::default();
        history.read(INITIAL, Instant::now());
        assert_eq!(history.check(), Ok(()));
        history.read(7, Instant::now());
        assert!(history.check().is_err());
    }
}
