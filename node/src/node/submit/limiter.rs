//! How many rejections of one token are recorded in a second, so that nobody fills the audit log by being refused.
//!
//! A bucket for each token, out of which every recorded rejection takes. Writes that are under way take nothing: most
//! are accepted. So more can be recorded at once than there was room for, and then the bucket stays empty until that is
//! made up for.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use flagraft_core::token::TokenId;
use tokio::time::Instant;

/// Tokens counted apart. Beyond that all others share a bucket.
const TOKENS_MAX: usize = 10_000;

/// Buckets by token; there is none for a token that was not rejected lately.
#[derive(Debug)]
pub(super) struct RejectionLimiter {
    per_second: f64,
    buckets: Mutex<HashMap<Option<TokenId>, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// How many rejections there was room for; below 0 where there was none.
    room: f64,
    at: Instant,
}

impl RejectionLimiter {
    /// So many a second, and as many at once.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), buckets: Mutex::default() }
    }

    /// Whether another rejection of the token can be recorded.
    pub(super) fn has_room(&self, token: &TokenId) -> bool {
        let buckets = self.lock();
        let bucket = buckets.get(&Some(token.clone())).or_else(|| {
            // Only where there was no room for a bucket of its own may it be counted with others.
            buckets.get(&None).filter(|_| buckets.len() >= TOKENS_MAX)
        });
        let room = bucket.map_or(self.per_second, |bucket| self.room(bucket, Instant::now()));
        room >= 1.0
    }

    /// A rejection of the token was recorded.
    pub(super) fn recorded(&self, token: &TokenId) {
        let now = Instant::now();
        let mut buckets = self.lock();
        let mut key = Some(token.clone());
        if !buckets.contains_key(&key) && buckets.len() >= TOKENS_MAX {
            buckets.retain(|_, bucket| self.room(bucket, now) < self.per_second);
            if buckets.len() >= TOKENS_MAX {
                key = None;
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { room: self.per_second, at: now });
        *bucket = Bucket { room: self.room(bucket, now) - 1.0, at: now };
    }

    fn room(&self, bucket: &Bucket, now: Instant) -> f64 {
        let rested = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.room + rested * self.per_second).min(self.per_second)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<TokenId>, Bucket>> {
        // A panic while the map was held leaves at worst a count that is off by one.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn recorded_rejections_are_counted_by_token_and_second() {
        let limiter = RejectionLimiter::new(2);
        let (one, other): (TokenId, TokenId) = ("tok_00000001".into(), "tok_00000002".into());
        limiter.recorded(&one);
        assert!(limiter.has_room(&one), "for another one");
        limiter.recorded(&one);
        assert!(!limiter.has_room(&one));
        assert!(limiter.has_room(&other), "another token is counted apart");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert!(limiter.has_room(&one));
        tokio::time::advance(Duration::from_secs(3_600)).await;
        limiter.recorded(&one);
        limiter.recorded(&one);
        assert!(!limiter.has_room(&one), "a long rest gives no more room than a second's");
    }

    /// Rejections that were under way at once are all recorded; then there is a rest.
    #[tokio::test(start_paused = true)]
    async fn what_was_recorded_beyond_the_limit_is_made_up_for() {
        let limiter = RejectionLimiter::new(10);
        let token: TokenId = "tok_00000001".into();
        for _ in 0..100 {
            limiter.recorded(&token);
        }
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!limiter.has_room(&token));
        tokio::time::advance(Duration::from_millis(150)).await;
        assert!(limiter.has_room(&token));
    }

    #[tokio::test(start_paused = true)]
    async fn the_buckets_are_bounded() {
        let limiter = RejectionLimiter::new(1);
        for n in 0..TOKENS_MAX + 50 {
            limiter.recorded(&format!("tok_{n:08}").into());
        }
        assert_eq!(limiter.lock().len(), TOKENS_MAX + 1, "one for all who found no room");
        assert!(!limiter.has_room(&"tok_another".into()), "which it then is counted in");
        tokio::time::advance(Duration::from_secs(100)).await;
        limiter.recorded(&"tok_a".into());
        assert_eq!(limiter.lock().len(), 1, "rested ones make room");
    }
}
