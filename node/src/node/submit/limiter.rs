//! How many rejections of one token are recorded in a second, so that nobody fills the audit log by being refused.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use flagraft_core::token::TokenId;
use tokio::time::Instant;

const WINDOW: Duration = Duration::from_secs(1);

/// A token without a recorded rejection for this long has credit.
const CREDIT_AFTER: Duration = Duration::from_secs(60);
/// So many writes of a token with credit may be under way, whatever may become of them: even if all are rejected, that
/// is fewer in the time that it took to have credit than is allowed in each second of it. To find out beforehand what
/// would become of a write costs as much as the write.
const CREDIT: u32 = 256;

/// Tokens counted at once. Beyond that all others share a count.
const TOKENS_MAX: usize = 10_000;

/// Counts recorded rejections by token, in windows of a second.
#[derive(Debug)]
pub(super) struct RejectionLimiter {
    per_second: u32,
    counts: Mutex<HashMap<Option<TokenId>, Count>>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    recorded: u32,
    under_way: u32,
    last_recorded: Option<Instant>,
}

impl Count {
    fn has_credit(&self, now: Instant) -> bool {
        self.last_recorded.is_none_or(|at| now.duration_since(at) >= CREDIT_AFTER)
    }
}

/// A write under way, which may turn out to be rejected.
pub(super) struct UnderWay<'a> {
    limiter: &'a RejectionLimiter,
    key: Option<TokenId>,
    rejected: bool,
}

impl RejectionLimiter {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, counts: Mutex::default() }
    }

    /// Notes a write of this token. The flag says whether its rejection could still be recorded: if not, it may be
    /// proposed only once it is known that it will not be rejected.
    pub(super) fn begin(&self, token: Option<&TokenId>) -> (UnderWay<'_>, bool) {
        let now = Instant::now();
        let mut counts = self.lock();
        let mut key = token.cloned();
        if !counts.contains_key(&key) && counts.len() >= TOKENS_MAX {
            counts.retain(|_, count| {
                count.under_way > 0 || now.duration_since(count.since) < WINDOW || !count.has_credit(now)
            });
            if counts.len() >= TOKENS_MAX {
                key = None;
            }
        }
        let count = counts.entry(key.clone()).or_insert(Count {
            since: now,
            recorded: 0,
            under_way: 0,
            last_recorded: None,
        });
        if now.duration_since(count.since) >= WINDOW {
            (count.since, count.recorded) = (now, 0);
        }
        let credit = if count.has_credit(now) { CREDIT.min(self.per_minute()) } else { 0 };
        let room = count.recorded.saturating_add(count.under_way) < self.per_second.max(credit);
        count.under_way = count.under_way.saturating_add(1);
        (UnderWay { limiter: self, key, rejected: false }, room)
    }

    fn per_minute(&self) -> u32 {
        self.per_second.saturating_mul(60)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Option<TokenId>, Count>> {
        // A panic while the map was held leaves at worst a count that is off by one.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay<'_> {
    /// The write was rejected, and that was recorded.
    pub(super) fn was_rejected(mut self) {
        self.rejected = true;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.limiter.lock().get_mut(&self.key) {
            count.under_way = count.under_way.saturating_sub(1);
            if self.rejected {
                count.recorded = count.recorded.saturating_add(1);
                count.last_recorded = Some(Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rejections_are_counted_by_token_and_second_and_accepted_writes_are_not() {
        let limiter = RejectionLimiter::new(2);
        let (one, other): (TokenId, TokenId) = ("tok_00000001".into(), "tok_00000002".into());
        for _ in 0..5 {
            let (under_way, room) = limiter.begin(Some(&one));
            assert!(room, "accepted writes leave room");
            drop(under_way);
        }
        let (rejected, _) = limiter.begin(Some(&one));
        rejected.was_rejected();
        tokio::time::advance(WINDOW).await;
        let (first, room) = limiter.begin(Some(&one));
        assert!(room);
        let (second, room) = limiter.begin(Some(&one));
        assert!(room);
        assert!(!limiter.begin(Some(&one)).1, "two under way could both be rejected");
        first.was_rejected();
        second.was_rejected();
        assert!(!limiter.begin(Some(&one)).1);
        assert!(limiter.begin(Some(&other)).1, "another token is counted apart");
        tokio::time::advance(WINDOW).await;
        assert!(limiter.begin(Some(&one)).1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_not_rejected_for_long_has_credit_once() {
        let limiter = RejectionLimiter::new(10);
        let one: TokenId = "tok_00000001".into();
        let mut under_way = Vec::new();
        for _ in 0..CREDIT {
            let (write, room) = limiter.begin(Some(&one));
            assert!(room);
            under_way.push(write);
        }
        assert!(!limiter.begin(Some(&one)).1, "the credit is used up");
        under_way.drain(..).for_each(UnderWay::was_rejected);
        tokio::time::advance(WINDOW).await;
        for _ in 0..10 {
            let (write, room) = limiter.begin(Some(&one));
            assert!(room, "what every token has");
            under_way.push(write);
        }
        assert!(!limiter.begin(Some(&one)).1, "and no more");
        drop(under_way);
        tokio::time::advance(CREDIT_AFTER).await;
        let (_tenth, _) = (0..10).map(|_| limiter.begin(Some(&one))).last().expect("ten");
        assert!(limiter.begin(Some(&one)).1, "after a minute without a rejection there is credit again");

        let none = RejectionLimiter::new(0);
        assert!(!none.begin(Some(&one)).1, "a limit of none is none");
    }

    #[tokio::test(start_paused = true)]
    async fn the_counts_are_bounded() {
        let limiter = RejectionLimiter::new(1);
        for n in 0..TOKENS_MAX + 50 {
            let (under_way, _) = limiter.begin(Some(&format!("tok_{n:08}").into()));
            under_way.was_rejected();
        }
        assert_eq!(limiter.lock().len(), TOKENS_MAX + 1, "one for all who found no room");
        tokio::time::advance(CREDIT_AFTER).await;
        limiter.begin(Some(&"tok_a".into())).0.was_rejected();
        assert_eq!(limiter.lock().len(), 1, "rested counts make room");
    }
}
