//! How fast are writes? Each round starts each system anew, one after the other and each round in another order, so
//! that what else the machine does hits all of them alike.

mod disk;
mod report;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use flagraft_bench_common::{failure::Failure, process::Folder};

use crate::{
    measure::{Times, under_load},
    system::{Cluster, EtcdCluster, FlagraftCluster, NODES, Write, WriteKind},
};

/// The settings of a run.
#[derive(Args, Clone, Debug)]
pub struct WriteArgs {
    /// Flagraft's binary
    #[arg(long, value_name = "FILE")]
    flagraft: PathBuf,
    /// etcd's binary. Without it, Flagraft is measured alone
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,
    /// Another binary of Flagraft, to compare with: what a change to the code brings
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Where all nodes keep their data: on the disk that is to be measured. Deleted at the end
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How many clients write at once
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "1,16,64,256")]
    clients: Vec<usize>,
    /// Which node the clients write to
    #[arg(long, value_name = "NODE,..", value_delimiter = ',', default_value = "leader,follower")]
    to: Vec<Target>,
    /// How often all of it is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one measurement is, in seconds
    #[arg(long, value_name = "S", default_value_t = 4.0)]
    seconds: f64,
    /// How long the load runs before that, in seconds
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    warm_up: f64,
    /// What Flagraft's clients do to their flags; etcd's always put
    #[arg(long, value_name = "KIND", default_value = "put")]
    kind: WriteKind,
    /// How large a written value is: etcd's value, the JSON of Flagraft's flag
    #[arg(long, value_name = "N", default_value_t = 400)]
    value_bytes: usize,
    /// One round of two seconds each, to see that it works
    #[arg(long)]
    quick: bool,
}

/// Which node is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    Leader,
    Follower,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Etcd,
    Baseline,
    Flagraft,
}

impl System {
    fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Baseline => "baseline",
            Self::Flagraft => "Flagraft",
        }
    }
}

/// One measurement.
#[derive(Clone, Debug)]
struct Sample {
    system: System,
    to: Target,
    clients: usize,
    round: usize,
    writes_per_second: f64,
    p50: Duration,
    p99: Duration,
    /// How many writes one sync of the leader's log made durable.
    writes_per_sync: f64,
    /// Of all three nodes, for 1,000 writes.
    cpu: Duration,
    /// Of the clients, for 1,000 writes.
    load_cpu: Duration,
}

/// Runs the benchmark and prints its tables.
pub async fn run(mut args: WriteArgs) -> Result<(), Failure> {
    if args.quick {
        (args.rounds, args.seconds, args.warm_up) = (1, 2.0, 0.5);
    }
    // A flag of fewer bytes can't be made, and etcd's values must not be smaller than Flagraft's.
    if args.value_bytes < 300 {
        return Err(Failure("--value-bytes is at least 300: a flag's JSON is no smaller".to_owned()));
    }
    let mut systems = vec![System::Flagraft];
    systems.extend(args.baseline.as_ref().map(|_| System::Baseline));
    systems.extend(args.etcd.as_ref().map(|_| System::Etcd));
    systems.reverse();

    let begun = Instant::now();
    report::head(&args, disk::syncs(&args.data)?);
    let mut samples = Vec::new();
    for round in 0..args.rounds {
        for _ in 0..systems.len() {
            let system = systems[0];
            samples.extend(measure(&args, system, round).await?);
            systems.rotate_left(1);
        }
        // The next round in another order.
        systems.rotate_left(1);
    }
    report::tables(&args, &samples);
    println!("\nTook {} s.", begun.elapsed().as_secs());
    Ok(())
}

/// Starts a system, measures all that is asked for, and ends it.
async fn measure(args: &WriteArgs, system: System, round: usize) -> Result<Vec<Sample>, Failure> {
    let binary = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
    let folder = Folder::new(args.data.join(system.name()))?;
    match system {
        System::Etcd => {
            loads(args, system, round, &EtcdCluster::start(&binary(&args.etcd), folder).await?).await
        }
        System::Baseline => {
            let cluster = FlagraftCluster::start(&binary(&args.baseline), folder, NODES).await?;
            cluster.make_project().await?;
            loads(args, system, round, &cluster).await
        }
        System::Flagraft => {
            let cluster = FlagraftCluster::start(Path::new(&args.flagraft), folder, NODES).await?;
            cluster.make_project().await?;
            loads(args, system, round, &cluster).await
        }
    }
}

async fn loads<C: Cluster>(
    args: &WriteArgs,
    system: System,
    round: usize,
    cluster: &C,
) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    for to in &args.to {
        for clients in &args.clients {
            let sample = load(args, (system, *to, *clients, round), cluster).await?;
            report::progress(args, &sample);
            samples.push(sample);
        }
    }
    Ok(samples)
}

async fn load<C: Cluster>(
    args: &WriteArgs,
    (system, to, clients, round): (System, Target, usize, usize),
    cluster: &C,
) -> Result<Sample, Failure> {
    let leader = cluster.leader().await?;
    let node = match to {
        Target::Leader => leader,
        Target::Follower => (leader + 1) % NODES,
    };
    let writers =
        cluster.writers(node, clients, Write { kind: args.kind, value_bytes: args.value_bytes }).await?;
    let times = Times { warm_up: args.warm_up, seconds: args.seconds };
    let measured =
        under_load(cluster, leader, writers, times, async || cluster.syncs(leader).await.map(Some)).await?;
    Ok(Sample {
        system,
        to,
        clients,
        round,
        writes_per_second: measured.per_second,
        p50: measured.p50,
        p99: measured.p99,
        writes_per_sync: measured.requests / measured.counted.unwrap_or_default().max(1) as f64,
        cpu: measured.cpu,
        load_cpu: measured.load_cpu,
    })
}
