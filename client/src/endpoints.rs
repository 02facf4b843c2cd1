//! The nodes that a client knows, and how each of them did: a circuit breaker for each, and full-jitter pauses.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::Url;
use tokio::time::Instant;

use crate::fault::Fault;

/// So many failures in a row and a node is left alone for a while.
const FAILURES_MAX: u32 = 3;
/// The longest that a node which fails is left alone: critical flags wait for it.
const SHUT_MAX: Duration = Duration::from_secs(2);
/// A node that refuses the token is left alone for so many times the longest pause of others in the end.
const REFUSED_PAUSES: u32 = 6;
/// The longest that a node may ask to be left alone.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// The nodes.
#[derive(Debug)]
pub(crate) struct Endpoints {
    list: Vec<Endpoint>,
    /// Which one comes first among equals.
    first: AtomicUsize,
    pause: Pause,
    /// For a node that refuses the token: nothing changes until a person does something.
    refused: Pause,
}

#[derive(Debug)]
struct Endpoint {
    url: Url,
    health: Mutex<Health>,
}

/// How a node did.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// Failures since it last did well.
    failures: u32,
    /// It is left alone until then. After that it is tried, and one more failure closes the door again.
    shut_until: Option<Instant>,
    /// How often it refused the token since it last answered otherwise.
    refusals: u32,
    /// It gives no stream until then, and may be asked for all else.
    streams_shut_until: Option<Instant>,
    /// It takes no reports until then, likewise.
    reports_shut_until: Option<Instant>,
}

impl Health {
    fn is_open(&self, now: Instant) -> bool {
        self.shut_until.is_none_or(|until| until <= now)
    }

    fn streams(&self, now: Instant) -> bool {
        self.is_open(now) && self.streams_shut_until.is_none_or(|until| until <= now)
    }

    fn reports(&self, now: Instant) -> bool {
        self.is_open(now) && self.reports_shut_until.is_none_or(|until| until <= now)
    }
}

impl Endpoints {
    pub fn new(urls: Vec<Url>, pause: Pause) -> Self {
        let refused = Pause { max: pause.max.saturating_mul(REFUSED_PAUSES), ..pause };
        let pause = Pause { max: pause.max.min(SHUT_MAX), ..pause };
        // Each client begins with another one, so that they spread.
        let first = AtomicUsize::new(fastrand::usize(..urls.len().max(1)));
        let list = urls.into_iter().map(|url| Endpoint { url, health: Mutex::default() }).collect();
        Self { list, first, pause, refused }
    }

    pub fn url(&self, index: usize) -> Option<&Url> {
        self.list.get(index).map(|endpoint| &endpoint.url)
    }

    /// The node's address, as it may be shown.
    pub fn name(&self, index: usize) -> &str {
        self.url(index).map_or("", Url::as_str)
    }

    /// Those that may be asked now, the healthiest first.
    pub fn order(&self) -> Vec<usize> {
        self.order_of(Health::is_open)
    }

    /// Those that may be asked for a stream now, the healthiest first.
    pub fn stream_order(&self) -> Vec<usize> {
        self.order_of(Health::streams)
    }

    /// Those that may be sent a report now, the healthiest first.
    pub fn report_order(&self) -> Vec<usize> {
        self.order_of(Health::reports)
    }

