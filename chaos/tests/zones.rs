//! The zones against every order of small histories, and on histories with known verdicts.

use flagraft_chaos::{
    dice::Dice,
    history::{FORMAT, Header},
    operation::{Asked, Consistency, Did, Operation, Outcome},
    verdict::Rule,
    zones,
};

mod common;
use common::rounds;

/// An operation on the one flag `f`, which is 0 at the beginning.
fn operation(op: u64, start_ns: u64, end_ns: u64, outcome: Outcome, did: Did) -> Operation {
    Operation { op, client: 1, node: 1, session: None, start_ns, end_ns, outcome, revision: None, did }
}

fn write(op: u64, start: u64, end: u64, value: u64) -> Operation {
    operation(op, start, end, Outcome::Ok, Did::Write { set: vec![("f".to_owned(), value)] })
}

fn unknown(op: u64, start: u64, value: u64) -> Operation {
    Operation { outcome: Outcome::Unknown, ..write(op, start, start + 1, value) }
}

fn refused(op: u64, start: u64, value: u64) -> Operation {
    Operation { outcome: Outcome::Failed, ..write(op, start, start + 1, value) }
}

fn read(op: u64, start: u64, end: u64, value: u64) -> Operation {
    let saw = vec![("f".to_owned(), Some(value))];
    let consistency = Some(Consistency::Linearizable);
    operation(
        op,
        start,
        end,
        Outcome::Ok,
        Did::Read { asked: Asked::Critical, saw, consistency, age_ms: None },
    )
}

fn header() -> Header {
    Header { format: FORMAT, seed: 0, revision: 1, flags: [("f".to_owned(), 0)].into() }
}

#[track_caller]
fn good(operations: &[Operation]) {
    let verdict = zones::check(&header(), operations);
    assert!(verdict.is_good(), "{:#?}", verdict.violations);
}

#[track_caller]
fn bad(rule: Rule, ops: &[u64], operations: &[Operation]) {
    let verdict = zones::check(&header(), operations);
    let found: Vec<(Rule, &[u64])> = verdict.violations.iter().map(|v| (v.rule, &v.ops[..])).collect();
    assert_eq!(found, [(rule, ops)], "{:#?}", verdict.violations);
}

#[test]
fn a_read_during_a_write_may_see_either() {
    let writes = [write(1, 10, 20, 1), write(2, 30, 50, 2)];
    good(&[writes.clone().to_vec(), vec![read(3, 35, 40, 1), read(4, 41, 45, 2)]].concat());
    good(&[writes.to_vec(), vec![read(3, 35, 45, 1), read(4, 35, 36, 2), read(5, 34, 38, 1)]].concat());
}

#[test]
fn a_stale_read_is_found() {
    let writes = [write(1, 10, 20, 1), write(2, 30, 40, 2)];
    // 2 was held from its write on, and then 1 again.
    bad(Rule::Zones, &[1, 2, 3], &[&writes[..], &[read(3, 45, 50, 1)]].concat());
    bad(Rule::Zones, &[1, 3, 4], &[&writes[..], &[read(3, 32, 35, 2), read(4, 45, 50, 1)]].concat());
    // Two forward zones that overlap.
    bad(
        Rule::Zones,
        &[1, 2, 4, 5],
        &[&writes[..], &[read(3, 42, 43, 2), read(4, 45, 50, 1), read(5, 52, 53, 2)]].concat(),
    );
}

/// The one that lasts longest is compared with all that begin meanwhile, and not with the next one alone.
#[test]
fn each_overlap_is_found() {
    let operations = [
        write(1, 10, 20, 1),
        write(2, 30, 31, 2),
        read(3, 40, 41, 2),
        write(4, 50, 51, 3),
        read(5, 60, 61, 3),
        read(6, 100, 110, 1),
    ];
    let verdict = zones::check(&header(), &operations);
    assert_eq!(verdict.broken.get(&Rule::Zones), Some(&2), "{:#?}", verdict.violations);
}

#[test]
fn a_lost_write_is_found() {
    bad(Rule::Zones, &[1, 2], &[write(1, 10, 20, 1), read(2, 30, 40, 0)]);
    good(&[unknown(1, 10, 1), read(2, 30, 40, 0)]);
    good(&[refused(1, 10, 1), read(2, 30, 40, 0)]);
}

