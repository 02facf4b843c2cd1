//! Keeping the copy up: a snapshot from the first node that has one, then the stream of one node after the other; polling
//! where streams do not come through.

use std::{sync::atomic::Ordering, time::Duration};

use futures_util::FutureExt as _;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    endpoints::{Pause, within},
    fault::Fault,
    shared::Shared,
    snapshot,
    stream::{Ended, Heard, follow},
};

/// So many nodes that answer but do not stream, one after the other, and streams are taken not to come through.
const NO_STREAMS_MAX: u32 = 3;
/// So many streams that bring what does not fit, one after the other, and streams are taken to be of no use.
const UNFIT_MAX: u32 = 3;

/// Keeps the copy up for ever.
pub(crate) async fn run(shared: &Shared) {
    let pause = Pause { min: shared.settings.backoff_min, max: shared.settings.backoff_max };
    let mut failed_rounds = 0;
    let mut needs_snapshot = true;
    // The node that gave the last snapshot: it is likely to be the nearest.
    let mut nearest = None;
    // Attempts since anything was heard from a stream, and those of them that reached a node which did not stream.
    let (mut attempts, mut no_streams) = (0_usize, 0);
    // Streams that brought what does not fit, since one brought a change that does or ended otherwise.
    let mut unfit_streams = 0;
    loop {
        if needs_snapshot {
            match snapshot::take_first(shared).await {
                Ok(endpoint) => {
                    (failed_rounds, needs_snapshot, nearest) = (0, false, Some(endpoint));
                    // What rang before is settled by it, or rings again.
                    is_behind(shared);
                }
                Err(fault) => {
                    report(shared, fault);
                    wait_for_a_node(shared, pause, failed_rounds).await;
                    failed_rounds = failed_rounds.saturating_add(1);
                    continue;
                }
            }
        } else if is_behind(shared) {
            needs_snapshot = true;
            continue;
        }
        let streaming = shared.endpoints.stream_order();
        let is_useless = no_streams >= NO_STREAMS_MAX || unfit_streams >= UNFIT_MAX;
        let polls_for = match shared.endpoints.streams_open_in() {
            Some(_) if is_useless => Some(shared.settings.polling_for),
            // All that may be asked have no stream to spare for now.
            Some(wait) if streaming.is_empty() => Some(wait + within(shared.settings.reconnect_spread)),
            _ => None,
        };
        if let Some(time) = polls_for {
            poll(shared, time).await;
            no_streams = no_streams.min(NO_STREAMS_MAX.saturating_sub(1));
            unfit_streams = unfit_streams.min(UNFIT_MAX.saturating_sub(1));
            continue;
        }
        let endpoint = nearest.take().filter(|endpoint| streaming.contains(endpoint));
        let Some(endpoint) = endpoint.or(streaming.first().copied()) else {
            shared.round_failed();
            wait_for_a_node(shared, pause, failed_rounds).await;
            failed_rounds = failed_rounds.saturating_add(1);
            continue;
        };
        let ended = tokio::select! {
            ended = follow(shared, endpoint) => ended,
            // Another node has what this one does not bring.
            () = shared.behind.notified() => {
                Ended { heard: Heard::default(), fault: Fault::Older, needs_snapshot: true }
            }
        };
        let Ended { heard, fault, needs_snapshot: unfit } = ended;
        tracing::debug!(node = shared.endpoints.name(endpoint), %fault, ?heard, "a stream ended");
        if let Some(observer) = &shared.observer {
            observer.stream_lost(shared.endpoints.name(endpoint), fault.word());
        }
        // What does not fit is no fault of the node's.
        if !unfit || fault == Fault::Older {
            shared.endpoints.stream_failed(endpoint, &fault);
        }
        shared.endpoints.rotate_from(endpoint);
        needs_snapshot |= unfit || shared.followed().is_none();
        let is_unfit = matches!(fault, Fault::Feed(_));
        if heard.change || (heard.any && !is_unfit) {
            unfit_streams = 0;
        }
        if heard.any {
            (attempts, no_streams, failed_rounds) = (0, 0, 0);
            // All that were at this node lost it at the same time.
            needs_snapshot |= rest(shared, within(shared.settings.reconnect_spread)).await;
        }
        if is_unfit {
            // Each costs all definitions.
            sleep(pause.after(unfit_streams)).await;
            unfit_streams += 1;
        }
        if heard.any {
            continue;
        }
        if !unfit && is_no_stream(&fault) {
            no_streams += 1;
        }
        attempts += 1;
        let nodes = shared.endpoints.len().max(1);
        if attempts.is_multiple_of(nodes) {
            shared.refresh_status();
            let round = u32::try_from(attempts / nodes).unwrap_or(u32::MAX);
            needs_snapshot |= rest(shared, pause.after(round)).await;
        }
    }
}

/// Whether the node answered, and the answer was no stream. One that can't be reached says nothing of streams.
fn is_no_stream(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Silent
            | Fault::Garbage(_)
            | Fault::Status(_)
            | Fault::BrokenOff
            | Fault::Busy(_)
            | Fault::Refused(_)
    )
}

/// Whether it rang since somebody last listened that the copy is behind.
fn is_behind(shared: &Shared) -> bool {
    shared.behind.notified().now_or_never().is_some()
}

/// Waits for so long, or until the copy is found to be behind; says whether it was.
async fn rest(shared: &Shared, time: Duration) -> bool {
    tokio::select! {
        () = sleep(time) => false,
        () = shared.behind.notified() => true,
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

/// Polls the definitions for so long.
async fn poll(shared: &Shared, time: Duration) {
    tracing::warn!("no stream comes through; polling the definitions for a while");
    shared.polling.store(true, Ordering::Relaxed);
    let until = Instant::now() + time;
    while Instant::now() < until {
        if snapshot::take_first(shared).await.is_ok() {
            is_behind(shared);
        }
        shared.refresh_status();
        sleep(shared.probe_every().min(until - Instant::now().min(until))).await;
    }
    shared.polling.store(false, Ordering::Relaxed);
}
