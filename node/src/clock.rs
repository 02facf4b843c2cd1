//! The two clocks of a node: one that counts, for ages and waits, and one that people read, for records.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A point in time of this machine since it was started, in nanoseconds. It goes on while the process is stopped
/// and while the machine sleeps, and nobody can set it: what an age has to be counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(u64);

impl BootTime {
    /// Now.
    pub fn now() -> Self {
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        // Elsewhere there is no such clock; the monotonic one may stand still while the machine sleeps.
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds))
    }

    /// How long ago this was; zero when it lies ahead.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// The time from `earlier` to this; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The same as a number of nanoseconds, never 0.
    pub(crate) fn to_nanos(self) -> u64 {
        self.0.max(1)
    }

    /// The time [`BootTime::to_nanos`] gave.
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }
}

/// The wall clock: milliseconds since 1970 UTC. Stamped into proposals and compared between members, never used
/// to measure how long something takes.
pub fn wall_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or(0)
}

/// The wall clock that a member stamps records with, and tells the others so that they can compare theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// What it is ahead of the machine's, in milliseconds. 0 but in tests of clocks that differ.
    pub ahead_ms: i64,
}

/// Test only: an environment variable that sets this process's wall clock, as it is stamped into records and told to others,
/// so many milliseconds ahead of the machine's, or behind it where it begins with `-`.
const CLOCK_AHEAD_MS: &str = "FLAGRAFT_CLOCK_AHEAD_MS";

impl WallClock {
    /// The clock of a production node: the machine's. The environment variable `FLAGRAFT_CLOCK_AHEAD_MS` (a number; for tests
    /// of the whole process, in which days have to pass) is read here and nowhere else.
    pub fn of_the_process() -> Self {
        let ahead_ms = std::env::var(CLOCK_AHEAD_MS).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        if ahead_ms != 0 {
            tracing::warn!(
                ahead_ms,
                "{CLOCK_AHEAD_MS} is set: the times of this process's records are wrong on purpose"
            );
        }
        Self { ahead_ms }
    }

    /// Milliseconds since 1970 UTC.
    pub fn now_ms(self) -> i64 {
        wall_ms().saturating_add(self.ahead_ms)
    }
}

/// Whole milliseconds, rounded up: an age is a bound, and a bound is never rounded down.
pub fn ceil_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_only_grows_and_ages_round_up() {
        let earlier = BootTime::now();
        let later = BootTime::now();
        assert!(later >= earlier);
        assert_eq!(earlier.since(BootTime::from_nanos(later.to_nanos() + 5)), Duration::ZERO);
        assert_eq!(ceil_ms(Duration::ZERO), 0);
        assert_eq!(ceil_ms(Duration::from_nanos(1)), 1);
        assert_eq!(ceil_ms(Duration::from_millis(250)), 250);
    }

    #[test]
    fn the_wall_clock_is_past_the_year_2020() {
        assert!(wall_ms() > 1_577_836_800_000);
    }
}
