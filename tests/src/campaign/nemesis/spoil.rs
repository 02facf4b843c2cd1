//! One file of a dead node is damaged: a bit flipped, or its end cut off. The node comes back as it was, or refuses to start
//! in words; then the folder is put back.
//!
//! What the node had acknowledged has to be with the others before: damage to the last moment of a log can't be told from
//! a power cut, which takes what was not yet synced. So it waits until the others have committed an entry that this
//! node can't have, and with it everything before.

use std::{fs, path::PathBuf, time::Duration};

use flagraft_chaos::dice::Dice;

use super::{
    Ground, Wrong,
    asked::Asked,
    question::metrics_until,
    trial::{Outcome, PATIENCE, Trial, line_with},
};
use crate::{
    api::Api,
    damage::{Damage, copy, data_files, put_back},
    metrics::Metrics,
};

/// The exit code of a node that refuses its folder.
const REFUSED: i32 = 1;
/// What it says then.
const WORDS: &str = "the data folder can't be used";

/// Damage to one file of a node.
pub(super) struct Spoil {
    node: u64,
    is_cut: bool,
    dice: Dice,
    step: Step,
}

enum Step {
    Before,
    /// Until the others have committed something without it: the entry's index.
    Waiting(Asked<u64>),
    /// It was started, after what was done to its folder.
    Started(Trial, String),
    Over(Option<String>),
}

impl Spoil {
    /// A bit flipped in a file of it.
    pub(super) fn flip(node: u64, dice: Dice) -> Self {
        Self { node, is_cut: false, dice, step: Step::Before }
    }

    /// A file of it cut short.
    pub(super) fn cut(node: u64, dice: Dice) -> Self {
        Self { node, is_cut: true, dice, step: Step::Before }
    }

    /// Where its folder is kept as it was.
    fn kept(&self, ground: &Ground) -> PathBuf {
        ground.cluster.folder().join(format!("node-{}-as-it-was", self.node))
    }

    /// Keeps the folder, and damages a file of it. Gives what it did.
    fn damage(&mut self, ground: &Ground) -> String {
        let data = ground.cluster.data(self.node);
        copy(data, &self.kept(ground)).expect("a dead node's folder can be copied");
        let file = self.dice.pick(&data_files(data)).expect("there is data").clone();
        let length = fs::metadata(&file).expect("it is there").len();
        let at = usize::try_from(self.dice.below(length)).expect("a file fits into memory");
        let bit = u8::try_from(self.dice.below(8)).expect("a byte has eight");
        let damage = if self.is_cut { Damage::Cut } else { Damage::Flip(bit) };
        damage.to(&file, at).expect("a dead node's file can be written");
        ground.cluster.disk(self.node).sync();
        let file = file.strip_prefix(data).unwrap_or(&file);
        format!("{damage} {at} of {length} of {}", file.display())
    }

    /// Starts a node that has ended with its folder as it was.
    fn restore(&self, ground: &mut Ground) {
        put_back(&self.kept(ground), ground.cluster.data(self.node)).expect("it can be written");
        // What was acknowledged was on the disk, and has to be again.
        ground.cluster.disk(self.node).sync();
        ground.start(self.node);
    }

    /// What the node made of it, if that is what it may.
    fn judge(&self, outcome: Outcome, done: &str, ground: &mut Ground) -> Option<String> {
        let node = self.node;
        match outcome {
            Outcome::Ready => {
                ground.rises(node);
                Some(format!("{done}; node {node} got ready"))
            }
            Outcome::Ended { status, said } => {
                self.restore(ground);
                let line = line_with(&said, WORDS).filter(|_| status.code() == Some(REFUSED));
                if line.is_none() {
                    ground.misdeeds.push(format!(
                        "{done}; node {node} ended with {status}, and does not say why: {said}"
                    ));
                }
                line.map(|line| format!("{done}; node {node} refused: {line}"))
            }
        }
    }
}

impl Wrong for Spoil {
    fn begin(&mut self, ground: &mut Ground) {
        ground.kill(&[self.node]);
        let others = ground.ids().into_iter().filter(|id| *id != self.node);
        let others = others.map(|id| ground.cluster.admin(id)).collect();
        self.step = Step::Waiting(Asked::of(committed_without(others)));
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        match &self.step {
            Step::Waiting(committed) => {
                if let Some(index) = committed.answer().copied() {
                    let done = self.damage(ground);
                    let done = format!("entry {index} committed without it; {done}");
                    self.step = Step::Started(Trial::start(self.node, ground), done);
                }
                None
            }
            Step::Started(trial, done) => {
                let outcome = trial.outcome(ground)?;
                let done = done.clone();
                let proof = self.judge(outcome, &done, ground);
                self.step = Step::Over(proof.clone());
                proof
            }
            Step::Over(proof) => proof.clone(),
            Step::Before => None,
        }
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn end(&mut self, ground: &mut Ground) {
        // It may have ended a moment ago.
        let _ = self.look(ground);
        match std::mem::replace(&mut self.step, Step::Over(None)) {
            // Nothing was done to its folder.
            Step::Waiting(_) => ground.start(self.node),
            // Others keep it from getting ready, so far: whether it does is looked at in the end.
            Step::Started(..) => ground.rises(self.node),
            Step::Before | Step::Over(_) => {}
        }
        let _ = fs::remove_dir_all(self.kept(ground));
    }
}

/// Asks these nodes until one has committed an entry that was written after all of them said how far their logs went: a
/// node that died before can't have it, and a quorum without that node has all that comes before.
async fn committed_without(others: Vec<Api>) -> u64 {
    let mut last = 0;
    for node in &others {
        // Each is to say so: one that is down may have what nobody else has.
        let own = metrics_until(std::slice::from_ref(node), |metrics| Some(index(metrics, "last_log"))).await;
        last = last.max(own);
    }
    let later = |metrics: &Metrics| Some(index(metrics, "committed")).filter(|index| *index > last);
    metrics_until(&others, later).await
}

fn index(metrics: &Metrics, which: &str) -> u64 {
    metrics.get(&format!("flagraft_raft_index{{which=\"{which}\"}}"))
}
