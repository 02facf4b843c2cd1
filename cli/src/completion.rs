//! `flagraft completion SHELL`: a script that teaches a shell our commands.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{Arguments, failure::Failure, output};

/// Writes the script to standard output.
pub fn run(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "flagraft", &mut script);
    output::line(&String::from_utf8_lossy(&script))
}
