//! A wall clock of its own for a node, which can be set while it runs. The clocks that count are the machine's.
//!
//! This is done by libfaketime, which stands between a process and the system's library; where it is missing,
//! [`why_not_here`] says so.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where Debian has the library, by machine.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];
/// For how long a process may believe the clock that it read last, in seconds: to ask each time costs it fifty times as much.
const BELIEVED_S: &str = "1";

/// Why nodes can't have clocks of their own on this machine; `None`: they can.
pub fn why_not_here() -> Option<String> {
    library().is_none().then(|| format!("libfaketime is missing (Debian's package): none of {LIBRARIES:?}"))
}

fn library() -> Option<&'static str> {
    LIBRARIES.into_iter().find(|path| Path::new(path).exists())
}

/// The clock of one node.
#[derive(Clone, Debug)]
pub struct Clock {
    file: PathBuf,
}

impl Clock {
    /// A clock that is right, kept in this folder.
    ///
    /// # Panics
    /// It can't be made; [`why_not_here`] tells beforehand.
    pub fn new(folder: &Path) -> Self {
        let clock = Self { file: folder.join("clock") };
        clock.set(0);
        clock
    }

    /// Sets it this many seconds ahead of the machine's, or behind it if that is less than 0.
    ///
    /// # Panics
    /// It can't be written.
    pub fn set(&self, ahead_s: i64) {
        // Whoever reads it meanwhile reads all of the old or all of the new.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{ahead_s:+}\n"))
            .and_then(|()| fs::rename(&new, &self.file))
            .unwrap_or_else(|error| panic!("{}: {error}", self.file.display()));
    }

    /// The environment of a process that goes by it.
    ///
    /// # Panics
    /// The library is missing.
    pub fn envs(&self) -> Vec<(String, String)> {
        let library = library().unwrap_or_else(|| panic!("{}", why_not_here().unwrap_or_default()));
        [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file.to_string_lossy()),
            ("FAKETIME_CACHE_DURATION", BELIEVED_S),
            // Ages and waits are counted by the machine's clock, as they would be if somebody set the wall clock.
            ("DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
            // Processes that are started at the same time need nothing in common.
            ("FAKETIME_DISABLE_SHM", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use super::*;
    use crate::{settings::measured, wait};

    /// Tells the time again and again, each time whole.
    const TELL: &str = r#"
        while (1) {
            open(my $new, ">", $ARGV[1]); print $new time; close $new;
            rename $ARGV[1], $ARGV[0];
            select(undef, undef, undef, 0.05);
        }"#;

    fn seconds(text: &[u8]) -> i64 {
        String::from_utf8_lossy(text).trim().parse().expect("a number")
    }

    #[test]
    fn a_process_goes_by_its_clock_while_it_runs() {
        if let Some(why) = why_not_here() {
            measured("NOT RUN HERE: clocks of a node's own", why);
            return;
        }
        let folder = tempfile::TempDir::with_prefix("flagraft-test-").expect("a folder");
        let clock = Clock::new(folder.path());
        let told = folder.path().join("told");
        let mut child = Command::new("perl")
            .args(["-e", TELL])
            .args([&told, &told.with_extension("new")])
            .envs(clock.envs())
            .spawn()
            .expect("perl");
        let right = || seconds(&Command::new("date").arg("+%s").output().expect("date").stdout);
        for ahead_s in [0, 86_400, -3_600, 0] {
            clock.set(ahead_s);
            let off = || {
                let told = fs::read(&told).ok()?;
                Some(seconds(&told) - right()).filter(|off| off.abs_diff(ahead_s) <= 5)
            };
            let found = wait::found_blocking(Duration::from_secs(20), off);
            assert!(found.is_some(), "{ahead_s}: {:?}, and it is {}", fs::read_to_string(&told), right());
        }
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }
}
