//! One node as a process: started, watched, and sent signals.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// The exit code of a node that can't go on, be it for its disk or for its Raft.
pub const FATAL_EXIT_CODE: i32 = 70;

/// The exit code of a node that does not start or go on, and says why: it refuses its folder, or its cluster refuses it.
pub const REFUSED_EXIT_CODE: i32 = 1;

/// What the nodes of a cluster are started with, beside the arguments of each.
#[derive(Clone, Debug)]
pub struct Program {
    /// The binary.
    pub binary: PathBuf,
    /// Arguments after those of each node.
    pub args: Vec<String>,
    /// Variables of the environment.
    pub envs: Vec<(String, String)>,
}

impl Program {
    /// A process of it that is not started yet.
    pub fn process(&self, name: String, own_args: Vec<String>, log: PathBuf) -> Process {
        let args = own_args.into_iter().chain(self.args.iter().cloned()).collect();
        Process { name, binary: self.binary.clone(), args, envs: self.envs.clone(), log, child: None }
    }
}

/// The state of a process, as the system abbreviates it: `T` is stopped, `D` waits for a device. `None`: there is none.
pub fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the program's name, which is in brackets and may have some of its own.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// A child process with a log file. Dies with this value.
///
/// It stays in the process group of the test, so that whoever ends the test (a runner at its time limit, Ctrl-C) ends
/// its nodes too.
#[derive(Debug)]
pub struct Process {
    name: String,
    binary: PathBuf,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Sets a variable of the environment of what is started from now on, or takes it away.
    pub fn set_env(&mut self, name: &str, value: Option<&str>) {
        self.envs.retain(|(known, _)| known != name);
        if let Some(value) = value {
            self.envs.push((name.to_owned(), value.to_owned()));
        }
    }

    /// What it is started with from now on.
    pub fn args_mut(&mut self) -> &mut Vec<String> {
        &mut self.args
    }

    /// Starts it.
    ///
    /// # Panics
    /// It runs, or the binary can't be started.
    pub fn start(&mut self) {
        assert!(!self.is_alive(), "{} runs already", self.name);
        let log = self.open_log().unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
        let errors = log.try_clone().unwrap_or_else(|error| panic!("{}: {error}", self.log.display()));
        let mut command = Command::new(&self.binary);
        command.args(&self.args).stdin(Stdio::null()).stdout(log).stderr(errors);
        // A developer's own settings must not reach the nodes under test.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FLAGRAFT_") {
                command.env_remove(name);
            }
        }
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));
        self.child = Some(child);
    }

    fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.log)
    }

    /// Its process id, while it lives.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it lives; a paused one does.
    pub fn is_alive(&mut self) -> bool {
        self.exit().is_none() && self.child.is_some()
    }

    /// How it ended, if it did by itself since it was started.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().expect("a child can be waited for"))
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().unwrap_or_else(|| panic!("{} does not run", self.name));
        // Until it is waited for, the number of a child stays its own, so this reaches no other process.
        let pid = Pid::from_raw(pid.cast_signed()).expect("no pid is 0");
        kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to {}: {error}", self.name));
    }

    /// SIGKILL, without waiting for its end.
    ///
    /// # Panics
    /// It does not run.
    pub fn strike(&self) {
        self.signal(Signal::KILL);
    }

    /// Waits for the end of what [`Process::strike`] has hit.
    ///
    /// # Panics
    /// It was not started.
    pub fn bury(&mut self) {
        let name = &self.name;
        let mut child = self.child.take().unwrap_or_else(|| panic!("{name} does not run"));
        child.wait().unwrap_or_else(|error| panic!("waiting for {name}: {error}"));
    }

    /// SIGSTOP.
    ///
    /// # Panics
    /// It does not run.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    ///
    /// # Panics
    /// It does not run.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM, without waiting for its end.
    ///
    /// # Panics
    /// It does not run.
    pub fn ask_to_end(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Panics
    /// It does not run, or does not end within `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.ask_to_end();
        self.ended(limit).await
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// It does not within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> ExitStatus {
        let ended = self.ends_within(limit).await;
        ended.unwrap_or_else(|| panic!("waited {limit:?} for the end of {}, in vain", self.name))
    }

    /// Waits whether it ends by itself. `None`: it still runs.
    pub async fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let status = wait::found(limit, || self.exit()).await?;
        self.child = None;
        Some(status)
    }

    /// All that it wrote to its log.
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of its log.
    pub fn log_end(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Where its log lies.
    pub fn log_path(&self) -> &Path {
        &self.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; nothing else can go wrong that a dropped value could tell anybody.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_is_not_taken_for_a_stopped_one() {
        assert!(state(std::process::id()).is_some_and(|state| state != 'T'));
        assert_eq!(state(u32::MAX), None);
    }
}
