//! One file of a dead node is damaged: a bit flipped, or its end cut off. The node comes back as it was, or refuses to start
//! in words; then the folder is put back.
//!
//! What the node had acknowledged has to be with the others before: damage to the last moment of a log can't be told from
//! a power cut, which takes what was not yet synced. So it waits until the others have committed an entry that this
//! node can't have, and with it everything before.
//!
//! A node that gets ready may have damage where it has not read yet: it may find it as long as it runs, and end. When
//! the fault ends, such a bit is turned back in its place, for a node that has run can't be given an older folder.

use std::{fs, path::PathBuf, time::Duration};

use flagraft_chaos::dice::Dice;

use super::{
    Ground, Wrong,
    asked::Asked,
    question::{metrics_until, raft_index},
    trial::{Outcome, PATIENCE, Trial, line_with},
};
use crate::{
    api::Api,
    damage::{Damage, copy, data_files, is_written_once, put_back, turn_back},
    metrics::Metrics,
    process::{FATAL_EXIT_CODE, REFUSED_EXIT_CODE},
    wait,
};

/// What a node says that refuses its folder.
const WORDS: &str = "the data folder can't be used";
/// What it says when it finds damage while it runs, and ends with [`FATAL_EXIT_CODE`].
const FOUND: &str = "the data is corrupt";
/// What it leaves in its folder then, so that no node is started on it again.
const MARK: &str = "damaged";
/// Within this a node notes beside its database what was synced.
const FLOOR_WITHIN: Duration = Duration::from_millis(2_500);

/// Damage to one file of a node.
pub(super) struct Spoil {
    node: u64,
    is_cut: bool,
    dice: Dice,
    step: Step,
    /// A bit in a file that is written once: turned over again, the file is what it was.
    flipped: Option<(PathBuf, usize, u8)>,
    /// The entry up to which its log was surely on its disk when it was killed.
    synced: u64,
}

enum Step {
    Before,
    /// Until it is known up to which entry its log is surely on its disk.
    Noting(Asked<u64>),
    /// Until the others have committed something without it: the entry's index.
    Waiting(Asked<u64>),
    /// It was started, after what was done to its folder.
    Started(Trial, String),
    /// It got ready.
    Runs(String),
    /// It ended, and was started without the damage. What showed it; `None`: it did what it may not.
    Over(Option<String>),
}

impl Spoil {
    /// A bit flipped in a file of it.
    pub(super) fn flip(node: u64, dice: Dice) -> Self {
        Self { node, is_cut: false, dice, step: Step::Before, flipped: None, synced: 0 }
    }

    /// A file of it cut short.
    pub(super) fn cut(node: u64, dice: Dice) -> Self {
        Self { node, is_cut: true, dice, step: Step::Before, flipped: None, synced: 0 }
    }

    /// Where its folder is kept as it was.
    fn kept(&self, ground: &Ground) -> PathBuf {
        ground.cluster.folder().join(format!("node-{}-as-it-was", self.node))
    }

    /// A file to damage. It is as often a write-ahead log as all others, for there damage can pass for the end.
    fn file_of(&mut self, files: &[PathBuf]) -> PathBuf {
        let is_log = |file: &&PathBuf| file.extension().is_some_and(|end| end == "log");
        let logs: Vec<PathBuf> = files.iter().filter(is_log).cloned().collect();
        let some = if self.dice.percent(50) && !logs.is_empty() { &logs } else { files };
        self.dice.pick(some).expect("there is data").clone()
    }

