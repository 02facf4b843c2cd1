//! What an answer promises of itself: sessions, terms, ages; and that there is one.

use flagraft_chaos::{
    operation::{Asked, Consistency, Did, Operation, Outcome},
    verdict::Rule,
};

use super::{bad, good, operation, read_local, saw, wrote};

#[test]
fn a_session_does_not_go_back() {
    let in_session = |mut operation: Operation| {
        operation.session = Some(4);
        operation
    };
    let of = |first: u64, second: u64, start: u64| {
        let one = in_session(read_local(10, 11, first, None, &[]));
        vec![one, in_session(read_local(start, 20, second, None, &[]))]
    };
    good(of(11, 11, 12));
    good(of(12, 11, 11));
    bad(Rule::Session, &[1, 2], of(12, 11, 12));
    // The greatest one counts, also after a smaller one that was allowed.
    let third = in_session(read_local(12, 13, 11, None, &[]));
    bad(Rule::Session, &[1, 3], of(12, 11, 11).into_iter().chain([third]).collect());
}

#[test]
fn terms_are_kept() {
    let asked = |asked: Asked, consistency: Consistency, revision: u64| {
        let did = Did::Read { asked, saw: vec![], consistency: Some(consistency), age_ms: None };
        vec![operation(1, 2, Outcome::Ok, Some(revision), did)]
    };
    good(asked(Asked::MinRevision(12), Consistency::Local, 12));
    bad(Rule::MinRevision, &[1], asked(Asked::MinRevision(12), Consistency::Local, 11));
    good(asked(Asked::Critical, Consistency::SafeVariant, 10));
    bad(Rule::Unconfirmed, &[1], asked(Asked::Critical, Consistency::Local, 10));
    bad(Rule::Unconfirmed, &[1], asked(Asked::Linearizable, Consistency::SafeVariant, 10));
}

#[test]
fn an_age_is_never_below_the_truth() {
    let write = || wrote(10, 20, 11, &[("f", 1)]);
    let stated = |age| vec![write(), read_local(100, 101, 10, age, &[("f", 0)])];
    good(stated(Some(80)));
    good(stated(None));
    bad(Rule::Age, &[1, 2], stated(Some(79)));
    // Any later revision outdates it, not the next one alone.
    let writes = || vec![wrote(10, 20, 12, &[("f", 1)]), wrote(10, 50, 11, &[("g", 1)])];
    let stated = |age| writes().into_iter().chain([read_local(100, 101, 10, Some(age), &[])]).collect();
    good(stated(80));
    bad(Rule::Age, &[1, 3], stated(79));
}

#[test]
fn an_answer_says_that_it_is_as_young_as_was_asked_for() {
    let answer = |bound, consistency, age_ms, flags: &[(&str, u64)]| {
        let (asked, consistency) = (Asked::MaxAgeMs(bound), Some(consistency));
        let did = Did::Read { asked, saw: saw(flags), consistency, age_ms };
        vec![wrote(10, 20, 11, &[("f", 1)]), operation(100, 101, Outcome::Ok, Some(10), did)]
    };
    let local = |bound, age| answer(bound, Consistency::Local, age, &[("f", 0)]);
    good(local(80, Some(80)));
    bad(Rule::Age, &[1, 2], local(80, Some(79)));
    bad(Rule::Age, &[2], local(80, Some(81)));
    bad(Rule::Age, &[2], local(80, None));
    // Who is not sure of some flags owes the age of the others.
    bad(Rule::Age, &[2], answer(80, Consistency::SafeVariant, Some(90), &[("f", 0)]));
    good(answer(80, Consistency::SafeVariant, Some(90), &[]));
}

#[test]
fn a_node_that_lives_answers_ordinary_reads_and_critical_ones() {
    let failed = |asked, start, end| {
        let did = Did::Read { asked, saw: vec![], consistency: None, age_ms: None };
        vec![operation(start, end, Outcome::Failed, None, did)]
    };
    bad(Rule::Unavailable, &[1], failed(Asked::Ordinary, 100, 101));
    bad(Rule::Unavailable, &[1], failed(Asked::Critical, 100, 101));
    // It fell meanwhile; or what was asked for could not be had.
    good(failed(Asked::Ordinary, 499, 501));
    good(failed(Asked::MaxAgeMs(1), 100, 101));
}
