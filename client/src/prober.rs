//! Knowing how old the copy is, with one clock: this process's own.
//!
//! A node says how old the state is that it has, counted to its answer. It was asked before that; so the state was current
//! as of the time of asking less that age, whatever its clock says and however long the answer took. Once the copy holds the
//! same revision of the definitions, or a later one, the same is true of the copy.

use std::time::Duration;

use tokio::time::sleep;

use crate::{fault::Fault, hedge::first_good, observer::Request, shared::Shared, transport::within};

/// Bounds the copy's age anew, again and again.
pub(crate) async fn run(shared: &Shared) {
    // The node that was asked last: as long as it answers well it is asked again, over the same connection.
    let mut good = None;
    loop {
        let every = shared.probe_every();
        // Not all clients at once.
        let pause = every.mul_f64(0.9 + 0.2 * fastrand::f64());
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.unprobed.notified() => {}
        }
        if shared.followed().is_some() && !shared.is_polling() {
            good = probe(shared, good, every).await;
            shared.check_behind();
        }
        shared.refresh_status();
    }
}

/// Asks the nodes until one of them is close to the cluster; says which one that was.
async fn probe(shared: &Shared, good: Option<usize>, every: Duration) -> Option<usize> {
    let mut order = shared.endpoints.order();
    if let Some(first) = good.and_then(|good| order.iter().position(|index| *index == good)) {
        order.rotate_left(first);
    }
    // A node with an older state than this may be cut off from the others.
    let age_max = every.saturating_mul(2).saturating_add(Duration::from_secs(1));
    // One that says nothing must cost no copy its age.
    let after = shared.settings.hedge_after.min(every / 2);
    let asked = first_good(order, after, async |endpoint| match ask(shared, endpoint).await {
        Ok(Some(age)) if age <= age_max => Ok(endpoint),
        Ok(_) => Err(()),
        Err(fault) => {
            shared.endpoints.failed(endpoint, &fault);
            Err(())
        }
    });
    asked.await.ok()
}

/// Asks a node; gives the age of its state.
async fn ask(shared: &Shared, endpoint: usize) -> Result<Option<Duration>, Fault> {
    let known = shared.known(endpoint).await?;
    let node = shared.endpoints.url(endpoint).ok_or(Fault::Unreachable)?;
    // So that the next question comes in time.
    let patience = shared.settings.request_timeout.min(Duration::from_secs(1));
    let asked_nanos = shared.clock.boot_nanos();
    let asked = within(patience, shared.transport.probe(node, &known.place));
    let stamp = shared.watched(endpoint, Request::Probe, asked).await?;
    shared.endpoints.succeeded(endpoint);
    shared.sighted(stamp.definitions, stamp.age_ms, asked_nanos);
    Ok(stamp.age_ms.map(Duration::from_millis))
}
