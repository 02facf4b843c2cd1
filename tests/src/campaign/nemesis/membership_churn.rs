//! Two more members, and then as many as before. The newcomers join as learners, vote, may lead, and are removed again;
//! clients go on to ask those that were there before. There are no links to and from the newcomers that could be cut.

mod steps;

use std::{
    collections::BTreeMap,
    fs,
    process::ExitStatus,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use flagraft_chaos::dice::Dice;

use self::steps::{Newcomer, Progress, Steps};
use super::{Ground, Wrong, asked::Asked};
use crate::process::REFUSED_EXIT_CODE;

/// How much longer than planned it may take: no step is done while others leave no quorum.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long the process of a member that was removed may take to end by itself.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// Before one is started again that was not let in: its token may be replaced by then.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(super) struct MembershipChurn {
    plan: Plan,
    newcomers: BTreeMap<u64, Started>,
    progress: Arc<Mutex<Progress>>,
    done: Option<Asked<String>>,
    /// Which of them was killed.
    killed: Option<u64>,
    /// Since when all members say that the newcomers are gone.
    gone_since: Option<Instant>,
}

/// What the dice decide.
struct Plan {
    /// Whether they are invited as voters, or told to vote once they are learners.
    as_voters: bool,
    /// After what time one of them is killed, and started again.
    kill_after: Option<Duration>,
    /// How long there are five.
    stay: Duration,
}

/// When a newcomer was started last, and how often.
#[derive(Default)]
struct Started {
    last: Option<Instant>,
    times: u64,
}

impl MembershipChurn {
    pub(super) fn of(dice: &mut Dice) -> Self {
        let as_voters = dice.percent(50);
        let kill = dice.percent(50);
        let kill_after = Duration::from_millis(dice.from_to(0, 3_000));
        let stay = Duration::from_millis(dice.from_to(0, 3_000));
        let plan = Plan { as_voters, kill_after: kill.then_some(kill_after), stay };
        Self {
            plan,
            newcomers: BTreeMap::new(),
            progress: Arc::default(),
            done: None,
            killed: None,
            gone_since: None,
        }
    }

    /// Starts those that are to run, and looks how those ended that did.
    fn attend(&mut self, ground: &mut Ground) {
        let wanted = self.progress.lock().expect("no holder panics").wanted.clone();
        for (node, started) in &mut self.newcomers {
            if ground.cluster.runs(*node) {
                continue;
            }
            if let Some(status) = ground.cluster.exit(*node)
                && !is_allowed(status)
            {
                // Said once, for it is another process that is looked at next time.
                ground.misdeeds.push(format!("node {node}, a newcomer, ended by itself: {status}"));
            }
            let is_due = started.last.is_none_or(|last| last.elapsed() > AGAIN_AFTER);
            if wanted.contains(node) && is_due {
                ground.cluster.launch(*node);
                *started = Started { last: Some(Instant::now()), times: started.times + 1 };
            }
        }
    }

    /// Kills the first of them in its first life, if that is planned and it is time.
    fn kill_one(&mut self, ground: &mut Ground) {
        let first = self.newcomers.first_key_value().filter(|(_, started)| started.times == 1);
        if let Some((node, Started { last: Some(last), .. })) = first
            && self.plan.kill_after.is_some_and(|after| last.elapsed() > after)
            && ground.cluster.runs(*node)
        {
            ground.cluster.kill(*node);
            self.plan.kill_after = None;
            self.killed = Some(*node);
        }
    }
}

impl Wrong for MembershipChurn {
    fn begin(&mut self, ground: &mut Ground) {
        let members = ground.ids();
        let mut newcomers = Vec::new();
        for _ in 0..2 {
            let next = ground.cluster.ids().len() + 1;
            let token_file = ground.cluster.folder().join(format!("join-token-{next}"));
            let id = ground.cluster.newcomer(&members, &token_file);
            ground.watch(id);
            newcomers.push(Newcomer { id, token_file });
            self.newcomers.insert(id, Started::default());
        }
        let steps = Steps {
            members: members.into_iter().map(|id| (id, ground.cluster.admin(id))).collect(),
            newcomers,
            as_voters: self.plan.as_voters,
            stay: self.plan.stay,
            progress: Arc::clone(&self.progress),
        };
        self.done = Some(Asked::of(steps.all()));
    }

    fn look(&mut self, ground: &mut Ground) -> Option<String> {
        self.attend(ground);
        self.kill_one(ground);
        let proof = self.done.as_ref()?.answer()?;
        let since = *self.gone_since.get_or_insert_with(Instant::now);
        let left: Vec<u64> =
            self.newcomers.keys().copied().filter(|node| ground.cluster.runs(*node)).collect();
        if !left.is_empty() && since.elapsed() < ENDS_WITHIN {
            return None;
        }
        for node in left {
            ground.misdeeds.push(format!("node {node} was removed, and did not end within {ENDS_WITHIN:?}"));
            ground.cluster.kill(node);
        }
        let killed =
            self.killed.map(|node| format!("; node {node} was killed in between")).unwrap_or_default();
        Some(format!("{proof}{killed}"))
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn end(&mut self, ground: &mut Ground) {
        if self.done.take().is_some_and(|done| done.answer().is_none()) {
            println!("members did not come and go: {:?}", self.progress);
        }
        for node in self.newcomers.keys() {
            if ground.cluster.runs(*node) {
                ground.cluster.kill(*node);
            }
            let _ = fs::remove_file(ground.cluster.folder().join(format!("join-token-{node}")));
        }
    }
}

/// Whether a newcomer may end like this: it was removed, or it was not let in and is told why.
fn is_allowed(status: ExitStatus) -> bool {
    status.code() == Some(REFUSED_EXIT_CODE)
}