    fn order_of(&self, is_meant: impl Fn(&Health, Instant) -> bool) -> Vec<usize> {
        let now = Instant::now();
        let (count, first) = (self.list.len(), self.first.load(Ordering::Relaxed));
        let around = (0..count).map(|step| first.wrapping_add(step) % count.max(1));
        let mut open: Vec<(u32, usize)> = around
            .filter_map(|index| {
                let health = self.list.get(index)?.health();
                is_meant(&health, now).then_some((health.failures, index))
            })
            .collect();
        open.sort_by_key(|(failures, _)| *failures);
        open.into_iter().map(|(_, index)| index).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// When the next node may be asked again, where none may now.
    pub fn opens_at(&self) -> Option<Instant> {
        self.list.iter().filter_map(|endpoint| endpoint.health().shut_until).min()
    }

    /// How long it takes until one of the nodes that may be asked now may be asked for a stream too; `None` where none may
    /// be asked for anything.
    pub fn streams_open_in(&self) -> Option<Duration> {
        let now = Instant::now();
        let healths = self.list.iter().map(Endpoint::health).filter(|health| health.is_open(now));
        let waits = healths
            .map(|health| health.streams_shut_until.map_or(Duration::ZERO, |until| until - now.min(until)));
        waits.min()
    }

    /// Whether every node refuses the token.
    pub fn all_refuse(&self) -> bool {
        !self.list.is_empty() && self.list.iter().all(|endpoint| endpoint.health().refusals > 0)
    }

    /// A node did well, whatever it was asked. Whether it has streams to give, or takes reports, is another matter.
    pub fn succeeded(&self, index: usize) {
        self.change(index, |health| {
            let Health { streams_shut_until, reports_shut_until, .. } = *health;
            *health = Health { streams_shut_until, reports_shut_until, ..Health::default() };
        });
    }

    /// A node gave no stream, or ended one. One that has none to spare, or whose proxy lets none through, may be good for
    /// all else: that shows when it is asked for it.
    pub fn stream_failed(&self, index: usize, fault: &Fault) {
        self.failed_at_one(index, fault, |health, until| health.streams_shut_until = until);
    }

    /// A node took no report. One that can't write now, or that has heard enough of this token's, may be good for all else.
    pub fn report_failed(&self, index: usize, fault: &Fault) {
        self.failed_at_one(index, fault, |health, until| health.reports_shut_until = until);
    }

    fn failed_at_one(&self, index: usize, fault: &Fault, shut: impl FnOnce(&mut Health, Option<Instant>)) {
        match fault {
            Fault::Busy(wait) => {
                let until = wait.map(|wait| Instant::now() + wait.min(RETRY_AFTER_MAX));
                self.change(index, |health| shut(health, until));
            }
            Fault::Refused(_) => {}
            fault => self.failed(index, fault),
        }
    }

    /// A node failed.
    pub fn failed(&self, index: usize, fault: &Fault) {
        let (pause, refused) = (self.pause, self.refused);
        self.change(index, |health| {
            health.failures = health.failures.saturating_add(1);
            let is_refusal = matches!(fault, Fault::Refused(_));
            health.refusals = if is_refusal { health.refusals.saturating_add(1) } else { 0 };
            if health.refusals >= FAILURES_MAX {
                let wait = refused.after(health.refusals.saturating_sub(FAILURES_MAX));
                health.shut_until = Some(Instant::now() + wait);
            } else if let Some(wait) = fault.retry_after() {
                health.shut_until = Some(Instant::now() + wait.min(RETRY_AFTER_MAX));
            } else if health.failures >= FAILURES_MAX {
                let wait = pause.after(health.failures.saturating_sub(FAILURES_MAX));
                health.shut_until = Some(Instant::now() + wait);
            }
        });
    }

    /// The next ones come first from now on.
    pub fn rotate_from(&self, index: usize) {
        self.first.store(index.wrapping_add(1) % self.list.len().max(1), Ordering::Relaxed);
    }

    fn change(&self, index: usize, change: impl FnOnce(&mut Health)) {
        if let Some(endpoint) = self.list.get(index) {
            change(&mut endpoint.health.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Endpoint {
    fn health(&self) -> Health {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pauses that grow, each of any length up to its bound: whoever failed together does not come back together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub min: Duration,
    pub max: Duration,
}

impl Pause {
    /// The pause after so many earlier ones.
    pub fn after(self, earlier: u32) -> Duration {
        let bound = self.min.saturating_mul(2_u32.saturating_pow(earlier.min(16))).min(self.max);
        within(bound)
    }
}

/// Any time up to a bound.
pub(crate) fn within(bound: Duration) -> Duration {
    bound.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Endpoints {
        let urls = ["http://a", "http://b", "http://c"].map(|url| url.parse().expect("a URL"));
        let pause = Pause { min: Duration::from_secs(8), max: Duration::from_secs(8) };
        let endpoints = Endpoints::new(urls.into(), pause);
        endpoints.first.store(0, Ordering::Relaxed);
        endpoints
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_comes_last_and_is_then_left_alone_for_a_while() {
        let endpoints = three();
        assert_eq!(endpoints.order(), [0, 1, 2]);
        endpoints.failed(0, &Fault::Silent);
        assert_eq!(endpoints.order(), [1, 2, 0]);
        endpoints.rotate_from(1);
        assert_eq!(endpoints.order(), [2, 1, 0]);
        endpoints.failed(0, &Fault::Silent);
        endpoints.failed(0, &Fault::Unreachable);
        assert_eq!(endpoints.order(), [2, 1], "its breaker is open");
        tokio::time::advance(SHUT_MAX).await;
        assert_eq!(endpoints.order(), [2, 1, 0], "and half open");
        endpoints.succeeded(0);
        assert_eq!(endpoints.order(), [2, 0, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_is_left_alone_for_as_long_as_it_asks() {
        let endpoints = three();
        for (index, wait) in [(0, 3), (1, 5), (2, 3_600)] {
            endpoints.failed(index, &Fault::Busy(Some(Duration::from_secs(wait))));
        }
        assert_eq!(endpoints.order(), Vec::<usize>::new());
        assert_eq!(endpoints.opens_at(), Some(Instant::now() + Duration::from_secs(3)));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(endpoints.order(), [0, 1]);
        tokio::time::advance(RETRY_AFTER_MAX).await;
        assert_eq!(endpoints.order(), [0, 1, 2], "an hour is too much to ask");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_without_streams_to_spare_is_asked_for_all_else() {
        let endpoints = three();
        endpoints.stream_failed(0, &Fault::Busy(Some(Duration::from_secs(3))));
        assert_eq!((endpoints.order(), endpoints.stream_order()), (vec![0, 1, 2], vec![1, 2]));
        assert_eq!(endpoints.streams_open_in(), Some(Duration::ZERO));
        endpoints.stream_failed(1, &Fault::Busy(Some(Duration::from_secs(5))));
        endpoints.failed(2, &Fault::Busy(Some(Duration::from_secs(1))));
        endpoints.succeeded(0);
        assert_eq!((endpoints.order(), endpoints.stream_order()), (vec![0, 1], vec![]));
        assert_eq!(endpoints.streams_open_in(), Some(Duration::from_secs(3)));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!((endpoints.order(), endpoints.stream_order()), (vec![0, 1, 2], vec![0, 2]));
        for index in 0..3 {
            endpoints.stream_failed(index, &Fault::Refused(403));
        }
        assert!(!endpoints.all_refuse(), "a proxy that lets no stream through says nothing of the token");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_takes_no_report_for_now_is_asked_for_all_else() {
        let endpoints = three();
        endpoints.report_failed(0, &Fault::Busy(Some(Duration::from_secs(3))));
        endpoints.report_failed(1, &Fault::Refused(401));
        endpoints.report_failed(2, &Fault::Busy(None));
        endpoints.succeeded(0);
        assert_eq!((endpoints.order(), endpoints.stream_order()), (vec![0, 1, 2], vec![0, 1, 2]));
        assert_eq!(endpoints.report_order(), [1, 2]);
        endpoints.report_failed(1, &Fault::Unreachable);
        assert_eq!(endpoints.order(), [0, 2, 1], "a node that can't be reached can't be for anything");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(endpoints.report_order(), [0, 2, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_refuses_the_token_is_asked_rarely() {
        let endpoints = three();
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            endpoints.failed(0, &Fault::Refused(401));
            let until = endpoints.list[0].health().shut_until.unwrap_or_else(Instant::now);
            longest = longest.max(until - Instant::now());
        }
        let bound = Duration::from_secs(8) * REFUSED_PAUSES;
        assert!(longest > bound / 2 && longest <= bound, "{longest:?}");
        // One that was dead for long and then refuses once is not one that refuses for long.
        for _ in 0..100 {
            endpoints.failed(1, &Fault::Unreachable);
        }
        endpoints.failed(1, &Fault::Refused(401));
        assert!(
            endpoints.list[1].health().shut_until.is_some_and(|until| until <= Instant::now() + SHUT_MAX)
        );
    }

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let pause = Pause { min: Duration::from_millis(100), max: Duration::from_secs(1) };
        for (earlier, bound_ms) in [(0, 100), (1, 200), (3, 800), (4, 1_000), (u32::MAX, 1_000)] {
            let pauses: Vec<Duration> = (0..100).map(|_| pause.after(earlier)).collect();
            assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(bound_ms)));
            assert!(pauses.iter().any(|pause| *pause > Duration::from_millis(bound_ms / 2)));
            assert!(pauses.iter().any(|pause| *pause < Duration::from_millis(bound_ms / 2)));
        }
    }

    #[test]
    fn a_token_is_refused_when_every_node_refuses_it() {
        let endpoints = three();
        endpoints.failed(0, &Fault::Refused(401));
        endpoints.failed(1, &Fault::Refused(403));
        assert!(!endpoints.all_refuse());
        endpoints.failed(2, &Fault::Refused(401));
        assert!(endpoints.all_refuse());
        endpoints.failed(1, &Fault::Unreachable);
        assert!(!endpoints.all_refuse());
    }
}
