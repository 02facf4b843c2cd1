//! How fast are evaluations over HTTP? One node beside a server that does nothing but read the same request and write
//! the same answer: what is between the two is what Flagraft costs. And what does it cost that the audit log has a count of
//! every evaluation? The same flags on the same node, once counted and once not. All run all the time; only one is loaded
//! at once.

mod bare;
mod node;
mod report;
mod wrk;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use flagraft_bench_common::{failure::Failure, process::Folder};

pub use self::bare::{BareArgs, serve};
use self::{bare::Bare, node::Node, wrk::Wrk};

/// The settings of a run.
#[derive(Args, Clone, Debug)]
pub struct HttpArgs {
    /// Flagraft's binary
    #[arg(long, value_name = "FILE")]
    flagraft: PathBuf,
    /// The load generator's binary
    #[arg(long, value_name = "FILE")]
    wrk: PathBuf,
    /// Where the node keeps its data. Deleted at the end
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// How often all of it is measured
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// How long one measurement is, in whole seconds
    #[arg(long, value_name = "S", default_value_t = 4)]
    seconds: u64,
    /// Connections of the load, all of one thread
    #[arg(long, value_name = "N", default_value_t = 32)]
    connections: usize,
    /// One round of two seconds each, to see that it works
    #[arg(long)]
    quick: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// One flag with one rule, among 101.
    Single,
    /// All 100 flags of another project.
    Bulk,
}

impl Case {
    const ALL: [Self; 2] = [Self::Single, Self::Bulk];

    fn name(self) -> &'static str {
        match self {
            Self::Single => "one flag",
            Self::Bulk => "100 flags",
        }
    }

    /// How many flags one request evaluates.
    fn evaluations(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Bulk => node::BULK_FLAGS,
        }
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Bare,
    /// Of flags whose evaluations are not counted.
    Flagraft,
    /// Of flags with `audit_evaluations` `summary`.
    Counting,
}

impl System {
    const ALL: [Self; 3] = [Self::Bare, Self::Flagraft, Self::Counting];

    fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare handler",
            Self::Flagraft => "Flagraft",
            Self::Counting => "Flagraft, counting",
        }
    }
}

/// One measurement.
#[derive(Clone, Debug)]
struct Sample {
    system: System,
    case: Case,
    round: usize,
    requests_per_second: f64,
    p50: Duration,
    p99: Duration,
    /// Of the server's process, for one request.
    cpu: Duration,
}

/// A server that is loaded.
trait Served {
    /// Where it listens.
    fn port(&self) -> u16;

    /// CPU time that it has used so far.
    fn cpu(&self) -> Result<Duration, Failure>;
}

/// Runs the benchmark and prints its table.
pub async fn run(mut args: HttpArgs) -> Result<(), Failure> {
    if args.quick {
        (args.rounds, args.seconds) = (1, 2);
    }
    let begun = Instant::now();
    let folder = Folder::new(args.data.join("http"))?;
    let node = Node::start(&args.flagraft, Folder::new(folder.path().join("node"))?).await?;
    let mut samples = Vec::new();
    let mut answers = Vec::new();
    for case in Case::ALL {
        node.answer(case, System::Counting).await?;
        answers.push((
            case,
            node.request(case, System::Flagraft),
            node.answer(case, System::Flagraft).await?,
        ));
    }
    let bare = Bare::start(&folder, &answers).await?;
    let wrk = Wrk::new(&args, &folder);
    report::head(&args, &answers);

    // A second each before anything is counted.
    for case in Case::ALL {
        for system in System::ALL {
            wrk.load(served(system, &bare, &node).port(), case, &node.request(case, system), 1)?;
        }
    }
    for round in 0..args.rounds {
        for case in Case::ALL {
            let mut systems = System::ALL;
            // Each round begins with another one.
            let first = round % systems.len();
            systems.rotate_left(first);
            for system in systems {
                let server = served(system, &bare, &node);
                let before = server.cpu()?;
                let load = wrk.load(server.port(), case, &node.request(case, system), args.seconds)?;
                let cpu = server.cpu()?.saturating_sub(before);
                let requests = load.requests.max(1) as f64;
                let sample = Sample {
                    system,
                    case,
                    round,
                    requests_per_second: requests / load.took.as_secs_f64(),
                    p50: load.p50,
                    p99: load.p99,
                    cpu: cpu.div_f64(requests),
                };
                report::progress(&args, &sample);
                samples.push(sample);
            }
        }
    }
    report::table(&args, &samples);
    println!("\nTook {} s.", begun.elapsed().as_secs());
    Ok(())
}

fn served<'a>(system: System, bare: &'a Bare, node: &'a Node) -> &'a dyn Served {
    match system {
        System::Bare => bare,
        System::Flagraft | System::Counting => node,
    }
}
