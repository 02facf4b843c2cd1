//! Waiting on conditions: the one place of this crate that lets time pass.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long to pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks at a condition until it holds, and gives what it found. `look` answers `Ok` when it holds, and otherwise
/// `Err` with what was seen instead, for the message of a wait that was in vain.
///
/// # Panics
/// It did not hold within `limit`.
pub async fn until<T, E, F>(what: &str, limit: Duration, look: impl FnMut() -> F) -> T
where
    E: std::fmt::Display,
    F: Future<Output = Result<T, E>>,
{
    let found = tried(limit, look).await;
    found.unwrap_or_else(|seen| panic!("waited {limit:?} for {what}, in vain: {seen}"))
}

/// The same for whoever has something to do when it was in vain.
///
/// # Errors
/// It did not hold within `limit`: what was seen last.
pub async fn tried<T, E, F>(limit: Duration, mut look: impl FnMut() -> F) -> Result<T, E>
where
    F: Future<Output = Result<T, E>>,
{
    let end = Instant::now() + limit;
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(seen) if Instant::now() >= end => return Err(seen),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// The same for a condition that is only true or false.
///
/// # Panics
/// It did not hold within `limit`.
pub async fn until_true<F>(what: &str, limit: Duration, mut look: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    until(what, limit, || {
        let looked = look();
        async move { if looked.await { Ok(()) } else { Err("it does not hold") } }
    })
    .await;
}

/// Looks for something until it is there, and gives it; `None` if it is not within `limit`.
pub async fn found<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        match look() {
            Some(found) => return Some(found),
            None if Instant::now() >= end => return None,
            None => sleep(PAUSE).await,
        }
    }
}

/// The same for what can't wait otherwise, such as a value that is dropped: it blocks the thread.
pub fn found_blocking<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = std::time::Instant::now() + limit;
    loop {
        match look() {
            Some(found) => return Some(found),
            None if std::time::Instant::now() >= end => return None,
            None => std::thread::sleep(PAUSE),
        }
    }
}

/// The pace of a load, so that a few clients on a small machine leave the nodes some of it.
pub async fn pace(pause: Duration) {
    sleep(pause).await;
}
