//! What a node says while it runs: on standard error, as text for people or JSON for machines.

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::failure::Failure;

/// The variable that says what to log.
const FILTER: &str = "FLAGRAFT_LOG";

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
pub fn start(format: LogFormat) -> Result<(), Failure> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).with_env_var(FILTER);
    let filter = filter.from_env().map_err(|e| {
        Failure::usage(format!("{FILTER} is wrong: {e}"))
            .next("give a level, or levels by module, such as info,flagraft_node=debug")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| Failure::usage(format!("could not begin to log: {e}")))
}
