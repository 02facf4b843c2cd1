//! How long a connection may take to its next request's head.
//!
//! hyper makes a timer for every head and takes it back when the head is there: two visits to the runtime's wheel for
//! each request. Here the head's deadline is only noted, and one timer for each connection looks at it when it might
//! have passed.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};
use tokio::time::sleep_until;

/// When the head that a connection waits for has to be there; `None` while it waits for none. Given to hyper as its
/// timer. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct HeadDeadline(Arc<Mutex<Option<Instant>>>);

impl HeadDeadline {
    /// Returns once a head was not there in time. `max` is what hyper gives it.
    pub(super) async fn missed(&self, max: Duration) {
        let mut look_at = self.now() + max;
        loop {
            sleep_until(look_at.into()).await;
            let now = self.now();
            look_at = match self.get() {
                Some(deadline) if deadline <= now => return,
                Some(deadline) => deadline,
                // One that is noted from now on passes after this.
                None => now + max,
            };
        }
    }

    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, deadline: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }
}

impl Timer for HeadDeadline {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.set(Some(deadline));
        Box::pin(Noted(self.clone()))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        self.set(Some(deadline));
    }
}

/// What hyper holds while it waits for a head. It never ends by itself: [`HeadDeadline::missed`] does.
struct Noted(HeadDeadline);

impl Future for Noted {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Sleep for Noted {}

impl Drop for Noted {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(60);

    /// How long it takes until a head counts as missed.
    async fn missed_after(head: &HeadDeadline, begun: Instant) -> Duration {
        head.missed(MAX).await;
        head.now() - begun
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_is_missed_at_its_deadline_and_no_later() {
        let head = HeadDeadline::default();
        let begun = head.now();
        // Noted at an odd moment, between two looks.
        let later = async {
            tokio::time::sleep(MAX * 3 / 2).await;
            head.sleep(MAX).await;
        };
        tokio::select! {
            took = missed_after(&head, begun) => assert_eq!(took, MAX * 5 / 2),
            () = later => unreachable!("what hyper waits for never ends by itself"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_came_is_not_missed_and_the_next_has_its_own_time() {
        let head = HeadDeadline::default();
        let begun = head.now();
        let heads = async {
            let first = head.sleep(MAX);
            tokio::time::sleep(MAX / 2).await;
            drop(first);
            tokio::time::sleep(MAX * 3).await;
            let mut second = head.sleep(MAX);
            tokio::time::sleep(MAX / 2).await;
            let deadline = head.now() + MAX;
            head.reset(&mut second, deadline);
            second.await;
        };
        tokio::select! {
            took = missed_after(&head, begun) => assert_eq!(took, MAX * 5),
            () = heads => unreachable!("what hyper waits for never ends by itself"),
        }
    }
}
