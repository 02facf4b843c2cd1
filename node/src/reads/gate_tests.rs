//! The gate with rounds that the test answers by hand.

use std::sync::atomic::AtomicUsize;

use tokio::sync::{Mutex, watch};

use super::*;

/// A round that began and waits for the test's answer.
type Begun = oneshot::Sender<Option<u64>>;

struct Scripted {
    begun: mpsc::UnboundedSender<Begun>,
    published: watch::Sender<u64>,
    leader: watch::Sender<u64>,
    abandoned: AtomicUsize,
}

impl Rounds for Scripted {
    async fn read_index(&self) -> Option<u64> {
        let (answer, answered) = oneshot::channel();
        let guard = CountDrop(&self.abandoned);
        self.begun.send(answer).expect("the test listens");
        let index = answered.await.ok().flatten();
        std::mem::forget(guard);
        index
    }

    async fn published(&self, index: u64) {
        let mut published = self.published.subscribe();
        published.wait_for(|reached| *reached >= index).await.expect("the sender lives in self");
    }

    async fn leader_change(&self) {
        let mut leader = self.leader.subscribe();
        leader.changed().await.expect("the sender lives in self");
    }
}

struct CountDrop<'a>(&'a AtomicUsize);

impl Drop for CountDrop<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Bench {
    gate: Arc<Gate>,
    rounds: Arc<Scripted>,
    begun: Mutex<mpsc::UnboundedReceiver<Begun>>,
}

impl Bench {
    fn new(config: &ReadConfig) -> Self {
        let (tell, begun) = mpsc::unbounded_channel();
        let rounds = Arc::new(Scripted {
            begun: tell,
            published: watch::Sender::new(0),
            leader: watch::Sender::new(1),
            abandoned: AtomicUsize::new(0),
        });
        let gate = Arc::new(Gate::start(Arc::clone(&rounds), config));
        Self { gate, rounds, begun: Mutex::new(begun) }
    }

    async fn next_round(&self) -> Begun {
        self.begun.lock().await.recv().await.expect("the gate is alive")
    }

    fn read(&self) -> tokio::task::JoinHandle<Result<Confirmed, Unconfirmed>> {
        let gate = Arc::clone(&self.gate);
        tokio::spawn(async move { gate.confirm(Duration::from_secs(60)).await })
    }

    /// Returns once the gate has let `count` reads in that have no answer yet.
    async fn until_waiting(&self, config: &ReadConfig, count: usize) {
        while config.waiting_max - self.gate.permits.available_permits() != count {
            tokio::task::yield_now().await;
        }
    }
}

/// A gate that never gives up by itself.
fn patient() -> ReadConfig {
    let hour = Duration::from_secs(3_600);
    ReadConfig { deadline: hour, deadline_max: hour, try_timeout: hour, ..ReadConfig::default() }
}

#[tokio::test]
async fn a_read_that_arrives_during_a_round_is_completed_by_the_next_one() {
    let config = patient();
    let bench = Bench::new(&config);
    bench.rounds.published.send_replace(100);
    let early = bench.read();
    let first = bench.next_round().await;

    let late = [bench.read(), bench.read(), bench.read()];
    bench.until_waiting(&config, 4).await;
    first.send(Some(10)).expect("the round waits");
    assert_eq!(early.await.expect("no panic").expect("confirmed").read_index, 10);

    // One round for all three, and it is not the first one's answer that they get.
    let second = bench.next_round().await;
    assert!(late.iter().all(|read| !read.is_finished()));
    second.send(Some(20)).expect("the round waits");
    for read in late {
        assert_eq!(read.await.expect("no panic").expect("confirmed").read_index, 20);
    }
    assert_eq!(bench.gate.rounds(), 2);
}

#[tokio::test]
async fn a_read_waits_until_its_index_is_published_and_holds_up_nobody() {
    let config = patient();
    let bench = Bench::new(&config);
    bench.rounds.published.send_replace(5);
    let behind = bench.read();
    bench.next_round().await.send(Some(6)).expect("the round waits");

    // While the first read waits for entry 6 to be published, another one has a round of its own.
    let other = bench.read();
    bench.next_round().await.send(Some(5)).expect("the round waits");
    assert_eq!(other.await.expect("no panic").expect("confirmed").read_index, 5);
    assert!(!behind.is_finished());

    bench.rounds.published.send_replace(6);
    assert_eq!(behind.await.expect("no panic").expect("confirmed").read_index, 6);
}

#[tokio::test]
async fn the_age_counts_from_before_the_round() {
    let bench = Bench::new(&patient());
    assert_eq!(bench.gate.fresh_as_of(), None);
    let asked = BootTime::now();
    let read = bench.read();
    let round = bench.next_round().await;
    let begun = BootTime::now();
    round.send(Some(0)).expect("the round waits");
    let confirmed = read.await.expect("no panic").expect("confirmed");
    assert!((asked..=begun).contains(&confirmed.fresh_as_of));
    assert_eq!(bench.gate.fresh_as_of(), Some(confirmed.fresh_as_of));
}

