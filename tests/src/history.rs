//! What clients saw of one register, and whether it is linearizable.
//!
//! Every write has a value of its own, so a value stands for its write and all reads of it: a cluster. The check is
//! Gibbons and Korach's: of each cluster take `f`, the earliest end, and `s`, the latest start, of its operations. If
//! `f < s`, the register must have held the value all through `[f, s]`: a forward zone. Else there is some moment in
//! `[s, f]` when it held it: a backward zone. The history is linearizable unless a read ends before its write starts,
//! two forward zones overlap, or a backward zone lies inside a forward one. It looks at times and values only, so it
//! is independent of every revision that the nodes claim.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Mutex,
    time::{Duration, Instant},
};

/// The value that a register holds before its first write.
pub const INITIAL: u64 = 0;

/// When an operation was under way. An end of `None`: nobody knows whether and when it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    start: Duration,
    end: Option<Duration>,
}

/// Collects the operations of many clients on one register.
#[derive(Debug)]
pub struct History {
    zero: Instant,
    writes: Mutex<Vec<(u64, Span)>>,
    reads: Mutex<Vec<(u64, Span)>>,
}

impl Default for History {
    fn default() -> Self {
        Self { zero: Instant::now(), writes: Mutex::default(), reads: Mutex::default() }
    }
}

impl History {
    /// Notes a write that began at `start` and was acknowledged just now.
    pub fn wrote(&self, value: u64, start: Instant) {
        self.note(&self.writes, value, start, Some(self.zero.elapsed()));
    }

    /// Notes a write that began at `start` and was never acknowledged: it may take effect at any time, or never.
    pub fn may_have_written(&self, value: u64, start: Instant) {
        self.note(&self.writes, value, start, None);
    }

    /// Notes a read that began at `start` and was answered just now.
    pub fn read(&self, value: u64, start: Instant) {
        self.note(&self.reads, value, start, Some(self.zero.elapsed()));
    }

    fn note(&self, list: &Mutex<Vec<(u64, Span)>>, value: u64, start: Instant, end: Option<Duration>) {
        let span = Span { start: start.saturating_duration_since(self.zero), end };
        list.lock().expect("no holder panics").push((value, span));
    }

    /// How many reads were noted.
    pub fn reads(&self) -> usize {
        self.reads.lock().expect("no holder panics").len()
    }

    /// Judges what was collected.
    ///
    /// # Errors
    /// The first fault that was found.
    pub fn check(&self) -> Result<(), Fault> {
        check(&self.writes.lock().expect("no holder panics"), &self.reads.lock().expect("no holder panics"))
    }
}

