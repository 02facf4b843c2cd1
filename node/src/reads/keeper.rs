//! The task behind the gate: it begins rounds, and tells those who wait what came of them.

use std::{
    future::Future,
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::gate::{Confirmed, Rounds, Shared, Waiter};
use crate::{clock::BootTime, config::ReadConfig};

/// Rounds under way at once, at most: more than begin, one each [`ReadConfig::try_timeout`], within the longest deadline.
const UNDER_WAY_MAX: usize = 16;

/// The task behind a gate.
pub(super) struct Keeper<R> {
    rounds: Arc<R>,
    shared: Arc<Shared>,
    /// The second slot.
    waiting: mpsc::Receiver<Waiter>,
    try_timeout: Duration,
    retry_pause: Duration,
    answer_timeout: Duration,
    /// The number of the last round that began.
    last: u64,
    /// Rounds that are confirmed and wait until this node has caught up with them.
    lagging: JoinSet<()>,
}

/// A read in the first slot: any round from `since` on began after it came.
struct Joined {
    since: u64,
    waiter: Waiter,
}

/// What came of a round.
struct Ended {
    number: u64,
    confirmed: Option<Confirmed>,
}

impl<R: Rounds> Keeper<R> {
    pub(super) fn new(
        rounds: Arc<R>,
        shared: Arc<Shared>,
        waiting: mpsc::Receiver<Waiter>,
        config: &ReadConfig,
    ) -> Self {
        Self {
            rounds,
            shared,
            waiting,
            try_timeout: config.try_timeout,
            retry_pause: config.retry_pause,
            answer_timeout: config.deadline_max,
            last: 0,
            lagging: JoinSet::new(),
        }
    }

    /// Runs rounds as long as somebody waits.
    pub(super) async fn run(mut self) {
        // The first slot.
        let mut joined: Vec<Joined> = Vec::new();
        loop {
            if joined.is_empty() {
                match self.waiting.recv().await {
                    Some(waiter) => joined.push(Joined { since: self.last + 1, waiter }),
                    None => return,
                }
            }
            if self.confirm(&mut joined).await.is_break() {
                tokio::select! {
                    () = tokio::time::sleep(self.retry_pause) => {}
                    () = self.rounds.leader_change() => {}
                }
            }
        }
    }

    /// Runs rounds until nobody waits for one any more, or a change of leader makes them all moot. One that is long
    /// without an answer, because that is lost or because the others are far away, is joined by another: the first answer
    /// is for all who came before its round began.
    async fn confirm(&mut self, joined: &mut Vec<Joined>) -> ControlFlow<()> {
        let rounds = Arc::clone(&self.rounds);
        let leader_change = rounds.leader_change();
        tokio::pin!(leader_change);
        let mut under_way = FuturesUnordered::new();
        loop {
            // Let every read that is ready to run enter first: they share the round instead of each having the next.
            tokio::task::yield_now().await;
            while let Ok(waiter) = self.waiting.try_recv() {
                joined.push(Joined { since: self.last + 1, waiter });
            }
            let now = Instant::now();
            joined.retain(|Joined { waiter, .. }| waiter.deadline > now && !waiter.tell.is_closed());
            if joined.is_empty() {
                return ControlFlow::Continue(());
            }
            while self.lagging.try_join_next().is_some() {}

            // What arrives from here on waits for the next one.
            if under_way.len() < UNDER_WAY_MAX {
                under_way.push(self.begin());
            }
            let mut next_at = now + self.try_timeout;
            while !joined.is_empty() {
                tokio::select! {
                    Some(Ended { number, confirmed }) = under_way.next() => match confirmed {
                        Some(confirmed) => self.complete(confirmed, extract_before(joined, number)),
                        None if under_way.is_empty() => return ControlFlow::Break(()),
                        None => next_at = next_at.min(Instant::now() + self.retry_pause),
                    },
                    () = sleep_until(next_at) => break,
                    // A new leader makes the answers of the old one moot, and those may take their time to come.
                    () = &mut leader_change => return ControlFlow::Break(()),
                }
            }
            if joined.is_empty() {
                // Whoever comes now could not join them.
                under_way.clear();
            }
        }
    }

    /// Begins a round.
    fn begin(&mut self) -> impl Future<Output = Ended> + use<R> {
        self.last += 1;
        let number = self.last;
        // Before the round.
        let fresh_as_of = BootTime::now();
        self.shared.rounds.fetch_add(1, Ordering::Relaxed);
        let (rounds, patience) = (Arc::clone(&self.rounds), self.answer_timeout);
        async move {
            let index = timeout(patience, rounds.read_index()).await.ok().flatten();
            Ended { number, confirmed: index.map(|read_index| Confirmed { read_index, fresh_as_of }) }
        }
    }

    /// Tells the waiters once the index is published here, without holding up the next round.
    fn complete(&mut self, confirmed: Confirmed, waiters: Vec<Waiter>) {
        if self.rounds.published(confirmed.read_index).now_or_never().is_some() {
            return tell(&self.shared, confirmed, waiters);
        }
        let Some(last) = waiters.iter().map(|waiter| waiter.deadline).max() else { return };
        let (rounds, shared) = (Arc::clone(&self.rounds), Arc::clone(&self.shared));
        self.lagging.spawn(async move {
            if timeout_at(last, rounds.published(confirmed.read_index)).await.is_ok() {
                tell(&shared, confirmed, waiters);
            }
        });
    }
}

/// The waiters for whom a round with this number began late enough.
fn extract_before(joined: &mut Vec<Joined>, number: u64) -> Vec<Waiter> {
    joined.extract_if(.., |read| read.since <= number).map(|read| read.waiter).collect()
}

fn tell(shared: &Shared, confirmed: Confirmed, waiters: Vec<Waiter>) {
    shared.succeeded(confirmed);
    for waiter in waiters {
        // A reader that went away needs no answer.
        _ = waiter.tell.send(confirmed);
    }
}
