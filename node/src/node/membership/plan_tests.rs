use flagraft_core::seat::{Occupant, SeatRole};

use super::*;
use crate::raft::NodeMeta;

const SILENCE_MS: u64 = 1_000;

/// A cluster as its leader sees it: node 1 leads unless it is said otherwise.
struct Scene {
    own: u64,
    view: MembershipView,
    seats: BTreeMap<u64, Arc<Seat>>,
}

fn seat(role: SeatRole, removal: Option<Removal>) -> Arc<Seat> {
    let occupant = Some(Occupant { uid: "0a".repeat(16), peer_address: "a:1".to_owned() });
    Arc::new(Seat { role, invitation: None, occupant, removal, revision: 1 })
}

impl Scene {
    /// Voters that are all well, and meant to be voters.
    fn of(voters: impl IntoIterator<Item = u64>) -> Self {
        let mut scene = Self { own: 1, view: MembershipView::default(), seats: BTreeMap::new() };
        scene.view.leads = true;
        scene.view.is_committed = true;
        let voters: BTreeSet<u64> = voters.into_iter().collect();
        for id in &voters {
            scene = scene.member(*id, SeatRole::Voter);
        }
        scene.view.voters = vec![voters];
        scene
    }

    fn member(mut self, id: u64, role: SeatRole) -> Self {
        self.view.members.insert(id, NodeMeta { uid: "0a".repeat(16), ..NodeMeta::default() });
        self.view.committed_members.insert(id);
        self.view.behind.insert(id, 0);
        self.view.silent_ms.insert(id, 10);
        self.view.informed.insert(id);
        self.seats.insert(id, seat(role, None));
        self
    }

    fn led_by(mut self, id: u64) -> Self {
        self.own = id;
        self
    }

    fn half_way_to(mut self, voters: impl IntoIterator<Item = u64>) -> Self {
        self.view.voters.push(voters.into_iter().collect());
        self
    }

    fn removed(mut self, id: u64) -> Self {
        self.seats.insert(id, seat(SeatRole::Voter, Some(Removal { successor: None })));
        self
    }

    fn replaced(mut self, id: u64, successor: u64) -> Self {
        self.seats.insert(id, seat(SeatRole::Voter, Some(Removal { successor: Some(successor) })));
        self
    }

    fn dead(mut self, id: u64) -> Self {
        self.view.silent_ms.insert(id, SILENCE_MS + 1);
        self
    }

    fn never_heard(mut self, id: u64) -> Self {
        self.view.silent_ms.remove(&id);
        self.view.behind.remove(&id);
        self.view.informed.remove(&id);
        self
    }

    fn behind(mut self, id: u64, entries: u64) -> Self {
        self.view.behind.insert(id, entries);
        self
    }

    fn uninformed(mut self, id: u64) -> Self {
        self.view.informed.remove(&id);
        self
    }

    fn step(&self) -> Step {
        next_step(self.own, &self.view, &self.seats, SILENCE_MS)
    }

    #[track_caller]
    fn votes(self, voters: impl IntoIterator<Item = u64>) {
        let voters = voters.into_iter().collect();
        assert_eq!(self.step(), Step::Change(MembershipChange::SetVoters(voters)));
    }

