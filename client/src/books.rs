//! What was counted, as reports: each under a number of its own, and kept until the log has it.
//!
//! While one can't be sent, what is counted after it is added up for the next one; so there is seldom more than one.
//! A report counts a day at most: of a cluster that is away for longer there are several, and of a week's the oldest is
//! dropped, which the log shows by its number.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use flagraft_core::{
    account::{Folded, How, OwnCount, OwnReport},
    identity::BootId,
    limits::REPORT_SPAN_MS_MAX,
};

use crate::{
    clock::{Clock, ceil_ms},
    tally::Counted,
};

/// So many kinds of evaluations are told apart for one report; it has room for a few hundred.
const KINDS_MAX: usize = 4_096;
/// So many reports wait: a week's.
const PENDING_MAX: usize = 7;

/// The books of one life of a client.
#[derive(Debug)]
pub(crate) struct Books {
    instance: Arc<str>,
    boot: BootId,
    /// The number of the next report.
    number: u64,
    /// What is in no report yet.
    counts: BTreeMap<How, u64>,
    beyond: u64,
    /// Since when, in nanoseconds of the clock.
    since_nanos: u64,
    /// Reports that the log may not have, in the order of their numbers.
    pending: VecDeque<OwnReport>,
}

impl Books {
    /// The books of a client that starts now. Without a name of its own it is told apart by its life.
    pub fn new(instance: Option<&str>, boot: BootId, clock: &dyn Clock) -> Self {
        Self {
            instance: instance.map_or_else(|| boot.to_string().into(), Into::into),
            boot,
            number: 1,
            counts: BTreeMap::new(),
            beyond: 0,
            since_nanos: clock.boot_nanos(),
            pending: VecDeque::new(),
        }
    }

    /// Adds what was counted.
    pub fn add(&mut self, counted: Counted) {
        let Counted { counts, beyond } = counted;
        self.beyond = self.beyond.saturating_add(beyond);
        for (how, count) in counts {
            if let Some(sum) = self.counts.get_mut(&how) {
                *sum = sum.saturating_add(count);
            } else if self.counts.len() < KINDS_MAX {
                self.counts.insert(how, count);
            } else {
                self.beyond = self.beyond.saturating_add(count);
            }
        }
    }

    /// Makes a report of what was added, if anything was. The last report of a life is made of nothing too, where the log
    /// may know of that life.
    pub fn close(&mut self, clock: &dyn Clock, ends: bool) {
        let (since_nanos, now_nanos) = (self.since_nanos, clock.boot_nanos());
        self.since_nanos = now_nanos;
        let (counts, beyond) = (std::mem::take(&mut self.counts), std::mem::take(&mut self.beyond));
        let is_empty = counts.is_empty() && beyond == 0;
        if is_empty && !(ends && self.number > 1) {
            return;
        }
        // By the clock that only grows: the other one may have been set meanwhile, by years. A machine that slept for long
        // counted nothing meanwhile.
        let span_ms = i64::try_from(ceil_ms(since_nanos, now_nanos)).unwrap_or(REPORT_SPAN_MS_MAX);
        let to_ms = clock.wall_ms();
        let report = OwnReport {
            instance: Arc::clone(&self.instance),
            boot: self.boot,
            number: self.number,
            from_ms: to_ms.saturating_sub(span_ms.min(REPORT_SPAN_MS_MAX)),
            to_ms,
            ends,
            entries: counts.into_iter().map(OwnCount::from).collect(),
            other: Folded { entries: 0, count: beyond },
        };
        self.number = self.number.saturating_add(1);
        self.pending.push_back(report.folded());
        if self.pending.len() > PENDING_MAX
            && let Some(lost) = self.pending.pop_front()
        {
            let (number, count) = (lost.number, lost.total());
            tracing::warn!(number, count, "no node took a report of evaluations for a week; it is dropped");
        }
    }

    /// Whether a report has to be made before this time goes by, since it would count more than a day.
    pub fn is_long(&self, clock: &dyn Clock, within: Duration) -> bool {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let span_ms = ceil_ms(self.since_nanos, clock.boot_nanos()).saturating_add(within_ms);
        i64::try_from(span_ms).map_or(true, |span_ms| span_ms > REPORT_SPAN_MS_MAX)
    }

    /// The report that is to be sent.
    pub fn first(&self) -> Option<&OwnReport> {
        self.pending.front()
    }

    /// It is done with: the log has it, or never will.
    pub fn settle_first(&mut self) {
        self.pending.pop_front();
    }

