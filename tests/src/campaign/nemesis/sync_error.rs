//! A node is started so that its disk fails a sync, and each one after it. It has to end by itself, and to acknowledge
//! nothing that it could not sync.

use std::time::Duration;

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
/// What it says when it ends.
const WORDS: &str = "syncing the write-ahead log failed";

pub(super) struct SyncError {
    node: u64,
    after: u64,
    trial: Option<Trial>,
    proof: Option<String>,
}

impl SyncError {
    pub(super) fn of(node: u64, dice: &mut Dice) -> Self {
        Self { node, after: dice.from_to(SYNCS.0, SYNCS.1), trial: None, proof: None }
    }
}

impl Wrong for SyncError {
    fn begin(&mut self, ground: &mut Ground) {
        ground.kill(&[self.node]);
        ground.cluster.set_env(self.node, FAIL_AFTER, Some(&self.after.to_string()));
        self.trial = Some(Trial::start(self.node, ground));
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        // That it is ready means nothing here: it is to end all the same.
        if let Some(Outcome::Ended { status, said }) = self.trial.as_ref().and_then(|it| it.outcome(ground)) {
            self.trial = None;
            let (node, after) = (self.node, self.after);
            match line_with(&said, WORDS).filter(|_| status.code() == Some(FATAL_EXIT_CODE)) {
                Some(line) => self.proof = Some(format!("after {after} syncs node {node} ended: {line}")),
                None => ground.misdeeds.push(format!(
                    "node {node} could not sync after {after} times, and ended with {status}: {said}"
                )),
            }
        }
        self.proof.clone()
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn end(&mut self, ground: &mut Ground) {
        if self.trial.take().is_some() && ground.ended(self.node).is_none() {
            ground.kill(&[self.node]);
        }
        ground.cluster.set_env(self.node, FAIL_AFTER, None);
        ground.start(self.node);
    }
}
