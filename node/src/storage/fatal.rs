//! What happens when the disk can no longer be trusted.

use std::{process, sync::Arc};

/// The process's exit code after a failure of its disk.
pub const FATAL_EXIT_CODE: i32 = 70;

/// Told why the node can't go on. In production it does not return.
pub type FatalHook = Arc<dyn Fn(&str) + Send + Sync>;

/// The hook for production: says why and ends the process with [`FATAL_EXIT_CODE`].
///
/// After a failed sync nobody knows what is on the disk, and a second sync may succeed without having written
/// what the first one lost. So there is nothing to clean up and nothing to retry: a fresh start reads the disk anew.
pub fn exit_process() -> FatalHook {
    Arc::new(|why| {
        tracing::error!(exit_code = FATAL_EXIT_CODE, "{why}; the process ends here");
        process::exit(FATAL_EXIT_CODE)
    })
}
