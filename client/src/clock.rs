//! The two clocks of a client: one that counts, for ages, and one that people read, for what lies on disk.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::time::{ClockId, clock_gettime};

/// The clocks that ages are counted with. To be replaced in tests.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Nanoseconds since the machine was started. Goes on while the machine sleeps, and nobody can set it.
    fn boot_nanos(&self) -> u64;

    /// Milliseconds since 1970 UTC. May jump.
    fn wall_ms(&self) -> i64;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot_nanos(&self) -> u64 {
        #[cfg(target_os = "linux")]
        let clock = ClockId::Boottime;
        // Elsewhere there is no such clock; the monotonic one may stand still while the machine sleeps.
        #[cfg(not(target_os = "linux"))]
        let clock = ClockId::Monotonic;
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
    }

    fn wall_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        since.and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
    }
}

/// The whole milliseconds from one time to another, rounded up: an age is a bound, and a bound is never rounded down.
pub(crate) fn ceil_ms(from_nanos: u64, to_nanos: u64) -> u64 {
    to_nanos.saturating_sub(from_nanos).div_ceil(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_round_up_and_the_clock_only_grows() {
        assert_eq!((ceil_ms(5, 5), ceil_ms(5, 6), ceil_ms(6, 5)), (0, 1, 0));
        assert_eq!(ceil_ms(0, 250_000_000), 250);
        let earlier = SystemClock.boot_nanos();
        assert!(SystemClock.boot_nanos() >= earlier);
        assert!(SystemClock.wall_ms() > 1_577_836_800_000, "past the year 2020");
    }
}
