//! A disk that does nothing for a while: whoever writes to it waits, and can't be killed meanwhile.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{Disk, run};
use crate::process::state;

/// What a write of our own is put into.
const PROBE: &str = "probe";

/// Freezes a disk, and thaws it once its input ends, be it because whoever froze it was killed. Nothing that waits for the
/// disk ends before, so nothing but SIGKILL ends this one.
const HOLD: &str = r#"
trap '' HUP INT TERM
fsfreeze --freeze "$1" && echo frozen || exit
read -r end
fsfreeze --unfreeze "$1"
"#;

/// A disk that was frozen. Dropped, it is thawed; so it is when this process ends.
#[derive(Debug)]
pub struct Frozen {
    root: PathBuf,
    holder: Child,
    /// Writes to the disk, and so waits until it is thawed. A process of its own: this one must not be one that waits.
    probe: Child,
    waits_since: Option<Instant>,
}

impl Disk {
    /// Freezes it: what is written to it, and synced, waits until the disk is thawed.
    ///
    /// # Panics
    /// It can't be done.
    pub fn freeze(&self) -> Frozen {
        let root = self.root();
        let mut shell = Command::new("sh");
        shell.args(["-c", HOLD, "hold"]).arg(&root).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = shell.spawn().expect("a shell");
        let mut said = String::new();
        let out = holder.stdout.take().expect("it is piped");
        let heard = BufReader::new(out).read_line(&mut said);
        if heard.is_err() || said.trim() != "frozen" {
            drop(holder.stdin.take());
            let ended = holder.wait();
            panic!("{} can't be frozen: {ended:?}", root.display());
        }
        let mut probe = Command::new("dd");
        probe.args(["if=/dev/zero", "bs=512", "count=1", "conv=fsync", "status=none"]);
        probe.arg(format!("of={}", root.join(PROBE).display())).stdin(Stdio::null());
        match probe.spawn() {
            Ok(probe) => Frozen { root, holder, probe, waits_since: None },
            Err(error) => {
                drop(holder.stdin.take());
                let _ = holder.wait();
                panic!("dd: {error}");
            }
        }
    }
}

impl Frozen {
    /// Since when a write of our own has been seen to wait, as [`Frozen::look`] saw it.
    pub fn waits_for(&self) -> Option<Duration> {
        self.waits_since.map(|since| since.elapsed())
    }

    /// Looks whether a write of our own to the disk waits, as the system says of its process.
    pub fn look(&mut self) {
        if state(self.probe.id()) == Some('D') {
            self.waits_since.get_or_insert_with(Instant::now);
        } else {
            self.waits_since = None;
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        // Whatever became of that one: nothing else that is dropped after this may have to wait for ever.
        thaw(&self.root);
        let _ = self.probe.wait();
        let _ = std::fs::remove_file(self.root.join(PROBE));
    }
}

impl fmt::Display for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = self.waits_for().unwrap_or_default();
        write!(f, "a write of our own to {} waits (D) for {waits:?}", self.root.display())
    }
}

/// Thaws what is mounted there, if it is frozen.
pub(super) fn thaw(root: &Path) {
    let _ = run("fsfreeze", &["--unfreeze", &root.to_string_lossy()]);
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc, thread};

    use super::*;
    use crate::{disk::DiskSpec, wait};

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_written_to_a_frozen_disk_waits_until_it_is_thawed() {
        if !Disk::here("a frozen disk") {
            return;
        }
        let folder = tempfile::TempDir::with_prefix("flagraft-test-").expect("a temporary folder");
        let disk = Disk::new(folder.path(), DiskSpec::of_mib(16));
        let mut frozen = disk.freeze();
        let seen = wait::found_blocking(LONG, || {
            frozen.look();
            frozen.waits_for().filter(|waited| *waited > Duration::from_millis(300))
        });
        assert!(seen.is_some(), "a write to it does not wait");
        let file = disk.root().join("file");
        let (tell, told) = mpsc::channel();
        let writer = thread::spawn(move || {
            let written = fs::write(file, "late");
            tell.send(()).expect("it is awaited");
            written
        });
        assert!(told.recv_timeout(Duration::from_millis(300)).is_err(), "a write to it went through");
        drop(frozen);
        told.recv_timeout(LONG).expect("it is thawed");
        writer.join().expect("no panic").expect("written");
        assert!(!disk.root().join(PROBE).exists());
        drop(disk.freeze());
        fs::write(disk.root().join("file"), "again").expect("it is thawed");
    }
}
