//! What is read, against what was written.

use flagraft_chaos::{
    operation::{Did, Operation, Outcome},
    verdict::Rule,
};

use super::{bad, good, may_have_written, operation, read, read_local, set, snapshot, wrote};

#[test]
fn a_read_during_a_write_may_see_either_state() {
    good(vec![wrote(10, 20, 11, &[("f", 1)]), read(15, 16, 10, &[("f", 0)]), read(15, 16, 11, &[("f", 1)])]);
    good(vec![read(1, 2, 10, &[("f", 0), ("g", 0)]), read(1, 2, 10, &[("absent", 0)][..0])]);
    // What ends as it begins is not before it.
    good(vec![wrote(10, 20, 11, &[("f", 1)]), read(20, 21, 10, &[("f", 0)])]);
}

#[test]
fn after_a_write_its_revision_is_seen_by_who_confirms() {
    bad(Rule::Stale, &[1, 2], vec![wrote(10, 20, 11, &[("f", 1)]), read(21, 22, 10, &[("f", 0)])]);
    // Also if another read is all that tells that it is done.
    bad(
        Rule::Stale,
        &[2, 3],
        vec![wrote(10, 90, 11, &[("f", 1)]), read(21, 22, 11, &[("f", 1)]), read(23, 24, 10, &[("f", 0)])],
    );
    // Whoever does not confirm may see what is old.
    good(vec![wrote(10, 20, 11, &[("f", 1)]), read_local(21, 22, 10, Some(5), &[("f", 0)])]);
}

#[test]
fn a_later_write_has_a_later_revision() {
    bad(Rule::Stale, &[1, 2], vec![wrote(10, 20, 12, &[("f", 1)]), wrote(21, 22, 11, &[("g", 2)])]);
    good(vec![wrote(10, 20, 12, &[("f", 1)]), wrote(19, 22, 11, &[("g", 2)])]);
}

#[test]
fn a_revision_is_known_to_nobody_before_its_write_begins() {
    bad(Rule::Foreseen, &[1, 2], vec![read_local(1, 2, 11, None, &[]), wrote(10, 20, 11, &[("f", 1)])]);
}

#[test]
fn a_value_is_that_of_the_newest_write() {
    let writes = || vec![wrote(10, 20, 11, &[("f", 1)]), wrote(30, 40, 12, &[("f", 2)])];
    let with = |read: Operation| writes().into_iter().chain([read]).collect::<Vec<_>>();
    good(with(read(50, 51, 12, &[("f", 2)])));
    good(with(read_local(50, 51, 11, None, &[("f", 1)])));
    // The newer one is lost, or the older one came again.
    bad(Rule::Replay, &[1, 2, 3], with(read(50, 51, 13, &[("f", 1)])));
    // At a revision before its write.
    bad(Rule::Replay, &[1, 2, 3], with(read_local(35, 36, 11, None, &[("f", 2)])));
    bad(Rule::Replay, &[2, 3], with(read(50, 51, 12, &[("f", 0)])));
    // A flag does not vanish.
    let mut gone = read(50, 51, 12, &[]);
    if let Did::Read { saw, .. } = &mut gone.did {
        saw.push(("g".to_owned(), None));
    }
    bad(Rule::Replay, &[3], with(gone));
}

#[test]
fn a_revision_is_one_state() {
    let write = || may_have_written(5, &[("f", 1)]);
    bad(
        Rule::TwoStates,
        &[2, 3],
        vec![write(), read_local(10, 11, 12, None, &[("f", 0)]), read_local(10, 11, 12, None, &[("f", 1)])],
    );
    bad(Rule::SharedRevision, &[1, 2], vec![wrote(10, 20, 11, &[("f", 1)]), wrote(10, 20, 11, &[("g", 2)])]);
}

#[test]
fn nothing_is_invented_and_what_was_refused_never_was() {
    bad(Rule::Invented, &[1], vec![read(1, 2, 10, &[("f", 7)])]);
    let refused = operation(1, 2, Outcome::Failed, None, Did::Write { set: set(&[("f", 7)]) });
    good(vec![refused.clone(), read(3, 4, 11, &[("f", 0)])]);
    bad(Rule::Refused, &[1, 2], vec![refused.clone(), read(3, 4, 11, &[("f", 7)])]);
    // It is that which is wrong, and not what comes after it.
    bad(Rule::Refused, &[1, 2], vec![refused, read(3, 4, 11, &[("f", 7)]), read(5, 6, 12, &[("f", 0)])]);
}

#[test]
fn what_cannot_be_judged_is_not_passed() {
    bad(Rule::Recorded, &[2], vec![wrote(1, 2, 11, &[("f", 1)]), wrote(3, 4, 12, &[("f", 1)])]);
    let without_revision = |mut operation: Operation| {
        operation.revision = None;
        vec![operation]
    };
    bad(Rule::Recorded, &[1], without_revision(wrote(1, 2, 11, &[("f", 1)])));
    bad(Rule::Recorded, &[1], without_revision(read(1, 2, 10, &[("f", 0)])));
    bad(Rule::Recorded, &[1], without_revision(snapshot(1, 10, 10, &[("f", 0)])));
}
