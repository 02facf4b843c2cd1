//! A node is started so that its disk fails a sync, and each one after it. It has to end by itself, and to acknowledge
//! nothing that it could not sync.

use std::time::{Duration, Instant};

use flagraft_chaos::dice::Dice;

use super::{
    Ground, Wrong,
    trial::{Outcome, PATIENCE, Trial, line_with},
};
use crate::process::FATAL_EXIT_CODE;

/// The variable that has a node fail all syncs after so many.
const FAIL_AFTER: &str = "FLAGRAFT_FAIL_SYNC_AFTER";
/// From the first sync of a start to some that come a while after it.
const SYNCS: (u64, u64) = (0, 150);
/// How long a node that serves may take until it has to sync so often: clients write all the time.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// What it says when it ends.
const WORDS: &str = "syncing the write-ahead log failed";

pub(super) struct SyncError {
    node: u64,
    after: u64,
    trial: Option<Trial>,
    /// Since when it is ready. It is to end all the same.
    ready_since: Option<Instant>,
    proof: Option<String>,
}

impl SyncError {
    pub(super) fn of(node: u64, dice: &mut Dice) -> Self {
        Self { node, after: dice.from_to(SYNCS.0, SYNCS.1), trial: None, ready_since: None, proof: None }
    }
}

impl Wrong for SyncError {
    fn begin(&mut self, ground: &mut Ground) {
        ground.kill(&[self.node]);
        ground.cluster.set_env(self.node, FAIL_AFTER, Some(&self.after.to_string()));
        self.trial = Some(Trial::start(self.node, ground));
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        match self.trial.as_ref().and_then(|trial| trial.outcome(ground)) {
            None => {}
            Some(Outcome::Ready { .. }) => {
                self.ready_since.get_or_insert_with(Instant::now);
            }
            Some(Outcome::Ended { status, said }) => {
                self.trial = None;
                let (node, after) = (self.node, self.after);
                match line_with(&said, WORDS).filter(|_| status.code() == Some(FATAL_EXIT_CODE)) {
                    Some(line) => self.proof = Some(format!("after {after} syncs node {node} ended: {line}")),
                    None => ground.misdeeds.push(format!(
                        "node {node} could not sync after {after} times, and ended with {status}: {said}"
                    )),
                }
            }
        }
        self.proof.clone()
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn end(&mut self, ground: &mut Ground) {
        if self.trial.take().is_some() && ground.ended(self.node).is_none() {
            if let Some(served) = self.ready_since.map(|since| since.elapsed()).filter(|it| *it > ENDS_WITHIN)
            {
                let (node, after) = (self.node, self.after);
                ground.misdeeds.push(format!(
                    "node {node} could not sync after {after} times, and went on for {served:?}"
                ));
            }
            ground.kill(&[self.node]);
        }
        ground.cluster.set_env(self.node, FAIL_AFTER, None);
        ground.start(self.node);
    }
}