    #[track_caller]
    fn waits(self, said: &str) {
        match self.step() {
            Step::Wait(why) => assert!(why.contains(said), "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

use SeatRole::{Learner, Voter};

#[test]
fn what_is_as_it_is_meant_to_be_stays() {
    assert_eq!(Scene::of(1..=3).step(), Step::Rest);
    assert_eq!(Scene::of(1..=3).dead(3).step(), Step::Rest, "nobody is removed for being away");
    assert_eq!(Scene::of(1..=3).member(4, Learner).step(), Step::Rest, "a learner stays one");
    // A node that the seats do not know: founded before there were any, or after a recovery.
    let mut unknown = Scene::of(1..=3);
    unknown.seats.clear();
    assert_eq!(unknown.step(), Step::Rest);
    // Nor does a seat speak of a member with another data folder: this catalog was restored from another cluster's.
    let mut elsewhere = Scene::of(1..=3).removed(3);
    elsewhere.view.members.insert(3, NodeMeta { uid: "0b".repeat(16), ..NodeMeta::default() });
    assert_eq!(elsewhere.step(), Step::Rest);
    // A seat whose member Raft does not know is nobody that is added here.
    let mut elsewhere = Scene::of(1..=3);
    elsewhere.seats.insert(4, seat(Voter, None));
    assert_eq!(elsewhere.step(), Step::Rest);
    assert_eq!(next_step(1, &MembershipView::default(), &BTreeMap::new(), SILENCE_MS), Step::Rest);
}

#[test]
fn a_learner_votes_once_it_has_caught_up_and_not_before() {
    let scene = || Scene::of(1..=3).member(4, Voter);
    scene().votes(1..=4);
    scene().behind(4, CAUGHT_UP_ENTRIES).votes(1..=4);
    scene().behind(4, CAUGHT_UP_ENTRIES + 1).waits("it lacks 1001 entries");
    scene().dead(4).waits("does not answer");
    scene().never_heard(4).waits("does not answer");
    // Two at once, and the one that is ready does not wait for the other.
    scene().member(5, Voter).votes(1..=5);
    scene().member(5, Voter).behind(5, 9_999).votes(1..=4);
    // With one of three dead, a fourth keeps the quorum of three.
    scene().dead(3).votes(1..=4);
}

#[test]
fn a_removal_never_loses_the_quorum() {
    Scene::of(1..=3).removed(3).votes([1, 2]);
    Scene::of(1..=3).removed(3).dead(3).votes([1, 2]);
    Scene::of(1..=3).removed(3).dead(2).waits("1 of 2 voters would answer");
    Scene::of(1..=5).removed(5).dead(4).dead(3).waits("2 of 4");
    Scene::of(1..=3).removed(3).dead(2).dead(3).waits("too few voters answer");
    Scene::of(1..=5).removed(5).removed(4).dead(4).dead(3).votes([1, 2, 3]);
    Scene::of([1, 2]).removed(2).votes([1]);
    Scene::of([1]).removed(1).waits("0 of 0");
    // A new voter is not kept waiting by it, and may be what makes it possible.
    Scene::of(1..=3).removed(3).dead(2).member(4, Voter).votes([1, 2, 4]);
    Scene::of(1..=4).removed(4).dead(2).dead(3).member(5, Voter).waits("too few voters answer");
}

#[test]
fn a_member_and_its_successor_change_places_at_once() {
    let scene = || Scene::of(1..=3).member(4, Voter).replaced(3, 4);
    scene().votes([1, 2, 4]);
    scene().dead(3).votes([1, 2, 4]);
    scene().behind(4, 9_999).waits("node 3 goes once node 4 votes");
    scene().dead(4).waits("node 3 goes once node 4 votes");
    // Voting already, by whatever way.
    Scene::of(1..=4).replaced(3, 4).votes([1, 2, 4]);
    // One that was removed itself takes nobody's place.
    Scene::of(1..=3).member(4, Voter).replaced(3, 4).removed(4).uninformed(4).waits("goes once node 4 votes");
}

#[test]
fn the_leader_never_takes_its_own_vote_away() {
    let handed = |scene: Scene| match scene.step() {
        Step::HandOver { to } => to,
        other => panic!("{other:?}"),
    };
    assert_eq!(handed(Scene::of(1..=3).removed(1)), 2);
    assert_eq!(handed(Scene::of(1..=3).removed(1).behind(2, 50)), 3, "to whose log is most complete");
    assert_eq!(handed(Scene::of(1..=4).removed(1).dead(2)), 3, "to one that answers");
    assert_eq!(
        handed(Scene::of(1..=3).member(4, Voter).replaced(1, 4)),
        2,
        "not to one that does not vote yet"
    );
    assert_eq!(
        handed(Scene::of(1..=3).half_way_to([2, 3])),
        2,
        "nor when it finishes what another one began"
    );
    Scene::of([1]).member(2, Voter).replaced(1, 2).votes([1, 2]);
    assert_eq!(handed(Scene::of([1, 2]).replaced(1, 2)), 2);
    Scene::of([1, 2]).removed(1).dead(2).waits("too few");
    Scene::of(1..=3).removed(1).led_by(2).votes([2, 3]);
    // One that lost its vote by whatever way leads no longer than it must.
    assert_eq!(handed(Scene::of([2, 3]).member(1, Learner).removed(1)), 2);
}

#[test]
fn what_another_leader_began_is_finished_first() {
    let finish = Step::Change(MembershipChange::Finish);
    assert_eq!(Scene::of(1..=3).half_way_to([1, 2]).step(), finish);
    assert_eq!(Scene::of(1..=3).half_way_to([1, 2]).removed(2).step(), finish, "then the rest");
    let mut uncommitted = Scene::of(1..=3).half_way_to([1, 2]);
    uncommitted.view.is_committed = false;
    uncommitted.waits("is being committed");
}

#[test]
fn a_removed_learner_goes_when_it_knows_or_can_t_be_told() {
    let drop = |id| Step::Change(MembershipChange::Drop(BTreeSet::from([id])));
    let scene = || Scene::of([1, 2]).member(3, Learner).removed(3);
    assert_eq!(scene().step(), drop(3));
    assert_eq!(scene().uninformed(3).dead(3).step(), drop(3));
    assert_eq!(scene().never_heard(3).step(), drop(3));
    scene().uninformed(3).waits("goes once it knows");
}