    /// The evaluations of all reports that the log may not have.
    pub fn pending_total(&self) -> u64 {
        self.pending.iter().fold(0, |sum, report| sum.saturating_add(report.total()))
    }
}

#[cfg(test)]
mod tests {
    use flagraft_core::{
        key::{FlagKey, VariantKey},
        limits::REPORT_BYTES_MAX,
        resolution::Reason,
    };

    use super::*;

    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * 60;

    /// Seconds since the start of the machine, and milliseconds since 1970.
    #[derive(Debug)]
    struct At(u64, i64);

    impl Clock for At {
        fn boot_nanos(&self) -> u64 {
            self.0 * 1_000_000_000
        }

        fn wall_ms(&self) -> i64 {
            self.1
        }
    }

    fn counted(kinds: usize, each: u64) -> Counted {
        let how = |n: usize| How {
            flag: FlagKey::new(&format!("flag-{n:05}")).expect("a key"),
            variant: VariantKey::new("on").ok(),
            reason: Reason::Static,
            revision: 7,
        };
        Counted { counts: (0..kinds).map(|n| (how(n), each)).collect(), beyond: 0 }
    }

    fn books() -> Books {
        Books::new(None, BootId(0xab), &At(0, 0))
    }

    #[test]
    fn reports_are_numbered_and_an_empty_interval_makes_none() {
        let mut books = books();
        books.close(&At(MINUTE, 60_000), false);
        books.close(&At(2 * MINUTE, 120_000), true);
        assert_eq!(books.first(), None, "a life that the log knows nothing of ends without a word");
        books.add(counted(2, 3));
        books.add(counted(1, 1));
        books.close(&At(3 * MINUTE, 180_000), false);
        let report = books.first().expect("a report").clone();
        assert_eq!((report.number, report.from_ms, report.to_ms), (1, 120_000, 180_000));
        assert_eq!((&*report.instance, report.ends, report.total()), ("00000000000000ab", false, 7));
        let counts: Vec<u64> = report.entries.iter().map(|entry| entry.count).collect();
        assert_eq!(counts, [4, 3]);
        books.close(&At(4 * MINUTE, 240_000), true);
        books.settle_first();
        let last = books.first().expect("the last report");
        assert_eq!((last.number, last.ends, last.total()), (2, true, 0));
    }

    #[test]
    fn memory_is_bounded_and_no_count_is_lost_by_it() {
        let mut books = books();
        for _ in 0..3 {
            books.add(counted(KINDS_MAX + 100, 2));
        }
        assert_eq!((books.counts.len(), books.beyond), (KINDS_MAX, 600));
        books.close(&At(MINUTE, 60_000), false);
        let report = books.first().expect("a report");
        assert_eq!(report.total(), 6 * (KINDS_MAX as u64 + 100));
        assert!(serde_json::to_string(report).expect("JSON").len() <= REPORT_BYTES_MAX);
        assert_eq!(report.other.entries + report.entries.len() as u64, KINDS_MAX as u64);
    }

    #[test]
    fn a_report_counts_a_day_at_most_whatever_the_clocks_say() {
        let mut books = books();
        assert!(!books.is_long(&At(DAY - MINUTE, 0), Duration::from_secs(MINUTE)));
        assert!(books.is_long(&At(DAY - MINUTE + 1, 0), Duration::from_secs(MINUTE)));
        // A clock that began in 1970 was set meanwhile.
        books.add(counted(1, 1));
        books.close(&At(MINUTE, 1_800_000_000_000), false);
        let report = books.first().expect("a report");
        assert_eq!((report.from_ms, report.to_ms), (1_799_999_940_000, 1_800_000_000_000));
        books.settle_first();
        // A machine that slept for a week.
        books.add(counted(1, 1));
        books.close(&At(8 * DAY, 1_800_604_800_000), false);
        let report = books.first().expect("a report");
        assert_eq!(report.to_ms - report.from_ms, REPORT_SPAN_MS_MAX);
    }

    #[test]
    fn of_a_cluster_that_is_away_for_weeks_the_newest_reports_are_kept() {
        let mut books = books();
        for day in 1..=10 {
            books.add(counted(1, day));
            books.close(&At(day * DAY, 0), false);
        }
        assert_eq!(books.pending.len(), PENDING_MAX);
        assert_eq!((books.first().map(|report| report.number), books.pending_total()), (Some(4), 49));
    }
}
