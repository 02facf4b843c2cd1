//! `flagraft` with a bug in it, which `FLAGRAFT_CANARY` names: for the tests to show that they find it. Never shipped.

use std::process::ExitCode;

fn main() -> ExitCode {
    flagraft::main()
}
