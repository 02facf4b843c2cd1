//! SIGSTOP to some nodes, SIGCONT when it ends.

use std::fs;

use super::{Ground, Wrong};

pub(super) struct Pause {
    nodes: Vec<u64>,
    pids: Vec<u32>,
}

impl Pause {
    pub(super) fn of(nodes: Vec<u64>) -> Self {
        Self { nodes, pids: Vec::new() }
    }
}

impl Wrong for Pause {
    fn begin(&mut self, ground: &mut Ground) {
        self.pids = self.nodes.iter().map(|node| ground.pause(*node)).collect();
    }

    fn look(&mut self, _: &mut Ground) -> Option<String> {
        let stopped = self.pids.iter().all(|pid| state(*pid) == Some('T'));
        stopped.then(|| format!("the system says of the processes {:?}: stopped (T)", self.pids))
    }

    fn end(&mut self, ground: &mut Ground) {
        self.nodes.iter().for_each(|node| ground.resume(*node));
    }
}

/// The state of a process, as the system abbreviates it.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the program's name, which is in brackets and may have some of its own.
    stat.rsplit_once(") ")?.1.chars().next()
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
