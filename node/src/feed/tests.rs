//! What the thread makes of what it hears, without the thread.

use std::time::Duration;

use flagraft_core::{apply::apply, identity::LogPosition, proposal::Proposal};
use prometheus::Registry;

use super::*;
use crate::raft::Heard;

/// A log that goes through every operation: what core's own golden test applies.
const LOG: &str = include_str!("../../../core/tests/fixtures/log.jsonl");

/// The state after each revision of the log.
pub(super) fn states() -> Vec<State> {
    let mut states = vec![State::empty()];
    for (entry, index) in LOG.lines().zip(1..) {
        let proposal = Proposal::decode(entry.as_bytes()).expect(entry);
        let before = states.last().expect("the first");
        let after = apply(before, &proposal, LogPosition { term: 7, index }).state;
        if after.revision() > before.revision() {
            states.push(after);
        }
    }
    states
}

pub(super) fn production() -> Place {
    ("shop".parse().expect("a key"), "production".parse().expect("a key"))
}

/// The first state of the log that has the environment, and those after it.
pub(super) fn since_production() -> Vec<State> {
    let has = |state: &State| lines::environment(state, &production()).is_some();
    states().into_iter().skip_while(|state| !has(state)).take_while(has).collect()
}

fn shared(at: &State) -> Arc<Shared> {
    let metrics = FeedMetrics::register(&Registry::new()).expect("fresh");
    Arc::new(Shared::new(at.clone(), &StreamConfig::default(), metrics))
}

fn token(state: &State) -> RevisionToken {
    RevisionToken { history: state.history().expect("founded"), revision: state.revision() }
}

fn revisions(taken: Taken) -> Vec<u64> {
    match taken {
        Taken::Changes { changes, .. } => changes.iter().map(|change| change.revision).collect(),
        other => panic!("{other:?}"),
    }
}

/// The revisions after the first of these states that touched the environment.
fn touching(states: &[State]) -> Vec<u64> {
    let touched = |state: &State| lines::environment(state, &production()).expect("there").touched_revision;
    let pairs = states.iter().zip(states.iter().skip(1));
    pairs
        .filter(|(before, after)| touched(before) != touched(after))
        .map(|(_, after)| after.revision())
        .collect()
}

#[test]
fn what_was_known_already_when_the_thread_began_is_passed_over() {
    let states = since_production();
    let (first, later) = states.split_at(3);
    let begun = first.last().expect("some");
    let shared = shared(begun);
    let keeper = Keeper::new(Arc::clone(&shared));
    let mut follower = shared.follow(&production(), Some(token(begun))).expect("there");
    // These came between the moment from which on all is heard, and the state that was looked at then.
    keeper.hear(Heard::Revisions(first.to_vec()));
    keeper.hear(Heard::Revisions(later.to_vec()));
    assert_eq!(shared.metrics.leaps.get(), 0);
    let expected = touching(&states[2..]);
    assert!(expected.len() > 3, "{expected:?}");
    assert_eq!(revisions(follower.take()), expected);
}

/// The known ones and those that follow come in one batch, too.
#[test]
fn a_batch_that_begins_with_known_revisions_goes_on_where_the_lines_are() {
    let states = since_production();
    let begun = &states[2];
    let shared = shared(begun);
    let mut follower = shared.follow(&production(), Some(token(begun))).expect("there");
    Keeper::new(Arc::clone(&shared)).hear(Heard::Revisions(states[1..].to_vec()));
    assert_eq!(shared.metrics.leaps.get(), 0);
    assert_eq!(revisions(follower.take()), touching(&states[2..]));
}

#[test]
fn a_revision_of_another_history_is_none_to_go_on_from() {
    let states = since_production();
    let shared = shared(&states[2]);
    let ours = token(&states[2]);
    let other = RevisionToken { history: flagraft_core::identity::History(ours.history.0 ^ 1), ..ours };
    let mut follower = shared.follow(&production(), Some(other)).expect("there");
    assert_eq!(follower.seen(), None);
    assert!(matches!(follower.take(), Taken::Anew));
    assert!(shared.follow(&production(), Some(ours)).expect("there").seen().is_some());
}

#[tokio::test]
async fn a_change_that_can_not_be_written_makes_streams_begin_anew_and_the_thread_goes_on() {
    let states = since_production();
    let shared = shared(&states[0]);
    let mut keeper = Keeper::new(Arc::clone(&shared));
    let mut follower = shared.follow(&production(), Some(token(&states[0]))).expect("there");
    let written = keeper.tell;
    keeper.tell = |_, _| panic!("as a fault would");
    keeper.hear(Heard::Revisions(vec![states[1].clone()]));
    assert_eq!(shared.metrics.leaps.get(), 1);
    assert!(matches!(follower.take(), Taken::Anew));
    shared.reached(states[1].revision(), Duration::ZERO).await.expect("it goes on");

    keeper.tell = written;
    let mut follower = shared.follow(&production(), Some(token(&states[1]))).expect("there");
    keeper.hear(Heard::Revisions(states[2..].to_vec()));
    assert_eq!(revisions(follower.take()), touching(&states[1..]));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_reached_is_not_waited_for_longer_than_said() {
    let states = since_production();
    let shared = shared(&states[0]);
    let next = states[1].revision();
    let missed = shared.reached(next, Duration::from_millis(500)).await.expect_err("nobody tells of it");
    assert_eq!(missed, NotReached { wanted: next });
    Keeper::new(Arc::clone(&shared)).hear(Heard::Revisions(vec![states[1].clone()]));
    shared.reached(next, Duration::from_millis(500)).await.expect("now it is");
}
