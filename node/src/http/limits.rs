//! How often one caller may do something: a token bucket each, in a map of bounded size.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use flagraft_core::token::TokenId;

/// A rate that each caller may keep up, and the burst it may make on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How much per second in the long run: requests, or what they are weighed in.
    pub per_second: u32,
    /// How much at once after a rest.
    pub burst: u32,
}

/// Buckets by token. At most `capacity` of them are kept: when there are more, the rested ones are forgotten,
/// which changes nothing for them; the callers who find no room then share one bucket.
pub(super) struct RateLimit {
    rate: Rate,
    capacity: usize,
    buckets: Mutex<HashMap<Option<TokenId>, Bucket>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

impl RateLimit {
    pub(super) fn new(rate: Rate, capacity: usize) -> Self {
        Self { rate, capacity, buckets: Mutex::default() }
    }

    /// Takes one request from the caller's bucket; the error is how long to wait.
    pub(super) fn take(&self, token: &TokenId, now: Instant) -> Result<(), Duration> {
        self.take_weighed(token, 1, now)
    }

    /// Takes a request of this weight from the caller's bucket; the error is how long to wait. One that weighs more than a
    /// full bucket takes it all.
    pub(super) fn take_weighed(&self, token: &TokenId, weight: u32, now: Instant) -> Result<(), Duration> {
        let weight = f64::from(weight.min(self.rate.burst));
        // A panic while the map was held leaves at worst a bucket fuller than it should be.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = Some(token.clone());
        if !buckets.contains_key(&key) && buckets.len() >= self.capacity {
            buckets.retain(|_, bucket| !self.is_full(bucket, now));
            if buckets.len() >= self.capacity {
                key = None;
            }
        }
        let full = Bucket { tokens: f64::from(self.rate.burst), filled_at: now };
        let bucket = buckets.entry(key).or_insert(full);
        bucket.tokens = self.tokens(bucket, now);
        bucket.filled_at = now;
        if bucket.tokens >= weight {
            bucket.tokens -= weight;
            return Ok(());
        }
        Err(Duration::from_secs_f64((weight - bucket.tokens) / f64::from(self.rate.per_second.max(1))))
    }

    fn tokens(&self, bucket: &Bucket, now: Instant) -> f64 {
        let rested = now.saturating_duration_since(bucket.filled_at).as_secs_f64();
        (bucket.tokens + rested * f64::from(self.rate.per_second)).min(f64::from(self.rate.burst))
    }

    fn is_full(&self, bucket: &Bucket, now: Instant) -> bool {
        self.tokens(bucket, now) >= f64::from(self.rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> TokenId {
        format!("tok_{n:08}").into()
    }

    #[test]
    fn a_burst_is_taken_and_then_the_rate_holds() {
        let limit = RateLimit::new(Rate { per_second: 10, burst: 3 }, 100);
        let start = Instant::now();
        for _ in 0..3 {
            assert_eq!(limit.take(&id(1), start), Ok(()));
        }
        let wait = limit.take(&id(1), start).expect_err("the burst is spent");
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        assert_eq!(limit.take(&id(2), start), Ok(()), "another token has its own bucket");
        assert_eq!(limit.take(&id(1), start + Duration::from_millis(101)), Ok(()));
    }

    #[test]
    fn what_weighs_more_waits_longer() {
        let limit = RateLimit::new(Rate { per_second: 10, burst: 30 }, 100);
        let start = Instant::now();
        assert_eq!(limit.take_weighed(&id(1), 25, start), Ok(()));
        assert_eq!(limit.take_weighed(&id(1), 25, start), Err(Duration::from_secs(2)));
        assert_eq!(limit.take_weighed(&id(1), 5, start), Ok(()));
        assert_eq!(limit.take_weighed(&id(2), 1_000, start), Ok(()), "a full bucket takes whatever comes");
        assert_eq!(limit.take(&id(2), start), Err(Duration::from_millis(100)));
    }

    #[test]
    fn the_map_is_bounded_and_forgets_the_rested_first() {
        let limit = RateLimit::new(Rate { per_second: 1, burst: 2 }, 2);
        let start = Instant::now();
        for n in 0..50 {
            let _ = limit.take(&id(n), start);
        }
        // Two buckets of their own, and the shared one.
        assert_eq!(limit.buckets.lock().expect("not poisoned").len(), 3);
        assert!(limit.take(&id(99), start).is_err(), "the shared bucket is spent");
        assert_eq!(limit.take(&id(99), start + Duration::from_secs(5)), Ok(()), "all have rested");
    }
}
