//! `flagraft serve`: one node, from its settings to its graceful end. Here, and only here, the settings are
//! parsed.

mod logging;
mod settings;

use std::{
    env, future::Future, io, num::NonZero, os::unix::process::CommandExt as _, process::Command, thread,
};

use flagraft_node::{
    node::StartError,
    server::{Server, ServerError},
};
use tokio::signal::unix::{SignalKind, signal};

pub use self::{logging::LogFormat, settings::ServeArgs};
use crate::{
    dev,
    failure::{Exit, Failure},
};

/// This program, also when an upgrade has put another one in its place: what is started anew is what ran.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// Threads of the runtime that may wait for the disk, in a write of Raft's core and one of the state machine. Those beside them,
/// one for each processor, go on answering for as long as a disk does nothing.
const WAITING_FOR_THE_DISK: usize = 2;

/// Runs a node until it is told to stop.
pub fn run(args: ServeArgs) -> Result<(), Failure> {
    logging::start(args.observing.log_format, args.dev)?;
    let threads = thread::available_parallelism().map_or(1, NonZero::get) + WAITING_FOR_THE_DISK;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Exit::Other, format!("could not start: {e}")))?;
    if args.dev {
        return runtime.block_on(dev::run(&args));
    }
    let config = args.config()?;
    let ended = runtime.block_on(async {
        // Asked for before the node starts: a signal while it does must not kill it half-way.
        let stop = told_to_stop()?;
        let server = Server::start(config).await.map_err(not_started)?;
        Ok::<_, Failure>(server.run_until(stop).await)
    })?;
    match ended {
        Err(ServerError::DiskIsBack) => Err(start_anew()),
        ended => ended.map_err(not_ended_well),
    }
}

/// Serves until `stop`, or until the node can't go on.
pub async fn ended(server: Server, stop: impl Future<Output = ()>) -> Result<(), Failure> {
    server.run_until(stop).await.map_err(not_ended_well)
}

fn not_ended_well(error: ServerError) -> Failure {
    Failure::new(Exit::Other, error.to_string())
}

/// Puts a new run of this program in the place of this one, with the same process id, arguments and environment. Returns
/// only if that fails. A new process and not a new node in this one: nothing is left of a database that has failed.
fn start_anew() -> Failure {
    let error = Command::new(THIS_PROGRAM).args(env::args_os().skip(1)).exec();
    Failure::new(Exit::Other, format!("this node could not start anew: {error}; start it again"))
}

/// Completes at the first SIGTERM or SIGINT.
pub fn told_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |e: io::Error| Failure::new(Exit::Other, format!("could not listen for signals: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Why a node did not start, in a sentence.
pub fn not_started(error: StartError) -> Failure {
    let exit = match error {
        StartError::Config(_) => Exit::Usage,
        _ => Exit::Other,
    };
    Failure::new(exit, error.to_string())
}