#[tokio::test(start_paused = true)]
async fn after_a_missed_deadline_reads_are_answered_at_once_until_a_round_succeeds() {
    let config = ReadConfig::default();
    let bench = Bench::new(&config);
    let asked = Instant::now();
    // What is left of the deadline by the time a request gets here. Were only a read with all of it taken for proof,
    // every critical read would wait its deadline out, again and again.
    let left = config.deadline - Duration::from_millis(5);
    assert_eq!(bench.gate.confirm(left).await, Err(Unconfirmed::Deadline));
    assert!(asked.elapsed() < Duration::from_millis(600), "{:?}", asked.elapsed());
    assert!(bench.gate.is_suspect());

    let asked = Instant::now();
    assert_eq!(bench.gate.confirm(config.deadline).await, Err(Unconfirmed::Suspect));
    assert_eq!(asked.elapsed(), Duration::ZERO);

    // The background probe waits all the same, and its success lifts the suspicion.
    let gate = Arc::clone(&bench.gate);
    let answering = async {
        loop {
            // Among them is the round that began for the read that was not confirmed: it is not the probe's.
            _ = bench.next_round().await.send(Some(0));
        }
    };
    tokio::select! {
        confirmed = gate.confirm_patiently(Duration::from_secs(5)) => drop(confirmed.expect("confirmed")),
        () = answering => {}
    }
    assert!(!bench.gate.is_suspect());
}

#[tokio::test(start_paused = true)]
async fn a_read_in_a_hurry_makes_nobody_suspect() {
    let bench = Bench::new(&ReadConfig::default());
    assert_eq!(bench.gate.confirm(Duration::from_millis(1)).await, Err(Unconfirmed::Deadline));
    assert!(!bench.gate.is_suspect());
}

#[tokio::test]
async fn a_change_of_leader_ends_an_attempt_and_the_reads_go_on_to_the_next() {
    let bench = Bench::new(&patient());
    let read = bench.read();
    let lost = bench.next_round().await;
    bench.rounds.leader.send_replace(2);
    let next = bench.next_round().await;
    assert_eq!(bench.rounds.abandoned.load(Ordering::Relaxed), 1);
    // An answer of the old leader that comes late reaches nobody.
    assert_eq!(lost.send(Some(7)), Err(Some(7)));
    next.send(Some(0)).expect("the round waits");
    assert_eq!(read.await.expect("no panic").expect("confirmed").read_index, 0);
}

/// A link may be slower than an attempt is given, or have lost the answer: nobody can tell which.
#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_long_is_waited_for_beside_another_attempt() {
    let config = ReadConfig { try_timeout: Duration::from_millis(400), ..patient() };
    let bench = Bench::new(&config);
    let early = bench.read();
    let slow = bench.next_round().await;
    let lost = bench.next_round().await;
    let third = bench.next_round().await;
    assert_eq!(bench.rounds.abandoned.load(Ordering::Relaxed), 0, "none is given up for being slow");
    slow.send(Some(0)).expect("it is still waited for");
    assert_eq!(early.await.expect("no panic").expect("confirmed").read_index, 0);

    let next = bench.read();
    let fourth = bench.next_round().await;
    assert!(lost.is_closed() && third.is_closed(), "nobody waits for the others any more");
    fourth.send(Some(0)).expect("the round waits");
    next.await.expect("no panic").expect("confirmed");
}

#[tokio::test(start_paused = true)]
async fn with_rounds_side_by_side_a_read_is_still_not_completed_by_one_that_began_before_it() {
    let config = ReadConfig { try_timeout: Duration::from_millis(400), ..patient() };
    let bench = Bench::new(&config);
    bench.rounds.published.send_replace(100);
    let early = bench.read();
    let first = bench.next_round().await;
    let late = bench.read();
    bench.until_waiting(&config, 2).await;
    let second = bench.next_round().await;
    first.send(Some(10)).expect("the round waits");
    assert_eq!(early.await.expect("no panic").expect("confirmed").read_index, 10);
    assert!(!late.is_finished());
    second.send(Some(20)).expect("the round waits");
    assert_eq!(late.await.expect("no panic").expect("confirmed").read_index, 20);

    // And the other way round: what a later one confirms is good for those who wait for an earlier one.
    let early = bench.read();
    let slow = bench.next_round().await;
    bench.next_round().await.send(Some(40)).expect("the round waits");
    assert_eq!(early.await.expect("no panic").expect("confirmed").read_index, 40);
    drop(slow);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_beside_a_slow_one_is_followed_by_another_soon() {
    let config = ReadConfig { try_timeout: Duration::from_secs(4), ..patient() };
    let bench = Bench::new(&config);
    let read = bench.read();
    let slow = bench.next_round().await;
    let failing = bench.next_round().await;
    let begun = Instant::now();
    failing.send(None).expect("the round waits");
    let next = bench.next_round().await;
    assert!(begun.elapsed() < config.try_timeout / 10, "{:?}", begun.elapsed());
    next.send(Some(0)).expect("the round waits");
    read.await.expect("no panic").expect("confirmed");
    drop(slow);
}

#[tokio::test]
async fn waiting_reads_are_bounded_and_end_with_the_gate() {
    let config = ReadConfig { waiting_max: 2, ..patient() };
    let bench = Bench::new(&config);
    let reads = [bench.read(), bench.read()];
    bench.until_waiting(&config, 2).await;
    assert_eq!(bench.gate.confirm(Duration::from_secs(60)).await, Err(Unconfirmed::Overloaded));
    bench.gate.stop();
    for read in reads {
        assert_eq!(read.await.expect("no panic"), Err(Unconfirmed::Stopped));
    }
    assert_eq!(bench.gate.confirm(Duration::from_secs(60)).await, Err(Unconfirmed::Stopped));
}
