//! What a node says while it runs: on standard error, as text for people or JSON for machines.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// The variable that says what to log.
const FILTER: &str = "FLAGRAFT_LOG";
/// What is logged if it does not: openraft tells every step of its own.
const USUAL: &str = "info,openraft=warn";
/// The same for `--dev`, where a person reads the tokens among it.
const QUIET: &str = "warn,openraft=error";

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// Begins to log.
pub fn start(format: LogFormat, quiet: bool) -> Result<(), Failure> {
    let usual = if quiet { QUIET } else { USUAL };
    let directives = env::var(FILTER).ok().filter(|text| !text.trim().is_empty());
    let filter = EnvFilter::try_new(directives.as_deref().unwrap_or(usual)).map_err(|e| {
        Failure::usage(format!("{FILTER} is wrong: {e}"))
            .next("give a level, or levels by module, such as info,flagraft_node=debug")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| Failure::usage(format!("could not begin to log: {e}")))
}
