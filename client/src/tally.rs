//! Counting evaluations of the flags that ask for it.
//!
//! To count is all that an evaluation does here; the reporter takes what was counted away, once an interval. Memory is
//! bounded: what finds no room is counted without being told apart.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use flagraft_core::{
    account::{Counters, How},
    key::EnvironmentKey,
    resolution::Resolution,
    shards::Shards,
};

/// Counters of one part: what is more is not told apart. A counter takes some 100 bytes.
const COUNTERS_MAX: usize = 2_048;

/// What was counted since it was taken away last.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    parts: Shards<Part>,
    is_closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Part {
    counters: Counters,
    beyond: u64,
}

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub counts: BTreeMap<How, u64>,
    /// Evaluations that were not told apart.
    pub beyond: u64,
}

impl Tally {
    /// Counts an evaluation.
    #[inline(never)]
    pub fn count(&self, resolution: &Resolution<'_>) {
        let mut part = self.parts.lock();
        // Read while the part is held: what is counted before it is closed is there when it is taken after that.
        if part.counters.count(resolution) || self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        if part.counters.len() >= COUNTERS_MAX {
            part.beyond = part.beyond.saturating_add(1);
        } else {
            part.counters.begin(resolution);
        }
    }

    /// Counts no more: nobody will ask for it.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// What was counted of this environment's flags, which is not counted any more.
    pub fn take(&self, environment: &EnvironmentKey) -> Counted {
        let mut all = Counted::default();
        for Part { counters, beyond } in self.parts.take() {
            all.beyond = all.beyond.saturating_add(beyond);
            for (how, count) in counters.counts(environment) {
                let sum = all.counts.entry(how).or_default();
                *sum = sum.saturating_add(count);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use flagraft_core::{context::EvaluationContext, feed::Replica};
    use serde_json::{Map, Value, json};

    use super::*;

    const ROUNDS: u64 = 20_000;

    fn replica(flags: usize) -> Replica {
        let flag = |n: usize| {
            json!({"key": format!("flag-{n:05}"), "type": "boolean", "variants": {"on": true, "off": false},
                "version": 7, "audit_evaluations": "summary",
                "configuration": {"enabled": true, "default": {"variant": "on"}}})
        };
        let all: Vec<Value> = (0..flags).map(flag).collect();
        let snapshot = json!({"format": 1, "revision": 9, "environment_revision": 9, "project": "demo",
            "environment": "dev", "flags": all, "segments": []});
        Replica::from_snapshot(&snapshot.to_string()).expect("a snapshot")
    }

    fn count(tally: &Tally, replica: &Replica, key: &str) {
        let context = EvaluationContext::new(Map::new());
        let resolution = replica.evaluate(key, &context).expect("a flag");
        assert!(resolution.is_audited);
        tally.count(&resolution);
    }

    fn total(counted: &Counted) -> u64 {
        counted.counts.values().sum::<u64>() + counted.beyond
    }

    #[test]
    fn threads_that_count_while_it_is_taken_lose_nothing_and_count_nothing_twice() {
        let (tally, replica) = (Tally::default(), replica(2));
        let environment = replica.environment().key();
        let mut sum = 0;
        thread::scope(|scope| {
            let work = || (0..ROUNDS).for_each(|n| count(&tally, &replica, &format!("flag-{:05}", n % 2)));
            let working: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            while working.iter().any(|working| !working.is_finished()) {
                sum += total(&tally.take(environment));
            }
        });
        assert_eq!(sum + total(&tally.take(environment)), 4 * ROUNDS);
    }

    #[test]
    fn memory_is_bounded_and_no_count_is_lost_by_it() {
        let (tally, replica) = (Tally::default(), replica(3_000));
        for n in 0..3_000 {
            count(&tally, &replica, &format!("flag-{n:05}"));
        }
        count(&tally, &replica, "flag-00000");
        let counted = tally.take(replica.environment().key());
        assert_eq!((counted.counts.len(), counted.beyond), (COUNTERS_MAX, 3_000 - COUNTERS_MAX as u64));
        assert_eq!(total(&counted), 3_001);
        let first = counted.counts.first_key_value().expect("a count");
        assert_eq!((&*first.0.flag, first.0.revision, *first.1), ("flag-00000", 7, 2));
        count(&tally, &replica, "flag-02999");
        assert_eq!(tally.take(replica.environment().key()).beyond, 0, "there is room again");
        tally.close();
        count(&tally, &replica, "flag-00000");
        assert_eq!(total(&tally.take(replica.environment().key())), 0);
    }
}