#[test]
fn a_write_that_is_applied_twice_is_found() {
    let operations = [
        write(1, 10, 20, 1),
        write(2, 30, 40, 2),
        read(3, 42, 43, 2),
        read(4, 50, 51, 1),
        read(5, 60, 61, 1),
    ];
    bad(Rule::Zones, &[1, 2, 3, 5], &operations);
}

#[test]
fn what_nobody_wrote_or_only_later_is_found() {
    bad(Rule::Invented, &[2], &[write(1, 10, 20, 1), read(2, 30, 31, 7)]);
    bad(Rule::Foreseen, &[1, 2], &[write(1, 10, 20, 1), read(2, 5, 6, 1)]);
    // The flag was there from the beginning.
    let mut gone = read(1, 5, 6, 0);
    if let Did::Read { saw, .. } = &mut gone.did {
        saw[0].1 = None;
    }
    bad(Rule::Invented, &[1], &[gone]);
    bad(Rule::Refused, &[1, 2], &[refused(1, 10, 1), read(2, 30, 31, 1)]);
    bad(Rule::Recorded, &[1, 2], &[write(1, 10, 20, 1), write(2, 30, 40, 1)]);
}

#[test]
fn an_unacknowledged_write_may_take_effect_late_or_never() {
    let writes = [write(1, 10, 20, 1), unknown(2, 25, 2)];
    good(&[&writes[..], &[read(3, 30, 40, 1)]].concat());
    good(&[&writes[..], &[read(3, 30, 40, 1), read(4, 90, 91, 2)]].concat());
    bad(Rule::Zones, &[1, 3, 4], &[&writes[..], &[read(3, 30, 40, 2), read(4, 90, 91, 1)]].concat());
}

/// Whether some order of all operations that keeps to real time explains every read. Unknown writes may be left out.
fn by_brute_force(operations: &[Operation]) -> bool {
    fn search(operations: &[Operation], done: u32, held: u64) -> bool {
        let pending = || (0..operations.len()).filter(|index| done & (1 << index) == 0);
        if pending().all(|index| operations[index].outcome == Outcome::Unknown) {
            return true;
        }
        pending().any(|index| {
            let this = &operations[index];
            let ends = |operation: &Operation| match operation.outcome {
                Outcome::Unknown => u64::MAX,
                _ => operation.end_ns,
            };
            let in_turn = pending().all(|other| other == index || ends(&operations[other]) >= this.start_ns);
            let (allowed, holds) = match &this.did {
                Did::Write { set } => (true, set[0].1),
                Did::Read { saw, .. } => (saw[0].1 == Some(held), held),
                _ => (false, held),
            };
            in_turn && allowed && search(operations, done | 1 << index, holds)
        })
    }
    search(operations, 0, 0)
}

/// A check that finds no fault proves little unless it finds those that are there: compared with trying all orders.
#[test]
fn agrees_with_brute_force_on_random_histories() {
    let mut dice = Dice::new(7);
    let (mut good, mut bad) = (0, 0);
    let histories = rounds(5_000, 200_000);
    for _ in 0..histories {
        let mut moments: Vec<u64> = (1..=30).collect();
        dice.shuffle(&mut moments);
        let writes = dice.from_to(1, 4);
        let mut operations = Vec::new();
        for op in 1..=writes + dice.from_to(1, 4) {
            let (one, other) = (moments.pop().unwrap_or(0), moments.pop().unwrap_or(0));
            let (start, end) = (one.min(other), one.max(other));
            operations.push(match op {
                _ if op > writes => read(op, start, end, dice.from_to(0, writes)),
                _ if dice.percent(25) => unknown(op, start, op),
                _ => write(op, start, end, op),
            });
        }
        let verdict = zones::check(&header(), &operations);
        let expected = by_brute_force(&operations);
        assert_eq!(verdict.is_good(), expected, "{:#?} of {operations:#?}", verdict.violations);
        *if expected { &mut good } else { &mut bad } += 1;
    }
    assert!(good > histories / 10 && bad > histories / 10, "they are of both kinds: {good} and {bad}");
    println!("measured: histories of which zones and brute force say the same: {good} good, {bad} bad");
}