/// Why a history is not linearizable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A value was read that nobody wrote.
    Invented(u64),
    /// A value was read before its write began.
    Foreseen(u64),
    /// Two values must both have been held at one time: at least one read was stale.
    Overlap(u64, u64),
    /// A value was read at a time through which the register held another.
    Stale {
        /// The value that was read.
        read: u64,
        /// The value that was held.
        held: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invented(value) => write!(f, "{value} was read, but never written"),
            Self::Foreseen(value) => write!(f, "{value} was read before it was written"),
            Self::Overlap(one, other) => write!(f, "the reads of {one} and of {other} contradict each other"),
            Self::Stale { read, held } => {
                write!(f, "{read} was read or written within a time when {held} was held")
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Zone {
    value: u64,
    /// The earliest end; `None`: infinity.
    first_end: Option<Duration>,
    last_start: Duration,
}

impl Zone {
    fn is_forward(&self) -> bool {
        self.first_end.is_some_and(|end| end < self.last_start)
    }

    /// Its bounds, in order.
    fn bounds(&self) -> (Duration, Duration) {
        let end = self.first_end.unwrap_or(Duration::MAX);
        (end.min(self.last_start), end.max(self.last_start))
    }
}

fn check(writes: &[(u64, Span)], reads: &[(u64, Span)]) -> Result<(), Fault> {
    let initial = (INITIAL, Span { start: Duration::ZERO, end: Some(Duration::ZERO) });
    let mut written: BTreeMap<u64, Span> = BTreeMap::from([initial]);
    for (value, span) in writes {
        assert!(
            written.insert(*value, *span).is_none(),
            "{value} was written twice: the check needs unique values"
        );
    }
    let mut zones: BTreeMap<u64, Zone> = BTreeMap::new();
    for (value, write) in &written {
        // A write that nobody acknowledged and nobody read may never have been.
        if write.end.is_some() || reads.iter().any(|(read, _)| read == value) {
            zones.insert(*value, Zone { value: *value, first_end: write.end, last_start: write.start });
        }
    }
    for (value, read) in reads {
        let zone = zones.get_mut(value).ok_or(Fault::Invented(*value))?;
        if read.end < Some(written[value].start) {
            return Err(Fault::Foreseen(*value));
        }
        zone.first_end = match (zone.first_end, read.end) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        zone.last_start = zone.last_start.max(read.start);
    }
    let (forward, backward): (Vec<Zone>, Vec<Zone>) = zones.values().partition(|zone| zone.is_forward());
    for (index, zone) in forward.iter().enumerate() {
        let (from, to) = zone.bounds();
        for other in &forward[index + 1..] {
            let (other_from, other_to) = other.bounds();
            if from < other_to && other_from < to {
                return Err(Fault::Overlap(zone.value, other.value));
            }
        }
        for other in &backward {
            let (other_from, other_to) = other.bounds();
            if from < other_from && other_to < to {
                return Err(Fault::Stale { read: other.value, held: zone.value });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span { start: Duration::from_millis(start), end: Some(Duration::from_millis(end)) }
    }

    #[test]
    fn a_read_during_a_write_may_see_either() {
        let writes = [(1, span(10, 20)), (2, span(30, 50))];
        assert_eq!(check(&writes, &[(1, span(35, 40)), (2, span(41, 45))]), Ok(()));
        assert_eq!(check(&writes, &[(1, span(35, 45)), (2, span(35, 36)), (1, span(34, 38))]), Ok(()));
    }

    #[test]
    fn a_stale_read_is_found() {
        let writes = [(1, span(10, 20)), (2, span(30, 40))];
        assert!(check(&writes, &[(2, span(32, 35)), (1, span(45, 50))]).is_err());
        assert!(check(&writes, &[(2, span(42, 43)), (1, span(45, 50)), (2, span(52, 53))]).is_err());
    }

    #[test]
    fn invention_and_foresight_are_found() {
        assert_eq!(check(&[(1, span(10, 20))], &[(7, span(30, 31))]), Err(Fault::Invented(7)));
        assert_eq!(check(&[(1, span(10, 20))], &[(1, span(5, 6))]), Err(Fault::Foreseen(1)));
    }

    #[test]
    fn an_unacknowledged_write_may_take_effect_late_or_never() {
        let lost = Span { start: Duration::from_millis(25), end: None };
        let writes = [(1, span(10, 20)), (2, lost)];
        assert_eq!(check(&writes, &[(1, span(30, 40))]), Ok(()));
        assert_eq!(check(&writes, &[(1, span(30, 40)), (2, span(90, 91))]), Ok(()));
        assert!(check(&writes, &[(2, span(30, 40)), (1, span(90, 91))]).is_err());
    }

    /// Whether some order of all operations that keeps to real time explains every read.
    fn by_brute_force(operations: &[(bool, u64, Span)]) -> bool {
        fn search(operations: &[(bool, u64, Span)], done: u32, held: u64) -> bool {
            if done.count_ones() as usize == operations.len() {
                return true;
            }
            let pending = || (0..operations.len()).filter(|index| done & (1 << index) == 0);
            pending().any(|index| {
                let (is_write, value, span) = operations[index];
                let in_turn =
                    pending().all(|other| other == index || operations[other].2.end >= Some(span.start));
                in_turn
                    && (is_write || value == held)
                    && search(operations, done | 1 << index, if is_write { value } else { held })
            })
        }
        search(operations, 0, INITIAL)
    }

    /// A check that finds no fault proves little unless it finds those that are there: compared with trying all orders.
    #[test]
    fn agrees_with_brute_force_on_random_histories() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut good, mut bad) = (0, 0);
        for _ in 0..20_000 {
            let writes = rng.u64(1..=3);
            let mut moments: Vec<u64> = (1..=40).collect();
            rng.shuffle(&mut moments);
            let mut next = || {
                let (one, other) = (moments.pop().expect("enough"), moments.pop().expect("enough"));
                span(one.min(other), one.max(other))
            };
            let mut operations: Vec<(bool, u64, Span)> =
                (1..=writes).map(|value| (true, value, next())).collect();
            for _ in 0..rng.u64(1..=4) {
                operations.push((false, rng.u64(0..=writes), next()));
            }
            let list = |wanted| -> Vec<(u64, Span)> {
                operations.iter().filter(|o| o.0 == wanted).map(|o| (o.1, o.2)).collect()
            };
            let found = check(&list(true), &list(false));
            let expected = by_brute_force(&operations);
            assert_eq!(found.is_ok(), expected, "{found:?} of {operations:?}");
            *if expected { &mut good } else { &mut bad } += 1;
        }
        assert!(good > 1_000 && bad > 1_000, "the histories are of both kinds: {good} and {bad}");
    }
}
