//! Clients that each send one request after the other, as fast as they are answered.

use std::{
    cell::Cell,
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use flagraft_bench_common::failure::Failure;
use tokio::task;

/// One client.
pub trait Client {
    /// Makes the next request, and returns once it is answered as it should be.
    fn request(&mut self) -> impl Future<Output = Result<(), Failure>>;
}

/// What a client's requests came to, of those that were answered while it was counted.
#[derive(Debug, Default)]
pub struct Counted {
    /// How long each took.
    pub latencies: Vec<Duration>,
}

/// Where a run of the load is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Counted,
    Over,
}

/// Runs all clients at once: `warm_up` without counting, then `counted`. `mark` is called at the beginning and at the
/// end of what is counted. Returns the requests that were answered in between, and how long that was.
///
/// # Errors
/// When any request fails: a figure that leaves out failures says nothing.
pub async fn run<C: Client + 'static>(
    clients: Vec<C>,
    warm_up: Duration,
    counted: Duration,
    mut mark: impl AsyncFnMut() -> Result<(), Failure>,
) -> Result<(Counted, Duration), Failure> {
    let phase = Rc::new(Cell::new(Phase::WarmUp));
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let phase = Rc::clone(&phase);
            task::spawn_local(async move {
                let mut latencies = Vec::new();
                while phase.get() != Phase::Over {
                    let begun = Instant::now();
                    client.request().await?;
                    if phase.get() == Phase::Counted {
                        latencies.push(begun.elapsed());
                    }
                }
                Ok::<_, Failure>(latencies)
            })
        })
        .collect();
    tokio::time::sleep(warm_up).await;
    mark().await?;
    let begun = Instant::now();
    phase.set(Phase::Counted);
    tokio::time::sleep(counted).await;
    phase.set(Phase::Over);
    let took = begun.elapsed();
    mark().await?;
    let mut all = Counted::default();
    for task in tasks {
        all.latencies.extend(task.await??);
    }
    Ok((all, took))
}
