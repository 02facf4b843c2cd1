//! The binary that is shipped: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    flagraft::main()
}
