//! `flagraft-bench`: Flagraft beside its peers, on this machine, in one run. `scripts/bench` builds and starts it.

mod load;
mod measure;
mod ofrep;
mod read;
mod system;
mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flagraft_bench_common::failure::Failure;

/// What the load generator allocates must not be what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares Flagraft with its peers: same machine, same run, same disk.
#[derive(Parser, Debug)]
#[command(name = "bench", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Writes that are on the disks of a majority: Flagraft's flags beside etcd's keys
    Write(write::WriteArgs),
    /// Reads that a majority confirms, and reads of what a node has: critical flags beside etcd's keys
    Read(read::ReadArgs),
    /// Evaluations over HTTP: Flagraft beside a handler that only reads and answers the same
    Http(ofrep::HttpArgs),
    /// The handler that `http` compares with
    #[command(hide = true)]
    Bare(ofrep::BareArgs),
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Write(args) => on_one_thread(write::run(args)),
        Command::Read(args) => on_one_thread(read::run(args)),
        Command::Http(args) => on_one_thread(ofrep::run(args)),
        Command::Bare(args) => ofrep::serve(args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What the load costs is to be small beside what it measures, on machines with few
/// cores above all.
fn on_one_thread(benchmark: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, benchmark)
}
