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
    let bounded = |bound| {
        let did = Did::Read {
            asked: Asked::MaxAgeMs(bound),
            saw: saw(&[("f", 0)]),
            consistency: Some(Consistency::Local),
            age_ms: None,
        };
        vec![write(), operation(100, 101, Outcome::Ok, Some(10), did)]
    };
    good(bounded(80));
    bad(Rule::Age, &[1, 2], bounded(79));
    // Of what is asked for and what is stated, the lower one.
    let both = |bound, age| {
        let mut operations = bounded(bound);
        if let Did::Read { age_ms, .. } = &mut operations[1].did {
            *age_ms = Some(age);
        }
        operations
    };
    good(both(80, 90));
    bad(Rule::Age, &[1, 2], both(79, 90));
    bad(Rule::Age, &[1, 2], both(90, 79));
    // Who says that he is not sure has not promised what was asked for.
    let mut unsure = bounded(1);
    if let Did::Read { consistency, .. } = &mut unsure[1].did {
        *consistency = Some(Consistency::SafeVariant);
    }
    good(unsure);
    // Any later revision outdates it, not the next one alone.
    let writes = || vec![wrote(10, 20, 12, &[("f", 1)]), wrote(10, 50, 11, &[("g", 1)])];
    let stated = |age| writes().into_iter().chain([read_local(100, 101, 10, Some(age), &[])]).collect();
    good(stated(80));
    bad(Rule::Age, &[1, 3], stated(79));
}

#[test]
fn a_node_that_lives_answers_ordinary_reads() {
    let failed = |asked, start, end| {
        let did = Did::Read { asked, saw: vec![], consistency: None, age_ms: None };
        vec![operation(start, end, Outcome::Failed, None, did)]
    };
    bad(Rule::Unavailable, &[1], failed(Asked::Ordinary, 100, 101));
    // It fell meanwhile; or what was asked for could not be had.
    good(failed(Asked::Ordinary, 499, 501));
    good(failed(Asked::MaxAgeMs(1), 100, 101));
}
