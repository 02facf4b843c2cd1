//! A node loses its data folder, and comes back under its old id with an empty one: it has to be refused. When it ends, the
//! folder is put back.

use std::{fs, path::PathBuf, time::Duration};

use super::{
    Ground, Wrong,
    trial::{Outcome, PATIENCE, Trial, line_with},
};
use crate::process::REFUSED_EXIT_CODE;

pub(super) struct Wipe {
    node: u64,
    trial: Option<Trial>,
    proof: Option<String>,
}

impl Wipe {
    pub(super) fn of(node: u64) -> Self {
        Self { node, trial: None, proof: None }
    }

    /// Its folder, and where that is meanwhile: on the same disk.
    fn folders(&self, ground: &Ground) -> (PathBuf, PathBuf) {
        let data = ground.cluster.data(self.node).to_owned();
        let aside = data.with_extension("aside");
        (data, aside)
    }

    fn judge(&mut self, outcome: Outcome, ground: &mut Ground) {
        let node = self.node;
        match outcome {
            Outcome::Ready { .. } => ground.misdeeds.push(format!("node {node} got ready without its data")),
            Outcome::Ended { status, said } => {
                let words = format!("flagraft cluster replace {node} --with ");
                match line_with(&said, &words).filter(|_| status.code() == Some(REFUSED_EXIT_CODE)) {
                    Some(line) => self.proof = Some(format!("node {node} is refused, and told: {line}")),
                    None => ground
                        .misdeeds
                        .push(format!("node {node} lost its data, and ended with {status}: {said}")),
                }
            }
        }
    }
}

impl Wrong for Wipe {
    fn begin(&mut self, ground: &mut Ground) {
        ground.kill(&[self.node]);
        let (data, aside) = self.folders(ground);
        fs::rename(&data, &aside).expect("a dead node's folder can be moved");
        self.trial = Some(Trial::start(self.node, ground));
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        if let Some(outcome) = self.trial.as_ref().and_then(|trial| trial.outcome(ground)) {
            self.trial = None;
            self.judge(outcome, ground);
        }
        self.proof.clone()
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn end(&mut self, ground: &mut Ground) {
        self.trial = None;
        if ground.ended(self.node).is_none() {
            ground.kill(&[self.node]);
        }
        let (data, aside) = self.folders(ground);
        // It may have ended before it made one.
        let _ = fs::remove_dir_all(&data);
        fs::rename(&aside, &data).expect("the folder is where it was put");
        // No power cut after this may bring the empty one back.
        ground.cluster.disk(self.node).sync();
        ground.start(self.node);
    }
}
