//! The servers' processes: started, timed by the kernel, and ended with the benchmark.

use std::{
    fs::{self, File},
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::failure::Failure;

/// Ticks of `/proc/PID/stat` in a second: the kernel's USER_HZ, which is 100 on every architecture in use.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts `command` with its output in `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Result<Self, Failure> {
        let out = File::create(&log)?;
        let child =
            command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out).spawn().map_err(|e| {
                Failure(format!("{} could not be started: {e}", command.get_program().display()))
            })?;
        Ok(Self { child, log })
    }

    /// CPU time that the process has used so far, in user and kernel mode, all its threads together.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        cpu_of(&self.child.id().to_string())
    }

    /// Fails if the process has ended.
    pub fn require_alive(&mut self) -> Result<(), Failure> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let mut end: Vec<&str> = log.lines().rev().take(15).collect();
                end.reverse();
                Err(Failure(format!("a server ended with {status}; the end of its log:\n{}", end.join("\n"))))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        _ = self.child.kill().is_ok();
        _ = self.child.wait().is_ok();
    }
}

/// CPU time that this process, the load, has used so far.
pub fn own_cpu() -> Result<Duration, Failure> {
    cpu_of("self")
}

fn cpu_of(pid: &str) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat)
        .map(|ticks| Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
        .ok_or_else(|| Failure(format!("/proc/{pid}/stat has another form than this program knows")))
}

/// utime and stime: the 14th and 15th field. The second, the name, may hold anything but ends with the last `)`.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Ports of this machine that nobody uses now.
pub fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    // All are held at once, so that none comes twice.
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// A folder that is deleted when this is dropped.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder anew.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("bench: {} could not be deleted: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticks_of_a_process_with_an_odd_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 17 5 0 0 20 0 9 0 100 1 2";
        assert_eq!(ticks(stat), Some(22));
        assert_eq!(ticks("42 no name"), None);
    }
}
