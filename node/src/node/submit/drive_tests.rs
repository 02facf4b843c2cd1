//! Writes over paths that the test lays out, with time standing still but for the waits.

use std::{collections::VecDeque, sync::Mutex};

use flagraft_core::{
    proposal::{Body, Denials, RequestId},
    reply::Outcome,
    token::TokenFault,
};
use tokio::sync::watch;

use super::{super::submission::Credentials, *};

const DEADLINE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(25);

struct Script {
    leader: watch::Sender<Option<u64>>,
    /// What the attempts find, one after the other; then nobody answers any more, without having been reached.
    attempts: Mutex<VecDeque<Attempt>>,
    asked: Mutex<Vec<u64>>,
    remembered: Option<Reply>,
}

impl Script {
    fn new(leader: Option<u64>, attempts: impl IntoIterator<Item = Attempt>) -> Self {
        Self {
            leader: watch::Sender::new(leader),
            attempts: Mutex::new(attempts.into_iter().collect()),
            asked: Mutex::default(),
            remembered: None,
        }
    }

    fn asked(&self) -> Vec<u64> {
        self.asked.lock().expect("not poisoned").clone()
    }

    async fn run(&self, submission: &Submission) -> Result<Answered, SubmitError> {
        let began = Instant::now();
        let result = drive(self, submission, began + DEADLINE, PAUSE).await;
        assert!(began.elapsed() <= DEADLINE, "{:?} after {:?}", result, began.elapsed());
        result
    }
}

impl Paths for Script {
    fn leader(&self) -> Option<u64> {
        *self.leader.borrow()
    }

    async fn attempt(&self, leader: u64, _: &Submission, _: Instant) -> Attempt {
        self.asked.lock().expect("not poisoned").push(leader);
        self.attempts.lock().expect("not poisoned").pop_front().unwrap_or(Attempt::NotSent)
    }

    fn remembered(&self, _: &str) -> Option<Reply> {
        self.remembered.clone()
    }

    async fn not_yet_on(&self, _: &Reply, _: Instant) -> Vec<u64> {
        vec![2]
    }

    async fn leader_other_than(&self, than: Option<u64>) {
        self.leader.subscribe().wait_for(|leader| *leader != than).await.expect("the sender lives in self");
    }
}

fn write(client_given: bool) -> Submission {
    let body = Body::Denials(Denials { node: 1, from_ms: 0, to_ms: 1, count: 1 });
    Submission::new(Credentials::Member(1), body, RequestId { id: "key".to_owned(), client_given })
}

fn reply() -> Reply {
    Reply {
        request_id: "key".to_owned(),
        outcome: Outcome::Accepted { revision: 7, sequence: 9 },
        replayed: false,
        promotes_critical: false,
    }
}

fn done() -> Attempt {
    Attempt::Answered(LeaderAnswer::Done { reply: reply(), not_yet_on: vec![3] })
}

fn not_entered(why: NotEntered) -> Result<Answered, SubmitError> {
    Err(super::SubmitError::NotEntered { why, retry_after: retry_after(why, PAUSE) })
}