    /// Keeps the folder, and damages a file of it. Gives what it did.
    fn damage(&mut self, ground: &Ground) -> String {
        let data = ground.cluster.data(self.node);
        copy(data, &self.kept(ground)).expect("a dead node's folder can be copied");
        let file = self.file_of(&data_files(data));
        let length = fs::metadata(&file).expect("it is there").len();
        let at = usize::try_from(self.dice.below(length)).expect("a file fits into memory");
        let bit = u8::try_from(self.dice.below(8)).expect("a byte has eight");
        let damage = if self.is_cut { Damage::Cut } else { Damage::Flip(bit) };
        damage.to(&file, at).expect("a dead node's file can be written");
        ground.cluster.disk(self.node).sync();
        if let Damage::Flip(bit) = damage
            && is_written_once(&file)
        {
            self.flipped = Some((file.clone(), at, bit));
        }
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

    /// Starts a node that ended after it had run with the damage without it: with all else that it has by now.
    fn mend(&self, ground: &mut Ground) {
        let data = ground.cluster.data(self.node);
        if let Some((file, at, bit)) = &self.flipped
            && file.exists()
        {
            turn_back(file, *at, *bit).expect("a dead node's file can be written");
        }
        let _ = fs::remove_file(data.join(MARK));
        ground.cluster.disk(self.node).sync();
        ground.start(self.node);
    }

    /// Ends a node that runs with the damage, and starts it without.
    fn stop(&self, ground: &mut Ground) {
        match ground.ended(self.node) {
            None => drop(ground.kill(&[self.node])),
            Some(status) if status.code() == Some(FATAL_EXIT_CODE) && self.flipped.is_some() => {}
            Some(status) => {
                ground.misdeeds.push(format!("node {} ran with damage, and ended with {status}", self.node));
            }
        }
        self.mend(ground);
    }

    fn proof(&self) -> Option<String> {
        match &self.step {
            Step::Runs(proof) => Some(proof.clone()),
            Step::Over(proof) => proof.clone(),
            Step::Before | Step::Noting(_) | Step::Waiting(_) | Step::Started(..) => None,
        }
    }

    /// What the node made of it.
    fn judge(&self, outcome: Outcome, done: &str, ground: &mut Ground) -> Step {
        let node = self.node;
        let (status, said) = match outcome {
            Outcome::Ended { status, said } => (status, said),
            Outcome::Ready { said } => {
                let recovered = recovered(&said);
                if recovered.is_none_or(|entry| entry < self.synced) {
                    let synced = self.synced;
                    ground.misdeeds.push(format!(
                        "{done}; node {node} got ready with {recovered:?} as its last entry, and had synced entry {synced}"
                    ));
                }
                return Step::Runs(format!("{done}; node {node} got ready"));
            }
        };
        let line = match status.code() {
            Some(REFUSED_EXIT_CODE) => {
                self.restore(ground);
                line_with(&said, WORDS)
            }
            code => {
                self.mend(ground);
                line_with(&said, FOUND).filter(|_| code == Some(FATAL_EXIT_CODE) && self.flipped.is_some())
            }
        };
        if line.is_none() {
            ground
                .misdeeds
                .push(format!("{done}; node {node} ended with {status}, and does not say why: {said}"));
        }
        Step::Over(line.map(|line| format!("{done}; node {node} ended with {status}: {line}")))
    }
}

impl Wrong for Spoil {
    fn begin(&mut self, ground: &mut Ground) {
        self.step = Step::Noting(Asked::of(surely_synced(ground.cluster.admin(self.node))));
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        match &self.step {
            Step::Noting(synced) => {
                self.synced = *synced.answer()?;
                ground.kill(&[self.node]);
                let others = ground.ids().into_iter().filter(|id| *id != self.node);
                let others = others.map(|id| ground.cluster.admin(id)).collect();
                self.step = Step::Waiting(Asked::of(committed_without(others)));
                None
            }
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
                self.step = self.judge(outcome, &done, ground);
                self.proof()
            }
            Step::Runs(_) | Step::Over(_) => self.proof(),
            Step::Before => None,
        }
    }

    fn goes_on(&self) -> bool {
        matches!(self.step, Step::Noting(_))
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
            // Others keep it from getting ready, so far, or it is.
            Step::Started(..) | Step::Runs(_) => self.stop(ground),
            Step::Before | Step::Noting(_) | Step::Over(_) => {}
        }
        let _ = fs::remove_dir_all(self.kept(ground));
    }
}

/// Asks a node how far its log goes, and waits until that is below the floor that it keeps beside its database, which says
/// what was synced a second ago: from then on it may not start with less.
async fn surely_synced(node: Api) -> u64 {
    let last = metrics_until(&[node], |metrics| Some(raft_index(metrics, "last_log"))).await;
    wait::pace(FLOOR_WITHIN).await;
    last
}

/// The last entry of the log that a node says it has as it starts.
fn recovered(said: &str) -> Option<u64> {
    let line = line_with(said, "the data folder holds together")?;
    let (_, entry) = line.split_once("entry=")?;
    entry.split_whitespace().next()?.parse().ok()
}

/// Asks these nodes until one has committed an entry that was written after all of them said how far their logs went: a
/// node that died before can't have it, and a quorum without that node has all that comes before.
async fn committed_without(others: Vec<Api>) -> u64 {
    let mut last = 0;
    for node in &others {
        // Each is to say so: one that is down may have what nobody else has.
        let own =
            metrics_until(std::slice::from_ref(node), |metrics| Some(raft_index(metrics, "last_log"))).await;
        last = last.max(own);
    }
    let later = |metrics: &Metrics| Some(raft_index(metrics, "committed")).filter(|index| *index > last);
    metrics_until(&others, later).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_has_is_what_it_says_as_it_starts() {
        let said = "x\n12:00  INFO node: the data folder holds together entry=37 term=Some(2) revision=9 records=12\ny";
        assert_eq!(recovered(said), Some(37));
        assert_eq!(recovered("this node has started"), None);
    }
}
