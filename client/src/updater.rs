//! Keeping the copy up: a snapshot from the first node that has one, then the stream of one node after the other; polling
//! where streams do not come through.

use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{
    endpoints::{Pause, within},
    fault::Fault,
    shared::Shared,
    snapshot,
    stream::{Ended, follow},
};

/// So many nodes that answer but do not stream, one after the other, and streams are taken not to come through.
const NO_STREAMS_MAX: u32 = 3;

/// Keeps the copy up for ever.
pub(crate) async fn run(shared: &Shared) {
    let pause = Pause { min: shared.settings.backoff_min, max: shared.settings.backoff_max };
    let mut failed_rounds = 0;
    let mut needs_snapshot = true;
    // Attempts since anything was heard from a stream, and those of them that reached a node which did not stream.
    let (mut attempts, mut no_streams) = (0_usize, 0);
    loop {
        if needs_snapshot {
            match snapshot::take_first(shared).await {
                Ok(_) => (failed_rounds, needs_snapshot) = (0, false),
                Err(fault) => {
                    report(shared, fault);
                    wait_for_a_node(shared, pause, failed_rounds).await;
                    failed_rounds = failed_rounds.saturating_add(1);
                    continue;
                }
            }
        }
        if no_streams >= NO_STREAMS_MAX {
            poll(shared).await;
            no_streams = NO_STREAMS_MAX.saturating_sub(1);
        }
        let Some(endpoint) = shared.endpoints.order().first().copied() else {
            shared.round_failed();
            wait_for_a_node(shared, pause, failed_rounds).await;
            failed_rounds = failed_rounds.saturating_add(1);
            continue;
        };
        // What rang before is settled by now.
        let _ = shared.behind.notified().now_or_never();
        let ended = tokio::select! {
            ended = follow(shared, endpoint) => ended,
            // Another node has what this one does not bring.
            () = shared.behind.notified() => {
                Ended { heard: false, fault: Fault::Older, needs_snapshot: true }
            }
        };
        let Ended { heard, fault, needs_snapshot: unfit } = ended;
        tracing::debug!(node = shared.endpoints.name(endpoint), %fault, heard, "a stream ended");
        if let Some(observer) = &shared.observer {
            observer.stream_lost(shared.endpoints.name(endpoint), fault.word());
        }
        // What does not fit is no fault of the node's.
        if !unfit || fault == Fault::Older {
            shared.endpoints.failed(endpoint, &fault);
        }
        shared.endpoints.rotate_from(endpoint);
        needs_snapshot |= unfit || shared.followed().is_none();
        if heard {
            (attempts, no_streams, failed_rounds) = (0, 0, 0);
            // All that were at this node lost it at the same time.
            sleep(within(shared.settings.reconnect_spread)).await;
            continue;
        }
        if matches!(fault, Fault::Silent | Fault::Garbage(_) | Fault::Status(_) | Fault::BrokenOff) {
            no_streams += 1;
        }
        attempts += 1;
        let nodes = shared.endpoints.len().max(1);
        if attempts.is_multiple_of(nodes) {
            shared.refresh_status();
            sleep(pause.after(u32::try_from(attempts / nodes).unwrap_or(u32::MAX))).await;
        }
    }
}

/// Says, once for each round, why there was no copy to be had.
fn report(shared: &Shared, fault: Option<Fault>) {
    match fault {
        Some(fault) => tracing::warn!(%fault, "no node gave the definitions; trying again"),
        None => tracing::debug!("every node is left alone for a while"),
    }
    shared.round_failed();
}

/// Waits a while, and no shorter than until a node may be asked.
async fn wait_for_a_node(shared: &Shared, pause: Pause, failed_rounds: u32) {
    sleep(pause.after(failed_rounds)).await;
    if shared.endpoints.order().is_empty()
        && let Some(opens_at) = shared.endpoints.opens_at()
    {
        sleep_until(opens_at).await;
    }
}

/// Polls the definitions for a while.
async fn poll(shared: &Shared) {
    tracing::warn!("no stream comes through; polling the definitions for a while");
    shared.polling.store(true, Ordering::Relaxed);
    let until = Instant::now() + shared.settings.polling_for;
    while Instant::now() < until {
        if let Some(endpoint) = shared.endpoints.order().first().copied() {
            match timeout(shared.settings.definitions_timeout, snapshot::poll(shared, endpoint)).await {
                Ok(Ok(())) => shared.endpoints.succeeded(endpoint),
                Ok(Err(fault)) => shared.endpoints.failed(endpoint, &fault),
                Err(_) => shared.endpoints.failed(endpoint, &Fault::Silent),
            }
        }
        shared.refresh_status();
        sleep(shared.probe_every()).await;
    }
    shared.polling.store(false, Ordering::Relaxed);
}
