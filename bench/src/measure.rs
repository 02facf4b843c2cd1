//! One measurement of a cluster under a load.

use std::time::Duration;

use flagraft_bench_common::{failure::Failure, process::own_cpu, statistics::percentile};

use crate::{
    load::{self, Client},
    system::Cluster,
};

/// How long a load runs: first without being counted, then counted.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub warm_up: f64,
    pub seconds: f64,
}

/// What a load came to.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Requests that were counted, at least 1.
    pub requests: f64,
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// By how much the counter that was asked for rose meanwhile; `None` where there is none.
    pub counted: Option<u64>,
    /// Of all nodes, for 1,000 requests.
    pub cpu: Duration,
    /// Of the clients, for 1,000 requests.
    pub load_cpu: Duration,
}

/// Runs the clients against a cluster that `leader` leads, and reads `counter` before and after.
///
/// # Errors
/// When a request fails, or the leader changes: the figures would say nothing.
pub async fn under_load<C: Cluster, L: Client + 'static>(
    cluster: &C,
    leader: usize,
    clients: Vec<L>,
    times: Times,
    counter: impl AsyncFn() -> Result<Option<u64>, Failure>,
) -> Result<Measured, Failure> {
    let mut marks = Vec::new();
    let mark = async || {
        marks.push((cluster.cpu()?, own_cpu()?, counter().await?));
        Ok(())
    };
    let [warm_up, seconds] = [times.warm_up, times.seconds].map(Duration::from_secs_f64);
    let (mut counted, took) = load::run(clients, warm_up, seconds, mark).await?;
    if cluster.leader().await? != leader {
        return Err(Failure(
            "the leader changed while it was measured, so the figures would say nothing; is the machine busy with \
             something else?"
                .to_owned(),
        ));
    }
    let [(cpu_before, load_before, counter_before), (cpu_after, load_after, counter_after)] = marks[..]
    else {
        return Err(Failure("the load was not marked twice".to_owned()));
    };
    let requests = counted.latencies.len().max(1) as f64;
    let thousands = requests / 1_000.0;
    Ok(Measured {
        requests,
        per_second: requests / took.as_secs_f64(),
        p50: percentile(&mut counted.latencies, 0.5),
        p99: percentile(&mut counted.latencies, 0.99),
        counted: counter_after.zip(counter_before).map(|(after, before)| after.saturating_sub(before)),
        cpu: cpu_after.saturating_sub(cpu_before).div_f64(thousands),
        load_cpu: load_after.saturating_sub(load_before).div_f64(thousands),
    })
}
