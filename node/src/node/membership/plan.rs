//! What a leader does next so that Raft's membership becomes what the seats say: one step, decided by what is known now
//! and by nothing that was decided before. So it does not matter who led when a change was stated, or how far it got.
//!
//! Invariants:
//! - The voters are changed only to a set of which a majority answers now: a change never loses the quorum.
//! - The leader never takes its own vote away. It hands leadership over first, so that an entry that removes somebody
//!   is never in the log of the removed one alone, who then could not lead and would let nobody else lead.
//! - The voters change in one step from the present set to the one that is meant, where that is safe, so that a member
//!   and the one that takes its place change places at once: three voters are not four on their way to being three.
//! - Nobody is added here: a node becomes a member when it asks for it with its token.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use flagraft_core::seat::{Removal, Seat};

use crate::raft::{MembershipChange, MembershipView};

/// A learner that lacks no more entries than this may vote: what a leader sends in a few appends.
const CAUGHT_UP_ENTRIES: u64 = 1_000;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the membership is as it is meant to be.
    Rest,
    /// Nothing yet. For people.
    Wait(String),
    /// Change the membership.
    Change(MembershipChange),
    /// Let another member lead, which then goes on.
    HandOver { to: u64 },
}

/// Decides the next step of the leader `own`. A member that was silent for longer than `silence_max_ms` does not count.
pub(super) fn next_step(
    own: u64,
    view: &MembershipView,
    seats: &BTreeMap<u64, Arc<Seat>>,
    silence_max_ms: u64,
) -> Step {
    let Some(voters) = view.voters.last() else { return Step::Rest };
    if !view.is_committed {
        return Step::Wait(format!(
            "a change of the membership is being committed; voters: {}",
            list(voters)
        ));
    }
    Plan { own, view, seats, silence_max_ms, voters }.decide()
}

struct Plan<'a> {
    own: u64,
    view: &'a MembershipView,
    seats: &'a BTreeMap<u64, Arc<Seat>>,
    silence_max_ms: u64,
    /// Those who vote now, or will once the change under way is finished.
    voters: &'a BTreeSet<u64>,
}

