//! How fast are reads from a follower? Those that a majority confirms, and those of what it has.

mod report;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use flagraft_bench_common::{failure::Failure, process::Folder};

use crate::{
    measure::{Times, under_load},
    system::{Cluster, EtcdCluster, FlagraftCluster, Freshness, NODES},
};

/// The settings of a run.
#[derive(Args, Clone, Debug)]
pub struct ReadArgs {
    /// Flagraft's binary
    #[arg(long, value_name = "FILE")]
    flagraft: PathBuf,
    /// etcd's binary. Without it, Flagraft is measured alone
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// Where all nodes keep their data. Deleted at the end
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How many clients read at once
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,16,64")]
    clients: Vec<usize>,
    /// How fresh the answers are
    #[arg(long, value_name = "KIND,..", value_delimiter = ',', default_value = "linearizable,local")]
    freshness: Vec<Freshness>,
    /// How often all of it is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one measurement is, in seconds
    #[arg(long, value_name = "S", default_value_t = 4.0)]
    seconds: f64,
    /// How long the load runs before that, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    warm_up: f64,
    /// One round of two seconds each, to see that it works
    #[arg(long)]
    quick: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Etcd,
    Flagraft,
}

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Flagraft => "Flagraft",
        }
    }
}

/// One measurement.
#[derive(Clone, Debug)]
struct Sample {
    system: System,
    freshness: Freshness,
    clients: usize,
    round: usize,
    reads_per_second: f64,
    p50: Duration,
    p99: Duration,
    /// How many reads one round of confirmation was for, where the system tells.
    reads_per_confirmation: Option<f64>,
    /// Of all three nodes, for 1,000 reads.
    cpu: Duration,
    /// Of the clients, for 1,000 reads.
    load_cpu: Duration,
}

/// Runs the benchmark and prints its tables.
pub async fn run(mut args: ReadArgs) -> Result<(), Failure> {
    if args.quick {
        (args.rounds, args.seconds, args.warm_up) = (1, 2.0, 0.5);
    }
    let mut systems = vec![System::Flagraft];
    systems.extend(args.etcd.as_ref().map(|_| System::Etcd));

    let begun = Instant::now();
    report::head(&args);
    let mut samples = Vec::new();
    for round in 0..args.rounds {
        // Each round in another order.
        systems.reverse();
        for system in &systems {
            samples.extend(measure(&args, *system, round).await?);
        }
    }
    report::tables(&args, &samples);
    println!("\nTook {} s.", begun.elapsed().as_secs());
    Ok(())
}

/// Starts a system, measures all that is asked for, and ends it.
async fn measure(args: &ReadArgs, system: System, round: usize) -> Result<Vec<Sample>, Failure> {
    let folder = Folder::new(args.data.join(system.name()))?;
    match (system, &args.etcd) {
        (System::Etcd, Some(etcd)) => {
            loads(args, system, round, &EtcdCluster::start(etcd, folder).await?).await
        }
        (System::Etcd, None) => Ok(Vec::new()),
        (System::Flagraft, _) => {
            let cluster = FlagraftCluster::start(&args.flagraft, folder, NODES).await?;
            cluster.make_project().await?;
            loads(args, system, round, &cluster).await
        }
    }
}

async fn loads<C: Cluster>(
    args: &ReadArgs,
    system: System,
    round: usize,
    cluster: &C,
) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    for freshness in &args.freshness {
        for clients in &args.clients {
            let sample = load(args, (system, *freshness, *clients, round), cluster).await?;
            report::progress(args, &sample);
            samples.push(sample);
        }
    }
    Ok(samples)
}

async fn load<C: Cluster>(
    args: &ReadArgs,
    (system, freshness, clients, round): (System, Freshness, usize, usize),
    cluster: &C,
) -> Result<Sample, Failure> {
    let leader = cluster.leader().await?;
    let node = (leader + 1) % NODES;
    let readers = cluster.readers(node, clients, freshness).await?;
    let times = Times { warm_up: args.warm_up, seconds: args.seconds };
    let measured = under_load(cluster, leader, readers, times, async || cluster.rounds(node).await).await?;
    Ok(Sample {
        system,
        freshness,
        clients,
        round,
        reads_per_second: measured.per_second,
        p50: measured.p50,
        p99: measured.p99,
        reads_per_confirmation: measured.counted.map(|rounds| measured.requests / rounds.max(1) as f64),
        cpu: measured.cpu,
        load_cpu: measured.load_cpu,
    })
}
