//! `flagraft`: a node of a Flagraft cluster and the command line to all of them, in one binary.
//!
//! A library only so that the tests can have a second binary of it, with planted bugs: `flagraft-canary`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod audit;
mod backup;
mod change;
mod cluster;
mod completion;
mod dev;
mod environment;
mod export;
mod failure;
#[cfg(test)]
#[path = "../../client/tests/admin/fake.rs"]
mod fake;
mod flag;
mod health;
mod import;
mod input;
mod member;
mod output;
mod project;
mod recover;
mod restore;
mod rule;
mod segment;
mod serve;
mod session;
mod sign;
mod signing_key;
mod target;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::{
    failure::{Exit, Failure},
    output::Format,
    session::Global,
};

/// Many small allocations on many threads: the answers to evaluations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Flagraft: feature flags from a cluster that says how old its answers are.
#[derive(Parser, Debug)]
#[command(name = "flagraft", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 ok, 2 usage, 3 not found, 4 rejected or conflict, 5 auth, 6 unavailable, \
                        7 outcome unknown, 8 verification failed, 1 other."
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run a node
    Serve(Box<serve::ServeArgs>),
    /// Read, change and evaluate flags
    #[command(subcommand)]
    Flag(flag::FlagCommand),
    /// Create, replace and delete a flag's rules
    #[command(subcommand)]
    Rule(rule::RuleCommand),
    /// Groups of users that rules share
    #[command(subcommand)]
    Segment(segment::SegmentCommand),
    /// A project's environments and their policies
    #[command(subcommand)]
    Environment(environment::EnvironmentCommand),
    /// The tenants of the cluster
    #[command(subcommand)]
    Project(project::ProjectCommand),
    /// Several operations as one change
    #[command(subcommand)]
    Change(change::ChangeCommand),
    /// Who may do what
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// The keys that changes are signed with
    #[command(subcommand)]
    SigningKey(signing_key::SigningKeyCommand),
    /// Import flags from flagd, or a project that `export` wrote
    Import(Box<import::ImportArgs>),
    /// Write a project to a file that `import --format flagraft` reads
    Export(export::ExportArgs),
    /// The members of the cluster
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Who changed what, when and why
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Back up the catalog and the audit log of a cluster that runs, or verify a backup
    Backup(backup::BackupArgs),
    /// Restore a backup into an empty data folder, for a new cluster to be founded on
    Restore(restore::RestoreArgs),
    /// After a quorum is lost for good: look at a survivor's data folder, or let it go on alone
    Recover(recover::RecoverArgs),
    /// Exit with 0 if a node is ready and with 6 if it is not
    Health(health::HealthArgs),
    /// Write a completion script for a shell to standard output
    Completion {
        /// The shell
        shell: Shell,
    },
}

/// Does what the arguments of this process say: all that a binary does.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let format = arguments.global.output;
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match format {
                Format::Json => eprintln!("{}", failure.to_json()),
                Format::Table => eprintln!("flagraft: {failure}"),
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let global = arguments.global;
    match arguments.command {
        Command::Serve(args) => serve::run(*args),
        Command::Completion { shell } => completion::run(shell),
        Command::Restore(args) => restore::run(&args, &global),
        Command::Recover(args) => recover::run(&args, &global),
        command => client_runtime()?.block_on(ask(command, &global)),
    }
}

/// One thread is enough to ask one question.
fn client_runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|e| Failure::new(Exit::Other, format!("could not start: {e}")))
}

async fn ask(command: Command, global: &Global) -> Result<(), Failure> {
    match command {
        Command::Flag(command) => flag::run(command, global).await,
        Command::Rule(command) => rule::run(command, global).await,
        Command::Segment(command) => segment::run(command, global).await,
        Command::Environment(command) => environment::run(command, global).await,
        Command::Project(command) => project::run(command, global).await,
        Command::Change(command) => change::run(command, global).await,
        Command::Token(command) => token::run(command, global).await,
        Command::SigningKey(command) => signing_key::run(command, global).await,
        Command::Import(args) => import::run(*args, global).await,
        Command::Export(args) => export::run(args, global).await,
        Command::Cluster(command) => cluster::run(command, global).await,
        Command::Audit(command) => audit::run(command, global).await,
        Command::Backup(args) => backup::run(args, global).await,
        Command::Health(args) => health::run(args, global).await,
        Command::Completion { shell } => completion::run(shell),
        // Has a runtime of its own, with many threads.
        Command::Serve(_) => Ok(()),
        // Work on a folder, and ask nobody.
        Command::Restore(_) | Command::Recover(_) => Ok(()),
    }
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