impl Plan<'_> {
    fn decide(&self) -> Step {
        if !self.view.voters.iter().all(|voters| self.keeps_quorum(voters)) {
            return Step::Wait("too few voters answer the leader for anything to be changed".to_owned());
        }
        if self.view.is_joint() {
            // Its leader was lost between the two halves. The second half takes votes away as the first one said.
            return self
                .lead_on(self.voters, Step::Change(MembershipChange::Finish))
                .unwrap_or_else(Step::Wait);
        }
        if !self.voters.contains(&self.own) {
            // Another one's doing: this steward never lets a leader lose its vote. It would drop itself next.
            return self.lead_on(self.voters, Step::Rest).unwrap_or_else(Step::Wait);
        }
        let joining = self.joining();
        let leaving = self.leaving(&joining);
        let with_new: BTreeSet<u64> = self.voters.union(&joining).copied().collect();
        let target: BTreeSet<u64> = with_new.difference(&leaving).copied().collect();
        let mut waits = Vec::new();
        // What can be done of it is done: a removal that has to wait keeps no new voter waiting, who may be what it
        // waits for.
        for next in [&target, &with_new] {
            if next != self.voters && self.keeps_quorum(next) {
                match self.lead_on(next, Step::Change(MembershipChange::SetVoters(next.clone()))) {
                    Ok(step) => return step,
                    Err(why) => waits.push(why),
                }
            }
        }
        let gone = self.to_drop();
        if !gone.is_empty() {
            return Step::Change(MembershipChange::Drop(gone));
        }
        waits.extend(self.waits(&target, &leaving));
        if waits.is_empty() { Step::Rest } else { Step::Wait(waits.join("; ")) }
    }

    /// `step`, where the leader votes afterwards too; otherwise another one leads first. Fails where none can.
    fn lead_on(&self, target: &BTreeSet<u64>, step: Step) -> Result<Step, String> {
        if target.contains(&self.own) {
            return Ok(step);
        }
        let votes_now = |id: &u64| self.view.voters.iter().any(|voters| voters.contains(id));
        let able = target.iter().copied().filter(|id| votes_now(id) && self.answers(*id));
        let best = able.min_by_key(|id| self.view.behind.get(id).copied().unwrap_or(u64::MAX));
        best.map(|to| Step::HandOver { to }).ok_or_else(|| {
            format!(
                "node {} leads and is to go, and none of the nodes {} can take over now",
                self.own,
                list(target)
            )
        })
    }

    fn answers(&self, id: u64) -> bool {
        self.view.silent_ms.get(&id).is_some_and(|silent_ms| *silent_ms <= self.silence_max_ms)
    }

    fn is_ready(&self, id: u64) -> bool {
        self.answers(id) && self.view.behind.get(&id).is_some_and(|behind| *behind <= CAUGHT_UP_ENTRIES)
    }

    fn keeps_quorum(&self, voters: &BTreeSet<u64>) -> bool {
        let answering = voters.iter().filter(|id| self.answers(**id)).count();
        answering * 2 > voters.len()
    }

    fn learners(&self) -> impl Iterator<Item = u64> + '_ {
        self.view.members.keys().copied().filter(|id| !self.voters.contains(id))
    }

    /// What is meant for a member: the seat that its data folder has taken.
    fn seat(&self, id: u64) -> Option<&Seat> {
        let member = self.view.members.get(&id)?;
        self.seats.get(&id).map(Arc::as_ref).filter(|seat| seat.is_of(&member.uid))
    }

    fn is_meant_to_vote(&self, id: u64) -> bool {
        self.seat(id).is_some_and(Seat::is_meant_to_vote)
    }

    /// Learners that are meant to vote and can.
    fn joining(&self) -> BTreeSet<u64> {
        self.learners().filter(|id| self.is_meant_to_vote(*id) && self.is_ready(*id)).collect()
    }

    fn removal(&self, id: u64) -> Option<&Removal> {
        self.seat(id)?.removal.as_ref()
    }

    /// Voters that are to go, and whose successor, where they have one, votes or does so with this step.
    fn leaving(&self, joining: &BTreeSet<u64>) -> BTreeSet<u64> {
        let succeeded = |removal: &Removal| {
            removal.successor.is_none_or(|next| self.voters.contains(&next) || joining.contains(&next))
        };
        self.voters.iter().copied().filter(|id| self.removal(*id).is_some_and(succeeded)).collect()
    }

    /// Learners that are to go. One that answers is let go only once its log says that it does not vote: it then
    /// never stands for election again.
    fn to_drop(&self) -> BTreeSet<u64> {
        let knows = |id: &u64| self.view.informed.contains(id) || !self.answers(*id);
        self.learners().filter(|id| self.removal(*id).is_some()).filter(knows).collect()
    }

    /// What keeps the membership from being as it is meant to be.
    fn waits(&self, target: &BTreeSet<u64>, leaving: &BTreeSet<u64>) -> Vec<String> {
        let mut reasons = Vec::new();
        if !leaving.is_empty() && !self.keeps_quorum(target) {
            let answering: BTreeSet<u64> = target.iter().copied().filter(|id| self.answers(*id)).collect();
            reasons.push(format!(
                "without node {} only {} of {} voters would answer ({}), which is no quorum; bring others back, or add \
                 members",
                list(leaving),
                answering.len(),
                target.len(),
                list(&answering)
            ));
        }
        for id in self.learners() {
            if self.is_meant_to_vote(id) && !self.is_ready(id) {
                reasons.push(format!("node {id} votes once it has caught up: {}", self.lag(id)));
            }
            if self.removal(id).is_some() && !self.to_drop().contains(&id) {
                reasons.push(format!("node {id} goes once it knows that it does not vote any more"));
            }
        }
        for id in self.voters.iter().filter(|id| !leaving.contains(id)) {
            if let Some(Removal { successor: Some(next) }) = self.removal(*id) {
                reasons.push(format!("node {id} goes once node {next} votes in its place"));
            }
        }
        reasons
    }

    fn lag(&self, id: u64) -> String {
        match (self.answers(id), self.view.behind.get(&id)) {
            (false, _) => "it does not answer".to_owned(),
            (true, None) => "nothing is known of its log yet".to_owned(),
            (true, Some(behind)) => format!("it lacks {behind} entries"),
        }
    }
}

fn list(ids: &BTreeSet<u64>) -> String {
    ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
