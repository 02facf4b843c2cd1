//! SIGTERM to one node, a new start, and once that is ready the next one.

use std::time::{Duration, Instant};

use flagraft_chaos::dice::Dice;

use super::{Ground, Wrong};

/// How long a node may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

pub(super) struct RollingRestart {
    /// Those that are still to come, the next one last.
    left: Vec<u64>,
    now: Option<Step>,
    done: Vec<String>,
}

/// What one node is at.
#[derive(Clone, Copy)]
enum Step {
    Ending { node: u64, pid: u32, since: Instant },
    Starting { node: u64, pid: u32 },
}

impl RollingRestart {
    pub(super) fn of(mut nodes: Vec<u64>, dice: &mut Dice) -> Self {
        dice.shuffle(&mut nodes);
        Self { left: nodes, now: None, done: Vec::new() }
    }

    fn next(&mut self, ground: &mut Ground) {
        self.now = self.left.pop().map(|node| {
            let pid = ground.ask_to_end(node);
            Step::Ending { node, pid, since: Instant::now() }
        });
    }
}

impl Wrong for RollingRestart {
    fn begin(&mut self, ground: &mut Ground) {
        self.next(ground);
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        match self.now {
            Some(Step::Ending { node, pid, since }) => match ground.ended(node) {
                Some(status) => {
                    if !status.success() {
                        ground
                            .misdeeds
                            .push(format!("node {node} was asked to stop, and ended with {status}"));
                    }
                    ground.start(node);
                    self.now = Some(Step::Starting { node, pid });
                }
                None if since.elapsed() > ENDS_WITHIN => {
                    // With hardly any of the machine it may take longer.
                    if !ground.is_weak(node) {
                        ground.misdeeds.push(format!("node {node} did not stop within {ENDS_WITHIN:?}"));
                    }
                    ground.kill(&[node]);
                    ground.start(node);
                    self.now = Some(Step::Starting { node, pid });
                }
                None => {}
            },
            Some(Step::Starting { node, pid }) if ground.serves(node) => {
                self.done.push(format!("node {node} was process {pid} and is {}", ground.cluster.pid(node)));
                self.next(ground);
            }
            Some(Step::Starting { .. }) | None => {}
        }
        (!self.goes_on()).then(|| self.done.join(", "))
    }

    fn goes_on(&self) -> bool {
        self.now.is_some()
    }

    fn end(&mut self, ground: &mut Ground) {
        // Given up in the midst of it.
        if let Some(Step::Ending { node, .. }) = self.now {
            ground.kill(&[node]);
            ground.start(node);
        }
    }
}
