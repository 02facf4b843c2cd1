//! `flagraft-bench`: Flagraft beside its peers, on this machine, in one run. `scripts/bench` builds and starts it.

mod failure;
mod load;
mod process;
mod statistics;
mod system;
mod write;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: what the load costs is to be small beside what it measures, on machines with few cores above all.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(failure::Failure::from).and_then(|runtime| {
        tokio::task::LocalSet::new().block_on(&runtime, async {
            match arguments.command {
                Command::Write(args) => write::run(args).await,
            }
        })
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