#[tokio::test(start_paused = true)]
async fn the_leader_answers() {
    let script = Script::new(Some(2), [done()]);
    assert_eq!(script.run(&write(true)).await, Ok(Answered { reply: reply(), not_yet_on: vec![3] }));
    assert_eq!(script.asked(), [2]);
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_the_write_is_certainly_not_made_and_waits_no_longer_than_its_deadline() {
    let script = Script::new(None, []);
    assert_eq!(script.run(&write(true)).await, not_entered(NotEntered::NoLeader));
    assert!(script.asked().is_empty());

    let script = Script::new(Some(2), (0..1000).map(|_| Attempt::Answered(LeaderAnswer::NoQuorum)));
    assert_eq!(script.run(&write(true)).await, not_entered(NotEntered::NoQuorum));

    // The last thing that was said holds, also when nobody could be asked again.
    let full = Attempt::Answered(LeaderAnswer::NoRoom { node: 3 });
    let script = Script::new(Some(2), [Attempt::Answered(LeaderAnswer::NoQuorum), full]);
    assert_eq!(script.run(&write(true)).await, not_entered(NotEntered::NoRoom { node: 3 }));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_turns_up_in_time_gets_the_write_at_once() {
    let script = Script::new(None, [done()]);
    let submission = write(true);
    let began = Instant::now();
    let elected = async {
        tokio::time::sleep(Duration::from_millis(510)).await;
        script.leader.send_replace(Some(3));
    };
    let (result, ()) = tokio::join!(script.run(&submission), elected);
    result.expect("answered");
    assert_eq!(began.elapsed(), Duration::from_millis(510));
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_followed_and_two_nodes_that_point_at_each_other_do_not_make_it_spin() {
    let not_leader = |leader| Attempt::Answered(LeaderAnswer::NotLeader { leader: Some(leader) });
    let script = Script::new(Some(2), [not_leader(3), done()]);
    script.run(&write(true)).await.expect("answered");
    assert_eq!(script.asked(), [2, 3]);

    let script = Script::new(Some(2), (0..10_000).map(|n| not_leader(if n % 2 == 0 { 3 } else { 2 })));
    assert_eq!(script.run(&write(true)).await, not_entered(NotEntered::NoLeader));
    let asked = script.asked().len();
    assert!(asked < 400, "{asked} attempts");
}

#[tokio::test(start_paused = true)]
async fn a_lost_attempt_under_a_clients_id_is_repeated_and_else_unknown() {
    let script =
        Script::new(Some(2), [Attempt::Lost, Attempt::Answered(LeaderAnswer::OutcomeUnknown), done()]);
    script.run(&write(true)).await.expect("answered");
    assert_eq!(script.asked().len(), 3);

    let script = Script::new(Some(2), [Attempt::Lost]);
    assert_eq!(script.run(&write(true)).await, Err(SubmitError::OutcomeUnknown));
}

/// A minted id is remembered only while there is room, so a second entry could be a second change.
#[tokio::test(start_paused = true)]
async fn a_lost_attempt_under_a_minted_id_is_not_repeated_but_looked_for() {
    let script = Script::new(Some(2), [Attempt::Lost, done()]);
    assert_eq!(script.run(&write(false)).await, Err(SubmitError::OutcomeUnknown));
    assert_eq!(script.asked().len(), 1);

    let mut script = Script::new(Some(2), [Attempt::Lost]);
    script.remembered = Some(reply());
    // Found by this node, so it is this node that waits for the members.
    assert_eq!(script.run(&write(false)).await, Ok(Answered { reply: reply(), not_yet_on: vec![2] }));
    assert_eq!(script.asked().len(), 1);

    // As long as nothing can have entered, a minted id is as good as any.
    let script = Script::new(Some(2), [Attempt::NotSent, Attempt::Answered(LeaderAnswer::NoQuorum), done()]);
    script.run(&write(false)).await.expect("answered");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_nothing_of_an_attempt_that_was_lost_before() {
    let refuse = || Attempt::Answered(LeaderAnswer::Unauthenticated { fault: TokenFault::Revoked });
    let script = Script::new(Some(2), [refuse()]);
    assert_eq!(script.run(&write(true)).await, Err(SubmitError::Unauthenticated(TokenFault::Revoked)));
    let script = Script::new(Some(2), [Attempt::Lost, refuse()]);
    assert_eq!(script.run(&write(true)).await, Err(SubmitError::OutcomeUnknown));
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_never_enters() {
    let script = Script::new(Some(2), [Attempt::Lost]);
    let submission = Submission { dry_run: true, ..write(false) };
    assert_eq!(script.run(&submission).await, not_entered(NotEntered::NoLeader));
}

/// The node's clock is at fault, not the client: 503, and at once.
#[tokio::test(start_paused = true)]
async fn a_write_that_the_leader_does_not_take_for_the_nodes_sake_was_not_made() {
    for (answer, why) in [
        (LeaderAnswer::ClockSkew, NotEntered::ClockSkew),
        (LeaderAnswer::NotUnderstood, NotEntered::NotUnderstood),
    ] {
        let began = Instant::now();
        let script = Script::new(Some(2), [Attempt::Answered(answer.clone())]);
        assert_eq!(script.run(&write(true)).await, not_entered(why));
        assert_eq!(began.elapsed(), Duration::ZERO);
        let script = Script::new(Some(2), [Attempt::Lost, Attempt::Answered(answer)]);
        assert_eq!(script.run(&write(true)).await, Err(SubmitError::OutcomeUnknown));
    }
}
